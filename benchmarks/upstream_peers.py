"""The other processes of ``upstream.py``: the upstream itself, and a proxy as one writes it with aiohttp.

python benchmarks/upstream_peers.py stub PORT
python benchmarks/upstream_peers.py aiohttp PORT UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

BLOCK = 1 << 20
ZEROS = memoryview(bytes(BLOCK))


def main() -> None:
    role, *ports = sys.argv[1:]
    port, upstream = (*map(int, ports), 0)[:2]
    uvloop.run(serve_stub(port) if role == "stub" else serve_aiohttp(port, upstream))


class Stub(asyncio.Protocol):
    """The upstream: object-N has N bytes, and what is put is counted and forgotten."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""
        self._left = 0  # of a body that comes
        self._owed = 0  # of a body that goes

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
            if not self._left:
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        self._head += data
        head, found, body = self._head.partition(b"\r\n\r\n")
        if not found:
            return
        self._head = b""
        if head.startswith(b"PUT"):
            lowered = head.lower()
            at = lowered.index(b"content-length:")
            length = int(lowered[at + 15 :].split(b"\r", 1)[0])
            self._left = length - len(body)
            if not self._left:
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        size = int(head.split(b" ", 2)[1].rpartition(b"-")[2])
        answer = b"HTTP/1.1 200 OK\r\ncontent-type: binary/octet-stream\r\ncontent-length: %d\r\n\r\n" % size
        if size <= BLOCK:
            self._transport.write(answer + bytes(size))
            return
        self._transport.write(answer)
        self._owed = size
        self._paused = False
        self.resume_writing()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._owed and not self._paused:
            size = min(BLOCK, self._owed)
            self._owed -= size
            self._transport.write(ZEROS[:size])


async def serve_stub(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


async def serve_aiohttp(port: int, upstream: int) -> None:
    """A proxy as one writes it with aiohttp: it streams both ways and does nothing else."""
    # It may not be there: then this way is left out.
    from aiohttp import ClientSession, TCPConnector, web  # noqa: PLC0415  the same

    hop_by_hop = {"connection", "transfer-encoding", "keep-alive"}
    async with ClientSession(auto_decompress=False, connector=TCPConnector(limit=256)) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in hop_by_hop}
            url = f"http://127.0.0.1:{upstream}{request.rel_url}"
            data = request.content if request.can_read_body else None
            async with session.request(
                request.method, url, headers=headers, data=data, allow_redirects=False
            ) as answer:
                response = web.StreamResponse(status=answer.status)
                response.headers.update({k: v for k, v in answer.headers.items() if k.lower() not in hop_by_hop})
                await response.prepare(request)
                async for part in answer.content.iter_any():
                    await response.write(part)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
