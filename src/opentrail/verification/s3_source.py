"""A trail in a bucket of S3, or of anything that speaks S3.

Rules: an endpoint of one's own is addressed path-style, AWS by the bucket's host (path-style for a name with dots,
which no certificate covers).  A bucket of another region says where it is, and is asked there from then on.  Listings
are asked for URL-encoded, so that any key comes through XML.  A listing must be what was asked for, in order and to an
end: a server that repeats itself, leaves its order or breaks off is refused, for what it says cannot be relied on.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote
from xml.parsers import expat

from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.verification.aws_client import AwsClient, AwsFault, Target, encode_path, encode_query, read_whole
from opentrail.verification.http_connection import HttpAnswer, Origin
from opentrail.verification.s3_settings import AwsSettings
from opentrail.verification.source import ObjectTooLarge, SourceObject, user_metadata

_READS_AT_ONCE: Final = 72  # at most, in a process: two of them make 7,000 reads a second of 20 ms each
_MOST_LISTING_BYTES: Final = 16 * 1024 * 1024  # a page of 1,000 keys of 1,024 bytes, each byte escaped
_MOST_REDIRECTS: Final = 3
_MOST_EMPTY_PAGES: Final = 1000  # in a row: a bucket may have as many deleted versions
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)  # it becomes a part of the host that credentials go to


class S3Source:
    """The bucket ``bucket``."""

    reads_at_once: Final = _READS_AT_ONCE
    keeps_metadata: Final = True

    def __init__(self, settings: AwsSettings, bucket: str, *, name: str) -> None:
        self.name = name
        self.bucket = bucket
        self._settings = settings
        self._client = AwsClient(settings)
        self._lock = threading.Lock()
        self._target, self._base = self._address(settings.region)

    def list_keys(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """ListObjectsV2, page by page."""
        parameters = {"prefix": prefix}
        if start_after:
            parameters["start-after"] = start_after
        for page in self._pages(parameters):
            yield from self._checked(page.keys, prefix, start_after)
            start_after = page.keys[-1] if page.keys else start_after

    def list_folders(self, prefix: str) -> list[str]:
        """ListObjectsV2 with a delimiter."""
        found: list[str] = []
        for page in self._pages({"prefix": prefix, "delimiter": "/"}):
            found += self._checked(page.folders, prefix, found[-1] if found else "")
        return found

    def read(self, key: str, *, limit: int) -> SourceObject:
        """GetObject; once more where the connection broke within the body."""
        answer = self._get_object(key)
        try:
            data = read_whole(answer.chunks(), limit)
        except StoreError:
            answer = self._get_object(key)
            data = read_whole(answer.chunks(), limit)
        if len(data) > limit:
            raise ObjectTooLarge(key, limit)
        return SourceObject(data=data, metadata=user_metadata(answer.fields))

    def read_chunks(self, key: str) -> Iterator[bytes]:
        """GetObject."""
        return self._get_object(key).chunks()

    def sibling(self, bucket: str) -> S3Source:
        """Another bucket, with the same credentials."""
        return S3Source(self._settings, bucket, name=f"s3://{bucket}")

    def reopen(self) -> None:
        """Connections are this process's own."""
        self._client.reopen()

    def close(self) -> None:
        """Close this thread's connection."""
        self._client.close()

    def _address(self, region: str) -> tuple[Target, str]:
        """Whom to ask, and what a path begins with."""
        endpoint = self._settings.endpoint
        if endpoint is not None:
            target = Target(origin=endpoint, region=region, service="s3")
            return target, f"{self._settings.endpoint_path}/{encode_path(self.bucket)}"
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        is_path_style = "." in self.bucket
        host = f"s3.{region}.{suffix}" if is_path_style else f"{self.bucket}.s3.{region}.{suffix}"
        origin = Origin(host=host, port=443, is_tls=True)
        return Target(origin=origin, region=region, service="s3"), f"/{self.bucket}" if is_path_style else ""

    def _get_object(self, key: str) -> HttpAnswer:
        try:
            return self._get(f"/{encode_path(key)}", "")
        except AwsFault as fault:
            if fault.status == 404 and fault.code in ("NoSuchKey", ""):
                raise NoSuchObject(key) from None
            raise

    def _get(self, path: str, query: str) -> HttpAnswer:
        for _ in range(_MOST_REDIRECTS):
            target, base = self._target, self._base
            try:
                return self._client.get(target, (base + path) or "/", query)
            except AwsFault as fault:
                if not _REGION.fullmatch(fault.region) or fault.region == target.region:
                    raise
                with self._lock:
                    self._target, self._base = self._address(fault.region)
        raise StoreError(f"{self.name}: sent from region to region", retryable=False)

    def _pages(self, parameters: dict[str, str]) -> Iterator[_Page]:
        asked = {"list-type": "2", "encoding-type": "url", "max-keys": "1000", **parameters}
        empty = 0
        while True:
            answer = self._get("/" if not self._base else "", encode_query(asked))
            body = read_whole(answer.chunks(), _MOST_LISTING_BYTES)
            page = _Page(body)
            yield page
            empty = 0 if page.keys or page.folders else empty + 1
            if not page.is_truncated:
                return
            if not page.token or page.token == asked.get("continuation-token") or empty > _MOST_EMPTY_PAGES:
                raise self._refused("it goes on without an end")
            asked["continuation-token"] = page.token

    def _checked(self, names: list[str], prefix: str, after: str) -> list[str]:
        """``names``, which must have ``prefix`` and follow ``after`` in byte order.  Raises ``StoreError``."""
        raw, last = prefix.encode("utf-8", "surrogateescape"), after.encode("utf-8", "surrogateescape")
        for name in names:
            encoded = name.encode("utf-8", "surrogateescape")
            if not encoded.startswith(raw):
                raise self._refused(f"{name!r} was not asked for")
            if encoded <= last:
                raise self._refused(f"{name!r} is out of order, or there twice")
            last = encoded
        return names

    def _refused(self, why: str) -> StoreError:
        return StoreError(f"{self.name}: the server's listing cannot be relied on: {why}", retryable=False)


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
            self.keys = [unquote(key, errors="surrogateescape") for key in self.keys]
            self.folders = [unquote(folder, errors="surrogateescape") for folder in self.folders]

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
