"""Zip archives of one exact form: what an evidence bundle is packed in.

Rules (APPNOTE.TXT 6.3.10, of which this is a small part):

* Members are stored, never compressed: nothing in an archive can inflate.  They have UTF-8 names, one fixed time, the
  mode of a plain file, and lie one after the other without a gap, in a strictly ascending order that the caller knows.
* An archive has one spelling.  The reader makes each entry of the directory anew from what it read and compares: what
  another program could read otherwise (a second directory, two members of a name, a symlink, encryption, data that
  nothing names) is refused with a ``FormatError``; of the headers before the data ``has_header`` tells.
* Nothing is written to a disk while reading, and memory does not grow with the archive, but for a name of every 16th
  member.  Reads go by position: threads and forked processes share an archive.
* A member has less than 4 GB; an archive (zip64) any size.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Final

from opentrail.core.errors import FormatError, StoreError

MAX_MEMBER_BYTES: Final = 0xFFFFFFFE
MAX_NAME_BYTES: Final = 2 * 1024  # S3's limit for a key is half of it

Order = Callable[[str], tuple[int, bytes]]  # where a name stands; raises FormatError for one that has no place

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR: Final = struct.Struct("<4sIQI")
_OFFSET64: Final = struct.Struct("<2HQ")

_UTF8: Final = 0x0800
_DATE: Final = 0x0021  # 1980-01-01, the earliest; the time is 0
_PLAIN_FILE: Final = 0o100644 << 16
_UNIX: Final = 3 << 8
_MOST16: Final = 0xFFFF
_MOST32: Final = 0xFFFFFFFF
_STEP: Final = 16
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member: its ``size`` in bytes, its CRC-32, and where its local header begins."""

    name: str
    size: int
    crc: int
    offset: int

    @property
    def data_offset(self) -> int:
        """Where its data begin."""
        return self.offset + len(encode_local(self))

    @property
    def end(self) -> int:
        """Where the next thing begins."""
        return self.data_offset + self.size


def encode_local(member: Member) -> bytes:
    """The header before a member's data."""
    raw = member.name.encode()
    fields = (_version(member), _UTF8, 0, 0, _DATE, member.crc, member.size, member.size, len(raw), 0)
    return _LOCAL.pack(b"PK\3\4", *fields) + raw


def encode_central(member: Member) -> bytes:
    """The member's entry in the central directory."""
    raw, offset, extra = member.name.encode(), member.offset, b""
    if offset >= _MOST32:
        extra, offset = _OFFSET64.pack(1, 8, member.offset), _MOST32
    fields = (_version(member) | _UNIX, _version(member), _UTF8, 0, 0, _DATE, member.crc, member.size, member.size)
    return _CENTRAL.pack(b"PK\1\2", *fields, len(raw), len(extra), 0, 0, 0, _PLAIN_FILE, offset) + raw + extra


def encode_end(count: int, directory: int, size: int) -> bytes:
    """What follows the central directory of ``count`` entries, ``size`` bytes from the position ``directory``."""
    small = _END.pack(
        b"PK\5\6", 0, 0, min(count, _MOST16), min(count, _MOST16), min(size, _MOST32), min(directory, _MOST32), 0
    )
    if count < _MOST16 and size < _MOST32 and directory < _MOST32:
        return small
    large = _END64.pack(b"PK\6\6", _END64.size - 12, 45 | _UNIX, 45, 0, 0, count, count, size, directory)
    return large + _LOCATOR.pack(b"PK\6\7", 0, directory + size, 1) + small


def _measure(content: IO[bytes]) -> tuple[int, int]:
    """Size and CRC-32 of all that ``content`` holds."""
    content.seek(0)
    size = crc = 0
    while chunk := content.read(_CHUNK):
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return size, crc


def _version(member: Member) -> int:
    """The version needed to extract: 2.0, or 4.5 where zip64 begins."""
    return 45 if member.offset >= _MOST32 else 20


