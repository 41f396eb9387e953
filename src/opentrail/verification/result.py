"""The result of a verification: counts and a verdict for each chain and for the whole, and their JSON form.

Rules: findings are streamed beside it and not kept in it, so that it stays small; what a finding means for the verdict
is its code's ``Concern``.  ``docs/verify.md``, "JSON" describes the form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from opentrail.core.errors import FormatError
from opentrail.core.events import format_time
from opentrail.core.findings import RULES, Concern, Finding, FindingCode, counted
from opentrail.core.layout import TrailFolder, parse_digest_key

EXIT_VALID: Final = 0
EXIT_NOT_VALID: Final = 1
EXIT_NOT_CHECKED: Final = 2


class Verdict(StrEnum):
    """What can be said of a chain, or of all of them; the worst that holds."""

    VALID = "valid"
    TAMPERED = "tampered"
    INCOMPLETE = "incomplete"
    NOT_CHECKED = "not-checked"


def verdict_of(codes: Iterable[FindingCode]) -> Verdict:
    """The worst that findings of these ``codes`` say."""
    concerns = {RULES[code].concern for code in codes}
    return next((verdict for concern, verdict in _VERDICTS.items() if concern in concerns), Verdict.VALID)


_VERDICTS: Final[Mapping[Concern, Verdict]] = {  # worst first
    Concern.INTEGRITY: Verdict.TAMPERED,
    Concern.COMPLETENESS: Verdict.INCOMPLETE,
    Concern.COVERAGE: Verdict.NOT_CHECKED,
}

EXIT_CODES: Final[Mapping[Verdict, int]] = {
    Verdict.VALID: EXIT_VALID,
    Verdict.TAMPERED: EXIT_NOT_VALID,
    Verdict.INCOMPLETE: EXIT_NOT_VALID,
    Verdict.NOT_CHECKED: EXIT_NOT_CHECKED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of time, from ``start`` to ``end`` (aware, UTC)."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectCounts:
    """Digests or log files: how many were to be there, and how many are as they were delivered.

    ``valid + invalid + missing + unchecked == total``.
    """

    total: int = 0
    valid: int = 0
    invalid: int = 0
    missing: int = 0
    unchecked: int = 0

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        """Both together."""
        return ObjectCounts(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTS})


_COUNTS: Final = tuple(each.name for each in fields(ObjectCounts))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDigests:
    """What the public key of ``fingerprint`` proves of a chain: so many valid digests, within ``span``."""

    fingerprint: str
    digests: int
    span: Span

    def joined(self, other: SignedDigests) -> SignedDigests:
        """Both: of two chains, or parts of one."""
        span = Span(start=min(self.span.start, other.span.start), end=max(self.span.end, other.span.end))
        return replace(self, digests=self.digests + other.digests, span=span)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierDigests:
    """A chain comes from elsewhere: its digests that end at ``until``, or before, were delivered there.

    ``newest`` is the newest of them, as the chain names it: ``s3://BUCKET/KEY``.
    """

    until: datetime
    newest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSummary:
    """One chain: the digests of one trail for one account and region, and the log files that they name."""

    trail: TrailFolder
    bucket: str  # the bucket that the digests were checked to be made for
    digests: ObjectCounts
    log_files: ObjectCounts
    log_bytes: int  # of the log files that were read, as they lie there (compressed)
    covered: Span | None  # from the first proven digest's start to the last one's end; None: nothing is proven
    unproven: tuple[Span, ...] = ()  # within ``covered``, where no digest can be trusted
    stopped: tuple[Span, ...] = ()  # within ``covered``, where none was made: logging or validation was off
    elsewhere: tuple[EarlierDigests, ...] = ()  # in another bucket, or below another prefix
    signed_by: tuple[SignedDigests, ...] = ()  # by fingerprint; their digests are all the valid ones
    findings: Mapping[FindingCode, int] = field(default_factory=dict)  # how many of each

    @property
    def verdict(self) -> Verdict:
        """The worst that was found; where nothing was found and no digest is proven, nothing was checked."""
        verdict = verdict_of(self.findings)
        is_unproven = self.digests.unchecked > 0 and self.digests.valid == 0
        return Verdict.NOT_CHECKED if verdict is Verdict.VALID and is_unproven else verdict

    def with_finding(self, finding: Finding) -> ChainSummary:
        """With what was found of the chain when all chains were finished."""
        counts, digests = Counter(self.findings) + Counter({finding.code: 1}), self.digests
        if finding.code is FindingCode.DIGEST_LINK_UNFOUNDED:  # it was one that could not be proven
            digests = replace(digests, invalid=digests.invalid + 1, unchecked=digests.unchecked - 1)
        elif finding.code is FindingCode.DIGEST_MISSING:  # another chain names it
            digests = replace(digests, total=digests.total + 1, missing=digests.missing + 1)
        return replace(self, findings=dict(counts), digests=digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """The whole: every chain, and what was found outside of any."""

    source: str
    start: datetime | None  # as asked
    end: datetime | None
    checked_at: datetime
    chains: tuple[ChainSummary, ...]
    findings: Mapping[FindingCode, int]  # how many of each: of all chains and beside them
    seconds: float  # of wall clock

    @property
    def verdict(self) -> Verdict:
        """The worst that was found; nothing to verify is nothing verified."""
        verdict = verdict_of(self.findings) if self.chains or self.findings else Verdict.NOT_CHECKED
        is_valid = verdict is Verdict.VALID and all(chain.verdict is Verdict.VALID for chain in self.chains)
        return verdict if is_valid or verdict is not Verdict.VALID else Verdict.NOT_CHECKED

    @property
    def exit_code(self) -> int:
        """0 valid, 1 tampered or incomplete, 2 could not be checked."""
        return EXIT_CODES[self.verdict]


def signed_by_all(result: VerifyResult) -> dict[str, SignedDigests]:
    """What each public key proves of all chains, by fingerprint; a key that proves nothing is not there."""
    signed: dict[str, SignedDigests] = {}
    for each in (each for chain in result.chains for each in chain.signed_by):
        before = signed.get(each.fingerprint)
        signed[each.fingerprint] = before.joined(each) if before else each
    return signed


def reservations(result: VerifyResult) -> Iterator[str]:
    """What the verdict does not speak of: digests that could not be proven, and time that none covers."""
    unread = sum(chain.findings.get(FindingCode.DIGEST_UNREACHABLE, 0) for chain in result.chains)
    unproven = sum(chain.digests.unchecked for chain in result.chains) - unread
    files = sum(chain.log_files.unchecked for chain in result.chains)
    folders = result.findings.get(FindingCode.FOLDER_UNREACHABLE, 0)
    stopped = [span for chain in result.chains for span in chain.stopped]
    unexamined = result.findings.get(FindingCode.GAP_UNEXAMINED, 0)
    if unproven:
        digests, names = counted(unproven, "digest"), "it names" if unproven == 1 else "they name"
        yield f"not proven: {digests}, of which the copy has lost the signature, and the log files {names}"
    if unread:
        digests, names = counted(unread, "digest"), "it alone names" if unread == 1 else "they alone name"
        yield f"not read: {digests}, and whatever log files {names}"
    if files:
        yield f"not read: {counted(files, 'log file')}"
    if folders:
        yield f"not listed: {counted(folders, 'folder')}, and whatever lies there"
    if stopped:
        hours = sum((span.end - span.start).total_seconds() for span in stopped) / 3600
        spans = counted(len(stopped), "span") + (" of" if len(stopped) == 1 else ", together")
        yield f"not recorded: {spans} {hours:,.1f} hours, in which no digests were made"
    if older := result.findings.get(FindingCode.LOG_FILES_BEFORE_DIGESTS, 0):
        yield f"not proven: log files in {counted(older, 'folder')} that are older than the first digest there"
    if edges := result.findings.get(FindingCode.EDGE_UNEXAMINED, 0):
        yield f"not examined: {counted(edges, 'edge')} of the time that was asked for, where digests may be missing"
    if unexamined:
        gaps = counted(unexamined, "gap")
        yield f"not explained: {gaps} between digests, as the records that would say why were not read"
    for place, earlier in sorted(_unverified_places(result).items()):
        until = format_time(max(each.until for each in earlier))
        chains = counted(len(earlier), "chain")
        yield f"not verified: digests of {chains}, up to {until}, which were delivered to {place}: verify that, too"


def _unverified_places(result: VerifyResult) -> dict[str, list[EarlierDigests]]:
    """Where chains come from that were not verified there, of the time that was asked for: bucket and prefix."""
    verified = {(chain.bucket, chain.trail) for chain in result.chains}
    places: dict[str, list[EarlierDigests]] = {}
    for earlier in (earlier for chain in result.chains for earlier in chain.elsewhere):
        if result.start is not None and earlier.until < result.start:
            continue
        bucket, _, key = earlier.newest.removeprefix("s3://").partition("/")
        place = earlier.newest
        with suppress(FormatError):
            trail = parse_digest_key(key).trail
            if (bucket, trail) in verified:
                continue
            place = f"s3://{bucket}/{trail.folder.prefix}".removesuffix("/")
        places.setdefault(place, []).append(earlier)
    return places


def told_document(trail: TrailFolder | None, finding: Finding) -> dict[str, Any]:
    """The JSON form of a finding, with the chain that it concerns (None: none)."""
    return {"chain": trail and trail_document(trail), **finding_document(finding)}


def finding_document(finding: Finding) -> dict[str, Any]:
    """A finding's JSON form."""
    return {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "concern": finding.concern.value,
        "key": finding.key,
        "message": finding.message,
        "details": dict(finding.details),
    }


