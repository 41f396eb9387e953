"""Objects among the log files that are not named like one: whether other programs would take records from them.

Rules (Athena's user guide, "Specify a table location in Amazon S3": it reads all data in the folder, however it is
called; Hive, Spark and Trino leave out files and folders that begin with "_" or "."; a name's end says how to unpack):

* What ends in ``.gz`` or ``.json`` is accused by its name (``core.log_folder``), hidden or not: ``zcat`` reads it.
* Of the others, what is hidden is a fact (``_SUCCESS``, ``.DS_Store``).  So is what holds no record, whoever reads it:
  nothing at all, or a short text without a single "{" (``README.txt``).  Everything else is accused.
* The marker of a folder, a key that ends in "/", is nothing to tell of, unless it holds something.
* Whoever plants a million must not make it slow: of one trail ``_MOST_READ`` are read, and the others accused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.verification.refusals import is_of_one_object
from opentrail.verification.source import ObjectTooLarge, TrailSource

_MOST_READ: Final = 1000
_LONGEST_TEXT: Final = 64 * 1024
_HIDDEN: Final = re.compile(r"AWSLogs/(?:o-[a-z0-9]+/)?[0-9]{12}/[^/]+/(?:.*/)?[_.]", re.ASCII | re.DOTALL)
_PACKED: Final = (".bz2", ".deflate", ".lz4", ".lzo", ".snappy", ".xz", ".zip", ".zst")  # may look like text
_LINES: Final = str.maketrans("", "", "\t\n\v\f\r\ufeff")


class OddObjects:
    """Looks into those of one trail, or of one level of folders, in ``source``."""

    def __init__(self, source: TrailSource) -> None:
        self._source = source
        self._left = _MOST_READ

    def judge(self, key: str) -> Iterator[Finding]:
        """What is to be said of the object at ``key``.  Raises ``StoreError`` when the source fails as a whole."""
        is_marker = key.endswith("/")
        if not is_marker and _HIDDEN.search(key):
            yield found(
                FindingCode.OBJECT_UNEXPECTED, key, "is not named like a log file, and hidden from who reads them"
            )
            return
        held = self._read(key)
        if held == b"" and is_marker:
            return
        if held is not None and _is_plain_text(held) and not key.lower().endswith(_PACKED):
            yield found(FindingCode.OBJECT_UNEXPECTED, key, "is not named like a log file, and holds no record")
        elif is_marker:
            message = "is named like the marker of a folder and holds something, which no digest names"
            yield found(FindingCode.LOG_FILE_NOT_NAMED, key, message)
        else:
            message = "is not named like a log file; other programs read it all the same, and no digest names it"
            yield found(FindingCode.LOG_FILE_NOT_NAMED, key, message)

    def _read(self, key: str) -> bytes | None:
        """What the object holds; None where that is long, or nobody can say."""
        self._left -= 1
        if self._left < 0:
            return b"" if key.endswith("/") else None  # programs that make markers make one of each folder
        try:
            return self._source.read(key, limit=_LONGEST_TEXT).data
        except NoSuchObject:
            return b""  # a link, a pipe, or deleted meanwhile
        except ObjectTooLarge:
            return None
        except StoreError as error:
            if is_of_one_object(error, self._source, key):
                return None
            raise


def _is_plain_text(data: bytes) -> bool:
    """Whether ``data`` is text, in which no JSON object can be."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return "{" not in text and (not text or text.translate(_LINES).isprintable())
