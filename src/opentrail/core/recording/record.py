"""How a call becomes a record: ``build_event``.

Rules (CloudTrail user guide, "CloudTrail record contents"; numbers and exceptions in ``rules``):

* The members of a request or a result are named with their first letter in lower case; map keys stay as they are.
* S3 is recorded as it was sent: bucket, key, Host, the query by its raw names, and ``x-amz-`` headers.
* What changes nothing has no response elements; what failed has none either.
* A value that the model calls sensitive is hidden, and then appears nowhere else in the record.
* Blobs are left out; what is too long is cut or left out, at AWS's limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.events import DATA, EVENT_VERSION, MANAGEMENT, Event, encode_json, format_time
from opentrail.core.identity import Identity, IdentityType, Session
from opentrail.core.recording.rules import OMITTED, RecordRules
from opentrail.core.recording.s3 import s3_request_parameters, s3_resources, s3_response_elements
from opentrail.core.recording.sharing import Recipient, shared_event_id
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.model import Operation, Shape

MAX_ELEMENTS_BYTES = 100 * 1024  # requestParameters, responseElements, serviceEventDetails
MAX_ADDITIONAL_BYTES = 28 * 1024
MAX_TEXT_BYTES = 1024  # userAgent, errorCode, errorMessage, requestID
MAX_EVENT_BYTES = 256 * 1024

OUTCOME_UNKNOWN = "OutcomeUnknown"  # errorCode after a crash between a call's intent and its event

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def build_event(call: ApiCall, outcome: Outcome, rules: RecordRules, recipient: Recipient) -> Event:
    """The record of ``call`` with its ``outcome``, as CloudTrail would have written it for ``recipient``."""
    service = call.operation.service
    is_s3 = service.name == "s3"
    identity = call.identity
    by_service = identity.is_service
    hidden: list[str] = []
    facts = rules.facts(service, call.operation.name)
    record: dict[str, Any] = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": describe_identity(identity),
        "eventTime": format_time(call.now),
        "eventSource": facts.event_source,
        "eventName": facts.event_name,
        "awsRegion": rules.region(service.name, call.region),
        "sourceIPAddress": identity.invoked_by if by_service else call.request.source_ip,
        "userAgent": _user_agent(call, is_s3=is_s3),
    }
    if outcome.fault is not None:
        record["errorCode"] = error_code(call.operation, outcome.fault)
        record["errorMessage"] = _cut(outcome.fault.message)
    record["requestParameters"] = _request_parameters(call, outcome, rules, hidden)
    record["responseElements"] = _response_elements(call, outcome, rules, hidden, read_only=facts.read_only)
    if outcome.additional:
        record["additionalEventData"] = dict(outcome.additional)
    record["requestID"] = call.request_id
    record["eventID"] = call.event_id
    record["readOnly"] = facts.read_only
    if is_s3:
        resources = s3_resources(call, recipient.resource_account)
        if resources:
            record["resources"] = resources
    elif service.name == "sts" and outcome.result is not None and "RoleArn" in call.parameters:
        arn = call.parameters["RoleArn"]
        record["resources"] = [{"accountId": arn.split(":")[4], "type": "AWS::IAM::Role", "ARN": arn}]
    record["eventType"] = "AwsApiCall"
    if outcome.fault is None and facts.api_version:
        record["apiVersion"] = facts.api_version
    record["managementEvent"] = not facts.is_data
    record["recipientAccountId"] = recipient.account_id
    if recipient.shared_with:
        record["sharedEventID"] = shared_event_id(call.event_id)
    record["eventCategory"] = DATA if facts.is_data else MANAGEMENT
    tls = call.request.tls
    if tls is not None and not by_service:
        record["tlsDetails"] = {
            "tlsVersion": tls.version,
            "cipherSuite": tls.cipher_suite,
            "clientProvidedHostHeader": _cut(call.request.host),
        }
    if hidden:
        record = _scrub(record, sorted(set(hidden), key=len, reverse=True))
    return Event(record=record, shared_with=recipient.shared_with)


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
        data = encode_json({**record, "requestParameters": None, "responseElements": None})
    assert len(data) <= MAX_EVENT_BYTES, "a record without parameters fits its limit"
    return data


def describe_identity(identity: Identity) -> dict[str, Any]:
    """The ``userIdentity`` element (CloudTrail user guide, "CloudTrail userIdentity element")."""
    if identity.type is IdentityType.AWS_SERVICE:
        return {"type": "AWSService", "invokedBy": identity.invoked_by}
    if identity.type is IdentityType.AWS_ACCOUNT:
        return {"type": "AWSAccount", "principalId": identity.principal_id, "accountId": identity.account_id}
    if identity.web_identity is not None:
        return {
            "type": identity.type.value,
            "principalId": identity.principal_id,
            "userName": identity.user_name,
            "identityProvider": identity.web_identity.provider_arn,
        }
    element: dict[str, Any] = {
        "type": identity.type.value,
        "principalId": identity.principal_id,
        "arn": identity.arn,
        "accountId": identity.account_id,
        "accessKeyId": identity.access_key_id,
    }
    if identity.type is IdentityType.IAM_USER:
        element["userName"] = identity.user_name
    if identity.session is not None:
        element["sessionContext"] = _session_context(identity.session)
    if identity.invoked_by:
        element["invokedBy"] = identity.invoked_by
    return {name: value for name, value in element.items() if value != ""}


def _session_context(session: Session) -> dict[str, Any]:
    context: dict[str, Any] = {}
    issuer, web_identity = session.issuer, session.web_identity
    if issuer is not None:
        context["sessionIssuer"] = {
            "type": issuer.type,
            "principalId": issuer.principal_id,
            "arn": issuer.arn,
            "accountId": issuer.account_id,
        }
        if issuer.user_name:
            context["sessionIssuer"]["userName"] = issuer.user_name
    if web_identity is not None:
        shown = {"aud": web_identity.audience, "sub": web_identity.subject}
        context["webIdFederationData"] = {
            "federatedProvider": web_identity.provider_arn,
            "attributes": {f"{web_identity.issuer}:{name}": value for name, value in shown.items()},
        }
    context["attributes"] = {
        "creationDate": format_time(session.creation_date),
        "mfaAuthenticated": "true" if session.mfa_authenticated else "false",
    }
    if session.source_identity:
        context["sourceIdentity"] = session.source_identity
    return context


def error_code(operation: Operation, fault: ServiceFault) -> str:
    """``errorCode``: the exception's shape name rather than its wire code, and plain ``AccessDenied``."""
    if operation.service.name == "s3":
        return _cut(fault.code)
    if fault.code in {"AccessDenied", "AccessDeniedException"}:
        return "AccessDenied"
    for shape in operation.errors:
        if shape.error is not None and shape.error.code == fault.code:
            return str(shape.name)
    return _cut(fault.code)


