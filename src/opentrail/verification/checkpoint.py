"""How far a verification has come, so that another process can go on: what ``--resume`` reads.

Rules: findings are kept as they were found, so a run that goes on ends with the same result as one that was never
interrupted.  Of a chain that was not finished, the first ``log_files`` log files need not be read again; digests, links
and listings are gone over once more, which is a tenth of the work.  ``fingerprint`` is over what the digests said of
those log files: if they say otherwise now, the chain is begun anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from opentrail.core.digests import DigestedLogFile
from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, FindingCode
from opentrail.core.layout import Folder, TrailFolder
from opentrail.core.log_folder import Hole
from opentrail.core.logfiles import parse_json
from opentrail.core.public_keys import PublicKey
from opentrail.core.trail_changes import TrailChange
from opentrail.core.unproven_links import ClaimedFiles, UnprovenStart
from opentrail.verification.log_file_checks import LogFileResult
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import (
    ChainSummary,
    EarlierDigests,
    ObjectCounts,
    SignedDigests,
    Span,
    chain_document,
    finding_document,
    trail_document,
)
from opentrail.verification.source import TrailSource

FORMAT: Final = "opentrail-verify-checkpoint-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialChain:
    """A chain on the way: its first ``log_files`` log files are checked.

    ``results`` are those of log files of which there is something to say, each with the file's number in the chain.
    """

    trail: TrailFolder
    log_files: int
    fingerprint: str  # SHA-256, hex
    log_bytes: int
    results: tuple[LogFileResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedChain:
    """A chain that was verified to its end."""

    summary: ChainSummary
    findings: tuple[Finding, ...]
    changes: tuple[TrailChange, ...]  # what its records say of changes to trails; some findings are about them
    gaps: tuple[tuple[Hole, bool], ...] = ()  # without digests, and whether what lies before is proven: unexplained yet
    starts: tuple[UnprovenStart, ...] = ()  # of chains, which no record has explained yet ...
    claims: tuple[ClaimedFiles, ...] = ()  # ... and log files that may say why


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far a run came.  ``run`` says of which run; ``seconds`` it took so far."""

    run: str
    seconds: float = 0.0
    finished: Mapping[TrailFolder, FinishedChain] = field(default_factory=dict)
    partial: Mapping[TrailFolder, PartialChain] = field(default_factory=dict)


def run_of(source: TrailSource, request: VerifyRequest, public_keys: Iterable[PublicKey]) -> str:
    """What tells a run from others: the same source, request and keys give the same text."""
    parts = [
        source.name,
        repr(source.keeps_metadata),
        repr(request.start),
        repr(request.end),
        request.prefix,
        request.trail_name,
        request.home_region,
        request.trail_account,
        ",".join(sorted(request.account_ids)),
        ",".join(sorted(request.regions)),
        request.original_bucket,
        "now" if request.is_until_now else repr(request.expected_until),
        repr(request.with_events),
        *sorted(f"{key.fingerprint} {hashlib.sha256(key.value).hexdigest()}" for key in public_keys),
    ]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """A checkpoint's file."""
    import json  # noqa: PLC0415  only a run that is interrupted, or goes on, needs it

    document = {
        "format": FORMAT,
        "run": checkpoint.run,
        "seconds": checkpoint.seconds,
        "finished": [
            {
                **chain_document(chain.summary),
                "found": [finding_document(finding) for finding in chain.findings],
                "changes": [encode_change(change) for change in chain.changes],
                "gaps": [_gap_document(gap, is_proven=is_proven) for gap, is_proven in chain.gaps],
                "starts": [_start_document(start) for start in chain.starts],
                "claims": [_claim_document(claim) for claim in chain.claims],
            }
            for chain in checkpoint.finished.values()
        ],
        "partial": [_partial_document(chain) for chain in checkpoint.partial.values()],
    }
    return json.dumps(document, indent=1).encode("utf-8", "surrogatepass") + b"\n"


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Read a checkpoint's file.  Raises ``FormatError``."""
    document = parse_json(data)
    try:
        if document["format"] != FORMAT:
            raise FormatError("the checkpoint is of another version of Opentrail")
        finished = [_finished(chain) for chain in document["finished"]]
        partial = [_partial(chain) for chain in document["partial"]]
        return Checkpoint(
            run=document["run"],
            seconds=float(document["seconds"]),
            finished={chain.summary.trail: chain for chain in finished},
            partial={chain.trail: chain for chain in partial},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"not a checkpoint of a verification: {error!r}") from None


def encode_change(change: TrailChange) -> dict[str, Any]:
    """A change in types that JSON and ``marshal`` have."""
    return {name: getattr(change, name) for name in _CHANGE_FIELDS} | {"event_time": change.event_time.isoformat()}


