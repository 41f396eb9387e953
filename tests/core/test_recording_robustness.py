"""Whatever is asked and answered, there is a record of it: valid JSON, in AWS's order of fields, within AWS's limits.

Every operation of every service of botocore in the long run, a seeded sample of the services in the short one.  Values
follow the models and are otherwise as odd as a caller can make them: too long, too many, no text at all; answers also
are garbage, and faults are named by whoever answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest, Tls
from opentrail.core.identity import ANONYMOUS, Identity, IdentityType, root_identity, service_identity
from opentrail.core.recording import MAX_EVENT_BYTES, Recipient, build_event, encode_record
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import ApiCall, Outcome, WireAnswer
from opentrail.core.wire.model import Operation, Shape
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

SEED = 20261123
SAMPLE = 45
#: Services whose records are written by rules of their own: always in the sample.
OWN_FORMS = ("apigateway", "dynamodb", "ec2", "eks", "kms", "rds", "s3", "s3control", "sqs", "ssm", "sts")
MAX_DEPTH = 4
FIELDS = (
    *("eventVersion", "userIdentity", "eventTime", "eventSource", "eventName", "awsRegion", "sourceIPAddress"),
    *("userAgent", "errorCode", "errorMessage", "requestParameters", "responseElements", "additionalEventData"),
    *("requestID", "eventID", "readOnly", "resources", "eventType", "apiVersion", "managementEvent"),
    *("recipientAccountId", "sharedEventID", "eventCategory", "tlsDetails"),
)
TEXTS = ("", "a", "\0", "\ud800", "'", '"', "{", "arn:", "arn:aws:kms:us-east-1:1:key/k", "\u4e16" * 400, "\x01" * 3000)
GARBAGE = (b"", b"\xff\xfe", b"{", b"null", b"[]", b"7", b"<a", b"<a/>", b"<!DOCTYPE a>", b'{"a":' * 200, b"<a>" * 500)
IDENTITIES = (
    root_identity("123456789012", "AKIAEXAMPLE"),
    service_identity("config.amazonaws.com"),
    ANONYMOUS,
    Identity(type=IdentityType.UNKNOWN),
)


@pytest.fixture(scope="module")
def rules() -> RecordRules:
    return load_rules()


@pytest.fixture(scope="module")
def catalog() -> BotocoreCatalog:
    return BotocoreCatalog()


def value_of(random: Random, shape: Shape, depth: int = 0) -> Any:
    """A value that a reader may have made of something for ``shape``."""
    if shape.type == "structure":
        members = [] if depth > MAX_DEPTH else list(shape.members.items())
        return {name: value_of(random, each, depth + 1) for name, each in members if random.randrange(4)}
    if shape.type == "list":
        return [value_of(random, shape.member, depth + 1) for _ in range(random.choice((0, 1, 2)))]
    if shape.type == "map":
        return {random.choice(TEXTS): value_of(random, shape.value, depth + 1) for _ in range(random.choice((0, 2)))}
    return SCALARS.get(shape.type, lambda each: each.choice(TEXTS))(random)


SCALARS: dict[str, Any] = {
    "boolean": lambda random: random.random() < 0.5,
    "integer": lambda random: random.choice((0, -1, 1 << 80)),
    "long": lambda random: random.choice((0, -1, 1 << 80)),
    "float": lambda random: random.choice((0.0, -1.5, float("nan"), float("inf"))),
    "double": lambda random: random.choice((0.0, -1.5, float("nan"), float("inf"))),
    "blob": lambda random: random.choice((b"", b"\xff" * 40)),
    "timestamp": lambda random: datetime(random.choice((1, 1970, 2026, 9999)), 1, 2, tzinfo=UTC),
}


def odd_call(random: Random, operation: Operation) -> ApiCall:
    """A call of ``operation`` with parameters, head and body that need not agree."""
    head = HttpRequest(
        method=random.choice(("GET", "POST", "PUT", "BREW")),
        path=random.choice(("/", "/bucket/" + "%01" * 9000, "/%ff/\u4e16")),
        query=random.choice(("", "Action=" + operation.name, "a&b=&=c&%zz", "X.1=a&X=b&X.9999999999=c")),
        headers=Headers(
            [
                ("host", random.choice(("localhost", "b.s3.amazonaws.com", "x" * 4000))),
                ("user-agent", random.choice(TEXTS)),
                ("x-amz-copy-source", random.choice(("", "/b/k", "b/" + "%01" * 9000))),
                ("x-amz-acl", random.choice(TEXTS)),
            ]
        ),
        source_ip="192.0.2.1",
        tls=random.choice((None, Tls(version="TLSv1.3", cipher_suite="TLS_AES_128_GCM_SHA256"))),
    )
    return ApiCall(
        operation=operation,
        parameters=value_of(random, operation.input) if operation.input is not None else {},
        identity=random.choice(IDENTITIES),
        region="us-east-1",
        now=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000001",
        request_id=random.choice(("00000000-0000-4000-8000-000000000002", "x" * 3000)),
        request=head,
        raw_body=random.choice(GARBAGE),
    )


def odd_outcomes(random: Random, operation: Operation) -> Iterator[Outcome]:
    """What may come of it: a result, a modelled fault, a fault of nobody's, and nothing that is known."""
    answer = WireAnswer(status=random.choice((200, 299, 500)), headers=Headers([]), body=random.choice(GARBAGE))
    result = value_of(random, operation.output) if operation.output is not None else {}
    yield Outcome(result=result, answer=random.choice((None, answer)))
    errors = [each.error.code for each in operation.errors if each.error is not None]
    for code in (*errors[:1], random.choice(("AccessDenied", "Throttling", "", "x" * 5000, "\ud800"))):
        yield Outcome(fault=ServiceFault(code, random.choice(TEXTS), status=random.choice((400, 503))), answer=answer)
    yield Outcome(additional={"x": "y" * random.choice((1, 40_000))})