def result_document(result: VerifyResult) -> dict[str, Any]:
    """The result's JSON form, without the findings themselves."""
    return {
        "source": result.source,
        "start": _time(result.start),
        "end": _time(result.end),
        "checkedAt": _time(result.checked_at),
        "seconds": round(result.seconds, 3),
        "verdict": result.verdict.value,
        "exitCode": result.exit_code,
        "reservations": list(reservations(result)),
        "findings": _findings_document(result.findings),
        "chains": [chain_document(chain) for chain in result.chains],
    }


def trail_document(trail: TrailFolder) -> dict[str, Any]:
    """Which chain it is: the members that every JSON form of one begins with."""
    folder = trail.folder
    return {
        "accountId": folder.account_id,
        "region": folder.region,
        "organizationId": folder.organization_id or None,
        "prefix": folder.prefix,
        "trailName": trail.trail_name,
        "homeRegion": trail.home_region,
    }


def chain_document(chain: ChainSummary) -> dict[str, Any]:
    """A chain's JSON form."""
    return {
        **trail_document(chain.trail),
        "bucket": chain.bucket,
        "verdict": chain.verdict.value,
        "digests": counts_document(chain.digests),
        "logFiles": counts_document(chain.log_files),
        "logBytes": chain.log_bytes,
        "covered": _span_document(chain.covered) if chain.covered else None,
        "unproven": [_span_document(span) for span in chain.unproven],
        "stopped": [_span_document(span) for span in chain.stopped],
        "elsewhere": [{"until": format_time(each.until), "newest": each.newest} for each in chain.elsewhere],
        "signedBy": [{"fingerprint": each.fingerprint, **signed_document(each)} for each in chain.signed_by],
        "findings": _findings_document(chain.findings),
    }


def signed_document(signed: SignedDigests) -> dict[str, Any]:
    """The JSON form of what a public key proves, without which one."""
    return {"digests": signed.digests, **_span_document(signed.span)}


def _findings_document(counts: Mapping[FindingCode, int]) -> dict[str, int]:
    return {code.value: count for code, count in sorted(counts.items())}


def counts_document(counts: ObjectCounts) -> dict[str, int]:
    """The JSON form of counts."""
    return {name: getattr(counts, name) for name in _COUNTS}


def _span_document(span: Span) -> dict[str, str]:
    return {"start": format_time(span.start), "end": format_time(span.end)}


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None
