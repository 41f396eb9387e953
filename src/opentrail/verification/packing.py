"""Making an evidence bundle: collect, verify what was collected as a stranger will, and put the report beside it.

Rules: the bundle is verified from its own file alone, with the keys that it brings, so its report says what whoever
receives it will find.  Nothing is left when it fails: the caller's file has no name before the end.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, Final

from opentrail.core.errors import ConfigError
from opentrail.core.events import format_time
from opentrail.core.layout import Folder
from opentrail.core.public_keys import PublicKey, encode_public_keys
from opentrail.verification.bundle import (
    PUBLIC_KEYS,
    README,
    REPORT_HTML,
    REPORT_JSON,
    BundleHeader,
    BundleWriter,
)
from opentrail.verification.bundle_source import BundleSource
from opentrail.verification.discovery import find_chains
from opentrail.verification.engine import Verification
from opentrail.verification.evidence import DELIVERY, LONGEST, Progress, collect, span_of
from opentrail.verification.finding_log import FindingLog, ReportContext
from opentrail.verification.read_ahead import NoReadAhead, ReadAhead, ThreadReadAhead
from opentrail.verification.report import json_report
from opentrail.verification.report_html import html_report
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import Span, VerifyResult
from opentrail.verification.source import TrailSource

_READERS: Final = 8  # threads, where a source answers after a while; twice as many objects are in memory

_README: Final = """\
Evidence of a trail, packed by {made_by} on {made_at}.

source    {source}
asked for {requested}
holds     every digest that ends from {start} to {end}, with the log files of that time

objects/KEY          log files and digests, byte for byte as they lay at the source
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
    name: str  # of the bundle, for the commands that the report shows
    version: str  # of Opentrail
    made_at: datetime
    clock: Callable[[], float]


def pack(packing: Packing, file: IO[bytes], path: str, progress: Progress) -> VerifyResult:
    """Write the bundle into ``file``, which is at ``path``; what its verification found.

    Raises ``ConfigError`` when there is nothing to pack, ``StoreError``.
    """
    folders, header = _plan(packing)
    ahead: ReadAhead = ThreadReadAhead(_READERS) if packing.source.reads_at_once > 1 else NoReadAhead()
    writer, log = BundleWriter(file, header), FindingLog()
    try:
        writer.add_text(README, _readme(packing, header))
        span = Span(start=header.start, end=header.end)
        collect(packing.source, folders, span, writer, ahead=ahead, progress=progress)
        if not writer.count:
            raise ConfigError(f"{packing.source.name}: nothing of a trail lies there for that time")
        writer.add_text(PUBLIC_KEYS, encode_public_keys(packing.public_keys))
        writer.finish()
        result = _verify(packing, header, path, log)
        writer.resume()
        context = _context(packing, header, writer.left_out)
        writer.add_parts(REPORT_HTML, html_report(result, log, context))
        writer.add_parts(REPORT_JSON, json_report(result, log, context))
        writer.finish()
    finally:
        for each in (ahead, writer, log):
            each.close()
    return result


def _plan(packing: Packing) -> tuple[list[Folder], BundleHeader]:
    """The folders to pack, and what the bundle says of itself."""
    request = packing.request
    assert request.start is not None
    assert request.end is not None
    found = find_chains(packing.source, replace(request, end=request.end + DELIVERY + LONGEST))
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
        made_at=packing.made_at,
        made_by=f"opentrail {packing.version}",
    )
    return folders, header


def _verify(packing: Packing, header: BundleHeader, path: str, log: FindingLog) -> VerifyResult:
    """Verify what lies at ``path``."""
    bundle = BundleSource(path, name=packing.name)
    try:
        return Verification(
            bundle,
            VerifyRequest(
                start=header.start,
                end=header.end,
                original_bucket=header.bucket,
                asked_at=packing.made_at,
                with_events=packing.request.with_events,
                jobs=packing.request.jobs,
            ),
            bundle.public_keys(),
            on_finding=log.add,
            checked_at=packing.made_at,
            clock=packing.clock,
            beside=bundle.check(),
        ).run()
    finally:
        bundle.close()


def _context(packing: Packing, header: BundleHeader, left_out: int) -> ReportContext:
    notes = [
        f"Packed from {header.source}, of which the time from {_requested(header)} was asked for.",
        "What a digest behind that time names is in here too, because log files arrive after what they tell of.",
    ]
    if left_out:
        notes.append(f"{left_out} objects were left out; the manifest names them and says why.")
    return ReportContext(
        version=packing.version,
        public_keys=packing.public_keys,
        keys_origin=packing.keys_origin,
        commands=_commands(packing.name),
        notes=notes,
    )


def _readme(packing: Packing, header: BundleHeader) -> bytes:
    return _README.format(
        made_by=header.made_by,
        made_at=format_time(header.made_at),
        source=header.source,
        requested=_requested(header),
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
