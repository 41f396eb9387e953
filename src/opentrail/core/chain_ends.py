"""Which recorded call ended which chain of digests.

Rules:

* A call counts from where the trail's calls are recorded: the home region of its account, or of its organization's.
  Another account, or another region, may have a trail of the same name, and its owner may stop it when it suits him.
* An UpdateTrail ends a chain only by what it changes: the bucket, the prefix or the regions that the chain has.
* CloudTrail stops with a last digest, which covers the call (user guide, "Validating CloudTrail log file integrity").
  So a chain ends at the call or after it, never before; after it at once, or after an hour where validation was turned
  off, or, with Opentrail, when it runs again.  A chain that was there after logging had been started again has outlived
  the call.
* A call that only moves a chain, to another bucket or prefix, ends it with no digest: the next one, within the hour,
  lies elsewhere, and covers the call.
* Each call ends one chain of an account and region: the next one of them began after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from opentrail.core.errors import FormatError
from opentrail.core.layout import Folder, TrailFolder, parse_log_key
from opentrail.core.log_folder import DELIVERY
from opentrail.core.trail_changes import TrailChange

_CLOCKS: Final = timedelta(minutes=1)  # a call may be recorded this much after the chain that starts by it
_HOUR: Final = timedelta(hours=1)  # a digest covers no more
_LONGEST: Final = timedelta(hours=2)  # a digest covers an hour, and may be late


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """A chain ended at ``end``, with its last digest, which began at ``since`` or later (None: nobody knows).

    At ``next_start`` another chain began, or the time in view ends.
    """

    end: datetime
    next_start: datetime
    since: datetime | None = None

    def latest_call(self, change: TrailChange) -> datetime:
        """When ``change`` was made, at the latest, if it is what ended the chain."""
        is_covered = change.stops_logging or not change.moves_chain
        return min(self.end + (DELIVERY if is_covered else _HOUR + _CLOCKS), self.next_start + _CLOCKS)

    def was_outlived(self, started: datetime | None) -> bool:
        """Whether the chain went on long after logging was started at ``started`` (None: it was not)."""
        return started is not None and started <= (self.end - _LONGEST if self.since is None else self.since - DELIVERY)


def explain_ends(
    ends: Iterable[ChainEnd],
    stops: Sequence[TrailChange],
    starts: Iterable[datetime],
    *,
    began: datetime | None,
    explained: Mapping[ChainEnd, TrailChange] = MappingProxyType({}),
) -> dict[ChainEnd, TrailChange]:
    """Which of ``stops`` ended each of ``ends``, which are all those of one account and region of a trail.

    ``stops`` may have ended any of them (``may_end``); at ``starts`` the trail's logging was started.  The first chain
    ``began`` then (None: before the time in view).  What is ``explained`` stays so.

    Both edges of the time in which a stop, of one kind, fits an end rise with the ends.  So where each, from the last
    one to the first, takes the last stop that is left, as many as can be are explained.
    """
    starts = sorted(starts)
    in_order = sorted(ends, key=lambda each: (each.next_start, each.end))
    begins = [began, *(end.next_start for end in in_order)]
    explained = dict(explained)
    used = {stop.event_id for stop in explained.values()}
    for end, chain_began in reversed([*zip(in_order, begins[:-1], strict=True)]):
        fitting = [
            stop
            for stop in stops
            if stop.event_time <= end.latest_call(stop)
            and (chain_began is None or stop.event_time >= chain_began - _CLOCKS)
            and stop.event_id not in used
            and not end.was_outlived(_first_after(stop.event_time, starts))
        ]
        if fitting and end not in explained:
            stop = max(fitting, key=lambda each: each.event_time)
            explained[end] = stop
            used.add(stop.event_id)
    return explained


def may_end(change: TrailChange, trail: TrailFolder, bucket: str) -> bool:
    """Whether a chain of ``trail`` may end by ``change``, which is of that trail; ``bucket``: "" is an unknown one."""
    return (
        change.stops_logging
        or (change.bucket is not None and bool(bucket) and change.bucket != bucket)
        or (change.prefix is not None and change.prefix.strip("/") != trail.folder.prefix.strip("/"))
        or (change.is_multi_region is False and trail.folder.region != trail.home_region)
        or (change.is_organization is not None and change.is_organization != bool(trail.folder.organization_id))
    )


def is_home(read: Folder, trail: TrailFolder) -> bool:
    """Whether calls that change ``trail`` stand in ``read``; an organization's trail is its management account's."""
    if read.region != trail.home_region or read.organization_id != trail.folder.organization_id:
        return False
    return bool(read.organization_id) or read.account_id == trail.folder.account_id


def folder_of(change: TrailChange) -> Folder | None:
    """Where ``change`` is recorded; None when its log file is not named as CloudTrail names them."""
    try:
        return parse_log_key(change.log_key).folder
    except FormatError:
        return None


def name_of(change: TrailChange) -> str:
    """The name of the trail that was changed."""
    return change.trail.rpartition(":trail/")[2]


def is_about(change: TrailChange, trail: TrailFolder, owner: str = "") -> bool:
    """Whether ``change`` is of ``trail``, and recorded where calls that change it are.

    ``owner`` is the account of an organization's trail ("": it is not known).
    """
    recorded = folder_of(change)
    if recorded is None or not is_home(recorded, trail):
        return False
    account_id = recorded.account_id  # whose trail a bare name means
    if change.trail.startswith("arn:"):
        region, _, owner_and_name = change.trail.partition(":cloudtrail:")[2].partition(":")
        account_id = owner_and_name.partition(":trail/")[0]
        if region != trail.home_region:
            return False
    expected = owner if trail.folder.organization_id else trail.folder.account_id
    return name_of(change) == trail.trail_name and (not expected or account_id == expected)


def _first_after(moment: datetime, moments: Sequence[datetime]) -> datetime | None:
    at = bisect_right(moments, moment)
    return moments[at] if at < len(moments) else None
