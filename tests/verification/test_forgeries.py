"""A forger who writes every byte of a bucket, a copy or a bundle, and has no private key.

Each forgery here was one that passed, or that cost the verifier its memory, before it was a test.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.cli.main import main
from opentrail.core.digests import decode_digest
from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.gzip_member import decode_member, encode_member
from opentrail.core.layout import format_digest_key, parse_digest_key
from opentrail.core.logfiles import encode_log_file
from opentrail.core.public_keys import decode_public_keys, encode_public_keys, fingerprint_of, is_fingerprint_of
from opentrail.keys.base import Signer
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.sample_trail import BUCKET, FOLDER, REGION, START, TRAIL, Objects, SampleTrail, store_of
from opentrail.testing.static_bucket import bucket_of_folder, serving
from opentrail.testing.trail_generator import LocalFolder
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.bundle import MANIFEST, METADATA, OBJECTS, PUBLIC_KEYS, encode_entry, encode_line, place_of
from opentrail.verification.engine import Verification
from opentrail.verification.public_keys_file import KeyQuestion, ask_public_keys
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import Verdict
from opentrail.verification.store_source import StoreSource
from opentrail.verification.stored_zip import StoredZipWriter

HOUR = timedelta(hours=1)
FORGED = encode_log_file([b'{"eventName":"NeverHappened"}']).data
FROM, TO = START + 4 * HOUR, START + 12 * HOUR
Members = dict[str, bytes]


# Bundles


@pytest.fixture(scope="module")
def packed(trail: SampleTrail, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evidence bundle of some hours of the sample trail, as the command makes it."""
    folder = tmp_path_factory.mktemp("packed")
    for key, (data, metadata) in trail.objects.items():
        LocalFolder(folder / BUCKET).put(key, data, metadata)
    return _pack(folder / BUCKET, trail.keys, folder)


def _pack(bucket: Path, keys: RsaKeyFiles, folder: Path) -> Path:
    (folder / "keys.json").write_bytes(encode_public_keys(keys.list(REGION)))
    span = ["--start", f"{FROM:%Y-%m-%dT%H:%M:%SZ}", "--end", f"{TO:%Y-%m-%dT%H:%M:%SZ}"]
    more = ["--account-id", FOLDER.account_id, "--public-keys", str(folder / "keys.json"), "--jobs", "1"]
    assert main(["evidence", str(bucket), *span, *more, "-o", str(folder / "case.zip")]) == 0
    return folder / "case.zip"


@dataclass(frozen=True, slots=True)
class Said:
    """What ``opentrail verify --json`` said."""

    code: int
    findings: tuple[tuple[str, str], ...]  # code and key
    verdict: str


