"""A call that touches several accounts: who receives its record, and what each of them is shown."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import ANONYMOUS, Identity, IdentityType, root_identity, service_identity
from opentrail.core.recording import build_event, choose_recipient, shared_copy
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

CALLER, OWNER, THIRD = "111111111111", "222222222222", "333333333333"
USER = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLE",
    arn=f"arn:aws:iam::{CALLER}:user/alice",
    account_id=CALLER,
    access_key_id="AKIAEXAMPLE",
    user_name="alice",
)
RULES = load_rules()
EVENT_ID = "8f4c1f6e-5f0c-4a4b-9d0c-0d8f3b1f2a3b"


@pytest.fixture(scope="module")
def catalog() -> BotocoreCatalog:
    return BotocoreCatalog()


def make_call(catalog: BotocoreCatalog, service: str, operation: str, identity: Identity, **more: Any) -> ApiCall:
    return ApiCall(
        operation=catalog.service(service).operations[operation],
        parameters={"Bucket": "b", "Key": "k"} if service == "s3" else {},
        identity=identity,
        region="eu-central-1",
        now=datetime(2026, 1, 1, tzinfo=UTC),
        event_id=EVENT_ID,
        request_id="r",
        request=HttpRequest(method="GET", path="/b/k", headers=Headers([("user-agent", "agent")])),
        **more,
    )


@pytest.mark.parametrize(
    ("owner", "others", "account_id", "shared_with"),
    [
        (CALLER, (), CALLER, ()),  # its own resource
        ("", (), CALLER, ()),  # nobody's
        (OWNER, (), CALLER, (OWNER,)),
        (CALLER, (OWNER,), CALLER, (OWNER,)),  # a copy out of another's bucket into its own
        (OWNER, (CALLER,), CALLER, (OWNER,)),
        (OWNER, (THIRD,), CALLER, (OWNER, THIRD)),
        (OWNER, (OWNER,), CALLER, (OWNER,)),
    ],
)
def test_who_receives_a_user_s_call(
    catalog: BotocoreCatalog, owner: str, others: tuple[str, ...], account_id: str, shared_with: tuple[str, ...]
) -> None:
    call = make_call(catalog, "s3", "GetObject", USER)
    for refused in (False, True):
        recipient = choose_recipient(call, owner, others, refused=refused)
        assert (recipient.account_id, recipient.resource_account, recipient.shared_with) == (
            account_id,
            owner,
            shared_with,
        )


def test_a_refused_role_shows_nothing_to_its_owner(catalog: BotocoreCatalog) -> None:
    call = make_call(catalog, "sts", "AssumeRole", USER)
    assert choose_recipient(call, OWNER, refused=False).shared_with == (OWNER,)
    assert choose_recipient(call, OWNER, refused=True).shared_with == ()


def test_unsigned_calls_are_the_owner_s_alone(catalog: BotocoreCatalog) -> None:
    call = make_call(catalog, "s3", "GetObject", ANONYMOUS)
    recipient = choose_recipient(call, OWNER, refused=False)
    assert (recipient.account_id, recipient.shared_with) == (OWNER, ())
    assert choose_recipient(call, "", refused=True).account_id == ""


def test_a_service_s_call_is_shared_with_whom_it_is_made_for(catalog: BotocoreCatalog) -> None:
    arn = f"arn:aws:cloudtrail:eu-central-1:{CALLER}:trail/main"
    call = make_call(catalog, "s3", "PutObject", service_identity("cloudtrail.amazonaws.com"), source_arn=arn)
    recipient = choose_recipient(call, OWNER, refused=False)
    assert (recipient.account_id, recipient.shared_with) == (OWNER, (CALLER,))
    assert choose_recipient(call, CALLER, refused=False).shared_with == ()


def make_record(catalog: BotocoreCatalog, identity: Identity, fault: ServiceFault | None = None) -> dict[str, Any]:
    call = make_call(catalog, "s3", "GetObject", identity)
    outcome = Outcome(fault=fault) if fault else Outcome(result={})
    recipient = choose_recipient(call, OWNER, refused=fault is not None)
    event = build_event(call, outcome, RULES, recipient)
    assert event.shared_with == (OWNER,)
    return dict(event.record)


def test_both_copies_share_an_id_and_differ_in_theirs(catalog: BotocoreCatalog) -> None:
    record = make_record(catalog, USER)
    copy = shared_copy(record, OWNER)
    assert copy["sharedEventID"] == record["sharedEventID"]
    ids = [record["eventID"], copy["eventID"], copy["sharedEventID"], shared_copy(record, THIRD)["eventID"]]
    assert record["eventID"] == EVENT_ID
    assert len({str(uuid.UUID(each)) for each in ids}) == 4
    assert (record["recipientAccountId"], copy["recipientAccountId"]) == (CALLER, OWNER)
    assert shared_copy(record, OWNER) == copy, "always the same: a file that is written again has the same bytes"
    differing = {name for name in record if record[name] != copy[name]}
    assert differing == {"userIdentity", "eventID", "recipientAccountId"}
    assert list(copy) == list(record), "AWS's order of fields"


def test_the_owner_is_told_the_account_and_the_principal(catalog: BotocoreCatalog) -> None:
    copy = shared_copy(make_record(catalog, USER), OWNER)
    assert copy["userIdentity"] == {"type": "AWSAccount", "principalId": "AIDAEXAMPLE", "accountId": CALLER}
    copy = shared_copy(make_record(catalog, root_identity(CALLER, "AKIAEXAMPLE")), OWNER)
    assert copy["userIdentity"] == {"type": "AWSAccount", "principalId": CALLER, "accountId": CALLER}


def test_the_owner_of_a_bucket_sees_who_was_refused(catalog: BotocoreCatalog) -> None:
    fault = ServiceFault("AccessDenied", "Access Denied", status=403)
    copy = shared_copy(make_record(catalog, USER, fault), OWNER)
    assert (copy["errorCode"], copy["recipientAccountId"]) == ("AccessDenied", OWNER)


def test_a_call_within_one_account_shares_nothing(catalog: BotocoreCatalog) -> None:
    call = make_call(catalog, "s3", "GetObject", USER)
    event = build_event(call, Outcome(result={}), RULES, choose_recipient(call, CALLER, refused=False))
    assert event.shared_with == ()
    assert "sharedEventID" not in event.record
