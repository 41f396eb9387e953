"""What a verification was about, and what its verdict does not speak of: said by the command and by every report.

Rules: whoever reads a verdict must be able to tell what was asked (source, time, filters), with which keys, who vouches
for these, and what was not asked.  ``docs/verify.md``, "JSON", describes ``answer_document``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentrail.core.events import format_time
from opentrail.core.findings import FindingCode, counted
from opentrail.core.public_keys import PublicKey
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult, reservations, result_document, signed_by_all

_MOST_KEYS: Final = 10  # that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is checked: ``source`` as it was called, and the keys; ``keys_origin`` ends "the public keys come from".

    ``packed`` is what an evidence bundle says of itself, and ``reservations`` what it does not hold, or does not prove.
    """

    source: str
    request: VerifyRequest
    public_keys: Sequence[PublicKey]
    keys_origin: str
    keys_came_along: bool = False  # with the evidence: nobody else vouches for them
    packed: str = ""
    reservations: Sequence[str] = ()

    @property
    def condition(self) -> str:
        """What ends a sentence on a valid trail: under what it holds; "" where others vouch for the keys."""
        return ", if the bundle's own public keys are those of the recording side" if self.keys_came_along else ""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names and what there is to say, for people."""
        start = format_time(self.request.start) if self.request.start else "the first one"
        end = format_time(self.request.end) if self.request.end else "the last one"
        yield "source", self.source
        if self.packed:
            yield "bundle", self.packed
        yield "digests", f"that end from {start} to {end}"
        if filters := ", ".join(f"{name} {value}" for name, value in self.request.filters()):
            yield "only", filters
        yield "keys", f"{counted(len(self.public_keys), 'public key')}, from {self.keys_origin}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContext:
    """What a report says besides the result."""

    version: str  # of Opentrail
    subject: Subject
    commands: Sequence[str]  # how to check again
    inputs: Sequence[tuple[str, str]] = ()  # files that the verification read whole: name and SHA-256 (hex)
    notes: Sequence[str] = ()  # of an evidence bundle: what was asked for, what was left out


def answer_document(subject: Subject, result: VerifyResult) -> dict[str, Any]:
    """The JSON form of a result with what it alone does not say: filters and keys."""
    filters: dict[str, list[str]] = {"account-id": [], "region": [], "trail-arn": []}
    for name, value in subject.request.filters():
        filters[name].append(value)
    return {
        **result_document(result),
        "reservations": _reservations(subject, result),
        "notAsked": _not_asked(subject, result),
        "filters": {
            "accountIds": filters["account-id"],
            "regions": filters["region"],
            "trailArn": next(iter(filters["trail-arn"]), None),
        },
        "keysOrigin": subject.keys_origin,
        "keyFingerprints": [key.fingerprint for key in subject.public_keys],
    }


def unspoken(subject: Subject, result: VerifyResult) -> list[str]:
    """What the verdict does not speak of: what cannot be proven, and what was not asked."""
    return [*_reservations(subject, result), *_not_asked(subject, result)]


def _reservations(subject: Subject, result: VerifyResult) -> list[str]:
    said = [*reservations(result), *subject.reservations]
    signed = list(signed_by_all(result).values()) if subject.keys_came_along else []
    if signed:
        names = [f"{each.fingerprint} ({counted(each.digests, 'digest')})" for each in signed[:_MOST_KEYS]]
        names += [f"{len(signed) - _MOST_KEYS:,} more"] if len(signed) > _MOST_KEYS else []
        said.append(
            "not proven: who signed. The public keys came with the bundle, and prove only what whoever packed it says: "
            "get the keys of the recording side (--public-keys), or compare with its own the fingerprints of all that "
            f"signed: {', '.join(names)}"
        )
    return said


def _not_asked(subject: Subject, result: VerifyResult) -> list[str]:
    found: list[str] = []
    request = subject.request
    ends = [chain.covered.end for chain in result.chains if chain.covered]
    if ends and not (request.end or request.expected_until):
        found.append(f"not asked: whether digests after {format_time(min(ends))} were removed (--end, --expect-until)")
    if request.end and request.asked_at and request.end > request.asked_at:
        found.append(f"not asked: what was delivered after {format_time(request.asked_at)}, which had not come yet")
    if filters := ", ".join(f"{name} {value}" for name, value in request.filters()):
        found.append(f"not asked: what else lies there; only {filters} was looked at")
    return found


def hint(result: VerifyResult) -> str:
    """What may have gone wrong in the asking itself; "" if nothing looks so."""
    unknown = result.findings.get(FindingCode.DIGEST_KEY_UNKNOWN, 0)
    if not unknown or any(chain.digests.valid or chain.digests.unchecked for chain in result.chains):
        return ""
    return (
        "hint: no digest names any of the public keys that were given. Are they those of this trail's regions, and of "
        "the whole time? If they are, everything here was signed by somebody else."
    )