def _verify(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Said:
    capsys.readouterr()
    code = main(["verify", str(path), "--jobs", "1", "--json", *options])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    findings = tuple((line["code"], line["key"]) for line in lines if line["type"] == "finding")
    return Said(code, findings, lines[-1]["verdict"] if lines else "")


def _forge(bundle: Path, path: Path, edit: Callable[[Members], object], **header: object) -> Path:
    """The bundle with other members, packed with a manifest that fits: as a forger would."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    first = json.loads(members.pop(MANIFEST).splitlines()[0]) | header
    edit(members)
    lines = [encode_line(first)]
    with path.open("w+b") as file:
        writer = StoredZipWriter(file, place_of)
        for name in sorted(members, key=place_of):
            data = members[name]
            writer.add(name, BytesIO(data))
            lines.append(encode_entry(name, len(data), hashlib.sha256(data).hexdigest()))
        writer.finish(MANIFEST, BytesIO(b"".join(lines)))
        writer.close()
    return path


def _logs(members: Mapping[str, bytes]) -> list[str]:
    return sorted(name for name in members if "/CloudTrail/" in name)


def test_a_bundle_packed_anew_is_still_one(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The forger of these tests changes nothing by hand that the tests do not tell him to."""
    path = _forge(packed, tmp_path / "b.zip", lambda _: None)
    assert _verify(path, capsys).code == 0


def _planted(day: str) -> str:
    return (
        f"{OBJECTS}audit/AWSLogs/111122223333/CloudTrail/eu-west-1/{day}/"
        f"111122223333_CloudTrail_eu-west-1_{day.replace('/', '')}T0911Z_0000000000000000.json.gz"
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(_planted("2024/05/09"), id="log file of a later day"),
        pytest.param(_planted("2024/05/01"), id="log file of an earlier day"),
        pytest.param(_planted("2024/05/06"), id="log file of the day, before the first digest"),
        pytest.param(
            f"{OBJECTS}audit/awslogs/111122223333/CloudTrail/eu-west-1/x.json.gz", id="tree that differs in case"
        ),
        pytest.param(f"{OBJECTS}audit/AWSLogs/111122223333/CloudTrail/summary.json.gz", id="between the folders"),
        pytest.param(f"{OBJECTS}confession.txt", id="no log file at all"),
        pytest.param(f"{METADATA}confession.json", id="metadata of nothing"),
    ],
)
def test_nothing_lies_in_a_bundle_that_nobody_looks_at(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Whoever unpacks it, in good faith, reads all of it."""
    path = _forge(packed, tmp_path / "b.zip", lambda members: members.update({name: FORGED}))
    said = _verify(path, capsys)
    assert said.code == 1
    assert (FindingCode.BUNDLE_CONTRADICTS_MANIFEST, name.removeprefix(OBJECTS)) in said.findings


def test_a_span_made_narrow_hides_nothing(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest says what is verified, and the forger writes the manifest: what it leaves out must not lie there."""

    def change_the_first(members: Members) -> None:
        members[_logs(members)[0]] = FORGED

    path = _forge(packed, tmp_path / "b.zip", change_the_first, start=f"{TO - HOUR:%Y-%m-%dT%H:%M:%SZ}")
    said = _verify(path, capsys)
    with zipfile.ZipFile(packed) as archive:
        changed = _logs(dict.fromkeys(archive.namelist(), b""))[0]
    assert said.verdict == Verdict.TAMPERED
    assert (FindingCode.BUNDLE_CONTRADICTS_MANIFEST, changed.removeprefix(OBJECTS)) in said.findings


@pytest.mark.parametrize(
    "header",
    [
        {"start": "0001-01-01T00:00:00+14:00"},
        {"end": "9999-12-31T23:59:59Z"},
        {"end": "9999-12-31T23:59:59-14:00", "start": "0001-01-01T00:00:00Z"},
        {"start": "2024-05-06T10:00:00"},
        {"end": None},
        {"bucket": None},
    ],
)
def test_a_span_beyond_all_time_is_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], header: dict[str, object]
) -> None:
    path = _forge(packed, tmp_path / "b.zip", lambda _: None, **header)
    assert main(["verify", str(path), "--jobs", "1"]) == 2
    assert "manifest" in capsys.readouterr().err


