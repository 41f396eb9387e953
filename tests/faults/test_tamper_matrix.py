"""The tamper matrix, read by us and by unmodified ``aws cloudtrail validate-logs``.

Ours must name the damaged object and accuse nothing else, wherever the damage is and with whatever else it comes; the
judge must agree but for what a kind of tampering says that it misses.
The judge runs in the newest AWS CLI, which is installed with the tests, and in the one that ``OPENTRAIL_AWSCLI_OLD``
(path of an ``aws`` executable, 1.45.11) names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.digests import decode_digest
from opentrail.core.findings import RULES, Concern, Finding, FindingCode, Severity
from opentrail.core.gzip_member import decode_member
from opentrail.core.layout import parse_digest_key
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.testing.aws_cli import judge_environment, require_aws
from opentrail.testing.sample_trail import (
    BUCKET,
    FOLDER,
    REGION,
    START,
    TRAIL_ARN,
    SampleTrail,
    build_sample_trail,
    store_of,
)
from opentrail.testing.static_bucket import bucket_of_objects, serving
from opentrail.testing.tamper_matrix import MATRIX, touch
from opentrail.testing.verified_bucket import verify_bucket
from opentrail.verification.result import Verdict

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
    keys, mine = trail.public_keys(), frozenset({FOLDER.account_id})
    store = store_of(touched.objects)
    verified = verify_bucket(store, keys, bucket=BUCKET, account_ids=mine, expected_until=trail.end)
    if not verified.result.chains:  # no digest is left to find a chain by
        assert verified.result.exit_code == 1
        assert {code for code, _ in touched.errors} == {FindingCode.CHAIN_CUT_OFF}
        return
    assert _of(verified.findings, Severity.ERROR) == touched.errors
    assert _of(verified.findings, Severity.WARNING) == touched.warnings
    speak = {RULES[code].concern for code, _ in touched.errors | touched.warnings} - {Concern.NOTE}
    assert (verified.result.exit_code, verified.result.chains[0].verdict is Verdict.VALID) == (bool(speak), not speak)


@pytest.mark.parametrize("name", MATRIX)
def test_ours_names_the_damage_and_accuses_nothing_else(trail: SampleTrail, name: str) -> None:
    for seed in SEEDS:
        _check(trail, name, seed=seed)


@settings(max_examples=1000 if LONG else 100, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(MATRIX)), min_size=2, max_size=4), seed=st.integers(0, 1 << 32))
def test_ours_names_all_damage_where_several_had_a_hand(trail: SampleTrail, names: list[str], seed: int) -> None:
    _check(trail, *names, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the judge said of one case."""

    status: int
    text: str
    accused: frozenset[str]


def _verdict(status: int, stdout: str, stderr: str) -> Judgement:
    accused = re.findall(rf"file\ts3://{BUCKET}/(\S+)\tINVALID", stderr)
    return Judgement(status=status, text=stdout + stderr, accused=frozenset(accused))


@pytest.fixture(scope="module")
def endpoints(trail: SampleTrail) -> Iterator[dict[str, str]]:
    """An endpoint for each case."""
    with ExitStack() as stack:
        yield {
            case: stack.enter_context(
                serving(bucket_of_objects(touch(trail, *names, seed=seed).objects, BUCKET, trail.public_keys()))
            )
            for case, (names, seed) in JUDGED.items()
        }


def _arguments(start: datetime, end: datetime) -> list[str]:
    times = [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (start, end)]
    place = ["--s3-bucket", BUCKET, "--s3-prefix", FOLDER.prefix]
    return ["--trail-arn", TRAIL_ARN, "--start-time", times[0], "--end-time", times[1], *place, "--verbose"]


def _judge(version: str, cases: list[tuple[str, list[str]]]) -> list[Judgement]:
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
def test_the_judge_agrees(trail: SampleTrail, endpoints: dict[str, str], version: str) -> None:
    """One test for the whole matrix: the judge is started once."""
    arguments = _arguments(START - HOUR, trail.end + HOUR)
    verdicts = dict(zip(JUDGED, _judge(version, [(endpoints[case], arguments) for case in JUDGED]), strict=True))
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
def test_the_executable_itself_says_the_same(
    trail: SampleTrail, endpoints: dict[str, str], name: str, version: str
) -> None:
    done = subprocess.run(
        [require_aws(version), "cloudtrail", "validate-logs", *_arguments(START, trail.end)],
        capture_output=True,
        text=True,
        env={**judge_environment(REGION), "AWS_ENDPOINT_URL": endpoints[name]},
        timeout=120,
        check=False,
    )
    verdict = _verdict(done.returncode, done.stdout, done.stderr)
    assert verdict.accused == {key for _, key in touch(trail, name, seed=1).errors}, verdict.text
    assert verdict.status == (1 if verdict.accused else 0)


@pytest.mark.parametrize("version", ["newest", "old"])
def test_the_judge_finds_its_keys_at_the_edges_of_a_rotation(
    trail: SampleTrail, endpoints: dict[str, str], version: str
) -> None:
    """Ranges that begin and end around the rotation, where one key gives way to the other (aws-cli 10073)."""
    second = trail.public_keys()[1].fingerprint
    key = next(key for key in trail.digests if _fingerprint(trail.objects[key][0]) == second)
    rotated = parse_digest_key(key).end_time
    ranges = []
    for shift in (-HOUR, -timedelta(seconds=1), timedelta(0), timedelta(seconds=1), HOUR):
        edge = rotated + shift
        ranges += [(edge - 5 * HOUR, edge), (edge, edge), (edge, edge + 5 * HOUR)]
    verdicts = _judge(version, [(endpoints["untouched"], _arguments(start, end)) for start, end in ranges])
    for verdict in verdicts:
        assert verdict.accused == frozenset(), verdict.text
        assert re.search("digest files valid", verdict.text), verdict.text


def _fingerprint(data: bytes) -> str:
    return decode_digest(decode_member(data, max_size=1 << 20)).public_key_fingerprint
