"""Reading an evidence bundle's manifest: a line on the bundle, then one for each member, or object that was left out.

Rules: a line is written as ``BundleWriter`` writes it, byte for byte, or it is a ``FormatError``; members come in the
order of the archive.  Memory does not grow with the manifest, but for what was left out (``left_out``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from opentrail.core.errors import FormatError
from opentrail.core.logfiles import parse_json
from opentrail.verification.bundle import (
    FORMAT,
    MANIFEST,
    VERSION,
    BundleHeader,
    encode_entry,
    encode_header,
    encode_left_out,
    place_of,
)
from opentrail.verification.left_out import LeftOut
from opentrail.verification.stored_zip import StoredZip

FORM: Final = "is not written as `opentrail evidence` writes it"

_MAX_LINE_BYTES: Final = 32 * 1024  # a path of Linux has 4,096 bytes, and six letters in JSON for each that is odd
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998  # a day more or less is a date, too
_LEFT_OUT: Final = b'{"leftOut":'  # how the line on an object that was left out begins


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """A member as the manifest has it."""

    name: str
    size: int
    sha256: str


def read_header(archive: StoredZip) -> BundleHeader:
    """The manifest's first line.  Raises ``FormatError``."""
    line, members = next(_manifest_lines(archive), (b"", {}))
    if members.get("format") != FORMAT:
        raise FormatError(f"not an evidence bundle: its manifest does not begin with the format {FORMAT}")
    if members.get("version") != VERSION:
        raise FormatError(f"an evidence bundle of version {members.get('version')!r}; this reads {VERSION}")
    requested = members.get("requested")
    if not isinstance(requested, dict) or not isinstance(members.get("keepsMetadata"), bool):
        raise FormatError("the bundle's manifest does not say what was asked for, or how")
    header = BundleHeader(
        source=_text(members, "source"),
        bucket=_text(members, "bucket"),
        keeps_metadata=members["keepsMetadata"],
        start=_time(members, "start"),
        end=_time(members, "end"),
        requested_start=_time(requested, "start") if requested.get("start") is not None else None,
        requested_end=_time(requested, "end") if requested.get("end") is not None else None,
        account_ids=_texts(requested, "accountIds"),
        regions=_texts(requested, "regions"),
        made_at=_time(members, "madeAt"),
        made_by=_text(members, "madeBy"),
    )
    _check_form(line, encode_header(header))
    return header


def read_left_out(archive: StoredZip) -> LeftOut:
    """What the manifest says was left out.

    A line that is not as it should be ends the reading: ``manifest_entries`` tells of it.  Raises ``FormatError`` where
    too much was left out.
    """
    return LeftOut(_left_out_lines(archive))


def _left_out_lines(archive: StoredZip) -> Iterator[tuple[str, str]]:
    with suppress(FormatError):
        for line, document in _manifest_lines(archive, beginning=_LEFT_OUT):
            yield _left_out(line, document)


def _left_out(line: bytes, document: Mapping[str, Any]) -> tuple[str, str]:
    """The key that the line names, and why.  Raises ``FormatError``."""
    key, why = _text(document, "leftOut"), _text(document, "why")
    if not key:
        raise FormatError("the bundle's manifest says that something without a name was left out")
    _check_form(line, encode_left_out(key, why))
    return key, why


def manifest_entries(archive: StoredZip) -> Iterator[ManifestEntry]:
    """The members that the manifest names, in order.  Raises ``FormatError``."""
    lines = _manifest_lines(archive)
    next(lines, None)
    last = (-1, b"")
    for line, document in lines:
        if line.startswith(_LEFT_OUT):
            _left_out(line, document)
            continue
        name, size, sha256 = document.get("name"), document.get("size"), document.get("sha256")
        if not isinstance(name, str) or not isinstance(size, int) or not isinstance(sha256, str):
            raise FormatError("the bundle's manifest holds a line that names no member")
        _check_form(line, encode_entry(name, size, sha256))
        place = place_of(name)
        if place <= last:
            raise FormatError(f"the bundle's manifest names {name!r} twice or out of order")
        last = place
        yield ManifestEntry(name=name, size=size, sha256=sha256)


def _manifest_lines(archive: StoredZip, *, beginning: bytes = b"") -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines with that ``beginning``, each with the JSON object that it is.  Raises ``FormatError``."""
    member = archive.find(MANIFEST)
    if member is None:
        raise FormatError("not an evidence bundle: it has no manifest")
    left = b""
    for chunk in archive.read_chunks(member):
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(beginning):
                continue
            document = parse_json(line) if len(line) <= _MAX_LINE_BYTES else None
            if not isinstance(document, dict):
                raise FormatError("the bundle's manifest holds a line that is no JSON object")
            yield line + b"\n", document
        if len(left) > _MAX_LINE_BYTES:
            raise FormatError("the bundle's manifest holds a line that is too long")
    if left:
        raise FormatError("the bundle's manifest is cut off")


def _check_form(line: bytes, expected: bytes) -> None:
    """Raises ``FormatError`` for a line that says more than programs read, or says it twice."""
    if line != expected:
        raise FormatError(f"a line of the bundle's manifest {FORM}")


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise FormatError(f"the bundle's manifest lacks {name}")
    return value


def _texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = members.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise FormatError(f"the bundle's manifest has no list of texts as {name}")
    return tuple(values)


def _time(members: Mapping[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(members, name))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise FormatError(f"the bundle's manifest has no time as {name}")
    return moment