class StoredZipWriter:
    """Writes an archive into ``file``; what is added must come in order.  The directory waits in a temporary file."""

    def __init__(self, file: IO[bytes], order: Order) -> None:
        self._file = file
        self._order = order
        self._last: tuple[int, bytes] = (-1, b"")
        self._directory = TemporaryFile()  # noqa: SIM115  closed with this object
        self._count = 0
        self._position = 0

    def add(self, name: str, content: IO[bytes]) -> None:
        """Write a member: all that ``content`` holds."""
        place = self._order(name)
        assert self._last < place, name
        self._write(name, content, self._directory)
        self._last = place

    def finish(self, name: str, content: IO[bytes]) -> None:
        """Write the last member, read from ``content``, and the directory."""
        position, count = self._position, self._count
        with TemporaryFile() as rest:
            self._write(name, content, rest)
            size = self._directory.tell() + rest.tell()
            for part in (self._directory, rest):
                part.seek(0)
                copyfileobj(part, self._file, _CHUNK)
        self._file.write(encode_end(self._count, self._position, size))
        self._file.flush()
        self._position, self._count = position, count

    def resume(self) -> None:
        """Take away what ``finish`` wrote: more members follow."""
        self._file.seek(self._position)
        self._file.truncate()

    def _write(self, name: str, content: IO[bytes], directory: IO[bytes]) -> None:
        size, crc = _measure(content)
        assert size <= MAX_MEMBER_BYTES
        assert len(name.encode()) <= MAX_NAME_BYTES
        member = Member(name=name, size=size, crc=crc, offset=self._position)
        self._file.write(encode_local(member))
        content.seek(0)
        copyfileobj(content, self._file, _CHUNK)
        directory.write(encode_central(member))
        self._count, self._position = self._count + 1, member.end

    def close(self) -> None:
        """Release the temporary file; ``file`` stays open."""
        self._directory.close()


