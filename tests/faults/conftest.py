"""Servers to break, and the AWS CLIs that judge what they delivered."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

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
    if request.param == "old":
        path = os.environ.get("OPENTRAIL_AWSCLI_OLD")
        reason = "OPENTRAIL_AWSCLI_OLD names no aws executable"
    else:
        beside = Path(sys.executable).with_name("aws")
        path = str(beside) if beside.exists() else shutil.which("aws")
        reason = "the AWS CLI is not installed"
    if not path or not Path(path).exists():
        pytest.skip(reason)
    return Path(path)
