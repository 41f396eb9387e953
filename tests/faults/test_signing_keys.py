"""``opentrail keys``, and what happens to delivery when a key cannot be used."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opentrail.testing.delivered_trail import TRAIL, fetch_trail, make_trail
from opentrail.testing.live_server import HOME, LiveServer
from opentrail.testing.load_check import check_chains, let_the_cli_judge

MakeServer = Callable[..., LiveServer]


def list_keys(server: LiveServer, *words: str) -> list[dict[str, Any]]:
    done = server.run("keys", "list", "--json", *words)
    assert done.returncode == 0, done.stderr
    keys: list[dict[str, Any]] = json.loads(done.stdout)["keys"]
    return keys


def private_keys(server: LiveServer, region: str = HOME) -> list[Path]:
    return sorted((server.data / "keys" / region).glob("*.pem"))


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(mode=0o600)
    path.write_text("correct horse battery staple\n")
    return path


def test_keys_are_the_same_with_a_server_and_without_one(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    assert list_keys(server) == []
    done = server.run("keys", "rotate")
    assert done.returncode == 2
    assert "--region" in done.stderr
    make_trail(server)
    server.client("sts", "us-east-1").get_caller_identity()
    assert server.run("flush", "--digest").returncode == 0
    listed = list_keys(server)
    assert [(key["region"], key["signs"]) for key in listed] == [(HOME, True), ("us-east-1", True)]
    assert list_keys(server, "--region", HOME) == listed[:1]
    assert server.stop() == 0
    assert list_keys(server) == listed
    text = server.run("keys", "list").stdout
    assert all(key["fingerprint"] in text for key in listed)
    assert "PRIVATE" not in text
    assert [stat.S_IMODE(path.stat().st_mode) for path in private_keys(server)] == [0o600]


def test_digests_before_and_after_rotations_are_valid(make_server: MakeServer) -> None:
    server = make_server("--delivery-interval", "1h")
    server.start()
    make_trail(server)
    for running in (True, False, True):
        server.client("sts").get_caller_identity()
        assert server.run("flush", "--digest").returncode == 0
        if not running:
            assert server.stop() == 0
        done = server.run("keys", "rotate", "--region", HOME, "--json")
        assert done.returncode == 0, done.stderr
        if not running:
            server.start()
    server.client("sts").get_caller_identity()
    assert server.run("flush", "--digest").returncode == 0
    keys = list_keys(server, "--region", HOME)
    assert [key["signs"] for key in keys] == [False, False, False, True]
    trail = fetch_trail(server)
    assert {key.fingerprint for key in trail.public_keys[HOME]} == {key["fingerprint"] for key in keys}
    check_chains(trail)
    let_the_cli_judge(server)


def test_keys_with_a_passphrase(make_server: MakeServer, passphrase: Path, tmp_path: Path) -> None:
    options = ("--key-passphrase-file", str(passphrase))
    server = make_server(*options)
    server.start()
    make_trail(server)
    assert server.run("flush", "--digest").returncode == 0, "a running server has the passphrase"
    assert server.run("keys", "rotate", "--region", HOME).returncode == 0
    assert server.stop() == 0
    assert server.run("keys", "rotate", "--region", HOME, *options).returncode == 0
    assert len(private_keys(server)) == 3
    for path in private_keys(server):
        assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("incorrect")
    shared = tmp_path / "shared"
    shared.write_text(passphrase.read_text())
    shared.chmod(0o644)
    for words, complaint in (
        ((), "is encrypted: name the passphrase's file with --key-passphrase-file"),
        (("--key-passphrase-file", str(wrong)), "is not the one that sealed it"),
        (("--key-passphrase-file", str(shared)), "chmod 600"),
        (("--key-passphrase-file", str(tmp_path / "none")), "cannot be read"),
    ):
        for command in (("keys", "list"), ("keys", "rotate"), ("flush",), ("serve", "--port", "0")):
            done = server.run(*command, *words)
            assert done.returncode == 2, command
            assert complaint in done.stderr, command
            assert done.stderr.count("\n") == 1, "one line, no traceback"
            assert "horse" not in done.stderr + done.stdout
    assert len(private_keys(server)) == 3, "nothing was changed"
    server.start()
    server.client("sts").get_caller_identity()
    assert server.run("flush", "--digest").returncode == 0
    check_chains(fetch_trail(server))


def test_a_key_that_others_may_read_stops_delivery_until_it_is_mended(make_server: MakeServer) -> None:
    server = make_server("--delivery-interval", "1s", "--digest-interval", "1s")
    server.start()
    make_trail(server)
    assert server.run("flush", "--digest").returncode == 0
    assert server.stop() == 0
    (path,) = private_keys(server)
    path.chmod(0o644)
    server.start()
    done = server.run("flush", "--digest")
    assert done.returncode == 2
    assert "chmod 600" in done.stderr
    deadline = time.monotonic() + 10
    while "delivery failed, trying again: " not in server.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Traceback" not in server.log(), "a file's mode is no mistake of the server's own"
    path.chmod(0o600)
    answer = server.client("cloudtrail").get_trail_status(Name=TRAIL)
    assert answer["IsLogging"]
    assert server.run("flush", "--digest").returncode == 0
    check_chains(fetch_trail(server))


def test_commands_make_no_installation(make_server: MakeServer) -> None:
    """Whoever mistypes a folder gets no account in it."""
    server = make_server()
    server.data.mkdir()
    (server.data / "photo.jpg").write_bytes(b"x")
    for words in (("keys", "list"), ("keys", "rotate", "--region", HOME), ("flush",)):
        done = server.run(*words)
        assert done.returncode == 2, words
        assert "`opentrail serve` makes" in done.stderr
    assert [path.name for path in server.data.iterdir()] == ["photo.jpg"]
