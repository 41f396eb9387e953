"""A trail in a bucket of S3, or of anything that speaks S3.

Rules: a bucket of another region says where it is, and is asked there from then on (``s3_hosts`` knows the host).
Listings are asked for URL-encoded, so that any key comes through XML; a space is ``+`` then, as S3 writes it.  A
listing must be what was asked for, in order and to an end: a server that repeats itself, leaves its order or breaks
off is refused, for what it says cannot be relied on.  Folders may come in another order (SeaweedFS sorts them as
files), but not twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar
from urllib.parse import unquote_plus
from xml.parsers import expat

from opentrail.core.arn import is_region
from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.verification.aws_client import AwsClient, Target, encode_path, encode_query, read_whole
from opentrail.verification.aws_faults import AwsFault
from opentrail.verification.http_connection import HttpAnswer
from opentrail.verification.s3_hosts import bucket_place, is_bucket_name
from opentrail.verification.s3_settings import AwsSettings
from opentrail.verification.source import (
    ObjectTooLarge,
    OnKey,
    SourceObject,
    UnreliableListing,
    ignore_key,
    user_metadata,
)

_READS_AT_ONCE: Final = 72  # at most, in a process: two of them make 7,000 reads a second of 20 ms each
_MOST_LISTING_BYTES: Final = 16 * 1024 * 1024  # a page of 1,000 keys of 1,024 bytes, each byte escaped
_MOST_REDIRECTS: Final = 3
_MOST_EMPTY_PAGES: Final = 1000  # in a row: a bucket may have as many deleted versions
_MOST_FOLDERS: Final = 250_000  # in one folder: they are held in memory
_LARGE_BYTES: Final = 1024 * 1024  # of those read whole, so few are read at once
_LARGE_AT_ONCE: Final = 4
_TO_LIST: Final = "s3:ListBucket on the bucket (and --request-payer, where the requester pays)"
_TO_READ: Final = "s3:GetObject (and kms:Decrypt, where a KMS key encrypts it)"

T = TypeVar("T")


class S3Source:
    """The bucket ``bucket``; of a copy that was made from files it is to be said that nothing ``keeps_metadata``."""

    reads_at_once: Final = _READS_AT_ONCE
    survives_fork: Final = True

    def __init__(self, settings: AwsSettings, bucket: str, *, name: str, keeps_metadata: bool = True) -> None:
        self.name = name
        self.keeps_metadata = keeps_metadata
        self.bucket = bucket
        self._settings = settings
        self._client = AwsClient(settings)
        self._target, self._base = self._address(settings.region)
        self._siblings: list[S3Source] = []
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
        self._lock = threading.Lock()

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """ListObjectsV2, page by page."""
        parameters = {"prefix": prefix}
        if start_after:
            parameters["start-after"] = start_after
        for page in self._pages(parameters):
            if page.folders:
                raise self._refused(f"{page.folders[0]!r} was not asked for")
            yield from self._checked(page.keys, prefix, start_after)
            start_after = page.keys[-1] if page.keys else start_after

    def list_folders(self, prefix: str, *, beside: OnKey = ignore_key) -> list[str]:
        """ListObjectsV2 with a delimiter."""
        found: set[str] = set()
        last_key = ""
        for page in self._pages({"prefix": prefix, "delimiter": "/"}):
            for key in self._checked(page.keys, prefix, last_key):
                beside(key)
            last_key = page.keys[-1] if page.keys else last_key
            for folder in page.folders:
                if folder in found:
                    raise self._refused(f"{folder!r} is there twice")
                found.update(self._checked([folder], prefix, ""))
            if len(found) > _MOST_FOLDERS:
                raise self._refused(f"more than {_MOST_FOLDERS} folders lie in {prefix!r}: name a prefix below")
        return sorted(found, key=_as_bytes)

    def read(self, key: str, *, limit: int) -> SourceObject:
        """GetObject."""
        answer, data = self._get_object(key, lambda answer: (answer, self._take_whole(answer, limit)))
        if len(data) > limit:
            raise ObjectTooLarge(key, limit)
        return SourceObject(data=data, metadata=user_metadata(answer.fields))

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """GetObject; what breaks within the body is the reader's to try again."""
        answer = self._get_object(key, lambda answer: answer)
        return _chunks(key, answer)

    def sibling(self, bucket: str) -> S3Source | None:
        """Another bucket, with the same credentials."""
        if not is_bucket_name(bucket):
            return None
        found = S3Source(self._settings, bucket, name=f"s3://{bucket}", keeps_metadata=self.keeps_metadata)
        self._siblings.append(found)
        return found

    def reopen(self) -> None:
        """Connections are this process's own, and so is who waits for whom."""
        self._client.reopen()
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
        self._lock = threading.Lock()

    def close(self) -> None:
        """End all reads, of all threads."""
        self._client.close()
        for sibling in self._siblings:
            sibling.close()

    def _address(self, region: str) -> tuple[Target, str]:
        """Whom to ask, and what a path begins with."""
        origin, path = bucket_place(self._settings, self.bucket, region)
        return Target(origin=origin, region=region, service="s3"), encode_path(path)

    def _get_object(self, key: str, take: Callable[[HttpAnswer], T]) -> T:
        try:
            return self._get(f"/{encode_path(key)}", "", take)
        except AwsFault as fault:
            if fault.status == 404 and fault.code in ("NoSuchKey", ""):
                raise NoSuchObject(key) from None
            raise fault.told(f"object {key!r}", _TO_READ) from None
        except StoreError as error:
            raise StoreError(f"object {key!r}: {error}", retryable=error.retryable) from error

    def _get(self, path: str, query: str, take: Callable[[HttpAnswer], T]) -> T:
        for _ in range(_MOST_REDIRECTS):
            target, base = self._target, self._base
            try:
                return self._client.ask(target, (base + path) or "/", query, take)
            except AwsFault as fault:
                if not is_region(fault.region) or fault.region == target.region:
                    raise
                with self._lock:
                    self._target, self._base = self._address(fault.region)
        raise StoreError(f"{self.name}: sent from region to region", retryable=False)

    def _take_whole(self, answer: HttpAnswer, limit: int) -> bytes:
        """The body, to one piece more than ``limit``; of large ones a few at once, so that memory is bounded."""
        chunks = answer.chunks()
        start = read_whole(chunks, min(limit, _LARGE_BYTES))
        if len(start) <= _LARGE_BYTES or len(start) > limit:
            return start
        with self._large:
            return start + read_whole(chunks, limit - len(start))

    def _pages(self, parameters: dict[str, str]) -> Iterator[_Page]:
        asked = {"list-type": "2", "encoding-type": "url", "max-keys": "1000", **parameters}
        empty = 0
        while True:
            page = self._get_page(asked)
            yield page
            empty = 0 if page.keys or page.folders else empty + 1
            if not page.is_truncated:
                return
            if not page.token or page.token == asked.get("continuation-token") or empty > _MOST_EMPTY_PAGES:
                raise self._refused("it goes on without an end")
            asked["continuation-token"] = page.token

    def _get_page(self, asked: dict[str, str]) -> _Page:
        about = f"listing s3://{self.bucket}/{asked['prefix']}"
        try:
            return self._get("/" if not self._base else "", encode_query(asked), _take_page)
        except AwsFault as fault:
            raise fault.told(about, _TO_LIST) from None
        except StoreError as error:
            raise StoreError(f"{about}: {error}", retryable=error.retryable) from error

    def _checked(self, names: list[str], prefix: str, after: str) -> list[str]:
        """``names``, which must have ``prefix`` and follow ``after`` in byte order.  Raises ``StoreError``."""
        raw, last = _as_bytes(prefix), _as_bytes(after)
        for name in names:
            encoded = _as_bytes(name)
            if not encoded.startswith(raw):
                raise self._refused(f"{name!r} was not asked for")
            if encoded <= last:
                raise self._refused(f"{name!r} is out of order, or there twice")
            last = encoded
        return names

    def _refused(self, why: str) -> StoreError:
        return UnreliableListing(f"{self.name}: the server's listing cannot be relied on: {why}")


