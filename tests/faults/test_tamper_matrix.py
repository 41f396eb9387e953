"""The tamper matrix, read by us and by unmodified ``aws cloudtrail validate-logs``.

Ours must name the damaged object and accuse nothing else, wherever the damage is and with whatever else it comes; the
judge must agree but for what a kind of tampering says that it misses.
The judge runs in the newest AWS CLI, which is installed with the tests, and in the one that ``OPENTRAIL_AWSCLI_OLD``
(path of an ``aws`` executable, 1.45.11) names.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.digests import decode_digest
from opentrail.core.findings import Finding, FindingCode, Severity
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.aws_cli import judge_environment, require_aws
from opentrail.testing.sample_trail import (
    BUCKET,
    FOLDER,
    REGION,
    START,
    TRAIL,
    TRAIL_ARN,
    Objects,
    SampleTrail,
    build_sample_trail,
    store_of,
)
from opentrail.testing.tamper_matrix import MATRIX, touch
from opentrail.verification.one_chain import validate_chain

HOUR = timedelta(hours=1)
LONG = bool(os.environ.get("OPENTRAIL_LONG"))
SEEDS = range(20 if LONG else 2)  # places for each kind
JUDGED = {  # the judge's cases: every kind at one place, and some kinds at once
    **{name: ((name,), 1) for name in MATRIX},
    **{f"{seed}": (tuple(Random(seed).sample(sorted(MATRIX), 3)), seed) for seed in range(200 if LONG else 4)},
}


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> SampleTrail:
    return build_sample_trail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


def _of(findings: list[Finding], severity: Severity) -> set[tuple[FindingCode, str]]:
    picked = [(finding.code, finding.key) for finding in findings if finding.severity is severity]
    assert len(picked) == len(set(picked)), "nothing is said twice"
    return set(picked)


def _check(trail: SampleTrail, *names: str, seed: int) -> None:
    touched = touch(trail, *names, seed=seed)
    store = store_of(touched.objects)
    found = validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys(), expected_until=trail.end)
    findings = list(found)
    assert _of(findings, Severity.ERROR) == touched.errors
    assert _of(findings, Severity.WARNING) == touched.warnings


@pytest.mark.parametrize("name", MATRIX)
def test_ours_names_the_damage_and_accuses_nothing_else(trail: SampleTrail, name: str) -> None:
    for seed in SEEDS:
        _check(trail, name, seed=seed)


@settings(max_examples=1000 if LONG else 100, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(MATRIX)), min_size=2, max_size=4), seed=st.integers(0, 1 << 32))
def test_ours_names_all_damage_where_several_had_a_hand(trail: SampleTrail, names: list[str], seed: int) -> None:
    _check(trail, *names, seed=seed)


class _Endpoint(BaseHTTPRequestHandler):
    """As much of S3 and CloudTrail as the judge asks for; ``/CASE/...`` is the endpoint of one case."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cases: ClassVar[dict[str, Objects]] = {}
    keys: ClassVar[RsaKeyFiles]

    def do_GET(self) -> None:  # the base class's name
        parts = urlsplit(self.path)
        _, case, bucket, key = (*unquote(parts.path).split("/", 3), "")[:4]
        query = parse_qs(parts.query, keep_blank_values=True)
        assert bucket == BUCKET
        objects = self.cases[case]
        if key in objects:
            data, metadata = objects[key]
            self._answer(200, data, metadata)
        elif key:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
        elif "location" in query:
            self._answer(200, f"<LocationConstraint>{REGION}</LocationConstraint>".encode())
        else:
            self._answer(200, _listing(objects, query.get("prefix", [""])[0], query.get("marker", [""])[0]))

    def do_POST(self) -> None:  # the base class's name
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        operation = self.headers["x-amz-target"].rsplit(".", 1)[1]
        if operation == "DescribeTrails":
            trail = {"TrailARN": TRAIL_ARN, "S3BucketName": BUCKET, "S3KeyPrefix": FOLDER.prefix}
            answer: dict[str, Any] = {"trailList": [trail]}
        else:
            assert operation == "ListPublicKeys"
            start, end = (datetime.fromtimestamp(request[name], UTC) for name in ("StartTime", "EndTime"))
            answer = {"PublicKeyList": _public_key_list(self.keys, start, end)}
        self._answer(200, json.dumps(answer).encode(), {"content-type": "application/x-amz-json-1.1"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


def _public_key_list(keys: RsaKeyFiles, start: datetime, end: datetime) -> list[dict[str, Any]]:
    return [
        {
            "Value": base64.b64encode(key.value).decode(),
            "Fingerprint": key.fingerprint,
            "ValidityStartTime": key.validity_start.timestamp(),
            "ValidityEndTime": key.validity_end.timestamp(),
        }
        for key in keys.public_keys(REGION, start, end)
    ]


def _listing(objects: Objects, prefix: str, marker: str) -> bytes:
    found = sorted(key for key in objects if key.startswith(prefix) and key > marker)
    page = found[:50]
    contents = "".join(f"<Contents><Key>{escape(quote(key))}</Key></Contents>" for key in page)
    truncated = "true" if len(found) > len(page) else "false"
    head = f"<IsTruncated>{truncated}</IsTruncated><EncodingType>url</EncodingType>"
    return f"<ListBucketResult>{head}{contents}</ListBucketResult>".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the judge said of one case."""

    status: int
    text: str
    accused: frozenset[str]


def _verdict(status: int, stdout: str, stderr: str) -> Verdict:
    accused = re.findall(rf"file\ts3://{BUCKET}/(\S+)\tINVALID", stderr)
    return Verdict(status=status, text=stdout + stderr, accused=frozenset(accused))


@pytest.fixture(scope="module")
def endpoint(trail: SampleTrail) -> Iterator[str]:
    _Endpoint.keys = trail.keys
    _Endpoint.cases = {case: touch(trail, *names, seed=seed).objects for case, (names, seed) in JUDGED.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _arguments(start: datetime, end: datetime) -> list[str]:
    times = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (start, end)]
    return ["--trail-arn", TRAIL_ARN, "--start-time", times[0], "--end-time", times[1], "--verbose"]


def _judge(version: str, cases: list[tuple[str, list[str]]]) -> list[Verdict]:
    """The verdicts on many (endpoint, arguments), in one process of the AWS CLI's own Python."""
    done = subprocess.run(
        [require_aws(version).with_name("python"), Path(__file__).with_name("judge.py")],
        input=json.dumps([{"endpoint": endpoint, "arguments": arguments} for endpoint, arguments in cases]),
        capture_output=True,
        text=True,
        env=judge_environment(REGION),
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [_verdict(**result) for result in json.loads(done.stdout)]


@pytest.mark.parametrize("version", ["newest", "old"])
def test_the_judge_agrees(trail: SampleTrail, endpoint: str, version: str) -> None:
    """One test for the whole matrix: the judge is started once."""
    arguments = _arguments(START - HOUR, trail.end + HOUR)
    verdicts = dict(zip(JUDGED, _judge(version, [(f"{endpoint}/{case}", arguments) for case in JUDGED]), strict=True))
    differences = {}
    for case, verdict in verdicts.items():
        names, seed = JUDGED[case]
        touched = touch(trail, *names, seed=seed)
        missed = touched.judge_misses | (touched.judge_misses_old if version == "old" else set())
        damaged = {key for _, key in touched.errors}
        expected = damaged - missed
        if len(names) > 1 and verdict.accused <= damaged and verdict.status == bool(verdict.accused):
            continue  # after a digest that it cannot trust it follows no link, but what lies before: it may miss more
        if verdict.accused != expected or verdict.status != bool(expected):
            differences[case] = names, verdict, expected
    assert differences == {}
    text = verdicts["untouched"].text
    logs = sum(len(files) for files in trail.files.values())
    assert f"{len(trail.digests)}/{len(trail.digests)} digest files valid" in text
    assert f"{len(trail.backfills)}/{len(trail.backfills)} backfill digest files valid" in text
    assert f"{logs}/{logs} log files valid" in text
    assert "No log files were delivered by CloudTrail between" in text, "the stop"


@pytest.mark.parametrize("version", ["newest", "old"])
@pytest.mark.parametrize("name", ["untouched", "log_with_a_record_struck"])
def test_the_executable_itself_says_the_same(trail: SampleTrail, endpoint: str, name: str, version: str) -> None:
    done = subprocess.run(
        [require_aws(version), "cloudtrail", "validate-logs", *_arguments(START, trail.end)],
        capture_output=True,
        text=True,
        env={**judge_environment(REGION), "AWS_ENDPOINT_URL": f"{endpoint}/{name}"},
        timeout=120,
        check=False,
    )
    verdict = _verdict(done.returncode, done.stdout, done.stderr)
    assert verdict.accused == {key for _, key in touch(trail, name, seed=1).errors}, verdict.text
    assert verdict.status == (1 if verdict.accused else 0)


@pytest.mark.parametrize("version", ["newest", "old"])
def test_the_judge_finds_its_keys_at_the_edges_of_a_rotation(trail: SampleTrail, endpoint: str, version: str) -> None:
    """Ranges that begin and end around the rotation, where one key gives way to the other (aws-cli 10073)."""
    second = trail.public_keys()[1].fingerprint
    key = next(key for key in trail.digests if _fingerprint(trail.objects[key][0]) == second)
    rotated = parse_digest_key(key).end_time
    ranges = []
    for shift in (-HOUR, -timedelta(seconds=1), timedelta(0), timedelta(seconds=1), HOUR):
        edge = rotated + shift
        ranges += [(edge - 5 * HOUR, edge), (edge, edge), (edge, edge + 5 * HOUR)]
    verdicts = _judge(version, [(f"{endpoint}/untouched", _arguments(start, end)) for start, end in ranges])
    for verdict in verdicts:
        assert verdict.accused == frozenset(), verdict.text
        assert re.search("digest files valid", verdict.text), verdict.text


def _fingerprint(data: bytes) -> str:
    return decode_digest(decode_member(data, max_size=1 << 20)).public_key_fingerprint
