"""The rules of records: what the shipped files say is there to be said, and a user's own file joins them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ConfigError, FormatError
from opentrail.core.recording.elements import recorded_name
from opentrail.core.recording.rules import Form, RecordRules, parse_rules
from opentrail.core.wire.model import Operation, Shape
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

CATALOG = BotocoreCatalog()
FILES = sorted(
    (Path(str(each)) for each in (files("opentrail.server") / "record_rules").iterdir()), key=lambda path: path.name
)
BY_NAME = (
    "additionalEventData",
    "defaults",
    "eventNames",
    "hiddenMembers",
    "memberNames",
    "onlyMembers",
    "respondsWithArn",
)
LISTS = ("readOnly", "notReadOnly", "dataOperations", "readsWithResponse")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_says_what_it_is_and_names_what_exists(path: Path) -> None:
    document = json.loads(path.read_text())
    assert document["about"]
    for name, said in document.get("services", {}).items():
        operations = CATALOG.service(name).operations
        named = {operation for key in BY_NAME for operation in said.get(key, {})}
        named |= {operation for key in LISTS for operation in said.get(key, ())}
        named |= {operation for rule in said.get("resources", ()) for operation in rule.get("operations", ())}
        unlisted = said.get("unlistedOperations", {}).keys()
        assert named - {"*"} <= operations.keys() | unlisted, name
        assert not unlisted & operations.keys(), "a model has it by now"


def test_every_hidden_member_is_one_that_an_operation_has() -> None:
    for path in FILES:
        for name, said in json.loads(path.read_text()).get("services", {}).items():
            for operation, members in said.get("hiddenMembers", {}).items():
                for member in members:
                    models = CATALOG.service(name).operations
                    meant = models.values() if operation == "*" else [models[operation]]
                    assert any(_has(each, member.split(".")) for each in meant), f"{name} {operation} {member}"


def _has(operation: Operation, path: list[str]) -> bool:
    shape = operation.output if path[0] == "response" else operation.input
    for part in path[1:] if path[0] == "response" else path:
        if shape is None:
            return False
        while shape.type == "list":
            shape = shape.member
        if part == "*":
            return True
        shape = _member(shape, part.removesuffix("[]"))
    return shape is not None


def _member(shape: Shape, name: str) -> Shape | None:
    return next((member for key, member in shape.members.items() if recorded_name(key) == recorded_name(name)), None)


def rules_of(*documents: Mapping[str, Any]) -> RecordRules:
    return parse_rules(documents)


def test_a_later_document_joins_the_earlier_one_and_counts_more() -> None:
    first = {"services": {"sqs": {"apiVersion": "1", "readOnly": ["A"], "eventNames": {"A": "a", "B": "b"}}}}
    second = {
        "readOnlyPrefixes": ["Peek"],
        "services": {"sqs": {"apiVersion": "2", "readOnly": ["B"], "eventNames": {"B": "c"}}},
    }
    facts = {name: rules_of(first, second).facts(CATALOG.service("sqs"), name) for name in ("A", "B", "PeekC", "D")}
    assert {name: each.read_only for name, each in facts.items()} == {"A": True, "B": True, "PeekC": True, "D": False}
    assert [facts["A"].event_name, facts["B"].event_name, facts["D"].api_version] == ["a", "c", "2"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"servises": {}}, "servises"),
        ({"services": []}, "services"),
        ({"services": {"sqs": {"reedOnly": []}}}, "reedOnly"),
        ({"services": {"sqs": {"readOnly": "A"}}}, "sqs: readOnly"),
        ({"services": {"sqs": {"global": "yes"}}}, "sqs: global"),
        ({"services": {"sqs": {"form": "free"}}}, "sqs: form"),
        ({"services": {"sqs": {"hidden": ""}}}, "sqs: hidden"),
        ({"services": {"sqs": {"hiddenMembers": {"A": ["b"]}}}}, "sqs: hiddenMembers: A"),
        ({"services": {"sqs": {"hiddenMembers": {"A": {"b": 1}}}}}, "sqs: hiddenMembers: A: b"),
        ({"services": {"sqs": {"defaults": {"A": 1}}}}, "sqs: defaults: A"),
        ({"services": {"sqs": {"respondsWithArn": []}}}, "sqs: respondsWithArn"),
        ({"services": {"sqs": {"additionalEventData": {"A": "b"}}}}, "sqs: additionalEventData: A"),
        ({"services": {"sqs": {"additionalEventData": {"A": {"b": 1}}}}}, "sqs: additionalEventData: A"),
        ({"services": {"sqs": {"resources": [{"arn": "{nothing}"}]}}}, "sqs: resources"),
        ({"services": {"sqs": {"resources": [{"match": "("}]}}}, "sqs: resources"),
        ({"services": {"sqs": {"unlistedOperations": {"A": {"B": "text"}}}}}, "sqs: unlistedOperations: A: B"),
        ({"services": {"sqs": {"unlistedOperations": {"A": {"B": []}}}}}, "sqs: unlistedOperations: A: B"),
    ],
)
def test_a_mistake_is_named_with_its_place(document: dict[str, Any], told: str) -> None:
    with pytest.raises(FormatError, match=told):
        rules_of(document)


def test_a_users_own_file_joins_the_shipped_ones(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"services": {"s3": {"readOnly": ["PutObject"]}, "inventory": {"form": "wire"}}}')
    rules = load_rules(own)
    assert rules.facts(CATALOG.service("s3"), "PutObject").read_only
    assert rules.facts(CATALOG.service("s3"), "ListObjectsV2").event_name == "ListObjects"
    assert rules.of("inventory").form is Form.WIRE


@pytest.mark.parametrize("text", ["", "[]", "{", '{"services": {"s3": {"from": 1}}}'])
def test_a_users_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own.json"
    own.write_text(text)
    with pytest.raises(ConfigError, match=r"--record-rules .*own\.json"):
        load_rules(own)
    with pytest.raises(ConfigError, match=r"--record-rules .*absent\.json"):
        load_rules(tmp_path / "absent.json")
