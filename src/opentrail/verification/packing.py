"""Making an evidence bundle: collect, verify what was collected as a stranger will, and put the report beside it.

Rules: the bundle is verified from its own file alone, with the keys that it brings, so its report says what whoever
receives it will find.  The report says, too, what was asked for and what was not taken in.  Nothing is left when it
fails: the caller's file has no name before the end.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import IO, Final

from opentrail.core.errors import ConfigError
from opentrail.core.events import format_time
from opentrail.core.findings import Finding, FindingCode, counted
from opentrail.core.layout import Folder
from opentrail.core.log_folder import DELIVERY
from opentrail.core.public_keys import PublicKey, encode_public_keys
from opentrail.core.validation import LATEST_DIGEST
from opentrail.verification.bundle import (
    HARMLESS,
    PUBLIC_KEYS,
    README,
    REPORT_HTML,
    REPORT_JSON,
    BundleHeader,
    BundleWriter,
)
from opentrail.verification.bundle_source import BundleSource
from opentrail.verification.day_folders import find_beside_days
from opentrail.verification.discovery import find_chains, narrow
from opentrail.verification.engine import Verification
from opentrail.verification.evidence import Collected, collect, leave_out, span_of
from opentrail.verification.finding_log import FindingLog
from opentrail.verification.read_ahead import NoReadAhead, ReadAhead, ThreadReadAhead
from opentrail.verification.report import json_report
from opentrail.verification.report_html import html_report
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import Span, VerifyResult
from opentrail.verification.source import TrailSource
from opentrail.verification.subject import ReportContext, Subject

_READERS: Final = 8  # threads, where a source answers after a while; twice as many objects are in memory

_README: Final = """\
Evidence of a trail, packed by {made_by} on {made_at}.

source    {source}
asked for {requested}
of        {filters}
holds     every digest that ends from {start} to {end}, with the log files of that time

objects/KEY          log files and digests, byte for byte as they lay at the source (but for what the manifest
                     says was left out)
metadata/KEY.json    the metadata of the digests: their signatures
public-keys.json     the public keys that the digests were checked with
report.html          what was found when this was packed; report.json is the same for programs
manifest.jsonl       what is in here, with SHA-256, and what was left out

To check it, on any machine, without a network:

    {command}