def _as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _chunks(key: str, answer: HttpAnswer) -> Iterator[bytes]:
    try:
        yield from answer.chunks()
    except StoreError as error:
        raise StoreError(f"object {key!r}: {error}", retryable=error.retryable) from error


def _take_page(answer: HttpAnswer) -> _Page:
    body = read_whole(answer.chunks(), _MOST_LISTING_BYTES)
    if len(body) > _MOST_LISTING_BYTES:
        raise StoreError("the answer to a listing is too large for a page", retryable=False)
    return _Page(body)


class _Page:
    """A page of a listing.  Raises ``StoreError`` for what is none."""

    def __init__(self, body: bytes) -> None:
        self.keys: list[str] = []
        self.folders: list[str] = []
        self.is_truncated = False
        self.token = ""
        self._path: list[str] = []
        self._text: list[str] = []
        self._fields: dict[str, str] = {}
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise StoreError(f"the answer to a listing is no XML: {error}", retryable=True) from None
        if "ListBucketResult/IsTruncated" not in self._fields:
            raise StoreError("the answer to a listing is none", retryable=False)
        self.is_truncated = self._fields["ListBucketResult/IsTruncated"] == "true"
        if self.is_truncated:
            self.token = self._fields.get("ListBucketResult/NextContinuationToken", "")
        if self._fields.get("ListBucketResult/EncodingType") == "url":
            self.keys = [unquote_plus(key, errors="surrogateescape") for key in self.keys]
            self.folders = [unquote_plus(folder, errors="surrogateescape") for folder in self.folders]

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._text.clear()

    def _end(self, name: str) -> None:
        text = "".join(self._text)
        self._text.clear()
        self._path.pop()
        above = self._path[-1] if self._path else ""
        if name == "Key" and above == "Contents":
            self.keys.append(text)
        elif name == "Prefix" and above == "CommonPrefixes":
            self.folders.append(text)
        elif len(self._path) == 1:
            self._fields[f"{above}/{name}"] = text
