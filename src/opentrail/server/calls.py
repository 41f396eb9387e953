"""One call, from its request to its recorded answer: ``handle_call``.

The steps are those of the architecture's table, each one's result the next one's argument: identify, authenticate,
parse, authorise, (intend,) do, record, answer.  Rules:

* A call whose caller is proven is recorded whatever comes of it; one whose caller is not is refused, counted, and in no
  trail, as with AWS.
* ``handle_call`` raises nothing: what nobody foresaw costs its own call a 500 and is recorded like any other fault.
* A call that is not for a service of its own is done by an upstream (``forwarding``), in the same steps.
* Nothing cancels a call (``serving``): a client that goes away in the middle leaves a call that is carried out and
  recorded, or one whose body never came, which says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from opentrail.core.errors import ServiceFault
from opentrail.core.http import ByteStream, HttpRequest, HttpResponse
from opentrail.core.sigv4.sigv2 import with_query_headers
from opentrail.core.values import dataclass
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.protocols import format_response, parse_request
from opentrail.core.wire.routing import Route
from opentrail.server.authentication import Caller
from opentrail.server.bodies import BytesPayload, RequestBody, StreamedPayload
from opentrail.server.call_records import NOTHING, transferred
from opentrail.server.execution import (
    as_fault,
    begin_handler,
    introduce,
    judge,
    not_implemented,
    run_handler,
    unknown_operation,
)
from opentrail.server.forwarding import Asked, Forward
from opentrail.server.front_door import FrontDoor
from opentrail.server.identification import authenticate_call, identify_call, route_of_head
from opentrail.server.payloads import payload_decoder
from opentrail.server.upstream_client import AnswerStream
from opentrail.server.upstream_connection import UpstreamError
from opentrail.server.upstream_relay import Relay

SMALL_PAYLOAD_BYTES = 1 << 20  # up to this size a payload is read before its service is called


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call came to.  ``owner`` and ``others`` are those of ``Verdict``; ``carried_out``: an intent was left.

    ``response`` is an upstream's, and ``stream`` its body where that is not at hand in full.
    """

    outcome: Outcome
    owner: str = ""
    others: tuple[str, ...] = ()
    carried_out: bool = False
    response: HttpResponse | None = None
    stream: AnswerStream | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A request's parameters and payload; ``refused`` where they could not be read."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    payload: ByteStream | None = None
    body: bytes = b""
    refused: ServiceFault | None = None


async def handle_call(request: HttpRequest, body: RequestBody, door: FrontDoor, now: datetime) -> HttpResponse:
    """Answer one request; by then its record is durable (of a long answer that an upstream gives: by its end)."""
    sent, request = request, with_query_headers(request)
    request_id = door.identifiers.request_id()
    before = door.recorder.begin()
    relayed: Relay | None = None
    try:
        route: Route | None = None
        try:
            route, data = await identify_call(request, body, door, now)
            forward = door.forwarder.begin(route, sent) if door.forwarder is not None else None
            if forward is None or forward.signs:
                caller = await authenticate_call(request, data, route, door, now)
            else:
                caller = await forward.caller(data, now)
        except Exception as error:  # noqa: BLE001  the request boundary: as_fault logs what nobody foresaw
            fault = as_fault(error, "an unproven request", request_id)
            door.metrics.count_refusal(fault.code)
            route = route or route_of_head(request, door)
            return format_fault(route, fault, request_id, _resource(route), method=request.method)
        if forward is None:
            parsed = await _parse(request, body, data, route, caller=caller, door=door, request_id=request_id)
        else:
            asked = await forward.read(request, body, data, caller)
            parsed = Parsed(parameters=asked.parameters, body=asked.document, refused=asked.refused)
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
            owner = forward.owner_of(call) if forward is not None else ""
            answer = Answer(outcome=Outcome(fault=parsed.refused), owner=owner)
        elif forward is not None:
            call, answer = await _forward(call, forward, asked, before, door)
        else:
            call, refused = await _introduce(call, route, door)
            answer = refused or await _carry_out(call, route, before, door)
        answer, response = _respond(call, route, answer)
        if forward is not None and answer.stream is not None:
            relayed = _relay(call, forward, answer, response, body=body, before=before, door=door)
            response = replace(response, relayed=relayed)
        else:
            response = await _record(call, route, answer, response, body=body, before=before, door=door)
        door.metrics.count_call(route, response.status)
        return response
    finally:
        if relayed is None:
            door.recorder.end(before)


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