class _Impostor:
    """Signs with its own key, and calls it by another's fingerprint."""

    def __init__(self, own: Signer, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.sign = own.sign


def test_a_key_is_known_by_itself_and_not_by_what_a_bundle_calls_it(
    trail: SampleTrail, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole trail, forged and signed, whose key bears the fingerprint that the recording side publishes."""
    own = RsaKeyFiles(tmp_path / "own")
    signer = _Impostor(own.signer(REGION, now=START), trail.signer.fingerprint)
    writer = TrailWriter(LocalFolder(tmp_path / "bucket"), TRAIL, bucket=BUCKET, signer=lambda _: signer, start=START)
    for hour in range(1, 20):
        writer.put_log_file(START + hour * HOUR - timedelta(minutes=9), [b'{"eventName":"NeverHappened"}'])
        writer.put_digest(START + hour * HOUR)
    (key,) = own.list(REGION)
    (tmp_path / "keys.json").write_bytes(encode_public_keys([replace(key, fingerprint=signer.fingerprint)]))
    span = ["--start", f"{FROM:%Y-%m-%dT%H:%M:%SZ}", "--end", f"{TO:%Y-%m-%dT%H:%M:%SZ}", "--jobs", "1"]
    keys = ["--public-keys", str(tmp_path / "keys.json")]
    main(["evidence", str(tmp_path / "bucket"), *span, *keys, "-o", str(tmp_path / "case.zip")])
    said = _verify(tmp_path / "case.zip", capsys)
    assert said.verdict == Verdict.TAMPERED
    assert (FindingCode.BUNDLE_CONTRADICTS_MANIFEST, PUBLIC_KEYS) in said.findings


AWS_KEY = (  # the AWS CLI's example of list-public-keys
    "MIIBCgKCAQEAlSS3cl92HDycr/MTj0moOhas8habjrraXw+KzlWF0axSI2tcF+3iJ9BKQAVSKxGwxwu3m0wG3J+kUl1xboEcEPHYoIYMbgfSw7KG"
    "nuDKwkLzsQWhUJ0cIbOHASox1vv/5fNXkrHhGbDCHeVXm804c83nvHUEFYThr1PfyP/8HwrCtR3FX5OANtQCP61C1nJtSSkC8JSQUOrIP4CuwJjc"
    "+4WGDk+BGH5m9iuiAKkipEHWmUl8/P7XpfpWQuk4h8g3pXZOrNXr08lbh4d39svj7UqdhvOXoBISp9t/EXYuePGEtBdrKD9Dz+VHwyUPtBQvYr9B"
    "nkF88qBnaPNhS44rzwIDAQAB"
)


def test_fingerprints_of_aws_and_ours_are_those_of_their_keys() -> None:
    listed = {
        "Value": AWS_KEY,
        "Fingerprint": "7f3f401420072e50a65a141430817ab3",
        "ValidityStartTime": 1453076702.0,
        "ValidityEndTime": 1455668702.0,
    }
    (key,) = decode_public_keys(json.dumps({"PublicKeyList": [listed]}).encode())
    assert is_fingerprint_of(key.fingerprint, key.value)
    assert is_fingerprint_of(fingerprint_of(key.value), key.value)
    assert not is_fingerprint_of(key.fingerprint, key.value + b"\0")
    assert not is_fingerprint_of("", key.value)


# Buckets and folders


def _findings(objects: Objects, trail: SampleTrail, *, keeps_metadata: bool = True) -> tuple[list[Finding], Verdict]:
    found: list[Finding] = []
    source = StoreSource(lambda: store_of(objects), name="memory", bucket=BUCKET, keeps_metadata=keeps_metadata)
    run = Verification(
        source,
        VerifyRequest(account_ids=frozenset({FOLDER.account_id}), expected_until=trail.end),
        trail.public_keys(),
        on_finding=lambda _trail, finding: found.append(finding),
        checked_at=datetime(2024, 5, 8, 12, tzinfo=UTC),
        clock=time.monotonic,
    )
    return found, run.run().verdict


@pytest.mark.parametrize("name", ["more.json.gz", "more.JSON", "x.gz", "_.json.gz", "../05/06.json", "a/b/c.json.gz"])
def test_what_other_programs_would_read_as_a_log_file_is_one(trail: SampleTrail, name: str) -> None:
    """Athena, pandas and ``zcat *.gz`` ask for no name of CloudTrail's."""
    planted = f"{trail.stop.rsplit('/', 1)[0]}/{name}"
    found, verdict = _findings({**trail.objects, planted: (FORGED, {})}, trail)
    assert verdict is Verdict.INCOMPLETE
    assert (FindingCode.LOG_FILE_NOT_NAMED, planted) in {(each.code, each.key) for each in found}


def test_a_digest_may_name_a_log_file_as_nobody_expects(tmp_path: Path) -> None:
    """CloudTrail's names have changed before: what a digest signs is none that was planted."""
    keys, store = RsaKeyFiles(tmp_path), store_of({})
    signer = keys.signer(REGION, now=START)
    writer = TrailWriter(store, TRAIL, bucket=BUCKET, signer=lambda _: signer, start=START)
    for hour in range(1, 4):
        file = writer.put_log_file(START + hour * HOUR - timedelta(minutes=9), [b"{}"], name=False)
        odd = file.key.replace("Z_", "Z-v2_")
        data = b"".join(store.get(file.key).chunks)
        store.delete(file.key)
        store.put(odd, data, {})
        writer._delivered.append(replace(file, key=odd))
        writer.put_digest(START + hour * HOUR)
    found: list[Finding] = []
    run = Verification(
        StoreSource(lambda: store, name="memory", bucket=BUCKET),
        VerifyRequest(),
        keys.list(REGION),
        on_finding=lambda _trail, finding: found.append(finding),
        checked_at=START,
        clock=time.monotonic,
    )
    assert run.run().verdict is Verdict.VALID, found


EDITS = st.sampled_from(["flip", "replace", "insert", "cut", "append", "swap", "metadata"])


def _edit(data: st.DataObject, objects: Objects, key: str) -> Objects:
    """``objects`` with one small change to the object at ``key``."""
    content, metadata = objects[key]
    how = data.draw(EDITS)
    if how == "swap":
        return {**objects, key: objects[data.draw(st.sampled_from(sorted(objects)))]}
    if how == "metadata":
        return {**objects, key: (content, {name: _edited_text(data, text) for name, text in metadata.items()})}
    at = behind = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(min_size=1, max_size=30)) if how in {"insert", "replace"} else b""
    if how == "flip":
        more, behind = bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))]), at + 1
    elif how == "append":
        at = behind = len(content)
        more = data.draw(st.binary(min_size=1, max_size=30) | st.sampled_from([content, FORGED, bytes(512)]))
    elif how != "insert":
        behind = at + data.draw(st.integers(1, 30))
    return {**objects, key: (content[:at] + more + content[behind:], metadata)}


