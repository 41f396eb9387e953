"""What lies beside the folders of a trail, or above them, where CloudTrail puts nothing.

Rules: Athena, pandas and ``zcat`` read whole prefixes, whatever the names below, so what they would take for log files
and no digest can name is accused there, too:

* an object that ends like a log file, beside the accounts, beside a kind's folder, or beside the regions; below a
  kind's folder also any other that would be read as one (``odd_objects``);
* a folder that is called like a kind of CloudTrail's, a region, a year, month or day, and is none.  So many of its
  objects are looked at; it is named itself, and not what it holds.

AWS's other services put their logs beside CloudTrail's, and CloudTrail Lake the results of queries, which it signs in
another way: they are no concern of a trail's.  Memory: the first ``MOST`` of a level's are told one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from opentrail.core.errors import StoreError
from opentrail.core.findings import Finding, FindingCode, counted, found
from opentrail.core.layout import DIGEST_FOLDER
from opentrail.core.log_folder import is_read_by_others
from opentrail.verification.odd_objects import OddObjects
from opentrail.verification.refusals import is_of_one_folder, unread_folder
from opentrail.verification.source import TrailSource

OnStray = Callable[[Finding], None]

MOST: Final = 1000  # of one ``Strays``, and objects looked at in a folder
_OF_A_KIND: Final = re.compile(r"AWSLogs/(?:o-[a-z0-9]+/)?[0-9]{12}/cloudtrail[^/]*/", re.ASCII | re.IGNORECASE)


def ignore_stray(_finding: Finding) -> None:
    """Nobody wants to know."""


class Strays:
    """Gathers what lies beside the folders of one account, or of one region's days."""

    def __init__(self) -> None:
        self._names: list[str] = []  # keys, and folders with their last slash
        self._unread: list[Finding] = []
        self._further = 0
        self._first_further = ""

    def add_among_services(self, key: str) -> None:
        """``key`` lies beside the accounts, or beside the folders of AWS's services: some put other things there."""
        if is_read_by_others(key):
            self._add(key)

    def add_key(self, key: str) -> None:
        """``key`` lies below a folder of CloudTrail's own, and above the days."""
        if not key.endswith("/"):  # the marker of a folder
            self._add(key)

    def add_folder(self, folder: str) -> None:
        """``folder`` lies where CloudTrail has folders, and is none of them."""
        self._add(folder)

    def add_unread(self, refusal: Finding) -> None:
        """``refusal`` says of one of the folders that it cannot be listed."""
        self._unread.append(refusal)

    def findings(self, source: TrailSource) -> Iterator[Finding]:
        """What is to be said; folders are looked into now.  Raises ``StoreError``."""
        yield from self._unread
        odd = OddObjects(source)
        for name in self._names:
            yield from _look_into(source, name, odd) if name.endswith("/") else _judge(name, odd)
        if self._further:
            message = f"and {counted(self._further, 'further object')} or folders lie there, where CloudTrail puts none"
            details = {"count": str(self._further)}
            yield found(FindingCode.LOG_FILE_NOT_NAMED, self._first_further, message, **details)

    def _add(self, name: str) -> None:
        if len(self._names) < MOST:
            self._names.append(name)
        else:
            self._further += 1
            self._first_further = self._first_further or name


def _judge(key: str, odd: OddObjects) -> Iterator[Finding]:
    if _is_among_digests(key):
        yield found(FindingCode.OBJECT_UNEXPECTED, key, "lies beside the folders of the trail, as none of its files")
    elif is_read_by_others(key):
        message = "lies beside the folders of log files, where other programs will read it, and no digest names it"
        yield found(FindingCode.LOG_FILE_NOT_NAMED, key, message)
    else:
        yield from odd.judge(key)


def _is_read(key: str, odd: OddObjects) -> bool:
    """Whether other programs would take records from the object at ``key``."""
    if is_read_by_others(key):
        return True
    is_of_a_kind = _OF_A_KIND.search(key) is not None
    return is_of_a_kind and any(finding.code is FindingCode.LOG_FILE_NOT_NAMED for finding in odd.judge(key))


def _is_among_digests(name: str) -> bool:
    """Whether ``name`` lies beside the regions of digests: who reads log files does not read there."""
    return name.rstrip("/").rpartition("/")[0].endswith("/" + DIGEST_FOLDER)


def _look_into(source: TrailSource, folder: str, odd: OddObjects) -> Iterator[Finding]:
    try:
        yield from _judge_folder(source, folder, odd)
    except StoreError as error:
        if not is_of_one_folder(error):
            raise
        yield unread_folder(folder, error)


def _judge_folder(source: TrailSource, folder: str, odd: OddObjects) -> Iterator[Finding]:
    looked_at = 0
    is_held = False
    for key in islice(source.list_keys(folder), MOST):
        looked_at += 1
        is_held = is_held or not key.endswith("/")
        if not _is_among_digests(folder) and _is_read(key, odd):
            message = "is no folder of CloudTrail's, and holds what other programs read as log files, in no digest"
            yield found(FindingCode.LOG_FILE_NOT_NAMED, folder, message, first=key)
            return
    if looked_at == MOST and not _is_among_digests(folder):
        message = f"is no folder of CloudTrail's, and holds more than the {MOST} objects that were looked at"
        yield found(FindingCode.LOG_FILE_NOT_NAMED, folder, message)
    elif is_held:
        yield found(FindingCode.OBJECT_UNEXPECTED, folder, "is no folder of CloudTrail's, and holds something")
