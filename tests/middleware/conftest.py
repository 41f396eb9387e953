"""An Opentrail to deliver to, with a channel, and an audit log that does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from opentrail.journal.base import EntryKind
from opentrail.journal.local import open_local_journal
from opentrail.middleware import AuditLog, Credentials
from opentrail.middleware.segments import find_events
from opentrail.testing.live_server import LiveServer

REGION = "us-east-1"
DESTINATION = {"Type": "AWS_SERVICE", "Location": "cloudtrail.amazonaws.com"}


class Collector:
    """A live Opentrail and its channel ``orders``."""

    def __init__(self, folder: Path) -> None:
        self.server = LiveServer(folder / "opentrail")
        self.server.start()
        made = self.server.client("cloudtrail", REGION).create_channel(
            Name="orders", Source="Custom", Destinations=[DESTINATION]
        )
        self.channel_arn: str = made["ChannelArn"]
        self.account_id = self.channel_arn.split(":")[4]
        key = self.server.root_key()
        self.key = Credentials(access_key_id=key["aws_access_key_id"], secret_access_key=key["aws_secret_access_key"])

    def audit_log(self, folder: Path, **settings: Any) -> AuditLog:
        """An audit log that delivers here."""
        settings.setdefault("endpoint", self.server.url)
        return AuditLog(folder, channel_arn=self.channel_arn, credentials=lambda: self.key, **settings)

    def events(self) -> list[dict[str, Any]]:
        """The events from outside that the journal holds, in order; ends the server."""
        self.server.stop()
        journal = open_local_journal(self.server.data / "journal")
        records = []
        try:
            position = journal.start - 1
            while position < journal.end:
                for entry in journal.read(position):
                    position = entry.position
                    if entry.kind is not EntryKind.INTENT:
                        records.append(json.loads(bytes(entry.payload)))
        finally:
            journal.close()
        events = [each for each in records if each["eventCategory"] == "ActivityAuditLog"]
        ids = [each["eventID"] for each in events]
        assert len(set(ids)) == len(ids), "an event came in twice"
        return events


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.server.end()


@pytest.fixture
def spooled(tmp_path: Path) -> Iterator[Callable[..., Spooled]]:
    """Audit logs without an Opentrail: what they hold is read from their spools."""
    with ExitStack() as stack:

        def make(name: str = "spools", **settings: Any) -> Spooled:
            made = Spooled(tmp_path / name, **settings)
            stack.callback(made.log.close, 0)
            return made

        yield make


class Spooled:
    """An audit log whose Opentrail is away for good."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.log = AuditLog(
            folder,
            endpoint="http://127.0.0.1:9",
            channel_arn="arn:aws:cloudtrail:us-east-1:123456789012:channel/c",
            credentials=lambda: Credentials(access_key_id="AKIA", secret_access_key="secret"),
            **settings,
        )

    def events(self) -> list[dict[str, Any]]:
        """The ``eventData`` of what waits."""
        found = []
        for path in sorted(self.folder.glob("worker-*/*.spool")):
            with path.open("rb") as file:
                for event, _, _ in find_events(file.fileno(), 0, path.stat().st_size):
                    found.append(json.loads(event.partition(b"\n")[2]))
        return found


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that happens by itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
