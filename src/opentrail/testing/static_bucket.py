"""A bucket that only answers, fast: as much of S3 and CloudTrail as verifiers ask for, from memory.

    python -m opentrail.testing.static_bucket FOLDER --bucket trail-bucket --public-keys FILE --port 9000 --delay-ms 20

For benchmarks, where the server must not be what limits, and for tests against real clients.  It answers GetObject and
HeadObject, ListObjects and ListObjectsV2, GetBucketLocation, ListPublicKeys; it checks no signature.  FOLDER is a
bucket of the local store or a plain copy, read when it is first asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote_plus, unquote
from xml.sax.saxutils import escape

from opentrail.core.errors import NoSuchObject
from opentrail.core.public_keys import PublicKey, decode_public_keys
from opentrail.verification.folder_source import FolderSource
from opentrail.verification.source import SourceObject, user_metadata

_PAGE: Final = 1000
_MOST_BYTES: Final = 1 << 32

Read = Callable[[str], SourceObject | None]


class StaticBucket:
    """The answers.  ``read`` gives the object of a key; ``keys`` are all of them, in byte order."""

    def __init__(self, name: str, keys: Sequence[str], read: Read, public_keys: Sequence[PublicKey]) -> None:
        self._name = name
        self._keys = keys
        self.read = read
        self._public_keys = public_keys
        self._answers: dict[bytes, bytes] = {}  # by request target, of objects

    def answer(self, method: bytes, target: bytes, body: bytes) -> bytes:
        """The whole HTTP answer."""
        if method == b"POST":
            return _http(200, _public_key_list(self._public_keys, json.loads(body)), "application/x-amz-json-1.1")
        known = self._answers.get(target)
        if known is None:
            path, _, query = target.decode().partition("?")
            _, bucket, key = (*unquote(path).split("/", 2), "")[:3]
            if key:
                known = self._answers[target] = self._object(key)
            else:
                known = self._bucket(bucket, {name: values[0] for name, values in parse_qs(query, True).items()})
        return known.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == b"HEAD" else known

    def _object(self, key: str) -> bytes:
        found = self.read(key)
        if found is None:
            return _http(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
        headers = {f"x-amz-meta-{name}": value for name, value in found.metadata.items()}
        return _http(200, found.data, "application/json", {**headers, "ETag": '"0"', "Last-Modified": _DATE})

    def _bucket(self, bucket: str, query: Mapping[str, str]) -> bytes:
        if bucket != self._name:
            return _http(404, b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>")
        if "location" in query:
            return _http(200, b"<LocationConstraint>eu-west-1</LocationConstraint>")
        return _http(200, self._listing(query))

    def _listing(self, query: Mapping[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        page = _Page(limit=int(query.get("max-keys", _PAGE)), quoted=query.get("encoding-type") == "url")
        at = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        while at < len(self._keys) and self._keys[at].startswith(prefix) and not page.is_full:
            key = self._keys[at]
            folder, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                page.add_folder(prefix + folder + found)
                at = bisect_left(self._keys, f"{prefix}{folder}{found}\U0010ffff")
            else:
                page.add_key(key)
                at += 1
        is_truncated = at < len(self._keys) and self._keys[at].startswith(prefix)
        return page.document(self._keys[at - 1] if is_truncated else "")


class _Page:
    """A page of a listing."""

    def __init__(self, *, limit: int, quoted: bool) -> None:
        self._limit = limit
        self._quoted = quoted
        self._parts: list[str] = []

    @property
    def is_full(self) -> bool:
        """Whether no more fits."""
        return len(self._parts) >= self._limit

    def add_key(self, key: str) -> None:
        """An object; its size and time are made up."""
        self._parts.append(
            f"<Contents><Key>{self._text(key)}</Key><LastModified>2024-05-06T00:00:00.000Z</LastModified>"
            "<ETag>&quot;0&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def add_folder(self, prefix: str) -> None:
        """A common prefix."""
        self._parts.append(f"<CommonPrefixes><Prefix>{self._text(prefix)}</Prefix></CommonPrefixes>")

    def document(self, last: str) -> bytes:
        """The XML; ``last`` is the last key that it covers where more follow."""
        following = self._text(last)
        more = f"<NextContinuationToken>{escape(last)}</NextContinuationToken><NextMarker>{following}</NextMarker>"
        head = f"<IsTruncated>{'true' if last else 'false'}</IsTruncated>{more if last else ''}"
        encoding = "<EncodingType>url</EncodingType>" if self._quoted else ""
        count = f"<KeyCount>{len(self._parts)}</KeyCount><MaxKeys>{self._limit}</MaxKeys><Name>bucket</Name>"
        return f"<ListBucketResult>{head}{encoding}{count}{''.join(self._parts)}</ListBucketResult>".encode()

    def _text(self, key: str) -> str:
        return escape(quote_plus(key, safe="/") if self._quoted else key)


class Gauge:
    """How many requests wait for their answer, in all."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def begin(self) -> None:
        """One more."""
        self.now += 1
        self.most = max(self.most, self.now)

    def end(self) -> None:
        """One fewer."""
        self.now -= 1


