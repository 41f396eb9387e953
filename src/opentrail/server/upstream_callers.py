"""Who calls, where an upstream is to judge the signature: proven by Opentrail, or no more than an access key ID.

Rules: only a signature that holds with a secret that Opentrail has proves an identity.  Any other signed request is
from an identity of type Unknown, which has the access key ID it claims and nothing else, no account; what cannot be
read as a signature is left to the upstream.  An unsigned request is anonymous.
"""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import unquote

from opentrail.core.arn import is_region
from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpRequest
from opentrail.core.identity import ANONYMOUS, Identity, IdentityType
from opentrail.core.sigv4 import Authorization, peek_scope
from opentrail.core.wire.routing import Route
from opentrail.server.authentication import DEFAULT_REGION, Authenticator, Caller, Claim
from opentrail.server.call_threads import CallThreads

STRANGER_SECONDS = 5.0
_MOST_STRANGERS = 4096

#: The access key ID in the headers and queries of Signature Versions 4 and 2.
_CLAIMED = re.compile(
    r"(?:Credential=|AWSAccessKeyId=|^AWS )([^/:&,\s%]{1,128})(?:/|%2F|:|&|$)", re.IGNORECASE | re.ASCII
)
_KEY_ID = re.compile(r"[!-~]{1,128}")


class Strangers:
    """Access key IDs that Opentrail was found not to have, so that not every call of theirs asks the database.

    Each is believed for ``STRANGER_SECONDS``: then a key that was made meanwhile is found.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def has(self, access_key_id: str, now: datetime) -> bool:
        """Whether the key was looked for a moment ago, and not found."""
        return self._until.get(access_key_id, 0.0) > now.timestamp()

    def add(self, access_key_id: str, now: datetime) -> None:
        """The key was looked for, and not found."""
        if len(self._until) >= _MOST_STRANGERS:  # anybody can make up names
            self._until.clear()
        self._until[access_key_id] = now.timestamp() + STRANGER_SECONDS


async def claimed_caller(
    request: HttpRequest,
    data: bytes | None,
    route: Route,
    *,
    authenticator: Authenticator,
    strangers: Strangers,
    threads: CallThreads,
    now: datetime,
) -> Caller:
    """The caller of ``request``, whose signature an upstream judges.  ``data`` is the body, None where it is not read.

    Raises ``StorageError`` where the key cannot be looked up.
    """
    claim: Claim | None = None
    try:
        claim = authenticator.read_claim(request, route)
        if claim is None:
            return Caller(identity=ANONYMOUS, region=DEFAULT_REGION)
        key = authenticator.remembered(claim)
        if key is None and not strangers.has(claim.access_key_id, now):
            key = await threads.run(authenticator.look_up, claim)
            if key is None and not claim.session_token:  # a session's key goes by its token
                strangers.add(claim.access_key_id, now)
        if key is not None:
            return authenticator.prove(request, data, route, claim, key=key, now=now)
    except ServiceFault:
        pass  # not proven here: the upstream may know better
    scope = claim if isinstance(claim, Authorization) else peek_scope(request)
    region = scope.region if scope is not None and is_region(scope.region) else DEFAULT_REGION
    key_id = claim.access_key_id if claim is not None else _claimed_key(request)
    if not _KEY_ID.fullmatch(key_id):
        key_id = ""
    return Caller(identity=Identity(type=IdentityType.UNKNOWN, access_key_id=key_id), region=region)


def _claimed_key(request: HttpRequest) -> str:
    """The access key ID in a signature that cannot be read; the empty string where there is none."""
    found = _CLAIMED.search(request.headers.get("authorization")) or _CLAIMED.search(request.query)
    return unquote(found[1]) if found else ""
