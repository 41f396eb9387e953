"""What the benchmarks that call servers share: starting one, its options' names, what a process has cost so far.

Figures of a process are the kernel's (proc(5)), so they are Linux's alone.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from opentrail.testing.live_server import LiveServer

START_SECONDS = 60
_LOOK_SECONDS = 0.02


def load_parser(description: str | None, *, seconds: float, rounds_of: str) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark under load has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=seconds, help=f"length of a round (default {seconds:g})")
    parser.add_argument("--clients", type=int, default=64, help="connections under load (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help=f"rounds of each {rounds_of} (default 3)")
    return parser


@contextmanager
def opentrail(*options: str) -> Iterator[LiveServer]:
    """``opentrail serve`` on an empty data folder."""
    with tempfile.TemporaryDirectory(prefix="opentrail-bench-") as folder:
        server = LiveServer(Path(folder, "data"), "--log-level", "warning", *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def listening(
    *command: str | Path, port: int, env: Mapping[str, str] | None = None, end: signal.Signals = signal.SIGTERM
) -> Iterator[int]:
    """A process that listens on ``port`` of 127.0.0.1, and is ended with the signal ``end``; its id."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"this does not start: {' '.join(map(str, command))}") from None
                time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(end)
        process.wait(30)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has held (VmHWM of status), in units of 10**6 bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


class PeakWatch:
    """Looks now and then how much memory a process and its children hold; the kernel's count at its end (ru_maxrss)
    begins with what the process held that started it.  ``megabytes``: the most of the largest one.
    """

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The process has ended."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            with suppress(OSError, AssertionError):  # it has ended
                children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
                self.megabytes = max(self.megabytes, *map(peak_megabytes, (self._pid, *map(int, children))))
