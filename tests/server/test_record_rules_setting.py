"""A user's own rules of records, from the setting to the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from opentrail.core.errors import ConfigError
from opentrail.server.config import Settings, load_settings
from opentrail.testing.local_endpoint import LocalRequest, run_local_endpoint

FORM = ("content-type", "application/x-www-form-urlencoded; charset=utf-8")


def test_a_users_rules_decide_what_his_records_show(tmp_path: Path) -> None:
    own = tmp_path / "rules.json"
    own.write_text(
        '{"services": {"iam": {"hiddenMembers": {"CreateUser": {"userName": "(a name)"}}, "apiVersion": "9"}}}'
    )
    settings = load_settings({"data_dir": str(tmp_path / "data"), "record_rules": str(own)}, {}, None)
    with run_local_endpoint(settings) as endpoint:
        body = b"Action=CreateUser&Version=2010-05-08&UserName=bob-the-builder"
        request = LocalRequest(method="POST", target="/", headers=[FORM], body=body)
        answer = endpoint.send(request.signed(endpoint.key, "iam", "us-east-1"))
        assert answer.status == 200
        record = endpoint.records()[-1]
    assert record["requestParameters"] == {"userName": "(a name)"}
    assert record["apiVersion"] == "9"
    assert "bob-the-builder" not in str(record["responseElements"]), "what is hidden is hidden everywhere"


def test_rules_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    own = tmp_path / "rules.json"
    own.write_text('{"services": {"iam": {"hide": []}}}')
    settings = Settings(data_dir=tmp_path / "data", record_rules=own)
    with pytest.raises(ConfigError, match="there is no key 'hide'"), run_local_endpoint(settings):
        pass
