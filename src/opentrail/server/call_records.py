"""The record of a call that a client made: its intent, its event, and what only the endpoint can add to them.

Rules: nothing here raises; where a record cannot be made durable, the refusal is returned that the client is to get.  A
caller whom nobody has proven is never recorded as proven: until an upstream has done what it asked for, the record says
that nobody vouched for it, and an intent that is all that is left says so too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.events import Event
from opentrail.core.http import HttpResponse
from opentrail.core.identity import IdentityType
from opentrail.core.recording import Recipient, build_event, choose_recipient
from opentrail.core.recording.rules import RecordRules
from opentrail.core.sigv4.sigv2 import is_query_signed
from opentrail.core.values import dataclass
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.server.execution import as_fault
from opentrail.server.recorder import Recorder

NOTHING: Mapping[str, Any] = MappingProxyType({})
VOUCHED_FOR_BY = "callerVouchedForBy"  # in additionalEventData, of callers whose signature an upstream judges


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecords:
    """Where the records of calls go."""

    recorder: Recorder
    rules: RecordRules

    async def intend(self, call: ApiCall, owner: str, others: tuple[str, ...], before: int) -> ServiceFault | None:
        """Leave the intent of ``call``; the refusal where that cannot be done, for then nothing is carried out."""
        try:
            recipient = choose_recipient(call, owner, others, refused=False)
            intent = build_event(call, Outcome(additional=_vouching(call, "nobody")), self.rules, recipient)
            await self.recorder.intend(intent, before)
        except Exception as error:  # noqa: BLE001  the request boundary
            return as_fault(error, call.operation.name, call.request_id)
        return None

    async def keep(
        self,
        call: ApiCall,
        outcome: Outcome,
        owner: str,
        others: tuple[str, ...],
        before: int,
        *,
        happened: bool,
        transfer: Mapping[str, Any] = NOTHING,
    ) -> ServiceFault | None:
        """Make the event durable; the refusal where that cannot be done.

        ``happened`` as in ``Recorder.record``; ``transfer`` is S3's (``transferred``).
        """
        recipient = choose_recipient(call, owner, others, refused=outcome.fault is not None)
        if not recipient.account_id:
            return None  # an unsigned call that reached nobody's resource: no account's trail can hold it
        answered = outcome.answer is not None and outcome.fault is None
        additional = {**_vouching(call, "upstream" if answered else "nobody"), **transfer, **outcome.additional}
        if additional:
            result, fault, answer = outcome.result, outcome.fault, outcome.answer
            outcome = Outcome(result=result, fault=fault, additional=additional, answer=answer)
        try:
            event = _build(call, outcome, self.rules, recipient)
            await self.recorder.record(event, before, happened=happened)
        except Exception as error:  # noqa: BLE001  the request boundary: without a record there is no answer
            return as_fault(error, call.operation.name, call.request_id)
        return None


def _vouching(call: ApiCall, who: str) -> dict[str, Any]:
    """What is said of a caller whom Opentrail has not proven."""
    return {VOUCHED_FOR_BY: who} if call.identity.type is IdentityType.UNKNOWN else {}


def _build(call: ApiCall, outcome: Outcome, rules: RecordRules, recipient: Recipient) -> Event:
    """The event; where a value in it cannot be recorded, the event without parameters and result."""
    try:
        return build_event(call, outcome, rules, recipient)
    except Exception as error:  # noqa: BLE001  what is not foreseen must not cost the record
        as_fault(error, f"the record of {call.operation.name}", call.request_id)
        bare = replace(call, parameters={}, raw_body=b"")
        return build_event(bare, Outcome(result=None, fault=outcome.fault), rules, recipient)


def transferred(call: ApiCall, received: int, response: HttpResponse, passed: int | None = None) -> dict[str, Any]:
    """S3's ``additionalEventData``: how the caller was authenticated, and the bytes that went in and out.

    ``received`` are those of the request's body; ``passed`` those of an answer that was relayed.
    """
    request = call.request
    is_signed = not call.identity.is_anonymous
    data: dict[str, Any] = {}
    if is_signed:
        is_old = is_query_signed(request) or request.headers.get("authorization").startswith("AWS ")
        data["SignatureVersion"] = "SigV2" if is_old else "SigV4"
    if request.tls is not None:
        data["CipherSuite"] = request.tls.cipher_suite
    data["bytesTransferredIn"] = received
    if is_signed:
        data["AuthenticationMethod"] = "AuthHeader" if "authorization" in request.headers else "QueryString"
    host_id = response.header("x-amz-id-2")
    if host_id:
        data["x-amz-id-2"] = host_id
    if passed is not None:
        data["bytesTransferredOut"] = passed
    elif request.method == "HEAD":
        data["bytesTransferredOut"] = 0
    elif isinstance(response.body, bytes):
        data["bytesTransferredOut"] = len(response.body)
    else:
        data["bytesTransferredOut"] = int(response.header("content-length") or 0)
    return data
