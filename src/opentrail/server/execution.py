"""Judging a call and carrying it out, whoever made it: a client at the front door, or Opentrail itself.

Whatever goes wrong becomes the answer of this one call: these functions raise nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from opentrail.core.errors import ServiceFault, StorageError
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.model import Operation, ServiceModel
from opentrail.core.wire.routing import Route
from opentrail.server.authorisation import Authoriser, Verdict
from opentrail.server.parameters import check_parameters
from opentrail.server.session_limits import refuse_session
from opentrail.services.base import Bearer, OperationEntry

log = logging.getLogger("opentrail.calls")


def judge(call: ApiCall, entry: OperationEntry[Any], deps: Any, authoriser: Authoriser) -> Verdict:
    """Whether ``call`` may be carried out: its parameters are what the model asks for, and its caller is allowed."""
    try:
        fault = check_parameters(call) or refuse_session(call)
        return authoriser.authorise(call, entry, deps) if fault is None else authoriser.refuse(call, fault)
    except Exception as error:  # noqa: BLE001  the request boundary
        return Verdict(fault=as_fault(error, call.operation.name, call.request_id))


def introduce(call: ApiCall, entry: OperationEntry[Any], deps: Any) -> Bearer:
    """Who an unsigned ``call`` is from, by the token that its operation takes."""
    assert entry.bearer is not None, "only an operation that takes a token is asked"
    try:
        fault = check_parameters(call)
        return Bearer(fault=fault) if fault is not None else entry.bearer(call, deps)
    except Exception as error:  # noqa: BLE001  the request boundary
        return Bearer(fault=as_fault(error, call.operation.name, call.request_id))


def not_implemented(route: Route) -> ServiceFault:
    """The protocol's own words for an operation that this endpoint does not have."""
    if route.protocol in {"json", "smithy-rpc-v2-cbor"}:
        return ServiceFault("UnknownOperationException", f"{route.operation_name} is not implemented.")
    if route.service.name == "s3":
        text = "A header you provided implies functionality that is not implemented."
        return ServiceFault("NotImplemented", text, status=501)
    return ServiceFault("NotImplemented", f"{route.operation_name} is not implemented.", status=501)


def run_handler(call: ApiCall, entry: OperationEntry[Any], deps: Any) -> Outcome:
    """What the service makes of ``call``; whatever goes wrong becomes the protocol's own error."""
    try:
        return Outcome(result=entry.handler(call, deps))
    except Exception as error:  # noqa: BLE001  the request boundary
        return Outcome(fault=as_fault(error, call.operation.name, call.request_id))


def begin_handler(done: Callable[[Outcome], None], call: ApiCall, entry: OperationEntry[Any], deps: Any) -> None:
    """``run_handler`` that does not wait: ``done`` hears what the service made of ``call``, from any thread."""
    assert entry.begin is not None, "only an operation with this form is begun"

    def finish(result: Mapping[str, Any] | None, error: Exception | None) -> None:
        if error is not None:
            done(Outcome(fault=as_fault(error, call.operation.name, call.request_id)))
        else:
            done(Outcome(result=result))

    try:
        entry.begin(call, deps, finish)
    except Exception as error:  # noqa: BLE001  the request boundary
        finish(None, error)


def as_fault(error: Exception, what: str, request_id: str) -> ServiceFault:
    """The answer to whatever went wrong.  Our own mistake costs one call, not the server, and leaves its trace."""
    if isinstance(error, ServiceFault):
        return error
    if isinstance(error, StorageError):
        log.error("%s %s: %s", what, request_id, error)
        if error.retryable:
            return ServiceFault("ServiceUnavailable", "Please reduce your request rate.", status=503)
    else:
        log.error("%s %s: a mistake of the server's own", what, request_id, exc_info=error)
    return ServiceFault("InternalError", "We encountered an internal error. Please try again.", status=500)


def unknown_operation(route: Route) -> Operation:
    """An operation that the service's model does not have, so that its call can be recorded all the same."""
    name = route.operation_name or "UnknownOperation"
    service = route.service
    metadata = {
        "apiVersion": service.api_version,
        "protocol": route.protocol or service.protocol,
        "endpointPrefix": service.endpoint_prefix,
        "signingName": service.signing_name,
    }
    return ServiceModel({"metadata": metadata, "operations": {name: {}}}, service.name).operations[name]
