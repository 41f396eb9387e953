"""How a call becomes a record: ``build_event``.

The envelope is made here; ``parameters`` writes what was asked and answered, ``identities`` who asked, ``resources``
what was meant; the exceptions are tables (``rules``).  What was hidden anywhere is cut out everywhere (``redaction``),
and what is too long is cut or left out, at AWS's limits.  Source: CloudTrail user guide, "CloudTrail record contents".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.events import DATA, EVENT_VERSION, MANAGEMENT, Event, encode_json, format_time
from opentrail.core.recording.identities import describe_identity
from opentrail.core.recording.parameters import (
    request_parameters,
    response_elements,
    tells_error_as_response,
    untold_texts,
)
from opentrail.core.recording.redaction import enumerated_values, scrub, scrub_text
from opentrail.core.recording.resources import named_resources, told_values
from opentrail.core.recording.rules import Form, OperationFacts, RecordRules
from opentrail.core.recording.s3 import s3_additional, s3_event_source, s3_resources
from opentrail.core.recording.sharing import Recipient, shared_event_id
from opentrail.core.recording.unlisted import unlisted_parameters
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.model import Operation
from opentrail.core.wire.responses import answered_request_id

MAX_ELEMENTS_BYTES = 100 * 1024  # requestParameters, responseElements, serviceEventDetails
MAX_ADDITIONAL_BYTES = 28 * 1024
MAX_TEXT_BYTES = 1024  # userAgent, errorCode, errorMessage, requestID
MAX_EVENT_BYTES = 256 * 1024
_MAX_CHARACTER_BYTES = 4  # of UTF-8

OUTCOME_UNKNOWN = "OutcomeUnknown"  # errorCode after a crash between a call's intent and its event

ACCESS_DENIED = "AccessDenied"
_CUT_MESSAGE = "..."  # real records have 1,023 bytes of a longer message, and this


def build_event(call: ApiCall, outcome: Outcome, rules: RecordRules, recipient: Recipient) -> Event:
    """The record of ``call`` with its ``outcome``, as CloudTrail would have written it for ``recipient``."""
    operation = call.operation
    facts = rules.facts(operation.service, operation.name)
    if facts.unlisted is not None:
        call = replace(call, parameters=unlisted_parameters(call, facts.unlisted))
    hidden: list[str] = []
    parameters = request_parameters(call, outcome, facts, hidden)
    elements = response_elements(call, outcome, facts, hidden)

    def tell(text: str, ending: str = "") -> str:
        """A text that others wrote: scrubbed before it is cut, so that no half of a secret stays at its end."""
        return _cut(scrub_text(text, hidden) if hidden else text, ending)

    record = _head(call, facts, rules, tell)
    if outcome.fault is not None:
        code = record["errorCode"] = error_code(operation, outcome.fault)
        if code == ACCESS_DENIED:
            record["eventName"] = facts.denied_event_name
        if outcome.fault.message and not tells_error_as_response(operation, facts):
            message = scrub_text(outcome.fault.message, untold_texts(call, facts))
            record["errorMessage"] = tell(message, _CUT_MESSAGE)
    resources = _resources(call, outcome, facts, recipient)
    record["requestParameters"] = parameters
    record["responseElements"] = _with_arn(elements, resources, outcome, facts)
    additional = {**told_values(call, outcome, facts.additional), **outcome.additional}
    if facts.form is Form.S3:
        additional |= s3_additional(call, elements)
    if additional:
        record["additionalEventData"] = additional
    record["requestID"] = tell(_request_id(call, outcome))
    record["eventID"] = call.event_id
    record["readOnly"] = facts.read_only
    if resources:
        record["resources"] = resources
    record["eventType"] = "AwsApiCall"
    if outcome.fault is None and facts.api_version:
        record["apiVersion"] = facts.api_version
    record["managementEvent"] = not facts.is_data
    record["recipientAccountId"] = recipient.account_id
    if recipient.shared_with:
        record["sharedEventID"] = shared_event_id(call.event_id)
    record["eventCategory"] = DATA if facts.is_data else MANAGEMENT
    record |= _tls_details(call, tell)
    if hidden:
        record = scrub(record, hidden, enumerated_values(operation))
    return Event(record=record, shared_with=recipient.shared_with)


def _head(call: ApiCall, facts: OperationFacts, rules: RecordRules, tell: Callable[[str], str]) -> dict[str, Any]:
    """The fields that begin every record: who called what, where and when."""
    identity = call.identity
    return {
        "eventVersion": EVENT_VERSION,
        "userIdentity": describe_identity(identity),
        "eventTime": _format_second(int(call.now.timestamp())),
        "eventSource": s3_event_source(call, facts) if facts.form is Form.S3 else facts.event_source,
        "eventName": facts.event_name,
        "awsRegion": rules.region(call.operation.service.name, call.region),
        "sourceIPAddress": identity.invoked_by if identity.is_service else call.request.source_ip,
        "userAgent": _user_agent(call, facts.form, tell),
    }


@lru_cache(maxsize=64)
def _format_second(seconds: int) -> str:
    """``eventTime``, written once for all calls of a second; ``seconds`` since 1970."""
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _tls_details(call: ApiCall, tell: Callable[[str], str]) -> dict[str, dict[str, str]]:
    """``tlsDetails`` of a call that came over TLS, and not from a service."""
    tls = call.request.tls
    if tls is None or call.identity.is_service:
        return {}
    details = {
        "tlsVersion": tls.version,
        "cipherSuite": tls.cipher_suite,
        "clientProvidedHostHeader": tell(call.request.host),
    }
    return {"tlsDetails": details}


def without_outcome(intent: Event) -> Event:
    """The record of a call whose ``intent`` is all that is known: it says that the outcome is not."""
    record: dict[str, Any] = {}
    for name, value in intent.record.items():
        if name == "requestParameters":  # AWS's order of fields
            record["errorCode"] = OUTCOME_UNKNOWN
            record["errorMessage"] = "The server stopped while it carried out this call; its outcome is not known."
        record[name] = value
    record["responseElements"] = None
    record.pop("apiVersion", None)
    return Event(record=record)


def encode_record(event: Event) -> bytes:
    """The record's JSON within AWS's limits: what is too large is left out, the largest part first."""
    data = encode_json(event.record)
    if len(data) <= MAX_ADDITIONAL_BYTES:
        return data
    record = dict(event.record)
    limits = {
        "requestParameters": MAX_ELEMENTS_BYTES,
        "responseElements": MAX_ELEMENTS_BYTES,
        "serviceEventDetails": MAX_ELEMENTS_BYTES,
        "additionalEventData": MAX_ADDITIONAL_BYTES,
    }
    for name, limit in limits.items():
        if name in record and len(encode_json(record[name])) > limit:
            record[name] = None
    data = encode_json(record)
    if len(data) > MAX_EVENT_BYTES:
        record |= {"requestParameters": None, "responseElements": None}
        data = encode_json(record)
    if len(data) > MAX_EVENT_BYTES and record.pop("resources", None):
        data = encode_json(record)
    assert len(data) <= MAX_EVENT_BYTES, "a record without parameters and resources fits its limit"
    return data


def error_code(operation: Operation, fault: ServiceFault) -> str:
    """``errorCode``: the exception's shape name rather than its wire code, and plain ``AccessDenied``.

    S3's is the wire code, EC2's the wire code with whose fault it is.
    """
    service = operation.service
    if service.name == "s3":
        return _cut(fault.code)
    if service.protocol == "ec2":
        return _cut(f"{'Server' if fault.status >= 500 else 'Client'}.{fault.code}")
    if fault.code in {ACCESS_DENIED, "AccessDeniedException"}:
        return ACCESS_DENIED
    for shape in operation.errors:
        if shape.error is not None and shape.error.code == fault.code:
            return str(shape.name)
    known = service.error(fault.code)
    return known.name if known is not None else _cut(fault.code)


def _request_id(call: ApiCall, outcome: Outcome) -> str:
    """The id that the client was told: of a forwarded call the upstream's, where it has one."""
    return (answered_request_id(outcome.answer) if outcome.answer is not None else "") or call.request_id