class _Connection(asyncio.Protocol):
    """One client; its requests come one after the other."""

    def __init__(self, bucket: StaticBucket, delay_seconds: float, open_now: set[_Connection], gauge: Gauge) -> None:
        self._bucket = bucket
        self._delay_seconds = delay_seconds
        self._open_now = open_now
        self._gauge = gauge
        self._data = b""

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport by its class
        """Keep the way back."""
        self._transport = transport
        self._open_now.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client, or ``abort``, has ended it."""
        self._open_now.discard(self)

    def abort(self) -> None:
        """End it."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._data += data
        while True:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            size = _content_length(head) if found else 0
            if not found or len(rest) < size:
                return
            self._data = rest[size:]
            method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
            answer = self._bucket.answer(method, target, rest[:size])
            self._gauge.begin()
            if self._delay_seconds:
                asyncio.get_running_loop().call_later(self._delay_seconds, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        self._gauge.end()
        self._transport.write(answer)


_DATE: Final = "Mon, 06 May 2024 00:00:00 GMT"


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    return int(lowered[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _http(status: int, body: bytes, kind: str = "application/xml", headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}", f"Content-Type: {kind}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def _public_key_list(keys: Sequence[PublicKey], request: Mapping[str, float]) -> bytes:
    """The keys that are valid in the range that is asked for; of all regions."""
    start, end = request.get("StartTime", 0), request.get("EndTime", float(1 << 33))
    listed = [
        {
            "Value": base64.b64encode(key.value).decode(),
            "Fingerprint": key.fingerprint,
            "ValidityStartTime": key.validity_start.timestamp(),
            "ValidityEndTime": key.validity_end.timestamp(),
        }
        for key in keys
        if key.validity_start.timestamp() <= end and key.validity_end.timestamp() >= start
    ]
    return json.dumps({"PublicKeyList": listed}).encode()


def bucket_of_objects(
    objects: Mapping[str, tuple[bytes, Mapping[str, str]]], name: str, public_keys: Sequence[PublicKey]
) -> StaticBucket:
    """The bucket that holds ``objects``: by key, the data and the metadata (``x-amz-meta-...``)."""

    def read(key: str) -> SourceObject | None:
        if key not in objects:
            return None
        data, metadata = objects[key]
        return SourceObject(data=data, metadata=user_metadata(metadata))

    return StaticBucket(name, sorted(objects), read, public_keys)


def bucket_of_folder(folder: Path, name: str, public_keys: Sequence[PublicKey]) -> StaticBucket:
    """The bucket that lies in ``folder``."""
    source = FolderSource(str(folder))

    def read(key: str) -> SourceObject | None:
        try:
            return source.read(key, limit=_MOST_BYTES)
        except NoSuchObject:
            return None

    return StaticBucket(name, list(source.list_keys("")), read, public_keys)


@dataclass(frozen=True, slots=True)
class Serving:
    """A bucket on the network."""

    server: asyncio.Server
    port: int
    connections: set[_Connection]  # that are open

    async def end(self) -> None:
        """Close the socket and what is open."""
        self.server.close()
        while self.connections:
            for connection in tuple(self.connections):
                connection.abort()
            await asyncio.sleep(0)


async def serve(
    bucket: StaticBucket, port: int = 0, *, delay_seconds: float = 0.0, gauge: Gauge | None = None
) -> Serving:
    """Serve ``bucket`` on 127.0.0.1, in this event loop; each answer waits ``delay_seconds`` for its first byte."""
    loop = asyncio.get_running_loop()
    connections: set[_Connection] = set()
    measured = gauge or Gauge()
    server = await loop.create_server(
        lambda: _Connection(bucket, delay_seconds, connections, measured), "127.0.0.1", port
    )
    return Serving(server, server.sockets[0].getsockname()[1], connections)


@contextmanager
def serving(bucket: StaticBucket, *, delay_seconds: float = 0.0, gauge: Gauge | None = None) -> Iterator[str]:
    """Serve ``bucket`` in a thread while the block runs; the endpoint's URL.  ``gauge`` shows what waits at once."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="static-bucket", daemon=True)
    thread.start()
    served = asyncio.run_coroutine_threadsafe(serve(bucket, delay_seconds=delay_seconds, gauge=gauge), loop).result(30)
    try:
        yield f"http://127.0.0.1:{served.port}"
    finally:
        asyncio.run_coroutine_threadsafe(served.end(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def main() -> None:
    """Serve a folder until the process is ended."""
    import uvloop  # noqa: PLC0415  only here: tests take the loop that they have

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bucket", default="trail-bucket")
    parser.add_argument("--public-keys", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, default=0)
    options = parser.parse_args()
    keys = decode_public_keys(options.public_keys.read_bytes())
    bucket = bucket_of_folder(options.folder, options.bucket, keys)

    async def forever() -> None:
        serving = await serve(bucket, options.port, delay_seconds=options.delay_ms / 1000)
        await serving.server.serve_forever()

    uvloop.run(forever())


if __name__ == "__main__":
    main()
