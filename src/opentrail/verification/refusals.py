"""What a source refuses: one object, one folder, or everything.

Rules: an object or a folder that cannot be read is a finding that names it, and all else is verified.  A source that
fails as a whole, and may do better later, ends the run: it would be a finding for each of its objects.  Some servers
answer for one broken object as they do when they are overloaded, so the two are told apart by asking for a neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Final

from opentrail.core.errors import StoreError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import parse_digest_key
from opentrail.core.object_checks import DigestReading
from opentrail.verification.aws_faults import AwsFault
from opentrail.verification.source import TrailSource, UnreliableListing

_NEIGHBOURS: Final = 3  # objects that are asked for, until one is answered


def unread_folder(folder: str, error: StoreError) -> Finding:
    """What is to be said of ``folder`` (a prefix that ends in "/"), which ``error`` keeps from being listed."""
    message = f"cannot be listed, so nothing in it was verified: {error}"
    return found(FindingCode.FOLDER_UNREACHABLE, folder, message)


def unread_digest(text: str, error: StoreError) -> DigestReading:
    """The reading of the digest object at the key ``text``, which ``error`` keeps from being read."""
    finding = found(FindingCode.DIGEST_UNREACHABLE, text, f"cannot be read: {error}")
    return DigestReading(key=parse_digest_key(text), text=text, findings=(finding,))


def is_of_one_folder(error: StoreError) -> bool:
    """Whether ``error``, of a listing, is about that folder alone, and not of a source that fails."""
    return not error.retryable and not isinstance(error, UnreliableListing)


def is_of_one_object(error: StoreError, source: TrailSource, key: str) -> bool:
    """Whether ``error`` is about the object at ``key`` alone, and not of a ``source`` that fails."""
    if not error.retryable:
        return True
    if isinstance(error, AwsFault) and error.is_of_the_server:
        return False
    folder = key.rpartition("/")[0]
    for above in (folder, folder.rpartition("/")[0]):  # of its day; or, where it is alone, of its month
        try:
            others = [each for each in islice(source.list_keys(f"{above}/"), _NEIGHBOURS + 1) if each != key]
        except StoreError:
            return False
        if others:
            return any(_answers_for(source, each) for each in others[:_NEIGHBOURS])
    return False


def list_readable(
    source: TrailSource, prefix: str, *, start_after: str = "", before: str | None = None
) -> Iterator[str | Finding]:
    """The keys below ``prefix`` (ending in "/"), between those two; for a folder that is refused, a finding.

    Raises ``StoreError`` when the source fails and may do better later.
    """
    last = start_after
    try:
        for key in source.list_keys(prefix, start_after=start_after):
            if before is not None and key >= before:
                return
            last = key
            yield key
    except StoreError as error:
        if not is_of_one_folder(error):
            raise
        yield from _list_by_folders(source, prefix, error, start_after=last, before=before)


def _list_by_folders(
    source: TrailSource, prefix: str, refusal: StoreError, *, start_after: str, before: str | None
) -> Iterator[str | Finding]:
    """The rest of a listing that ended with ``refusal``, each folder on its own: so only the refused ones are lost."""
    beside: list[str] = []
    try:
        folders = source.list_folders(prefix, beside=beside.append)
    except StoreError as error:
        if not is_of_one_folder(error):
            raise
        folders, refusal = [], error
    if not folders:
        yield unread_folder(prefix, refusal)
        return
    after, below = _as_bytes(start_after), frozenset(folders)
    for name in merge(folders, beside, key=_as_bytes):
        if before is not None and name >= before:
            return
        is_begun = start_after.startswith(name)
        if name in below and (is_begun or _as_bytes(name) > after):
            yield from list_readable(source, name, start_after=start_after if is_begun else "", before=before)
        elif name not in below and _as_bytes(name) > after:
            yield name


def _answers_for(source: TrailSource, key: str) -> bool:
    """Whether ``source`` says anything final of the object at ``key``."""
    try:
        next(iter(source.read_chunks(key)), b"")
    except StoreError as error:
        return not error.retryable
    return True


def _as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
