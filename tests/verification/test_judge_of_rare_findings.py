"""What unmodified ``aws cloudtrail validate-logs`` makes of what the tamper matrix does not make: docs/findings.md's
last column for stolen keys, bombs, copies without metadata and more; with the matrix, for every code."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from opentrail.core.digests import MAX_DIGEST_BYTES, Digest, SignedDigest, decode_digest, encode_digest, sign_digest
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import TrailFolder, digest_prefix, format_digest_key, parse_digest_key
from opentrail.core.object_checks import MAX_CHECKED_BYTES
from opentrail.core.public_keys import PublicKey
from opentrail.stores.memory import MemoryStore
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
    sample_record,
    stop_record,
    store_bytes,
    store_of,
)
from opentrail.testing.static_bucket import StaticBucket, bucket_of_objects, serving
from opentrail.testing.tamper_matrix import MATRIX, touch
from opentrail.testing.trail_writer import TrailWriter
from opentrail.testing.verified_bucket import verify_bucket

HOUR = timedelta(hours=1)
JUDGE = Path(__file__).parents[1] / "faults" / "judge.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A trail, and what each of the two says of it: ours the codes, the judge the objects that it accuses."""

    objects: Objects
    ours: frozenset[tuple[FindingCode, str]] = frozenset()
    accused: frozenset[str] = frozenset()
    status: int = 0
    says: str = ""
    public_keys: tuple[PublicKey, ...] = ()
    start: datetime = START + 36 * HOUR  # twelve hours before the end
    keeps_metadata: bool = True
    asked: Mapping[str, Any] = field(default_factory=dict)  # of ours


def _digest(objects: Objects, key: str) -> Digest:
    return decode_digest(gzip.decompress(objects[key][0]))


