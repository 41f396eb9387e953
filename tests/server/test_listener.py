"""The listening socket."""

from __future__ import annotations

import socket

from opentrail.server.config import Settings
from opentrail.server.serving import _listen


def test_an_answer_of_two_writes_does_not_wait_for_an_acknowledgement() -> None:
    """asyncio's own loop leaves Nagle's algorithm on for a socket that it is given."""
    with (
        _listen(Settings(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
