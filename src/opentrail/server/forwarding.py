"""One forwarded call: the upstream of its service takes the place of an own service.

``server.calls`` walks the steps of a call; ``Forward`` is how those are done that differ: who calls, what is asked for,
doing it.  Rules:

* *Pass through*: the upstream judges the client's own signature, over the bytes that the client sent.  Whom Opentrail
  cannot prove itself (``upstream_callers``) is believed by the upstream or by nobody, and the record says so in
  ``additionalEventData.callerVouchedForBy``: ``upstream`` where it did what was asked for, else ``nobody``; a refusal
  may be for the signature or for want of a permission, and from outside nobody can tell.
* *Re-sign*: Opentrail authenticates and authorises as for its own services, then signs with the upstream's key.
* What goes wrong on the way is told in the protocol's own words: 503 where nothing was sent, else 500, which says that
  the outcome is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest, HttpResponse
from opentrail.core.recording.rules import RecordRules
from opentrail.core.sigv4 import Family, family_of, s3_payload_hash
from opentrail.core.values import dataclass
from opentrail.core.wire.calls import ApiCall, Outcome, WireAnswer
from opentrail.core.wire.chunked import is_chunked
from opentrail.core.wire.model import Operation
from opentrail.core.wire.protocols import parse_request
from opentrail.core.wire.responses import answered_request_id, parse_response
from opentrail.core.wire.routing import Route
from opentrail.server.authentication import Authenticator, Caller
from opentrail.server.authorisation import Authoriser, Verdict
from opentrail.server.bodies import RequestBody
from opentrail.server.call_threads import CallThreads
from opentrail.server.execution import as_fault
from opentrail.server.payloads import payload_decoder
from opentrail.server.session_limits import refuse_session
from opentrail.server.upstream_ambiguity import ambiguous_body, ambiguous_head
from opentrail.server.upstream_bodies import ForwardedBody, as_sent, checked_stream, checked_whole
from opentrail.server.upstream_callers import Strangers, claimed_caller
from opentrail.server.upstream_client import AnswerStream, Outgoing, UpstreamClient
from opentrail.server.upstream_connection import KEPT_BYTES, Pairs, Reason, UpstreamAnswer, UpstreamError
from opentrail.server.upstream_permissions import FORWARDED
from opentrail.server.upstream_requests import (
    HOP_BY_HOP,
    kept_headers,
    pass_through_head,
    re_signed_head,
    sha256_hex,
)

_REQUEST_ID_HEADERS = frozenset({"x-amz-request-id", "x-amzn-requestid", "x-amzn-request-id"})
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_NOT_SENT_ON = HOP_BY_HOP | {"content-length", "date"}  # the body's length is told anew, the date is the server's
_EVENT_STREAMS = ("application/vnd.amazon.eventstream", "text/event-stream")

#: What an error of the upstream's is called: where the request was not sent, and where it was.
_TROUBLE: Mapping[Family, tuple[str, str]] = {
    Family.S3: ("ServiceUnavailable", "InternalError"),
    Family.EC2: ("Unavailable", "InternalError"),
}
_OTHER_TROUBLE = ("ServiceUnavailable", "InternalFailure")

#: What an upstream says to a signature or a key that it does not take.
_KEY_REFUSED = frozenset(
    {"AuthFailure", "AuthorizationHeaderMalformed", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature"}
    | {"IncompleteSignatureException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException"}
    | {"InvalidToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestExpired"}
    | {"RequestTimeTooSkewed", "SignatureDoesNotMatch", "UnrecognizedClientException"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingDeps:
    """What all forwarded calls share."""

    authenticator: Authenticator
    authoriser: Authoriser
    threads: CallThreads
    rules: RecordRules
    strangers: Strangers
    account_id: str  # receives the calls of callers without an account, where the upstream names none
    max_body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for; ``refused`` where it could not be read.  ``document`` is the body, if it was read."""

    parameters: Mapping[str, Any]
    document: bytes = b""
    body: ForwardedBody | None = None
    refused: ServiceFault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """What came of a call; ``stream`` is the body of ``response`` where that is not at hand in full."""

    outcome: Outcome
    response: HttpResponse | None = None
    stream: AnswerStream | None = None
    request_id: str = ""  # "": the upstream told none


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A call on its way to an upstream.  ``sent`` is the request as its client sent it."""

    route: Route
    sent: HttpRequest
    client: UpstreamClient
    deps: ForwardingDeps
    writes: bool

    @property
    def signs(self) -> bool:
        """Whether Opentrail authenticates the caller, and signs what it sends on."""
        return self.client.upstream.key is not None

    def owner_of(self, call: ApiCall) -> str:
        """The account that receives the call beside its caller's own: the upstream's, where the caller has none."""
        if call.identity.account_id and not call.identity.is_anonymous:
            return ""
        return self.client.upstream.account_id or self.deps.account_id

    async def caller(self, data: bytes | None, now: datetime) -> Caller:
        """Who calls, where the upstream is to judge that.  Raises ``StorageError``."""
        deps = self.deps
        return await claimed_caller(
            self.sent,
            data,
            self.route,
            authenticator=deps.authenticator,
            strangers=deps.strangers,
            threads=deps.threads,
            now=now,
        )

    async def read(self, request: HttpRequest, body: RequestBody, data: bytes | None, caller: Caller) -> Asked:
        """What is asked for, and the body as it will be sent on; a long payload is not read yet."""
        ambiguous = ambiguous_head(self.route, self.sent)
        if ambiguous is not None:
            return Asked(parameters=_labels(self.route), refused=ambiguous)
        try:
            if self._is_streamed(body, data):
                forwarded = self._stream(request, body, caller)
                document = b""
            else:
                sent = await body.read_whole(self.deps.max_body_bytes) if data is None else data
                forwarded, document = self._whole(request, sent, caller, is_s3=data is None)
        except Exception as error:  # noqa: BLE001  the request boundary
            fault = as_fault(error, self.route.operation_name, "forwarded")
            return Asked(parameters=_labels(self.route), refused=fault)
        operation = self.route.operation
        # Of an unknown operation of S3's the body may be an object; of any other's the rules may know what to record.
        is_payload = data is None if operation is None else operation.streaming_input is not None
        document = b"" if is_payload else document
        ambiguous = ambiguous_body(self.route, request, document)
        if ambiguous is not None:
            return Asked(parameters=_labels(self.route), document=document, refused=ambiguous)
        try:
            parameters = _labels(self.route) if operation is None else parse_request(self.route, request, document)
        except ServiceFault as fault:
            if self.signs:  # what is authorised must be what is done
                return Asked(parameters=_labels(self.route), document=document, refused=fault)
            parameters = _labels(self.route)
        return Asked(parameters=parameters, document=document, body=forwarded)

    def _is_streamed(self, body: RequestBody, data: bytes | None) -> bool:
        if data is not None or (body.declared is not None and body.declared <= KEPT_BYTES):
            return False
        operation = self.route.operation
        return operation is None or operation.streaming_input is not None or operation.event_stream_input is not None

    def _stream(self, request: HttpRequest, body: RequestBody, caller: Caller) -> ForwardedBody:
        if not self.signs:
            return ForwardedBody(content=as_sent(body), length=body.declared, payload_hash="")
        decoder = payload_decoder(request, caller.authorization, caller.secret, covers_body=True)
        return checked_stream(request, body, decoder, caller.authorization)

    def _whole(self, request: HttpRequest, sent: bytes, caller: Caller, *, is_s3: bool) -> tuple[ForwardedBody, bytes]:
        """The body to send on, and the document within.  Raises ``ServiceFault`` for one that is not what it claims."""
        if not self.signs:
            return ForwardedBody(content=sent, length=len(sent), payload_hash=""), sent
        if not is_s3:
            return ForwardedBody(content=sent, length=len(sent), payload_hash=sha256_hex(sent)), sent
        covers_body = self.route.operation_name != "CompleteMultipartUpload"
        decoder = payload_decoder(request, caller.authorization, caller.secret, covers_body=covers_body)
        payload = decoder.feed(sent) + decoder.finish()
        claimed = s3_payload_hash(caller.authorization) if caller.authorization else ""
        if not is_chunked(claimed):
            return ForwardedBody(content=payload, length=len(payload), payload_hash=sha256_hex(payload)), payload
        return checked_whole(request, payload, decoder.trailers, sha256_hex(payload)), payload

    async def judge(self, call: ApiCall) -> Verdict:
        """Whether the call may be sent on; where the upstream signs nothing anew, that is for the upstream to say."""
        if not self.signs:
            return Verdict(owner=self.owner_of(call))
        authoriser = self.deps.authoriser
        if authoriser.is_ready(call.identity):
            verdict = self._authorise(call)
        else:
            verdict = await self.deps.threads.run(self._authorise, call)
        owner = self.owner_of(call)
        return verdict if verdict.owner == owner else replace(verdict, owner=owner)

    def _authorise(self, call: ApiCall) -> Verdict:
        authoriser = self.deps.authoriser
        try:
            fault = refuse_session(call)
            return authoriser.refuse(call, fault) if fault else authoriser.authorise(call, FORWARDED, self.route)
        except Exception as error:  # noqa: BLE001  the request boundary
            return Verdict(fault=as_fault(error, call.operation.name, call.request_id))

    async def do(self, call: ApiCall, asked: Asked) -> Forwarded:
        """Send the call on; what the upstream made of it, or what went wrong."""
        assert asked.body is not None, "a request that could not be read is refused"
        try:
            request = self._outgoing(call, asked.body)
            answer, stream = await self.client.exchange(request, self._wants_stream)
        except UpstreamError as error:
            return Forwarded(outcome=Outcome(fault=self.fault(error)))
        except Exception as error:  # noqa: BLE001  the request boundary; what the body of the client's raises is its own
            return Forwarded(outcome=Outcome(fault=as_fault(error, call.operation.name, call.request_id)))
        return self._answered(call, answer, stream)

    def fault(self, error: UpstreamError) -> ServiceFault:
        """What the client is told, and the record says, of an upstream that failed."""
        family = family_of(self.route.service.signing_name, self.route.protocol)
        unsent, sent = _TROUBLE.get(family, _OTHER_TROUBLE)
        if not error.sent:
            return ServiceFault(unsent, f"{error}. Please try again.", status=503)
        what = "; whether the call took effect is not known." if self.writes else ". Please try again."
        return ServiceFault(sent, f"{error}{what}", status=500)

    def _outgoing(self, call: ApiCall, body: ForwardedBody) -> Outgoing:
        upstream, method = self.client.upstream, self.sent.method
        streamed = not isinstance(body.content, bytes)
        expects = streamed and "expect" in self.sent.headers
        if upstream.key is None:
            head = pass_through_head(self.sent, body.length, expects=expects)
        else:
            service = self.route.service.signing_name
            head = re_signed_head(
                call.request,
                body,
                path=self.route.path if service == "s3" else call.request.path,
                host=upstream.host_header,
                service=service,
                region=upstream.region or call.region,
                key=upstream.key,
                now=call.now,
                expects=expects,
            )
        return Outgoing(
            head=head,
            body=body.content,
            head_only=method == "HEAD",
            expects=expects,
            repeatable=method in {"GET", "HEAD"} and not streamed and not self.writes,
        )

    def _wants_stream(self, status: int, headers: Pairs) -> bool:
        """Whether an answer is sent on from its head on: a long one, or one that comes over time."""
        length = next((value for name, value in headers if name == "content-length"), None)
        if length is not None:
            return int(length) > KEPT_BYTES
        if status >= 300:
            return False
        content_type = next((value for name, value in headers if name == "content-type"), "")
        operation = self.route.operation
        return operation is None or _has_stream(operation) or content_type.startswith(_EVENT_STREAMS)

    def _answered(self, call: ApiCall, answer: UpstreamAnswer, stream: AnswerStream | None) -> Forwarded:
        headers = Headers(answer.headers)
        operation = self.route.operation
        is_payload = operation is not None and _has_stream(operation) and answer.status < 300
        body = b"" if answer.body is None or is_payload else answer.body
        if is_payload and not self.writes:  # a record of it shows nothing of its headers
            outcome = Outcome(result={}, answer=WireAnswer(status=answer.status, headers=headers))
        else:
            outcome = parse_response(self.route, answer.status, headers, body)
        if self.signs and outcome.fault is not None and outcome.fault.code in _KEY_REFUSED:
            # It speaks of Opentrail's signature: its caller can do nothing about that, and is not to read it.
            if stream is not None:
                stream.close()
            return Forwarded(outcome=Outcome(fault=self.fault(UpstreamError(Reason.KEY_REFUSED, sent=False))))
        told = answered_request_id(outcome.answer) if outcome.answer is not None else ""
        request_id = told if _REQUEST_ID.fullmatch(told) else ""
        kept = [pair for pair in kept_headers(answer.headers, _NOT_SENT_ON) if pair[1].isprintable()]
        if _REQUEST_ID_HEADERS.isdisjoint(headers.names()):
            name = "x-amz-request-id" if self.route.service.signing_name == "s3" else "x-amzn-requestid"
            kept.append((name, request_id or call.request_id))
        if "content-length" in headers and (stream is not None or self.sent.method == "HEAD"):
            kept.append(("content-length", headers.get("content-length")))
        response = HttpResponse(status=answer.status, headers=tuple(kept), body=answer.body or b"")
        return Forwarded(outcome=outcome, response=response, stream=stream, request_id=request_id)


def _has_stream(operation: Operation) -> bool:
    return operation.streaming_output is not None or operation.event_stream_output is not None


def _labels(route: Route) -> dict[str, str]:
    """What the path says, where nothing else could be read."""
    return {name: unquote(text, errors="replace") for name, text in route.labels.items()}
