"""An S3 server that lies: whatever it answers, the outcome is a finding or a sentence, soon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from opentrail.cli.main import main
from opentrail.core.public_keys import encode_public_keys
from opentrail.testing.sample_trail import BUCKET, FOLDER, SampleTrail

Answer = tuple[int, dict[str, str], bytes]
Lie = Callable[[str, dict[str, str]], Answer | None]


class _Liar(BaseHTTPRequestHandler):
    """Serves ``objects`` as S3 does, but where ``lie`` answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:  # the base class's name
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.server.asked += 1
        lied = self.server.lie(parts.path, query)
        status, fields, body = lied or _answer(self.server.objects, parts.path, query)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = lied is not None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    objects: dict[str, tuple[bytes, dict[str, str]]]
    lie: Lie
    asked = 0


def _answer(objects: dict[str, tuple[bytes, dict[str, str]]], path: str, query: dict[str, str]) -> Answer:
    if "list-type" not in query:
        data, metadata = objects[path.removeprefix(f"/{BUCKET}/")]
        return 200, {name: text for name, text in metadata.items() if name.startswith("x-amz-meta-")}, data
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    keys = sorted(key for key in objects if key.startswith(prefix) and key > query.get("start-after", ""))
    if not delimiter:
        return _page(keys, [])
    rests = {key.removeprefix(prefix).partition("/") for key in keys}
    return _page([], sorted({f"{prefix}{name}/" for name, slash, _ in rests if slash}))


def _page(keys: list[str], folders: list[str], *, more: str | None = None) -> Answer:
    contents = "".join(f"<Contents><Key>{quote(key)}</Key></Contents>" for key in keys)
    contents += "".join(f"<CommonPrefixes><Prefix>{quote(key)}</Prefix></CommonPrefixes>" for key in folders)
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    head = f"<IsTruncated>{'false' if more is None else 'true'}</IsTruncated>{token}<EncodingType>url</EncodingType>"
    return 200, {}, f"<ListBucketResult>{head}{contents}</ListBucketResult>".encode()


@pytest.fixture
def server(trail: SampleTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    live = _Server(("127.0.0.1", 0), _Liar)
    live.objects, live.lie = dict(trail.objects), lambda _path, _query: None
    thread = threading.Thread(target=live.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.public_keys()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("opentrail.verification.aws_client._FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("opentrail.verification.aws_client._LONGEST_PAUSE_SECONDS", 0.002)
    yield live
    live.shutdown()
    live.server_close()
    thread.join()


def _verify(server: _Server, *words: str) -> int:
    url = f"http://127.0.0.1:{server.server_port}"
    given = ("--endpoint-url", url, "--public-keys", "keys.json", "--jobs", "1", "--account-id", FOLDER.account_id)
    return main(["verify", f"s3://{BUCKET}", *given, *words])


def _lists(query: dict[str, str]) -> bool:
    return "list-type" in query and "delimiter" not in query


def test_an_honest_one(server: _Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert _verify(server) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (lambda key, _: _page([key], [], more="again"), "there twice"),
        (lambda _, token: _page([], [], more=token or "again"), "without an end"),
        (lambda _, token: _page([], [], more=f"{token}."), "without an end"),
        (lambda key, _: _page([key], [], more=""), "without an end"),
        (lambda key, _: _page([f"{key}b", f"{key}a"], []), "out of order"),
        (lambda *_: _page(["elsewhere/\x1b[31mred"], []), "was not asked for"),
    ],
    ids=["repeats itself", "the same token", "empty for ever", "no token", "no order", "another prefix"],
)
def test_a_listing_that_is_none(
    server: _Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    page: Callable[[str, str], Answer],
    text: str,
) -> None:
    monkeypatch.setattr("opentrail.verification.s3_source._MOST_EMPTY_PAGES", 20)
    server.lie = lambda _path, query: (
        page(f"{query['prefix']}2024/05/06/x", query.get("continuation-token", "")) if _lists(query) else None
    )
    assert _verify(server) == 2
    said = capsys.readouterr()
    assert text in said.err
    assert "\x1b" not in said.err + said.out


@pytest.mark.parametrize("region", ["evil.example/", "x@127.0.0.1", "eu-west-1\x1b[2J", "e" * 60])
def test_a_region_that_is_none_is_not_followed(
    server: _Server, capsys: pytest.CaptureFixture[str], region: str
) -> None:
    server.lie = lambda *_: (301, {"x-amz-bucket-region": region, "location": "http://127.0.0.1:1/"}, b"")
    assert _verify(server) == 2
    assert "HTTP 301" in capsys.readouterr().err
    assert server.asked == 1


def test_what_a_server_says_of_an_error_is_no_command_for_the_terminal(
    server: _Server, capsys: pytest.CaptureFixture[str]
) -> None:
    error = b"<Error><Code>ExpiredToken</Code><Message>log in \x1b]0;again\x07 \xe2\x80\xae</Message></Error>"
    server.lie = lambda *_: (403, {}, error)
    assert _verify(server) == 2
    said = capsys.readouterr().err
    assert "ExpiredToken" in said
    assert all(line.isprintable() for line in said.splitlines()), ascii(said)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"content-length": "99999999"}, "closed the connection within a body"),
        ({"content-length": "-5"}, "no length"),
        ({"x-filler": "a" * 600_000}, "no end of header fields"),
    ],
    ids=["short body", "no length", "huge head"],
)
def test_a_body_that_is_not_what_its_head_says(
    server: _Server, capsys: pytest.CaptureFixture[str], trail: SampleTrail, fields: dict[str, str], text: str
) -> None:
    log = trail.files[trail.full_digest(3)][0]
    server.lie = lambda path, _: (200, fields, trail.objects[log][0]) if path.endswith(log) else None
    assert _verify(server, "--json") == 2
    said = capsys.readouterr().out
    assert text in said
    assert "log-file-unreachable" in said


def test_slow_down_is_obeyed_and_then_told(server: _Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.lie = lambda *_: (503, {}, b"<Error><Code>SlowDown</Code></Error>")
    assert _verify(server) == 2
    assert "SlowDown" in capsys.readouterr().err
    assert server.asked == 5


def test_a_log_file_that_may_not_be_read_is_told_and_not_called_valid(
    server: _Server, capsys: pytest.CaptureFixture[str], trail: SampleTrail
) -> None:
    log = trail.files[trail.full_digest(3)][0]
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    server.lie = lambda path, _: (403, {}, denied) if path.endswith(log) else None
    assert _verify(server) == 2
    said = capsys.readouterr().out
    assert "log-file-unreachable" in said
    assert log in said
    assert said.splitlines()[-1].startswith("NOT CHECKED")


def test_a_certificate_file_that_is_not_there_is_named(
    server: _Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "not/there.pem")
    words = ("--endpoint-url", f"https://127.0.0.1:{server.server_port}", "--public-keys", "keys.json", "--jobs", "1")
    assert main(["verify", f"s3://{BUCKET}", *words]) == 2
    assert "AWS_CA_BUNDLE not/there.pem" in capsys.readouterr().err
