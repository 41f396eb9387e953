"""Parameters against the service's model, where AWS's own front end checks them before the service does.

IAM and STS refuse whatever breaks a constraint of the model, and so does Organizations, with a reason; CloudTrail
checks values itself, with codes of its own, so that only what is missing is refused here; S3 refuses documents that
lack a part.  Services not in the table check all by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.model import Operation
from opentrail.core.wire.validation import Violation, format_violations, validate

Refuse = Callable[[Operation, Sequence[Violation]], ServiceFault | None]

_REASONS = (  # how a constraint begins to InvalidInputException's word for it
    ("Member must not be null", "INPUT_REQUIRED"),
    ("Member must have length less", "MAX_LENGTH_EXCEEDED"),
    ("Member must have length greater", "MIN_LENGTH_EXCEEDED"),
    ("Member must have value less", "MAX_VALUE_EXCEEDED"),
    ("Member must have value greater", "MIN_VALUE_EXCEEDED"),
    ("Member must satisfy enum", "INVALID_ENUM"),
    ("Member must satisfy regular expression", "INVALID_PATTERN"),
)


def check_parameters(call: ApiCall) -> ServiceFault | None:
    """What the service's front end refuses of the call's parameters; None where it lets them pass."""
    shape = call.operation.input
    refuse = CHECKED.get(call.operation.service.name)
    if refuse is None or shape is None or not (call.parameters or shape.required):
        return None
    violations = validate(call.operation, call.parameters)
    return refuse(call.operation, violations) if violations else None


def _refuse_all(_operation: Operation, violations: Sequence[Violation]) -> ServiceFault:
    return ServiceFault("ValidationError", format_violations(violations))


def _refuse_with_reason(_operation: Operation, violations: Sequence[Violation]) -> ServiceFault:
    """InvalidInputException: its Reason is that of the first violation."""
    first = violations[0]
    reason = next(reason for start, reason in _REASONS if first.constraint.startswith(start))
    if reason == "INVALID_ENUM" and first.path in {"policyType", "type", "filter"}:
        reason = "INVALID_ENUM_POLICY_TYPE"
    return ServiceFault("InvalidInputException", format_violations(violations), fields={"Reason": reason})


def _refuse_missing(_operation: Operation, violations: Sequence[Violation]) -> ServiceFault | None:
    missing = [each for each in violations if each.is_null]
    return ServiceFault("ValidationException", format_violations(missing)) if missing else None


def _refuse_invalid(_operation: Operation, violations: Sequence[Violation]) -> ServiceFault | None:
    """The model wants a channel's ARN; the service takes its ID as well, and has words of its own for neither."""
    refused = [each for each in violations if each.is_null or each.path != "channelArn"]
    return ServiceFault("ValidationException", format_violations(refused)) if refused else None


def _refuse_incomplete_document(operation: Operation, violations: Sequence[Violation]) -> ServiceFault | None:
    shape = operation.input
    payload = shape.payload if shape is not None else ""
    for each in violations:
        if not each.is_null:
            continue
        if "." in each.path:
            text = "The XML you provided was not well-formed or did not validate against our published schema"
            return ServiceFault("MalformedXML", text)
        if each.path.lower() == payload.lower():
            return ServiceFault("MissingRequestBodyError", "Request Body is empty")
        return ServiceFault("InvalidRequest", f"Missing required parameter for this request: {each.path}")
    return None


CHECKED: Mapping[str, Refuse] = {
    "cloudtrail": _refuse_missing,
    "cloudtrail-data": _refuse_invalid,
    "iam": _refuse_all,
    "organizations": _refuse_with_reason,
    "s3": _refuse_incomplete_document,
    "sts": _refuse_all,
}
