"""Who calls: from a request's signature to an ``Identity``.

Rules: the secret never leaves this module but inside ``Caller``, for the chunk signatures of an upload; an unknown key,
an inactive key and a wrong signature are refused in the words of the service's family; a request without any signature
is anonymous, which only operations that allow it let through.  A session's key is nothing without its token, and a
token is nothing beside a long-term key; a session ends at its second, whatever was signed before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import field
from datetime import datetime

from opentrail.core.arn import is_region
from opentrail.core.credentials import TEMPORARY
from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpRequest
from opentrail.core.identity import ANONYMOUS, Identity, IdentityType
from opentrail.core.sigv4 import (
    Authorization,
    Family,
    expired_token,
    family_of,
    invalid_token,
    missing_token,
    parse_authorization,
    s3_payload_hash,
    unknown_key,
    verify_signature,
)
from opentrail.core.sigv4.sigv2 import (
    QueryAuthorization,
    is_query_signed,
    parse_query_authorization,
    verify_query_signature,
)
from opentrail.core.values import dataclass
from opentrail.core.wire.routing import Route
from opentrail.state.identities import KeyRecord

DEFAULT_REGION = "us-east-1"
Claim = Authorization | QueryAuthorization


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller, the region asked for, and what further checks of the body need.

    ``authorization`` is None where the signature says nothing about the body: Signature Version 2, none at all.
    """

    identity: Identity
    region: str
    authorization: Authorization | None = None
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """Proves signatures with keys that are found (which blocks) or remembered (which does not).

    Long-term keys go by their access key ID; those of sessions by that and their token.  ``note_use`` hears of each
    good use of a long-term key, ``note_role_use`` of a role's.
    """

    known_key: Callable[[str], KeyRecord | None]
    find_key: Callable[[str], KeyRecord | None]
    known_session: Callable[[str, str], KeyRecord | None]
    find_session: Callable[[str, str], KeyRecord | None]
    note_use: Callable[[str, str, str, datetime], None]  # access key ID, service, region, time
    note_role_use: Callable[[str, str, str, datetime], None]  # the role's unique id, service, region, time

    def read_claim(self, request: HttpRequest, route: Route) -> Claim | None:
        """Who ``request`` claims to be from; None where it is unsigned.  Raises ``ServiceFault``."""
        family = family_of(route.service.signing_name, route.protocol)
        if route.service.name == "s3" and is_query_signed(request):
            return parse_query_authorization(request)
        authorization = parse_authorization(request, family)
        if authorization is not None:
            _check_scope(authorization, route, family)
        return authorization

    def remembered(self, claim: Claim) -> KeyRecord | None:
        """The key of ``claim`` if it is in memory; None says nothing."""
        if claim.access_key_id.startswith(TEMPORARY):
            return self.known_session(claim.access_key_id, claim.session_token)
        return self.known_key(claim.access_key_id)

    def look_up(self, claim: Claim) -> KeyRecord | None:
        """The key of ``claim``, which may take a database; None where there is none.  Raises ``StorageError``."""
        if claim.access_key_id.startswith(TEMPORARY):
            token = claim.session_token
            return self.find_session(claim.access_key_id, token) if token else None
        return self.find_key(claim.access_key_id)

    def anonymous(self, route: Route, *, takes_token: bool = False) -> Caller:
        """The caller of an unsigned request; ``takes_token``: its operation proves the caller in its own way.

        Raises ``ServiceFault`` where the service has no unsigned calls.
        """
        family = family_of(route.service.signing_name, route.protocol)
        if family is not Family.S3 and not takes_token:
            raise missing_token(family)
        return Caller(identity=ANONYMOUS, region=DEFAULT_REGION)

    def prove(
        self,
        request: HttpRequest,
        body: bytes | None,
        route: Route,
        authorization: Claim,
        *,
        key: KeyRecord | None,
        now: datetime,
    ) -> Caller:
        """The caller of ``request``, whose claim ``key`` proves.

        ``body`` is None for S3, whose payloads are checked as they are read.  Raises ``ServiceFault``.
        """
        family = family_of(route.service.signing_name, route.protocol)
        key = _usable(key, authorization, family, now)
        service = route.service.signing_name
        if isinstance(authorization, QueryAuthorization):
            verify_query_signature(request, authorization, key.secret, now, path=route.path)
            self._note(key, service, DEFAULT_REGION, now)
            return Caller(identity=key.identity, region=DEFAULT_REGION)
        payload_hash = s3_payload_hash(authorization) if body is None else hashlib.sha256(body).hexdigest()
        verify_signature(request, authorization, key.secret, now, payload_hash=payload_hash, family=family)
        self._note(key, service, authorization.region, now)
        return Caller(
            identity=key.identity, region=authorization.region, authorization=authorization, secret=key.secret
        )

    def _note(self, key: KeyRecord, service: str, region: str, now: datetime) -> None:
        if key.identity.session is None:
            self.note_use(key.access_key_id, service, region, now)
        elif key.identity.type is IdentityType.ASSUMED_ROLE:
            self.note_role_use(key.identity.grantee_id, service, region, now)


def _usable(key: KeyRecord | None, claim: Claim, family: Family, now: datetime) -> KeyRecord:
    """The key, where it and the claim's token go together and are good at ``now``.  Raises ``ServiceFault``."""
    if key is None or not key.is_active:
        raise invalid_token(family) if claim.session_token else unknown_key(family, claim.access_key_id)
    session = key.identity.session
    if (session is None) is not (not claim.session_token):
        raise invalid_token(family)
    if session is not None and session.expiration is not None and now >= session.expiration:
        raise expired_token(family)
    return key


def _check_scope(authorization: Authorization, route: Route, family: Family) -> None:
    """The credential scope must be for this service, and for something that can be a region."""
    if not is_region(authorization.region):
        code = "AuthorizationHeaderMalformed" if family is Family.S3 else "SignatureDoesNotMatch"
        raise ServiceFault(code, "Credential should be scoped to a valid region.", status=403)
    if authorization.service != route.service.signing_name:
        code = "AuthorizationHeaderMalformed" if family is Family.S3 else "SignatureDoesNotMatch"
        text = f"Credential should be scoped to correct service: '{route.service.signing_name}'."
        raise ServiceFault(code, text, status=400 if family is Family.S3 else 403)
