"""The calls that changed a trail, as the records of a proven log file tell of them.

Rules:

* They are few; a search for their event source comes first, which costs a third of what the hash costs.
* However large the log file, a few pieces of it are held, or a record.
* A record that cannot be read (too long, too deep) is passed by, and hides none behind it.

CloudTrail user guide, "CloudTrail record contents"; the calls are those of CloudTrail's API reference.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

EVENT_SOURCE: Final = b"cloudtrail.amazonaws.com"

_CHANGING: Final = frozenset(
    {
        "StopLogging",
        "DeleteTrail",
        "UpdateTrail",
        "StartLogging",
        "CreateTrail",
        "PutEventSelectors",
        "PutInsightSelectors",
    }
)
_NAMES: Final = tuple(f'"{name}"'.encode() for name in sorted(_CHANGING))
_PIECE: Final = 256 * 1024
_BLOCK: Final = 64 * 1024
_LONGEST_RECORD: Final = 4 * 1024 * 1024  # characters: sixteen times what CloudTrail puts into one
_OUTSIDE_TEXT: Final = re.compile(r'["{}\[\]]')
_INSIDE_TEXT: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailChange:
    """A call, recorded and answered without an error, that changed what a trail logs.

    What an UpdateTrail sets is None where it leaves it as it was; of other calls nothing is kept.
    """

    log_key: str  # the log file that says so
    event_name: str
    event_id: str
    event_time: datetime
    user: str  # the caller's ARN, or what the record has instead
    source_ip: str
    trail: str  # the trail's name or ARN, as the caller said it
    validation: bool | None = None
    bucket: str | None = None
    prefix: str | None = None
    is_multi_region: bool | None = None
    is_organization: bool | None = None

    @property
    def stops_logging(self) -> bool:
        """Whether no digests are made from then on."""
        return self.event_name in {"StopLogging", "DeleteTrail"} or self.validation is False

    @property
    def starts_logging(self) -> bool:
        """Whether digests may be made from then on which were not before."""
        is_update = any((self.validation, self.bucket, self.prefix, self.is_multi_region))
        return self.event_name in {"StartLogging", "CreateTrail"} or is_update or self.is_organization is not None

    @property
    def moves_chain(self) -> bool:
        """Whether digests lie elsewhere from then on, of chains that go on."""
        return self.bucket is not None or self.prefix is not None

    @property
    def ends_chain(self) -> bool:
        """Whether some chain of digests may end by it; ``core.chain_ends`` tells which."""
        is_other = self.is_organization is not None or self.is_multi_region is False
        return self.stops_logging or self.moves_chain or is_other


def find_changes(log_key: str, content: bytes) -> tuple[TrailChange, ...]:
    """The calls in the log file at ``log_key`` (``content``: uncompressed, proven) that changed a trail.

    What cannot be read is passed over: the content is as CloudTrail delivered it.
    """
    if content.rfind(EVENT_SOURCE) < 0 or not any(name in content for name in _NAMES):  # from behind: a third faster
        return ()
    reader = ChangeReader(log_key)
    for at in range(0, len(content), _PIECE):
        reader.feed(content[at : at + _PIECE])
    return tuple(reader.changes)


class ChangeSearch:
    """Whether a log file may hold calls that changed a trail, told from its pieces as they come.

    It overlooks none whose name stands less than ``_BLOCK`` bytes before its source: they are neighbours in a record.
    """

    def __init__(self) -> None:
        self.is_found = False
        self._has_source = False
        self._before = b""  # the block before
        self._pieces: list[bytes] = []  # of the next block
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """The next piece of the content."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= _BLOCK:
            self.finish()

    def finish(self) -> None:
        """Look at what has come."""
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if not self._has_source and _is_in(EVENT_SOURCE, self._before, block):
            self._has_source = True
            self.is_found = any(name in self._before for name in _NAMES)
        if self._has_source and not self.is_found:
            self.is_found = any(_is_in(name, self._before, block) for name in _NAMES)
        self._before = block


