"""One call, from its request to its recorded answer: ``handle_call``.

The steps are those of the architecture's table, each one's result the next one's argument: identify, authenticate,
parse, authorise, (intend,) do, record, answer.  Rules:

* A call whose caller is proven is recorded whatever comes of it; one whose caller is not is refused, counted, and in no
  trail, as with AWS.
* ``handle_call`` raises nothing: what nobody foresaw costs its own call a 500 and is recorded like any other fault.
* Nothing cancels a call (``serving``): a client that goes away in the middle leaves a call that is carried out and
  recorded, or one whose body never came, which says so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from opentrail.core.errors import ServiceFault
from opentrail.core.events import Event
from opentrail.core.http import ByteStream, HttpRequest, HttpResponse
from opentrail.core.recording import Recipient, build_event, choose_recipient
from opentrail.core.recording.rules import RecordRules
from opentrail.core.sigv4 import CredentialScope, peek_scope
from opentrail.core.sigv4.sigv2 import is_query_signed, with_query_headers
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.model import ServiceModel
from opentrail.core.wire.protocols import format_response, parse_request
from opentrail.core.wire.routing import Catalog, Route, Scope, identify, is_form
from opentrail.server.authentication import DEFAULT_REGION, Authenticator, Caller
from opentrail.server.authorisation import Authoriser
from opentrail.server.bodies import BytesPayload, RequestBody, StreamedPayload
from opentrail.server.call_threads import CallThreads
from opentrail.server.execution import (
    as_fault,
    begin_handler,
    introduce,
    judge,
    not_implemented,
    run_handler,
    unknown_operation,
)
from opentrail.server.identifiers import Identifiers
from opentrail.server.metrics import Metrics
from opentrail.server.payloads import payload_decoder
from opentrail.server.recorder import Recorder
from opentrail.services.base import OperationEntry, Service

UNSIGNED_FORM_BYTES = 128 << 10  # a web identity's token and policies, percent-encoded, fit
SMALL_PAYLOAD_BYTES = 1 << 20  # up to this size a payload is read before its service is called

_SIGNING_NAME = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """What answering a call needs; wired in ``server.runtime``."""

    catalog: Catalog
    services: Mapping[str, Service[Any]]
    authenticator: Authenticator
    authoriser: Authoriser
    recorder: Recorder
    rules: RecordRules
    identifiers: Identifiers
    metrics: Metrics
    threads: CallThreads  # blocking operations run here
    clock: Callable[[], datetime]
    health: Callable[[], str]  # what is wrong, or ""
    max_body_bytes: int
    s3_domains: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call came to.  ``owner`` and ``others`` are those of ``Verdict``; ``carried_out``: an intent was left."""

    outcome: Outcome
    owner: str = ""
    others: tuple[str, ...] = ()
    carried_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A request's parameters and payload; ``refused`` where they could not be read."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    payload: ByteStream | None = None
    body: bytes = b""
    refused: ServiceFault | None = None


async def handle_call(request: HttpRequest, body: RequestBody, door: FrontDoor, now: datetime) -> HttpResponse:
    """Answer one request; by then its record is durable."""
    request = with_query_headers(request)
    request_id = door.identifiers.request_id()
    before = door.recorder.begin()
    try:
        route: Route | None = None
        try:
            route, data = await _identify(request, body, door)
            caller = await _authenticate(request, data, route, door, now)
        except Exception as error:  # noqa: BLE001  the request boundary: as_fault logs what nobody foresaw
            fault = as_fault(error, "an unproven request", request_id)
            door.metrics.count_refusal(fault.code)
            route = route or _route_of_head(request, door)
            return format_fault(route, fault, request_id, _resource(route), method=request.method)
        parsed = await _parse(request, body, data, route, caller=caller, door=door, request_id=request_id)
        call = ApiCall(
            operation=route.operation or unknown_operation(route),
            parameters=parsed.parameters,
            identity=caller.identity,
            region=caller.region,
            now=now,
            event_id=door.identifiers.event_id(),
            request_id=request_id,
            request=request,
            raw_body=parsed.body,
            payload=parsed.payload,
        )
        if parsed.refused is not None:
            answer = Answer(outcome=Outcome(fault=parsed.refused))
        else:
            call, refused = await _introduce(call, route, door)
            answer = refused or await _carry_out(call, route, before, door)
        answer, response = _respond(call, route, answer)
        response = await _record(call, route, answer, response, body=body, before=before, door=door)
        door.metrics.count_call(route, response.status)
        return response
    finally:
        door.recorder.end(before)


