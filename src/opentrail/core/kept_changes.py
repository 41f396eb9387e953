"""The changes to trails that a run has read of: so many are kept, and none is forgotten for what others do.

Rules: each trail's records in each account's log files have a share; when there are too many, the oldest go of those
that have most.  So a member of an organization that stops its own trail ten thousand times hides nobody else's call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from opentrail.core.chain_ends import folder_of, name_of
from opentrail.core.layout import TrailFolder
from opentrail.core.trail_changes import TrailChange

_MOST_CHANGES: Final = 20_000

_Trail = tuple[str, str, str]  # an organization's id or an account's, the region where it is recorded, and its name
_Entry = tuple[int, TrailFolder | None, TrailChange]


class KeptChanges:
    """Gathers them, each with the chain whose log file tells of it."""

    def __init__(self) -> None:
        self._kept: dict[_Trail, dict[str, deque[_Entry]]] = {}  # by trail, and by the account that tells of it
        self._added = self._count = 0

    def add(self, change: TrailChange, told_by: TrailFolder | None) -> None:
        """``change`` stands in a log file that the chain of ``told_by`` proves."""
        if not (change.ends_chain or change.starts_logging):
            return
        if self._count >= _MOST_CHANGES:
            self._forget()
        folder = folder_of(change)
        place = (folder.organization_id or folder.account_id, folder.region) if folder else ("", "")
        shares = self._kept.setdefault((*place, name_of(change)), {})
        shares.setdefault(folder.account_id if folder else "", deque()).append((self._added, told_by, change))
        self._added += 1
        self._count += 1

    def about(self, trail: TrailFolder) -> Iterator[TrailChange]:
        """Those of trails of that name in the home region of ``trail``, of its account or organization."""
        folder = trail.folder
        place = folder.organization_id or folder.account_id, trail.home_region, trail.trail_name
        for entries in self._kept.get(place, {}).values():
            yield from (change for _, _, change in entries)

    def all(self) -> list[tuple[TrailFolder | None, TrailChange]]:
        """All that are kept, in the order in which they came."""
        entries = [entry for shares in self._kept.values() for share in shares.values() for entry in share]
        return [(told_by, change) for _, told_by, change in sorted(entries, key=lambda entry: entry[0])]

    def _forget(self) -> None:
        every = [share for shares in self._kept.values() for share in shares.values()]
        most = max(1, max(map(len, every)) // 2)  # by halves: it is seldom done
        for share in every:
            while len(share) > most:
                share.popleft()
                self._count -= 1
        while self._count >= _MOST_CHANGES:  # of as many trails
            oldest = self._kept.pop(next(iter(self._kept)))
            self._count -= sum(map(len, oldest.values()))
