"""Log files: ``{"Records":[...]}``, UTF-8 JSON, one gzip member (``log-files-and-digests.md``, "Log file").

Rules: writing takes records as they lie in the journal, already JSON, and never parses them; reading is strict.
The digest of a log file is the SHA-256 of its uncompressed bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from opentrail.core.errors import FormatError
from opentrail.core.gzip_member import decode_member, encode_member

MAX_LOG_FILE_BYTES: Final = 50 * 1000 * 1000  # uncompressed; "50 MB" in its stricter reading
MAX_EVENT_BYTES: Final = 256 * 1024
CONTENT_TYPE: Final = "application/json"  # of log files and digest files, as CloudTrail puts them
CONTENT_ENCODING: Final = "gzip"

_CHUNK: Final = 128 * 1024  # what is joined, hashed and compressed in one go stays in the L2 cache
_HEAD: Final = b'{"Records":['
_TAIL: Final = b"]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedLogFile:
    """A log file to put: ``data`` is gzip; ``sha256`` (hex) and ``size`` (bytes) are of the uncompressed content."""

    data: bytes
    sha256: str
    size: int


def log_file_size(record_sizes: int, count: int) -> int:
    """The uncompressed size in bytes of a log file of ``count`` records whose sizes sum up to ``record_sizes``."""
    return len(_HEAD) + record_sizes + max(count - 1, 0) + len(_TAIL)


def encode_log_file(records: Sequence[bytes | memoryview]) -> EncodedLogFile:
    """Make a log file of ``records`` (each one JSON object, UTF-8; at least one, ``MAX_LOG_FILE_BYTES`` in all)."""
    assert records, "no events, no file"
    total = sum(map(len, records))
    assert log_file_size(total, len(records)) <= MAX_LOG_FILE_BYTES
    data, sha256, size = encode_member(_chunks(records, max(1, _CHUNK * len(records) // max(total, 1))))
    return EncodedLogFile(data=data, sha256=sha256, size=size)


def decode_log_file(data: bytes, *, max_size: int = MAX_LOG_FILE_BYTES) -> list[dict[str, Any]]:
    """The records of a log file whose uncompressed content has at most ``max_size`` bytes.

    Raises ``FormatError`` for anything that is not one gzip member with UTF-8 JSON, an object whose ``Records`` is a
    list of objects.
    """
    document = parse_json(decode_member(data, max_size=max_size))
    records = document.get("Records") if isinstance(document, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FormatError("the log file is not an object whose Records is a list of objects")
    return records


def parse_json(content: bytes) -> Any:
    """The value of a JSON text in UTF-8.  Raises ``FormatError``, also for ``NaN`` and its like (RFC 8259, 6).

    The standard library's parser: slower than others, but it keeps large integers and lone surrogates as they are.
    """
    try:
        return json.loads(content.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}") from None


def _chunks(records: Sequence[bytes | memoryview], count: int) -> Iterator[bytes]:
    opening = _HEAD
    for start in range(0, len(records), count):
        closing = b"" if start + count < len(records) else _TAIL
        yield opening + b",".join(records[start : start + count]) + closing
        opening = b","


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON value")
