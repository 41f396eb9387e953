"""Google Cloud Storage and Azure Blob Storage, as much of them as a reader asks for, from memory.

An emulation after their public documentation: Google's XML API (GET Bucket, GET Object), Azure's Blob service REST API
(List Blobs, Get Blob).  Pages are small, so that readers must go on to the next; signatures are not checked.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_DATE: Final = "Mon, 06 May 2024 00:00:00 GMT"
_ISO_DATE: Final = "2024-05-06T00:00:00.000Z"
ACCOUNT: Final = "devstoreaccount1"  # whom Azure's tools mean by their emulator

Objects = Mapping[str, tuple[bytes, Mapping[str, str]]]  # key -> data, user metadata by their bare names
Answer = tuple[int, Mapping[str, str], bytes]  # status, fields, body
Refuse = Callable[[str], Answer | None]  # of a key ("" for a listing): an answer in the place of the right one


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a listing; ``following`` is what the next one begins behind, "" on the last."""

    keys: Sequence[str]
    folders: Sequence[str]
    following: str


class CloudBucket:
    """A bucket of ``objects``; ``page_size`` entries to a page.  ``refuse`` may answer instead."""

    def __init__(self, name: str, objects: Objects, *, page_size: int = 50) -> None:
        self.name = name
        self.asked: list[str] = []  # keys, "" for a page of a listing
        self.refuse: Refuse = lambda _key: None
        self._objects = objects
        self._keys = sorted(objects, key=str.encode)
        self._page_size = page_size

    def answer_google(self, path: str, query: Mapping[str, str]) -> Answer:
        """What Google answers to ``/BUCKET[/KEY]``."""
        bucket, _, key = path.removeprefix("/").partition("/")
        self.asked.append(key)
        if (refused := self.refuse(key)) is not None:
            return refused
        if bucket != self.name:
            return 404, {}, b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"
        if key:
            missing = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
            return self._object(key, "x-goog-meta-", (404, {}, missing))
        after = query.get("continuation-token") or query.get("start-after", "")
        return 200, {}, _google_page(self._page(query, after))

    def answer_azure(self, path: str, query: Mapping[str, str]) -> Answer:
        """What Azure answers to ``/ACCOUNT/CONTAINER[/KEY]``."""
        container, _, key = path.removeprefix(f"/{ACCOUNT}/").partition("/")
        self.asked.append(key)
        if (refused := self.refuse(key)) is not None:
            return refused
        if container != self.name:
            return 404, {"x-ms-error-code": "ContainerNotFound"}, b""
        if key:
            return self._object(key, "x-ms-meta-", (404, {"x-ms-error-code": "BlobNotFound"}, b""))
        return 200, {}, _azure_page(self._page(query, query.get("marker", "")))

    def _object(self, key: str, prefix: str, missing: Answer) -> Answer:
        found = self._objects.get(key)
        if found is None:
            return missing
        fields = {"etag": '"0x1"', "last-modified": _DATE, "content-type": "application/octet-stream"}
        return 200, fields | {prefix + name: value for name, value in found[1].items()}, found[0]

    def _page(self, query: Mapping[str, str], after: str) -> Page:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys: list[str] = []
        folders: list[str] = []
        at = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        last = after
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            if len(keys) + len(folders) == self._page_size:
                return Page(keys=keys, folders=folders, following=last)
            key = self._keys[at]
            name, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
            if found:
                folders.append(f"{prefix}{name}{found}")
                at = bisect_left(self._keys, f"{prefix}{name}{found}\U0010ffff")
            else:
                keys.append(key)
                at += 1
            last = self._keys[at - 1]
        return Page(keys=keys, folders=folders, following="")


def _google_page(page: Page) -> bytes:
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>{_ISO_DATE}</LastModified><ETag>&quot;1&quot;</ETag>"
        "<Size>1</Size></Contents>"
        for key in page.keys
    )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in page.folders)
    more = f"<NextContinuationToken>{escape(page.following)}</NextContinuationToken>" if page.following else ""
    head = f"<IsTruncated>{'true' if page.following else 'false'}</IsTruncated>{more}"
    return f"<ListBucketResult>{head}{contents}{prefixes}</ListBucketResult>".encode()


def _azure_page(page: Page) -> bytes:
    properties = (
        f"<Properties><Last-Modified>{_DATE}</Last-Modified><Etag>0x1</Etag><Content-Length>1</Content-Length>"
        "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType></Properties>"
    )
    blobs = "".join(f"<Blob><Name>{escape(key)}</Name>{properties}</Blob>" for key in page.keys)
    prefixes = "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in page.folders)
    following = f"<NextMarker>{escape(page.following)}</NextMarker>" if page.following else "<NextMarker/>"
    return f"<EnumerationResults><Blobs>{blobs}{prefixes}</Blobs>{following}</EnumerationResults>".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    answer: Callable[[str, Mapping[str, str]], Answer]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        status, fields, body = self.server.answer(unquote(parts.path), query)
        self.send_response(status)
        for name, value in {**fields, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Say nothing."""


@contextmanager
def serving_cloud(answer: Callable[[str, Mapping[str, str]], Answer]) -> Iterator[str]:
    """Serve ``answer`` on 127.0.0.1 while the block runs; the URL."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answer = answer
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
