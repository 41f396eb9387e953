"""The control socket: how commands on the same machine reach a running server.

A Unix socket under the data folder, mode 0600: who may read the data may command the server.  One request a
connection, JSON in a line each way: ``{"command": "flush", "digest": true}`` -> ``{"ok": true, ...}`` or
``{"ok": false, "error": "..."}``.  ``control.json`` beside it says where the socket lies, since a socket's path is
limited to about 100 bytes and a data folder's is not.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opentrail.core.errors import ConfigError, OpentrailError

MAX_LINE_BYTES = 1 << 20
_MAX_SOCKET_PATH_BYTES = 100
_POINTER = "control.json"

Command = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # blocking; raises OpentrailError


class ControlServer:
    """Listens on the control socket of ``data_dir`` and runs ``commands`` on threads."""

    def __init__(self, data_dir: Path, commands: Mapping[str, Command]) -> None:
        self._data_dir = data_dir
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._folder: Path | None = None

    async def start(self) -> None:
        """Listen, and say where."""
        path = self._data_dir / "control.sock"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            self._folder = Path(tempfile.mkdtemp(prefix="opentrail-"))
            path = self._folder / "control.sock"
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE_BYTES)
        finally:
            os.umask(old)
        self._path = path
        pointer = self._data_dir / _POINTER
        new = pointer.with_suffix(".new")  # nobody reads half of it
        new.write_text(json.dumps({"socket": str(path.resolve()), "pid": os.getpid()}) + "\n")
        new.replace(pointer)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        for path in (self._data_dir / _POINTER, self._path):
            if path is not None:
                path.unlink(missing_ok=True)
        if self._folder is not None:
            self._folder.rmdir()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):  # the command went away, or its line was too long
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, KeyError, TypeError):
            return {"ok": False, "error": "the server does not know this command; is it of another version?"}
        try:
            result = await asyncio.get_running_loop().run_in_executor(None, command, request)
        except OpentrailError as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True, **result}


def call_server(data_dir: Path, request: Mapping[str, Any], *, timeout_seconds: float = 600) -> dict[str, Any] | None:
    """Send ``request`` to the server that runs on ``data_dir``; its answer, or None where none runs.

    Raises ``ConfigError`` for an answer that says what went wrong.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(json.loads((data_dir / _POINTER).read_text())["socket"])
        except (OSError, ValueError, KeyError, TypeError):  # no server, or one that was killed and left its pointer
            return None
        try:
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
        except TimeoutError:
            raise ConfigError(f"the server did not answer within {timeout_seconds:g} s; its log says why") from None
        except (OSError, ValueError):
            raise ConfigError("the server stopped before it answered; its log says why") from None
    if not answer.pop("ok", False):
        raise ConfigError(str(answer.get("error", "the server gave no reason")))
    return answer