def decode_change(members: dict[str, Any]) -> TrailChange:
    """What ``encode_change`` made."""
    return TrailChange(**members | {"event_time": datetime.fromisoformat(members["event_time"])})


_CHANGE_FIELDS: Final = tuple(each.name for each in fields(TrailChange))


def _partial_document(chain: PartialChain) -> dict[str, Any]:
    return {
        **trail_document(chain.trail),
        "logFiles": chain.log_files,
        "fingerprint": chain.fingerprint,
        "logBytes": chain.log_bytes,
        "results": [
            {
                "number": result.number,
                "found": result.finding and finding_document(result.finding),
                "changes": [encode_change(change) for change in result.changes],
            }
            for result in chain.results
        ],
    }


def _partial(chain: dict[str, Any]) -> PartialChain:
    return PartialChain(
        trail=_trail(chain),
        log_files=int(chain["logFiles"]),
        fingerprint=str(chain["fingerprint"]),
        log_bytes=int(chain["logBytes"]),
        results=tuple(
            LogFileResult(
                int(result["number"]),
                result["found"] and _finding(result["found"]),
                tuple(map(decode_change, result["changes"])),
            )
            for result in chain["results"]
        ),
    )


def _finished(chain: dict[str, Any]) -> FinishedChain:
    covered = chain["covered"]
    summary = ChainSummary(
        trail=_trail(chain),
        bucket=chain["bucket"],
        digests=ObjectCounts(**chain["digests"]),
        log_files=ObjectCounts(**chain["logFiles"]),
        log_bytes=chain["logBytes"],
        covered=_span(covered) if covered else None,
        unproven=tuple(map(_span, chain["unproven"])),
        stopped=tuple(map(_span, chain["stopped"])),
        elsewhere=tuple(map(_earlier, chain["elsewhere"])),
        signed_by=tuple(
            SignedDigests(fingerprint=each["fingerprint"], digests=each["digests"], span=_span(each))
            for each in chain["signedBy"]
        ),
        findings={FindingCode(code): count for code, count in chain["findings"].items()},
    )
    return FinishedChain(
        summary=summary,
        findings=tuple(map(_finding, chain["found"])),
        changes=tuple(map(decode_change, chain["changes"])),
        gaps=tuple(map(_gap, chain["gaps"])),
        starts=tuple(map(_start, chain["starts"])),
        claims=tuple(map(_claim, chain["claims"])),
    )


def _gap_document(gap: Hole, *, is_proven: bool) -> dict[str, Any]:
    since = gap.since and gap.since.isoformat()
    return {"start": gap.start.isoformat(), "end": gap.end.isoformat(), "since": since, "isProven": is_proven}


def _gap(members: dict[str, Any]) -> tuple[Hole, bool]:
    span, since = _span(members), members["since"]
    since = datetime.fromisoformat(since) if since is not None else None
    return Hole(start=span.start, end=span.end, is_damage=False, since=since), bool(members["isProven"])


def _start_document(start: UnprovenStart) -> dict[str, Any]:
    return {name: getattr(start, name) for name in _START_FIELDS} | {
        name: getattr(start, name).isoformat() for name in _START_TIMES
    }


def _start(members: dict[str, Any]) -> UnprovenStart:
    times = {name: datetime.fromisoformat(members[name]) for name in _START_TIMES}
    return UnprovenStart(**{**members, **times})


_START_FIELDS: Final = tuple(each.name for each in fields(UnprovenStart))
_START_TIMES: Final = ("start", "before_start", "before_end")


def _claim_document(claim: ClaimedFiles) -> dict[str, Any]:
    return {"key": claim.key, "files": [[file.bucket, file.key, file.hash_value] for file in claim.files]}


def _claim(members: dict[str, Any]) -> ClaimedFiles:
    files = [
        DigestedLogFile(bucket=bucket, key=key, hash_value=hash_value, newest_event_time=None, oldest_event_time=None)
        for bucket, key, hash_value in members["files"]
    ]
    return ClaimedFiles(key=members["key"], files=tuple(files))


def _trail(chain: dict[str, Any]) -> TrailFolder:
    folder = Folder(
        prefix=chain["prefix"],
        organization_id=chain["organizationId"] or "",
        account_id=chain["accountId"],
        region=chain["region"],
    )
    return TrailFolder(folder=folder, trail_name=chain["trailName"], home_region=chain["homeRegion"])


def _span(span: dict[str, str]) -> Span:
    return Span(start=datetime.fromisoformat(span["start"]), end=datetime.fromisoformat(span["end"]))


def _earlier(members: dict[str, str]) -> EarlierDigests:
    return EarlierDigests(until=datetime.fromisoformat(members["until"]), newest=members["newest"])


def _finding(document: dict[str, Any]) -> Finding:
    return Finding(
        code=FindingCode(document["code"]),
        key=document["key"],
        message=document["message"],
        details=dict(document["details"]),
    )
