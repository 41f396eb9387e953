"""Evidence bundles: what verifies in a bucket verifies in the bundle, and one that somebody made up does no harm."""

from __future__ import annotations

import io
import json
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError, NoSuchObject, StoreError
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import LogKind, parse_digest_key
from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.trail_generator import (
    GeneratedTrail,
    LocalFolder,
    PlainFolder,
    TrailPlan,
    account_numbers,
    generate_trail,
)
from opentrail.testing.trail_writer import TrailWriter
from opentrail.verification.bundle import (
    MANIFEST,
    MAX_LEFT_OUT_BYTES,
    OBJECTS,
    PUBLIC_KEYS,
    README,
    REPORT_JSON,
    BundleHeader,
    BundleWriter,
    encode_left_out,
    encode_line,
    is_plain_key,
    place_of,
)
from opentrail.verification.bundle_source import BundleSource
from opentrail.verification.discovery import find_chains
from opentrail.verification.engine import Verification
from opentrail.verification.evidence import Collected, collect, span_of
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.read_ahead import NoReadAhead
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import ObjectTooLarge, SourceObject, TrailSource
from opentrail.verification.stored_zip import Member, StoredZip, StoredZipWriter, encode_central, encode_end

PLAN = TrailPlan(
    accounts=account_numbers(2), regions=("eu-west-1", "us-east-1"), hours=30, files_per_hour=2, records_per_file=2
)
HOUR = timedelta(hours=1)
FACTS = {FindingCode.CHAIN_STARTED, FindingCode.KEY_ROTATED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trail")


@pytest.fixture(scope="module")
def trail(folder: Path) -> GeneratedTrail:
    return generate_trail(PLAN, LocalFolder(folder), RsaKeyFiles(folder.parent / "keys"))


def _pack(source: TrailSource, trail: GeneratedTrail, path: Path, start: datetime, end: datetime) -> BundleSource:
    found = find_chains(source, VerifyRequest(start=start, end=end))
    folders = {chain.trail.folder for chain in found.chains}
    span = span_of(source, folders, start, end)
    header = BundleHeader(
        source=source.name,
        bucket=PLAN.bucket,
        keeps_metadata=source.keeps_metadata,
        start=span.start,
        end=span.end,
        requested_start=start,
        requested_end=end,
        made_at=datetime(2024, 6, 1, tzinfo=UTC),
        made_by="opentrail 1.2.3",
    )
    with path.open("w+b") as file:
        writer = BundleWriter(file, header)
        writer.add_text(README, b"about\n")
        collect(source, folders, span, writer, ahead=NoReadAhead(), collected=Collected())
        writer.add_text(PUBLIC_KEYS, encode_public_keys(trail.all_public_keys()))
        writer.finish()
        writer.resume()
        writer.add_text(REPORT_JSON, b"{}")
        writer.finish()
        writer.close()
    return BundleSource(path)


@pytest.fixture(scope="module")
def bundle(trail: GeneratedTrail, folder: Path) -> Iterator[BundleSource]:
    span = trail.start + 10 * HOUR, trail.start + 20 * HOUR
    source = _pack(FolderSource(str(folder)), trail, folder.parent / "bundle.zip", *span)
    yield source
    source.close()


def _verify(source: TrailSource, trail: GeneratedTrail, start: datetime, end: datetime) -> list[Finding]:
    findings: list[Finding] = []
    run = Verification(
        source,
        VerifyRequest(start=start, end=end, original_bucket=PLAN.bucket),
        trail.all_public_keys(),
        on_finding=lambda _trail, finding: findings.append(finding),
        checked_at=datetime.now(UTC),
        clock=time.monotonic,
    )
    run.run()
    return findings


def test_it_proves_the_whole_span_alone(bundle: BundleSource, trail: GeneratedTrail) -> None:
    assert {finding.code for finding in _verify(bundle, trail, bundle.header.start, bundle.header.end)} <= FACTS
    assert list(bundle.check()) == []
    assert bundle.public_keys() == trail.all_public_keys()
    for chain in trail.chains:
        ends = [parse_digest_key(key).end_time for key in bundle.list_keys("") if key in chain.digests]
        assert min(ends) < bundle.header.start <= ends[1], "and one before it"
        delivered = trail.start + 20 * HOUR + timedelta(minutes=15)
        assert any(delivered <= end <= bundle.header.end for end in ends), "that which names what came at the end"
        assert bundle.header.end < max(ends), "and one behind it"


def test_each_object_is_as_it_lies_at_the_source(bundle: BundleSource, folder: Path) -> None:
    source = FolderSource(str(folder))
    keys = list(bundle.list_keys(""))
    assert keys == sorted(keys, key=str.encode)
    for key in keys:
        there = source.read(key, limit=1 << 30)
        assert b"".join(bundle.read_chunks(key)) == there.data
        here = bundle.read(key, limit=1 << 30)
        assert here.data == there.data
        if "CloudTrail-Digest" in key:
            assert here.metadata == there.metadata


def test_listings_are_those_of_a_source(bundle: BundleSource, trail: GeneratedTrail) -> None:
    keys = list(bundle.list_keys(""))
    account = f"AWSLogs/{PLAN.accounts[1]}/"
    assert bundle.list_folders("") == ["AWSLogs/"]
    assert bundle.list_folders("AWSLogs/") == [f"AWSLogs/{account}/" for account in PLAN.accounts]
    assert bundle.list_folders(account) == [f"{account}CloudTrail-Digest/", f"{account}CloudTrail/"]
    assert bundle.list_folders("nowhere/") == []
    assert list(bundle.list_keys(account)) == [key for key in keys if key.startswith(account)]
    for after in (keys[3], keys[3][:-5], "A", "z"):
        assert list(bundle.list_keys(account, start_after=after)) == [
            key for key in keys if key.startswith(account) and key > after
        ]
    with pytest.raises(NoSuchObject):
        bundle.read(trail.chains[0].digests[0] + "x", limit=1)
    with pytest.raises(ObjectTooLarge):
        bundle.read(keys[0], limit=1)


def test_other_programs_can_unpack_it(bundle: BundleSource, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle.name) as archive:
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert all(stat.S_ISREG(member.external_attr >> 16) for member in archive.infolist())
        archive.extractall(tmp_path)
        manifest = [json.loads(line) for line in archive.read(MANIFEST).splitlines()]
    assert manifest[0]["madeBy"] == "opentrail 1.2.3"
    assert {line["name"] for line in manifest[1:]} | {MANIFEST} == set(archive.namelist())
    copy = FolderSource(str(tmp_path / "objects"))
    assert list(copy.list_keys("")) == list(bundle.list_keys(""))


def test_the_same_span_makes_the_same_bytes(trail: GeneratedTrail, folder: Path, tmp_path: Path) -> None:
    span = trail.start + 10 * HOUR, trail.start + 12 * HOUR
    for name in ("a.zip", "b.zip"):
        _pack(FolderSource(str(folder)), trail, tmp_path / name, *span).close()
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_damage_at_the_source_is_found_in_the_bundle(tmp_path: Path) -> None:
    """A missing, a changed and an added log file, a missing digest: the bundle hides none of them."""
    root = tmp_path / "bucket"
    plan = TrailPlan(hours=12, files_per_hour=3, records_per_file=2)
    trail = generate_trail(plan, LocalFolder(root), RsaKeyFiles(tmp_path / "keys"))
    (chain,) = trail.chains
    files = [chain.log_files[key] for key in chain.digests]
    (root / files[4][1]).unlink()
    (root / files[5][2]).write_bytes(b"not gzip")
    added = files[6][0].removesuffix("000000000000000.json.gz")[:-24] + "zzzzzzzz00000000.json.gz"
    (root / added).write_bytes(b"planted")
    (root / chain.digests[8]).unlink()
    source = FolderSource(str(root))
    bundle = _pack(source, trail, tmp_path / "bundle.zip", trail.start, trail.end)
    span = bundle.header.start, bundle.header.end
    there, here = _verify(source, trail, *span), _verify(bundle, trail, *span)
    bundle.close()
    assert here == there
    assert {
        FindingCode.LOG_FILE_MISSING,
        FindingCode.LOG_FILE_MALFORMED,
        FindingCode.LOG_FILE_NOT_NAMED,
        FindingCode.DIGEST_MISSING,
    } <= {finding.code for finding in here}


def test_a_copy_without_metadata_makes_a_bundle_without(tmp_path: Path) -> None:
    plan = TrailPlan(hours=8, files_per_hour=1, records_per_file=2)
    trail = generate_trail(plan, PlainFolder(tmp_path / "copy"), RsaKeyFiles(tmp_path / "keys"))
    source = FolderSource(str(tmp_path / "copy"))
    bundle = _pack(source, trail, tmp_path / "bundle.zip", trail.start, trail.start + 4 * HOUR)
    assert not bundle.keeps_metadata
    assert all(not bundle.read(key, limit=1 << 20).metadata for key in bundle.list_keys(""))
    bundle.close()


def test_log_files_of_every_kind_and_late_ones_are_in(tmp_path: Path) -> None:
    """Aggregated ones sort before the digests; a late one lies days before the digest that names it."""
    keys, folder = RsaKeyFiles(tmp_path / "keys"), next(PLAN.trails())
    start = datetime(2024, 5, 6, tzinfo=UTC)
    signer = keys.signer("eu-west-1", now=start)
    target = LocalFolder(tmp_path / "bucket")
    writer = TrailWriter(target, folder, bucket=PLAN.bucket, signer=lambda _end: signer, start=start)
    for hour in range(1, 100):
        now = start + hour * HOUR
        for kind in LogKind:
            late = timedelta(days=3) if hour == 80 else timedelta(minutes=10)
            writer.put_log_file(now - late, [b'{"eventVersion":"1.11"}'], kind=kind)
        writer.put_digest(now)
    trail = GeneratedTrail(plan=PLAN, chains=(), public_keys={"eu-west-1": keys.list("eu-west-1")})
    source = FolderSource(str(tmp_path / "bucket"))
    bundle = _pack(source, trail, tmp_path / "bundle.zip", start + 78 * HOUR, start + 82 * HOUR)
    packed = [key for key in bundle.list_keys("") if "Digest" not in key]
    assert sum("20240506T0800Z" in key for key in packed) == len(LogKind)
    assert len(packed) == 6 * len(LogKind)
    found = {finding.code for finding in _verify(bundle, trail, bundle.header.start, bundle.header.end)}
    assert FindingCode.LOG_FILE_MISSING not in found
    bundle.close()


SMALL_KEYS = [
    f"AWSLogs/111122223333/CloudTrail-Digest/r-1/2024/05/06/111122223333_CloudTrail-Digest_r-1_abc_r-1_20240506T{time}Z.json.gz"
    for time in ("060000", "070000", "080000")
]


def _header() -> BundleHeader:
    return BundleHeader(
        source="s3://bucket",
        bucket="bucket",
        keeps_metadata=True,
        start=datetime(2024, 5, 6, tzinfo=UTC),
        end=datetime(2024, 5, 7, tzinfo=UTC),
        requested_start=None,
        requested_end=None,
        made_at=datetime(2024, 6, 1, tzinfo=UTC),
        made_by="opentrail 1.2.3",
    )


def _small(path: Path) -> Path:
    """A bundle of a few members."""
    with path.open("w+b") as file:
        writer = BundleWriter(file, _header())
        writer.add_text(README, b"about\n")
        for key in SMALL_KEYS:
            writer.add_object(key, SourceObject(data=key[-20:].encode(), metadata={"signature": "00"}))
        writer.leave_out("../x", "its name")
        writer.add_text(PUBLIC_KEYS, encode_public_keys(()))
        writer.finish()
        writer.close()
    return path


def test_a_bundle_that_leaves_out_more_than_anybody_would_look_at_is_not_made() -> None:
    writer = BundleWriter(io.BytesIO(), _header())
    last = MAX_LEFT_OUT_BYTES // len(encode_left_out("00000", "x" * 1000))
    for number in range(last):
        writer.leave_out(f"{number:05}", "x" * 1000)
    with pytest.raises(StoreError, match="narrow the time"):
        writer.leave_out(f"{last:05}", "x" * 1000)
    writer.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _small(tmp_path_factory.mktemp("small") / "bundle.zip").read_bytes()


def _read_all(path: Path) -> list[Finding]:
    """Everything that a verification would read of it.  Raises ``FormatError``, ``StoreError`` and no more."""
    source = BundleSource(path)
    try:
        for key in source.list_keys(""):
            with suppress(StoreError):  # what was left out
                source.read(key, limit=1 << 20)
        source.list_folders("AWSLogs/")
        source.public_keys()
        return list(source.check())
    finally:
        source.close()


@given(data=st.data())
def test_every_changed_bit_is_noticed(
    data: st.DataObject, small: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = bytearray(small)
    at = data.draw(st.integers(0, len(small) - 1))
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("changed") / "bundle.zip"
    path.write_bytes(changed)
    try:
        findings = _read_all(path)
    except FormatError:
        return
    assert {finding.code for finding in findings} == {FindingCode.BUNDLE_CONTRADICTS_MANIFEST}


@given(data=st.data())
def test_what_is_cut_doubled_or_mixed_is_refused_in_order(
    data: st.DataObject, small: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(small))] * 2)))
    other = data.draw(st.binary(max_size=60) | st.just(small[start:end]) | st.just(small))
    mixed = data.draw(st.sampled_from([small[:start] + other + small[end:], small[:start] + small[end:], other]))
    path = tmp_path_factory.mktemp("mixed") / "bundle.zip"
    path.write_bytes(mixed)
    try:
        findings = _read_all(path)
    except (FormatError, StoreError):
        return
    assert findings or mixed == small