async def _identify(request: HttpRequest, body: RequestBody, door: FrontDoor) -> tuple[Route, bytes | None]:
    """Which operation; and the body, unless it belongs to S3, whose requests name their operation without it.

    An unsigned form is STS's: no other service of that protocol has operations without a signature.
    """
    claimed = peek_scope(request)
    if claimed is None and is_form(request):
        data = await body.read_whole(min(door.max_body_bytes, UNSIGNED_FORM_BYTES))
        return identify(request, data, Scope(signing_name="sts", region=DEFAULT_REGION), door.catalog), data
    if claimed is None or claimed.service == "s3":
        scope = Scope(signing_name="s3", region=claimed.region) if claimed else None
        return identify(request, None, scope, door.catalog, s3_domains=door.s3_domains), None
    data = await body.read_whole(door.max_body_bytes)
    scope = Scope(signing_name=claimed.service, region=claimed.region)
    try:
        return identify(request, data, scope, door.catalog), data
    except ServiceFault as fault:
        return _unknown_service(request, claimed, fault), data


def _unknown_service(request: HttpRequest, claimed: CredentialScope, fault: ServiceFault) -> Route:
    """A route to a service that no model knows, so that its call can be recorded all the same.

    Raises ``fault`` where the claim cannot be a service's name.
    """
    if not _SIGNING_NAME.fullmatch(claimed.service):
        raise fault
    metadata = {"apiVersion": "", "protocol": "rest-json", "signingName": claimed.service}
    return Route(
        service=ServiceModel({"metadata": metadata}, "unknown"),
        operation=None,
        operation_name="",
        protocol="rest-json",
        method=request.method,
        path=request.path,
        query=request.query,
        fault=fault,
    )


def _route_of_head(request: HttpRequest, door: FrontDoor) -> Route | None:
    """Where a request was meant to go, as far as its head says, to refuse it in the words of its protocol."""
    claimed = peek_scope(request)
    try:
        scope = Scope(signing_name=claimed.service, region=claimed.region) if claimed else None
        return identify(request, None, scope, door.catalog, s3_domains=door.s3_domains)
    except Exception:  # noqa: BLE001  it was refused already; without a route it is told in the simplest protocol
        return None


async def _authenticate(
    request: HttpRequest, data: bytes | None, route: Route, door: FrontDoor, now: datetime
) -> Caller:
    """Who calls.  A key that is not in memory is looked up on a thread.  Raises ``ServiceFault``, ``StorageError``."""
    authenticator = door.authenticator
    authorization = authenticator.read_claim(request, route)
    if authorization is None:
        entry = _entry(route, door)
        return authenticator.anonymous(route, takes_token=entry is not None and entry.bearer is not None)
    key = authenticator.remembered(authorization)
    if key is None:
        key = await door.threads.run(authenticator.look_up, authorization)
    return authenticator.prove(request, data, route, authorization, key=key, now=now)


async def _parse(
    request: HttpRequest,
    body: RequestBody,
    data: bytes | None,
    route: Route,
    *,
    caller: Caller,
    door: FrontDoor,
    request_id: str,
) -> Parsed:
    """The parameters, the payload, and the body where it was read whole; or what is wrong with any of them."""
    operation = route.operation
    streaming = operation is not None and operation.streaming_input is not None
    payload: ByteStream | None = None
    try:
        if data is None:
            covers_body = operation is None or operation.name != "CompleteMultipartUpload"
            decoder = payload_decoder(request, caller.authorization, caller.secret, covers_body=covers_body)
            if streaming and (body.declared is None or body.declared > SMALL_PAYLOAD_BYTES):
                payload = StreamedPayload(body, decoder, decoder.length, asyncio.get_running_loop())
                data = b""
            else:
                sent = await body.read_whole(SMALL_PAYLOAD_BYTES if streaming else door.max_body_bytes)
                data = decoder.feed(sent) + decoder.finish()
                if streaming:
                    payload, data = BytesPayload(data), b""
        if operation is None:
            return Parsed(parameters=_labels(route), body=data)
        return Parsed(parameters=parse_request(route, request, data), payload=payload, body=data)
    except Exception as error:  # noqa: BLE001  the request boundary
        fault = as_fault(error, route.operation_name, request_id)
        return Parsed(parameters=_labels(route), body=data or b"", refused=fault)


def _labels(route: Route) -> dict[str, str]:
    """What the path says, of a request whose parameters could not be read."""
    return {name: unquote(text, errors="replace") for name, text in route.labels.items()}


def _entry(route: Route, door: FrontDoor) -> OperationEntry[Any] | None:
    """How the operation is carried out, if it is one of this endpoint's."""
    service = door.services.get(route.service.name)
    return service.operations.get(route.operation.name) if service is not None and route.operation is not None else None


async def _introduce(call: ApiCall, route: Route, door: FrontDoor) -> tuple[ApiCall, Answer | None]:
    """The call with its caller, where a token among its parameters says who that is; or the refusal of the token."""
    entry = _entry(route, door)
    if entry is None or entry.bearer is None or route.fault is not None or not call.identity.is_anonymous:
        return call, None
    bearer = await door.threads.run(introduce, call, entry, door.services[route.service.name].deps)
    if bearer.fault is not None:
        return call, Answer(outcome=Outcome(fault=bearer.fault), owner=bearer.owner)
    return replace(call, identity=bearer.identity), None


