"""HTTP requests and responses as values: what came over the wire, untouched.

Rules: a path and a query stay percent-encoded exactly as sent (signatures cover those bytes);
header names are lower case, values are text in Latin-1 without surrounding white space, in the order of arrival.
The body is never here: it travels beside the head, as ``bytes`` or as a ``ByteStream``.
RFC 9110 (semantics), RFC 3986 (paths).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Protocol

from opentrail.core.values import dataclass


class Headers:
    """An ordered multi-map of lower-case header names to values."""

    __slots__ = ("_first", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple(pairs)
        first: dict[str, str] = {}
        for name, value in self.pairs:
            first.setdefault(name, value)
        self._first = first

    def get(self, name: str, default: str = "") -> str:
        """The first value of ``name`` (lower case), or ``default``."""
        return self._first.get(name, default)

    def get_all(self, name: str) -> list[str]:
        """Every value of ``name`` (lower case) in the order of arrival."""
        return [value for key, value in self.pairs if key == name]

    def __contains__(self, name: object) -> bool:
        return name in self._first

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def names(self) -> Iterable[str]:
        """The distinct names, in the order of first arrival."""
        return self._first.keys()

    def __repr__(self) -> str:
        return f"Headers({self.names()})"  # values may be secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The connection's TLS parameters, as a record's ``tlsDetails`` names them."""

    version: str  # "TLSv1.3"
    cipher_suite: str  # "TLS_AES_128_GCM_SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """The head of one request.  ``path`` and ``query`` are raw: percent-encoded as sent."""

    method: str
    path: str  # starts with "/"
    query: str = ""  # without the "?"
    headers: Headers = field(default_factory=Headers)
    source_ip: str = "127.0.0.1"
    tls: Tls | None = None

    @property
    def host(self) -> str:
        """The Host header, with its port where it has one."""
        return self.headers.get("host")


class ByteStream(Protocol):
    """A request's payload, decoded (no chunk framing), read once from front to back.

    ``read`` returns at most ``size`` bytes, ``b""`` only at the end.  It raises ``ServiceFault`` when the payload
    turns out not to be what its head declared (a chunk signature, a checksum, a length), at the latest on the read
    that would return ``b""``: what was read is good only when ``b""`` was reached.
    """

    @property
    def length(self) -> int | None:
        """Decoded length in bytes where the head declares it."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """Read at most ``size`` bytes (all that is left, for -1)."""
        ...


class RelayedBody(Protocol):
    """The body of an answer that comes from elsewhere, part by part."""

    async def read(self) -> bytes:
        """The next part; ``b""`` when there is no more."""
        ...

    @property
    def complete(self) -> bool:
        """Whether all of it was read, and is good."""
        ...

    def abandon(self) -> None:
        """Nobody wants what is left: a ``read`` that waits returns."""
        ...

    async def close(self) -> None:
        """Let go of it; always called, once."""
        ...


Body = bytes | Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """One answer.  A body that is an iterator is streamed; its head then carries ``content-length``.

    ``relayed`` stands in the place of a body that comes from elsewhere while it is sent on.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: Body = b""
    relayed: RelayedBody | None = None

    def header(self, name: str) -> str:
        """The first value of the header ``name`` (any case), or the empty string."""
        lowered = name.lower()
        return next((value for key, value in self.headers if key.lower() == lowered), "")


Metadata = Mapping[str, str]
