"""Digests and folders that lie there and cannot be read: each is named, nobody is accused, and all else is verified."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.cli.main import main
from opentrail.core.errors import FormatError, StoreError
from opentrail.core.findings import Finding, FindingCode, Severity
from opentrail.core.layout import Folder, OtherDigestPattern, TrailFolder, digest_prefix, parse_digest_key
from opentrail.testing.sample_trail import BUCKET, FOLDER, Objects, SampleTrail, store_of
from opentrail.testing.static_bucket import StaticBucket, bucket_of_objects, serving
from opentrail.verification.checkpoint import Checkpoint
from opentrail.verification.engine import Verification
from opentrail.verification.refusals import list_readable
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import Verdict, VerifyResult
from opentrail.verification.source import OnKey, SourceObject, TrailSource, ignore_key
from opentrail.verification.store_source import StoreSource
from opentrail.verification.wrapped_source import WrappedSource

Lay = Callable[[Objects], Path]
Said = tuple[int, list[dict[str, Any]], str]
DIGESTS: Final = f"audit/AWSLogs/{FOLDER.account_id}/CloudTrail-Digest/{FOLDER.region}/"
_FORBIDDEN: Final = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class RefusingSource(WrappedSource):
    """A source that refuses the objects in ``keys``, and every listing that comes to one of ``folders``."""

    def __init__(self, source: TrailSource, keys: Iterable[str] = (), folders: Iterable[str] = ()) -> None:
        super().__init__(source)
        self._keys = frozenset(keys)
        self._folders = tuple(folders)

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        for key in self._source.list_keys(prefix, start_after=start_after):
            if key.startswith(self._folders):
                raise StoreError("forbidden", retryable=False)
            yield key

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        if prefix.startswith(self._folders):
            raise StoreError("forbidden", retryable=False)
        return self._source.list_folders(prefix, beside=beside)

    def read(self, key: str, *, limit: int) -> SourceObject:
        if key in self._keys:
            raise StoreError("forbidden", retryable=False)
        return self._source.read(key, limit=limit)

    def read_chunks(self, key: str) -> Iterator[bytes]:
        if key in self._keys:
            raise StoreError("forbidden", retryable=False)
        return self._source.read_chunks(key)

    def sibling(self, bucket: str) -> TrailSource | None:
        return self._source.sibling(bucket)


class RefusingBucket(StaticBucket):
    """A bucket that answers 403 for the objects in ``forbidden``, and half a body for those in ``broken``."""

    forbidden: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    is_overloaded = False

    def answer(self, method: bytes, target: bytes, body: bytes) -> bytes:
        key = target.decode().partition("?")[0].removeprefix(f"/{BUCKET}/")
        if self.is_overloaded and key.endswith(".gz"):
            return b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
        if key in self.forbidden:
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(_FORBIDDEN), _FORBIDDEN)
        if key in self.broken:
            return b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
        return super().answer(method, target, body)


@pytest.fixture(autouse=True)
def _resume_files_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def verified(
    trail: SampleTrail,
    *,
    objects: Objects | None = None,
    keys: Iterable[str] = (),
    folders: Iterable[str] = (),
    kept: bool = True,
    jobs: int = 1,
    at_once: int = 1,
    **asked: Any,
) -> tuple[VerifyResult, list[Finding]]:
    """Verify the sample trail (or ``objects``) of which that is refused."""
    store = store_of(trail.objects if objects is None else objects)
    source = StoreSource(lambda: store, name="memory", bucket=BUCKET, keeps_metadata=kept, reads_at_once=at_once)
    found: list[Finding] = []
    verification = Verification(
        RefusingSource(source, keys, folders),
        VerifyRequest(asked_at=trail.end, jobs=jobs, **asked),
        trail.public_keys(),
        on_finding=lambda _, finding: found.append(finding),
        checked_at=trail.end,
        clock=lambda: 0.0,
    )
    return verification.run(), found


def of_code(found: Iterable[Finding], code: FindingCode) -> list[str]:
    return [finding.key for finding in found if finding.code is code]


def accused(found: Iterable[Finding]) -> list[Finding]:
    return [each for each in found if each.severity is Severity.ERROR or each.code is FindingCode.GAP_UNEXPLAINED]


def assert_only_unread(result: VerifyResult, found: list[Finding], keys: Iterable[str]) -> None:
    """Those are named, nobody is accused, and what can be known of the others is known."""
    assert sorted(of_code(found, FindingCode.DIGEST_UNREACHABLE)) == sorted(keys)
    assert not accused(found), accused(found)
    assert not of_code(found, FindingCode.LOG_FILE_NOT_NAMED)
    assert (result.verdict, result.exit_code) == (Verdict.NOT_CHECKED, 2)


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("which", [slice(1), slice(-1, None), slice(4, 5), slice(4, 9), slice(5), slice(-4, None)])
def test_what_is_refused_is_named_and_the_chain_goes_on(trail: SampleTrail, which: slice, at_once: int) -> None:
    unread = trail.digests[which]
    result, found = verified(trail, keys=unread, at_once=at_once, end=trail.end)
    assert_only_unread(result, found, unread)
    chain = result.chains[0]
    total = len(trail.digests) + len(trail.backfills)
    assert (chain.digests.total, chain.digests.unchecked) == (total, len(unread))
    assert chain.digests.valid == total - len(unread)
    lost = {log for digest in unread for log in trail.files[digest]}
    assert set(of_code(found, FindingCode.LOG_FILE_UNPROVEN)) <= lost
    assert chain.log_files.valid == chain.log_files.total == sum(map(len, trail.files.values())) - len(lost)


@pytest.mark.parametrize("kept", [True, False])
def test_of_a_chain_of_which_nothing_can_be_read_nothing_is_said(trail: SampleTrail, kept: bool) -> None:
    unread = [*trail.digests, *trail.backfills]
    result, found = verified(trail, keys=unread, kept=kept, end=trail.end + timedelta(hours=9))
    assert_only_unread(result, found, unread)
    assert result.chains[0].verdict is Verdict.NOT_CHECKED
    assert (result.chains[0].digests.unchecked, result.chains[0].digests.valid) == (len(unread), 0)


@settings(max_examples=25)
@given(data=st.data())
def test_whatever_is_refused_nobody_is_accused_for_it(trail: SampleTrail, data: st.DataObject) -> None:
    all_of_them = [*trail.digests, *trail.backfills]
    unread = {all_of_them[at] for at in data.draw(st.lists(st.integers(0, len(all_of_them) - 1), min_size=1))}
    kept = data.draw(st.booleans())
    start, end = data.draw(st.sampled_from([(None, None), (None, trail.end), (trail.end - timedelta(hours=30), None)]))
    result, found = verified(trail, keys=unread, kept=kept, start=start, end=end)
    assert not accused(found), accused(found)
    assert not of_code(found, FindingCode.LOG_FILE_NOT_NAMED)
    told = set(of_code(found, FindingCode.DIGEST_UNREACHABLE))
    assert told <= unread
    assert result.exit_code == (2 if told else 0)


@settings(max_examples=25)
@given(data=st.data())
def test_what_is_tampered_with_beside_it_is_accused_all_the_same(trail: SampleTrail, data: st.DataObject) -> None:
    unread = data.draw(st.sets(st.sampled_from(trail.digests), min_size=1, max_size=4))
    named = sorted(log for digest in set(trail.digests) - unread for log in trail.files[digest])
    tampered = data.draw(st.sampled_from([*named, *sorted(set(trail.digests) - unread)]))
    objects = {**trail.objects, tampered: (b"x", trail.objects[tampered][1])}
    result, found = verified(trail, objects=objects, keys=unread)
    assert {finding.key for finding in accused(found)} == {tampered}
    assert (result.verdict, result.exit_code) == (Verdict.TAMPERED, 1)
    assert set(of_code(found, FindingCode.DIGEST_UNREACHABLE)) == unread


@pytest.mark.parametrize("kept", [True, False])
def test_who_stopped_logging_may_stand_in_what_cannot_be_read(trail: SampleTrail, kept: bool) -> None:
    result, found = verified(trail, keys=[trail.digests[trail.restart - 1]], kept=kept)
    assert not accused(found)
    assert of_code(found, FindingCode.GAP_UNEXAMINED)
    assert result.exit_code == 2
    result, found = verified(trail, keys=[trail.stop], kept=kept)
    assert of_code(found, FindingCode.GAP_UNEXAMINED) or not kept
    assert not accused(found)


def test_a_gap_elsewhere_is_not_excused(trail: SampleTrail) -> None:
    gone = {*trail.files[trail.digests[trail.restart - 1]], trail.digests[trail.restart - 1]}
    objects = {key: value for key, value in trail.objects.items() if key not in gone}
    result, found = verified(trail, objects=objects, keys=[trail.digests[3]])
    assert of_code(found, FindingCode.GAP_UNEXPLAINED)
    assert result.exit_code == 1


def test_a_witness_that_cannot_be_read_is_missed(trail: SampleTrail) -> None:
    """The newest digest of the time in view was removed, and the one behind it, which would say so, is refused."""
    removed, witness = trail.digests[-3], trail.digests[-2]
    objects = {key: value for key, value in trail.objects.items() if key not in {removed, trail.digests[-1]}}
    end = parse_digest_key(removed).end_time
    result, found = verified(trail, objects=objects, end=end)
    assert of_code(found, FindingCode.DIGEST_MISSING) == [removed]
    result, found = verified(trail, objects=objects, keys=[witness], end=end)
    assert_only_unread(result, found, [witness])
    assert result.chains[0].digests.unchecked == 1
    last = replace(result.chains[0].digests, total=0, valid=0)
    assert (last.invalid, last.missing) == (0, 0)


def test_a_day_that_cannot_be_listed_is_named_and_the_others_are_verified(trail: SampleTrail) -> None:
    days = sorted({key.rpartition("/")[0] + "/" for key in trail.digests})
    for day in days:
        result, found = verified(trail, folders=[day], expected_until=trail.end)
        assert of_code(found, FindingCode.FOLDER_UNREACHABLE) == [day]
        assert not accused(found), (day, accused(found))
        assert not of_code(found, FindingCode.NO_DIGESTS)
        assert (result.verdict, result.exit_code) == (Verdict.NOT_CHECKED, 2)
        assert result.chains[0].verdict is Verdict.NOT_CHECKED
        assert result.chains[0].digests.valid > 5
    logs = days[1].replace("CloudTrail-Digest", "CloudTrail")
    result, found = verified(trail, folders=[logs])
    assert of_code(found, FindingCode.FOLDER_UNREACHABLE) == [logs]
    assert (result.exit_code, accused(found)) == (2, [])
    assert result.chains[0].log_files.unchecked == 0


def test_newest_digests_are_cut_off_also_where_an_older_day_cannot_be_listed(trail: SampleTrail) -> None:
    first, *_, last = sorted({key.rpartition("/")[0] + "/" for key in trail.digests})
    objects = {key: value for key, value in trail.objects.items() if not key.startswith(last)}
    result, found = verified(trail, objects=objects, folders=[first], expected_until=trail.end)
    assert of_code(found, FindingCode.CHAIN_CUT_OFF)
    assert result.exit_code == 1


@pytest.mark.parametrize("depth", [3, 4, 5, 6])  # the account, the kind, the region, the year
def test_a_folder_above_the_days_is_named_and_the_other_chains_are_verified(trail: SampleTrail, depth: int) -> None:
    folder = "/".join(trail.digests[0].split("/")[:depth]) + "/"
    result, found = verified(trail, folders=[folder], account_ids=frozenset({FOLDER.account_id, "444455556666"}))
    assert of_code(found, FindingCode.FOLDER_UNREACHABLE) == [folder]
    assert not accused(found)
    assert not of_code(found, FindingCode.NO_DIGESTS)
    assert result.exit_code == 2
    assert [chain.trail.folder.account_id for chain in result.chains] == ["444455556666"]
    assert result.chains[0].digests.valid == 1


def test_what_cannot_be_listed_at_all_ends_the_run(trail: SampleTrail) -> None:
    with pytest.raises(StoreError, match="forbidden"):
        verified(trail, folders=[""])


def said(capsys: pytest.CaptureFixture[str], keys: Path, *words: str) -> Said:
    """What the command says in JSON, on stdout and beside."""
    code = main(["verify", *words, "--public-keys", str(keys), "--json"])
    answer = capsys.readouterr()
    return code, [json.loads(line) for line in answer.out.splitlines()], answer.err


@pytest.fixture
def bucket(trail: SampleTrail, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RefusingBucket, list[str]]]:
    """The trail on a server, and the words that name it."""
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": FOLDER.region}.items():
        monkeypatch.setenv(name, value)
    plain = bucket_of_objects(trail.objects, BUCKET, trail.public_keys())
    refusing = RefusingBucket(BUCKET, sorted(trail.objects), plain.read, trail.public_keys())
    with serving(refusing) as url:
        yield refusing, [f"s3://{BUCKET}", "--endpoint-url", url, "--account-id", FOLDER.account_id]


def test_a_bucket_forbids_a_digest(
    trail: SampleTrail, keys: Path, bucket: tuple[RefusingBucket, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    server, words = bucket
    unread = trail.full_digest(2)
    server.forbidden = frozenset({unread})
    code, lines, _ = said(capsys, keys, *words, "--verbose", "--report", "report.json")
    assert code == 2
    (finding,) = (line for line in lines if line.get("code") == "digest-unreachable")
    assert (finding["key"], finding["severity"], finding["concern"]) == (unread, "warning", "coverage")
    assert "AccessDenied" in finding["message"]
    assert "s3:GetObject" in finding["message"]
    assert not [line for line in lines if line.get("severity") == "error"]
    verdicts = {line["key"]: line["verdict"] for line in lines if line["type"] == "object"}
    assert verdicts[unread] == "unchecked"
    assert sum(verdict == "valid" for verdict in verdicts.values()) == len(verdicts) - 1
    assert any("not read: 1 digest" in text for text in lines[-1]["reservations"])
    report = json.loads(Path("report.json").read_bytes())
    assert [each["key"] for each in report["findings"] if each["code"] == "digest-unreachable"] == [unread]


def test_one_object_that_the_server_always_fails_for_is_told_from_a_server_that_fails(
    trail: SampleTrail,
    keys: Path,
    bucket: tuple[RefusingBucket, list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opentrail.verification.aws_client._FIRST_PAUSE_SECONDS", 0.001)
    server, words = bucket
    digest, log = trail.full_digest(2), trail.files[trail.full_digest(5)][0]
    server.broken = frozenset({digest, log})
    code, lines, _ = said(capsys, keys, *words)
    told = {line["code"]: line["key"] for line in lines if line.get("concern") == "coverage"}
    assert (code, told) == (2, {"digest-unreachable": digest, "log-file-unreachable": log})
    server.is_overloaded = True
    code, lines, err = said(capsys, keys, *words)
    assert code == 2
    assert lines[-1]["type"] == "stopped"
    assert "503" in err
    assert not [line for line in lines if line.get("concern") == "coverage"]


def replace_by_link(folder: Path, elsewhere: Path) -> None:
    shutil.move(folder, elsewhere)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize(
    "place", [("store", 3, True), ("store", 5, False), *product(("copy",), range(1, 9), (False,)), ("copy", 8, True)]
)
def test_a_link_in_the_place_of_a_folder_is_not_followed_and_said_plainly(  # noqa: PLR0917  fixtures
    trail: SampleTrail,
    lay: Lay,
    keys: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    place: tuple[str, int, bool],
) -> None:
    """From the prefix down to a day; in a bucket of the local store, and in a plain copy."""
    kind, depth, is_dangling = place
    root = lay(trail.objects)
    if kind == "copy":
        root = tmp_path / "copy"
        for key, (data, _) in trail.objects.items():
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(data)
    name = "/".join(trail.digests[0].split("/")[:depth])
    replace_by_link(root / name, tmp_path / "elsewhere")
    if is_dangling:
        shutil.rmtree(tmp_path / "elsewhere")
    code, lines, err = said(capsys, keys, str(root), "--original-bucket", BUCKET)
    told = [line for line in lines if line.get("code") == "folder-unreachable"]
    assert [line["key"] for line in told] == [f"{name}/"], (lines, err)
    assert "symbolic link" in told[0]["message"]
    assert code == 2
    assert not [line for line in lines if line.get("severity") == "error"]


def test_log_files_behind_a_link_are_not_called_missing(
    trail: SampleTrail, lay: Lay, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay(trail.objects)
    log = trail.files[trail.full_digest(0)][0]
    day = log.rpartition("/")[0]
    replace_by_link(root / day, tmp_path / "elsewhere")
    code, lines, _ = said(capsys, keys, str(root))
    codes = {line["code"] for line in lines if line["type"] == "finding" and line["severity"] != "info"}
    assert code == 2
    assert {"folder-unreachable", "log-file-unreachable"} <= codes
    assert not [line for line in lines if line.get("severity") == "error"]


def test_a_bundle_says_what_could_not_be_read(
    trail: SampleTrail, keys: Path, bucket: tuple[RefusingBucket, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    server, words = bucket
    unread = trail.full_digest(2)
    server.forbidden = frozenset({unread})
    start = parse_digest_key(trail.digests[0]).end_time
    span = ["--start", start.date().isoformat(), "--end", f"{trail.end:%Y-%m-%dT%H:%M:%SZ}"]
    code = main(["evidence", *words, *span, "--public-keys", str(keys), "-o", "evidence.zip"])
    assert code == 2
    capsys.readouterr()
    assert main(["verify", "evidence.zip", "--jobs", "1", "--json"]) == 2
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["key"] for line in told if line.get("code") == "digest-unreachable"] == [unread]
    assert not [line for line in told if line.get("severity") == "error"], "nobody is accused for it"
    with zipfile.ZipFile("evidence.zip") as archive:
        lines = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
        report = archive.read("report.html").decode()
    (why,) = (line["why"] for line in lines if line.get("leftOut") == unread)
    assert "cannot be read" in why
    assert "AccessDenied" in why
    assert unread in report


@pytest.mark.parametrize("number", [0, -1])
def test_a_run_that_was_interrupted_tells_the_same_of_what_cannot_be_read(trail: SampleTrail, number: int) -> None:
    """The first chain is finished, or the second one is under way, when it is interrupted."""
    unread = [trail.full_digest(number), trail.digests[trail.restart - 1]]

    def begun(found: list[Finding], resumed: Checkpoint | None = None) -> Verification:
        store = trail.store()
        return Verification(
            RefusingSource(StoreSource(lambda: store, name="memory", bucket=BUCKET), unread),
            VerifyRequest(asked_at=trail.end, jobs=1),
            trail.public_keys(),
            on_finding=lambda _, finding: found.append(finding),
            checked_at=trail.end,
            clock=lambda: 0.0,
            resumed=resumed,
        )

    whole: list[Finding] = []
    first = begun(whole)
    result = first.run()
    again: list[Finding] = []
    second = begun(again, first.checkpoint()).run()
    assert sorted(map(repr, again)) == sorted(map(repr, whole))
    assert replace(second, seconds=0.0) == replace(result, seconds=0.0)


def test_a_disk_that_was_taken_off_ends_the_run(
    trail: SampleTrail, lay: Lay, keys: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone when half of the log files are read: that is no finding for each of the others."""
    root = lay(trail.objects)
    real, late = os.open, min(trail.files[trail.full_digest(5)]).rpartition("/")[2]
    is_gone = False

    def fail(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        nonlocal is_gone
        if not is_gone and path == late:
            root.rename(root.with_name("elsewhere"))
            is_gone = True
        if is_gone:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fail)
    code, lines, err = said(capsys, keys, str(root), "--jobs", "1", "--account-id", FOLDER.account_id)
    assert code == 2
    assert lines[-1]["type"] == "stopped"
    assert "not there any more" in err
    assert not [line for line in lines if line.get("severity") == "error" or line.get("concern") == "coverage"]