def _edited_text(data: st.DataObject, text: str) -> str:
    at = data.draw(st.integers(0, len(text)))
    return text[:at] + data.draw(st.text(st.characters(codec="latin-1"), max_size=1)) + text[at + 1 :]


def _meaning(objects: Objects) -> dict[str, tuple[bytes, dict[str, str]]]:
    """What the signatures and hashes are over: the content, and of the metadata the signature, in whatever case."""
    return {
        key: (
            decode_member(data, max_size=1 << 24),
            {name: value.lower() for name, value in metadata.items() if name.startswith("x-amz-meta-signature")},
        )
        for key, (data, metadata) in objects.items()
    }


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_small_change_is_found_unless_the_content_is_the_same(data: st.DataObject, trail: SampleTrail) -> None:
    own = {key: found for key, found in trail.objects.items() if FOLDER.account_id in key}
    key = data.draw(st.sampled_from(sorted(own)))
    changed = _edit(data, own, key)
    found, verdict = _findings(changed, trail)
    if verdict is Verdict.VALID:
        assert _meaning(changed) == _meaning(own)
    else:
        assert any(each.key == key for each in found)


@settings(max_examples=40)
@given(data=st.data())
def test_and_in_a_plain_copy_unless_nothing_can_prove_it(data: st.DataObject, trail: SampleTrail) -> None:
    own: Objects = {key: (content, {}) for key, (content, _) in trail.objects.items() if FOLDER.account_id in key}
    newest = {trail.digests[trail.restart - 1], trail.digests[-1], trail.backfills[-1]}
    unproven = newest | {log for digest in newest for log in trail.files[digest]}
    key = data.draw(st.sampled_from(sorted(set(own) - unproven)))
    changed = _edit(data, own, key)
    _, verdict = _findings(changed, trail, keeps_metadata=False)
    assert verdict is not Verdict.VALID or _meaning(changed) == _meaning(own)


# Memory


