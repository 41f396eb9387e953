"""Accounts, users and access keys: what the front door is told, and when it is told anew."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from opentrail.core.errors import ConfigError, StorageError
from opentrail.core.identity import IdentityType
from opentrail.state.accounts import Account, Accounts
from opentrail.state.identities import AccessKey, Identities
from opentrail.state.secret_cipher import SecretCipher
from opentrail.state.users import User

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
ACCOUNT = "123456789012"
ALICE = User(user_id="AIDAALICE", account_id=ACCOUNT, name="Alice", path="/team/", tags={"Dept": "IT"}, created=NOW)
KEY = AccessKey(access_key_id="AKIAALICE", account_id=ACCOUNT, user_id="AIDAALICE", created=NOW)
ROOT_KEY = AccessKey(access_key_id="AKIAROOT", account_id=ACCOUNT, user_id=None, created=NOW)
CIPHER = SecretCipher(b"k" * 32)


@pytest.fixture
def identities(engine: Engine) -> Identities:
    Accounts(engine).create(Account(account_id=ACCOUNT, name="first", created=NOW))
    return Identities(engine, CIPHER)


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
    assert identities.users.create(ALICE)
    assert identities.create_key(KEY, "secret")
    record = identities.find_key("AKIAALICE")
    assert record is not None
    assert (record.secret, record.is_active, record.policies) == ("secret", True, {})
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
    assert identities.describe_key("AKIANOBODY") is None


def test_every_change_is_seen_at_once(identities: Identities) -> None:
    def record() -> tuple[bool, str, str, object, object]:
        found = identities.find_key("AKIAALICE")
        assert found is not None
        return found.is_active, found.identity.user_name, found.identity.arn, found.identity.tags, found.policies

    identities.users.create(ALICE)
    identities.create_key(KEY, "secret")
    arn = "arn:aws:iam::123456789012:user/team/Alice"
    assert record() == (True, "Alice", arn, {"Dept": "IT"}, {})
    identities.set_active("AKIAALICE", active=False)
    assert record() == (False, "Alice", arn, {"Dept": "IT"}, {})
    identities.set_active("AKIAALICE", active=True)
    identities.users.put_policy("AIDAALICE", "p", "{}")
    identities.users.put_policy("AIDAALICE", "p", '{"Version": "2012-10-17"}')
    assert record() == (True, "Alice", arn, {"Dept": "IT"}, {"p": '{"Version": "2012-10-17"}'})
    assert identities.users.delete_policy("AIDAALICE", "p")
    identities.users.change_tags("AIDAALICE", lambda tags: {**tags, "new": "1"})
    assert identities.users.rename("AIDAALICE", name="Carol", path="/")
    assert record() == (True, "Carol", "arn:aws:iam::123456789012:user/Carol", {"Dept": "IT", "new": "1"}, {})
    identities.delete_key("AKIAALICE")
    assert identities.find_key("AKIAALICE") is None


def test_what_was_read_before_a_change_is_not_remembered_after_it(identities: Identities) -> None:
    identities.users.create(ALICE)
    identities.create_key(KEY, "secret")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            identities.find_key("AKIAALICE")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            identities.set_active("AKIAALICE", active=bool(number % 2))
            record = identities.find_key("AKIAALICE")
            assert record is not None
            assert record.is_active is bool(number % 2)
    finally:
        stop.set()
        reader.join()


def test_names_are_unique_without_regard_to_case(identities: Identities) -> None:
    assert identities.users.create(ALICE)
    assert not identities.users.create(replace(ALICE, user_id="AIDAOTHER", name="ALICE"))
    found = identities.users.find(ACCOUNT, "aLiCe")
    assert found is not None
    assert found == ALICE
    assert identities.users.create(replace(ALICE, user_id="AIDABOB", name="Bob"))
    assert not identities.users.rename("AIDABOB", name="alice", path="/")
    assert identities.users.rename("AIDAALICE", name="ALICE", path="/")
    assert identities.users.find("210987654321", "Alice") is None


def test_a_user_with_keys_or_policies_stays(identities: Identities) -> None:
    identities.users.create(ALICE)
    identities.create_key(KEY, "secret")
    assert not identities.users.delete("AIDAALICE")
    identities.delete_key("AKIAALICE")
    identities.users.put_policy("AIDAALICE", "p", "{}")
    assert not identities.users.delete("AIDAALICE")
    identities.users.delete_policy("AIDAALICE", "p")
    assert identities.users.delete("AIDAALICE")
    assert identities.users.find_id("AIDAALICE") is None
    assert not identities.users.put_policy("AIDAALICE", "p", "{}")
    assert not identities.users.delete_policy("AIDAALICE", "p")


def test_an_owner_has_two_keys_however_many_ask_at_once(identities: Identities) -> None:
    identities.users.create(ALICE)
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
    identities.users.create(ALICE)
    identities.create_key(KEY, "secret")
    unused = identities.describe_key("AKIAALICE")
    assert unused is not None
    assert unused.last_use is None
    later = NOW + timedelta(seconds=1.5)
    identities.note_use("AKIAALICE", "sts", "us-east-1", NOW)
    identities.note_use("AKIAALICE", "s3", "eu-west-1", later)
    for saved in (False, True):
        if saved:
            identities.save_uses()
            identities = Identities(engine, CIPHER)
        key = identities.describe_key("AKIAALICE")
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


def test_pages_of_users(identities: Identities) -> None:
    for name, path in (("b", "/x/"), ("A", "/"), ("c", "/x/y/"), ("d", "/xy/")):
        identities.users.create(replace(ALICE, user_id=f"AIDA{name}", name=name, path=path))
    users = identities.users

    def names(path_prefix: str = "/", after: str = "", limit: int = 10) -> list[str]:
        return [each.name for each in users.list(ACCOUNT, path_prefix=path_prefix, after=after, limit=limit)]

    assert names() == ["A", "b", "c", "d"]
    assert names(after="B", limit=1) == ["c"]
    assert names("/x/") == ["b", "c"]
    assert names("/X/") == []
    assert names("/%") == []
    assert users.count(ACCOUNT) == 4


@pytest.mark.parametrize("kept", [False, True])
def test_a_commit_of_unknown_outcome_is_looked_up_again(
    identities: Identities, commit_fault: Any, *, kept: bool
) -> None:
    identities.users.create(ALICE)
    identities.create_key(KEY, "secret")
    assert identities.find_key("AKIAALICE") is not None
    commit_fault.kept = kept
    with pytest.raises(StorageError):
        identities.set_active("AKIAALICE", active=False)
    record = identities.find_key("AKIAALICE")
    assert record is not None
    assert record.is_active is not kept
    commit_fault.kept = kept
    with pytest.raises(StorageError):
        identities.users.put_policy("AIDAALICE", "p", "{}")
    record = identities.find_key("AKIAALICE")
    assert record is not None
    assert record.policies == ({"p": "{}"} if kept else {})