Build = Callable[[zipfile.ZipFile], None]


def _stored(archive: zipfile.ZipFile, name: str, data: bytes = b"x") -> None:
    archive.writestr(zipfile.ZipInfo(name), data)


def _bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr(OBJECTS + "a", bytes(10_000_000), compress_type=zipfile.ZIP_DEFLATED)


def _twice(archive: zipfile.ZipFile) -> None:
    for _ in range(2):
        _stored(archive, OBJECTS + "a")


def _symlink(archive: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo(OBJECTS + "a")
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    archive.writestr(member, "/etc/passwd")


def _comment(archive: zipfile.ZipFile) -> None:
    _stored(archive, OBJECTS + "a")
    archive.comment = b"PK\5\6"


def _unordered(archive: zipfile.ZipFile) -> None:
    for name in "ba":
        _stored(archive, OBJECTS + name)


NAMES = ["objects/../../etc/passwd", "/etc/passwd", "objects//a", "objects/./a", "objects/a\\..\\b", "a", "objects/a/"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "build",
    [
        _bomb,
        _twice,
        _symlink,
        _comment,
        _unordered,
        *[lambda archive, name=name: _stored(archive, name) for name in NAMES],
    ],
)
def test_what_could_mislead_is_refused(build: Build, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        build(archive)
    with pytest.raises(FormatError):
        BundleSource(tmp_path / "bundle.zip")


@pytest.mark.parametrize("name", NAMES)
def test_names_that_could_do_harm_are_refused_in_the_form_itself(name: str, tmp_path: Path) -> None:
    with (tmp_path / "bundle.zip").open("w+b") as file:
        writer = StoredZipWriter(file, lambda name: (0, name.encode()))
        writer.add(name, io.BytesIO(b"x"))
        writer.finish("z", io.BytesIO())
        writer.close()
    with pytest.raises(FormatError, match="has no member"):
        StoredZip(tmp_path / "bundle.zip", place_of)


def test_a_name_before_the_data_that_is_not_the_directorys_is_found(small: bytes, tmp_path: Path) -> None:
    name = f"{OBJECTS}{SMALL_KEYS[1]}".encode()
    assert small.index(name) < small.rindex(name)
    (tmp_path / "bundle.zip").write_bytes(small.replace(name, name[:-1] + b"Z", 1))
    (finding,) = _read_all(tmp_path / "bundle.zip")
    assert finding.key == name.removeprefix(b"objects/").decode()


def _edit_manifest(small: bytes, edit: Callable[[list[dict[str, object]]], object], path: Path) -> None:
    """Pack the bundle anew with another manifest, as a forger would."""
    path.with_name("original.zip").write_bytes(small)
    with zipfile.ZipFile(path.with_name("original.zip")) as archive, path.open("w+b") as file:
        lines = [json.loads(line) for line in archive.read(MANIFEST).splitlines()]
        edit(lines)
        writer = StoredZipWriter(file, place_of)
        for name in archive.namelist()[:-1]:
            writer.add(name, io.BytesIO(archive.read(name)))
        writer.finish(MANIFEST, io.BytesIO(b"".join(map(encode_line, lines))))
        writer.close()


EDITS: dict[str, Callable[[list[dict[str, object]]], object]] = {
    "names less": lambda lines: lines.pop(2),
    "names more": lambda lines: lines.insert(2, {"name": "objects/A", "size": 1, "sha256": "0" * 64}),
    "another hash": lambda lines: lines[2].update(sha256="0" * 64),
    "another size": lambda lines: lines[2].update(size=1 << 62),
    "names twice": lambda lines: lines.insert(2, lines[2]),
    "out of order": lambda lines: lines.append(lines.pop(2)),
    "a name that no member has": lambda lines: lines.insert(2, {"name": "../x", "size": 1, "sha256": ""}),
    "not a member": lambda lines: lines.insert(2, {"name": 7}),
    "a long line": lambda lines: lines[2].update(sha256="0" * 100_000),
    "a deep line": lambda lines: lines[2].update(name=json.loads("[" * 500 + "]" * 500)),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_manifest_that_lies_is_found(name: str, small: bytes, tmp_path: Path) -> None:
    _edit_manifest(small, EDITS[name], tmp_path / "bundle.zip")
    findings = _read_all(tmp_path / "bundle.zip")
    assert {finding.code for finding in findings} == {FindingCode.BUNDLE_CONTRADICTS_MANIFEST}


@pytest.mark.parametrize(
    "changes", [{"format": "x"}, {"version": 2}, {"start": "never"}, {"bucket": 7}, {"requested": 1}, {"end": None}]
)
def test_a_first_line_that_says_nothing_is_refused(changes: dict[str, object], small: bytes, tmp_path: Path) -> None:
    _edit_manifest(small, lambda lines: lines[0].update(changes), tmp_path / "bundle.zip")
    with pytest.raises(FormatError):
        BundleSource(tmp_path / "bundle.zip")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"PK", b"PK\5\6" + bytes(18), zlib.compress(b"x")):
        (tmp_path / "bundle.zip").write_bytes(data)
        with pytest.raises(FormatError):
            BundleSource(tmp_path / "bundle.zip")
    with pytest.raises(StoreError):
        BundleSource(tmp_path / "nowhere.zip")


def test_more_members_than_a_plain_zip_can_count(tmp_path: Path) -> None:
    with (tmp_path / "large.zip").open("w+b") as file:
        writer = StoredZipWriter(file, lambda name: (0, name.encode()))
        for number in range(66_000):
            writer.add(f"{number:06}", io.BytesIO())
        writer.finish("z", io.BytesIO(b"end"))
        writer.close()
    archive = StoredZip(tmp_path / "large.zip", lambda name: (0, name.encode()))
    assert archive.count == 66_001
    last = archive.find("065999")
    assert last is not None
    assert archive.find("066000") is None
    archive.close()
    with zipfile.ZipFile(tmp_path / "large.zip") as other:
        assert other.read("z") == b"end"


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 20), st.integers(0, 1 << 40))
def test_ends_of_any_size_are_as_zipfile_reads_them(count: int, size: int, directory: int) -> None:
    end = encode_end(count, directory, size)
    assert (len(end) == 22) == (count < 0xFFFF and directory < 0xFFFFFFFF)
    assert struct.unpack("<H", end[-2:]) == (0,), "no comment"


@given(st.integers(0, 1 << 40), st.integers(0, 0xFFFFFFFE))
def test_members_far_behind_are_as_zipfile_reads_them(offset: int, size: int) -> None:
    encoded = encode_central(Member(name="objects/a", size=size, crc=1, offset=offset))
    with zipfile.ZipFile(io.BytesIO(encoded + encode_end(1, 0, len(encoded)))) as archive:
        (read,) = archive.infolist()
    assert (read.filename, read.file_size, read.header_offset) == ("objects/a", size, offset)


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "a/../b", "..", "a/.", "a\\b", "a\nb", "a\x7f", "\udcff", "k" * 2000]
)
def test_keys_that_could_do_harm_where_a_bundle_is_unpacked_are_known(key: str) -> None:
    assert not is_plain_key(key)
    assert is_plain_key("prefix with spaces/AWSLogs/ö/a..b.json.gz")
