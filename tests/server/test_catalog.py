"""The catalog of service models and its index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from opentrail.core.errors import ConfigError
from opentrail.server.catalog import INDEX_PATH, BotocoreCatalog, data_folder
from opentrail.server.catalog_index import build_index, format_index


def test_the_index_agrees_with_the_installed_botocore() -> None:
    """If this fails after an upgrade of botocore: python -m opentrail.server.catalog_index."""
    assert INDEX_PATH.read_text() == format_index(build_index(data_folder()))


def test_starting_reads_no_model_and_does_not_import_botocore() -> None:
    program = (
        "import sys, opentrail.server.catalog as c; catalog = c.BotocoreCatalog(); catalog.service('sts');"
        "print([name for name in sys.modules if name.startswith('botocore')], list(catalog._services))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[] ['sts']"


def test_the_newest_version_counts() -> None:
    catalog = BotocoreCatalog()
    assert catalog.service("cloudfront").api_version == "2020-05-31"
    assert catalog.service("cloudfront") is catalog.service("cloudfront")


def test_services_that_sign_alike_the_one_of_that_name_first() -> None:
    catalog = BotocoreCatalog()
    assert catalog.by_signing_name("rds")[0] == "rds"
    assert {"elb", "elbv2"} == set(catalog.by_signing_name("elasticloadbalancing"))
    assert catalog.by_signing_name("s3express") == ("s3",)
    assert catalog.by_signing_name("nothing") == ()


def test_a_service_without_a_model_is_unknown(tmp_path: Path) -> None:
    entry = {"signingName": "x", "endpointPrefix": "x", "apiVersion": "2020-01-01", "protocols": ["json"]}
    catalog = BotocoreCatalog(tmp_path, {"x": entry})
    assert catalog.by_signing_name("x") == ()
    with pytest.raises(ConfigError):
        catalog.service("x")


def test_a_model_may_lie_uncompressed(tmp_path: Path) -> None:
    folder = tmp_path / "x" / "2020-01-01"
    folder.mkdir(parents=True)
    document = {"metadata": {"apiVersion": "2020-01-01", "protocol": "json"}, "operations": {}, "shapes": {}}
    (folder / "service-2.json").write_text(json.dumps(document))
    assert BotocoreCatalog(tmp_path, {}).service("x").protocol == "json"
