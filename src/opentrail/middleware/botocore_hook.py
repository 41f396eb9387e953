"""A botocore hook: the AWS calls that a program makes become events of that program.

Rules:

* The event is safe before the call returns to the program.
* Parameters and results are recorded by allow-list, by ``service.Operation`` (``s3.PutObject``), ``Operation`` alone or
  ``"*"``; paths are those of ``fields``, with botocore's own names (``Bucket``, ``Tags[].Key``).
* ``eventSource`` is the program; which service and region it called stands in ``additionalEventData``.
* Where an event cannot be written, the call has happened all the same: the program gets ``StorageError`` where the log
  refuses (``AuditLog.on_failure``), or the call passes and is counted.

Nothing here imports botocore: a client or a session is handed in, and its events say the rest.
Source: botocore's event system, ``before-parameter-build``, ``after-call`` and ``after-call-error``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from opentrail.core.errors import StorageError
from opentrail.core.events import format_time
from opentrail.middleware.api import Api
from opentrail.middleware.audit_log import AuditLog
from opentrail.middleware.exchange import UserIdentity
from opentrail.middleware.fields import EVERY, Field, Lists, parse_fields, pick
from opentrail.middleware.identifiers import unique_id

_STARTED = "opentrail_started"


def record_calls(
    target: Any,
    *,
    audit_log: AuditLog,
    event_source: str,
    identity: UserIdentity,
    parameters: Lists | None = None,
    results: Lists | None = None,
) -> None:
    """Record every call of ``target``: a client, or a session, of botocore or boto3, with all clients made of it later.

    Raises ``ValueError`` for rules that cannot be meant.
    """
    hook = _Hook(audit_log, event_source, identity, parameters or {}, results or {})
    events = target.meta.events if hasattr(target, "meta") else getattr(target, "events", None)
    if events is None:
        events = target.get_component("event_emitter")
    events.register("before-parameter-build", hook.begin)
    events.register("after-call", hook.end)
    events.register("after-call-error", hook.fail)


class _Started(NamedTuple):
    """A call that has begun."""

    time: datetime
    model: Any  # botocore's OperationModel
    parameters: Mapping[str, Any]


class _Hook:
    def __init__(
        self, audit_log: AuditLog, event_source: str, identity: UserIdentity, parameters: Lists, results: Lists
    ) -> None:
        self._audit_log = audit_log
        self._event_source = Api(event_source=event_source).event_source  # checked there
        self._identity = identity
        self._parameters = parse_fields(parameters)
        self._results = parse_fields(results)

    def begin(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_event: Any) -> None:
        """A call begins: keep what is listed of its parameters, as the program gave them."""
        picked = pick(_listed(self._parameters, model), {"": params})
        context[_STARTED] = _Started(time=datetime.now(UTC), model=model, parameters=picked)

    def end(self, http_response: Any, parsed: Mapping[str, Any], model: Any, context: Any, **_event: Any) -> None:
        """A call was answered."""
        error = parsed.get("Error") if http_response.status_code >= 300 else None
        if _STARTED not in context:
            return  # it began before the hook was registered
        data = self._describe(context)
        metadata = parsed.get("ResponseMetadata", {})
        data["additionalEventData"] |= {
            "httpStatusCode": http_response.status_code,
            "retryAttempts": metadata.get("RetryAttempts", 0),
            **({"requestID": metadata["RequestId"]} if metadata.get("RequestId") else {}),
        }
        if error:
            data["errorCode"] = str(error.get("Code") or "Unknown")[:256]
        else:
            picked = pick(_listed(self._results, model), {"": parsed})
            if picked:
                data["responseElements"] = picked
        self._write(data)

    def fail(self, exception: BaseException, context: Any, **_event: Any) -> None:
        """A call had no answer."""
        if _STARTED not in context:
            return  # it began before the hook was registered
        data = self._describe(context)
        data["errorCode"] = type(exception).__name__[:256]
        self._write(data)

    def _describe(self, context: Mapping[str, Any]) -> dict[str, Any]:
        started: _Started = context[_STARTED]
        model = started.model
        service = model.service_model
        region = context.get("client_region") or ""
        identity: dict[str, Any] = {"type": self._identity.type, "principalId": self._identity.principal_id}
        if self._identity.details:
            identity["details"] = dict(self._identity.details)
        data: dict[str, Any] = {
            "version": "1.0",
            "userIdentity": identity,
            "eventSource": self._event_source,
            "eventName": model.name,
            "eventTime": format_time(started.time),
            "UID": unique_id(),
            "recipientAccountId": self._audit_log.account_id,
            "additionalEventData": {
                "awsService": f"{service.signing_name or service.endpoint_prefix}.amazonaws.com",
                "readOnly": model.name.startswith(("Get", "List", "Describe", "Head")),
                **({"awsRegion": region} if region else {}),
            },
        }
        if started.parameters:
            data["requestParameters"] = started.parameters
        return data

    def _write(self, data: Mapping[str, Any]) -> None:
        try:
            self._audit_log.write(data)
        except StorageError:
            if self._audit_log.refuses:
                raise
            self._audit_log.count_unrecorded()


def _listed(lists: Mapping[str, tuple[Field, ...]], model: Any) -> list[Field]:
    names = (EVERY, model.name, f"{model.service_model.service_name}.{model.name}")
    return [each for name in names for each in lists.get(name, ())]
