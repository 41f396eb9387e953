"""Users, groups, roles and policies: the tables against a model of them, and what a principal is granted by them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from opentrail.core.errors import StorageError
from opentrail.state.accounts import Account, Accounts
from opentrail.state.aws_managed_policies import AwsManagedPolicy
from opentrail.state.database import metadata
from opentrail.state.entities import Entity, EntityKind, Role
from opentrail.state.entity_policies import UNKNOWN_POLICY
from opentrail.state.grants import NO_GRANTS, Grants, NamedPolicy
from opentrail.state.identities import Identities
from opentrail.state.instance_profiles import InstanceProfile
from opentrail.state.managed_policies import ManagedPolicy, PolicyVersion
from opentrail.state.secret_cipher import SecretCipher

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
ACCOUNT = "123456789012"
AWS_POLICY = AwsManagedPolicy(
    arn="arn:aws:iam::aws:policy/job-function/Viewer",
    name="Viewer",
    path="/job-function/",
    policy_id="ANPAVIEWER",
    version_id="v7",
    description="looks",
    created=NOW,
    updated=NOW,
    document="viewer",
)
ALICE = Entity(kind=EntityKind.USER, entity_id="AIDAALICE", account_id=ACCOUNT, name="Alice", created=NOW)
ROLE = Role(entity_id="AROAROLE", account_id=ACCOUNT, name="Role", trust_policy="trust", created=NOW)
POLICY = ManagedPolicy(policy_id="ANPAOWN", account_id=ACCOUNT, name="own", created=NOW, updated=NOW)


def open_identities(engine: Engine) -> Identities:
    return Identities(engine, SecretCipher(b"k" * 32), {AWS_POLICY.arn: AWS_POLICY})


@pytest.fixture
def identities(engine: Engine) -> Identities:
    Accounts(engine).create(Account(account_id=ACCOUNT, name="first", created=NOW))
    return open_identities(engine)


def named(*pairs: tuple[str, str]) -> Grants:
    return Grants(policies=tuple(NamedPolicy(name=name, text=text) for name, text in pairs))


def test_a_role_is_what_was_written(identities: Identities) -> None:
    role = replace(ROLE, path="/p/", tags={"a": "b"}, boundary="arn", description="d", max_session_seconds=7200)
    with identities.changing(ACCOUNT) as iam:
        iam.entities.add(role)
    assert identities.find_role(ACCOUNT, "rOLE") == role
    changed = replace(role, trust_policy="new", description="", tags={}, boundary=None, name="ROLE", path="/")
    with identities.changing(ACCOUNT) as iam:
        iam.entities.update(changed)
    assert identities.find_role(ACCOUNT, "role") == changed
    assert identities.find_role("210987654321", "role") is None
    with identities.changing(ACCOUNT) as iam:
        iam.entities.add(ALICE)
    assert identities.find_role(ACCOUNT, "Alice") is None


def test_a_roles_last_use(engine: Engine, identities: Identities) -> None:
    with identities.changing(ACCOUNT) as iam:
        iam.entities.add(ROLE)
    identities.note_role_use("AROAROLE", "s3", "eu-west-1", NOW)
    later = NOW + timedelta(seconds=1)
    identities.note_role_use("AROAROLE", "sts", "us-east-1", later)
    identities.note_role_use("AROAGONE", "sts", "us-east-1", later)
    for again in (identities, identities, open_identities(engine)):
        role = again.find_role(ACCOUNT, "Role")
        assert role is not None
        assert role.last_use is not None
        assert (role.last_use.time, role.last_use.service, role.last_use.region) == (later, "sts", "us-east-1")
        identities.save_uses()


def test_a_failed_change_leaves_nothing(identities: Identities) -> None:
    def change() -> None:
        with identities.changing(ACCOUNT) as iam:
            iam.entities.add(ALICE)
            iam.policies.put_inline("AIDAALICE", "p", "text")
            assert iam.policies.inline("AIDAALICE") == {"p": "text"}
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    with identities.reading() as iam:
        assert iam.entities.find_id("AIDAALICE") is None
        assert iam.policies.inline("AIDAALICE") == {}
    assert identities.grants("AIDAALICE") == NO_GRANTS


def test_everything_that_bears_on_a_user_is_granted(identities: Identities) -> None:
    group = replace(ALICE, kind=EntityKind.GROUP, entity_id="AGPAGROUP", name="Group")
    with identities.changing(ACCOUNT) as iam:
        for entity in (ALICE, group):
            iam.entities.add(entity)
            iam.policies.put_inline(entity.entity_id, "inline", f"of {entity.name}")
        iam.managed.add(POLICY, PolicyVersion(number=1, document="one", created=NOW))
        iam.policies.attach("AIDAALICE", POLICY.arn)
    own = [("inline", "of Alice"), (POLICY.arn, "one")]
    assert identities.grants("AIDAALICE") == named(*own)
    with identities.changing(ACCOUNT) as iam:
        iam.memberships.add("AGPAGROUP", "AIDAALICE")
        iam.policies.attach("AGPAGROUP", AWS_POLICY.arn)
        iam.policies.attach("AGPAGROUP", POLICY.arn)
    expected = {*own, ("inline", "of Group"), (AWS_POLICY.arn, "viewer")}
    found = identities.grants("AIDAALICE")
    assert {(policy.name, policy.text) for policy in found.policies} == expected
    assert len(found.policies) == len(expected)
    assert identities.grants("AIDAALICE") is found
    with identities.changing(ACCOUNT) as iam:
        iam.managed.add_version("ANPAOWN", PolicyVersion(number=2, document="two", created=NOW))
        iam.managed.update(replace(POLICY, default_version=2, last_version=2))
        iam.memberships.remove("AGPAGROUP", "AIDAALICE")
        iam.entities.update(replace(ALICE, boundary=POLICY.arn))
    two = NamedPolicy(name=POLICY.arn, text="two")
    expected_now = replace(named(("inline", "of Alice"), (POLICY.arn, "two")), boundary=two)
    assert identities.grants("AIDAALICE") == expected_now
    assert identities.policy_text(POLICY.arn) == "two"
    assert identities.policy_text(AWS_POLICY.arn) == "viewer"
    assert identities.policy_text("arn:aws:iam::aws:policy/None") is None
    assert identities.grants("AIDANOBODY") == NO_GRANTS


def test_a_policy_whose_text_is_lost_denies(engine: Engine, identities: Identities) -> None:
    with identities.changing(ACCOUNT) as iam:
        iam.entities.add(replace(ALICE, boundary=AWS_POLICY.arn))
        iam.policies.attach("AIDAALICE", AWS_POLICY.arn)
    lost = NamedPolicy(name=AWS_POLICY.arn, text=UNKNOWN_POLICY)
    without = Identities(engine, SecretCipher(b"k" * 32))
    assert without.grants("AIDAALICE") == Grants(policies=(lost,), boundary=lost)


def test_aws_policies_are_policies(identities: Identities) -> None:
    with identities.reading() as iam:
        policy = iam.managed.find(AWS_POLICY.arn)
        assert policy is not None
        assert (policy.arn, policy.account_id, policy.default_version) == (AWS_POLICY.arn, "aws", 7)
        assert [version.version_id for version in iam.managed.versions(policy)] == ["v7"]
        assert list(iam.managed.list_aws()) == [policy]
        assert iam.managed.list(ACCOUNT) == []


@pytest.mark.parametrize("kept", [False, True])
def test_a_change_of_unknown_outcome_is_looked_up_again(
    identities: Identities, commit_fault: Any, *, kept: bool
) -> None:
    with identities.changing(ACCOUNT) as iam:
        iam.entities.add(ROLE)
        iam.managed.add(POLICY, PolicyVersion(number=1, document="one", created=NOW))
    assert identities.grants("AROAROLE") == NO_GRANTS
    assert identities.policy_text(POLICY.arn) == "one"

    def change() -> None:
        with identities.changing(ACCOUNT) as iam:
            iam.policies.attach("AROAROLE", POLICY.arn)
            iam.entities.update(replace(ROLE, trust_policy="new"))
            iam.managed.add_version("ANPAOWN", PolicyVersion(number=2, document="two", created=NOW))
            iam.managed.update(replace(POLICY, default_version=2, last_version=2))

    commit_fault.kept = kept
    with pytest.raises(StorageError):
        change()
    assert identities.grants("AROAROLE") == (named((POLICY.arn, "two")) if kept else NO_GRANTS)
    assert identities.policy_text(POLICY.arn) == ("two" if kept else "one")
    assert identities.find_role(ACCOUNT, "Role") == (replace(ROLE, trust_policy="new") if kept else ROLE)


def test_changes_of_one_account_take_turns(identities: Identities) -> None:
    """Whoever counts and then writes is alone with it: ten ask for the last place, one gets it."""
    with identities.changing(ACCOUNT) as iam:
        iam.entities.add(ALICE)
    start = threading.Barrier(10)

    def put(number: int) -> None:
        start.wait()
        with identities.changing(ACCOUNT) as iam:
            if not iam.policies.inline("AIDAALICE"):
                iam.policies.put_inline("AIDAALICE", str(number), "text")

    threads = [threading.Thread(target=put, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with identities.reading() as iam:
        assert len(iam.policies.inline("AIDAALICE")) == 1


def test_what_was_read_before_a_change_is_not_granted_after_it(identities: Identities) -> None:
    with identities.changing(ACCOUNT) as iam:
        iam.entities.add(ALICE)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            identities.grants("AIDAALICE")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(60):
            with identities.changing(ACCOUNT) as iam:
                iam.policies.put_inline("AIDAALICE", "p", str(number))
            assert identities.grants("AIDAALICE") == named(("p", str(number)))
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def test_lists(identities: Identities) -> None:
    with identities.changing(ACCOUNT) as iam:
        for name, path in (("b", "/x/"), ("A", "/"), ("c", "/x/y/"), ("d", "/xy/")):
            iam.entities.add(replace(ALICE, entity_id=f"AIDA{name}", name=name, path=path))
            profile = InstanceProfile(profile_id=name, account_id=ACCOUNT, name=name, path=path, created=NOW)
            iam.instance_profiles.add(profile)
    with identities.reading() as iam:
        lists: tuple[Callable[..., Any], ...] = (
            lambda **options: iam.entities.list(ACCOUNT, EntityKind.USER, **options),
            lambda **options: iam.instance_profiles.list(ACCOUNT, **options),
        )
        for listed in lists:
            for options, expected in (
                ({}, ["A", "b", "c", "d"]),
                ({"after": "B", "limit": 1}, ["c"]),
                ({"path_prefix": "/x/"}, ["b", "c"]),
                ({"path_prefix": "/X/"}, []),
                ({"path_prefix": "/%"}, []),
            ):
                assert [each.name for each in listed(**options)] == expected
        assert iam.entities.count(ACCOUNT, EntityKind.USER) == iam.instance_profiles.count(ACCOUNT) == 4
        assert iam.entities.list(ACCOUNT, EntityKind.GROUP) == []


# The tables against a model: whatever is done in whatever order, what is granted is what the model says.

USERS, GROUPS = ("AIDA0", "AIDA1"), ("AGPA0", "AGPA1")
HOLDERS = (*USERS, *GROUPS)


@dataclass
class Model:
    inline: dict[tuple[str, str], str] = field(default_factory=dict)
    attached: set[tuple[str, str]] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)
    boundaries: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def granted(self, user: str) -> tuple[set[tuple[str, str]], str | None]:
        holders = {user} | {group for group, member in self.members if member == user}
        inline = {(name, text) for (holder, name), text in self.inline.items() if holder in holders}
        attached = {(arn, self.texts[arn]) for holder, arn in self.attached if holder in holders}
        return inline | attached, self.boundaries.get(user)


def policies() -> dict[str, ManagedPolicy]:
    made = (replace(POLICY, policy_id=f"ANPA{number}", name=f"p{number}") for number in range(2))
    return {policy.arn: policy for policy in made}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("inline"), st.sampled_from(HOLDERS), st.sampled_from("pq"), st.sampled_from(["", "1", "2"])),
        st.tuples(st.just("attach"), st.sampled_from(HOLDERS), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("member"), st.sampled_from(GROUPS), st.sampled_from(USERS), st.booleans()),
        st.tuples(st.just("boundary"), st.sampled_from(USERS), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("version"), st.integers(0, 1), st.sampled_from("xyz"), st.none()),
    ),
    max_size=25,
)


class Machine:
    """The tables and the model, in step."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.policies = policies()
        self.arns = (*self.policies, AWS_POLICY.arn)
        self.model = Model(texts=dict.fromkeys(self.policies, "1") | {AWS_POLICY.arn: "viewer"})
        with identities.changing(ACCOUNT) as iam:
            for holder in HOLDERS:
                kind = EntityKind.USER if holder in USERS else EntityKind.GROUP
                iam.entities.add(replace(ALICE, kind=kind, entity_id=holder, name=holder))
            for policy in self.policies.values():
                iam.managed.add(policy, PolicyVersion(number=1, document="1", created=NOW))

    def inline(self, holder: str, name: str, text: str) -> None:
        with self.identities.changing(ACCOUNT) as iam:
            if text:
                iam.policies.put_inline(holder, name, text)
                self.model.inline[holder, name] = text
            else:
                assert iam.policies.remove_inline(holder, name) is ((holder, name) in self.model.inline)
                self.model.inline.pop((holder, name), None)

    def attach(self, holder: str, number: int, on: bool) -> None:
        edge = (holder, self.arns[number])
        with self.identities.changing(ACCOUNT) as iam:
            if not on:
                assert iam.policies.detach(*edge) is (edge in self.model.attached)
                self.model.attached.discard(edge)
            elif edge not in self.model.attached:
                iam.policies.attach(*edge)
                self.model.attached.add(edge)

    def member(self, group: str, user: str, on: bool) -> None:
        edge = (group, user)
        with self.identities.changing(ACCOUNT) as iam:
            if not on:
                assert iam.memberships.remove(*edge) is (edge in self.model.members)
                self.model.members.discard(edge)
            elif edge not in self.model.members:
                iam.memberships.add(*edge)
                self.model.members.add(edge)

    def boundary(self, user: str, number: int, on: bool) -> None:
        arn = self.arns[number] if on else None
        with self.identities.changing(ACCOUNT) as iam:
            entity = iam.entities.find_id(user)
            assert entity is not None
            iam.entities.update(replace(entity, boundary=arn))
        self.model.boundaries.pop(user, None)
        if arn:
            self.model.boundaries[user] = arn

    def version(self, number: int, text: str, _: None) -> None:
        policy = self.policies[self.arns[number]]
        last = policy.last_version + 1
        changed = self.policies[policy.arn] = replace(policy, default_version=last, last_version=last)
        with self.identities.changing(ACCOUNT) as iam:
            iam.managed.add_version(policy.policy_id, PolicyVersion(number=last, document=text, created=NOW))
            iam.managed.update(changed)
        self.model.texts[policy.arn] = text

    def check(self) -> None:
        for user in USERS:
            found = self.identities.grants(user)
            granted, boundary = self.model.granted(user)
            assert {(policy.name, policy.text) for policy in found.policies} == granted
            expected = NamedPolicy(name=boundary, text=self.model.texts[boundary]) if boundary else None
            assert found.boundary == expected
        with self.identities.reading() as iam:
            for user in USERS:
                groups = {group for group, member in self.model.members if member == user}
                assert {group.entity_id for group in iam.memberships.groups_of(user)} == groups
            for group in GROUPS:
                users = {member for each, member in self.model.members if each == group}
                assert {user.entity_id for user in iam.memberships.users_of(group)} == users
                assert iam.memberships.count_users(group) == len(users)
            counts = {arn: sum(arn == each for _, each in self.model.attached) for arn in self.arns}
            assert iam.policies.count_attached(ACCOUNT) == {arn: count for arn, count in counts.items() if count}
            for arn in self.arns:
                holders = {holder for holder, each in self.model.attached if each == arn}
                assert {entity.entity_id for entity in iam.policies.attached_to(ACCOUNT, arn)} == holders
                bounded = {user for user, each in self.model.boundaries.items() if each == arn}
                assert {entity.entity_id for entity in iam.entities.bounded_by(ACCOUNT, arn)} == bounded


@pytest.fixture
def emptied(engine: Engine) -> Callable[[], Identities]:
    """A function that gives a database with an account and nothing in it."""

    def empty() -> Identities:
        with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        Accounts(engine).create(Account(account_id=ACCOUNT, name="first", created=NOW))
        return open_identities(engine)

    return empty


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_tables_agree_with_a_model(emptied: Callable[[], Identities], steps: list[tuple[Any, ...]]) -> None:
    machine = Machine(emptied())
    for what, *arguments in steps:
        getattr(machine, what)(*arguments)
        machine.check()