class ChangeReader:
    """Reads the calls that changed a trail from a log file's pieces as they come: ``changes``, in their order."""

    def __init__(self, log_key: str) -> None:
        self.changes: list[TrailChange] = []
        self._log_key = log_key
        self._utf8 = getincrementaldecoder("utf-8")(errors="replace")
        self._json = json.JSONDecoder(parse_int=float)  # Python refuses to read the longest of JSON's integers
        self._text = ""  # from where reading goes on
        self._is_inside = False  # the list of records
        self._passed: _RecordEnd | None = None  # the record that is passed by

    def feed(self, piece: bytes) -> None:
        """The next piece of the content."""
        self._text += self._utf8.decode(piece)
        at = 0
        if not self._is_inside:
            at = self._text.find("[") + 1
            self._is_inside = at > 0
        while self._is_inside:
            if self._passed is not None:
                at = self._passed.find(self._text, at)
                if self._passed.depth:
                    break
                self._passed = None
            start = self._text.find("{", at)
            if start < 0:
                break
            at = self._read(start)
            if at == start and self._passed is None:
                break  # it is not whole yet
        self._text = self._text[at:] if self._is_inside else ""

    def _read(self, start: int) -> int:
        """Read the record that begins at ``start``: where it ends, or ``start`` when it is not whole or passed by."""
        try:
            record, end = self._json.raw_decode(self._text, start)
        except RecursionError:
            self._passed = _RecordEnd()
            return start
        except ValueError:  # it is not whole yet, or not JSON
            if len(self._text) - start > _LONGEST_RECORD:
                self._passed = _RecordEnd()
            return start
        change = _read_change(self._log_key, record)  # an object, as it began with a brace
        if change is not None:
            self.changes.append(change)
        return end


class _RecordEnd:
    """Finds where a JSON object ends, of which no more is held than a piece, and counts how deep it is in it."""

    def __init__(self) -> None:
        self.depth = 0
        self._is_text = False
        self._is_escaped = False

    def find(self, text: str, at: int) -> int:
        """Go on at ``at``: behind the object's end, when ``depth`` is 0 then; or the end of ``text``."""
        if self._is_escaped and at < len(text):
            self._is_escaped = False
            at += 1
        while at < len(text):
            if self._is_text:
                match = _INSIDE_TEXT.match(text, at)
                at = match.end() + 1 if match else len(text)
                self._is_text = at > len(text) or text[at - 1] != '"'
                self._is_escaped = self._is_text and at == len(text)  # it stopped before a last backslash
                continue
            match = _OUTSIDE_TEXT.search(text, at)
            if match is None:
                break
            at = match.end()
            self._is_text = match[0] == '"'
            if not self._is_text:
                self.depth += 1 if match[0] in "{[" else -1
                if self.depth == 0:
                    return at
        return len(text)


def _is_in(needle: bytes, before: bytes, block: bytes) -> bool:
    """Whether ``needle`` ends in ``block``, which comes after ``before``."""
    reach = len(needle) - 1
    return block.rfind(needle) >= 0 or needle in before[-reach:] + block[:reach]


def _read_change(log_key: str, record: dict[str, Any]) -> TrailChange | None:
    parameters, identity = record.get("requestParameters"), record.get("userIdentity")
    name = _text(record, "eventName")
    if record.get("eventSource") != EVENT_SOURCE.decode() or name not in _CHANGING or record.get("errorCode"):
        return None
    if not isinstance(parameters, dict) or not isinstance(identity, dict):
        return None
    try:
        event_time = datetime.fromisoformat(_text(record, "eventTime")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    set_by = parameters if name == "UpdateTrail" else {}
    return TrailChange(
        log_key=log_key,
        event_name=name,
        event_id=_text(record, "eventID"),
        event_time=event_time,
        user=next((_text(identity, key) for key in ("arn", "invokedBy", "principalId", "type") if key in identity), ""),
        source_ip=_text(record, "sourceIPAddress"),
        trail=_text(parameters, "name") or _text(parameters, "trailName"),
        validation=_flag(set_by, "enableLogFileValidation"),
        bucket=_text(set_by, "s3BucketName") or None,
        prefix=_text(set_by, "s3KeyPrefix") if isinstance(set_by.get("s3KeyPrefix"), str) else None,
        is_multi_region=_flag(set_by, "isMultiRegionTrail"),
        is_organization=_flag(set_by, "isOrganizationTrail"),
    )


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _flag(members: dict[str, Any], name: str) -> bool | None:
    value = members.get(name)
    return value if isinstance(value, bool) else None
