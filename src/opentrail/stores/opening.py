"""Object stores by URL: the scheme says which.

    file:///var/lib/logs   a folder (so does a plain path)       memory:   this process's memory
    s3://bucket/prefix     gs://bucket/prefix                    az://container/prefix

Options (text to text) are the store's own; a ``?name=value`` query in the URL says the same and loses to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from opentrail.core.errors import ConfigError
from opentrail.stores.base import ObjectStore
from opentrail.stores.local import LocalStore
from opentrail.stores.memory import MemoryStore


def open_store(url: str, options: Mapping[str, str] | None = None) -> ObjectStore:
    """Open the store that ``url`` names.  Raises ``ConfigError``, or ``StoreError`` where the medium refuses."""
    scheme, colon, _ = url.partition(":")
    if not colon or "/" in scheme:
        return _open_local(url, options or {})
    if scheme not in SCHEMES:
        raise ConfigError(f"object store {url}: the scheme must be one of {', '.join(SCHEMES)}")
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query)) | dict(options or {})
    return SCHEMES[scheme](urlunsplit(parts._replace(query="")), given)


def _open_local(url: str, options: Mapping[str, str]) -> ObjectStore:
    parts = urlsplit(url)
    unknown = options.keys() - {"read_only"}
    if unknown or parts.netloc:
        raise ConfigError(f"object store {url}: a folder has no host and takes read_only alone, not {sorted(unknown)}")
    root = unquote(parts.path) if parts.scheme else url
    if not root:
        raise ConfigError("object store: the URL names no folder")
    return LocalStore(root, read_only=options.get("read_only", "").lower() in ("1", "true", "yes"))


def _open_memory(_url: str, _options: Mapping[str, str]) -> ObjectStore:
    return MemoryStore()


def _open_remote(url: str, options: Mapping[str, str]) -> ObjectStore:
    from opentrail.stores.remote import open_remote  # noqa: PLC0415  obstore costs its import to who needs it

    return open_remote(url, options)


SCHEMES: Mapping[str, Callable[[str, Mapping[str, str]], ObjectStore]] = {
    "file": _open_local,
    "memory": _open_memory,
    "s3": _open_remote,
    "gs": _open_remote,
    "az": _open_remote,
}
