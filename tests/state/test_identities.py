"""Accounts, users and access keys: what the front door is told, and when it is told anew."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from opentrail.core.errors import ConfigError, StorageError
from opentrail.core.identity import IdentityType
from opentrail.state.access_keys import AccessKey
from opentrail.state.accounts import Account, Accounts
from opentrail.state.entities import Entity, EntityKind
from opentrail.state.grants import NO_GRANTS, Grants, NamedPolicy
from opentrail.state.identities import Identities
from opentrail.state.secret_cipher import SecretCipher

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
ACCOUNT = "123456789012"
ALICE = Entity(
    kind=EntityKind.USER,
    entity_id="AIDAALICE",
    account_id=ACCOUNT,
    name="Alice",
    path="/team/",
    tags={"Dept": "IT"},
    created=NOW,
)
KEY = AccessKey(access_key_id="AKIAALICE", account_id=ACCOUNT, user_id="AIDAALICE", created=NOW)
ROOT_KEY = AccessKey(access_key_id="AKIAROOT", account_id=ACCOUNT, user_id=None, created=NOW)
CIPHER = SecretCipher(b"k" * 32)


@pytest.fixture
def identities(engine: Engine) -> Identities:
    Accounts(engine).create(Account(account_id=ACCOUNT, name="first", created=NOW))
    return Identities(engine, CIPHER)


def add(identities: Identities, *entities: Entity) -> None:
    with identities.changing(ACCOUNT) as iam:
        for entity in entities:
            iam.entities.add(entity)


def change(identities: Identities, **changes: Any) -> None:
    with identities.changing(ACCOUNT) as iam:
        iam.entities.update(replace(ALICE, **changes))


def set_status(identities: Identities, status: str) -> None:
    with identities.changing(ACCOUNT) as iam:
        iam.access_keys.set_status("AKIAALICE", status)


def find_key(identities: Identities, access_key_id: str) -> AccessKey | None:
    with identities.reading() as iam:
        return iam.access_keys.find(access_key_id)


def test_accounts(engine: Engine) -> None:
    accounts = Accounts(engine)
    account = Account(account_id=ACCOUNT, name="first", email="a@b.example", created=NOW)
    assert accounts.create(account)
    assert not accounts.create(account)
    assert accounts.find(ACCOUNT) == account
    assert accounts.find("210987654321") is None
    assert accounts.all() == [account]
    for wrong in ("12345678901", "12345678901x", "١٢٣٤٥٦٧٨٩٠١٢"):
        with pytest.raises(ConfigError):
            accounts.create(replace(account, account_id=wrong))


def test_a_users_key(identities: Identities) -> None:
    add(identities, ALICE)
    assert identities.create_key(KEY, "secret")
    record = identities.find_key("AKIAALICE")
    assert record is not None
    assert (record.secret, record.is_active) == ("secret", True)
    identity = record.identity
    assert identity.type is IdentityType.IAM_USER
    assert identity.arn == "arn:aws:iam::123456789012:user/team/Alice"
    assert (identity.principal_id, identity.user_name, identity.account_id) == ("AIDAALICE", "Alice", ACCOUNT)
    assert identity.access_key_id == "AKIAALICE"
    assert identity.tags == {"Dept": "IT"}
    assert "secret" not in repr(record).replace("secret_", "")


def test_a_root_key(identities: Identities) -> None:
    assert identities.create_key(ROOT_KEY, "secret")
    record = identities.find_key("AKIAROOT")
    assert record is not None
    assert record.identity.type is IdentityType.ROOT
    assert record.identity.arn == "arn:aws:iam::123456789012:root"
    assert [key.access_key_id for key in identities.keys_of(ACCOUNT, None)] == ["AKIAROOT"]


def test_an_unknown_key(identities: Identities) -> None:
    assert identities.find_key("AKIANOBODY") is None
    assert find_key(identities, "AKIANOBODY") is None


def test_every_change_of_a_key_and_its_user_is_seen_at_once(identities: Identities) -> None:
    def record() -> tuple[bool, str, str, object]:
        found = identities.find_key("AKIAALICE")
        assert found is not None
        return found.is_active, found.identity.user_name, found.identity.arn, found.identity.tags

    add(identities, ALICE)
    identities.create_key(KEY, "secret")
    arn = "arn:aws:iam::123456789012:user/team/Alice"
    assert record() == (True, "Alice", arn, {"Dept": "IT"})
    assert identities.known_key("AKIAALICE") is not None
    set_status(identities, "Inactive")
    assert identities.known_key("AKIAALICE") is None
    assert record() == (False, "Alice", arn, {"Dept": "IT"})
    change(identities, name="Carol", path="/", tags={"new": "1"})
    assert record() == (False, "Carol", "arn:aws:iam::123456789012:user/Carol", {"new": "1"})
    with identities.changing(ACCOUNT) as iam:
        iam.access_keys.remove("AKIAALICE")
    assert identities.find_key("AKIAALICE") is None


def test_a_change_in_one_account_leaves_others_in_memory(engine: Engine, identities: Identities) -> None:
    other = "210987654321"
    Accounts(engine).create(Account(account_id=other, name="second", created=NOW))
    identities.create_key(ROOT_KEY, "secret")
    identities.find_key("AKIAROOT")
    with identities.changing(other):
        pass
    assert identities.known_key("AKIAROOT") is not None


def test_what_was_read_before_a_change_is_not_remembered_after_it(identities: Identities) -> None:
    add(identities, ALICE)
    identities.create_key(KEY, "secret")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            identities.find_key("AKIAALICE")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            set_status(identities, "Active" if number % 2 else "Inactive")
            record = identities.find_key("AKIAALICE")
            assert record is not None
            assert record.is_active is bool(number % 2)
    finally:
        stop.set()
        reader.join()


def test_an_owner_has_two_keys_however_many_ask_at_once(identities: Identities) -> None:
    add(identities, ALICE)
    made: list[bool] = []

    def create(number: int) -> None:
        made.append(identities.create_key(replace(KEY, access_key_id=f"AKIA{number}"), "secret"))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 4 + [True] * 2
    assert len(identities.keys_of(ACCOUNT, "AIDAALICE")) == 2
    assert not identities.create_key(replace(ROOT_KEY, access_key_id="AKIA0", account_id="210987654321"), "secret")


def test_the_last_use_is_told_before_and_after_it_is_saved(engine: Engine, identities: Identities) -> None:
    add(identities, ALICE)
    identities.create_key(KEY, "secret")
    unused = find_key(identities, "AKIAALICE")
    assert unused is not None
    assert unused.last_use is None
    later = NOW + timedelta(seconds=1.5)
    identities.note_use("AKIAALICE", "sts", "us-east-1", NOW)
    identities.note_use("AKIAALICE", "s3", "eu-west-1", later)
    for saved in (False, True):
        if saved:
            identities.save_uses()
            identities = Identities(engine, CIPHER)
        key = find_key(identities, "AKIAALICE")
        assert key is not None
        assert key.last_use is not None
        assert (key.last_use.time, key.last_use.service, key.last_use.region) == (later, "s3", "eu-west-1")
    identities.save_uses()


def test_secrets_are_not_in_the_database(engine: Engine, identities: Identities) -> None:
    identities.create_key(ROOT_KEY, "very-secret-text")
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT secret FROM access_keys")).scalar_one()
    assert b"very-secret" not in stored
    with pytest.raises(ConfigError, match="master key") as caught:
        Identities(engine, SecretCipher(b"x" * 32)).find_key("AKIAROOT")
    assert "very-secret" not in str(caught.value)


def test_a_secret_is_bound_to_its_key() -> None:
    data = CIPHER.encrypt("AKIAALICE", "secret")
    assert CIPHER.decrypt("AKIAALICE", data) == "secret"
    for name, changed in (("AKIABOB", data), ("AKIAALICE", data[:-1]), ("AKIAALICE", b""), ("AKIAALICE", b"x" * 40)):
        with pytest.raises(ConfigError):
            CIPHER.decrypt(name, changed)
    with pytest.raises(ConfigError):
        SecretCipher(b"short")


@pytest.mark.parametrize("kept", [False, True])
def test_a_commit_of_unknown_outcome_is_looked_up_again(
    identities: Identities, commit_fault: Any, *, kept: bool
) -> None:
    add(identities, ALICE)
    identities.create_key(KEY, "secret")
    assert identities.find_key("AKIAALICE") is not None
    commit_fault.kept = kept
    with pytest.raises(StorageError):
        set_status(identities, "Inactive")
    record = identities.find_key("AKIAALICE")
    assert record is not None
    assert record.is_active is not kept
    assert identities.grants("AIDAALICE") == NO_GRANTS
    commit_fault.kept = kept
    with pytest.raises(StorageError), identities.changing(ACCOUNT) as iam:
        iam.policies.put_inline("AIDAALICE", "p", "{}")
    expected = Grants(policies=(NamedPolicy(name="p", text="{}"),)) if kept else NO_GRANTS
    assert identities.grants("AIDAALICE") == expected