def format_java_date(moment: datetime) -> str:
    """``Jul 10, 2023, 12:47:00 PM``: how records write dates, in UTC."""
    utc = moment.astimezone(UTC)
    half = "AM" if utc.hour < 12 else "PM"
    return (
        f"{_MONTHS[utc.month - 1]} {utc.day}, {utc.year}, {utc.hour % 12 or 12}:{utc.minute:02}:{utc.second:02} {half}"
    )


def name_members(shape: Shape, value: Any, replacement: str, hidden: list[str]) -> Any:
    """``value`` of ``shape`` as a record names it; hidden values become ``replacement`` and are added to ``hidden``."""
    if shape.sensitive:
        _collect(value, hidden)
        return replacement
    kind = shape.type
    if kind == "structure" and isinstance(value, Mapping) and not shape.document:
        named: dict[str, Any] = {}
        for name, item in value.items():
            member = shape.members.get(name)
            if member is None or item is None or member.type == "blob":
                continue
            if member.sensitive and replacement == OMITTED:
                _collect(item, hidden)
                continue
            named[name[:1].lower() + name[1:]] = name_members(member, item, replacement, hidden)
        return named
    if kind == "list" and isinstance(value, list) and shape.member is not None:
        return [name_members(shape.member, item, replacement, hidden) for item in value]
    if kind == "map" and isinstance(value, Mapping) and shape.value is not None:
        return {key: name_members(shape.value, item, replacement, hidden) for key, item in value.items()}
    if isinstance(value, datetime):
        return format_java_date(value)
    return None if isinstance(value, bytes) else value


def _request_parameters(call: ApiCall, outcome: Outcome, rules: RecordRules, hidden: list[str]) -> Any:
    operation = call.operation
    service = operation.service.name
    if service == "s3":
        return s3_request_parameters(call, hidden) or None
    if operation.input is None or not call.parameters:
        return None
    named = name_members(operation.input, call.parameters, rules.replacement(service), hidden)
    denied = outcome.fault is not None and outcome.fault.code.startswith(("AccessDenied", "Throttling"))
    return None if denied else named or None


def _response_elements(
    call: ApiCall, outcome: Outcome, rules: RecordRules, hidden: list[str], *, read_only: bool
) -> Any:
    operation = call.operation
    name = f"{operation.service.name}.{operation.name}"
    if outcome.result is None or operation.output is None:
        return None
    if read_only and name not in rules.reads_with_response:
        return None
    if operation.service.name == "s3":
        return s3_response_elements(operation, outcome.result) or None
    named = name_members(operation.output, outcome.result, rules.replacement(operation.service.name), hidden)
    if operation.service.name in rules.response_hoist and len(named) == 1:
        (named,) = named.values()
    return named or None


def _user_agent(call: ApiCall, *, is_s3: bool) -> str:
    if call.identity.is_service:
        return call.identity.invoked_by
    agent = _cut(call.request.headers.get("user-agent"))
    return f"[{agent}]" if is_s3 and agent else agent


def _cut(text: str) -> str:
    """At most 1 KB of UTF-8, whole characters."""
    data = text.encode(errors="replace")
    return text if len(data) <= MAX_TEXT_BYTES else data[:MAX_TEXT_BYTES].decode(errors="ignore")


def _collect(value: Any, hidden: list[str]) -> None:
    """Remember every text within a hidden ``value``; under four letters it hides nothing and would blot the record."""
    if isinstance(value, str):
        if len(value) >= 4:
            hidden.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, hidden)
    elif isinstance(value, list):
        for item in value:
            _collect(item, hidden)


_SCRUBBED_FIELDS = (
    "userAgent",
    "errorMessage",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "tlsDetails",
)


def _scrub(record: dict[str, Any], hidden: list[str]) -> dict[str, Any]:
    """``record`` without any of the ``hidden`` texts in the fields that echo what a caller sent."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for secret in hidden:
                if secret in value:
                    value = value.replace(secret, "***")
            return value
        if isinstance(value, Mapping):
            return {clean(key): clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return value

    return {name: clean(value) if name in _SCRUBBED_FIELDS else value for name, value in record.items()}
