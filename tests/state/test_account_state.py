"""What accounts keep beside their entities, on the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from opentrail.core.passwords import PasswordPolicy
from opentrail.state.account_counts import count_account
from opentrail.state.account_settings import AccountSettings
from opentrail.state.accounts import Account, Accounts
from opentrail.state.credential_reports import CredentialReport, CredentialReports
from opentrail.state.entities import Entity, EntityKind
from opentrail.state.identities import Iam, Identities
from opentrail.state.login_profiles import LoginProfile, LoginProfiles
from opentrail.state.oidc_providers import OidcProvider, OidcProviders, OidcProviderTable
from opentrail.state.secret_cipher import SecretCipher

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
FIRST, SECOND = "123456789012", "210987654321"
PROVIDER = OidcProvider(
    account_id=FIRST,
    url="idp.example.com/a",
    client_ids=("web", "cli"),
    thumbprints=("0" * 40,),
    tags={"Team": "ä"},
    created=NOW,
)
ALICE = Entity(kind=EntityKind.USER, entity_id="AIDAALICE", account_id=FIRST, name="alice", created=NOW)


@pytest.fixture
def identities(engine: Engine) -> Identities:
    accounts = Accounts(engine)
    for number in (FIRST, SECOND):
        accounts.create(Account(account_id=number, name=number, created=NOW))
    return Identities(engine, SecretCipher(b"k" * 32))


@pytest.fixture
def iam(identities: Identities) -> Iterator[Iam]:
    with identities.changing(FIRST) as iam:
        yield iam


def test_an_alias_is_one_account_s(engine: Engine, identities: Identities) -> None:
    assert identities is not None
    settings = AccountSettings(engine)
    assert settings.set_alias(FIRST, "acme")
    assert not settings.set_alias(SECOND, "acme")
    assert not settings.remove_alias(SECOND, "acme")
    assert (settings.alias(FIRST), settings.alias(SECOND)) == ("acme", None)
    assert settings.set_alias(FIRST, "other")
    assert settings.set_alias(SECOND, "acme")
    assert (settings.alias(FIRST), settings.alias(SECOND)) == ("other", "acme")


def test_two_accounts_that_want_one_alias_at_once(engine: Engine, identities: Identities) -> None:
    assert identities is not None
    settings, got = AccountSettings(engine), []
    threads = [
        Thread(target=lambda number=number: got.append(settings.set_alias(number, "acme")))
        for number in (FIRST, SECOND)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False, True]


def test_a_password_policy_survives_as_it_was(engine: Engine, identities: Identities) -> None:
    assert identities is not None
    settings = AccountSettings(engine)
    assert settings.password_policy(FIRST) is None
    policy = PasswordPolicy(minimum_length=20, require_symbols=True, max_age_days=3, hard_expiry=False)
    settings.set_password_policy(FIRST, PasswordPolicy())
    settings.set_password_policy(FIRST, policy)
    assert settings.password_policy(FIRST) == policy
    assert settings.password_policy(SECOND) is None
    assert settings.remove_password_policy(FIRST)
    assert not settings.remove_password_policy(FIRST)


def test_a_login_profile_holds_its_user(iam: Iam) -> None:
    iam.entities.add(ALICE)
    profiles = LoginProfiles(iam.connection)
    profile = LoginProfile(user_id=ALICE.entity_id, password="$a", created=NOW, changed=NOW)
    profiles.add(profile)
    changed = replace(profile, password="$b", former_passwords=("$a",), reset_required=True)
    profiles.update(changed)
    assert profiles.find(ALICE.entity_id) == changed
    assert profiles.of_account(FIRST) == {ALICE.entity_id: changed}
    assert profiles.of_account(SECOND) == {}
    with pytest.raises(IntegrityError), iam.connection.begin_nested():
        iam.entities.remove(ALICE.entity_id)
    assert profiles.remove(ALICE.entity_id)
    assert not profiles.remove(ALICE.entity_id)


def test_a_provider_is_found_by_its_issuer(engine: Engine, identities: Identities) -> None:
    with identities.changing(FIRST) as iam:
        table = OidcProviderTable(iam.connection)
        table.add(PROVIDER)
        table.add(replace(PROVIDER, url="a.example.com"))
        assert [each.url for each in table.list(FIRST)] == ["a.example.com", "idp.example.com/a"]
    providers = OidcProviders(engine)
    assert providers.find(FIRST, "https://idp.example.com/a") == PROVIDER
    assert providers.find(FIRST, "idp.example.com/a") == PROVIDER
    assert PROVIDER.arn == f"arn:aws:iam::{FIRST}:oidc-provider/idp.example.com/a"
    for account, url in ((SECOND, PROVIDER.url), (FIRST, "idp.example.com"), (FIRST, "IDP.example.com/a")):
        assert providers.find(account, url) is None
    changed = replace(PROVIDER, client_ids=(), thumbprints=(), tags={})
    with identities.changing(FIRST) as iam:
        OidcProviderTable(iam.connection).update(changed)
    assert providers.find(FIRST, PROVIDER.url) == changed
    with identities.changing(FIRST) as iam:
        assert OidcProviderTable(iam.connection).remove(FIRST, PROVIDER.url)
        assert not OidcProviderTable(iam.connection).remove(FIRST, PROVIDER.url)


def test_the_last_report_is_kept(engine: Engine, identities: Identities) -> None:
    assert identities is not None
    reports = CredentialReports(engine)
    assert reports.find(FIRST) is None
    for content in ("old", "new"):
        reports.put(FIRST, CredentialReport(generated=NOW, content=content))
    assert reports.find(FIRST) == CredentialReport(generated=NOW, content="new")
    assert reports.find(SECOND) is None


def test_one_report_is_generated_at_a_time_for_each_account(engine: Engine) -> None:
    reports = CredentialReports(engine)
    with reports.generating(FIRST) as first:
        with reports.generating(FIRST) as again, reports.generating(SECOND) as other:
            assert (first, again, other) == (True, False, True)
        assert reports.is_in_progress(FIRST)
        assert not reports.is_in_progress(SECOND)
    assert not reports.is_in_progress(FIRST)


def test_counts_are_of_one_account(iam: Iam) -> None:
    iam.entities.add(ALICE)
    OidcProviderTable(iam.connection).add(PROVIDER)
    counts = count_account(iam.connection, FIRST)
    assert counts.entities == {EntityKind.USER: 1, EntityKind.GROUP: 0, EntityKind.ROLE: 0}
    assert (counts.providers, counts.policies, counts.root_keys) == (1, 0, 0)
    assert count_account(iam.connection, SECOND).providers == 0