async def _introduce(call: ApiCall, route: Route, door: FrontDoor) -> tuple[ApiCall, Answer | None]:
    """The call with its caller, where a token among its parameters says who that is; or the refusal of the token."""
    entry = door.entry(route)
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
        fault = await door.records.intend(call, owner, others, before)
        if fault is not None:
            return Answer(outcome=Outcome(fault=fault), owner=owner, others=others)
    if entry.begin is not None:
        outcome = await door.threads.begin(begin_handler, call, entry, service.deps)
    elif entry.blocking:
        outcome = await door.threads.run(run_handler, call, entry, service.deps)
    else:
        outcome = run_handler(call, entry, service.deps)
    return Answer(outcome=outcome, owner=owner, others=others, carried_out=entry.writes)


async def _forward(
    call: ApiCall, forward: Forward, asked: Asked, before: int, door: FrontDoor
) -> tuple[ApiCall, Answer]:
    """Let the upstream do the call, if it may; the call then has the request ID that the upstream told."""
    verdict = await forward.judge(call)
    owner, others = verdict.owner, verdict.others
    if verdict.fault is not None:
        return call, Answer(outcome=Outcome(fault=verdict.fault), owner=owner, others=others)
    if forward.writes:
        fault = await door.records.intend(call, owner, others, before)
        if fault is not None:
            return call, Answer(outcome=Outcome(fault=fault), owner=owner, others=others)
    done = await forward.do(call, asked)
    answer = Answer(
        outcome=done.outcome,
        owner=owner,
        others=others,
        carried_out=forward.writes,
        response=done.response,
        stream=done.stream,
    )
    if done.request_id:
        call = replace(call, request_id=done.request_id)
    if done.stream is not None and not forward.writes:
        # The client has a part of the answer before there is a record: should we die in between, the intent says so.
        fault = await door.records.intend(call, owner, others, before)
        if fault is not None:
            done.stream.close()
            return call, Answer(outcome=Outcome(fault=fault), owner=owner, others=others)
    return call, answer


def _relay(
    call: ApiCall,
    forward: Forward,
    answer: Answer,
    response: HttpResponse,
    *,
    body: RequestBody,
    before: int,
    door: FrontDoor,
) -> Relay:
    """The body of a streamed answer, at whose end the call is recorded."""
    assert answer.stream is not None, "only a streamed answer is relayed"

    async def finish(passed: int, error: UpstreamError | None) -> None:
        outcome = answer.outcome if error is None else Outcome(fault=forward.fault(error))
        is_s3 = forward.route.service.signing_name == "s3"  # S3 Control tells it too
        transfer = transferred(call, body.received, response, passed) if is_s3 else NOTHING
        owner, others = answer.owner, answer.others
        try:
            fault = await door.records.keep(call, outcome, owner, others, before, happened=True, transfer=transfer)
        finally:
            door.recorder.end(before)
        if fault is not None:
            raise fault

    length = response.header("content-length")
    return Relay(answer.stream, int(length) if length else None, finish)


def _respond(call: ApiCall, route: Route, answer: Answer) -> tuple[Answer, HttpResponse]:
    """The answer's response; a result that cannot be written becomes a fault, and the answer then says so."""
    if answer.response is not None:
        return answer, answer.response
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
    transfer = transferred(call, body.received, response) if route.service.signing_name == "s3" else NOTHING
    happened, owner, others = answer.carried_out, answer.owner, answer.others
    fault = await door.records.keep(call, answer.outcome, owner, others, before, happened=happened, transfer=transfer)
    if fault is None:
        return response
    return format_fault(route, fault, call.request_id, _resource(route), method=route.method)
