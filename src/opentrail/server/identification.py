"""The first two steps of a call: what it is for, and who makes it.

Rules: a service model that is not in memory yet is read on a thread, for large ones take a third of a second; and only
for a caller who is proven, or whom an upstream is to judge: else anybody could fill the memory with models.  The
signature is proven without the model, by what the catalog's index says.
"""

from __future__ import annotations

import re
from datetime import datetime

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpRequest
from opentrail.core.sigv4 import CredentialScope, peek_scope
from opentrail.core.wire.model import ServiceModel
from opentrail.core.wire.routing import Route, Scope, identify, is_form
from opentrail.server.authentication import DEFAULT_REGION, Caller
from opentrail.server.bodies import RequestBody
from opentrail.server.catalog import ModelNotLoadedError
from opentrail.server.front_door import FrontDoor

UNSIGNED_FORM_BYTES = 128 << 10  # a web identity's token and policies, percent-encoded, fit

_SIGNING_NAME = re.compile(r"[a-z0-9-]{1,64}")
_STS = Scope(signing_name="sts", region=DEFAULT_REGION)


async def identify_call(
    request: HttpRequest, body: RequestBody, door: FrontDoor, now: datetime
) -> tuple[Route, bytes | None]:
    """Which operation; and the body, unless it belongs to S3, whose requests name their operation without it.

    An unsigned form is STS's: no other service of that protocol has operations without a signature.  Raises
    ``ServiceFault``.
    """
    claimed = peek_scope(request)
    if claimed is None and is_form(request):
        data = await body.read_whole(min(door.max_body_bytes, UNSIGNED_FORM_BYTES))
        return await _identify(request, data, _STS, door, now), data
    if claimed is None or claimed.service == "s3":
        scope = Scope(signing_name="s3", region=claimed.region) if claimed else None
        return await _identify(request, None, scope, door, now), None
    scope = Scope(signing_name=claimed.service, region=claimed.region)
    if door.forwarder is not None and door.forwarder.streams(claimed.service, body):
        return await _identify(request, None, scope, door, now), None
    data = await body.read_whole(door.max_body_bytes)
    return await _identify(request, data, scope, door, now, claimed=claimed), data


def route_of_head(request: HttpRequest, door: FrontDoor) -> Route | None:
    """Where a request was meant to go, as far as its head says, to refuse it in the words of its protocol."""
    claimed = peek_scope(request)
    scope = Scope(signing_name=claimed.service, region=claimed.region) if claimed else None
    try:
        return identify(request, None, scope, door.catalog.in_memory, s3_domains=door.s3_domains)
    except ModelNotLoadedError as missing:
        return _bare_route(request, missing.name, door)
    except Exception:  # noqa: BLE001  it was refused already; without a route it is told in the simplest protocol
        return None


async def authenticate_call(
    request: HttpRequest, data: bytes | None, route: Route, door: FrontDoor, now: datetime
) -> Caller:
    """Who calls.  A key that is not in memory is looked up on a thread.  Raises ``ServiceFault``, ``StorageError``."""
    authenticator = door.authenticator
    authorization = authenticator.read_claim(request, route)
    if authorization is None:
        entry = door.entry(route)
        return authenticator.anonymous(route, takes_token=entry is not None and entry.bearer is not None)
    key = authenticator.remembered(authorization)
    if key is None:
        key = await door.threads.run(authenticator.look_up, authorization)
    return authenticator.prove(request, data, route, authorization, key=key, now=now)


async def _identify(
    request: HttpRequest,
    data: bytes | None,
    scope: Scope | None,
    door: FrontDoor,
    now: datetime,
    *,
    claimed: CredentialScope | None = None,
) -> Route:
    """``identify``, with the models that it turns out to need; ``claimed`` where an unknown service is to be recorded.

    Raises ``ServiceFault``.
    """
    while True:
        try:
            return identify(request, data, scope, door.catalog.in_memory, s3_domains=door.s3_domains)
        except ServiceFault as fault:
            if claimed is None or not _SIGNING_NAME.fullmatch(claimed.service):
                raise
            metadata = {"apiVersion": "", "protocol": "rest-json", "signingName": claimed.service}
            return _route_to(request, ServiceModel({"metadata": metadata}, "unknown"), "rest-json", fault)
        except ModelNotLoadedError as missing:
            name = missing.name
        if name not in door.services and name != "s3":  # these are few, and have calls that nobody signs
            route = _bare_route(request, name, door)
            forward = door.forwarder.begin(route, request) if door.forwarder is not None else None
            if forward is None or forward.signs:
                await authenticate_call(request, data, route, door, now)
        await door.threads.run(door.catalog.service, name)


def _bare_route(request: HttpRequest, name: str, door: FrontDoor) -> Route:
    """A route to the service ``name`` with what the catalog's index says: enough to prove a signature, or refuse."""
    protocol = _spoken_protocol(request, door.catalog.protocols(name))
    service = ServiceModel(
        {"metadata": {"apiVersion": "", "protocol": protocol, "signingName": door.catalog.signing_name(name)}}, name
    )
    return _route_to(request, service, protocol)


def _spoken_protocol(request: HttpRequest, protocols: tuple[str, ...]) -> str:
    """The one of a service's ``protocols`` that ``request`` speaks, as its head tells."""
    if "smithy-protocol" in request.headers:
        spoken = {"smithy-rpc-v2-cbor"}
    elif "x-amz-target" in request.headers:
        spoken = {"json"}
    else:
        spoken = {"query", "ec2"} if is_form(request) else set()
    return next((each for each in protocols if each in spoken), protocols[0])


def _route_to(request: HttpRequest, service: ServiceModel, protocol: str, fault: ServiceFault | None = None) -> Route:
    """A route to no operation."""
    return Route(
        service=service,
        operation=None,
        operation_name="",
        protocol=protocol,
        method=request.method,
        path=request.path,
        query=request.query,
        fault=fault,
    )
