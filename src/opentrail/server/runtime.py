"""The composition root: where objects are wired (services: ``endpoint``), and where clocks and randomness come from."""

from __future__ import annotations

import base64
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opentrail.core.arn import is_region
from opentrail.core.errors import ConfigError, JournalError, StorageError
from opentrail.core.events import ACTIVITY
from opentrail.delivery.courier import Courier, Delivery
from opentrail.delivery.follower import LogFileFollower
from opentrail.delivery.worker import DeliveryWorker, Rounds
from opentrail.journal.base import Journal
from opentrail.journal.group_commit import GroupCommit
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.server.account_desk import AccountDesk
from opentrail.server.authentication import Authenticator
from opentrail.server.call_records import CallRecords
from opentrail.server.call_threads import CallThreads
from opentrail.server.config import Settings
from opentrail.server.control import Command
from opentrail.server.decision_log import DecisionLog
from opentrail.server.endpoint import Endpoint, build_endpoint
from opentrail.server.forwarding import ForwardingDeps
from opentrail.server.front_door import FrontDoor
from opentrail.server.identifiers import Identifiers
from opentrail.server.installation import Installation, Wakeup, open_installation
from opentrail.server.memberships import Memberships
from opentrail.server.metrics import Metrics, Reading
from opentrail.server.recorder import Recorder, recover
from opentrail.server.service_table import SERVICES
from opentrail.server.upstream_callers import Strangers
from opentrail.server.upstreams import Forwarder, answered_services, own_services
from opentrail.state.deliveries import Channel, Deliveries

log = logging.getLogger("opentrail.runtime")