def _object(signed: SignedDigest, metadata: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return signed.data(), {**metadata, **{f"x-amz-meta-{name}": text for name, text in signed.metadata().items()}}


def _resigned(trail: SampleTrail, key: str, **changes: object) -> Objects:
    """The trail with the digest at ``key`` changed and signed again, with the stolen key."""
    digest = replace(_digest(trail.objects, key), **changes)  # type: ignore[arg-type]  # as the test says
    return {**trail.objects, key: _object(sign_digest(digest, trail.signer.sign), trail.objects[key][1])}


def _times_contradict(trail: SampleTrail) -> Case:
    newest = trail.digests[-1]
    objects = _resigned(trail, newest, end_time=_digest(trail.objects, newest).end_time - HOUR)
    return Case(objects=objects, ours=frozenset({(FindingCode.DIGEST_TIMES_CONTRADICT, newest)}))


def _ends_before_it_begins(trail: SampleTrail) -> Case:
    newest = trail.digests[-1]
    objects = _resigned(trail, newest, start_time=_digest(trail.objects, newest).end_time + HOUR)
    return Case(objects=objects, ours=frozenset({(FindingCode.DIGEST_TIMES_CONTRADICT, newest)}))


def _forked_backfill(trail: SampleTrail) -> Case:
    last = trail.backfills[-1]
    name = parse_digest_key(last)
    text = format_digest_key(replace(name, end_time=name.end_time + HOUR))
    forged = replace(_digest(trail.objects, last), key=text, end_time=name.end_time + HOUR)
    objects = {**trail.objects, text: _object(sign_digest(forged, trail.signer.sign), trail.objects[last][1])}
    code = FindingCode.DIGEST_NOT_IN_CHAIN
    return Case(objects=objects, ours=frozenset({(code, last), (code, text)}))


def _late_backfill(trail: SampleTrail) -> Case:
    """The log file came ten days late, and by then another key signed: its owner says so, and the metadata when."""
    last = trail.backfills[-1]
    made = trail.end + timedelta(days=10)
    (key,) = trail.keys.list("us-east-1")
    later = replace(key, validity_start=made - HOUR / 2, validity_end=made + 400 * timedelta(days=1))
    digest = replace(_digest(trail.objects, last), public_key_fingerprint=key.fingerprint)
    data, metadata = _object(sign_digest(digest, trail.stranger.sign), trail.objects[last][1])
    metadata |= {"x-amz-meta-backfill-generation-timestamp": f"{made:%Y-%m-%dT%H:%M:%SZ}"}
    return Case(
        objects={**trail.objects, last: (data, metadata)},
        ours=frozenset({(FindingCode.BACKFILL_DIGEST, last)}),
        public_keys=(*trail.public_keys(), later),
        says="backfill digest files valid",
    )


def _key_not_valid(trail: SampleTrail, *, start: datetime, accused: frozenset[str]) -> Case:
    """The second key ends an hour after its first digest, the digests go on."""
    first, second = trail.public_keys()
    signed = [key for key in trail.digests if _digest(trail.objects, key).public_key_fingerprint == second.fingerprint]
    ended = parse_digest_key(signed[0]).end_time + timedelta(minutes=30)
    late = {key for key in signed if parse_digest_key(key).end_time > ended}
    late |= {trail.backfills[-1]} if parse_digest_key(trail.backfills[-1]).end_time > ended else set()
    return Case(
        objects=trail.objects,
        ours=frozenset((FindingCode.DIGEST_KEY_NOT_VALID, key) for key in late),
        public_keys=(replace(first, validity_end=trail.end + HOUR), replace(second, validity_end=ended)),
        start=start,
        accused=accused,
        status=1 if accused else 0,
    )


def _bomb_for_a_log_file(trail: SampleTrail) -> Case:
    log = trail.files[trail.full_digest(-3)][0]
    objects = {**trail.objects, log: (gzip.compress(bytes(MAX_CHECKED_BYTES + 1), 6), {})}
    ours = frozenset({(FindingCode.LOG_FILE_TOO_LARGE, log)})
    return Case(objects=objects, ours=ours, accused=frozenset({log}), status=1, says="hash value doesn't match")


def _bomb_for_a_digest(trail: SampleTrail) -> Case:
    digest = trail.full_digest(-3)
    data, metadata = trail.objects[digest]
    bomb = gzip.compress(gzip.decompress(data) + b" " * MAX_DIGEST_BYTES)
    ours = frozenset({(FindingCode.DIGEST_TOO_LARGE, digest)})
    says = "signature verification failed"
    objects = {**trail.objects, digest: (bomb, metadata)}
    return Case(objects=objects, ours=ours, accused=frozenset({digest}), status=1, says=says)


def _log_file_elsewhere(trail: SampleTrail) -> Case:
    newest = trail.full_digest(-1)
    first, *others = _digest(trail.objects, newest).log_files
    objects = _resigned(trail, newest, log_files=(replace(first, bucket="other-bucket"), *others))
    ours = frozenset({(FindingCode.LOG_FILE_UNREACHABLE, first.key)})
    return Case(objects=objects, ours=ours, status=255, says="NoSuchBucket")


def _name_of_no_time(trail: SampleTrail) -> Case:
    newest = trail.digests[-1]
    planted = f"{newest[: -len('20240508T082805Z.json.gz')]}20240508T089999Z.json.gz"
    objects = {**trail.objects, planted: trail.objects[newest]}
    ours = frozenset({(FindingCode.OBJECT_UNEXPECTED, planted)})
    return Case(objects=objects, ours=ours, status=255, says="Unable to parse date value")


def _no_metadata(trail: SampleTrail) -> Case:
    objects: Objects = {key: (data, {}) for key, (data, _) in trail.objects.items()}
    digests = {*trail.digests, *trail.backfills}
    ours = frozenset((FindingCode.DIGEST_UNSIGNED, key) for key in digests)
    return Case(objects=objects, ours=ours, accused=frozenset(digests), status=1, start=START)


def _nothing(trail: SampleTrail) -> Case:
    ours = frozenset({(FindingCode.NO_DIGESTS, digest_prefix(FOLDER))})
    return Case(objects={trail.stop: trail.objects[trail.stop]}, ours=ours, says="No digests found")


def _copy(trail: SampleTrail, ours: Mapping[FindingCode, str], **changed: bytes | None) -> Case:
    """A plain copy with some objects changed (None: without them): the judge accuses each digest that is there."""
    data = {key: changed.get(key, data) for key, (data, _) in trail.objects.items()}
    objects: Objects = {key: (content, {}) for key, content in data.items() if content is not None}
    digests = frozenset({*trail.digests, *trail.backfills} & objects.keys())
    told = frozenset(ours.items())
    return Case(objects=objects, ours=told, accused=digests, status=1, start=START, keeps_metadata=False)


def _untouched_copy(trail: SampleTrail) -> Case:
    folder = digest_prefix(FOLDER)
    told = {FindingCode.METADATA_LOST: folder, FindingCode.GAP_UNEXAMINED: folder}
    return _copy(trail, {**told, FindingCode.DIGEST_SIGNATURE_LOST: trail.digests[-1]})


def _rewritten(trail: SampleTrail, key: str, **changes: object) -> bytes:
    digest = replace(_digest(trail.objects, key), **changes)  # type: ignore[arg-type]  # as the test says
    return gzip.compress(encode_digest(digest))


def _copy_with_a_false_start(trail: SampleTrail) -> Case:
    newest = trail.digests[-1]
    changed = {newest: _rewritten(trail, newest, previous=None)}
    return _copy(trail, {FindingCode.DIGEST_LINK_UNFOUNDED: newest}, **changed)


def _copy_with_two_edited(trail: SampleTrail) -> Case:
    changed = {key: _rewritten(trail, key, log_files=()) for key in trail.digests[-2:]}
    return _copy(trail, {FindingCode.DIGEST_SIGNATURE_DISPUTED: trail.digests[-2]}, **changed)


def _copy_made_after_a_restart(trail: SampleTrail) -> Case:
    gone = {*trail.digests[trail.restart + 1 :], *trail.backfills}
    gone |= {log for key in gone for log in trail.files[key]}
    told = {FindingCode.DIGEST_START_UNPROVEN: trail.digests[trail.restart]}
    return _copy(trail, told, **dict.fromkeys(gone))


class _Written:
    """A trail of a few hours, with what a test lets happen."""

    def __init__(self, trail: SampleTrail, folder: TrailFolder = TRAIL) -> None:
        self.store = MemoryStore()
        self.now = START + 36 * HOUR
        self._signer = trail.signer
        self.writer = self.add(folder)

    def add(self, folder: TrailFolder, seed: int = 0) -> TrailWriter:
        signer, bucket = self._signer, BUCKET
        return TrailWriter(self.store, folder, bucket=bucket, signer=lambda _: signer, start=self.now, seed=seed)

    def hour(self, *records: bytes, writer: TrailWriter | None = None) -> tuple[str, str]:
        """A log file and its digest."""
        self.now += HOUR / 2
        log = (writer or self.writer).put_log_file(self.now, records)
        self.now += HOUR / 2
        return log.key, (writer or self.writer).put_digest(self.now)

    def case(self, ours: Mapping[FindingCode, str], **asked: Any) -> Case:
        keys = [info.key for info in self.store.list("")]
        objects = {key: (store_bytes(self.store, key), dict(self.store.head(key).metadata)) for key in keys}
        return Case(objects=objects, ours=frozenset(ours.items()), says="digest files valid", asked=asked)


def _moved_chain(trail: SampleTrail) -> Case:
    """The trail had another prefix."""
    written = _Written(trail, replace(TRAIL, folder=replace(FOLDER, prefix="before")))
    written.hour(sample_record(1))
    written.writer.trail = TRAIL
    _, digest = written.hour(sample_record(2))
    return replace(written.case({FindingCode.CHAIN_ELSEWHERE: digest}), says="2/2 digest files valid")


def _two_trails(trail: SampleTrail) -> Case:
    written = _Written(trail)
    written.hour(sample_record(1))
    log, digest = written.hour(sample_record(2), writer=written.add(replace(TRAIL, trail_name="other"), seed=1))
    told = {FindingCode.OTHER_TRAIL: digest, FindingCode.LOG_FILES_OF_OTHER_TRAIL: log}
    written.hour(sample_record(3))
    return written.case(told, trail_name=TRAIL.trail_name)


def _events(trail: SampleTrail) -> Case:
    written = _Written(trail)
    older = written.writer.put_log_file(START, [sample_record(0)], name=False).key
    changed, _ = written.hour(stop_record(written.now, eventName="PutEventSelectors"), sample_record(1))
    twice, _ = written.hour(sample_record(1))
    strange, _ = written.hour(b"no JSON at all")
    told = {FindingCode.TRAIL_CHANGED: changed, FindingCode.EVENT_DUPLICATED: twice}
    told |= {FindingCode.LOG_FILE_NOT_JSON: strange, FindingCode.LOG_FILES_BEFORE_DIGESTS: older}
    return written.case(told, with_events=True)


def _cases(trail: SampleTrail) -> dict[str, Case]:
    digests, backfill = trail.digests[-6:], trail.backfills[-1]
    return {
        "times-contradict": _times_contradict(trail),
        "ends-before-it-begins": _ends_before_it_begins(trail),
        "forked-backfill": _forked_backfill(trail),
        "late-backfill": _late_backfill(trail),
        "key-not-valid": _key_not_valid(trail, start=START, accused=frozenset({backfill})),
        "key-not-valid-in-all-the-range": _key_not_valid(
            trail, start=parse_digest_key(digests[0]).end_time, accused=frozenset({*digests})
        ),
        "bomb-for-a-log-file": _bomb_for_a_log_file(trail),
        "bomb-for-a-digest": _bomb_for_a_digest(trail),
        "log-file-elsewhere": _log_file_elsewhere(trail),
        "name-of-no-time": _name_of_no_time(trail),
        "no-metadata": _no_metadata(trail),
        "nothing": _nothing(trail),
        "copy": _untouched_copy(trail),
        "copy-with-a-false-start": _copy_with_a_false_start(trail),
        "copy-with-two-edited": _copy_with_two_edited(trail),
        "copy-made-after-a-restart": _copy_made_after_a_restart(trail),
        "moved-chain": _moved_chain(trail),
        "two-trails": _two_trails(trail),
        "events": _events(trail),
    }


@pytest.fixture(scope="module")
def cases(trail: SampleTrail) -> dict[str, Case]:
    return _cases(trail)


def test_ours_names_each(trail: SampleTrail, cases: dict[str, Case]) -> None:
    for name, case in cases.items():
        assert case.ours <= {(each.code, each.key) for each in _findings(trail, case)}, name


def _findings(trail: SampleTrail, case: Case) -> list[Finding]:
    keys, kept = case.public_keys or trail.public_keys(), case.keeps_metadata
    return verify_bucket(store_of(case.objects), keys, bucket=BUCKET, keeps_metadata=kept, **case.asked).findings


ELSEWHERE = {  # codes of which neither these cases nor the tamper matrix have one
    FindingCode.DIGEST_OUT_OF_ORDER,  # below: the judge does not end
    FindingCode.BUNDLE_CONTRADICTS_MANIFEST,  # test_bundle.py: the judge cannot read a bundle
    FindingCode.DIGEST_UNREACHABLE,  # test_refused_objects.py: the judge ends there
    FindingCode.FOLDER_UNREACHABLE,  # the same: the judge reads no folder
    FindingCode.FOLDERS_NOT_SEARCHED,  # test_hidden_trails.py: the same
    FindingCode.HOME_REGION_ABSENT,  # test_hidden_trails.py: the judge looks into the home region for itself
    FindingCode.EDGE_UNEXAMINED,  # test_view_edges.py: the judge reads nothing beyond the time
    FindingCode.TRAILS_TOO_MANY,  # test_crowded_folders.py: the judge is asked for one trail
}


def test_no_code_is_without_a_trail_that_both_have_read(trail: SampleTrail, cases: dict[str, Case]) -> None:
    """``tests/faults/test_tamper_matrix.py`` shows the matrix to the judge."""
    told = {each.code for case in cases.values() for each in _findings(trail, case)}
    for name in MATRIX:
        objects = touch(trail, name, seed=1).objects
        told |= {each.code for each in _findings(trail, Case(objects=objects, asked={"expected_until": trail.end}))}
    assert {*FindingCode} - told == ELSEWHERE
    assert told & ELSEWHERE == set()


def _arguments(start: datetime, end: datetime) -> list[str]:
    span = ["--start-time", f"{start:%Y-%m-%dT%H:%M:%SZ}", "--end-time", f"{end:%Y-%m-%dT%H:%M:%SZ}"]
    return ["--trail-arn", TRAIL_ARN, *span, "--s3-bucket", BUCKET, "--s3-prefix", FOLDER.prefix, "--verbose"]


def test_the_judge_says_of_each_what_the_page_says(trail: SampleTrail, cases: dict[str, Case]) -> None:
    with ExitStack() as stack:
        asked = [
            {
                "endpoint": stack.enter_context(
                    serving(bucket_of_objects(case.objects, BUCKET, case.public_keys or trail.public_keys()))
                ),
                "arguments": _arguments(case.start, trail.end),
            }
            for case in cases.values()
        ]
        done = subprocess.run(
            [require_aws("newest").with_name("python"), JUDGE],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            env=judge_environment(REGION),
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    differences = {}
    for (name, case), result in zip(cases.items(), json.loads(done.stdout), strict=True):
        accused = frozenset(re.findall(rf"file\ts3://{BUCKET}/(\S+)\tINVALID", result["stderr"]))
        if (result["status"], accused) != (case.status, case.accused) or case.says not in str(result):
            differences[name] = (case.status, case.accused, case.says, result["status"], accused, result["stderr"])
    assert differences == {}


class _Watched(StaticBucket):
    """A bucket that tells when one object is read for the third time."""

    def watch(self, key: str) -> Event:
        """Set when ``key`` has been read so often."""
        self._watched, self._reads, self._often = key.encode(), 0, Event()
        return self._often

    def answer(self, method: bytes, target: bytes, body: bytes) -> bytes:
        """Count, and answer."""
        self._reads += target.endswith(self._watched)
        if self._reads >= 3:
            self._often.set()
        return super().answer(method, target, body)


@pytest.fixture
def looped(trail: SampleTrail) -> tuple[str, Objects]:
    """A digest, signed with the stolen key, that follows itself."""
    key = trail.digests[-1]
    digest = _digest(trail.objects, key)
    assert digest.previous is not None
    return key, _resigned(trail, key, previous=replace(digest.previous, key=key))


def test_a_loop_is_named_and_the_judge_walks_in_it_for_ever(trail: SampleTrail, looped: tuple[str, Objects]) -> None:
    key, objects = looped
    told = {(each.code, each.key) for each in _findings(trail, Case(objects=objects))}
    assert (FindingCode.DIGEST_OUT_OF_ORDER, key) in told
    plain = bucket_of_objects(objects, BUCKET, trail.public_keys())
    bucket = _Watched(BUCKET, sorted(objects), plain.read, trail.public_keys())
    often = bucket.watch(key)
    with serving(bucket) as endpoint:
        judge = subprocess.Popen(
            [require_aws("newest"), "cloudtrail", "validate-logs", *_arguments(START, trail.end)],
            env={**judge_environment(REGION), "AWS_ENDPOINT_URL": endpoint},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert often.wait(30)
            assert judge.poll() is None
        finally:
            judge.kill()
            judge.wait()
