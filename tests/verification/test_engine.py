"""The fast driver finds what the plainest one finds, from whatever source and in however many processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import TrailFolder
from opentrail.testing.sample_trail import BUCKET, FOLDER, TRAIL, Objects, SampleTrail, store_of
from opentrail.testing.tamper_matrix import MATRIX, touch
from opentrail.verification.checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from opentrail.verification.copied_source import CopiedSource
from opentrail.verification.engine import Verification, VerificationStopped
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.log_file_checks import files_in_batch
from opentrail.verification.object_verdicts import ObjectKind, ObjectVerdict, counted_verdicts
from opentrail.verification.one_chain import validate_chain
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import ObjectCounts, Verdict, VerifyResult
from opentrail.verification.source import TrailSource
from opentrail.verification.store_source import StoreSource

NOW = datetime(2024, 5, 8, 12, tzinfo=UTC)
KINDS_AT_ONCE = 4


class Run:
    """A verification and what it told."""

    def __init__(
        self, source: TrailSource, trail: SampleTrail, *, resumed: Checkpoint | None = None, **wanted: Any
    ) -> None:
        self.found: list[Finding] = []
        self.chains: set[TrailFolder | None] = set()
        self.objects: list[tuple[TrailFolder, ObjectKind, str, ObjectVerdict]] = []
        self.before: list[tuple[TrailFolder, ObjectCounts, ObjectCounts]] = []
        self.stop_after = -1
        self.verification = Verification(
            source,
            VerifyRequest(**({"account_ids": frozenset({FOLDER.account_id})} | wanted)),
            trail.public_keys(),
            on_finding=self._add,
            checked_at=NOW,
            clock=time.monotonic,
            resumed=resumed,
            objects=self,
        )

    def add_object(self, trail: TrailFolder, kind: ObjectKind, key: str, verdict: ObjectVerdict) -> None:
        self.objects.append((trail, kind, key, verdict))

    def add_checked_before(self, trail: TrailFolder, digests: ObjectCounts, log_files: ObjectCounts) -> None:
        self.before.append((trail, digests, log_files))

    def told(self, trail: TrailFolder, kind: ObjectKind) -> ObjectCounts:
        """What the lines of a chain add up to, with those of a run before."""
        verdicts = [each[3] for each in self.objects if each[:2] == (trail, kind)]
        before = [(digests, files) for of, digests, files in self.before if of == trail]
        counts = [digests if kind is ObjectKind.DIGEST else files for digests, files in before]
        return sum(counts, counted_verdicts(len(verdicts), verdicts))

    def _add(self, chain: TrailFolder | None, finding: Finding) -> None:
        self.found.append(finding)
        self.chains.add(chain)
        if len(self.found) == self.stop_after:
            self.verification.stop()

    def run(self) -> VerifyResult:
        return self.verification.run()


def memory(objects: Objects, *, reads_at_once: int = 1, keeps_metadata: bool = True) -> StoreSource:
    return StoreSource(
        lambda: store_of(objects),
        name="memory",
        bucket=BUCKET,
        reads_at_once=reads_at_once,
        keeps_metadata=keeps_metadata,
    )


def plain(trail: SampleTrail, objects: Objects) -> list[Finding]:
    store = store_of(objects)
    return list(validate_chain(store, TRAIL, bucket=BUCKET, public_keys=trail.public_keys(), expected_until=trail.end))


def shown(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return sorted((finding.code.value, finding.key, finding.message) for finding in findings)


@pytest.mark.parametrize("name", sorted(MATRIX))
def test_it_agrees_with_the_plain_driver_on_the_tamper_matrix(trail: SampleTrail, name: str) -> None:
    objects = touch(trail, name, seed=1).objects
    expected = shown(plain(trail, objects))
    for reads_at_once in (1, 4):
        run = Run(memory(objects, reads_at_once=reads_at_once), trail, expected_until=trail.end)
        result = run.run()
        found = [finding for finding in run.found if finding.code is not FindingCode.NO_DIGESTS or result.chains]
        if result.chains:
            assert shown(found) == expected, reads_at_once
        else:
            assert result.verdict is not Verdict.VALID
        assert sum(result.findings.values()) == len(run.found)


@pytest.mark.parametrize("first", range(0, len(MATRIX), KINDS_AT_ONCE))
def test_processes_find_what_one_process_finds(trail: SampleTrail, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Every kind of tampering, some at once: from a source that is read at once and from one that is waited for."""
    monkeypatch.setattr("opentrail.verification.worker_processes._SMALL", 0)
    kinds = sorted(MATRIX)[first : first + KINDS_AT_ONCE]
    objects = touch(trail, *kinds, seed=first).objects
    for reads_at_once in (1, 4):
        alone = Run(memory(objects, reads_at_once=reads_at_once), trail, jobs=1)
        together = Run(memory(objects, reads_at_once=reads_at_once), trail, jobs=2)
        one, two = alone.run(), together.run()
        assert alone.found == together.found, "in the same order, too"
        assert one.chains == two.chains
        assert one.findings == two.findings