Public keys that come with the evidence prove only what whoever packed it says.  Get them from the recording side, with
`aws cloudtrail list-public-keys` or `opentrail keys export`, and add --public-keys FILE.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What goes into a bundle, and what is said of it.  ``request`` must have a start and an end."""

    source: TrailSource
    request: VerifyRequest
    public_keys: Sequence[PublicKey]
    keys_origin: str
    keys_came_along: bool = False  # with the source, which is a bundle itself
    name: str  # of the bundle, for the commands that the report shows
    version: str  # of Opentrail
    made_at: datetime
    clock: Callable[[], float]


@dataclass(slots=True)
class PackingState:
    """How far a packing is, for whoever shows it from another thread."""

    collected: Collected = field(default_factory=Collected)
    verification: Verification | None = None  # of what was packed, from when on it runs
    verifying_since: float = 0.0  # by the packing's clock
    left_out: int = 0  # objects of the source, of which the bundle holds nothing or a part


def pack(packing: Packing, file: IO[bytes], path: str, state: PackingState) -> VerifyResult:
    """Write the bundle into ``file``, which is at ``path``; what its verification found.

    Raises ``ConfigError`` when there is nothing to pack, ``StoreError``.
    """
    folders, strays, header = _plan(packing)
    ahead: ReadAhead = ThreadReadAhead(_READERS) if packing.source.reads_at_once > 1 else NoReadAhead()
    writer, log = BundleWriter(file, header), FindingLog()
    try:
        strays += find_beside_days(packing.source, folders, replace(packing.request, end=header.end), ahead)
        writer.add_text(README, _readme(packing, header))
        span = Span(start=header.start, end=header.end)
        collect(packing.source, folders, span, writer, ahead=ahead, collected=state.collected)
        for stray in strays:
            leave_out(*_left_out(stray), writer, state.collected)
        if not writer.count:
            raise ConfigError(_nothing(packing, state.collected))
        writer.add_text(PUBLIC_KEYS, encode_public_keys(packing.public_keys))
        writer.finish()
        verified = _verified(packing, header)
        result = _verify(packing, verified, path, log, state)
        writer.resume()
        state.left_out = writer.left_out
        context = _context(packing, header, verified, writer.left_out, state.collected)
        writer.add_parts(REPORT_HTML, html_report(result, log, context))
        writer.add_parts(REPORT_JSON, json_report(result, log, context))
        writer.finish()
    finally:
        for each in (ahead, writer, log):
            each.close()
    return result


def _plan(packing: Packing) -> tuple[list[Folder], list[Finding], BundleHeader]:
    """The folders to pack, what lies beside them and is no evidence, and what the bundle says of itself."""
    request, asked = packing.request, narrow(packing.request)  # SOURCE itself may be of one account or region
    assert request.start is not None
    assert request.end is not None
    strays: list[Finding] = []  # ``discovery`` bounds their number
    found = find_chains(packing.source, replace(request, end=request.end + DELIVERY + LATEST_DIGEST), strays.append)
    folders = list(dict.fromkeys([chain.trail.folder for chain in found.chains] + list(found.undigested)))
    span = span_of(packing.source, folders, request.start, request.end)
    header = BundleHeader(
        source=packing.source.name,
        bucket=packing.source.bucket,
        keeps_metadata=packing.source.keeps_metadata,
        start=span.start,
        end=span.end,
        requested_start=request.start,
        requested_end=request.end,
        account_ids=tuple(sorted(asked.account_ids)),
        regions=tuple(sorted(asked.regions)),
        made_at=packing.made_at,
        made_by=f"opentrail {packing.version}",
    )
    return folders, strays, header


def _left_out(stray: Finding) -> tuple[str, str]:
    """What the manifest says of ``stray``: a key, and why; for a folder, the object in it that says what it is."""
    if stray.code is FindingCode.OBJECT_UNEXPECTED:
        return stray.key, HARMLESS
    return stray.details.get("first", stray.key), stray.message


def _nothing(packing: Packing, collected: Collected) -> str:
    """Why there is no bundle."""
    if collected.left_out:
        key, why = collected.left_out[0]
        return f"{packing.source.name}: nothing of what lies there can be packed: {key}: {why}"
    return f"{packing.source.name}: nothing of a trail lies there for that time (AWSLogs/ must lie in it, or below)"


def _verified(packing: Packing, header: BundleHeader) -> VerifyRequest:
    """What `opentrail verify FILE.zip` asks."""
    return VerifyRequest(
        start=header.start,
        end=header.end,
        original_bucket=header.bucket,
        asked_at=packing.made_at,
        with_events=packing.request.with_events,
        is_excerpt=True,
        packed_accounts=frozenset(header.account_ids),
        packed_regions=frozenset(header.regions),
        jobs=packing.request.jobs,
    )


def _verify(packing: Packing, request: VerifyRequest, path: str, log: FindingLog, state: PackingState) -> VerifyResult:
    """Verify what lies at ``path``."""
    bundle = BundleSource(path, name=packing.name)
    state.verifying_since = packing.clock()
    try:
        state.verification = Verification(
            bundle,
            request,
            bundle.public_keys(),
            on_finding=log.add,
            checked_at=packing.made_at,
            clock=packing.clock,
            beside=bundle.check(),
        )
        return state.verification.run()
    finally:
        bundle.close()


def _context(
    packing: Packing, header: BundleHeader, verified: VerifyRequest, left_out: int, collected: Collected
) -> ReportContext:
    return ReportContext(
        version=packing.version,
        subject=Subject(
            source=packing.name,
            request=verified,
            public_keys=packing.public_keys,
            keys_origin=packing.keys_origin,
            keys_came_along=packing.keys_came_along,
        ),
        commands=_commands(packing.name),
        notes=list(_notes(packing, header, left_out, collected)),
    )


def _notes(packing: Packing, header: BundleHeader, left_out: int, collected: Collected) -> Iterator[str]:
    yield f"Packed from {header.source}, of which the time from {_requested(header)} was asked for."
    yield f"Asked for: {_filters(packing)}. Nothing is said of what else lay there."
    if packing.request.trail_name:
        yield (
            "Digests of other trails that lay in the same folders are in here too: only all trails of a folder "
            "together tell which log files nobody names."
        )
    yield "What a digest behind that time names is in here too, because log files arrive after what they tell of."
    if left_out:
        yield f"{counted(left_out, 'object')} of the source were not taken in, or not whole (see the manifest):"
        yield from (f"{key}: {why}" for key, why in collected.left_out)
    if left_out > len(collected.left_out):
        yield f"and {left_out - len(collected.left_out):,} more."


def _filters(packing: Packing) -> str:
    """What was asked for, in words."""
    return ", ".join(f"{name} {value}" for name, value in packing.request.filters()) or "all accounts, regions, trails"


def _readme(packing: Packing, header: BundleHeader) -> bytes:
    return _README.format(
        made_by=header.made_by,
        made_at=format_time(header.made_at),
        source=header.source,
        requested=_requested(header),
        filters=_filters(packing),
        start=format_time(header.start),
        end=format_time(header.end),
        command=_commands(packing.name)[0],
    ).encode("utf-8", "backslashreplace")


def _requested(header: BundleHeader) -> str:
    times: Iterable[datetime | None] = (header.requested_start, header.requested_end)
    return " to ".join(format_time(moment) for moment in times if moment is not None)


def _commands(name: str) -> tuple[str, ...]:
    command = shlex.join(("opentrail", "verify", name))
    return command, f"{command} --public-keys FILE"