async def _carry_out(call: ApiCall, route: Route, before: int, door: FrontDoor) -> Answer:
    """Authorise the call and, if it may, do it."""
    if route.fault is not None:
        return Answer(outcome=Outcome(fault=route.fault))
    service = door.services.get(route.service.name)
    entry = service.operations.get(call.operation.name) if service is not None else None
    if service is None or entry is None:
        return Answer(outcome=Outcome(fault=not_implemented(route)))
    if entry.permissions_block or not door.authoriser.is_ready(call.identity):
        verdict = await door.threads.run(judge, call, entry, service.deps, door.authoriser)
    else:
        verdict = judge(call, entry, service.deps, door.authoriser)
    owner, others = verdict.owner, verdict.others
    if verdict.fault is not None:
        return Answer(outcome=Outcome(fault=verdict.fault), owner=owner, others=others)
    if entry.writes:
        try:
            recipient = choose_recipient(call, owner, others, refused=False)
            intent = build_event(call, Outcome(), door.rules, recipient)
            await door.recorder.intend(intent, before)
        except Exception as error:  # noqa: BLE001  the request boundary: without an intent nothing is carried out
            fault = as_fault(error, call.operation.name, call.request_id)
            return Answer(outcome=Outcome(fault=fault), owner=owner, others=others)
    if entry.begin is not None:
        outcome = await door.threads.begin(begin_handler, call, entry, service.deps)
    elif entry.blocking:
        outcome = await door.threads.run(run_handler, call, entry, service.deps)
    else:
        outcome = run_handler(call, entry, service.deps)
    return Answer(outcome=outcome, owner=owner, others=others, carried_out=entry.writes)


def _respond(call: ApiCall, route: Route, answer: Answer) -> tuple[Answer, HttpResponse]:
    """The answer's response; a result that cannot be written becomes a fault, and the answer then says so."""
    outcome = answer.outcome
    if outcome.result is not None:
        try:
            return answer, format_response(route, outcome.result, call.request_id)
        except Exception as error:  # noqa: BLE001  the request boundary
            fault = as_fault(error, call.operation.name, call.request_id)
            outcome = Outcome(fault=fault)
            answer = replace(answer, outcome=outcome)
    assert outcome.fault is not None, "an outcome has a result or a fault"
    return answer, format_fault(route, outcome.fault, call.request_id, _resource(route), method=route.method)


def _resource(route: Route | None) -> str:
    """What S3's errors call their resource."""
    return route.path if route is not None and route.service.name == "s3" else ""


async def _record(
    call: ApiCall,
    route: Route,
    answer: Answer,
    response: HttpResponse,
    *,
    body: RequestBody,
    before: int,
    door: FrontDoor,
) -> HttpResponse:
    """Make the event durable; the answer, or the refusal where that cannot be done."""
    outcome = answer.outcome
    recipient = choose_recipient(call, answer.owner, answer.others, refused=outcome.fault is not None)
    if not recipient.account_id:
        return response  # an unsigned call that reached nobody's resource: no account's trail can hold it
    if route.service.name == "s3":
        outcome = replace(outcome, additional=_transfer(call, body, response))
    try:
        event = _build(call, outcome, door.rules, recipient)
        await door.recorder.record(event, before, happened=answer.carried_out)
    except Exception as error:  # noqa: BLE001  the request boundary: without a record there is no answer
        fault = as_fault(error, call.operation.name, call.request_id)
        return format_fault(route, fault, call.request_id, _resource(route), method=route.method)
    return response


def _build(call: ApiCall, outcome: Outcome, rules: RecordRules, recipient: Recipient) -> Event:
    """The event; where a value in it cannot be recorded, the event without parameters and result."""
    try:
        return build_event(call, outcome, rules, recipient)
    except Exception as error:  # noqa: BLE001  what is not foreseen must not cost the record
        as_fault(error, f"the record of {call.operation.name}", call.request_id)
        bare = replace(call, parameters={}, raw_body=b"")
        return build_event(bare, Outcome(result=None, fault=outcome.fault), rules, recipient)


def _transfer(call: ApiCall, body: RequestBody, response: HttpResponse) -> dict[str, Any]:
    """S3's ``additionalEventData``: how the caller was authenticated and what was transferred."""
    request = call.request
    signed_in_header = "authorization" in request.headers
    data: dict[str, Any] = {}
    if not call.identity.is_anonymous:
        data["SignatureVersion"] = "SigV2" if is_query_signed(request) else "SigV4"
    if request.tls is not None:
        data["CipherSuite"] = request.tls.cipher_suite
    data["bytesTransferredIn"] = body.received
    if not call.identity.is_anonymous:
        data["AuthenticationMethod"] = "AuthHeader" if signed_in_header else "QueryString"
    data["x-amz-id-2"] = response.header("x-amz-id-2")
    if request.method == "HEAD":
        data["bytesTransferredOut"] = 0
    elif isinstance(response.body, bytes):
        data["bytesTransferredOut"] = len(response.body)
    else:
        data["bytesTransferredOut"] = int(response.header("content-length") or 0)
    return data
