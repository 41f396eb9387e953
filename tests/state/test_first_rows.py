"""Two calls at once that both find nothing and both write it: neither fails, and what one wrote the other replaces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from opentrail.core.passwords import PasswordPolicy
from opentrail.state.account_settings import AccountSettings
from opentrail.state.accounts import Account, Accounts
from opentrail.state.buckets import Bucket, Buckets, Part, Upload
from opentrail.state.channels import AcceptedEvents, Ingestion
from opentrail.state.credential_reports import CredentialReport, CredentialReports

ACCOUNT = "123456789012"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS, THREADS = 8, 4


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the calls return, each on a thread of its own, begun together.  Raises what one of them raised."""
    start = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = calls[number]()
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


@pytest.fixture
def account(engine: Engine) -> Account:
    account = Account(account_id=ACCOUNT, name="main", email="main@example.com", created=NOW)
    assert Accounts(engine).create(account)
    return account


@pytest.mark.usefixtures("account")
def test_password_policies(engine: Engine) -> None:
    settings = AccountSettings(engine)
    for _ in range(ROUNDS):
        lengths = range(6, 6 + THREADS)
        at_once([partial(settings.set_password_policy, ACCOUNT, PasswordPolicy(minimum_length=n)) for n in lengths])
        policy = settings.password_policy(ACCOUNT)
        assert policy is not None
        assert policy.minimum_length in lengths
        settings.remove_password_policy(ACCOUNT)


@pytest.mark.usefixtures("account")
def test_aliases(engine: Engine) -> None:
    """All are free, so none is refused; the last one stays."""
    settings = AccountSettings(engine)
    for number in range(ROUNDS):
        names = [f"alias-{number}-{each}" for each in range(THREADS)]
        assert at_once([partial(settings.set_alias, ACCOUNT, name) for name in names]) == [True] * THREADS
        alias = settings.alias(ACCOUNT)
        assert alias in names
        assert settings.remove_alias(ACCOUNT, alias)


def test_an_alias_that_two_accounts_want_at_once_is_given_to_one(engine: Engine) -> None:
    settings, accounts = AccountSettings(engine), [f"{number:012}" for number in range(THREADS)]
    for each in accounts:
        Accounts(engine).create(Account(account_id=each, name=each, email=f"{each}@example.com", created=NOW))
    for number in range(ROUNDS):
        won = at_once([partial(settings.set_alias, each, f"alias-{number}") for each in accounts])
        assert won.count(True) == 1
        assert settings.alias(accounts[won.index(True)]) == f"alias-{number}"


@pytest.mark.usefixtures("account")
def test_credential_reports(engine: Engine) -> None:
    reports = [CredentialReport(generated=NOW, content=f"report {number}") for number in range(THREADS)]
    held = CredentialReports(engine)
    at_once([partial(held.put, ACCOUNT, each) for each in reports] * 2)
    assert held.find(ACCOUNT) in reports


class TestParts:
    @pytest.fixture
    def buckets(self, engine: Engine) -> Buckets:
        buckets = Buckets(engine)
        buckets.create(Bucket(name="b", owner=ACCOUNT, region="us-east-1", created=NOW))
        return buckets

    def begin(self, buckets: Buckets, upload_id: str) -> None:
        upload = Upload(upload_id=upload_id, bucket="b", key="k", initiator="arn", initiated=NOW, metadata={})
        assert buckets.create_upload(upload)

    def part(self, number: int, key: str) -> Part:
        return Part(number=number, store_key=key, etag="e", size=1, checksum="", modified=NOW)

    def test_a_part_that_is_put_twice_at_once(self, buckets: Buckets) -> None:
        """Each replaced part is told to one of the callers, who removes its bytes: none is lost, none told twice."""
        for number in range(ROUNDS):
            self.begin(buckets, upload := f"u{number}")
            keys = [f"{number}-{each}" for each in range(THREADS)]
            results = at_once([partial(buckets.put_part, upload, self.part(1, key)) for key in keys])
            assert [kept for kept, _ in results] == [True] * THREADS
            replaced = [part.store_key for _, part in results if part]
            assert sorted([*replaced, *(part.store_key for part in buckets.parts_of(upload))]) == keys

    def test_a_part_of_an_upload_that_ends_in_this_moment(self, buckets: Buckets) -> None:
        for number in range(ROUNDS):
            self.begin(buckets, upload := f"u{number}")
            puts = [partial(buckets.put_part, upload, self.part(each, "k")) for each in range(1, THREADS)]
            at_once([partial(buckets.delete_upload, upload), *puts])
            assert buckets.find_upload(upload) is None
            assert buckets.parts_of(upload) == []
            assert buckets.put_part(upload, self.part(9, "k")) == (False, None)


def test_accepted_events(engine: Engine) -> None:
    """Calls whose events are saved together: each event is kept once, and no call fails."""
    accepted = AcceptedEvents(engine)
    for number in range(ROUNDS):
        keys = [[UUID(int=number * 100 + each + 1).bytes] for each in range(THREADS)]
        status = Ingestion(attempt_time=NOW, attempt_event_id="x")
        at_once([partial(accepted.add, key, f"arn-{number}", status, NOW) for key in keys])
        assert AcceptedEvents(engine).known([key for (key,) in keys]) == {key for (key,) in keys}
