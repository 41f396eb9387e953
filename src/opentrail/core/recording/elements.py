"""Parameters and results as records write them: names, dates, and what is hidden.

Rules (read off real records; ``rules.Form`` says which service is written how):

* Members go by the model's name with its first letter in lower case, map keys as they are; or by the names on the
  wire, with times as sent.
* Blobs are left out.  Integers and booleans are JSON's; dates are Java's ``MMM d, yyyy, h:mm:ss a`` in UTC, but for
  REST services whose models ask for ISO 8601: theirs stay as they were sent.
* A value that the model calls sensitive, or that the rules hide, is replaced or left out with all that is in it, and
  its texts are handed to the caller: they must appear nowhere else in the record (``redaction``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opentrail.core.recording.redaction import HiddenName, collect_texts
from opentrail.core.recording.rules import HIDDEN, OMITTED, HiddenMember
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import epoch_seconds, format_rfc822

Paths = tuple[HiddenMember, ...]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def format_java_date(moment: datetime) -> str:
    """``Jul 10, 2023, 12:47:00 PM``: how records write dates, in UTC."""
    utc = moment.astimezone(UTC)
    half = "AM" if utc.hour < 12 else "PM"
    return (
        f"{_MONTHS[utc.month - 1]} {utc.day}, {utc.year}, {utc.hour % 12 or 12}:{utc.minute:02}:{utc.second:02} {half}"
    )


def recorded_name(member: str) -> str:
    """The member's name with its first letter in lower case."""
    return member[:1].lower() + member[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementWriter:
    """Writes values as one service's records do.  The texts of what it hides are added to ``hidden``."""

    replacement: str  # what stands in a hidden value's place; OMITTED leaves the member out
    hidden: list[str]
    on_wire: bool = False  # names and times as on the wire

    def write(self, shape: Shape, value: Any, paths: Paths = ()) -> Any:
        """``value`` of ``shape``; ``paths`` are members within it that are hidden beside the sensitive ones."""
        if shape.sensitive:
            self.hide(shape, value)
            return self.replacement
        kind = shape.type
        if kind == "structure" and not shape.document:
            return self.write_members(shape.members, value, paths) if isinstance(value, Mapping) else None
        if kind == "list":
            return self._write_list(shape.member, value, paths) if isinstance(value, list) else None
        if kind == "map":
            return self._write_map(shape, value, paths) if isinstance(value, Mapping) else None
        if isinstance(value, datetime):
            return self._write_time(shape, value)
        return None if isinstance(value, bytes) else value

    def write_members(
        self, members: Mapping[str, Shape], value: Mapping[str, Any], paths: Paths = ()
    ) -> dict[str, Any]:
        """The members of a structure's ``value`` that are among ``members``."""
        written: dict[str, Any] = {}
        for name, item in value.items():
            member = members.get(name)
            if member is None or item is None or member.location == "statusCode":
                continue
            shown = recorded_name(name)
            below = _within(paths, shown) if paths else ()
            if self.on_wire:
                shown = member.wire_name(name)
            replacement = _replaced(below)
            if replacement is None and member.sensitive:
                replacement = self.replacement
            if replacement is not None:
                self.hide(member, item)
                if replacement != OMITTED:
                    written[shown] = replacement
            elif member.type != "blob":
                written[shown] = self.write(member, item, below)
        return written

    def hide(self, shape: Shape, value: Any) -> None:
        """Remember every text in ``value``: keys of maps too, which may be data, but no names of members."""
        if shape.type == "map" and isinstance(value, Mapping):
            for name, item in value.items():
                self._hide_key(shape, name)
                self.hide(shape.value, item)
        elif shape.type == "structure" and isinstance(value, Mapping) and not shape.document:
            for name, item in value.items():
                if name in shape.members:
                    self.hide(shape.members[name], item)
        elif shape.type == "list" and isinstance(value, list):
            for item in value:
                self.hide(shape.member, item)
        else:
            collect_texts(value, self.hidden)

    def _hide_key(self, shape: Shape, name: str) -> None:
        """Remember a key: as a secret like any other where the model calls keys sensitive, else as a name."""
        collect_texts(name if shape.key.sensitive else HiddenName(name), self.hidden)

    def _write_list(self, member: Shape, items: list[Any], paths: Paths) -> list[Any]:
        written = [self.write(member, item, paths) for item in items if not isinstance(item, bytes) or member.sensitive]
        return [] if member.sensitive and self.replacement == OMITTED else written

    def _write_map(self, shape: Shape, items: Mapping[str, Any], paths: Paths) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for name, item in items.items():
            key = name
            if shape.key.sensitive:
                self._hide_key(shape, name)
                key = self.replacement or HIDDEN
            below = _within(paths, name) if paths else ()
            replacement = _replaced(below)
            value = self.write(shape.value, item, below)
            if replacement is not None:
                collect_texts(item, self.hidden)
                value = replacement
            if not ((shape.value.sensitive or replacement is not None) and value == OMITTED):
                written[key] = value
        return written

    def _write_time(self, shape: Shape, moment: datetime) -> Any:
        if shape.timestamp_format == "iso8601" and (self.on_wire or shape.service.protocol == "rest-json"):
            return _format_sent_time(moment)
        if not self.on_wire:
            return format_java_date(moment)
        return format_rfc822(moment) if shape.timestamp_format == "rfc822" else epoch_seconds(moment)


def _format_sent_time(moment: datetime) -> str:
    """``2023-07-10T12:27:13.230465Z``, with as much of the second as was sent."""
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _within(paths: Iterable[HiddenMember], name: str) -> Paths:
    """The paths that go through the member ``name``, from there on."""
    return tuple(
        HiddenMember(path=each.path[1:], replacement=each.replacement) for each in paths if each.path[0] in (name, "*")
    )


def _replaced(below: Paths) -> str | None:
    """What stands in the place of the member that the paths have come to, if one ends there."""
    return next((each.replacement for each in below if not each.path), None)