class StoredZip:
    """An archive to read.  Raises ``FormatError`` when it is not of the form, ``StoreError`` when the disk fails."""

    def __init__(self, path: str | os.PathLike[str], order: Order) -> None:
        self._order = order
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"{os.fspath(path)}: {error.strerror}", retryable=False) from None
        try:
            self._directory, self._directory_end, self.count = self._read_end(os.fstat(self._descriptor).st_size)
            self._places: list[tuple[int, bytes]] = []  # of every 16th member
            self._positions: list[int] = []  # of their entries
            self._scan()
        except BaseException:
            os.close(self._descriptor)
            raise

    def members(self, start: tuple[int, bytes] = (-1, b"")) -> Iterator[Member]:
        """Every member that does not stand before ``start``, in order."""
        at = max(0, bisect_right(self._places, start) - 1)
        if not self._positions:
            return
        for _, member in self._entries(self._positions[at]):
            if self._order(member.name) >= start:
                yield member

    def find(self, name: str) -> Member | None:
        """The member ``name``."""
        try:
            place = self._order(name)
        except FormatError:
            return None
        at = bisect_right(self._places, place) - 1
        if at < 0:
            return None
        end = self._positions[at + 1] if at + 1 < len(self._positions) else self._directory_end
        for _, member in self._entries(self._positions[at], end):
            if member.name == name:
                return member
        return None

    def read(self, member: Member) -> bytes:
        """The member's data, whole."""
        return self._pread(member.size, member.data_offset)

    def read_chunks(self, member: Member) -> Iterator[bytes]:
        """The member's data in pieces of 1 MB."""
        for position in range(member.data_offset, member.end, _CHUNK):
            yield self._pread(min(_CHUNK, member.end - position), position)

    def has_header(self, member: Member) -> bool:
        """Whether the header before the data says the same as the directory; ``read`` goes by the directory."""
        header = encode_local(member)
        return self._pread(len(header), member.offset) == header

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _read_end(self, size: int) -> tuple[int, int, int]:
        """Begin and end of the central directory, and how many entries it has."""
        tail_size = min(size, _END.size + _LOCATOR.size + _END64.size)
        tail = self._pread(tail_size, size - tail_size)
        if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
            raise FormatError("not a zip archive, or bytes follow its end")
        _, _, _, _, count, length, directory, _ = _END.unpack(tail[-_END.size :])
        if count == _MOST16 or _MOST32 in {length, directory}:
            if len(tail) < tail_size or tail[:4] != b"PK\6\6":
                raise FormatError("the zip archive lacks its zip64 end")
            _, _, _, _, _, _, _, count, length, directory = _END64.unpack(tail[: _END64.size])
        end = encode_end(count, directory, length)
        if tail[-len(end) :] != end or directory + length + len(end) != size:
            raise FormatError("the end of the zip archive contradicts itself")
        return directory, directory + length, count

    def _scan(self) -> None:
        """Check the whole directory once, and remember where every 16th entry is."""
        count, position, last = 0, 0, (-1, b"")
        for entry, member in self._entries(self._directory):
            place = self._order(member.name)
            if place <= last:
                raise FormatError(f"the zip archive holds {member.name!r} twice or out of order")
            if member.offset != position:
                raise FormatError(f"the zip archive holds something that it does not name, before {member.name!r}")
            if count % _STEP == 0:
                self._places.append(place)
                self._positions.append(entry)
            count, position, last = count + 1, member.end, place
        if count != self.count or position != self._directory:
            raise FormatError("the zip archive's directory does not cover it")

    def _entries(self, position: int, end: int | None = None) -> Iterator[tuple[int, Member]]:
        """The entries from ``position`` to ``end`` (None: all), each with its own position."""
        end = self._directory_end if end is None else end
        ahead = min(_CHUNK, end - position)
        data, at = b"", 0
        while position < end:
            if len(data) - at < _CENTRAL.size + MAX_NAME_BYTES + _OFFSET64.size:
                data, at = self._pread(min(max(ahead, 2 * MAX_NAME_BYTES), end - position), position), 0
            member, size = _decode_central(data, at)
            yield position, member
            position, at = position + size, at + size

    def _pread(self, size: int, position: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size, position)
            while len(data) < size and (more := os.pread(self._descriptor, size - len(data), position + len(data))):
                data += more
        except OSError as error:
            raise StoreError(f"read: {error.strerror}", retryable=False) from None
        if len(data) < size:
            raise FormatError("the zip archive is cut off")
        return data


def _decode_central(data: bytes, at: int) -> tuple[Member, int]:
    """The entry at ``at`` and its size in bytes.  Raises ``FormatError`` for any spelling but ours."""
    if len(data) - at < _CENTRAL.size:
        raise FormatError("the zip archive's directory is cut off")
    fields = _CENTRAL.unpack_from(data, at)
    crc, size, name_size, extra_size, offset = fields[7], fields[8], fields[10], fields[11], fields[16]
    end = at + _CENTRAL.size + name_size
    if size > MAX_MEMBER_BYTES:
        raise FormatError("the zip archive holds a member of 4 GB or more")
    if name_size > MAX_NAME_BYTES or len(data) < end + extra_size:
        raise FormatError("the zip archive's directory is cut off, or holds a name that is too long")
    if offset == _MOST32:
        if extra_size != _OFFSET64.size:
            raise FormatError("the zip archive's directory lacks a zip64 offset")
        offset = _OFFSET64.unpack_from(data, end)[2]
    try:
        name = data[at + _CENTRAL.size : end].decode()
    except UnicodeDecodeError:
        raise FormatError("the zip archive holds a name that is not UTF-8") from None
    member = Member(name=name, size=size, crc=crc, offset=offset)
    encoded = encode_central(member)
    if data[at : at + len(encoded)] != encoded or len(encoded) != end + extra_size - at:
        raise FormatError(f"the zip archive holds {name!r} in a form that evidence bundles do not have")
    return member, len(encoded)
