"""What is to be verified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from opentrail.core.arn import partition_of
from opentrail.core.layout import TrailFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Which digests are in view and what else is known; an empty filter lets all through.

    ``start`` and ``end`` (aware; None: no bound) hold for ``digestEndTime``, both included.
    """

    start: datetime | None = None
    end: datetime | None = None
    prefix: str = ""  # look below this prefix alone ("" or ending in "/")
    trail_name: str = ""
    home_region: str = ""  # of the trail, as its digests' names have it
    trail_account: str = ""  # the trail's owner; an organization's trail has folders of other accounts, too
    account_ids: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    original_bucket: str = ""  # the bucket that digests must name; "": the source's own, or the one that they do name
    expected_until: datetime | None = None  # a digest must have been delivered that ends then or later
    is_until_now: bool = False  # ``expected_until`` goes with the clock: a later run asks the same
    asked_at: datetime | None = None  # now: a chain that ends before it, and before ``end``, is to be explained
    with_events: bool = False  # read every event, to find those that stand in two log files
    is_excerpt: bool = False  # the source holds what somebody took out of a bucket, and no more: an evidence bundle
    packed_accounts: frozenset[str] = frozenset()  # that were asked for when it was packed; none: all
    packed_regions: frozenset[str] = frozenset()  # the same
    jobs: int = 1  # processes that read and check

    def wants(self, trail: TrailFolder) -> bool:
        """Whether the filters let ``trail`` through."""
        folder = trail.folder
        return (
            (not self.trail_name or trail.trail_name == self.trail_name)
            and (not self.home_region or trail.home_region == self.home_region)
            and (not self.trail_account or bool(folder.organization_id) or folder.account_id == self.trail_account)
            and (not self.account_ids or folder.account_id in self.account_ids)
            and (not self.regions or folder.region in self.regions)
        )

    def expects(self, trail: TrailFolder) -> bool:
        """Whether the digests of ``trail`` should lie here, if there are any: nobody left them out."""
        folder = trail.folder
        return (
            self.wants(trail)
            and (not self.packed_accounts or folder.account_id in self.packed_accounts)
            and (not self.packed_regions or folder.region in self.packed_regions)
        )

    def filters(self) -> Iterator[tuple[str, str]]:
        """What leaves chains out, as options of the command: name and value, one pair for each value."""
        yield from (("account-id", account_id) for account_id in sorted(self.account_ids))
        yield from (("region", region) for region in sorted(self.regions))
        if self.trail_name:
            partition = partition_of(self.home_region)
            owner = f"{self.home_region}:{self.trail_account}"
            yield "trail-arn", f"arn:{partition}:cloudtrail:{owner}:trail/{self.trail_name}"
