"""Servers to break, and the AWS CLIs that judge what they delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from opentrail.testing.aws_cli import require_aws
from opentrail.testing.live_server import LiveServer


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Make a server with options (not started); whatever runs at the end is ended."""
    with ExitStack() as stack:

        def make(*options: str, name: str = "data") -> LiveServer:
            server = LiveServer(tmp_path / name, *options)
            stack.callback(server.end)
            return server

        yield make


@pytest.fixture(params=["newest", "old"])
def aws(request: pytest.FixtureRequest) -> Path:
    """An ``aws`` executable: the newest, and 1.45.11 where ``OPENTRAIL_AWSCLI_OLD`` names it."""
    return require_aws(request.param)
