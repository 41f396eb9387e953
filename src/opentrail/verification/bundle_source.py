"""Reading an evidence bundle: a ``TrailSource``, and a check of the bundle against its own manifest.

Rules: memory does not grow with the bundle; the manifest and the archive are in one order, and are compared by going
through both at once.  What a person may read in it is as ``BundleWriter`` writes it, or a finding, but for the texts
that ``reservations`` names.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from opentrail.core.digests import MAX_DIGEST_BYTES
from opentrail.core.errors import FormatError, NoSuchObject
from opentrail.core.findings import Finding, FindingCode, counted, found
from opentrail.core.log_folder import DELIVERY
from opentrail.core.logfiles import parse_json
from opentrail.core.public_keys import PublicKey, decode_public_keys, encode_public_keys, is_fingerprint_of
from opentrail.verification.bundle import (
    DIGESTS,
    ENDING,
    FORMAT,
    MANIFEST,
    METADATA,
    OBJECTS,
    PLACES,
    PUBLIC_KEYS,
    README,
    REPORT_HTML,
    REPORT_JSON,
    VERSION,
    BundleHeader,
    encode_entry,
    encode_header,
    encode_left_out,
    encode_line,
    metadata_name,
    place_of,
)
from opentrail.verification.discovery import find_folders
from opentrail.verification.named_logs import BundledObjects, NamedLogs
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import Span
from opentrail.verification.source import ObjectTooLarge, OnKey, SourceObject, ignore_key
from opentrail.verification.stored_zip import Member, StoredZip

_MAX_METADATA_BYTES: Final = 64 * 1024
_MAX_LINE_BYTES: Final = 16 * 1024
_MAX_KEYS_BYTES: Final = 4 * 1024 * 1024
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998  # a day more or less is a date, too
_UNSOUND: Final = "is not what the zip archive says of it"
_FORM: Final = "is not written as `opentrail evidence` writes it"
_LEFT_OUT: Final = b'{"leftOut":'  # how the manifest's line on such an object begins


class BundleSource:
    """A bundle to verify: a ``TrailSource``.  Raises ``FormatError`` when the file is none, ``StoreError``."""

    reads_at_once: Final = 1
    survives_fork: Final = True

    def __init__(self, path: str | os.PathLike[str], *, name: str = "") -> None:
        self.name = name or os.fspath(path)
        self._zip = StoredZip(path, place_of)
        try:
            self.header = _read_header(self._zip)
        except BaseException:
            self._zip.close()
            raise
        self.bucket = self.header.bucket
        self.keeps_metadata = self.header.keeps_metadata

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """Every key below ``prefix`` after ``start_after``, in byte order."""
        wanted, after = prefix.encode(), start_after.encode()
        for raw in self._raw_keys(max(wanted, after)):
            if not raw.startswith(wanted):
                return
            if raw != after:
                yield raw.decode()

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """The prefixes one level below ``prefix``."""
        folders: list[str] = []
        wanted = start = prefix.encode()
        while (raw := next(self._raw_keys(start), b"")).startswith(wanted) and raw:
            folder, slash, _ = raw[len(wanted) :].partition(b"/")
            if slash:
                folders.append((wanted + folder + slash).decode())
            else:
                beside(raw.decode())
            start = wanted + folder + b"0" if slash else raw + b"\0"  # "0" is what follows "/"
        return folders

    def read(self, key: str, *, limit: int) -> SourceObject:
        """The object, and a digest's metadata.  Raises ``NoSuchObject``, ``ObjectTooLarge``, ``StoreError``."""
        member = self._find(key)
        if member.size > limit:
            raise ObjectTooLarge(key, limit)
        return SourceObject(data=self._zip.read(member), metadata=self._metadata(key) if DIGESTS in key else {})

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """The object's bytes in pieces."""
        return self._zip.read_chunks(self._find(key))

    def sibling(self, bucket: str) -> None:
        """A bundle is of one bucket."""

    def reopen(self) -> None:
        """The file is read by position: its descriptor can be shared."""

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def public_keys(self) -> tuple[PublicKey, ...]:
        """The public keys that the bundle brings.  Raises ``FormatError``."""
        member = self._zip.find(PUBLIC_KEYS)
        if member is None or member.size > _MAX_KEYS_BYTES:
            raise FormatError("the bundle brings no public keys")
        try:
            return decode_public_keys(self._zip.read(member))
        except FormatError as fault:
            raise FormatError(f"{PUBLIC_KEYS} in the bundle: {fault}") from None

    def reservations(self) -> list[str]:
        """What the verdict on the bundle does not speak of, each a sentence."""
        left_out, first = 0, ""
        with suppress(FormatError):  # which ``check`` tells of
            for line, document in _manifest_lines(self._zip):
                if line.startswith(_LEFT_OUT):
                    first = first or f"{document.get('leftOut')}: {document.get('why')}"
                    left_out += 1
        more = f", and {counted(left_out - 1, 'more object')}" if left_out > 1 else ""
        said = [f"not in the bundle, or not whole, though it lay at the source: {first}{more} (see {MANIFEST})"]
        texts = [name for name in (README, REPORT_HTML, REPORT_JSON) if self._zip.find(name)]
        words = f"not looked at: what {', '.join(texts)} in the bundle say: these are words of whoever packed it"
        return said * (left_out > 0) + [words] * bool(texts)

    def check(self) -> Iterator[Finding]:
        """What speaks against the bundle itself: its manifest, what else lies in it, and how its keys are named."""
        yield from self._check_asked()
        yield from _check_manifest(self._zip)
        yield from self._check_objects()
        yield from self._check_metadata()
        yield from self._check_keys()

    def _check_asked(self) -> Iterator[Finding]:
        """What was asked for when the bundle was packed must be what it tells of."""
        header = self.header
        start, end = header.requested_start, header.requested_end
        if (start and start < header.start) or (end and end + DELIVERY > header.end):
            yield _contradiction(MANIFEST, "says that a longer time was asked for than the bundle holds")
        folders = list(find_folders(self, VerifyRequest()))
        here = {folder.account_id for folder in folders} | {folder.region for folder in folders}
        for text in sorted({*header.account_ids, *header.regions} - here):
            message = "was asked for when the bundle was packed, and no digest of it was found at the source"
            yield found(FindingCode.NO_DIGESTS, text, message)

    def _check_objects(self) -> Iterator[Finding]:
        """Whoever unpacks a bundle reads all of it: nothing may lie in it that a verification does not look at."""
        span = Span(start=self.header.start, end=self.header.end)
        named = NamedLogs(span)
        for member in self._zip.members((PLACES.index(OBJECTS), OBJECTS.encode())):
            if member.name.startswith(OBJECTS) and DIGESTS in member.name and member.size <= MAX_DIGEST_BYTES:
                named.learn(member.name.removeprefix(OBJECTS), self._zip.read(member))
        bundled = BundledObjects(span, named)
        for raw in self._raw_keys(b""):
            key = raw.decode()
            if not bundled.holds(key):
                yield _contradiction(OBJECTS + key, "lies outside of what the bundle says it holds: nothing proves it")

    def _check_metadata(self) -> Iterator[Finding]:
        """Nothing may stand there but the metadata of digests that are in the bundle."""
        for member in self._zip.members((PLACES.index(METADATA), b"")):
            key = member.name.removeprefix(METADATA).removesuffix(ENDING)
            if not member.name.startswith(METADATA):
                return
            if DIGESTS not in key or self._zip.find(OBJECTS + key) is None:
                yield _contradiction(member.name, "is the metadata of no digest that is in the bundle")
            elif not self._is_as_written(member, encode_line(self._metadata(key))):
                yield _contradiction(member.name, _FORM)

    def _check_keys(self) -> Iterator[Finding]:
        """A reader compares fingerprints with those that the recording side publishes: they must be the keys' own."""
        keys, member = self.public_keys(), self._zip.find(PUBLIC_KEYS)
        if member is None or not self._is_as_written(member, encode_public_keys(keys)):
            yield _contradiction(PUBLIC_KEYS, _FORM)
        for key in keys:
            if not is_fingerprint_of(key.fingerprint, key.value):
                message = f"calls a key {key.fingerprint}, which is not the fingerprint of that key"
                yield _contradiction(PUBLIC_KEYS, message)

    def _raw_keys(self, start: bytes) -> Iterator[bytes]:
        """The keys, in UTF-8, from ``start`` on."""
        for member in self._zip.members((PLACES.index(OBJECTS), OBJECTS.encode() + start)):
            if not member.name.startswith(OBJECTS):
                return
            yield member.name.removeprefix(OBJECTS).encode()

    def _is_as_written(self, member: Member, data: bytes) -> bool:
        return member.size == len(data) and self._zip.read(member) == data

    def _find(self, key: str) -> Member:
        member = self._zip.find(OBJECTS + key)
        if member is None:
            raise NoSuchObject(key)
        return member

    def _metadata(self, key: str) -> dict[str, str]:
        """The digest's metadata; none where they are not what metadata can be."""
        member = self._zip.find(metadata_name(key))
        if member is None or member.size > _MAX_METADATA_BYTES:
            return {}
        try:
            metadata = parse_json(self._zip.read(member))
        except FormatError:
            return {}
        if not isinstance(metadata, dict):
            return {}
        return {name: value for name, value in metadata.items() if isinstance(value, str)}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member as the manifest has it."""

    name: str
    size: int
    sha256: str


def _check_manifest(archive: StoredZip) -> Iterator[Finding]:
    """Both are in the same order: they are merged."""
    manifest = archive.find(MANIFEST)
    assert manifest is not None, "its header was read"
    if not _is_sound(archive, manifest):
        yield _contradiction(MANIFEST, _UNSOUND)
    members = (member for member in archive.members() if member.name != MANIFEST)
    member = next(members, None)
    try:
        for entry in _manifest_entries(archive):
            while member is not None and place_of(member.name) < place_of(entry.name):
                yield _contradiction(member.name, "lies in the bundle, and its manifest does not name it")
                member = next(members, None)
            if member is None or member.name != entry.name:
                yield _contradiction(entry.name, "is named by the bundle's manifest, and is not in it")
                continue
            yield from _compare(archive, member, entry)
            member = next(members, None)
    except FormatError as fault:
        yield found(FindingCode.BUNDLE_CONTRADICTS_MANIFEST, MANIFEST, str(fault))
        return
    while member is not None:
        yield _contradiction(member.name, "lies in the bundle, and its manifest does not name it")
        member = next(members, None)


def _compare(archive: StoredZip, member: Member, entry: _Entry) -> Iterator[Finding]:
    sha256 = hashlib.sha256()
    is_sound = _is_sound(archive, member, sha256.update)
    if (member.size, sha256.hexdigest()) != (entry.size, entry.sha256):
        yield _contradiction(member.name, "is not what the bundle's manifest says")
    elif not is_sound:
        yield _contradiction(member.name, _UNSOUND)


def _is_sound(archive: StoredZip, member: Member, feed: Callable[[bytes], None] = lambda _: None) -> bool:
    """Whether the zip archive says one thing of the member: in its directory, before its data, and by its checksum.

    The data are read once, and given to ``feed`` too.
    """
    crc = 0
    for chunk in archive.read_chunks(member):
        crc = zlib.crc32(chunk, crc)
        feed(chunk)
    return crc == member.crc and archive.has_header(member)


def _contradiction(name: str, message: str) -> Finding:
    return found(FindingCode.BUNDLE_CONTRADICTS_MANIFEST, name.removeprefix(OBJECTS), message, member=name)


def _manifest_lines(archive: StoredZip) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines, each with the JSON object that it is.  Raises ``FormatError``."""
    member = archive.find(MANIFEST)
    if member is None:
        raise FormatError("not an evidence bundle: it has no manifest")
    left = b""
    for chunk in archive.read_chunks(member):
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            document = parse_json(line) if len(line) <= _MAX_LINE_BYTES else None
            if not isinstance(document, dict):
                raise FormatError("the bundle's manifest holds a line that is no JSON object")
            yield line + b"\n", document
        if len(left) > _MAX_LINE_BYTES:
            raise FormatError("the bundle's manifest holds a line that is too long")
    if left:
        raise FormatError("the bundle's manifest is cut off")


def _manifest_entries(archive: StoredZip) -> Iterator[_Entry]:
    """The members that the manifest names, in order.  Raises ``FormatError``."""
    lines = _manifest_lines(archive)
    next(lines, None)
    last = (-1, b"")
    for line, document in lines:
        if line.startswith(_LEFT_OUT):
            _check_form(line, encode_left_out(_text(document, "leftOut"), _text(document, "why")))
            continue
        name, size, sha256 = document.get("name"), document.get("size"), document.get("sha256")
        if not isinstance(name, str) or not isinstance(size, int) or not isinstance(sha256, str):
            raise FormatError("the bundle's manifest holds a line that names no member")
        _check_form(line, encode_entry(name, size, sha256))
        place = place_of(name)
        if place <= last:
            raise FormatError(f"the bundle's manifest names {name!r} twice or out of order")
        last = place
        yield _Entry(name, size, sha256)


def _check_form(line: bytes, expected: bytes) -> None:
    """Raises ``FormatError`` for a line that says more than programs read, or says it twice."""
    if line != expected:
        raise FormatError(f"a line of the bundle's manifest {_FORM}")


def _read_header(archive: StoredZip) -> BundleHeader:
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
