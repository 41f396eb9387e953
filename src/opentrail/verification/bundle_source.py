"""Reading an evidence bundle: a ``TrailSource``, and a check of the bundle against its own manifest.

Rules: memory does not grow with the bundle; the manifest and the archive are in one order, and are compared by going
through both at once.  What a person may read in it is as ``BundleWriter`` writes it, or a finding, but for the texts
that ``reservations`` names.  What whoever packed it left out lies where it lay, and cannot be read (``left_out``).
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from copy import copy
from heapq import merge
from typing import Final

from opentrail.core.digests import MAX_DIGEST_BYTES
from opentrail.core.errors import FormatError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.log_folder import DELIVERY
from opentrail.core.logfiles import parse_json
from opentrail.core.public_keys import PublicKey, decode_public_keys, encode_public_keys, is_fingerprint_of
from opentrail.verification.bundle import (
    DIGESTS,
    ENDING,
    MANIFEST,
    METADATA,
    OBJECTS,
    PLACES,
    PUBLIC_KEYS,
    README,
    REPORT_HTML,
    REPORT_JSON,
    encode_line,
    metadata_name,
    place_of,
)
from opentrail.verification.bundle_manifest import FORM, ManifestEntry, manifest_entries, read_header, read_left_out
from opentrail.verification.discovery import find_folders
from opentrail.verification.left_out import LeftOut
from opentrail.verification.named_logs import BundledObjects, NamedLogs
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import Span
from opentrail.verification.source import ObjectTooLarge, OnKey, SourceObject, ignore_key
from opentrail.verification.stored_zip import Member, StoredZip

_MAX_METADATA_BYTES: Final = 64 * 1024
_MAX_KEYS_BYTES: Final = 4 * 1024 * 1024
_UNSOUND: Final = "is not what the zip archive says of it"


class BundleSource:
    """A bundle to verify: a ``TrailSource``.  Raises ``FormatError`` when the file is none, ``StoreError``."""

    reads_at_once: Final = 1
    survives_fork: Final = True

    def __init__(self, path: str | os.PathLike[str], *, name: str = "") -> None:
        self.name = name or os.fspath(path)
        self._zip = StoredZip(path, place_of)
        try:
            self.header = read_header(self._zip)
            self._left_out = read_left_out(self._zip)
        except BaseException:
            self._zip.close()
            raise
        self.bucket = self.header.bucket
        self.keeps_metadata = self.header.keeps_metadata

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """Every key below ``prefix`` after ``start_after``, in byte order, also of objects that were left out.

        Raises ``StoreError`` behind what it holds of a folder that was left out.
        """
        wanted, after = prefix.encode(), start_after.encode("utf-8", "surrogateescape")
        start = max(wanted, after)
        above = self._left_out.folder_above(wanted)
        folder, end = (above, b"") if above else self._left_out.next_folder(wanted, start) or (b"", b"")
        for raw in self._listed(start):
            if not raw.startswith(wanted) or (end and raw >= end):
                break
            if raw != after and not self._left_out.is_folder(raw):
                yield raw.decode("utf-8", "surrogateescape")
        if folder:
            raise self._left_out.refusal(folder)

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """The prefixes one level below ``prefix``.  Raises ``StoreError`` for a folder that was left out."""
        folders: list[str] = []
        wanted = start = prefix.encode("utf-8", "surrogateescape")
        if above := self._left_out.folder_above(wanted):
            raise self._left_out.refusal(above)
        while (raw := next(self._listed(start), b"")).startswith(wanted) and raw:
            folder, slash, _ = raw[len(wanted) :].partition(b"/")
            name = (wanted + folder + slash).decode("utf-8", "surrogateescape")
            (folders.append if slash else beside)(name)
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
        left_out = self._left_out.words()
        texts = [name for name in (README, REPORT_HTML, REPORT_JSON) if self._zip.find(name)]
        words = f"not looked at: what {', '.join(texts)} in the bundle say: these are words of whoever packed it"
        return [left_out] * bool(left_out) + [words] * bool(texts)

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
        held = copy(self)
        held._left_out = LeftOut(())  # noqa: SLF001  of this class
        folders = list(find_folders(held, VerifyRequest()))
        here = {folder.account_id for folder in folders} | {folder.region for folder in folders}
        for text in sorted({*header.account_ids, *header.regions} - here):
            if self._left_out.may_hold(text):
                message = "was asked for when the bundle was packed, and whoever packed it left out what lay there"
                yield found(FindingCode.FOLDER_UNREACHABLE, text, message)
            else:
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
                yield _contradiction(member.name, FORM)

    def _check_keys(self) -> Iterator[Finding]:
        """A reader compares fingerprints with those that the recording side publishes: they must be the keys' own."""
        keys, member = self.public_keys(), self._zip.find(PUBLIC_KEYS)
        if member is None or not self._is_as_written(member, encode_public_keys(keys)):
            yield _contradiction(PUBLIC_KEYS, FORM)
        for key in keys:
            if not is_fingerprint_of(key.fingerprint, key.value):
                message = f"calls a key {key.fingerprint}, which is not the fingerprint of that key"
                yield _contradiction(PUBLIC_KEYS, message)

    def _listed(self, start: bytes) -> Iterator[bytes]:
        """The keys from ``start`` on, also of objects, and folders, that were left out; in UTF-8, each once."""
        last = None
        for raw in merge(self._raw_keys(start), self._left_out.keys_from(start)):
            if raw != last:
                yield raw
            last = raw

    def _raw_keys(self, start: bytes) -> Iterator[bytes]:
        """The keys of the objects that it holds, in UTF-8, from ``start`` on."""
        for member in self._zip.members((PLACES.index(OBJECTS), OBJECTS.encode() + start)):
            if not member.name.startswith(OBJECTS):
                return
            yield member.name.removeprefix(OBJECTS).encode()

    def _is_as_written(self, member: Member, data: bytes) -> bool:
        return member.size == len(data) and self._zip.read(member) == data

    def _find(self, key: str) -> Member:
        """The object's member.  Raises ``NoSuchObject``; ``StoreError`` for one that was left out."""
        member = self._zip.find(OBJECTS + key)
        if member is None:
            self._left_out.refuse(key)
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


def _check_manifest(archive: StoredZip) -> Iterator[Finding]:
    """Both are in the same order: they are merged."""
    manifest = archive.find(MANIFEST)
    assert manifest is not None, "its header was read"
    if not _is_sound(archive, manifest):
        yield _contradiction(MANIFEST, _UNSOUND)
    members = (member for member in archive.members() if member.name != MANIFEST)
    member = next(members, None)
    try:
        for entry in manifest_entries(archive):
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


def _compare(archive: StoredZip, member: Member, entry: ManifestEntry) -> Iterator[Finding]:
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
