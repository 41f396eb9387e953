"""Taking an Allow away never allows more, and adding a Deny never allows more.

Policies go the way that users' policies go: into IAM's tables, out of them, through the authoriser.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from opentrail.core.http import HttpRequest
from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy import PolicyType
from opentrail.core.wire.calls import ApiCall
from opentrail.server.authorisation import Authoriser
from opentrail.server.caller_policies import CallerPolicies
from opentrail.server.catalog import BotocoreCatalog
from opentrail.services.base import OperationEntry, Permission
from opentrail.state.accounts import Account, Accounts
from opentrail.state.database import metadata
from opentrail.state.entities import Entity, EntityKind
from opentrail.state.grants import NamedPolicy
from opentrail.state.identities import Identities
from opentrail.state.managed_policies import ManagedPolicy, PolicyVersion
from opentrail.state.organizations import Organizations
from opentrail.state.secret_cipher import SecretCipher

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
ACCOUNT, OTHER = "123456789012", "210987654321"
ALICE = Entity(kind=EntityKind.USER, entity_id="AIDAALICE", account_id=ACCOUNT, name="alice", created=NOW)
GROUP = Entity(kind=EntityKind.GROUP, entity_id="AGPAGROUP", account_id=ACCOUNT, name="group", created=NOW)
IDENTITY = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAALICE",
    arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
    account_id=ACCOUNT,
    access_key_id="AKIAALICE",
    user_name="alice",
)
PLACES = ("inline", "group", "attached", "boundary", "bucket", "control")
ACTIONS = ("s3:GetObject", "s3:PutObject", "s3:Get*", "s3:*", "*")
RESOURCES = ("arn:aws:s3:::b/k", "arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:username}", "*")
CONDITIONS: tuple[Mapping[str, Any], ...] = (
    {},
    {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    {"StringEquals": {"aws:username": ["alice", "bob"]}},
    {"StringNotEquals": {"aws:PrincipalTag/team": "blue"}},
    {"Null": {"s3:prefix": "true"}},
)
PRINCIPALS = ("*", {"AWS": ACCOUNT}, {"AWS": IDENTITY.arn}, {"AWS": OTHER})

statements = st.fixed_dictionaries({
    "place": st.sampled_from(PLACES),
    "Effect": st.sampled_from(["Allow", "Allow", "Allow", "Deny"]),
    "element": st.sampled_from(["Action", "NotAction"]),
    "action": st.sampled_from(ACTIONS),
    "resource": st.sampled_from(RESOURCES),
    "condition": st.sampled_from(CONDITIONS),
    "principal": st.sampled_from(PRINCIPALS),
})  # fmt: skip


def document(place: str, chosen: list[Mapping[str, Any]]) -> str | None:
    """The policy in ``place``; None where nothing is said there."""
    elements = []
    for each in chosen:
        if each["place"] == place:
            element = {"Effect": each["Effect"], each["element"]: each["action"], "Resource": each["resource"]}
            if each["condition"]:
                element["Condition"] = each["condition"]
            if place == "bucket":
                element["Principal"] = each["principal"]
            elements.append(element)
    return json.dumps({"Version": "2012-10-17", "Statement": elements}) if elements else None


class World:
    """IAM's state with one user in one group, and the authoriser over it."""

    def __init__(self, engine: Engine) -> None:
        self.identities = Identities(engine, SecretCipher(b"k" * 32))
        self.control: tuple[tuple[NamedPolicy, ...], ...] = ()
        organizations = Organizations(engine)
        self.authoriser = Authoriser(
            callers=CallerPolicies(
                grants=self.identities.grants,
                known_grants=self.identities.known_grants,
                policy_text=self.identities.policy_text,
                service_control=lambda _account: self.control,
                membership=organizations.membership,
            ),
            clock=lambda: NOW,
        )
        self.operation = BotocoreCatalog().service("s3").operations["GetObject"]
        self._numbers = itertools.count()
        with self.identities.changing(ACCOUNT) as iam:
            iam.entities.add(ALICE)
            iam.entities.add(GROUP)
            iam.memberships.add(GROUP.entity_id, ALICE.entity_id)

    @contextmanager
    def policies(self, chosen: list[Mapping[str, Any]]) -> Iterator[None]:
        """With these statements in force."""
        arns = []
        with self.identities.changing(ACCOUNT) as iam:
            for place, entity in (("inline", ALICE), ("group", GROUP)):
                iam.policies.remove_inline(entity.entity_id, "p")
                text = document(place, chosen)
                if text:
                    iam.policies.put_inline(entity.entity_id, "p", text)
            for place in ("attached", "boundary"):
                text = document(place, chosen)
                arns.append(self._managed(iam, text) if text else None)
            if arns[0]:
                iam.policies.attach(ALICE.entity_id, arns[0])
            iam.entities.update(replace(ALICE, boundary=arns[1]))
        text = document("control", chosen)
        self.control = ((NamedPolicy(name="p-control", text=text),),) if text else ()
        try:
            yield
        finally:
            with self.identities.changing(ACCOUNT) as iam:
                if arns[0]:
                    iam.policies.detach(ALICE.entity_id, arns[0])

    def allowed(self, chosen: list[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
        """What alice may do: owner of the bucket, action, resource."""
        with self.policies(chosen):
            asked = itertools.product(
                (ACCOUNT, OTHER), ("s3:GetObject", "s3:PutObject"), ("arn:aws:s3:::b/k", "arn:aws:s3:::b/alice")
            )
            return {each for each in asked if self._is_allowed(*each, document("bucket", chosen))}

    def _is_allowed(self, owner: str, action: str, resource: str, policy: str | None) -> bool:
        permission = Permission(
            action=action,
            resource=resource,
            resource_account=owner,
            resource_policy=policy,
            resource_policy_type=PolicyType.BUCKET,
        )
        call = ApiCall(
            operation=self.operation,
            parameters={},
            identity=IDENTITY,
            region="us-east-1",
            now=NOW,
            event_id="e",
            request_id="r",
            request=HttpRequest(method="GET", path="/", source_ip="10.1.2.3"),
        )
        entry: OperationEntry[None] = OperationEntry(
            handler=lambda _call, _deps: {}, permissions=lambda _call, _deps: (permission,), writes=False
        )
        return self.authoriser.authorise(call, entry, None).fault is None

    def _managed(self, iam: Any, text: str) -> str:
        number = next(self._numbers)
        policy = ManagedPolicy(
            policy_id=f"ANPA{number}", account_id=ACCOUNT, name=f"policy-{number}", created=NOW, updated=NOW
        )
        iam.managed.add(policy, PolicyVersion(number=1, document=text, created=NOW))
        return policy.arn


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    accounts = Accounts(engine)
    for account_id in (ACCOUNT, OTHER):
        accounts.create(Account(account_id=account_id, name=account_id, created=NOW))
    yield World(engine)
    engine.dispose()


@settings(max_examples=150, deadline=None)
@given(chosen=st.lists(statements, min_size=1, max_size=6), data=st.data())
def test_taking_an_allow_away_never_allows_more(
    world: World, chosen: list[Mapping[str, Any]], data: st.DataObject
) -> None:
    allows = [index for index, each in enumerate(chosen) if each["Effect"] == "Allow"]
    if not allows:
        return
    gone = data.draw(st.sampled_from(allows))
    place = chosen[gone]["place"]
    rest = [*chosen[:gone], *chosen[gone + 1 :]]
    if place in {"boundary", "control"} and document(place, rest) is None:
        return  # a limit that is gone as a whole limits nothing: that is no smaller Allow
    assert world.allowed(rest) <= world.allowed(chosen)


@settings(max_examples=150, deadline=None)
@given(chosen=st.lists(statements, max_size=5), added=statements, data=st.data())
def test_adding_a_deny_never_allows_more(
    world: World, chosen: list[Mapping[str, Any]], added: Mapping[str, Any], data: st.DataObject
) -> None:
    deny = {**added, "Effect": "Deny"}
    place = data.draw(st.integers(0, len(chosen)))
    assert world.allowed([*chosen[:place], deny, *chosen[place:]]) <= world.allowed(chosen)


def test_the_policies_of_this_test_allow_something(world: World) -> None:
    allow = {"place": "inline", "Effect": "Allow", "element": "Action", "action": "s3:*", "resource": "*"}
    common = {"condition": {}, "principal": "*"}
    mine = {
        (ACCOUNT, action, f"arn:aws:s3:::b/{key}")
        for action in ("s3:GetObject", "s3:PutObject")
        for key in ("k", "alice")
    }
    assert world.allowed([{**allow, **common}]) == mine
    theirs = {(OTHER, action, resource) for _, action, resource in mine}
    assert world.allowed([{**allow, **common}, {**allow, **common, "place": "bucket"}]) == mine | theirs
