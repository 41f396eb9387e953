"""Objects in a bucket of S3, Google Cloud Storage, Azure or anything that speaks S3, through obstore.

Rules:

* Metadata are the object's own: ``content-type`` and its like are headers, ``x-amz-meta-NAME`` is the user metadata
  ``NAME``, so that every other reader sees ``x-amz-meta-signature`` where AWS puts it.  What the wire cannot carry
  (characters, an empty value, names of ours alone; for Azure also a hyphen) is JSON in one user metadata,
  ``opentrail``.
* A key is kept as it is, or refused: obstore writes no empty, ``.`` or ``..`` component and no control character.
* Order is the bucket's.  S3, Google and Azure list by bytes; SeaweedFS sorts ``a/b`` before ``a.txt``.
* An etag is the bucket's own mark; ``etag`` in the metadata is not kept.
* Metadata are sent before the data: S3 takes 2 KB of them, Google and Azure 8 KB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import ObjectStore as Bucket
from obstore.store import from_url

from opentrail.core.errors import ConfigError, NoSuchObject, StoreError
from opentrail.stores.base import ObjectInfo, OnStored, StoredObject, UnusableKey, check_key, check_metadata

PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 4

_PACK = "opentrail"
_USER = "x-amz-meta-"
_HEADERS = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-type": "Content-Type",
}
#: What buckets answer when nobody gave a type.
_DEFAULT_TYPES = frozenset({"binary/octet-stream", "application/octet-stream"})
_UNUSABLE = re.compile(r"\A/|/\Z|//|(?:\A|/)\.{1,2}(?:/|\Z)|[\x00-\x1f\x7f]")
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_PLAIN_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class RemoteStore:
    """An ``ObjectStore`` in ``bucket``; ``names`` matches the user metadata names that it takes."""

    def __init__(self, bucket: Bucket, *, names: re.Pattern[str] = _PLAIN_NAME) -> None:
        self._bucket = bucket
        self._names = names

    def put(self, key: str, data: bytes | Iterable[bytes], metadata: Mapping[str, str]) -> ObjectInfo:
        """Store ``data`` under ``key``, in parts where it is large."""
        path = _path(key)
        kept = {name: value for name, value in metadata.items() if name != "etag"}
        check_metadata(kept)
        source = _Source((data,) if isinstance(data, bytes) else data)
        small = source.read_small()
        attributes = self._attributes(kept)
        with _store_errors(f"put {key!r}", source):
            result = obstore.put(
                self._bucket,
                path,
                source if small is None else small,
                attributes=attributes,
                use_multipart=small is None,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        etag = (result["e_tag"] or "").strip('"')
        return ObjectInfo(key=key, size=source.size, etag=etag, last_modified=datetime.now(UTC), metadata=kept)

    def put_soon(self, key: str, data: bytes, metadata: Mapping[str, str], done: OnStored) -> None:
        """Store ``data``, waiting for it all the same, and tell."""
        done(self.put(key, data, metadata), None)

    def get(self, key: str, *, start: int = 0, end: int | None = None) -> StoredObject:
        """Open bytes ``start`` to ``end`` of ``key``."""
        path = _path(key)
        if start == 0 and end is None:
            result = self._get(key, path, {})
            return StoredObject(info=self._info(key, result), chunks=_chunks(key, result))
        info = self.head(key)
        stop = info.size if end is None else min(end, info.size)
        if start >= stop:
            return StoredObject(info=info, chunks=iter(()))
        result = self._get(key, path, {"range": (start, stop), "if_match": f'"{info.etag}"'} if info.etag else {})
        return StoredObject(info=info, chunks=_chunks(key, result))

    def head(self, key: str) -> ObjectInfo:
        """The object's info."""
        return self._info(key, self._get(key, _path(key), {"head": True}))

    def replace_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Give ``key`` other metadata; the bucket has no such call, so the data are sent again."""
        return self.put(key, self.get(key).chunks, metadata)

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Every object below ``prefix`` after ``start_after``, in the bucket's order."""
        folder = prefix.rpartition("/")[0]
        if folder and _UNUSABLE.search(folder):
            return
        offset = start_after if start_after and not _UNUSABLE.search(start_after) else None
        after = start_after.encode()
        with _store_errors(f"list {prefix!r}"):
            for page in obstore.list(self._bucket, folder or None, offset=offset, chunk_size=1000):
                for found in page:
                    key = found["path"]
                    if key.startswith(prefix) and key.encode() > after:
                        yield ObjectInfo(
                            key=key,
                            size=found["size"],
                            etag=(found["e_tag"] or "").strip('"'),
                            last_modified=found["last_modified"],
                        )

    def list_folders(self, prefix: str, beside: Callable[[str], None] = lambda _key: None) -> Sequence[str]:
        """The prefixes one level below ``prefix`` ("" or ending in "/"), in no order: Azure can list from no key on.

        ``beside`` is told of each key of that level.
        """
        folder = prefix.removesuffix("/")
        if folder and _UNUSABLE.search(folder):
            return []
        with _store_errors(f"list {prefix!r}"):
            found = obstore.list_with_delimiter(self._bucket, folder or None)
        for info in found["objects"]:
            beside(info["path"])
        return [f"{name.removesuffix('/')}/" for name in found["common_prefixes"]]

    def delete(self, key: str) -> None:
        """Remove ``key``."""
        path = _path(key)
        with _store_errors(f"delete {key!r}"):
            try:
                obstore.delete(self._bucket, path)
            except FileNotFoundError:
                return

    def close(self) -> None:
        """Connections close with the process."""

    def _get(self, key: str, path: str, options: dict[str, Any]) -> obstore.GetResult:
        with _store_errors(f"get {key!r}"):
            try:
                return obstore.get(self._bucket, path, options=options)  # type: ignore[arg-type]  # a TypedDict
            except FileNotFoundError:
                raise NoSuchObject(key) from None

    def _info(self, key: str, result: obstore.GetResult) -> ObjectInfo:
        return ObjectInfo(
            key=key,
            size=result.meta["size"],
            etag=(result.meta["e_tag"] or "").strip('"'),
            last_modified=result.meta["last_modified"],
            metadata=_metadata(result.attributes),
        )

    def _attributes(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """The object's headers and user metadata, as obstore names them."""
        attributes = {"Content-Type": "binary/octet-stream"}  # or some buckets guess
        packed: dict[str, str] = {}
        for name, value in metadata.items():
            user = name.removeprefix(_USER)
            if not _PLAIN_VALUE.fullmatch(value) or value in _DEFAULT_TYPES:
                packed[name] = value
            elif name in _HEADERS:
                attributes[_HEADERS[name]] = value
            elif user not in (name, _PACK) and self._names.fullmatch(user):
                attributes[user] = value
            else:
                packed[name] = value
        if packed:
            attributes[_PACK] = json.dumps(packed, separators=(",", ":"))
        return attributes


def open_remote(url: str, options: Mapping[str, str]) -> RemoteStore:
    """Open ``s3://bucket/prefix``, ``gs://...``, ``az://container/...`` or any other URL that obstore knows.

    ``options`` are obstore's (``endpoint``, ``region``, ``access_key_id``, ``secret_access_key``, ...), beside
    ``allow_http``; what is not given comes from the environment (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``).
    Raises ``ConfigError``.
    """
    config: dict[str, Any] = dict(options)
    insecure = config.pop("allow_http", "").lower() in ("1", "true", "yes")
    try:
        bucket = _from_url(url, config=config, client_options={"allow_http": insecure}, retry_config=_RETRIES)
    except (exceptions.BaseError, ValueError, TypeError) as error:
        raise ConfigError(f"object store {url}: {_first_line(error)}") from error
    return RemoteStore(bucket, names=_IDENTIFIER if url.startswith(("az:", "azure:", "abfs")) else _PLAIN_NAME)


#: obstore's own would hold a call for three minutes when the store hangs: a few dozen of them would hold every thread.
_RETRIES = {"max_retries": 10, "retry_timeout": timedelta(seconds=10)}

#: obstore types each provider's options apart; here they are whatever the user wrote.
_from_url: Callable[..., Bucket] = from_url


class _Source:
    """The data of a put: counted, and its own error kept apart from the bucket's."""

    def __init__(self, data: Iterable[bytes]) -> None:
        self._chunks = iter(data)
        self.size = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.size += len(chunk)
        return chunk

    def read_small(self) -> bytes | None:
        """All the data where they fit in one part, else None: then the source still yields them all."""
        chunks = []
        for chunk in self:
            chunks.append(chunk)
            if self.size > PART_BYTES:
                self._chunks, self.size = chain(chunks, self._chunks), 0
                return None
        return b"".join(chunks)


def _path(key: str) -> str:
    check_key(key)
    if _UNUSABLE.search(key):
        raise UnusableKey(
            "a bucket behind this store takes no key with an empty, '.' or '..' component or a control character"
        )
    return key


def _metadata(attributes: Mapping[str, str]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    packed: dict[str, str] = {}
    for name, value in attributes.items():
        lower = name.lower()
        if lower == _PACK:
            packed = _unpack(value)
        elif lower in _HEADERS:
            if value not in _DEFAULT_TYPES:
                metadata[lower] = value
        else:
            metadata[_USER + lower] = value
    return metadata | packed


def _unpack(value: str) -> dict[str, str]:
    """What ``RemoteStore`` packed; nothing where someone else wrote the metadata."""
    try:
        packed = json.loads(value)
    except ValueError:
        return {}
    return {str(name): str(text) for name, text in packed.items()} if isinstance(packed, dict) else {}


def _chunks(key: str, result: obstore.GetResult) -> Iterator[bytes]:
    with _store_errors(f"get {key!r}"):
        for chunk in result.stream(min_chunk_size=256 * 1024):
            yield bytes(chunk)


@contextmanager
def _store_errors(what: str, source: _Source | None = None) -> Iterator[None]:
    """Turn obstore's errors into ``StoreError``; what the data themselves raised comes first."""
    try:
        yield
    except StoreError:
        raise
    except (exceptions.BaseError, OSError, ValueError, TypeError) as error:
        if source is not None and source.error is not None:
            raise source.error from None
        final = isinstance(error, (exceptions.NotSupportedError, exceptions.InvalidPathError, ValueError, TypeError))
        raise StoreError(f"{what}: {_first_line(error)}", retryable=not final) from error
    except BaseException:
        if source is not None and source.error is not None:
            raise source.error from None
        raise


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
