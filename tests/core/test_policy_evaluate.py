"""Decisions: the documentation's rules for one account and two, the words of a denial, and laws that always hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from opentrail.core.policy import (
    AuthorizationRequest,
    Decision,
    Policy,
    PolicyKind,
    PolicySet,
    PolicyType,
    call_context,
    evaluate,
    parse_policy,
    principal_context,
)

ACCOUNT = "123456789012"
OTHER = "210987654321"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
OBJECT = "arn:aws:s3:::b/home/alice/k"

ALICE = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLEALICE0",
    arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
    account_id=ACCOUNT,
    user_name="alice",
    tags={"Team": "red"},
)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/auditor"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/auditor/today"
AUDITOR = Identity(
    type=IdentityType.ASSUMED_ROLE,
    principal_id="AROAEXAMPLEAUDITOR:today",
    arn=SESSION,
    account_id=ACCOUNT,
    session=Session(
        creation_date=NOW,
        issuer=SessionIssuer(
            type="Role", principal_id="AROAEXAMPLEAUDITOR", arn=ROLE, account_id=ACCOUNT, user_name="auditor"
        ),
    ),
)


def _policy(*statements: dict[str, Any], policy_type: PolicyType = PolicyType.IDENTITY, name: str = "p") -> Policy:
    filled = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*", **statement} for statement in statements]
    text = json.dumps({"Version": "2012-10-17", "Statement": filled})
    return Policy(name=name, document=parse_policy(text, policy_type))


def _bucket(*statements: dict[str, Any]) -> tuple[Policy, ...]:
    return (_policy(*statements, policy_type=PolicyType.BUCKET, name="arn:aws:s3:::b"),)


ALLOWS = (_policy({}),)
DENIES = (_policy({}, {"Effect": "Deny", "Sid": "No"}),)
ELSEWHERE = (_policy({"Action": "ec2:*"}),)


def _ask(principal: Identity = ALICE, owner: str = ACCOUNT, **policies: Any) -> Decision:
    request = AuthorizationRequest(
        principal=principal,
        action="s3:GetObject",
        resource=OBJECT,
        resource_account=owner,
        context=principal_context(principal) | call_context(now=NOW, source_ip="203.0.113.7", region="eu-west-1"),
    )
    return evaluate(request, PolicySet(**policies))


def _why(decision: Decision) -> PolicyKind | None:
    assert not decision.allowed
    return decision.kind


# One account ---------------------------------------------------------------------------------------------------------


def test_nothing_is_allowed_by_default() -> None:
    decision = _ask()
    assert _why(decision) is PolicyKind.IDENTITY
    (missing,) = decision.explain()["missing"]
    assert missing["text"] == "no identity-based policy allows the s3:GetObject action"


def test_an_identity_policy_or_the_resources_policy_is_enough() -> None:
    decision = _ask(identity=ALLOWS)
    assert decision.allowed
    assert decision.explicit
    assert (decision.kind, decision.policy) == (PolicyKind.IDENTITY, "p")
    assert _ask(resource=_bucket({"Principal": {"AWS": ALICE.arn}})).allowed
    assert _ask(resource=_bucket({"Principal": "*"})).allowed


@pytest.mark.parametrize("kind", ["identity", "resource", "boundary", "session", "service_control"])
def test_an_explicit_deny_anywhere_wins(kind: str) -> None:
    policies: dict[str, Any] = {
        "identity": ALLOWS,
        "resource": _bucket({"Principal": "*"}),
        "boundary": ALLOWS,
        "session": ALLOWS,
        "service_control": (ALLOWS,),
    }
    assert _ask(**policies).allowed
    denies: Any = {"resource": _bucket({"Principal": "*", "Effect": "Deny"}), "service_control": (DENIES,)}
    decision = _ask(**{**policies, kind: denies.get(kind, DENIES)})
    words = {
        "identity": "identity-based policy",
        "resource": "resource-based policy",
        "boundary": "permissions boundary",
        "session": "session policy",
        "service_control": "service control policy",
    }
    assert not decision.allowed
    assert decision.explicit
    assert str(decision.kind) == words[kind]
    root = _ask(root_identity(ACCOUNT), **{**policies, kind: denies.get(kind, DENIES)})
    assert not root.allowed


def test_the_root_user_may_do_everything_at_home() -> None:
    assert _ask(root_identity(ACCOUNT)).allowed
    assert not _ask(root_identity(ACCOUNT)).explicit
    assert _why(_ask(root_identity(ACCOUNT), service_control=(ELSEWHERE,))) is PolicyKind.SERVICE_CONTROL
    assert _why(_ask(root_identity(ACCOUNT), owner=OTHER)) is PolicyKind.RESOURCE
    assert _ask(root_identity(ACCOUNT), owner=OTHER, resource=_bucket({"Principal": {"AWS": ACCOUNT}})).allowed


def test_a_boundary_limits_what_identity_policies_grant() -> None:
    assert _ask(identity=ALLOWS, boundary=ALLOWS).allowed
    assert _why(_ask(identity=ALLOWS, boundary=ELSEWHERE)) is PolicyKind.BOUNDARY
    assert _why(_ask(identity=ALLOWS, boundary=())) is PolicyKind.BOUNDARY
    assert _why(_ask(boundary=ALLOWS)) is PolicyKind.IDENTITY


def test_session_policies_limit_a_session() -> None:
    assert _ask(AUDITOR, identity=ALLOWS, session=ALLOWS).allowed
    assert _why(_ask(AUDITOR, identity=ALLOWS, session=ELSEWHERE)) is PolicyKind.SESSION


def test_naming_a_user_overrules_the_missing_allow_of_its_boundary() -> None:
    grant = _bucket({"Principal": {"AWS": ALICE.arn}})
    assert _ask(resource=grant, boundary=ELSEWHERE).allowed
    assert _why(_ask(resource=_bucket({"Principal": "*"}), boundary=ELSEWHERE)) is PolicyKind.BOUNDARY


def test_naming_a_role_leaves_its_limits_but_naming_its_session_does_not() -> None:
    by_role = _bucket({"Principal": {"AWS": ROLE}})
    assert _ask(AUDITOR, resource=by_role).allowed
    assert _why(_ask(AUDITOR, resource=by_role, boundary=ELSEWHERE)) is PolicyKind.BOUNDARY
    assert _why(_ask(AUDITOR, resource=by_role, session=ELSEWHERE)) is PolicyKind.SESSION
    by_session = _bucket({"Principal": {"AWS": SESSION}})
    assert _ask(AUDITOR, resource=by_session, boundary=ELSEWHERE, session=ELSEWHERE).allowed
    by_id = _bucket({"Principal": {"AWS": "AROAEXAMPLEAUDITOR"}})
    assert _why(_ask(AUDITOR, resource=by_id, session=ELSEWHERE)) is PolicyKind.SESSION


def test_naming_the_account_lets_the_account_decide() -> None:
    grant = _bucket({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}})
    assert _why(_ask(resource=grant)) is PolicyKind.IDENTITY
    assert _ask(resource=grant, identity=ALLOWS).allowed
    deny = _bucket({"Principal": {"AWS": ACCOUNT}, "Effect": "Deny"})
    assert _why(_ask(resource=deny, identity=ALLOWS)) is PolicyKind.RESOURCE


def test_every_level_of_service_control_must_allow() -> None:
    assert _ask(identity=ALLOWS, service_control=(ALLOWS, ALLOWS)).allowed
    for levels in ((ALLOWS, ELSEWHERE), (ELSEWHERE, ALLOWS), (ALLOWS, ())):
        decision = _ask(identity=ALLOWS, resource=_bucket({"Principal": {"AWS": ALICE.arn}}), service_control=levels)
        assert _why(decision) is PolicyKind.SERVICE_CONTROL


def test_where_only_the_resources_policy_opens_the_door() -> None:
    assert _why(_ask(identity=ALLOWS, resource_must_allow=True)) is PolicyKind.RESOURCE
    account = _bucket({"Principal": {"AWS": ACCOUNT}})
    assert _ask(identity=ALLOWS, resource=account, resource_must_allow=True).allowed
    assert _why(_ask(resource=account, resource_must_allow=True)) is PolicyKind.IDENTITY
    assert not _ask(root_identity(ACCOUNT), resource_must_allow=True).allowed


# Two accounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("principal", [ALICE.arn, ACCOUNT, "*"])
def test_across_accounts_both_sides_must_allow(principal: str) -> None:
    grant = _bucket({"Principal": {"AWS": principal}})
    assert _ask(owner=OTHER, identity=ALLOWS, resource=grant).allowed
    assert _why(_ask(owner=OTHER, identity=ALLOWS)) is PolicyKind.RESOURCE
    assert _why(_ask(owner=OTHER, resource=grant)) is PolicyKind.IDENTITY
    assert _why(_ask(owner=OTHER, identity=ALLOWS, resource=grant, boundary=ELSEWHERE)) is PolicyKind.BOUNDARY
    assert _why(_ask(owner=OTHER, identity=ALLOWS, resource=grant, service_control=(ELSEWHERE,)))
    (missing,) = _ask(owner=OTHER, identity=ALLOWS).explain()["missing"]
    assert missing["text"] == "no resource-based policy allows the s3:GetObject action"


# Services and the unsigned -------------------------------------------------------------------------------------------


def test_a_service_needs_the_resources_policy_and_its_conditions() -> None:
    statement = {
        "Principal": {"Service": "cloudtrail.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceArn": "arn:aws:cloudtrail:eu-west-1:123456789012:trail/t"}},
    }
    cloudtrail = service_identity("cloudtrail.amazonaws.com")

    def ask(source_arn: str) -> Decision:
        context = principal_context(cloudtrail) | call_context(now=NOW, source_arn=source_arn)
        request = AuthorizationRequest(
            principal=cloudtrail, action="s3:PutObject", resource=OBJECT, resource_account=OTHER, context=context
        )
        return evaluate(request, PolicySet(resource=_bucket(statement), service_control=(ELSEWHERE,)))

    assert ask("arn:aws:cloudtrail:eu-west-1:123456789012:trail/t").allowed
    denied = ask("arn:aws:cloudtrail:eu-west-1:123456789012:trail/other")
    assert denied.explain()["principal"] == "cloudtrail.amazonaws.com"
    assert [near.reason for near in denied.near()] == ["StringEquals aws:SourceArn"]
    assert _why(_ask(cloudtrail)) is PolicyKind.RESOURCE


def test_the_unsigned_need_a_policy_for_everybody() -> None:
    assert _ask(ANONYMOUS, resource=_bucket({"Principal": "*"})).allowed
    decision = _ask(ANONYMOUS, identity=ALLOWS, resource=_bucket({"Principal": {"AWS": ALICE.arn}}))
    assert _why(decision) is PolicyKind.RESOURCE
    assert decision.explain()["principal"] == "anonymous"


@pytest.mark.parametrize(
    ("principal", "named", "spared"),
    [
        (ALICE, [ALICE.arn], True),
        (ALICE, [ALICE.principal_id], True),
        (ALICE, [ACCOUNT], False),
        (AUDITOR, [SESSION], True),
        (AUDITOR, [ROLE, ACCOUNT], False),
        (root_identity(ACCOUNT), [ACCOUNT], True),
        (root_identity(ACCOUNT), [ALICE.arn], False),
        (service_identity("config.amazonaws.com"), [ALICE.arn], False),
        (ANONYMOUS, ["*"], True),
        (ANONYMOUS, [ALICE.arn], False),
    ],
)
def test_not_principal_spares_whoever_it_names_himself(principal: Identity, named: list[str], spared: bool) -> None:
    deny = _bucket({"Effect": "Deny", "NotPrincipal": {"AWS": named}})
    decision = _ask(principal, identity=ALLOWS, resource=deny)
    assert (decision.statement is not None and decision.statement.effect == "Deny") is not spared


def test_not_principal_denies_whoever_has_a_permissions_boundary() -> None:
    deny = _bucket({"Effect": "Deny", "NotPrincipal": {"AWS": ALICE.arn}})
    assert _ask(identity=ALLOWS, resource=deny).allowed
    assert _why(_ask(identity=ALLOWS, resource=deny, boundary=ALLOWS)) is PolicyKind.RESOURCE


# Statements ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ({"Action": "s3:Get*"}, True),
        ({"Action": "S3:GETOBJECT"}, True),
        ({"Action": "s3:PutObject"}, False),
        ({"Resource": "arn:aws:s3:::b/home/${aws:username}/*"}, True),
        ({"Resource": "arn:aws:s3:::b/home/${aws:PrincipalTag/Team}/*"}, False),
        ({"Resource": "arn:aws:s3:::b/home/${aws:PrincipalTag/Missing}/*"}, False),
        ({"Resource": "arn:aws:s3:::b/home/${aws:missing, 'alice'}/*"}, True),
        ({"Resource": "arn:aws:s3:::b"}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}, True),
        ({"Condition": {"StringEquals": {"aws:PrincipalTag/team": "red"}}}, True),
        ({"Condition": {"StringEquals": {"aws:userid": "AIDA*"}, "Bool": {"aws:SecureTransport": "true"}}}, False),
        ({"Condition": {"StringEquals": {"aws:RequestedRegion": ["eu-north-1", "eu-west-1"]}}}, True),
        ({"Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}}, True),
        ({"Condition": {"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}}, False),
    ],
)  # fmt: skip
def test_what_a_statement_covers(statement: dict[str, Any], allowed: bool) -> None:
    assert _ask(identity=(_policy(statement),)).allowed is allowed


def test_not_action_and_not_resource() -> None:
    base = {"Effect": "Allow", "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [{**base, "NotAction": ["iam:*", "s3:Put*"]}]})
    assert _ask(identity=(Policy(name="p", document=parse_policy(text, PolicyType.IDENTITY)),)).allowed
    base = {"Effect": "Allow", "Action": "*"}
    for resource, allowed in (
        ("arn:aws:s3:::b/*", False),
        ("arn:aws:s3:::c/*", True),
        ("arn:aws:s3:::${aws:x}", False),
    ):
        text = json.dumps({"Version": "2012-10-17", "Statement": [{**base, "NotResource": resource}]})
        assert _ask(identity=(Policy(name="p", document=parse_policy(text, PolicyType.IDENTITY)),)).allowed is allowed


def test_a_denial_names_the_statements_that_came_near() -> None:
    statements = (
        {"Sid": "Ip", "Condition": {"IpAddress": {"aws:SourceIp": "198.51.100.0/24"}}},
        {"Sid": "Other", "Resource": "arn:aws:s3:::c/*"},
    )
    decision = _ask(identity=(_policy(*statements, name="mine"),), resource=_bucket({"Principal": {"AWS": OTHER}}))
    near = decision.near()
    assert [(n.kind, n.policy, n.statement.sid, n.reason) for n in near] == [
        (PolicyKind.RESOURCE, "arn:aws:s3:::b", "", "principal"),
        (PolicyKind.IDENTITY, "mine", "Ip", "IpAddress aws:SourceIp"),
    ]


def test_a_decision_names_its_statement() -> None:
    decision = _ask(identity=DENIES)
    assert decision.statement is not None
    assert (decision.policy, decision.statement.sid, decision.statement.index) == ("p", "No", 1)


# Laws ----------------------------------------------------------------------------------------------------------------

_STATEMENT = st.fixed_dictionaries(
    {
        "Effect": st.sampled_from(["Allow", "Deny"]),
        "Action": st.sampled_from(["s3:*", "s3:GetObject", "s3:Put*", "*"]),
        "Resource": st.sampled_from(
            ["*", "arn:aws:s3:::b/*", "arn:aws:s3:::c/*", "arn:aws:s3:::b/home/${aws:username}/*"]
        ),
        "Condition": st.sampled_from(
            [
                {},
                {"StringEquals": {"aws:username": "alice"}},
                {"StringNotLike": {"aws:username": "al*"}},
                {"Null": {"aws:username": "true"}},
                {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
            ]
        ),
    }
)
_PRINCIPAL = st.sampled_from([
    "*", {"AWS": ACCOUNT}, {"AWS": ALICE.arn}, {"AWS": ROLE}, {"AWS": SESSION}, {"Service": "cloudtrail.amazonaws.com"}
])  # fmt: skip
_CALLER = st.sampled_from([
    ALICE, AUDITOR, ANONYMOUS, root_identity(ACCOUNT), service_identity("cloudtrail.amazonaws.com")
])  # fmt: skip
_STATEMENTS = st.lists(_STATEMENT, max_size=3)
_WORLD = st.fixed_dictionaries(
    {
        "identity": _STATEMENTS,
        "resource": st.lists(st.builds(lambda s, p: {**s, "Principal": p}, _STATEMENT, _PRINCIPAL), max_size=3),
        "boundary": st.none() | _STATEMENTS,
        "session": st.none() | _STATEMENTS,
        "service_control": st.lists(_STATEMENTS, max_size=2),
    }
)


def _set(world: dict[str, Any]) -> PolicySet:
    def group(statements: list[dict[str, Any]]) -> tuple[Policy, ...]:
        return (_policy(*statements),) if statements else ()

    return PolicySet(
        identity=group(world["identity"]),
        resource=_bucket(*world["resource"]) if world["resource"] else (),
        boundary=None if world["boundary"] is None else group(world["boundary"]),
        session=None if world["session"] is None else group(world["session"]),
        service_control=tuple(group(level) for level in world["service_control"]),
    )


def _lists(world: dict[str, Any]) -> list[list[dict[str, Any]]]:
    plain = [world[kind] for kind in ("identity", "resource", "boundary", "session") if world[kind] is not None]
    return [*plain, *world["service_control"]]


def _allowed(world: dict[str, Any], caller: Identity, owner: str) -> bool:
    context = principal_context(caller) | call_context(now=NOW, source_ip="203.0.113.7")
    request = AuthorizationRequest(
        principal=caller, action="s3:GetObject", resource=OBJECT, resource_account=owner, context=context
    )
    return evaluate(request, _set(world)).allowed


@settings(max_examples=150, deadline=None)
@given(_WORLD, _CALLER, st.sampled_from([ACCOUNT, OTHER]), st.integers(0, 20), st.none() | _STATEMENT)
def test_removing_an_allow_or_adding_a_deny_never_allows_more(
    world: dict[str, Any], caller: Identity, owner: str, which: int, added: dict[str, Any] | None
) -> None:
    before = _allowed(world, caller, owner)
    changed = json.loads(json.dumps(world))
    lists = _lists(changed)
    target = lists[which % len(lists)]
    allows = [at for at, statement in enumerate(target) if statement["Effect"] == "Allow"]
    if added:
        deny = {**added, "Effect": "Deny"}
        target.append({**deny, "Principal": "*"} if target is changed["resource"] else deny)
    elif allows:
        del target[allows[which % len(allows)]]
    assert before or not _allowed(changed, caller, owner)


@settings(max_examples=100, deadline=None)
@given(_WORLD, _CALLER, st.sampled_from([ACCOUNT, OTHER]))
def test_every_decision_explains_itself(world: dict[str, Any], caller: Identity, owner: str) -> None:
    request = AuthorizationRequest(principal=caller, action="s3:GetObject", resource=OBJECT, resource_account=owner)
    decision = evaluate(request, _set(world))
    decision.near()
    if not decision.allowed:
        assert decision.kind is not None
        assert decision.explain()["principal"]
        assert decision.explicit is (decision.statement is not None)
    elif decision.statement:
        assert decision.statement.effect == "Allow"


# Explanations --------------------------------------------------------------------------------------------------------


def test_an_explanation_in_full() -> None:
    statement = {"Sid": "Here", "Condition": {"StringEquals": {"aws:PrincipalTag/Team": ["blue", "green"]}}}
    limits = (_policy({"Action": "ec2:*"}),)
    decision = _ask(
        identity=(_policy(statement, name="mine"),),
        boundary=limits,
        service_control=(ALLOWS, limits),
        level_names=("r-abcd", "ou-abcd-12345678"),
        resource=_bucket({"Principal": {"AWS": OTHER}, "Condition": {"Null": {"aws:SourceArn": "false"}}}),
    )
    assert decision.explain() == {
        "allowed": False,
        "explicit": False,
        "principal": ALICE.arn,
        "action": "s3:GetObject",
        "resource": OBJECT,
        "kind": "service control policy",
        "policy": None,
        "statement": None,
        "missing": [
            {
                "kind": "service control policy",
                "level": "ou-abcd-12345678",
                "text": "no service control policy of ou-abcd-12345678 allows the s3:GetObject action",
            },
            {
                "kind": "identity-based policy",
                "level": None,
                "text": "no identity-based policy allows the s3:GetObject action",
            },
            {
                "kind": "permissions boundary",
                "level": None,
                "text": "no permissions boundary allows the s3:GetObject action",
            },
        ],
        "near": [
            {
                "kind": "resource-based policy",
                "policy": "arn:aws:s3:::b",
                "statement": {
                    "index": 0,
                    "sid": None,
                    "element": {
                        "Effect": "Allow",
                        "Action": "s3:*",
                        "Resource": "*",
                        "Principal": {"AWS": OTHER},
                        "Condition": {"Null": {"aws:SourceArn": "false"}},
                    },
                },
                "namesPrincipal": False,
                "conditions": [{"operator": "Null", "key": "aws:SourceArn", "wanted": ["false"], "found": None}],
            },
            {
                "kind": "identity-based policy",
                "policy": "mine",
                "statement": {
                    "index": 0,
                    "sid": "Here",
                    "element": {"Effect": "Allow", "Action": "s3:*", "Resource": "*", **statement},
                },
                "namesPrincipal": True,
                "conditions": [
                    {
                        "operator": "StringEquals",
                        "key": "aws:PrincipalTag/Team",
                        "wanted": ["blue", "green"],
                        "found": ["red"],
                    }
                ],
            },
        ],
    }
    denied = _ask(identity=DENIES).explain()
    assert (denied["explicit"], denied["kind"], denied["policy"]) == (True, "identity-based policy", "p")
    assert (denied["statement"]["index"], denied["statement"]["sid"], denied["missing"]) == (1, "No", [])
    root = _ask(root_identity(ACCOUNT)).explain()
    assert (root["allowed"], root["explicit"], root["kind"], root["statement"]) == (True, False, None, None)


# Sessions without a user or role behind them -------------------------------------------------------------------------

ROOTS_FEDERATED = Identity(
    type=IdentityType.FEDERATED_USER,
    principal_id=f"{ACCOUNT}:carol",
    arn=f"arn:aws:sts::{ACCOUNT}:federated-user/carol",
    account_id=ACCOUNT,
    session=Session(
        creation_date=NOW,
        issuer=SessionIssuer(
            type="Root", principal_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", account_id=ACCOUNT, user_name=""
        ),
    ),
)


def test_whom_root_federates_has_roots_rights_within_the_session_policies() -> None:
    assert _ask(ROOTS_FEDERATED, session=ALLOWS).allowed
    assert _why(_ask(ROOTS_FEDERATED, session=ELSEWHERE)) is PolicyKind.SESSION
    assert _why(_ask(ROOTS_FEDERATED, session=())) is PolicyKind.SESSION
    assert _why(_ask(ROOTS_FEDERATED, session=ALLOWS, service_control=(ELSEWHERE,))) is PolicyKind.SERVICE_CONTROL
    grant = _bucket({"Principal": {"AWS": ACCOUNT}})
    assert _ask(ROOTS_FEDERATED, owner=OTHER, session=ALLOWS, resource=grant).allowed
    assert _why(_ask(ROOTS_FEDERATED, owner=OTHER, session=ELSEWHERE, resource=grant)) is PolicyKind.SESSION


PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/id.example.com"
BEARER = web_identity_user(
    ACCOUNT,
    WebIdentity(provider_arn=PROVIDER, issuer="id.example.com", claims={"aud": ("app",), "sub": ("carol",)}),
)


@pytest.mark.parametrize(
    ("principal", "allowed"),
    [
        ({"Federated": PROVIDER}, True),
        ({"Federated": "id.example.com"}, True),
        ({"Federated": PROVIDER + "2"}, False),
        ({"AWS": ACCOUNT}, False),
        ({"AWS": "*"}, False),
        ("*", False),
    ],
)
def test_a_web_identity_is_trusted_by_its_issuer_alone(principal: Any, allowed: bool) -> None:
    decision = _ask(BEARER, identity=ALLOWS, resource=_bucket({"Principal": principal}), resource_must_allow=True)
    assert decision.allowed is allowed
    assert decision.kind is PolicyKind.RESOURCE