def _without_metadata(objects: Objects) -> Objects:
    return {key: (data, {}) for key, (data, _) in objects.items()}


@pytest.mark.parametrize("first", range(0, len(MATRIX), KINDS_AT_ONCE))
@pytest.mark.parametrize("is_kept", [True, False])
def test_the_verdicts_on_objects_add_up_to_the_counts(
    trail: SampleTrail, monkeypatch: pytest.MonkeyPatch, first: int, is_kept: bool
) -> None:
    monkeypatch.setattr("opentrail.verification.worker_processes._SMALL", 0)
    touched = touch(trail, *sorted(MATRIX)[first : first + KINDS_AT_ONCE], seed=first + 7).objects
    source = partial(memory, touched if is_kept else _without_metadata(touched), keeps_metadata=is_kept)
    runs = [Run(source(reads_at_once=reads), trail, jobs=jobs) for reads, jobs in ((1, 1), (1, 2), (4, 1))]
    for run in runs:
        for chain in run.run().chains:
            assert run.told(chain.trail, ObjectKind.DIGEST) == chain.digests
            assert run.told(chain.trail, ObjectKind.LOG_FILE) == chain.log_files
            assert sum(signed.digests for signed in chain.signed_by) == chain.digests.valid
            assert {signed.fingerprint for signed in chain.signed_by} <= {
                key.fingerprint for key in trail.public_keys()
            }
        assert run.objects == runs[0].objects, "in the same order, too"


def test_verdicts_come_in_the_order_of_the_walk_and_a_digest_behind_its_log_files(trail: SampleTrail) -> None:
    run = Run(memory(trail.objects), trail, jobs=1)
    run.run()
    told = [key for _, _, key, _ in run.objects]
    ordinary = [key for key in told if key in trail.digests]
    assert ordinary == sorted(ordinary)
    for digest, files in trail.files.items():
        assert all(told.index(file) < told.index(digest) for file in files)


def test_a_batch_is_of_many_small_log_files_or_of_one_large_one() -> None:
    assert files_in_batch(0, 0) == 1, "nothing is known yet"
    assert files_in_batch(100, 100 * 10_000) == 32
    assert files_in_batch(3, 3 * 300_000) == 3
    assert files_in_batch(2, 2 * 5_000_000) == 1


def test_an_untouched_trail_is_valid_and_counted(trail: SampleTrail, lay: Callable[[Objects], Path]) -> None:
    run = Run(FolderSource(str(lay(trail.objects))), trail, account_ids=frozenset())
    result = run.run()
    assert result.verdict is Verdict.VALID, run.found
    assert result.exit_code == 0
    mine, foreign = result.chains
    assert mine.trail == TRAIL
    assert mine.bucket == BUCKET, "as the digests themselves say"
    assert mine.digests.total == mine.digests.valid == len(trail.digests) + len(trail.backfills)
    assert mine.log_files.valid == mine.log_files.total == sum(map(len, trail.files.values()))
    assert mine.log_bytes > 0
    assert mine.covered is not None
    assert mine.covered.end == trail.end
    assert len(mine.stopped) == 1, "it was stopped once"
    assert foreign.trail.folder.account_id == "444455556666"


def test_a_plain_copy_lets_the_newest_digest_go_unproven(trail: SampleTrail, tmp_path: Path) -> None:
    for key, (data, _) in trail.objects.items():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    run = Run(FolderSource(str(tmp_path)), trail)
    result = run.run()
    assert result.exit_code == 0, run.found
    codes = {finding.code for finding in run.found}
    assert FindingCode.METADATA_LOST in codes
    assert FindingCode.DIGEST_SIGNATURE_LOST in codes


def test_a_copy_elsewhere_is_checked_under_the_names_it_was_delivered_under(
    trail: SampleTrail, lay: Callable[[Objects], Path]
) -> None:
    moved = {f"copies/of/{key.removeprefix('audit/')}": found for key, found in trail.objects.items()}
    folder = FolderSource(str(lay(moved)))
    source = CopiedSource(folder, prefix="copies/of/", bucket=BUCKET, original_prefix="audit/")
    run = Run(source, trail, original_bucket=BUCKET)
    assert run.run().exit_code == 0, run.found
    assert list(source.list_keys("")) == sorted(trail.objects)
    assert source.list_folders("") == ["audit/"]
    after = sorted(trail.objects)[5]
    assert list(source.list_keys("audit/", start_after=after)) == sorted(trail.objects)[6:]
    assert list(source.list_keys("zoo/")) == []


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("reads_at_once", [1, 4])
def test_a_listener_that_fails_ends_the_run(trail: SampleTrail, jobs: int, reads_at_once: int) -> None:
    """Whoever read the output went away: it is noticed in whichever thread a log file's check ended."""
    run = Run(memory(trail.objects, reads_at_once=reads_at_once), trail, jobs=jobs)
    outcome: list[BaseException] = []

    def fail(_trail: TrailFolder, kind: ObjectKind, *_: object) -> None:
        if kind is ObjectKind.LOG_FILE:
            raise BrokenPipeError

    def work() -> None:
        with pytest.raises(BrokenPipeError) as raised:
            run.run()
        outcome.append(raised.value)

    run.add_object = fail  # type: ignore[method-assign, assignment]  # a listener, too
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert outcome, "it hangs"