_ACTIVITY = f"|{ACTIVITY}|".encode()  # in the routes of events that PutAuditEvents brought
CALL_THREADS = 64  # blocking calls wait for the disk together: the more wait, the fewer flushes each one costs


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything of one running installation."""

    settings: Settings
    account_id: str
    account_desk: AccountDesk
    door: FrontDoor
    worker: DeliveryWorker
    keys: RsaKeyFiles
    journal: Journal
    decisions: DecisionLog
    wakeup: Wakeup
    clock: Callable[[], datetime]

    def flush(self, *, digest: bool) -> Mapping[str, Any]:
        """Deliver now.  Raises ``StorageError`` when nothing could be staged."""
        result = self.worker.flush(digest=digest)
        if result.error:
            raise StorageError(result.error, retryable=True)
        return {"delivered": result.delivered, "waiting": result.waiting}

    def commands(self) -> Mapping[str, Command]:
        """What the control socket offers."""
        return {
            "flush": lambda request: self.flush(digest=bool(request.get("digest"))),
            "keys-list": lambda request: {"keys": self._list_keys(_regions_in(request))},
            "flush-decisions": lambda _request: self._flush_decisions(),
            **self.account_desk.commands(),
            "keys-rotate": lambda request: {"keys": self._rotate_keys(_regions_in(request))},
        }

    def _flush_decisions(self) -> Mapping[str, Any]:
        self.decisions.flush()
        return {}

    def _list_keys(self, regions: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for name in regions or self.keys.regions():
            listed = self.keys.list(name)
            rows += [
                {
                    "region": name,
                    "fingerprint": key.fingerprint,
                    "value": base64.b64encode(key.value).decode(),  # PKCS#1 DER
                    "validity_start": key.validity_start.isoformat(),
                    "validity_end": key.validity_end.isoformat(),
                    "signs": key is listed[-1],
                }
                for key in listed
            ]
        return rows

    def _rotate_keys(self, regions: Sequence[str]) -> list[dict[str, Any]]:
        regions = regions or self.keys.regions()
        if not regions:
            raise ConfigError("there are no keys yet: name the region to make one for, with --region")
        for name in regions:
            self.keys.rotate(name, now=self.clock())
        return self._list_keys(regions)


def _regions_in(request: Mapping[str, Any]) -> Sequence[str]:
    """Those that the request names; none: all that have keys.  Raises ``ConfigError``."""
    regions = [str(name) for name in request.get("regions") or ()]
    for name in regions:
        if not is_region(name):
            raise ConfigError(f"--region: a region is expected, such as eu-west-1, not {name!r}")
    return regions


@contextmanager
def open_runtime(settings: Settings, clock: Callable[[], datetime] = utc_now) -> Iterator[Runtime]:
    """Open (and at the first start make) the data folder and wire everything; closes it in order.

    Raises ``ConfigError``, also where another process has the folder, and ``StorageError``.
    """
    with open_installation(settings, clock) as installation:
        endpoint = build_endpoint(installation, clock)
        worker = _build_worker(installation, endpoint, clock)
        threads = CallThreads(CALL_THREADS)
        try:
            yield Runtime(
                settings=settings,
                account_id=installation.account_id,
                account_desk=AccountDesk(
                    accounts=installation.accounts,
                    identities=installation.identities,
                    organizations=installation.organizations,
                    credentials=settings.data_dir / "credentials",
                    clock=clock,
                ),
                door=_build_door(installation, endpoint, worker, threads, clock),
                worker=worker,
                keys=installation.keys,
                journal=installation.journal,
                decisions=installation.decisions,
                wakeup=installation.wakeup,
                clock=clock,
            )
        finally:
            threads.close()


def _build_worker(installation: Installation, endpoint: Endpoint, clock: Callable[[], datetime]) -> DeliveryWorker:
    settings, commit, recorder = installation.settings, installation.commit, endpoint.recorder
    ledger, deliveries = installation.ledger, installation.deliveries
    memberships = Memberships(installation.organizations)
    follower = LogFileFollower(
        journal=installation.journal,
        ledger=ledger,
        trails=installation.trails,
        signer=lambda region, end: installation.keys.signer(region, now=clock(), digest_end_time=end),
        random_bytes=os.urandom,
        digest_interval_seconds=settings.digest_interval,
        members=memberships.members,
    )
    follower.find_place()
    brought: list[bytes] = []
    recover(  # after it: what this appends may stand where the journal had lost its end
        installation.journal, lambda entry: brought.append(entry.event_id) if _ACTIVITY in entry.route else None
    )
    installation.accepted_events.add_found(brought, clock())  # before anything is trimmed
    courier = Courier(
        ledger=ledger,
        bucket=endpoint.log_bucket,
        report=lambda delivery: _report(deliveries, delivery),
        clock=clock,
        monotonic=time.monotonic,
    )

    def tidy(oldest_generation: int) -> None:
        taken = follower.position()  # first: an intent that it has passed by now is open in the recorder
        intent = recorder.oldest_open_intent()
        installation.journal.trim(taken + 1 if intent is None else min(taken + 1, intent))
        installation.trails.release(memberships.may_record, clock())
        installation.trails.forget_before(min(oldest_generation, follower.oldest_generation()))
        deliveries.save()
        installation.identities.save_uses()

    rounds = Rounds(
        follower=follower,
        courier=courier,
        pay=recorder.pay,
        barrier=commit.barrier,
        oldest_generation=recorder.oldest_generation,
        tidy=tidy,
        waiting=ledger.waiting,
        journal_bytes=lambda: commit.counters.entry_bytes,
        clock=clock,
        monotonic=time.monotonic,
    )
    return DeliveryWorker(rounds, delivery_interval_seconds=settings.delivery_interval)


def _build_door(
    installation: Installation,
    endpoint: Endpoint,
    worker: DeliveryWorker,
    threads: CallThreads,
    clock: Callable[[], datetime],
) -> FrontDoor:
    identities, commit, recorder = installation.identities, installation.commit, endpoint.recorder
    authenticator = Authenticator(
        known_key=identities.known_key,
        find_key=identities.find_key,
        known_session=installation.sessions.known,
        find_session=installation.sessions.find,
        note_use=identities.note_use,
        note_role_use=identities.note_role_use,
    )
    return FrontDoor(
        catalog=endpoint.catalog,
        services=answered_services(endpoint.services, installation.settings),
        authenticator=authenticator,
        authoriser=endpoint.authoriser,
        recorder=recorder,
        rules=endpoint.rules,
        records=CallRecords(recorder=recorder, rules=endpoint.rules),
        identifiers=Identifiers(),
        metrics=Metrics(_readings(installation, recorder)),
        threads=threads,
        clock=clock,
        health=lambda: _health(commit, recorder, worker),
        max_body_bytes=installation.settings.max_body_bytes,
        s3_domains=installation.settings.domains,
        forwarder=_build_forwarder(installation, endpoint, authenticator, threads),
    )


def _build_forwarder(
    installation: Installation, endpoint: Endpoint, authenticator: Authenticator, threads: CallThreads
) -> Forwarder | None:
    settings = installation.settings
    if not settings.upstream:
        return None
    return Forwarder(
        upstreams=settings.upstream,
        own=own_services(SERVICES, settings),
        own_buckets=settings.own_buckets,
        catalog=endpoint.catalog,
        deps=ForwardingDeps(
            authenticator=authenticator,
            authoriser=endpoint.authoriser,
            threads=threads,
            rules=endpoint.rules,
            strangers=Strangers(),
            account_id=installation.account_id,
            max_body_bytes=settings.max_body_bytes,
        ),
    )


def _report(deliveries: Deliveries, delivery: Delivery) -> None:
    channel = Channel.LOG_FILES if delivery.kind == "log" else Channel.DIGESTS
    place = (delivery.trail_arn, delivery.account_id, delivery.region)
    deliveries.record(*place, channel, now=delivery.time, error=delivery.error)


def _health(commit: GroupCommit, recorder: Recorder, worker: DeliveryWorker) -> str:
    failure: JournalError | None = commit.failure
    if failure is not None:
        return f"journal: {failure}"
    if recorder.owed():
        return f"journal: {recorder.owed()} events wait to be written"
    if recorder.trouble():
        return f"journal: {recorder.trouble()}"
    return f"delivery: {worker.failure}" if worker.failure else ""


def _readings(installation: Installation, recorder: Recorder) -> list[Reading]:
    journal, commit, ledger = installation.journal, installation.commit, installation.ledger
    decisions = installation.decisions
    return [
        ("opentrail_journal_entries", "counter", "Entries made durable", lambda: commit.counters.entries),
        ("opentrail_journal_batches", "counter", "Group commits", lambda: commit.counters.batches),
        ("opentrail_journal_bytes", "counter", "Bytes made durable", lambda: commit.counters.entry_bytes),
        ("opentrail_journal_seconds", "counter", "Seconds spent in commits", lambda: commit.counters.append_seconds),
        ("opentrail_journal_failures", "counter", "Entries that failed", lambda: commit.counters.failures),
        ("opentrail_journal_waiting", "gauge", "Entries that wait for the disk", lambda: commit.counters.waiting),
        ("opentrail_journal_position", "gauge", "Position of the last durable entry", lambda: journal.end),
        ("opentrail_unrecorded_calls", "counter", "Calls answered without a record", lambda: recorder.unrecorded),
        ("opentrail_owed_events", "gauge", "Events that wait for a journal", recorder.owed),
        ("opentrail_lost_decisions", "counter", "Decisions that could not be kept", lambda: decisions.lost),
        ("opentrail_undelivered_objects", "gauge", "Files that wait for their bucket", ledger.waiting),
    ]
