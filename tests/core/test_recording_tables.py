"""Every line of the specification's tables is what the shipped rules say (``../shared/spec/record_tables.json``).

No one here wrote the tables; where the folder is absent these tests skip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest, Tls
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event
from opentrail.core.recording.rules import OMITTED, Form, RecordRules
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.model import Operation, Shape
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY.parent / "shared" / "spec" / "record_tables.json"
TABLES: Mapping[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
CATALOG = BotocoreCatalog()
SECRET = "planted-secret-value"

pytestmark = pytest.mark.skipif(not TABLES, reason="the shared specification is not beside this checkout")


@pytest.fixture(scope="module")
def rules() -> RecordRules:
    return load_rules()


def record_of(
    rules: RecordRules,
    service: str,
    operation: str,
    parameters: Mapping[str, Any] | None = None,
    outcome: Outcome | None = None,
    *,
    form: str = "",
) -> dict[str, Any]:
    call = ApiCall(
        operation=CATALOG.service(service).operations[operation],
        parameters=parameters or {},
        identity=root_identity("123456789012", "AKIAEXAMPLE"),
        region="eu-central-1",
        now=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000001",
        request_id="00000000-0000-4000-8000-000000000002",
        request=HttpRequest(
            method="POST",
            path="/",
            query="",
            headers=Headers([("host", "localhost"), ("user-agent", "test")]),
            source_ip="192.0.2.1",
            tls=Tls(version="TLSv1.3", cipher_suite="TLS_AES_128_GCM_SHA256"),
        ),
        raw_body=form.encode(),
    )
    recipient = Recipient(account_id="123456789012", resource_account="123456789012", shared_with=("210987654321",))
    return dict(build_event(call, outcome or Outcome(result={}), rules, recipient).record)


def names(table: str) -> list[tuple[str, str]]:
    """The ``service.Operation`` texts of a table."""
    found = TABLES.get(table, ())
    return [tuple(name.split(".", 1)) for name in found]


def test_sources_of_events(rules: RecordRules) -> None:
    for service in TABLES["eventSourceVerifiedServices"]:
        model = CATALOG.service(service)
        expected = TABLES["eventSourceExceptions"].get(
            service, f"{model.signing_name or model.endpoint_prefix}.amazonaws.com"
        )
        assert rules.facts(model, next(iter(model.operations))).event_source == expected, service
    for service, expected in TABLES["eventSourceExceptions"].items():
        model = CATALOG.service(service)
        assert rules.facts(model, next(iter(model.operations))).event_source == expected, service


def test_names_of_events(rules: RecordRules) -> None:
    renamed = {**{f"lambda.{name}": to for name, to in TABLES["lambdaEventNames"].items()}, **TABLES["s3EventNames"]}
    for name, event in renamed.items():
        service, operation = name.split(".")
        assert rules.facts(CATALOG.service(service), operation).event_name == event, name


def test_versions_of_apis_that_succeeded_and_of_none_that_failed(rules: RecordRules) -> None:
    for service, version in TABLES["apiVersionOnSuccess"].items():
        operation = next(iter(CATALOG.service(service).operations))
        assert record_of(rules, service, operation)["apiVersion"] == version, service
        failed = Outcome(fault=ServiceFault("AccessDenied", "no", status=403))
        assert "apiVersion" not in record_of(rules, service, operation, outcome=failed), service


def test_reads_by_name_and_by_exception(rules: RecordRules) -> None:
    table = TABLES["readOnly"]
    assert set(table["prefixes"]) <= set(rules.read_prefixes)
    for wanted, name in [(True, each) for each in table["alwaysTrue"]] + [
        (False, each) for each in table["alwaysFalse"]
    ]:
        service, operation = name.split(".")
        assert rules.facts(CATALOG.service(service), operation).read_only is wanted, name


def test_answers_that_are_told(rules: RecordRules) -> None:
    for service, operation in names("readsWithResponseElements"):
        assert rules.facts(CATALOG.service(service), operation).responds, operation
    for service in TABLES["responseHoist"]:
        assert rules.of(service).hoists_response, service


def test_forms_and_placeholders(rules: RecordRules) -> None:
    for service in (*TABLES["rawWireServices"], *TABLES["rawWireLikely"]):
        assert (rules.of(service).form, rules.of(service).replacement) == (Form.WIRE, "***"), service
    for service in TABLES["omitSensitive"]:
        assert rules.of(service).replacement == OMITTED, service


def test_data_events_of_s3(rules: RecordRules) -> None:
    s3 = CATALOG.service("s3")
    told = {name for name in s3.operations if rules.facts(s3, name).is_data}
    known = {name for name in TABLES["s3DataOps"] if name in s3.operations}
    assert told == known | {"CreateSession"}  # of directory buckets, which the table does not know
    assert record_of(rules, "s3", "GetObject")["eventCategory"] == "Data"
    assert record_of(rules, "s3", "GetObject")["managementEvent"] is False


def test_order_of_fields(rules: RecordRules) -> None:
    fault = Outcome(fault=ServiceFault("NoSuchKey", "no", status=404), additional={"x": 1})
    for record in (
        record_of(rules, "kms", "Decrypt", {"KeyId": "arn:aws:kms:eu-central-1:1:key/k"}),
        record_of(rules, "route53", "ChangeResourceRecordSets"),
        record_of(rules, "s3", "GetObject", {"Bucket": "b", "Key": "k"}, fault),
    ):
        assert [name for name in TABLES["fieldOrder"] if name in record] == list(record)


def filled(shape: Shape, path: list[str]) -> Any:
    """A value of ``shape`` whose member at ``path`` is the secret, and all that leads there."""
    if shape.type == "list":
        return [filled(shape.member, path)]
    if not path:
        return {"k": SECRET} if shape.type == "map" else SECRET
    wanted = path[0].removesuffix("[]").lower()  # API Gateway's stageVariables are the model's variables
    name = next(each for each in shape.members if wanted.endswith(each.lower()))
    return {name: filled(shape.members[name], path[1:])}


def redactions() -> Iterator[tuple[str, str, str, list[str]]]:
    """Placeholder, service, operation, and the member's path (``response`` first: in the answer)."""
    for placeholder, places in TABLES.get("extraRedaction", {}).items():
        for place in places:
            service, operation, *path = place.partition(":")[0].split(".")
            if service in CATALOG.names() and path and path != ["*"] and service != "ec2":
                yield placeholder, service, operation, path