@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_a_run_that_goes_on_ends_as_one_that_was_never_stopped(
    trail: SampleTrail, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    monkeypatch.setattr("opentrail.verification.log_file_checks.BATCH_FILES", 3)
    objects = {key: found for key, found in trail.objects.items() if not key.endswith("Q.json.gz")}
    for key in sorted(key for key in objects if "/CloudTrail/" in key)[::5]:
        objects[key] = (objects[key][0][:-3], {})
    whole = Run(memory(objects), trail, account_ids=frozenset())
    expected = whole.run()
    stopped = Run(memory(objects), trail, account_ids=frozenset())
    stopped.stop_after = stop_after
    with pytest.raises(VerificationStopped):
        stopped.run()
    checkpoint = decode_checkpoint(encode_checkpoint(stopped.verification.checkpoint()))
    assert checkpoint == stopped.verification.checkpoint() or checkpoint.seconds > 0
    assert stop_after == 1 or checkpoint.partial or checkpoint.finished
    again = Run(memory(objects), trail, account_ids=frozenset(), resumed=checkpoint)
    result = again.run()
    assert again.found == whole.found
    assert result.chains == expected.chains
    assert result.findings == expected.findings
    assert len(again.before) == len(checkpoint.finished) + len(checkpoint.partial)
    for chain in result.chains:
        assert again.told(chain.trail, ObjectKind.DIGEST) == chain.digests
        assert again.told(chain.trail, ObjectKind.LOG_FILE) == chain.log_files
        before = [log_files.total for of, _, log_files in again.before if of == chain.trail]
        told_then = [each for each in stopped.objects if each[:2] == (chain.trail, ObjectKind.LOG_FILE)]
        assert sum(before) == len(told_then), "not one is told by neither"


def test_a_chain_that_changed_meanwhile_is_begun_anew(trail: SampleTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opentrail.verification.log_file_checks.BATCH_FILES", 3)
    damaged = dict(trail.objects)
    for key in sorted(key for key in damaged if "/CloudTrail/" in key)[::5]:
        damaged[key] = (damaged[key][0][:-3], {})
    stopped = Run(memory(damaged), trail)
    stopped.stop_after = 6
    with pytest.raises(VerificationStopped):
        stopped.run()
    checkpoint = stopped.verification.checkpoint()
    assert checkpoint.partial
    without = {key: found for key, found in damaged.items() if key != trail.full_digest(0)}
    fresh, again = Run(memory(without), trail), Run(memory(without), trail, resumed=checkpoint)
    expected = fresh.run()
    assert again.run().chains == expected.chains
    assert again.found == fresh.found


def test_a_checkpoint_of_another_run_is_refused(trail: SampleTrail) -> None:
    checkpoint = Run(memory(trail.objects), trail).verification.checkpoint()
    with pytest.raises(Exception, match="another verification"):
        Run(memory(trail.objects), trail, start=NOW - timedelta(days=2), resumed=checkpoint)


def test_what_lies_behind_links_is_not_read(trail: SampleTrail, lay: Callable[[Objects], Path], tmp_path: Path) -> None:
    folder = lay(trail.objects)
    outside = tmp_path / "outside"
    outside.mkdir()
    log, digest = trail.files[trail.full_digest(2)][0], trail.digests[-1]
    (folder / log).rename(outside / "log")
    (folder / log).symlink_to(outside / "log")
    (folder / digest).unlink()
    os.mkfifo(folder / digest)
    run = Run(FolderSource(str(folder)), trail, original_bucket=BUCKET)
    result = run.run()
    found = {(finding.code, finding.key) for finding in run.found}
    assert (FindingCode.LOG_FILE_MISSING, log) in found
    assert (FindingCode.DIGEST_MISSING, digest) in found
    assert result.exit_code == 1


def test_events_in_two_log_files_are_found_when_asked_for(trail: SampleTrail) -> None:
    run = Run(memory(trail.objects), trail, with_events=True)
    assert run.run().exit_code == 0