def check(call: ApiCall, outcome: Outcome, rules: RecordRules) -> None:
    owner = "123456789012" if call.request.tls is None else ""
    recipient = Recipient(account_id="123456789012", resource_account=owner)
    data = encode_record(build_event(call, outcome, rules, recipient))
    assert len(data) <= MAX_EVENT_BYTES
    record = json.loads(data.decode(), parse_constant=pytest.fail)
    assert [name for name in FIELDS if name in record] == list(record)
    assert len(str(record["userAgent"]).encode("utf-8", "replace")) <= 1024 + len("[]")


def run(service: str, catalog: BotocoreCatalog, rules: RecordRules) -> None:
    random = Random(f"{SEED} {service}")
    for operation in catalog.service(service).operations.values():
        call = odd_call(random, operation)
        for outcome in odd_outcomes(random, operation):
            check(call, outcome, rules)


def sample() -> list[str]:
    names = sorted(set(BotocoreCatalog().names()) - set(OWN_FORMS))
    return [*OWN_FORMS, *Random(SEED).sample(names, SAMPLE)]


@pytest.mark.parametrize("service", sample())
def test_every_call_has_its_record(service: str, catalog: BotocoreCatalog, rules: RecordRules) -> None:
    run(service, catalog, rules)


@pytest.mark.parametrize("service", [pytest.param("all", marks=pytest.mark.long)])
def test_every_call_of_every_service_has_its_record(service: str, catalog: BotocoreCatalog, rules: RecordRules) -> None:
    assert service == "all"
    for name in catalog.names():
        run(name, catalog, rules)


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("ssm", "GetParameters", {"Names": ["n" * 200 + str(index) for index in range(4000)]}),
        ("ssm", "GetParameter", {"Name": "\x01" * 400_000}),
        ("kms", "Decrypt", {"KeyId": "arn:aws:kms:us-east-1:123456789012:key/" + "k" * 400_000}),
        ("sqs", "SendMessage", {"QueueUrl": "https://h/123456789012/" + "q" * 300_000}),
        ("dynamodb", "GetItem", {"TableName": "t" * 300_000, "Key": {"k": {"S": "v" * 300_000}}}),
    ],
)
def test_a_record_with_endless_names_loses_them_before_it_is_too_large(
    rules: RecordRules, catalog: BotocoreCatalog, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    call = replace(
        odd_call(Random(SEED), catalog.service(service).operations[operation]),
        parameters=parameters,
        identity=root_identity("123456789012"),
    )
    data = encode_record(build_event(call, Outcome(result={}), rules, Recipient(account_id="123456789012")))
    record = json.loads(data)
    assert len(data) <= MAX_EVENT_BYTES
    assert record["requestParameters"] is None
    assert record["eventName"] == operation