DIGEST = parse_digest_key(
    "AWSLogs/111122223333/CloudTrail-Digest/eu-west-1/2024/05/06/"
    "111122223333_CloudTrail-Digest_eu-west-1_main_eu-west-1_20240506T010000Z.json.gz"
)
WHOLE = 16 * 1024 * 1024 - 2000
MEMORY_MB = 200
BLOAT = {  # each as large as a digest may be, and of less than 20 KB as it lies there
    "objects": b'"x":[' + b",".join([b'{"":0}'] * (WHOLE // 7)) + b"]",
    "lists": b'"x":[' + b",".join([b"[]"] * (WHOLE // 3)) + b"]",
    "texts": b'"x":[' + b",".join([b'"ab"'] * (WHOLE // 5)) + b"]",
    "nested": b'"x":' + b"[" * (WHOLE // 2) + b"]" * (WHOLE // 2),
    "unclosed": b'"x":' + b'{"":' * (WHOLE // 4),
    "number": b'"x":1' + b"0" * WHOLE,
    "long name": b'"' + b"x" * WHOLE + b'":0',
    "long text": b'"previousDigestS3Object":"' + b"AWSLogs/" * (WHOLE // 8) + b'"',
}


def _bloated_digest(number: int, more: bytes) -> tuple[str, bytes]:
    """A digest that nobody signed, in its place, with ``more`` members."""
    end = DIGEST.end_time + number * HOUR
    key = format_digest_key(replace(DIGEST, end_time=end))
    members = {
        "awsAccountId": "111122223333",
        "digestStartTime": f"{end - HOUR:%Y-%m-%dT%H:%M:%SZ}",
        "digestEndTime": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "digestS3Bucket": BUCKET,
        "digestS3Object": key,
        "digestPublicKeyFingerprint": "f",
        "digestSignatureAlgorithm": "SHA256withRSA",
        "logFiles": [],
    }
    return key, encode_member([json.dumps(members).encode()[:-1] + b"," + more + b"}"])[0]


def _run_apart(*words: str) -> tuple[int, str, int]:
    """Exit code, stdout and the most memory in MB of ``opentrail WORDS`` in a process of its own."""
    program = (
        "import re, sys\nfrom opentrail.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)\nsys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout, int(run.stderr.split()[-1]) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the process's memory is read there")
def test_a_folder_of_bombs_is_read_in_the_memory_of_an_ordinary_one(tmp_path: Path) -> None:
    """Some gigabytes of digests and log files in a few megabytes: they were 3.5 GB of memory."""
    keys = RsaKeyFiles(tmp_path / "keys")
    signer = keys.signer(REGION, now=DIGEST.end_time)
    (tmp_path / "keys.json").write_bytes(encode_public_keys(keys.list(REGION)))
    bucket = LocalFolder(tmp_path / "bucket")
    start = DIGEST.end_time + 30 * HOUR
    writer = TrailWriter(bucket, DIGEST.trail, bucket=BUCKET, signer=lambda _: signer, start=start)
    bombs = [
        encode_member([bytes(1 << 20)] * 1024)[0],  # 1 GB, one line
        encode_member([b'{"Records":[' + b"[" * (1 << 20)] * 200)[0],
        encode_member([b'"eventName":"StopLogging",' * 40_000] * 200)[0],
    ]
    named = []
    for bomb in bombs:
        file = writer.put_log_file(start + timedelta(minutes=5), [b"{}"])
        bucket.put(file.key, bomb, {})
        named.append(file.key)
    writer.put_digest(start + HOUR)
    expected = set()
    for number, more in enumerate([*BLOAT.values(), *[BLOAT["objects"]] * 8]):
        key, data = _bloated_digest(number, more)
        bucket.put(key, data, {"x-amz-meta-signature": "00" * 256, "x-amz-meta-signature-algorithm": "SHA256withRSA"})
        expected.add(key)
    words = ["verify", str(tmp_path / "bucket"), "--public-keys", str(tmp_path / "keys.json"), "--json", "--events"]
    words += ["--original-bucket", BUCKET]
    code, said, memory = _run_apart(*words, "--jobs", "2", "--report", str(tmp_path / "report.html"))
    lines = [json.loads(line) for line in said.splitlines()]
    errors = {line["key"] for line in lines if line["type"] == "finding" and line["severity"] == "error"}
    assert code == 1
    assert errors >= expected | set(named)
    assert max(map(len, said.splitlines())) < 10_000, "what is quoted is short"
    assert memory < MEMORY_MB


def test_a_digest_of_many_log_files_whose_prefix_is_all_commas_is_read() -> None:
    """The bound on values counts none of what stands in texts."""
    file = {
        "s3Bucket": BUCKET,
        "s3Object": '[{,\\"' * 190,
        "hashValue": "0" * 64,
        "hashAlgorithm": "SHA-256",
        "newestEventTime": "2024-05-06T00:00:00Z",
        "oldestEventTime": "2024-05-06T00:00:00Z",
    }
    _, data = _bloated_digest(0, b'"more":1')
    content = json.loads(gzip.decompress(data)) | {"logFiles": [file] * 9000}
    assert len(decode_digest(json.dumps(content).encode()).log_files) == 9000
    with pytest.raises(FormatError, match="values"):
        decode_digest(json.dumps(content | {"more": [0] * 400_000}).encode())
    with pytest.raises(FormatError, match="too long"):
        decode_digest(json.dumps(content | {"digestS3Bucket": "b" * 256}).encode())


# Public keys


def _question(url: str) -> KeyQuestion:
    return KeyQuestion(endpoint_url=url, regions=(REGION,), start=START, end=START + 30 * HOUR)


@pytest.fixture
def endpoint(trail: SampleTrail, lay: Callable[[Objects], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with serving(bucket_of_folder(lay(trail.objects), BUCKET, trail.public_keys())) as url:
        yield url


def _make_writable(path: Path) -> None:
    path.chmod(0o666)


def _make_folder_writable(path: Path) -> None:
    path.parent.chmod(0o777)


def _make_link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, mode=0o600)


@pytest.mark.parametrize("plant", [_make_writable, _make_folder_writable, _make_link, _make_pipe])
def test_a_cache_of_keys_that_others_can_write_is_none(
    trail: SampleTrail, endpoint: str, tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    """Whoever puts a key there makes every signature good that is his."""
    now = START + 40 * HOUR
    cache = tmp_path / "cache"
    assert ask_public_keys(_question(endpoint), now=now, cache=cache) == trail.public_keys()
    (path,) = cache.iterdir()
    stranger = trail.keys.list("us-east-1")
    document = json.loads(path.read_bytes()) | json.loads(encode_public_keys(stranger))
    path.write_text(json.dumps(document))
    assert ask_public_keys(_question(endpoint), now=now, cache=cache) == stranger, "one's own file is believed"
    plant(path)
    assert ask_public_keys(_question(endpoint), now=now, cache=cache) == trail.public_keys()
