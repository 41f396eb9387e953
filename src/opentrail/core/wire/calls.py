"""One API call and its outcome, between the wire and the services.

``ApiCall`` is complete when it is built: authenticated, parsed, with its id and time.  A service answers it with a
result (a mapping that follows the operation's output shape) or raises ``ServiceFault``; ``Outcome`` holds either.
What an upstream answered to a forwarded call stays beside them as it came: some records are written off the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.http import ByteStream, Headers, HttpRequest
from opentrail.core.identity import Identity
from opentrail.core.values import dataclass
from opentrail.core.wire.model import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """A call by ``identity`` of ``operation`` in ``region`` with ``parameters`` (botocore's member names).

    A blob member is ``bytes``, a timestamp an aware ``datetime``; a streaming member is not in ``parameters``: it is
    ``payload``.  ``request`` is the head as sent (for a service's own call: a head made for it).
    """

    operation: Operation
    parameters: Mapping[str, Any]
    identity: Identity
    region: str
    now: datetime  # aware, UTC
    event_id: str  # UUID text
    request_id: str
    request: HttpRequest
    raw_body: bytes = b""  # the body as sent, where it was read whole
    payload: ByteStream | None = None
    source_arn: str = ""  # for a service's call: the resource on whose behalf (aws:SourceArn)

    @property
    def account_id(self) -> str:
        """The caller's account."""
        return self.identity.account_id


@dataclass(frozen=True, slots=True, kw_only=True)
class WireAnswer:
    """What the upstream of a forwarded call answered.

    ``body`` is at most 1 MB, and empty where the answer is longer or a streaming payload.
    """

    status: int
    headers: Headers
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call came to: ``result`` or ``fault``, never both; ``answer`` is a forwarded call's, as it came."""

    result: Mapping[str, Any] | None = None
    fault: ServiceFault | None = None
    additional: Mapping[str, Any] = field(default_factory=dict)  # for additionalEventData
    answer: WireAnswer | None = None
