"""The condition keys that describe a caller: each form of identity, and what its session was issued with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opentrail.core.identity import (
    ANONYMOUS,
    Identity,
    IdentityType,
    Session,
    SessionIssuer,
    WebIdentity,
    root_identity,
    service_identity,
    web_identity_user,
)
from opentrail.core.policy import principal_context

ACCOUNT = "123456789012"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB = WebIdentity(
    provider_arn=f"arn:aws:iam::{ACCOUNT}:oidc-provider/idp.example.com/Realm",
    issuer="idp.example.com/Realm",
    claims={"aud": ("client",), "sub": ("Subject",), "amr": ("pwd", "otp")},
)
WEB_KEYS = {
    "idp.example.com/realm:aud": ["client"],
    "idp.example.com/realm:sub": ["Subject"],
    "idp.example.com/realm:amr": ["pwd", "otp"],
    "aws:federatedprovider": [WEB.provider_arn],
}
ROLE = SessionIssuer(
    type="Role", principal_id="AROAX", arn=f"arn:aws:iam::{ACCOUNT}:role/a/R", account_id=ACCOUNT, user_name="R"
)
USER = SessionIssuer(
    type="IAMUser", principal_id="AIDAX", arn=f"arn:aws:iam::{ACCOUNT}:user/U", account_id=ACCOUNT, user_name="U"
)
ROOT = SessionIssuer(
    type="Root", principal_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", account_id=ACCOUNT, user_name=""
)


def role_session(**parts: Any) -> Identity:
    session = Session(issuer=ROLE, creation_date=START, expiration=START + timedelta(hours=1), name="me", **parts)
    return Identity(
        type=IdentityType.ASSUMED_ROLE,
        principal_id="AROAX:me",
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/R/me",
        account_id=ACCOUNT,
        session=session,
        tags={"Team": "Blue"},
    )


def test_a_roles_session_is_its_role_by_arn_and_itself_by_id() -> None:
    assert principal_context(role_session()) == {
        "aws:principalisawsservice": ["false"],
        "aws:principalarn": [ROLE.arn],
        "aws:principalaccount": [ACCOUNT],
        "aws:userid": ["AROAX:me"],
        "aws:principaltype": ["AssumedRole"],
        "aws:multifactorauthpresent": ["false"],
        "aws:tokenissuetime": ["2026-03-01T12:00:00Z"],
        "aws:rolesessionname": ["me"],
        "sts:rolesessionname": ["me"],
        "aws:principaltag/team": ["Blue"],
    }


def test_a_session_brings_what_it_was_issued_with() -> None:
    context = principal_context(role_session(source_identity="alice", web_identity=WEB, mfa_authenticated=True))
    assert context["aws:sourceidentity"] == ["alice"]
    assert context["aws:multifactorauthpresent"] == ["true"]
    assert WEB_KEYS.items() <= context.items()


def test_a_tokens_bearer_is_no_principal_of_the_account_yet() -> None:
    bearer = web_identity_user(ACCOUNT, WEB)
    assert principal_context(bearer) == {"aws:principalisawsservice": ["false"], **WEB_KEYS}
    assert bearer.principal_id == f"{WEB.provider_arn}:client:Subject"


@pytest.mark.parametrize("identity", [root_identity(ACCOUNT), ANONYMOUS, service_identity("cloudtrail.amazonaws.com")])
def test_long_term_keys_and_nobody_have_no_session_keys(identity: Identity) -> None:
    context = principal_context(identity)
    assert not {"aws:tokenissuetime", "aws:multifactorauthpresent", "aws:rolesessionname"} & set(context)


@pytest.mark.parametrize(
    ("kind", "issuer", "policy", "grantee_id", "has_root_rights", "is_limited"),
    [
        (IdentityType.ASSUMED_ROLE, ROLE, "", "AROAX", False, False),
        (IdentityType.ASSUMED_ROLE, ROLE, "{}", "AROAX", False, True),
        (IdentityType.FEDERATED_USER, USER, "", "AIDAX", False, True),
        (IdentityType.FEDERATED_USER, ROOT, "{}", "", True, True),
        (IdentityType.IAM_USER, None, "", "PRINCIPAL", False, False),
        (IdentityType.ROOT, None, "", "", True, False),
    ],
)
def test_whose_policies_speak_for_a_session(
    *,
    kind: IdentityType,
    issuer: SessionIssuer | None,
    policy: str,
    grantee_id: str,
    has_root_rights: bool,
    is_limited: bool,
) -> None:
    session = Session(issuer=issuer, creation_date=START, policy=policy)
    identity = Identity(type=kind, principal_id="PRINCIPAL", account_id=ACCOUNT, session=session)
    assert (identity.grantee_id, identity.has_root_rights, identity.is_limited) == (
        grantee_id,
        has_root_rights,
        is_limited,
    )
