"""Planning log files: which entries of the journal go into which file of which trail.  Pure.

Rules:

* An entry goes to every trail that selects its event under the trails' generation in which its record was made; a call
  that itself changed trails also under the generation in which it began (ADR 0003).
* An event that several accounts receive goes to the trails of each as that account's own copy (``recording.sharing``).
* One group is one trail's digest chain, account, region and destination.  A group becomes a file, or several
  where it is too large for one.
* The records of Opentrail's own deliveries open no file by themselves: they ride in the next one that others open
  (ADR 0005), so that a trail which records its own bucket does not feed itself for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from opentrail.core.events import EntryRoute, Receiver, encode_json, parse_event, parse_route
from opentrail.core.logfiles import MAX_LOG_FILE_BYTES, EncodedLogFile, encode_log_file, log_file_size
from opentrail.core.recording.sharing import shared_copy
from opentrail.core.selection import CompiledSelector
from opentrail.core.selection import Route as SelectionRoute
from opentrail.journal.base import EntryKind, StoredEntry
from opentrail.state.trails import TrailRevision

TrailsAt = Callable[[int], Mapping[str, TrailRevision]]


class GroupKey(NamedTuple):
    """What the records of one log file have in common."""

    trail_arn: str
    chain: int
    account_id: str
    region: str
    bucket: str
    prefix: str
    organization_id: str = ""  # of an organization trail


@dataclass(slots=True, kw_only=True)
class Group:
    """The records of a group, in journal order, with the times (ms) of its oldest and newest event."""

    key: GroupKey
    validated: bool = False  # a digest will name its files
    records: list[bytes | memoryview] = field(default_factory=list)
    own: list[tuple[int, bytes]] = field(default_factory=list)  # event time in ms, record
    size: int = 0  # bytes of the records
    oldest_ms: int = 0
    newest_ms: int = 0

    def add(self, time_ms: int, record: bytes | memoryview) -> None:
        """Take one record."""
        if not self.records:
            self.oldest_ms = self.newest_ms = time_ms
        elif time_ms < self.oldest_ms:
            self.oldest_ms = time_ms
        elif time_ms > self.newest_ms:
            self.newest_ms = time_ms
        self.records.append(record)
        self.size += len(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Groups in the order of their first entry, and how far the entries went."""

    groups: tuple[Group, ...]
    position: int
    generation: int  # the newest generation seen


class _Taker(NamedTuple):
    """A trail revision that may record the entries of one route, for one of the accounts that receive them."""

    key: GroupKey
    validated: bool
    selector: CompiledSelector
    certain: bool  # the route alone decided; else the record must be asked
    organization_ids: tuple[str, ...]  # that the account was in
    is_copy: bool  # the record is another account's


class Selection:
    """Which trails take an entry.  Remembers its answer for each route, of which a journal holds few."""

    def __init__(self, trails_at: TrailsAt) -> None:
        self._trails_at = trails_at
        self._by_route: dict[bytes, tuple[EntryRoute, tuple[_Taker, ...]]] = {}

    def takers(self, route_bytes: bytes) -> tuple[EntryRoute, tuple[_Taker, ...]]:
        """The route and the trail revisions that take, or may take, its entries."""
        found = self._by_route.get(route_bytes)
        if found is None:
            route = parse_route(route_bytes)
            found = self._by_route[route_bytes] = (route, tuple(self._find(route)))
        return found

    def _find(self, route: EntryRoute) -> Iterator[_Taker]:
        for number, receiver in enumerate(route.receivers):
            yield from self._find_for(route, receiver, is_copy=number > 0)

    def _find_for(self, route: EntryRoute, receiver: Receiver, *, is_copy: bool) -> Iterator[_Taker]:
        asked = SelectionRoute(
            account_id=receiver.account_id,
            region=route.region,
            category=route.category,
            read_only=route.read_only,
            event_source=route.event_source,
            event_type=route.event_type,
            own=route.own,
            organization_ids=receiver.organization_ids,
        )
        seen: set[tuple[str, int]] = set()
        for generation in sorted({route.before, route.generation}):
            for arn, revision in self._trails_at(generation).items():
                if revision.chain is None or (arn, revision.chain) in seen:
                    continue
                answer = revision.selector.decide(asked)
                if answer is False:
                    continue
                if answer:
                    seen.add((arn, revision.chain))
                trail = revision.trail
                yield _Taker(
                    key=GroupKey(
                        trail_arn=arn,
                        chain=revision.chain,
                        account_id=receiver.account_id,
                        region=route.region,
                        bucket=trail.bucket,
                        prefix=trail.prefix,
                        organization_id=trail.organization_id,
                    ),
                    validated=trail.log_file_validation_enabled,
                    selector=revision.selector,
                    certain=answer is True,
                    organization_ids=receiver.organization_ids,
                    is_copy=is_copy,
                )


def plan(entries: Iterable[StoredEntry], selection: Selection, *, after: int, generation: int) -> Plan:
    """Group ``entries`` (those behind position ``after``) by log file.  Intents are passed over."""
    groups: dict[GroupKey, Group] = {}
    position = after
    for entry in entries:
        position = entry.position
        if entry.kind is EntryKind.INTENT:
            continue
        route, takers = selection.takers(entry.route)
        generation = max(generation, route.generation)
        taken: tuple[tuple[str, str], ...] = ()  # trail and account
        for taker in takers:
            key = taker.key
            place = (key.trail_arn, key.account_id)
            if place in taken:
                continue
            payload = _copy(entry.payload, key.account_id) if taker.is_copy else entry.payload
            if not taker.certain and not _takes(taker, payload):
                continue
            taken = (*taken, place)
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group(key=key, validated=taker.validated)
            if route.own:
                group.own.append((entry.event_time_ms, bytes(payload)))
            else:
                group.add(entry.event_time_ms, payload)
    return Plan(groups=tuple(groups.values()), position=position, generation=generation)


def _takes(taker: _Taker, payload: bytes | memoryview) -> bool:
    return taker.selector.matches(parse_event(bytes(payload)).record, taker.organization_ids)


def _copy(payload: bytes | memoryview, account_id: str) -> bytes:
    return encode_json(shared_copy(parse_event(bytes(payload)).record, account_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPart:
    """One log file of a group, ready but for its name."""

    key: GroupKey
    content: EncodedLogFile
    oldest_ms: int
    newest_ms: int


Encoded = list[EncodedPart]  # the files of one group


def encode_groups(groups: Sequence[Group]) -> list[Encoded]:
    """The files of each group that has records of others' calls; an empty list for the rest."""
    return [encode_group(group) if group.records else [] for group in groups]


def encode_group(group: Group, limit: int = MAX_LOG_FILE_BYTES) -> Encoded:
    """The log files of a group, none over ``limit`` uncompressed bytes.

    Each says the oldest and newest event of the whole group: bounds that hold without a look into the records.
    """
    return [
        EncodedPart(key=group.key, content=encode_log_file(part), oldest_ms=group.oldest_ms, newest_ms=group.newest_ms)
        for part in _parts(group, limit)
    ]


def _parts(group: Group, limit: int) -> Iterator[list[bytes | memoryview]]:
    if log_file_size(group.size, len(group.records)) <= limit:
        yield group.records
        return
    part: list[bytes | memoryview] = []
    size = 0
    for record in group.records:
        if part and log_file_size(size + len(record), len(part) + 1) > limit:
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record)
    yield part
