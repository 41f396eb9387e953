"""Makes ``catalog_index.json`` from the installed botocore: ``python -m opentrail.server.catalog_index``.

One line a service: what routing must know of it before its model is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opentrail.core.wire.model import ServiceModel
from opentrail.server.catalog import INDEX_PATH, data_folder, latest_version, model_path, read_model


def build_index(folder: Path) -> dict[str, dict[str, Any]]:
    """The index of all services under botocore's data ``folder``."""
    index = {}
    for service_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        version = latest_version(service_folder)
        path = model_path(service_folder / version) if version else None
        if path is not None:
            index[service_folder.name] = _entry(ServiceModel(read_model(path), service_folder.name))
    return index


def _entry(service: ServiceModel) -> dict[str, Any]:
    entry = {
        "signingName": service.signing_name,
        "endpointPrefix": service.endpoint_prefix,
        "targetPrefix": service.target_prefix,
        "apiVersion": service.api_version,
        "protocols": list(service.protocols),
    }
    return {key: value for key, value in entry.items() if value}


def format_index(index: dict[str, dict[str, Any]]) -> str:
    """The index as JSON text, one line a service."""
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in index.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    INDEX_PATH.write_text(format_index(build_index(data_folder())))
