"""Principals by their unique ids: what is replaced, what is not, and the way back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.policy import pin_principals, unpin_principals

ALICE = "arn:aws:iam::123456789012:user/alice"
ROLE = "arn:aws:iam::123456789012:role/path/reader"
IDS = {ALICE: "AIDAEXAMPLEALICE0000A", ROLE: "AROAEXAMPLEREADER000A"}
NAMES = {unique_id: name for name, unique_id in IDS.items()}
UNTOUCHED = ("*", "123456789012", "arn:aws:iam::123456789012:root", "arn:aws:sts::123456789012:assumed-role/reader/s")


def resolve(name: str) -> str | None:
    return IDS.get(name) or (name if name in NAMES else None)


def policy(element: str, principal: Any) -> str:
    statement = {
        "Effect": "Deny",
        element: principal,
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"ArnEquals": {"aws:PrincipalArn": ALICE}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=1)


def principal_of(text: str, element: str = "Principal") -> Any:
    return json.loads(text)["Statement"][0][element]


@pytest.mark.parametrize("element", ["Principal", "NotPrincipal"])
def test_users_and_roles_are_replaced_and_nothing_else(element: str) -> None:
    pinned = pin_principals(policy(element, {"AWS": [ALICE, *UNTOUCHED, ROLE], "Service": "x.amazonaws.com"}), resolve)
    expected = {"AWS": [IDS[ALICE], *UNTOUCHED, IDS[ROLE]], "Service": "x.amazonaws.com"}
    assert principal_of(pinned, element) == expected
    assert json.loads(pinned)["Statement"][0]["Condition"] == {"ArnEquals": {"aws:PrincipalArn": ALICE}}
    assert principal_of(pin_principals(policy(element, {"AWS": ALICE}), resolve), element) == {"AWS": IDS[ALICE]}


def test_an_escaped_text_is_no_way_around_it() -> None:
    escaped = policy("Principal", {"AWS": ALICE}).replace('"AWS"', '"\\u0041WS"').replace("alice", "\\u0061lice")
    assert principal_of(pin_principals(escaped, resolve)) == {"AWS": IDS[ALICE]}


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": list(UNTOUCHED)}, {"Service": "s3.amazonaws.com"}])
def test_a_policy_without_them_stays_as_it_was_written(principal: Any) -> None:
    text = policy("Principal", principal)
    assert pin_principals(text, resolve) == text
    assert unpin_principals(text, NAMES.get) == text


@pytest.mark.parametrize("name", [ALICE.replace("alice", "bob"), "AIDANOBODYNOBODY00000"])
def test_who_does_not_exist_is_refused_by_name(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        pin_principals(policy("Principal", {"AWS": [ALICE, name]}), resolve)
    assert str(caught.value) == f'Invalid principal in policy: "AWS":"{name}"'


def test_who_is_gone_shows_as_a_bare_id() -> None:
    pinned = pin_principals(policy("Principal", {"AWS": [ALICE, ROLE]}), resolve)
    gone = {IDS[ROLE]: ROLE}
    assert principal_of(unpin_principals(pinned, gone.get)) == {"AWS": [IDS[ALICE], ROLE]}


@given(st.lists(st.sampled_from([ALICE, ROLE, *UNTOUCHED]), min_size=1), st.text(max_size=8))
def test_reading_shows_what_was_written(principals: list[str], sid: str) -> None:
    document = {"Id": sid, "Statement": {"Effect": "Allow", "Principal": {"AWS": principals}, "Action": "s3:*"}}
    text = json.dumps(document)
    assert json.loads(unpin_principals(pin_principals(text, resolve), NAMES.get)) == document
