"""Any form of EC2 has a record: of every operation that botocore knows, and of whatever else is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.events import Event
from opentrail.core.http import HttpRequest
from opentrail.core.recording import MAX_EVENT_BYTES, encode_record
from opentrail.core.wire.calls import Outcome
from opentrail.core.wire.model import Shape
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules
from opentrail.testing.rebuild_ec2 import form_of, rebuild_ec2
from opentrail.testing.recorded_calls import CallRecorder

MARK = "PlantedSecret42"
RECORDER = CallRecorder(catalog=BotocoreCatalog(), rules=load_rules())
DEEPEST = 6
_SCALARS: Mapping[str, Any] = {
    "integer": 7,
    "long": 7,
    "float": 0.5,
    "double": 0.5,
    "boolean": True,
    "timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
}


def _everything(shape: Any, *, secret: bool = False, depth: int = 0) -> Any:
    """A value with every member of ``shape``; what is sensitive holds the mark."""
    secret = secret or shape.metadata.get("sensitive", False)
    if shape.type_name == "structure":
        return {
            name: _everything(member, secret=secret, depth=depth + 1)
            for name, member in shape.members.items()
            if depth < DEEPEST
        }
    if shape.type_name == "list":
        return [_everything(shape.member, secret=secret, depth=depth + 1)] * 2
    if shape.type_name == "blob":
        return MARK.encode()
    return _SCALARS.get(shape.type_name, MARK if secret else "text")


def _calls() -> Iterator[tuple[str, dict[str, str]]]:
    """Every operation with all its parameters, as botocore sends it."""
    model = BotocoreModel(Loader(include_default_extras=False).load_service_model("ec2", "service-2"), "ec2")
    serializer = create_serializer("ec2", include_validation=False)
    for name in model.operation_names:
        operation = model.operation_model(name)
        parameters = _everything(operation.input_shape) if operation.input_shape else {}
        form = serializer.serialize_to_request(parameters, operation)["body"]
        yield name, {key: str(value) for key, value in form.items() if key not in {"Action", "Version"}}


def test_every_operation_is_recorded_without_its_secrets_and_can_be_rebuilt() -> None:
    service = RECORDER.catalog.service("ec2")
    seen = 0
    for name, form in _calls():
        record = RECORDER.ec2(name, form)
        assert record["requestParameters"], name
        text = json.dumps(record)
        assert MARK not in text, name
        assert "UGxhbnRlZFNlY3JldDQy" not in text, name
        if not {"TunnelOptions", "LaunchSpecification"} & {part.partition(".")[0] for part in form}:
            rebuilt = dict(form_of(record, service, RECORDER.rules))
            assert RECORDER.ec2(name, rebuilt)["requestParameters"] == record["requestParameters"], name
        seen += 1
    assert seen > 500


def _answered(shape: Shape, *, secret: bool = False, depth: int = 0) -> Any:
    """A result with every member of ``shape``; what is sensitive holds the mark."""
    secret = secret or shape.sensitive
    if shape.type == "structure":
        members = shape.members.items() if depth < DEEPEST else ()
        return {name: _answered(member, secret=secret, depth=depth + 1) for name, member in members}
    if shape.type == "list":
        return [_answered(shape.member, secret=secret, depth=depth + 1)] * 2
    return _SCALARS.get(shape.type, MARK.encode() if shape.type == "blob" else MARK if secret else "text")


def test_every_answer_is_recorded_without_its_secrets_and_can_be_rebuilt() -> None:
    service = RECORDER.catalog.service("ec2")
    request = HttpRequest(method="POST", path="/")
    writes = [each for name, each in service.operations.items() if RECORDER.rules.facts(service, name).responds]
    for operation in writes:
        result = _answered(operation.output) if operation.output is not None else {}
        record = RECORDER.record("ec2", operation.name, request=request, outcome=Outcome(result=result))
        told = record["responseElements"]
        assert told, operation.name
        assert MARK not in json.dumps(told), operation.name
        call = rebuild_ec2({"eventName": operation.name, "responseElements": told}, service, RECORDER.rules)
        outcome = Outcome(result={}, answer=call.answer)
        again = RECORDER.record("ec2", operation.name, request=request, outcome=outcome)
        assert again["responseElements"] == told, operation.name
    assert len(writes) > 400


_NAMES = st.sampled_from(
    [
        "ImageId", "Filter", "Value", "Name", "1", "2", "0", "Tag", "Placement", "Tenancy", "Monitoring", "Enabled",
        "UserData", "instancesSet", "InstancesSet", "items", "Items", "Attribute", "AttributeType", "UserId",
        "UserIds", "OperationType", "LaunchPermission", "Add", "Size", "NoDevice", "BlockDeviceMapping",
        "IpPermissions", "LaunchTemplateData", "", "x,y",
    ]
)  # fmt: skip
_FORMS = st.dictionaries(
    st.lists(_NAMES, min_size=1, max_size=5).map(".".join),
    st.sampled_from(["", "add", "7", "true", "null", "-0", "9" * 30, "text"]) | st.text(max_size=8),
    max_size=12,
)


@pytest.mark.parametrize("operation", ["RunInstances", "ModifyImageAttribute", "CreateVolume", "CreateLaunchTemplate"])
@settings(max_examples=60, deadline=None)
@given(form=_FORMS)
def test_whatever_is_sent_has_a_record(operation: str, form: dict[str, str]) -> None:
    record = RECORDER.ec2(operation, form)
    assert len(encode_record(Event(record=record))) <= MAX_EVENT_BYTES


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=200), operation=st.sampled_from(["CreateVolume", "CreateFlowLogs", "DeleteVpc"]))
def test_whatever_is_answered_has_a_record(body: bytes, operation: str) -> None:
    answer = (b"<a>" + body + b"</a>").decode(errors="replace")
    record = RECORDER.ec2(operation, {}, answer)
    assert len(encode_record(Event(record=record))) <= MAX_EVENT_BYTES


def test_a_huge_form_has_a_record_within_its_limit() -> None:
    form = {f"ResourceId.{index}": "r" * 500 for index in range(1, 1500)}
    record = RECORDER.ec2("CreateTags", form)
    assert len(encode_record(Event(record=record))) <= MAX_EVENT_BYTES
