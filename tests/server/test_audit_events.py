"""PutAuditEvents and channels as boto3 sees them, and what the journal and the log files hold afterwards."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.errors import JournalError, StorageError
from opentrail.core.policy.log_bucket_policy import log_bucket_policy
from opentrail.state import channels as state_channels
from opentrail.testing.company import Tenant, fetch_records, first_account, make_account
from opentrail.testing.live_server import LiveServer

ACCOUNT = "123456789012"
DESTINATION = {"Type": "AWS_SERVICE", "Location": "cloudtrail.amazonaws.com"}
EVENT = {
    "version": "1.0",
    "userIdentity": {"type": "User", "principalId": "mary", "details": {"team": "a"}},
    "userAgent": "curl/8",
    "eventSource": "orders.example.com",
    "eventName": "CreateOrder",
    "eventTime": "2026-01-02T03:04:05Z",
    "UID": "req-1",
    "requestParameters": {"customer": "c-1"},
    "responseElements": {"id": "o-1"},
    "errorCode": "NoStock",
    "errorMessage": "none left",
    "sourceIPAddress": "2001:db8::1",
    "recipientAccountId": ACCOUNT,
    "additionalEventData": {"tries": 2},
}


def code_of(operation: Callable[..., object], **parameters: object) -> str:
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert caught.value.response["Error"]["Message"]
    return str(caught.value.response["Error"]["Code"])


class Inlet:
    """A channel of an endpoint within the test."""

    def __init__(self, local: Any, name: str = "orders") -> None:
        self.local = local
        self.cloudtrail = local.client("cloudtrail")
        self.data = local.client("cloudtrail-data")
        made = self.cloudtrail.create_channel(Name=name, Source="Custom", Destinations=[DESTINATION])
        self.arn: str = made["ChannelArn"]
        self.account: str = self.arn.split(":")[4]

    def put(self, *events: Any, **parameters: Any) -> dict[str, Any]:
        """Put events, given as eventData (a mapping or its text) or as whole audit events with an ``id``."""
        sent = []
        for each in events:
            if isinstance(each, Mapping) and "id" in each:
                sent.append(each)
            else:
                text = each if isinstance(each, str) else json.dumps(each)
                sent.append({"id": str(uuid4()), "eventData": text})
        answer: dict[str, Any] = self.data.put_audit_events(
            **{"auditEvents": sent, "channelArn": self.arn, **parameters}
        )
        assert len(answer["successful"]) + len(answer["failed"]) == len(sent)
        return answer

    def event(self, **changes: Any) -> dict[str, Any]:
        """A good event with changes; a field that is given as ``...`` is left out."""
        fields = {**EVENT, "recipientAccountId": self.account, **changes}
        return {name: value for name, value in fields.items() if value is not ...}

    def events(self) -> list[dict[str, Any]]:
        return [each for each in self.local.records() if each["eventCategory"] == "ActivityAuditLog"]


@pytest.fixture
def inlet(local: Any) -> Inlet:
    return Inlet(local)


@pytest.fixture(scope="module")
def shared_inlet(shared_local: Any) -> Inlet:
    return Inlet(shared_local, "shared")


def test_an_event_becomes_a_record_of_awss_form(inlet: Inlet) -> None:
    text = json.dumps(inlet.event())
    checksum = base64.b64encode(sha256(text.encode()).digest()).decode()
    answer = inlet.put({"id": "a-1", "eventData": text, "eventDataChecksum": checksum})
    (record,) = inlet.events()
    assert answer["successful"] == [{"id": "a-1", "eventID": record["eventID"]}]
    assert record["eventData"] == inlet.event()
    assert record["eventType"] == "ActivityLog"
    assert record["eventTime"] == "2026-01-02T03:04:05Z"
    assert record["awsRegion"] == "us-east-1"
    assert record["recipientAccountId"] == inlet.account
    assert record["metadata"]["channelARN"] == inlet.arn
    assert record["eventSource"] == "orders.example.com"
    assert record["eventName"] == "CreateOrder"
    assert record["userIdentity"] == {"type": "User", "principalId": "mary"}
    assert record["sourceIPAddress"] == "2001:db8::1"
    assert record["readOnly"] is False


def test_the_call_itself_is_recorded_after_its_events(inlet: Inlet) -> None:
    inlet.put(inlet.event(), inlet.event())
    inlet.put(inlet.event(), channelArn=inlet.arn.rpartition("/")[2])
    records = inlet.local.records()
    names = [each["eventName"] for each in records]
    assert names == ["CreateChannel", "CreateOrder", "CreateOrder", "PutAuditEvents", "CreateOrder", "PutAuditEvents"]
    for each in (records[3], records[5]):
        assert each["eventCategory"] == "Data"
        assert each["resources"] == [{"accountId": inlet.account, "type": "AWS::CloudTrail::Channel", "ARN": inlet.arn}]
        assert "c-1" not in json.dumps(each["requestParameters"]), "what came in stands in its own record"


def test_a_retry_gives_each_event_once(inlet: Inlet) -> None:
    first = {"id": "a", "eventData": json.dumps(inlet.event())}
    second = {"id": "b", "eventData": json.dumps(inlet.event(UID="2"))}
    answer = inlet.put(first)
    again = inlet.put(first, second)
    assert again["successful"][0] == answer["successful"][0]
    assert inlet.put(first, second)["successful"] == again["successful"]
    assert [each["eventData"]["UID"] for each in inlet.events()] == ["req-1", "2"]


def test_a_channels_id_will_do(inlet: Inlet) -> None:
    event = {"id": "a", "eventData": json.dumps(inlet.event())}
    inlet.put(event)
    inlet.put(event, channelArn=inlet.arn.rpartition("/")[2])
    assert len(inlet.events()) == 1


def test_a_retry_is_known_after_a_crash_that_came_before_the_database_knew(
    local_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    inlet = Inlet(local_with())
    event = {"id": "a", "eventData": json.dumps(inlet.event())}

    def fails(*_arguments: object) -> None:
        raise StorageError("the database is away", retryable=True)

    monkeypatch.setattr(state_channels.AcceptedEvents, "_insert", fails)
    with pytest.raises(ClientError):
        inlet.put(event)
    monkeypatch.undo()
    inlet.put(event)
    assert len(inlet.events()) == 1


def test_a_retry_is_known_after_a_restart(serve: Callable[..., Any]) -> None:
    server = serve("--account-id", ACCOUNT)
    made = server.client("cloudtrail").create_channel(Name="orders", Source="Custom", Destinations=[DESTINATION])
    call = {
        "channelArn": made["ChannelArn"],
        "auditEvents": [{"id": str(number), "eventData": json.dumps(EVENT)} for number in range(100)],
    }
    first = server.client("cloudtrail-data").put_audit_events(**call)
    server.process.kill()
    server.process.wait()
    with sqlite3.connect(server.data_dir / "state.db") as database:  # as if the crash had come before
        database.execute("DELETE FROM accepted_audit_events WHERE number > 50")
    database.close()
    server = serve("--account-id", ACCOUNT, data_dir=server.data_dir)
    again = server.client("cloudtrail-data").put_audit_events(**call)
    assert again["successful"] == first["successful"]
    server.stop()
    assert len([each for each in server.records() if each["eventCategory"] == "ActivityAuditLog"]) == 100


FAILURES: Mapping[str, tuple[Any, str]] = {
    "no JSON": ("{", "InvalidData"),
    "no object": ("[]", "InvalidData"),
    "a name twice": ('{"version": "1", "version": "2"}', "InvalidData"),
    "no number": ('{"version": NaN}', "InvalidData"),
    "too large a number": ('{"version": 1e999}', "InvalidData"),
    "nested": ('{"requestParameters": ' + '{"a":' * 200 + "1" + "}" * 201, "InvalidData"),
    "nested beyond the stack": ("[" * 200_000, "InvalidData"),
    "unknown field": ({"colour": "red"}, "InvalidData"),
    "a surrogate": ({"\ud800": "x"}, "InvalidData"),
    "wrong type": ({"eventName": 1}, "InvalidData"),
    "no object of parameters": ({"requestParameters": "a"}, "InvalidData"),
    "an empty text for an object": ({"additionalEventData": ""}, "InvalidData"),
    "time": ({"eventTime": "yesterday"}, "InvalidData"),
    "no such day": ({"eventTime": "2026-02-30T00:00:00Z"}, "InvalidData"),
    "before our time": ({"eventTime": "1969-12-31T23:59:59Z"}, "InvalidData"),
    "address": ({"sourceIPAddress": "localhost"}, "InvalidData"),
    **{
        f"without {name}": ({name: ...}, "FieldNotFound")
        for name in ("version", "userIdentity", "eventSource", "eventName", "eventTime", "UID", "recipientAccountId")
    },
    "without a principal": ({"userIdentity": {"type": "User"}}, "FieldNotFound"),
    "without a type": ({"userIdentity": {"type": "", "principalId": "m"}}, "FieldNotFound"),
    "unknown in identity": ({"userIdentity": {"type": "U", "principalId": "m", "arn": "a"}}, "InvalidData"),
    "long version": ({"version": "v" * 257}, "FieldTooLong"),
    "long type": ({"userIdentity": {"type": "t" * 129, "principalId": "m"}}, "FieldTooLong"),
    "long code": ({"errorCode": "e" * 257}, "FieldTooLong"),
    "long agent": ({"userAgent": "a" * 1025}, "FieldTooLong"),
    "large parameters": ({"requestParameters": {"a": "x" * 100_001}}, "FieldTooLong"),
    "large additional data": ({"additionalEventData": {"a": "x" * 28_001}}, "FieldTooLong"),
    "large altogether": (
        {
            "requestParameters": {"a": "x" * 99_000},
            "responseElements": {"a": "x" * 99_000},
            "userIdentity": {"type": "U", "principalId": "m", "details": {"a": "x" * 99_000}},
        },
        "FieldTooLong",
    ),
    "AWS's source": ({"eventSource": "s3.amazonaws.com"}, "InvalidEventSource"),
    "a route's separator": ({"eventSource": "a|b"}, "InvalidEventSource"),
    "another account": ({"recipientAccountId": "111111111111"}, "InvalidRecipient"),
    "no account": ({"recipientAccountId": "me"}, "InvalidRecipient"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_wrong_with_an_event_is_its_own_failure(shared_inlet: Inlet, name: str) -> None:
    inlet = shared_inlet
    given_data, code = FAILURES[name]
    before = len(inlet.events())
    event = given_data if isinstance(given_data, str) else inlet.event(**given_data)
    answer = inlet.put(event, inlet.event())
    assert [each["errorCode"] for each in answer["failed"]] == [code]
    assert 0 < len(answer["failed"][0]["errorMessage"]) <= 1024
    assert len(inlet.events()) == before + 1, "the good one came in"


def test_a_wrong_checksum(shared_inlet: Inlet) -> None:
    text = json.dumps(shared_inlet.event())
    for checksum in ("", "x", "é", base64.b64encode(sha256(b"other").digest()).decode()):
        answer = shared_inlet.put({"id": "c", "eventData": text, "eventDataChecksum": checksum})
        assert answer["failed"][0]["errorCode"] == "InvalidChecksum"


def test_limits_of_a_call(shared_inlet: Inlet) -> None:
    inlet = shared_inlet
    assert len(inlet.put(*[inlet.event() for _ in range(100)])["successful"]) == 100
    many = [{"id": str(number), "eventData": "{}"} for number in range(101)]
    put = inlet.data.put_audit_events
    assert code_of(put, channelArn=inlet.arn, auditEvents=many) == "ValidationException"
    large = [{"id": str(number), "eventData": "x" * 600_000} for number in range(2)]
    assert code_of(put, channelArn=inlet.arn, auditEvents=large) == "ValidationException"
    twice = [{"id": "a", "eventData": "{}"}] * 2
    assert code_of(put, channelArn=inlet.arn, auditEvents=twice) == "DuplicatedAuditEventId"
    assert code_of(put, channelArn=inlet.arn, auditEvents=[{"id": "a b", "eventData": "{}"}]) == "ValidationException"


def test_channels_that_are_none(shared_inlet: Inlet) -> None:
    put = shared_inlet.data.put_audit_events
    one = [{"id": "a", "eventData": "{}"}]
    assert code_of(put, channelArn="arn:aws:s3:::bucket", auditEvents=one) == "InvalidChannelARN"
    assert code_of(put, channelArn="not a channel", auditEvents=one) == "InvalidChannelARN"
    assert code_of(put, channelArn=f"{shared_inlet.arn}0", auditEvents=one) == "ChannelNotFound"
    elsewhere = shared_inlet.local.client("cloudtrail-data", region="eu-west-1").put_audit_events
    assert code_of(elsewhere, channelArn=shared_inlet.arn, auditEvents=one) == "ChannelNotFound"


BODIES = (
    b"{}",
    b'{"auditEvents": null}',
    b'{"auditEvents": []}',
    b'{"auditEvents": [null]}',
    b'{"auditEvents": "x"}',
    b'{"auditEvents": [{"id": 1, "eventData": {}}]}',
    b"[",
    b"",
)


@pytest.mark.parametrize("body", BODIES)
def test_no_body_is_an_internal_error(shared_inlet: Inlet, body: bytes) -> None:
    local = shared_inlet.local
    target = f"/PutAuditEvents?channelArn={shared_inlet.arn.replace(':', '%3A').replace('/', '%2F')}"
    headers = {"Content-Type": "application/json"}
    status, _, _ = local.request(local.sign("POST", target, service="cloudtrail-data", headers=headers, body=body))
    assert status == 400


def test_what_the_journal_did_not_take_is_told_and_can_be_sent_again(
    inlet: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{"id": str(number), "eventData": json.dumps(inlet.event(UID=str(number)))} for number in range(3)]
    commit: Any = inlet.local.runtime.door.recorder._commit
    submit = commit.submit

    def refuse_one(entry: Any, on_done: Any) -> None:
        if b'"UID":"1"' in entry.payload and b"ActivityAuditLog" in entry.route:
            raise JournalError("the disk is full", retryable=True)
        submit(entry, on_done)

    monkeypatch.setattr(commit, "submit", refuse_one)
    answer = inlet.put(*events)
    assert [each["id"] for each in answer["successful"]] == ["0", "2"]
    assert [(each["id"], each["errorCode"]) for each in answer["failed"]] == [("1", "InternalFailure")]
    monkeypatch.undo()
    assert len(inlet.put(*events)["successful"]) == 3
    assert [each["eventData"]["UID"] for each in inlet.events()] == ["0", "2", "1"]


def test_who_may_put(inlet: Inlet) -> None:
    local = inlet.local
    allowed = local.new_user("writer", {"Effect": "Allow", "Action": "cloudtrail-data:*", "Resource": inlet.arn})
    denied = local.new_user("reader", {"Effect": "Allow", "Action": "cloudtrail:*", "Resource": "*"})
    one = {"channelArn": inlet.arn, "auditEvents": [{"id": "a", "eventData": json.dumps(inlet.event())}]}
    assert local.client("cloudtrail-data", allowed).put_audit_events(**one)["failed"] == []
    with pytest.raises(ClientError, match="not authorized to perform: cloudtrail-data:PutAuditEvents"):
        local.client("cloudtrail-data", denied).put_audit_events(**one)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[LiveServer, Tenant, Tenant]]:
    server = LiveServer(tmp_path / "data")
    server.start()
    try:
        yield server, first_account(server), make_account(server, "sender")
    finally:
        server.end()


def test_another_account_needs_the_channels_policy_and_its_external_id(
    pair: tuple[LiveServer, Tenant, Tenant],
) -> None:
    _, owner, sender = pair
    cloudtrail = owner.client("cloudtrail")
    arn = cloudtrail.create_channel(Name="orders", Source="Custom", Destinations=[DESTINATION])["ChannelArn"]
    event = json.dumps({**EVENT, "recipientAccountId": owner.account_id})
    one = {"channelArn": arn, "auditEvents": [{"id": "a", "eventData": event}]}
    put = sender.client("cloudtrail-data").put_audit_events
    assert code_of(put, **one) == "ChannelInsufficientPermission"
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{sender.account_id}:root"},
        "Action": "cloudtrail-data:PutAuditEvents",
        "Resource": arn,
        "Condition": {"StringEquals": {"cloudtrail:ExternalId": "agreed"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert cloudtrail.put_resource_policy(ResourceArn=arn, ResourcePolicy=policy)["ResourcePolicy"] == policy
    with pytest.raises(ClientError, match="not authorized"):
        put(**one)
    assert len(put(**one, externalId="agreed")["successful"]) == 1
    assert cloudtrail.get_resource_policy(ResourceArn=arn)["ResourcePolicy"] == policy
    cloudtrail.delete_resource_policy(ResourceArn=arn)
    assert code_of(cloudtrail.get_resource_policy, ResourceArn=arn) == "ResourcePolicyNotFoundException"
    assert code_of(put, **one, externalId="agreed") == "ChannelInsufficientPermission"


def test_events_are_delivered_to_the_trails_that_record_management_events(
    pair: tuple[LiveServer, Tenant, Tenant],
) -> None:
    server, owner, _ = pair
    cloudtrail = owner.client("cloudtrail")
    for name, mode in (("all", "All"), ("writes", "WriteOnly"), ("reads", "ReadOnly")):
        bucket = f"{name}-logs"
        owner.make_bucket(bucket, log_bucket_policy(bucket, account_ids=[owner.account_id]))
        cloudtrail.create_trail(Name=name, S3BucketName=bucket)
        selector = {"ReadWriteType": mode, "IncludeManagementEvents": True}
        cloudtrail.put_event_selectors(TrailName=name, EventSelectors=[selector])
        cloudtrail.start_logging(Name=name)
    arn = cloudtrail.create_channel(Name="orders", Source="Custom", Destinations=[DESTINATION])["ChannelArn"]
    event = {**EVENT, "recipientAccountId": owner.account_id}
    texts = [
        json.dumps({**event, "UID": "wrote"}),
        json.dumps({**event, "UID": "read", "additionalEventData": {"readOnly": True}}),
    ]
    owner.client("cloudtrail-data").put_audit_events(
        channelArn=arn, auditEvents=[{"id": str(number), "eventData": text} for number, text in enumerate(texts)]
    )
    server.flush()
    found = {
        name: [
            record["eventData"]["UID"]
            for _, record in fetch_records(owner, f"{name}-logs")
            if record["eventCategory"] == "ActivityAuditLog"
        ]
        for name in ("all", "writes", "reads")
    }
    assert found == {"all": ["wrote", "read"], "writes": ["wrote"], "reads": ["read"]}


def test_channels(local: Any) -> None:
    cloudtrail = local.client("cloudtrail")
    tags = [{"Key": "team", "Value": "a"}]
    made = cloudtrail.create_channel(Name="one", Source="Custom", Destinations=[DESTINATION], Tags=tags)
    arn = made["ChannelArn"]
    assert (made["Name"], made["Source"], made["Destinations"], made["Tags"]) == ("one", "Custom", [DESTINATION], tags)
    assert code_of(cloudtrail.create_channel, Name="one", Source="Custom", Destinations=[DESTINATION]) == (
        "ChannelAlreadyExistsException"
    )
    cloudtrail.add_tags(ResourceId=arn, TagsList=[{"Key": "x", "Value": "y"}])
    cloudtrail.remove_tags(ResourceId=arn, TagsList=[{"Key": "team"}])
    assert cloudtrail.list_tags(ResourceIdList=[arn])["ResourceTagList"] == [
        {"ResourceId": arn, "TagsList": [{"Key": "x", "Value": "y"}]}
    ]
    assert cloudtrail.update_channel(Channel=arn, Name="uno")["Name"] == "uno"
    assert "IngestionStatus" not in cloudtrail.get_channel(Channel=arn)
    assert cloudtrail.get_channel(Channel=arn.rpartition("/")[2])["Name"] == "uno"
    for number in range(24):
        cloudtrail.create_channel(Name=f"more-{number}", Source="Custom", Destinations=[DESTINATION])
    assert code_of(cloudtrail.create_channel, Name="last", Source="Custom", Destinations=[DESTINATION]) == (
        "ChannelMaxLimitExceededException"
    )
    page = cloudtrail.list_channels(MaxResults=20)
    rest = cloudtrail.list_channels(MaxResults=20, NextToken=page["NextToken"])
    assert "NextToken" not in rest
    arns = [each["ChannelArn"] for each in page["Channels"] + rest["Channels"]]
    assert len(set(arns)) == 25
    assert arns == sorted(arns)
    assert local.client("cloudtrail", region="eu-west-1").list_channels()["Channels"] == []
    cloudtrail.delete_channel(Channel=arn)
    assert code_of(cloudtrail.get_channel, Channel=arn) == "ChannelNotFoundException"
    assert code_of(cloudtrail.list_tags, ResourceIdList=[arn]) == "ChannelNotFoundException"


def test_what_channels_refuse(shared_inlet: Inlet) -> None:
    cloudtrail, arn = shared_inlet.cloudtrail, shared_inlet.arn
    good = {"Name": "good", "Source": "Custom", "Destinations": [DESTINATION]}

    def refusal(**changes: Any) -> str:
        return code_of(cloudtrail.create_channel, **{**good, **changes})

    store = f"arn:aws:cloudtrail:us-east-1:{shared_inlet.account}:eventdatastore/e"
    assert refusal(Name="a b") == "InvalidParameterException"
    assert refusal(Source="Acme") == "InvalidSourceException"
    assert refusal(Destinations=[{"Type": "EVENT_DATA_STORE", "Location": store}]) == "EventDataStoreNotFoundException"
    assert (
        refusal(Destinations=[{"Type": "EVENT_DATA_STORE", "Location": "xyz"}]) == "EventDataStoreARNInvalidException"
    )
    assert (
        refusal(Destinations=[{"Type": "AWS_SERVICE", "Location": "s3.amazonaws.com"}]) == "InvalidParameterException"
    )
    assert refusal(Tags=[{"Key": "a"}, {"Key": "a"}]) == "InvalidTagParameterException"
    assert code_of(cloudtrail.get_channel, Channel="arn:aws:s3:::b") == "ChannelARNInvalidException"
    assert code_of(cloudtrail.delete_channel, Channel="nothing") == "ChannelNotFoundException"
    assert code_of(cloudtrail.list_channels, NextToken="====") == "InvalidNextTokenException"
    policy = cloudtrail.put_resource_policy
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": "444455556666"},
        "Action": "cloudtrail-data:PutAuditEvents",
        "Resource": arn,
    }

    def policy_refusal(**changes: Any) -> str:
        document = {"Version": "2012-10-17", "Statement": [{**statement, **changes}]}
        return code_of(policy, ResourceArn=arn, ResourcePolicy=json.dumps(document))

    assert policy_refusal(Action="cloudtrail:*") == "ResourcePolicyNotValidException"
    assert policy_refusal(Resource="*") == "ResourcePolicyNotValidException"
    assert policy_refusal(Principal={"AWS": [str(111111111111 + each) for each in range(51)]}) == (
        "ResourcePolicyNotValidException"
    )
    assert code_of(policy, ResourceArn=arn, ResourcePolicy="{") == "ResourcePolicyNotValidException"
    assert code_of(policy, ResourceArn=store, ResourcePolicy="{}") == "ResourceTypeNotSupportedException"
    assert code_of(policy, ResourceArn=f"{arn}0", ResourcePolicy="{}") == "ResourceNotFoundException"
    assert code_of(policy, ResourceArn="channel", ResourcePolicy="{}") == "ResourceARNNotValidException"


def test_the_channel_tells_what_came_in(inlet: Inlet) -> None:
    inlet.put(inlet.event())
    inlet.put("{}")
    status = inlet.cloudtrail.get_channel(Channel=inlet.arn)["IngestionStatus"]
    assert status["LatestIngestionSuccessEventID"] == inlet.events()[0]["eventID"]
    assert status["LatestIngestionErrorCode"] == "FieldNotFound"
    assert status["LatestIngestionAttemptTime"] >= status["LatestIngestionSuccessTime"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.dictionaries(st.sampled_from(sorted(EVENT)), _JSON, max_size=4)


@settings(max_examples=120, deadline=None)
@given(
    changes=_FIELDS,
    identity=st.none() | st.dictionaries(st.sampled_from(["type", "principalId", "details", "x"]), _JSON),
    cut=st.integers(0, 400) | st.none(),
)
def test_event_data_of_any_form_comes_in_whole_or_is_told_why_not(
    shared_inlet: Inlet, changes: dict[str, Any], identity: Any, cut: int | None
) -> None:
    event = {**shared_inlet.event(), **changes}
    if identity is not None:
        event["userIdentity"] = identity
    text = json.dumps(event)[:cut]
    answer = shared_inlet.put(text)
    if answer["failed"]:
        (failed,) = answer["failed"]
        assert failed["errorCode"] in {
            "FieldTooLong", "FieldNotFound", "InvalidData", "InvalidRecipient", "InvalidEventSource"
        }  # fmt: skip
        return
    (taken,) = answer["successful"]
    last = shared_inlet.local.entries()[-2]
    record = json.loads(bytes(last.payload))
    assert record["eventID"] == taken["eventID"]
    assert record["eventData"] == json.loads(text)


def test_a_channels_policy_trusts_no_namesake(local: Any) -> None:
    inlet = Inlet(local)
    iam = local.client("iam")
    local.new_user("bob")
    bob = f"arn:aws:iam::{inlet.account}:user/bob"
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": bob},
        "Action": "cloudtrail-data:PutAuditEvents",
        "Resource": inlet.arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))
    inlet.cloudtrail.put_resource_policy(ResourceArn=inlet.arn, ResourcePolicy=policy)
    assert inlet.cloudtrail.get_resource_policy(ResourceArn=inlet.arn)["ResourcePolicy"] == policy
    (key,) = iam.list_access_keys(UserName="bob")["AccessKeyMetadata"]
    iam.delete_access_key(UserName="bob", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="bob")
    put = inlet.cloudtrail.put_resource_policy
    assert code_of(put, ResourceArn=inlet.arn, ResourcePolicy=policy) == "ResourcePolicyNotValidException"
    namesake = local.client("cloudtrail-data", local.new_user("bob"))
    events = [{"id": "1", "eventData": "{}"}]
    with pytest.raises(ClientError, match="not authorized"):
        namesake.put_audit_events(channelArn=inlet.arn, auditEvents=events)
