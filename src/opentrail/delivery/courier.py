"""The courier puts staged objects into their buckets, in the order of each chain, and tells how it went.

Rules: an object is committed only after its bucket has it; a bucket that refuses or is gone delays its own chains
alone, with a back-off that doubles up to five minutes; nothing is ever given up (AWS gives up after 30 days); a retry
puts the same bytes under the same key.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from opentrail.core.errors import ServiceFault, StorageError
from opentrail.delivery.ledger import Ledger, StagedObject

log = logging.getLogger("opentrail.delivery")

MIN_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0
LAST_PATIENCE_SECONDS = 5.0  # what failures may cost when the server stops


class Bucket(Protocol):
    """Where objects go: the log bucket as the service principal reaches it."""

    def put(self, item: StagedObject) -> None:
        """Store ``item`` durably.  Raises ``ServiceFault`` (refused) or ``StorageError`` (failed)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to put an object of a kind.  ``error`` is S3's code (``NoSuchBucket``), or empty when it is there."""

    trail_arn: str
    account_id: str
    region: str
    kind: str  # "log" or "digest"
    time: datetime
    error: str = ""


@dataclass(slots=True)
class _Backoff:
    """How long a chain waits after failures in a row.  ``until`` is on the monotonic clock."""

    seconds: float
    until: float


class Courier:
    """Delivers what is staged.  One thread at a time uses it."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        bucket: Bucket,
        report: Callable[[Delivery], None],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._report = report
        self._clock = clock
        self._monotonic = monotonic
        self._backoffs: dict[int, _Backoff] = {}
        self._patience_seconds = math.inf

    def hurry(self) -> None:
        """From now on a run ends when its failures have cost some seconds: the server stops, and a store may hang."""
        self._patience_seconds = LAST_PATIENCE_SECONDS

    def run(self, *, now_all: bool = False) -> int:
        """Put what can be put (``now_all``: without regard to back-off); returns how many objects were delivered.

        Raises ``StorageError`` when the ledger fails.
        """
        delivered = 0
        lost_seconds = 0.0
        for chain_id in self._ledger.staged_heads():
            if lost_seconds > self._patience_seconds:
                break
            backoff = self._backoffs.get(chain_id)
            if backoff is not None and not now_all and self._monotonic() < backoff.until:
                continue
            while (item := self._ledger.next_staged(chain_id)) is not None:
                started = self._monotonic()
                if not self._deliver(item):
                    lost_seconds += self._monotonic() - started
                    break
                delivered += 1
        return delivered

    def _deliver(self, item: StagedObject) -> bool:
        try:
            self._bucket.put(item)
        except (ServiceFault, StorageError) as error:
            self._fail(item, error)
            return False
        # A crash here finds the object staged and in its bucket: the next start puts the same bytes there again.
        try:
            self._ledger.commit(item.id)
        except StorageError:
            self._back_off(item.chain.id)  # the same holds, and putting it every second would help nobody
            raise
        self._backoffs.pop(item.chain.id, None)
        self._tell(item, item.kind)
        return True

    def _fail(self, item: StagedObject, error: ServiceFault | StorageError) -> None:
        code = error.code if isinstance(error, ServiceFault) else "InternalError"
        seconds = self._back_off(item.chain.id)
        log.error(
            "%s: cannot deliver s3://%s/%s, next attempt in %.0f s: %s",
            item.chain.key.trail_arn, item.bucket, item.key, seconds, error,
        )  # fmt: skip
        for kind in self._ledger.waiting_kinds(item.chain.id):  # what is behind it in the chain cannot go either
            self._tell(item, kind, code)

    def _back_off(self, chain_id: int) -> float:
        previous = self._backoffs.get(chain_id)
        seconds = min(MAX_BACKOFF_SECONDS, previous.seconds * 2) if previous else MIN_BACKOFF_SECONDS
        self._backoffs[chain_id] = _Backoff(seconds, self._monotonic() + seconds)
        return seconds

    def _tell(self, item: StagedObject, kind: str, error: str = "") -> None:
        key = item.chain.key
        self._report(
            Delivery(
                trail_arn=key.trail_arn,
                account_id=key.account_id,
                region=key.region,
                kind=kind,
                time=self._clock(),
                error=error,
            )
        )
