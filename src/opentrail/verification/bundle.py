"""Evidence bundles: what is needed to verify a span of a trail, in one file.

    README.txt            how to check it
    objects/KEY           digests and log files, byte for byte, in byte order of their keys
    metadata/KEY.json     the user metadata of the digests (their signatures), where the source kept them
    public-keys.json      public keys, as ListPublicKeys answers them
    report.html           what was found when the bundle was made
    report.json           the same for programs
    manifest.jsonl        a line on the bundle, then one for each member above: name, size, SHA-256

Rules: the file is a ``StoredZip``, and each JSON text in it that is ours has one spelling, so that nobody can write
beside it what no program reads.  The manifest finds accidents and names what was taken in; it proves nothing, for
whoever can change a member can change the manifest: the signatures prove.  What is wrong with a member or the manifest
is a ``Finding``, what is wrong with the form a ``FormatError`` (``bundle_source``).  ``docs/evidence.md`` is for
those who receive one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Any, Final

from opentrail.core.errors import FormatError, StoreError
from opentrail.core.events import format_time
from opentrail.core.layout import DIGEST_FOLDER
from opentrail.verification.source import SourceObject
from opentrail.verification.stored_zip import StoredZipWriter

README: Final = "README.txt"
OBJECTS: Final = "objects/"
METADATA: Final = "metadata/"
PUBLIC_KEYS: Final = "public-keys.json"
REPORT_HTML: Final = "report.html"
REPORT_JSON: Final = "report.json"
MANIFEST: Final = "manifest.jsonl"
PLACES: Final = (README, OBJECTS, METADATA, PUBLIC_KEYS, REPORT_HTML, REPORT_JSON, MANIFEST)  # in this order
DIGESTS: Final = f"/{DIGEST_FOLDER}/"  # in the keys of objects that have metadata
FORMAT: Final = "opentrail-evidence"
VERSION: Final = 1
ENDING: Final = ".json"  # of a member with metadata
GONE: Final = "it is not there"  # why an object is left out that was listed, and then was not there to be read
HARMLESS: Final = "it is none of the trail's files, and nothing that other programs would take for one"  # the same
MAX_LEFT_OUT_BYTES: Final = 32 * 1024 * 1024  # of the manifest's lines on what was left out: some 100,000 of them

_MOST_WORDS: Final = 1000  # characters of a reason: some hold a key, or an answer of a server
_MAX_KEY_BYTES: Final = 1024  # S3's limit
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\\]|(?:\A|/)\.{0,2}(?:/|\Z)")


def is_plain_key(key: str) -> bool:
    """Whether ``key`` can be a name in an archive that people unpack: no ``..``, no empty part, nothing unprintable."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return False
    return size <= _MAX_KEY_BYTES and _UNSAFE.search(key) is None


def place_of(name: str) -> tuple[int, bytes]:
    """Where the member ``name`` stands in a bundle.  Raises ``FormatError`` for a name that no member has."""
    area, slash, key = name.partition("/")
    if area + slash not in PLACES or (slash and not is_plain_key(key.removesuffix(ENDING))):
        raise FormatError(f"an evidence bundle has no member {name!r}")
    raw = name.encode()
    return PLACES.index(area + slash), raw.removesuffix(ENDING.encode()) if area + slash == METADATA else raw


def metadata_name(key: str) -> str:
    """The member with the metadata of the object at ``key``."""
    return f"{METADATA}{key}{ENDING}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHeader:
    """What the manifest's first line says of the bundle.

    ``start`` and ``end`` are the span of ``digestEndTime`` (both included) that it holds whole: what is verified.
    """

    source: str
    bucket: str
    keeps_metadata: bool
    start: datetime
    end: datetime
    requested_start: datetime | None
    requested_end: datetime | None
    account_ids: tuple[str, ...] = ()  # those that were asked for alone; none: all that were found
    regions: tuple[str, ...] = ()  # the same
    made_at: datetime
    made_by: str

    def words(self) -> str:
        """What it says of how the bundle came to be, for people: nothing proves it."""
        asked = [format_time(moment) if moment else "?" for moment in (self.requested_start, self.requested_end)]
        only = ", ".join((*self.account_ids, *self.regions)) or "all accounts and regions"
        return (
            f"by its own words packed by {self.made_by} on {format_time(self.made_at)} from {self.source}; asked for "
            f"was the time from {' to '.join(asked)}, of {only}"
        )


