"""One call of an application's API: what its middleware saw of it, and what it tells the functions it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from opentrail.core.values import dataclass

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """Who made a call: ``type`` is the application's own word (``User``), ``principal_id`` names one of them."""

    type: str
    principal_id: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The route that a call took: ``name`` of the function, class or operation behind it."""

    name: str = ""
    path_parameters: Mapping[str, Any] = field(default_factory=dict)


class ResponseInterrupted(Exception):  # noqa: N818  the error code of the event
    """An answer that had begun was not finished."""


class ClientDisconnected(Exception):  # noqa: N818  the error code of the event
    """The client went away before there was an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A call and its answer.  ``context`` is the ASGI scope or the WSGI environ, as the application left it.

    ``status`` is None where the application raised ``exception`` instead of an answer.  The bodies are there only where
    a field of them is to be recorded, they are small enough, and the application read or sent them whole.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # names in lower case; of a repeated header the last
    peer: str  # the address that the connection came from, "" where there is none
    context: Any
    time: datetime  # aware: when the call came in
    route: Route | None = None
    status: int | None = None
    exception: BaseException | None = None
    request_body: bytes | None = None
    response_body: bytes | None = None

    @property
    def is_read_only(self) -> bool:
        """Whether the method is one that changes nothing."""
        return self.method in SAFE_METHODS

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.exception is not None or self.status is None or self.status >= 400