def _operation_with(service: str, operation: str, path: list[str]) -> Operation:
    """The operation, or for ``*`` the first that has such a member."""
    operations = CATALOG.service(service).operations
    if operation != "*":
        return operations[operation]
    first = path[0].removesuffix("[]").lower()
    return next(
        each for each in operations.values() if each.input and first in {name.lower() for name in each.input.members}
    )


@pytest.mark.parametrize(("placeholder", "service", "operation", "path"), list(redactions()))
def test_members_that_are_hidden_though_no_model_says_so(
    rules: RecordRules, placeholder: str, service: str, operation: str, path: list[str]
) -> None:
    answered = path[0] == "response"
    model = _operation_with(service, operation, path)
    shape = model.output if answered else model.input
    assert shape is not None
    value = filled(shape, path[1:] if answered else path)
    outcome = Outcome(result=value if answered else {})
    record = json.dumps(record_of(rules, service, model.name, None if answered else value, outcome))
    assert SECRET not in record
    assert placeholder == "omitted" or f'"{placeholder}"' in record


def test_ec2_by_its_wsdl(rules: RecordRules) -> None:
    for operation, said in TABLES["ec2Class1"].items():
        for each in said["sets"]:
            if not each["item"].isalnum():
                continue  # a structure's members: the notation's own tests
            sent = record_of(rules, "ec2", operation, form=f"Action={operation}&{each['query']}.1=v")
            (item,) = sent["requestParameters"][each["set"]][each["listKey"]]
            assert item[each["item"]] == "v", operation
            if each["always"]:
                nothing = record_of(rules, "ec2", operation, form=f"Action={operation}")["requestParameters"]
                assert nothing[each["set"]] == {}, operation
    for operation, defaults in TABLES["ec2Class1Defaults"].items():
        told = record_of(rules, "ec2", operation, form=f"Action={operation}")["requestParameters"]
        assert defaults.items() <= told.items(), operation


def test_ec2_names_of_single_values(rules: RecordRules) -> None:
    for place, shown in TABLES["ec2Class1Scalar"].items():
        operation, _, query = place.partition(".")
        told = record_of(rules, "ec2", operation, form=f"Action={operation}&{query}=v")["requestParameters"]
        assert f'"{shown}": "v"' in json.dumps(told), place


def test_ec2_documents_of_newer_operations(rules: RecordRules) -> None:
    for operation, name in TABLES["ec2Class2Wrapper"].items():
        meant = "CreateTransitGateway" if operation == "*" else operation
        told = record_of(rules, "ec2", meant, form=f"Action={meant}&X=1")["requestParameters"]
        assert list(told) == [name.replace("<Op>", meant)]
