"""Organizations' state: what the front door is told, when it is told anew, and what a failed write leaves."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from opentrail.core.errors import StorageError
from opentrail.core.organizations import (
    FULL_ACCESS_ARN,
    FULL_ACCESS_ID,
    SERVICE_CONTROL_POLICY,
    ControlPolicy,
    Member,
    Membership,
    Organization,
    Unit,
    format_id,
)
from opentrail.state.access_keys import AccessKey
from opentrail.state.accounts import Account, Accounts
from opentrail.state.identities import Identities
from opentrail.state.organizations import Organizations
from opentrail.state.secret_cipher import SecretCipher

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
MANAGEMENT, MEMBER, STRANGER = "111111111111", "222222222222", "333333333333"
POLICY = ControlPolicy(policy_id="p-12345678", name="deny", description="", content='{"deny": "all"}')
ORGANIZATION = Organization(
    organization_id="o-1234567890",
    management_account_id=MANAGEMENT,
    feature_set="ALL",
    policy_types=(SERVICE_CONTROL_POLICY,),
    units={
        "r-1234": Unit(unit_id="r-1234", parent_id="", name="Root"),
        "ou-1234-12345678": Unit(
            unit_id="ou-1234-12345678",
            parent_id="r-1234",
            name="team",
            tags={"a": "1"},
            policy_ids=(FULL_ACCESS_ID, POLICY.policy_id),
        ),
    },
    members={
        MANAGEMENT: Member(account_id=MANAGEMENT, parent_id="r-1234", joined_method="INVITED", joined=NOW),
        MEMBER: Member(account_id=MEMBER, parent_id="ou-1234-12345678", joined_method="CREATED", joined=NOW),
    },
    policies={POLICY.policy_id: POLICY},
)


@pytest.fixture
def organizations(engine: Engine) -> Organizations:
    accounts = Accounts(engine)
    for account_id in (MANAGEMENT, MEMBER, STRANGER):
        accounts.create(Account(account_id=account_id, name=account_id, created=NOW))
    organizations = Organizations(engine)
    assert organizations.create(ORGANIZATION)
    return organizations


def change(organizations: Organizations, **changes: Any) -> Organization | None:
    return organizations.change(ORGANIZATION.organization_id, lambda present: replace(present, **changes))


def test_the_levels_of_policies_that_bind_a_member(organizations: Organizations) -> None:
    levels = organizations.service_control(MEMBER)
    arn = f"arn:aws:organizations::{MANAGEMENT}:policy/o-1234567890/service_control_policy/p-12345678"
    assert [[policy.name for policy in level] for level in levels] == [
        [FULL_ACCESS_ARN],
        [FULL_ACCESS_ARN, arn],
        [FULL_ACCESS_ARN],
    ]
    assert levels[1][1].text == POLICY.content
    assert organizations.service_control(MEMBER) is levels


def test_the_management_account_and_strangers_are_not_bound(organizations: Organizations) -> None:
    assert organizations.service_control(MANAGEMENT) == ()
    assert organizations.service_control(STRANGER) == ()


def test_nobody_is_bound_while_the_type_is_not_enabled(organizations: Organizations) -> None:
    assert organizations.service_control(MEMBER)
    change(organizations, policy_types=())
    assert organizations.service_control(MEMBER) == ()


def test_a_change_is_seen_at_once(organizations: Organizations) -> None:
    assert organizations.service_control(MEMBER)[1][1].text == POLICY.content
    change(organizations, policies={POLICY.policy_id: replace(POLICY, content="{}")})
    assert organizations.service_control(MEMBER)[1][1].text == "{}"
    change(organizations, members={MANAGEMENT: ORGANIZATION.members[MANAGEMENT]})
    assert organizations.service_control(MEMBER) == ()
    assert organizations.membership(MEMBER) is None


def test_where_an_account_is(organizations: Organizations) -> None:
    assert organizations.membership(MEMBER) == Membership(
        organization_id="o-1234567890",
        management_account_id=MANAGEMENT,
        path="o-1234567890/r-1234/ou-1234-12345678/",
    )
    management = organizations.membership(MANAGEMENT)
    assert management is not None
    assert management.path == "o-1234567890/r-1234/"
    assert organizations.membership(STRANGER) is None


def test_an_account_is_in_one_organization(organizations: Organizations) -> None:
    root = Unit(unit_id="r-5678", parent_id="", name="Root")
    second = Organization(
        organization_id="o-0987654321",
        management_account_id=STRANGER,
        feature_set="ALL",
        units={"r-5678": root},
        members={
            STRANGER: Member(account_id=STRANGER, parent_id="r-5678", joined_method="INVITED", joined=NOW),
            MEMBER: Member(account_id=MEMBER, parent_id="r-5678", joined_method="INVITED", joined=NOW),
        },
    )
    assert not organizations.create(second)
    assert [each.organization_id for each in organizations.all()] == [ORGANIZATION.organization_id]
    assert organizations.create(replace(second, members={STRANGER: second.members[STRANGER]}))
    with pytest.raises(StorageError):
        organizations.change(second.organization_id, lambda _present: second)
    assert organizations.of_account(MEMBER) == ORGANIZATION


def test_another_process_sees_and_is_seen(engine: Engine, organizations: Organizations) -> None:
    other = Organizations(engine)
    assert other.all() == organizations.all() == [ORGANIZATION]
    other.change(ORGANIZATION.organization_id, lambda present: replace(present, policy_types=()))
    unit = ORGANIZATION.units["r-1234"]

    def rename(present: Organization) -> Organization:
        return replace(present, units={**present.units, "r-1234": replace(unit, name="Top")})

    changed = organizations.change(ORGANIZATION.organization_id, rename)
    assert changed is not None
    assert (changed.policy_types, changed.root.name) == ((), "Top"), "neither change is lost"
    assert Organizations(engine).all() == [changed]


def test_an_edit_that_raises_changes_nothing(engine: Engine, organizations: Organizations) -> None:
    def refuse(_present: Organization) -> Organization:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        organizations.change(ORGANIZATION.organization_id, refuse)
    assert organizations.all() == Organizations(engine).all() == [ORGANIZATION]


def test_an_organization_that_is_not_there_is_not_changed(organizations: Organizations) -> None:
    assert organizations.change("o-none", lambda present: present) is None
    assert organizations.change(ORGANIZATION.organization_id, lambda _present: None) is None
    assert organizations.all() == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_commit_whose_outcome_is_unknown_is_read_anew(
    engine: Engine, organizations: Organizations, commit_fault: Any, kept: bool
) -> None:
    organizations.service_control(MEMBER)
    commit_fault.kept = kept
    with pytest.raises(StorageError):
        change(organizations, policy_types=())
    assert organizations.all() == Organizations(engine).all()
    assert bool(organizations.service_control(MEMBER)) is not kept


def test_what_was_known_last_is_told_while_the_database_is_away(
    engine: Engine, organizations: Organizations, commit_fault: Any
) -> None:
    """The front door asks at every call: it must get an answer, and nothing may be changed from what is uncertain."""
    before = organizations.all()
    commit_fault.kept, commit_fault.away = True, True
    with pytest.raises(StorageError):
        change(organizations, policy_types=())
    assert organizations.service_control(MEMBER)
    assert organizations.all() == before
    with pytest.raises(StorageError):
        change(organizations, policy_types=())
    commit_fault.away = False
    assert not organizations.service_control(MEMBER)
    assert organizations.all() == Organizations(engine).all() != before


@pytest.mark.parametrize("kept", [True, False])
def test_a_closed_accounts_keys_are_not_found(engine: Engine, commit_fault: Any, kept: bool) -> None:
    identities = Identities(engine, SecretCipher(b"k" * 32))
    accounts = Accounts(engine, identities.forget)
    accounts.create(Account(account_id=MEMBER, name="dev", created=NOW))
    identities.create_key(AccessKey(access_key_id="AKIA1", account_id=MEMBER, user_id=None, created=NOW), "secret")
    assert identities.find_key("AKIA1") is not None
    commit_fault.kept = kept
    with pytest.raises(StorageError):
        accounts.close(MEMBER)
    assert (identities.find_key("AKIA1") is None) is kept
    accounts.close(MEMBER)
    assert identities.find_key("AKIA1") is None
    closed = accounts.find(MEMBER)
    assert closed is not None
    assert closed.status == "SUSPENDED"


def test_accounts_by_name_and_address(engine: Engine) -> None:
    accounts = Accounts(engine)
    first = Account(account_id=MEMBER, name="Dev", email="Dev@example.com", created=NOW)
    assert accounts.create(first)
    assert accounts.find_by_email("dev@EXAMPLE.com") == first
    assert accounts.named("dEV") == [first]
    assert not accounts.create(replace(first, account_id=STRANGER)), "an address belongs to one account"
    assert accounts.create(replace(first, account_id=STRANGER, email=""))
    assert accounts.create(replace(first, account_id=MANAGEMENT, email="")), "several may have none"


def test_the_first_account_stays_the_first(engine: Engine) -> None:
    accounts = Accounts(engine)
    accounts.create(Account(account_id=STRANGER, name="first", created=NOW))
    accounts.create(Account(account_id=MANAGEMENT, name="second", created=NOW.replace(year=1999)))
    assert [each.name for each in accounts.all()] == ["first", "second"], "whatever the clock said"


def test_ids_have_their_form_and_are_free() -> None:
    drawn = format_id("p-", 8, b"\x00" * 24)
    assert drawn == "p-00000000"
    assert format_id("p-", 8, b"\x00" * 24, {drawn}) == "p-00000001"
    assert format_id("car-", 32, b"\xff" * 24).removeprefix("car-").isalnum()