def _resources(call: ApiCall, outcome: Outcome, facts: OperationFacts, recipient: Recipient) -> list[dict[str, str]]:
    if facts.form is Form.S3:
        return s3_resources(call, facts, recipient.resource_account)
    return named_resources(call, outcome, facts.resources, recipient.resource_account or recipient.account_id)


def _with_arn(elements: Any, resources: list[dict[str, str]], outcome: Outcome, facts: OperationFacts) -> Any:
    """``elements``, with the ARN of what was changed where AWS tells it and the service does not (KMS)."""
    if not facts.arn_member or not resources or outcome.fault is not None or outcome.result is None:
        return elements
    return {**(elements or {}), facts.arn_member: resources[0]["ARN"]}


def _user_agent(call: ApiCall, form: Form, tell: Callable[[str], str]) -> str:
    if call.identity.is_service:
        return call.identity.invoked_by
    agent = tell(call.request.headers.get("user-agent"))
    return f"[{agent}]" if form is Form.S3 and agent else agent


def _cut(text: str, ending: str = "") -> str:
    """At most 1 KB of UTF-8, whole characters; ``ending`` stands in place of what is cut."""
    if len(text) <= MAX_TEXT_BYTES // _MAX_CHARACTER_BYTES:
        return text
    data = text.encode(errors="replace")
    size = MAX_TEXT_BYTES - bool(ending)
    return text if len(data) <= MAX_TEXT_BYTES else data[:size].decode(errors="ignore") + ending
