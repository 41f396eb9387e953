"""What became of each trail's latest deliveries: what ``GetTrailStatus`` reports, by account and region.

Delivery records an attempt in memory and saves all that is new in one transaction, once a round: losing the last
round in a crash loses a time stamp, never a record.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, Engine, String, Table, Text, delete, insert, select

from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction

_deliveries = Table(
    "trail_deliveries",
    metadata,
    Column("arn", String, primary_key=True),
    Column("account_id", String, primary_key=True),  # whose events: a member's too, of an organization trail
    Column("region", String, primary_key=True),
    Column("channel", String, primary_key=True),
    Column("attempted", Instant),
    Column("delivered", Instant),
    Column("error", Text, nullable=False),
)


class Channel(StrEnum):
    """What is delivered, and where to."""

    LOG_FILES = "log files"
    DIGESTS = "digests"
    NOTIFICATIONS = "notifications"
    CLOUD_WATCH_LOGS = "CloudWatch Logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """The latest attempt, the latest success, and the error code of the latest attempt (``""``: it succeeded)."""

    attempted: datetime | None = None
    delivered: datetime | None = None
    error: str = ""


_NEVER = DeliveryStatus()
_Key = tuple[str, str, str, Channel]  # trail ARN, account, region


class Deliveries:
    """The latest deliveries of all trails.  Reads never touch the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._unsaved: set[_Key] = set()
        with transaction(engine) as connection:
            self._statuses: dict[_Key, DeliveryStatus] = {
                (row.arn, row.account_id, row.region, Channel(row.channel)): DeliveryStatus(
                    attempted=row.attempted, delivered=row.delivered, error=row.error
                )
                for row in connection.execute(select(_deliveries))
            }

    def status(self, arn: str, account_id: str, region: str, channel: Channel) -> DeliveryStatus:
        """The latest deliveries of a trail's events of an account and a region."""
        return self._statuses.get((arn, account_id, region, channel), _NEVER)

    def record(
        self, arn: str, account_id: str, region: str, channel: Channel, *, now: datetime, error: str = ""
    ) -> None:
        """Note an attempt at ``now``; ``error`` is the error code (``NoSuchBucket``), ``""`` a success."""
        key = (arn, account_id, region, channel)
        with self._lock:
            status = replace(self._statuses.get(key, _NEVER), attempted=now, error=error)
            self._statuses[key] = status if error else replace(status, delivered=now)
            self._unsaved.add(key)

    def save(self) -> None:
        """Write what was recorded since the last time.  Raises ``StorageError``; then the next save writes it."""
        with self._lock:
            keys = list(self._unsaved)
            rows = [(*key, self._statuses[key]) for key in keys]
            if not rows:
                return
            with transaction(self._engine) as connection:
                for arn, account_id, region, channel, status in rows:
                    same = (
                        (_deliveries.c.arn == arn)
                        & (_deliveries.c.account_id == account_id)
                        & (_deliveries.c.region == region)
                        & (_deliveries.c.channel == channel)
                    )
                    connection.execute(delete(_deliveries).where(same))
                    connection.execute(
                        insert(_deliveries).values(
                            arn=arn,
                            account_id=account_id,
                            region=region,
                            channel=channel.value,
                            attempted=status.attempted,
                            delivered=status.delivered,
                            error=status.error,
                        )
                    )
            self._unsaved.difference_update(keys)

    def forget(self, arn: str) -> None:
        """Drop what is known of a trail that begins or ends.  Raises ``StorageError``."""
        with self._lock:
            self._statuses = {key: value for key, value in self._statuses.items() if key[0] != arn}
            self._unsaved = {key for key in self._unsaved if key[0] != arn}
            with transaction(self._engine) as connection:
                connection.execute(delete(_deliveries).where(_deliveries.c.arn == arn))