PLACES: Final = [f"{year}/{month:02}/{day:02}" for year in (2024, 2025) for month in (1, 2) for day in (1, 2, 3)]


@settings(max_examples=40)
@given(
    refused=st.sets(st.sampled_from([*PLACES, "2024/01", "2025", "2025/02"]), max_size=4),
    after=st.sampled_from(["", "2024/01/02", "2024/01/02/b", "2024/01/03/z", "2025/02"]),
    before=st.sampled_from([None, "2025/02/02", "2024/02/01", "2025/01/01/a"]),
)
def test_every_key_is_listed_that_does_not_lie_in_a_refused_folder(
    refused: set[str], after: str, before: str | None
) -> None:
    keys = sorted(["p/", "p/2024/01/x", "p/2026", "p/zz", *(f"p/{place}/{name}" for place in PLACES for name in "abc")])
    store = store_of({key: (b"", {}) for key in keys if not key.endswith("/")})
    folders = [f"p/{folder}/" for folder in refused]
    source = RefusingSource(StoreSource(lambda: store, name="memory", bucket="b"), folders=folders)
    start, end = f"p/{after}" if after else "", f"p/{before}" if before else None
    listed = list(list_readable(source, "p/", start_after=start, before=end))
    wanted = [
        key
        for key in keys[1:]
        if key > start and (end is None or key < end) and not any(key.startswith(folder) for folder in folders)
    ]
    assert [key for key in listed if isinstance(key, str)] == wanted
    told = [each.key for each in listed if isinstance(each, Finding)]
    assert len(told) == len(set(told))
    assert all(folder.startswith(tuple(folders)) for folder in told)


@given(
    name=st.sampled_from(["main", "main_eu-west-1", "other", "main_eu-west-1_20240506", "m"]),
    home=st.sampled_from(["eu-west-1", "us-east-1"]),
    time=st.sampled_from(["20240506T101112", "20240506T241112", "20240231T101112", "20240507T101112"]),
    end=st.sampled_from([".json.gz", "_backfill.json.gz", ".json"]),
)
def test_what_is_passed_over_quickly_is_a_digest_of_another_trail(name: str, home: str, time: str, end: str) -> None:
    folder = Folder(account_id="111122223333", region="eu-west-1")
    own = TrailFolder(folder=folder, trail_name="main", home_region="eu-west-1")
    day = f"{time[:4]}/{time[4:6]}/06"
    text = f"{digest_prefix(folder)}{day}/111122223333_CloudTrail-Digest_eu-west-1_{name}_{home}_{time}Z{end}"
    if OtherDigestPattern(own).is_sure(text):
        assert parse_digest_key(text).trail.folder == folder
        assert parse_digest_key(text).trail != own
    else:
        with suppress(FormatError):
            assert parse_digest_key(text).trail == own
