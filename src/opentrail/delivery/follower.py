"""The follower that turns journal entries into staged log files and digests.

``take`` reads on from its cursor and stages; ``close_windows`` stages the digests that are due and ends the chains
whose trails stopped.  Both are whole transactions of the ledger: a crash before one leaves the entries to be read
again, a crash after it leaves staged objects that the courier puts.  Nothing here touches a bucket.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from opentrail.core.layout import Folder, LogKey, format_log_key, unique_part
from opentrail.core.trails import Trail
from opentrail.delivery.digests import SignerFor, due_ends, plan_digest
from opentrail.delivery.ledger import Chain, ChainKey, Cursor, FileToName, Ledger, ObjectToPut, Transaction
from opentrail.delivery.log_files import (
    Encoded,
    EncodedPart,
    Group,
    GroupKey,
    Plan,
    Selection,
    encode_group,
    encode_groups,
    plan,
)
from opentrail.journal.base import Journal, StoredEntry
from opentrail.state.trails import Snapshot, TrailRevision, Trails

log = logging.getLogger("opentrail.delivery")

FOLLOWER = "log-files"
_BATCH_BYTES = 8 << 20  # of journal entries that become files together: two batches are in memory at once
_ENTRY_BYTES = 512  # of an entry beside its payload, as Python holds it
_READ_BYTES = 1 << 20
_READ_ENTRIES = 10_000


class LogFileFollower:
    """Stages what the journal holds.  One thread at a time uses it.

    ``members`` tells the accounts of an organization now: whose chains an organization trail has.  Which events it has
    does not depend on it, but on what each entry's route says.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        ledger: Ledger,
        trails: Trails,
        signer: SignerFor,
        random_bytes: Callable[[int], bytes],
        digest_interval_seconds: int,
        members: Callable[[str], Collection[str]] = lambda _organization_id: (),
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._trails = trails
        self._signer = signer
        self._random_bytes = random_bytes
        self._digest_interval_seconds = digest_interval_seconds
        self._members = members
        self._settled = -1  # no event that is not taken names an earlier generation ...
        self._awaited = -1, 0  # ... than this one, when that position is taken
        self._left: dict[tuple[str, str], int] = {}  # trail and account that left it: the generation since when

    def find_place(self) -> None:
        """Fit the cursor to the journal; call once, before anything is appended.

        A cursor of another journal begins at this one's start.  One that lies behind the journal's end goes back to it:
        what it had taken is staged, and was cut off here as a damaged end, so its positions will be used again.
        Raises ``StorageError``.
        """
        with self._ledger.transaction() as transaction:
            cursor = transaction.cursor(FOLLOWER)
            place = cursor.position
            if cursor.journal_id != self._journal.id:
                if place:
                    log.error("the journal is not the one that was followed: what that one still held is not delivered")
                place = self._journal.start - 1
            elif place > self._journal.end:
                log.error(
                    "the journal ends at %d and was followed up to %d: its end was damaged", self._journal.end, place
                )
                place = self._journal.end
            transaction.move(FOLLOWER, replace(cursor, journal_id=self._journal.id, position=place))

    def take(self, now: datetime) -> int:
        """Stage log files for every entry that was durable when the call began; returns how many entries there were.

        Raises ``StorageError``; what is not staged then is staged by the next call.
        """
        end = self._journal.end
        cursor = self._ledger.cursor(FOLLOWER)
        position, generation = cursor.position, cursor.generation
        selection = Selection(self._trails.at)
        waiting: deque[tuple[Plan, Future[list[Encoded]]]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="encode") as encoder:
            while entries := self._read(position, end):
                planned = plan(entries, selection, after=position, generation=generation)
                position, generation = planned.position, planned.generation
                # Hashing and compressing release the interpreter: the next batch is read and planned meanwhile.
                waiting.append((planned, encoder.submit(encode_groups, planned.groups)))
                if len(waiting) > 1:
                    self._stage(*waiting.popleft(), now)
            while waiting:
                self._stage(*waiting.popleft(), now)
        return position - cursor.position

    def close_windows(self, now: datetime, *, oldest_generation: int, all_windows: bool = False) -> int:
        """Stage the digests that are due (``all_windows``: one for each chain now), end chains that are over.

        An event that is still to come into the journal names ``oldest_generation`` or a later one.  A chain is over
        when its trail no longer records it (or no longer that account, which left the organization), and no event that
        is not taken can belong to it.  Until then the trail's next chain has no digests: who reads them goes by their
        names, and so theirs must follow.  Returns how many digests were staged.  Raises ``StorageError``.

        Who joins or leaves an organization changes no trail, so the first round that misses an account makes a
        generation: when nothing older is in flight, no call can name the organization for it any more.
        """
        staged = 0
        generation = self._trails.generation
        current = self._trails.at(generation)
        with self._ledger.transaction() as transaction:
            before = cursor = transaction.cursor(FOLLOWER)
            stamp = max(int(now.timestamp()), cursor.high_water)
            settled = self._settle(cursor, oldest_generation)
            accounts = {arn: self._accounts_of(revision.trail) for arn, revision in current.items()}
            chains = transaction.chains()
            if self._open_home_chains(transaction, current, accounts, {chain.key for chain in chains}, stamp):
                chains = transaction.chains()
            left = self._leave(chains, current, accounts, now)
            going_on: set[tuple[str, str, str]] = set()  # trails, each with an account and a region
            for chain in sorted(chains, key=lambda each: each.key.chain):
                key = chain.key
                place = key.trail_arn, key.account_id, key.region
                is_first = place not in going_on and (chain.digest_end is not None or settled >= key.chain)
                revision = current.get(key.trail_arn)
                is_recorded = revision is not None and revision.chain == key.chain
                if revision is not None and is_recorded and key.account_id in accounts[key.trail_arn]:
                    chain = self._redirect(transaction, chain, revision)  # noqa: PLW2901  the same one
                    is_over = False
                else:
                    is_over = is_first and settled >= max(generation, left.get((key.trail_arn, key.account_id), 0))
                if is_over:  # nothing more can come: what rode along goes out, and the last digest names it
                    cursor = self._stage_deferred(transaction, chain, cursor, stamp)
                else:
                    going_on.add(place)
                if is_first:
                    staged += self._stage_digests(transaction, chain, stamp, one_more=is_over or all_windows)
                if is_over:
                    transaction.end_chain(chain)
            if staged or cursor != before:
                transaction.move(FOLLOWER, replace(cursor, high_water=max(stamp, cursor.high_water)))
        return staged

    def oldest_generation(self) -> int:
        """The oldest trails' generation that an entry which is still to be taken may name."""
        cursor = self._ledger.cursor(FOLLOWER)
        entries = self._journal.read(cursor.position, max_entries=1) if cursor.position < self._journal.end else []
        if not entries:
            return cursor.generation
        return min(cursor.generation, int(entries[0].route.split(b"|", 1)[0]))

    def position(self) -> int:
        """The last entry that is staged; the journal may forget up to it."""
        return self._ledger.cursor(FOLLOWER).position

    def _read(self, position: int, end: int) -> list[StoredEntry]:
        entries: list[StoredEntry] = []
        size = 0
        while position < end and size < _BATCH_BYTES:
            part = self._journal.read(position, max_entries=min(_READ_ENTRIES, end - position), max_bytes=_READ_BYTES)
            entries += part
            size += sum(len(entry.payload) for entry in part) + _ENTRY_BYTES * len(part)
            position = part[-1].position
        return entries

    def _stage(self, planned: Plan, encoding: Future[list[Encoded]], now: datetime) -> None:
        encoded = encoding.result()
        with self._ledger.transaction() as transaction:
            cursor = transaction.cursor(FOLLOWER)
            stamp = max(int(now.timestamp()), cursor.high_water)
            for group, files in zip(planned.groups, encoded, strict=True):
                chain = self._open_chain(transaction, group, stamp)
                if not group.records:
                    transaction.defer(chain, group.own)
                    continue
                riding = transaction.take_deferred(chain) + group.own
                if riding:
                    for time_ms, record in riding:
                        group.add(time_ms, record)
                    files = encode_group(group)  # noqa: PLW2901  the same group's files, with what rides along
                for file in files:
                    cursor = self._stage_file(transaction, chain, file, cursor, stamp)
            transaction.move(
                FOLLOWER,
                replace(cursor, position=planned.position, generation=planned.generation, high_water=stamp),
            )

    def _stage_file(
        self, transaction: Transaction, chain: Chain, file: EncodedPart, cursor: Cursor, stamp: int
    ) -> Cursor:
        sequence = cursor.sequence + 1
        key = file.key
        name = format_log_key(
            LogKey(
                folder=Folder(
                    prefix=key.prefix,
                    organization_id=key.organization_id,
                    account_id=key.account_id,
                    region=key.region,
                ),
                delivered_at=datetime.fromtimestamp(stamp, UTC),
                unique=unique_part(sequence, self._random_bytes(8)),
            )
        )
        named = FileToName(
            bucket=key.bucket,
            key=name,
            sha256=file.content.sha256,
            oldest=file.oldest_ms // 1000,
            newest=file.newest_ms // 1000,
        )
        item = ObjectToPut(kind="log", bucket=key.bucket, key=name, body=file.content.data, file=named)
        transaction.stage(chain, item)
        return replace(cursor, sequence=sequence)

    def _stage_deferred(self, transaction: Transaction, chain: Chain, cursor: Cursor, stamp: int) -> Cursor:
        """The last log file of a chain that is over: what still waited to ride in one."""
        records = transaction.take_deferred(chain)
        if not records:
            return cursor
        key = chain.key
        fields = GroupKey(
            trail_arn=key.trail_arn,
            chain=key.chain,
            account_id=key.account_id,
            region=key.region,
            bucket=chain.bucket,
            prefix=chain.prefix,
            organization_id=chain.organization_id,
        )
        group = Group(key=fields, validated=chain.validated)
        for time_ms, record in records:
            group.add(time_ms, record)
        for file in encode_group(group):
            cursor = self._stage_file(transaction, chain, file, cursor, stamp)
        return cursor

    def _stage_digests(self, transaction: Transaction, chain: Chain, stamp: int, *, one_more: bool) -> int:
        """Stage the digests of a chain that are due (``one_more``: and one that ends now); returns how many."""
        if not chain.validated:
            return 0
        ends = due_ends(chain, stamp, self._digest_interval_seconds)
        if ends and chain.digest_end is None:
            newest = transaction.newest_digest_end(chain.key)  # of an earlier chain, which was held open meanwhile
            ends = [end for end in ends if end > newest]
        ends += [stamp] * one_more
        for end in ends:
            chain = self._stage_digest(transaction, chain, end)
        return len(ends)

    def _stage_digest(self, transaction: Transaction, chain: Chain, end: int) -> Chain:
        """The chain with one digest more, which ends at ``end`` or as little later as its name takes to be new."""
        start = chain.digest_end if chain.digest_end is not None else chain.started_at
        end = max(end, start + 1, transaction.newest_digest_end(chain.key) + 1)
        signer = self._signer(chain.key.region, datetime.fromtimestamp(end, UTC))
        item, head = plan_digest(chain, transaction.unnamed(chain), end, signer)
        transaction.stage(chain, item)
        transaction.advance_chain(chain, digest_end=end, head=head)
        return replace(chain, digest_end=end, head=head)

    def _settle(self, cursor: Cursor, oldest_generation: int) -> int:
        """The oldest generation that an event which is not taken may name, as far as that can be told.

        There may always be something in the journal that is not taken: what was its end at some call will be.
        """
        generation, end = self._awaited
        if cursor.position >= end:
            self._settled = max(self._settled, generation)
            self._awaited = oldest_generation, self._journal.end
            if cursor.position >= self._journal.end:
                self._settled = max(self._settled, oldest_generation)
        return self._settled

    def _open_chain(self, transaction: Transaction, group: Group, stamp: int) -> Chain:
        key = group.key
        times = [time_ms // 1000 for time_ms, _ in group.own]
        oldest = min([stamp, *times, *([group.oldest_ms // 1000] if group.records else [])])
        return transaction.open_chain(
            ChainKey(trail_arn=key.trail_arn, chain=key.chain, account_id=key.account_id, region=key.region),
            validated=group.validated,
            started_at=oldest,
            bucket=key.bucket,
            prefix=key.prefix,
            organization_id=key.organization_id,
        )

    def _leave(
        self, chains: Sequence[Chain], current: Snapshot, accounts: Mapping[str, Collection[str]], now: datetime
    ) -> Mapping[tuple[str, str], int]:
        """Trails and accounts whose chains go on although the account has left: the generation in which it was gone."""
        gone = set()
        for chain in chains:
            arn, account_id = chain.key.trail_arn, chain.key.account_id
            revision = current.get(arn)
            if revision is not None and revision.chain == chain.key.chain and account_id not in accounts[arn]:
                gone.add((arn, account_id))
        since = self._trails.advance(now) if gone - self._left.keys() else 0
        self._left = {each: self._left.get(each, since) for each in gone}
        return self._left

    def _accounts_of(self, trail: Trail) -> Collection[str]:
        """The accounts whose events the trail records now, its own among them."""
        return {trail.account_id, *(self._members(trail.organization_id) if trail.organization_id else ())}

    def _open_home_chains(
        self,
        transaction: Transaction,
        current: Snapshot,
        accounts: Mapping[str, Collection[str]],
        known: set[ChainKey],
        stamp: int,
    ) -> bool:
        """A trail that logs has digests of its home region from its first hour on, for each account, events or none.

        Returns whether any of these chains was not ``known`` to go on.
        """
        opened = False
        for arn, revision in current.items():
            if revision.chain is None:
                continue
            trail = revision.trail
            keys = {
                ChainKey(trail_arn=arn, chain=revision.chain, account_id=each, region=trail.home_region)
                for each in accounts[arn]
            }
            is_new = known.isdisjoint(keys)  # else what is missing is of an account that has joined since
            started = revision.started if revision.session == revision.chain and is_new else None
            for key in sorted(keys - known, key=lambda each: each.account_id):
                opened = True
                transaction.open_chain(
                    key,
                    validated=trail.log_file_validation_enabled,
                    started_at=min(stamp, int(started.timestamp())) if started else stamp,
                    bucket=trail.bucket,
                    prefix=trail.prefix,
                    organization_id=trail.organization_id,
                )
        return opened

    def _redirect(self, transaction: Transaction, chain: Chain, revision: TrailRevision) -> Chain:
        """Digests go where the trail delivers now."""
        trail = revision.trail
        if (chain.bucket, chain.prefix) == (trail.bucket, trail.prefix):
            return chain
        return transaction.open_chain(
            chain.key,
            validated=chain.validated,
            started_at=chain.started_at,
            bucket=trail.bucket,
            prefix=trail.prefix,
        )