class BundleWriter:
    """Writes a bundle into ``file``; objects must come in byte order of their keys.  Memory does not grow with it."""

    def __init__(self, file: IO[bytes], header: BundleHeader) -> None:
        self._zip = StoredZipWriter(file, place_of)
        self._lines = TemporaryFile()  # noqa: SIM115  closed with this object
        self._metadata = TemporaryFile()  # noqa: SIM115  the same
        self._lines.write(encode_header(header))
        self.count = 0  # of objects
        self.size = 0  # of these, in bytes
        self.left_out = 0
        self._left_out_bytes = 0

    def add_object(self, key: str, found: SourceObject) -> None:
        """Take in an object; of a digest also its metadata."""
        self._add(OBJECTS + key, found.data)
        if found.metadata and DIGESTS in key:
            self._metadata.write(encode_line([key, dict(found.metadata)]))
        self.count, self.size = self.count + 1, self.size + len(found.data)

    def leave_out(self, key: str, why: str) -> None:
        """Say that the object or folder ``key`` was there and is not taken in, or not whole.

        Raises ``StoreError`` where so many are that nobody would read of them.
        """
        line = encode_left_out(key, why[:_MOST_WORDS])
        self._left_out_bytes += len(line)
        if self._left_out_bytes > MAX_LEFT_OUT_BYTES:
            message = f"more than {self.left_out:,} objects cannot be taken in, such as {key}: {why}; narrow the time"
            raise StoreError(message, retryable=False)
        self._lines.write(line)
        self.left_out += 1

    def add_text(self, name: str, data: bytes) -> None:
        """Write one of the members that are no objects."""
        self.add_parts(name, (data,))

    def add_parts(self, name: str, parts: Iterable[bytes]) -> None:
        """The same, of a text that is too long to be held."""
        self._flush_metadata()
        self._add_parts(name, parts)

    def add_long_object(self, key: str, parts: Iterable[bytes]) -> None:
        """Take in an object that is too long to be held, without metadata."""
        self.count, self.size = self.count + 1, self.size + self._add_parts(OBJECTS + key, parts)

    def _add_parts(self, name: str, parts: Iterable[bytes]) -> int:
        """Write a member; its size in bytes."""
        with TemporaryFile() as file:
            sha256 = hashlib.sha256()
            for part in parts:
                file.write(part)
                sha256.update(part)
            size = file.tell()
            self._zip.add(name, file)
        self._lines.write(encode_entry(name, size, sha256.hexdigest()))
        return size

    def finish(self) -> None:
        """Write the manifest and the archive's directory."""
        self._flush_metadata()
        self._zip.finish(MANIFEST, self._lines)

    def resume(self) -> None:
        """Take away what ``finish`` wrote: more members follow."""
        self._zip.resume()

    def close(self) -> None:
        """Release the temporary files; ``file`` stays open."""
        for each in (self._zip, self._lines, self._metadata):
            each.close()

    def _flush_metadata(self) -> None:
        self._metadata.seek(0)
        for line in self._metadata:
            key, metadata = json.loads(line)
            self._add(metadata_name(key), encode_line(metadata))
        self._metadata.seek(0)
        self._metadata.truncate()

    def _add(self, name: str, data: bytes) -> None:
        self._zip.add(name, BytesIO(data))
        self._lines.write(encode_entry(name, len(data), hashlib.sha256(data).hexdigest()))


def encode_header(header: BundleHeader) -> bytes:
    """The manifest's first line."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "source": header.source,
        "bucket": header.bucket,
        "keepsMetadata": header.keeps_metadata,
        "start": format_time(header.start),
        "end": format_time(header.end),
        "requested": {
            "start": format_time(header.requested_start) if header.requested_start else None,
            "end": format_time(header.requested_end) if header.requested_end else None,
            "accountIds": list(header.account_ids),
            "regions": list(header.regions),
        },
        "madeAt": format_time(header.made_at),
        "madeBy": header.made_by,
    }
    return encode_line(document)


def encode_entry(name: str, size: int, sha256: str) -> bytes:
    """The manifest's line on the member ``name``."""
    return encode_line({"name": name, "size": size, "sha256": sha256})


def encode_left_out(key: str, why: str) -> bytes:
    """The manifest's line on an object that is not in the bundle, or not whole, or on a folder that was not listed."""
    return encode_line({"leftOut": key, "why": why})


def encode_line(document: Any) -> bytes:
    """A JSON text of one line, in ASCII: of the manifest, or an object's metadata."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
