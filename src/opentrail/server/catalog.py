"""Finds service models in the installed botocore, without importing it.

botocore keeps each service under ``data/<name>/<API version>/service-2.json.gz``.  Rules:

* A model is read when a request first needs it, and kept.
* What tells services apart before that (signing names, target prefixes, versions) stands in ``catalog_index.json``,
  made by ``python -m opentrail.server.catalog_index`` and compared with the installed botocore by a test.  A service
  that only one of the two knows is unknown to routing, no more.
* botocore's ``service-2.sdk-extras.json`` patches are left out: they change what the *client* shows (S3's ``Expires``
  as a timestamp, members that it removes before it sends), never what is on the wire.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from opentrail.core.errors import ConfigError
from opentrail.core.wire.model import ServiceModel

INDEX_PATH = Path(__file__).with_name("catalog_index.json")

#: Names under which requests for a service are signed beside the model's own: S3's other endpoints.
SIGNING_ALIASES = {"s3express": "s3", "s3-object-lambda": "s3", "s3-outposts": "s3"}

Entry = Mapping[str, Any]


def data_folder() -> Path:
    """Where the installed botocore keeps its models.

    Raises ``ConfigError`` when there is no botocore.
    """
    spec = find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("botocore is not installed; its service models are needed: pip install botocore")
    return Path(spec.submodule_search_locations[0]) / "data"


def latest_version(folder: Path) -> str:
    """The newest API version under a service's ``folder`` that has a model; the empty string where none has."""
    versions = [path.name for path in folder.iterdir() if path.is_dir() and model_path(path) is not None]
    return max(versions, default="")


def model_path(folder: Path) -> Path | None:
    """The model file in a version's ``folder``."""
    return next((path for name in ("service-2.json.gz", "service-2.json") if (path := folder / name).exists()), None)


def read_model(path: Path) -> dict[str, Any]:
    """The decoded model in the file ``path``."""
    data = path.read_bytes()
    document: dict[str, Any] = orjson.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return document


class BotocoreCatalog:
    """The services of the installed botocore (a ``core.wire.routing.Catalog``)."""

    def __init__(self, folder: Path | None = None, index: Mapping[str, Entry] | None = None) -> None:
        self._folder = folder or data_folder()
        present = {path.name for path in self._folder.iterdir()}
        entries: Mapping[str, Entry] = index if index is not None else json.loads(INDEX_PATH.read_text())
        self._entries = {name: entry for name, entry in entries.items() if name in present}
        self._services: dict[str, ServiceModel] = {}
        self._signing = _grouped(self._entries, "signingName")
        self._targets = _with_short_names(_grouped(self._entries, "targetPrefix"))
        forms = {name: entry for name, entry in self._entries.items() if {"query", "ec2"} & set(entry["protocols"])}
        self._versions = _grouped(forms, "apiVersion")
        for alias, name in SIGNING_ALIASES.items():
            self._signing.setdefault(alias, (name,))
        self._loading = threading.Lock()
        self.in_memory = LoadedModels(self)

    def names(self) -> tuple[str, ...]:
        """Botocore's names of all services."""
        return tuple(self._entries)

    def service(self, name: str) -> ServiceModel:
        """The model of botocore's service ``name``, its newest version; large ones take a third of a second to load.

        Raises ``ConfigError`` when the installed botocore has none.
        """
        service = self._services.get(name)
        if service is None:
            with self._loading:  # once, however many calls ask for it
                service = self._services.get(name)
                if service is None:
                    service = self._services[name] = self._load(name)
        return service

    def loaded(self, name: str) -> ServiceModel | None:
        """The model of ``name``, if it is in memory."""
        return self._services.get(name)

    def _load(self, name: str) -> ServiceModel:
        folder = self._folder / name
        version = latest_version(folder) if folder.is_dir() else ""
        path = model_path(folder / version) if version else None
        if path is None:
            raise ConfigError(
                f"the installed botocore has no model of {name}: install the version that the index names"
            )
        return ServiceModel(read_model(path), name)

    def by_signing_name(self, signing_name: str) -> tuple[str, ...]:
        """The services that sign as ``signing_name``, the one of that name first."""
        return self._signing.get(signing_name, ())

    def by_target_prefix(self, prefix: str) -> tuple[str, ...]:
        """The services whose ``X-Amz-Target`` starts with ``prefix``."""
        return self._targets.get(prefix, ())

    def by_version(self, version: str) -> tuple[str, ...]:
        """The services of the query and ec2 protocols whose API version is ``version``."""
        return self._versions.get(version, ())

    def protocols(self, name: str) -> tuple[str, ...]:
        """The protocols of service ``name``, the preferred one first."""
        return tuple(self._entries[name]["protocols"])

    def signing_name(self, name: str) -> str:
        """What requests to service ``name`` are signed for."""
        signing_name: str = self._entries[name]["signingName"]
        return signing_name

    def endpoint_prefix(self, name: str) -> str:
        """The first label of the host name of service ``name``."""
        prefix: str = self._entries[name]["endpointPrefix"]
        return prefix


class ModelNotLoadedError(Exception):
    """The model of service ``name`` is not in memory."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class LoadedModels:
    """A catalog's view on the models that are in memory: of other services it knows what the index says."""

    def __init__(self, catalog: BotocoreCatalog) -> None:
        self._loaded = catalog.loaded
        self.by_signing_name = catalog.by_signing_name
        self.by_target_prefix = catalog.by_target_prefix
        self.by_version = catalog.by_version
        self.protocols = catalog.protocols
        self.endpoint_prefix = catalog.endpoint_prefix

    def service(self, name: str) -> ServiceModel:
        """The model of service ``name``.  Raises ``ModelNotLoadedError``."""
        service = self._loaded(name)
        if service is None:
            raise ModelNotLoadedError(name)
        return service


def _grouped(entries: Mapping[str, Entry], key: str) -> dict[str, tuple[str, ...]]:
    """The names of the entries by their value of ``key``; a service named like the value comes first."""
    groups: dict[str, list[str]] = {}
    for name, entry in entries.items():
        value = entry.get(key)
        if value:
            groups.setdefault(value, []).append(name)
    return {value: tuple(sorted(names, key=lambda name: (name != value, name))) for value, names in groups.items()}


def _with_short_names(targets: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The target prefixes, and their last parts too: SDKs that are made from Smithy models leave the name space out."""
    short = {prefix.rpartition(".")[2]: names for prefix, names in targets.items()}
    return short | dict(targets)
