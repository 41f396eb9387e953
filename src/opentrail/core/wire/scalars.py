"""Scalar values and their text: timestamps, numbers, booleans, blobs, as they stand in XML, queries and headers.

Rules: a parser raises ``FormatError`` or nothing else, and names what it wanted, never the value (it may be secret).
A timestamp is an aware ``datetime`` in UTC on this side.  Its three forms on the wire are Smithy's: ``iso8601``
(date-time), ``rfc822`` (http-date) and ``unixtimestamp`` (epoch seconds); a reader takes any of them, as AWS does,
a writer writes the one that the model or the protocol asks for.
"""

from __future__ import annotations

import binascii
import math
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.wire.model import Shape

Parse = Callable[[str], Any]
Format = Callable[[Any], str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER_BITS = {"integer": 32, "long": 64}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DIGITS = frozenset("0123456789+-")
_NUMBER = frozenset("0123456789+-.eE")


def at(part: str, error: FormatError) -> FormatError:
    """``error`` with ``part`` put before the path in its message: ``a.b[0]: not an integer``.

    A reason holds no colon, so a colon tells that the message has a path already.
    """
    text = str(error)
    if text.startswith("["):
        return FormatError(part + text)
    return FormatError(f"{part}.{text}" if ": " in text else f"{part}: {text}")


def parse_epoch(seconds: float) -> datetime:
    """The moment ``seconds`` after 1970 began, to the microsecond.

    Raises ``FormatError`` for a moment outside the years 1 to 9999.
    """
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError) as error:
        raise FormatError("timestamp out of range") from error


def parse_timestamp(text: str) -> datetime:
    """A timestamp in any of its three forms.

    Raises ``FormatError``.
    """
    text = text.strip()
    if text[4:5] == "-":
        try:
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise FormatError("not a timestamp") from error
    if text and _NUMBER.issuperset(text):
        return parse_epoch(parse_float(text))
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, IndexError) as error:
        raise FormatError("not a timestamp") from error


def epoch_seconds(moment: datetime) -> int | float:
    """Seconds since 1970 began: whole where they are, else to the millisecond as AWS writes them."""
    delta = moment - _EPOCH
    whole = delta.days * 86400 + delta.seconds
    milliseconds = delta.microseconds // 1000
    return (whole * 1000 + milliseconds) / 1000 if milliseconds else whole


def format_iso8601(moment: datetime) -> str:
    """``2014-04-29T18:30:38Z``, with milliseconds where there are any."""
    moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond >= 1000 else "seconds") + "Z"


def format_iso8601_milliseconds(moment: datetime) -> str:
    """``2014-04-29T18:30:38.000Z``: the form of S3's XML."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def format_rfc822(moment: datetime) -> str:
    """``Tue, 29 Apr 2014 18:30:38 GMT``."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def format_epoch(moment: datetime) -> str:
    """``1398796238`` or ``1398796238.123``."""
    return str(epoch_seconds(moment))


TIMESTAMP_FORMATS: dict[str, Format] = {
    "iso8601": format_iso8601,
    "iso8601-milliseconds": format_iso8601_milliseconds,
    "rfc822": format_rfc822,
    "unixtimestamp": format_epoch,
}


def parse_integer(text: str, bits: int = 64) -> int:
    """A decimal integer that fits ``bits`` bits, signed.

    Raises ``FormatError``.
    """
    text = text.strip()
    if not text or len(text) > 20 or not _DIGITS.issuperset(text):
        raise FormatError("not an integer")
    try:
        number = int(text)
    except ValueError as error:
        raise FormatError("not an integer") from error
    return checked_integer(number, bits)


def checked_integer(number: int, bits: int) -> int:
    """``number``, which must fit ``bits`` bits, signed.

    Raises ``FormatError``.
    """
    if -(1 << (bits - 1)) <= number < (1 << (bits - 1)):
        return number
    raise FormatError(f"integer out of the range of {bits} bits")


def parse_float(text: str) -> float:
    """A decimal number, ``NaN``, ``Infinity`` or ``-Infinity``.

    Raises ``FormatError``.
    """
    text = text.strip()
    special = _NOT_FINITE.get(text)
    if special is not None:
        return special
    if not text or not _NUMBER.issuperset(text):
        raise FormatError("not a number")
    try:
        return float(text)
    except ValueError as error:
        raise FormatError("not a number") from error


def format_float(number: float) -> str:
    """The number as JSON writes it, or ``NaN``, ``Infinity``, ``-Infinity``."""
    if math.isfinite(number):
        return repr(float(number))
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def parse_boolean(text: str) -> bool:
    """``true`` or ``false``; AWS's XML and query readers take any case, 1 and 0 as well.

    Raises ``FormatError``.
    """
    lowered = text.strip().lower()
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise FormatError("not a boolean")


def format_boolean(value: object) -> str:
    """``true`` or ``false``."""
    return "true" if value else "false"


def parse_blob(text: str) -> bytes:
    """Bytes out of base64 (padded; white space is ignored).

    Raises ``FormatError``.
    """
    if " " in text or "\n" in text or "\r" in text or "\t" in text:
        text = "".join(text.split())
    try:
        return binascii.a2b_base64(text, strict_mode=bool(text))
    except (binascii.Error, ValueError) as error:
        raise FormatError("not base64") from error


def format_blob(value: bytes | str) -> str:
    """Base64 of bytes, or of text in UTF-8."""
    return b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def text_parser(shape: Shape) -> Parse | None:
    """How to read a scalar of ``shape`` from text; ``None`` where the text is the value.

    Raises (when called) ``FormatError``.
    """
    if shape.type in _INTEGER_BITS:
        bits = _INTEGER_BITS[shape.type]
        return lambda text: parse_integer(text, bits)
    return _PARSERS.get(shape.type)


def text_formatter(shape: Shape, default_timestamp: str) -> Format:
    """How to write a scalar of ``shape`` as text; ``default_timestamp`` is the protocol's timestamp format."""
    if shape.type == "timestamp":
        return TIMESTAMP_FORMATS[shape.timestamp_format or default_timestamp]
    return _FORMATS.get(shape.type, str)


def integer_bits(shape: Shape) -> int:
    """The width of an integer shape in bits."""
    return _INTEGER_BITS.get(shape.type, 64)


_PARSERS: dict[str, Parse] = {
    "float": parse_float,
    "double": parse_float,
    "boolean": parse_boolean,
    "blob": parse_blob,
    "timestamp": parse_timestamp,
}
_FORMATS: dict[str, Format] = {
    "float": format_float,
    "double": format_float,
    "boolean": format_boolean,
    "blob": format_blob,
}
