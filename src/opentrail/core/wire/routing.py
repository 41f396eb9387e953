"""Which service, operation and protocol a request is for, read off the request itself.

In this order: the signature's credential scope gives the candidate services; then ``smithy-protocol`` and the path
``/service/X/operation/Y``, ``X-Amz-Target``, ``Action`` and ``Version`` in query or form, and last the path, query and
headers against the templates of the candidates' REST models.  A request without a scope is S3's unless it says
otherwise, or is an operation of a service whose REST operations take no signature.  The body is looked at for an
``Action`` alone, so a REST request is identified before its body is read.

Raises ``ServiceFault`` only where not even the service can be told; a request for an operation that the service does
not have is a ``Route`` without one, which carries the fault to answer, so that it can be recorded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Protocol
from urllib.parse import unquote

from opentrail.core.errors import ServiceFault
from opentrail.core.http import HttpRequest
from opentrail.core.values import dataclass
from opentrail.core.wire import s3
from opentrail.core.wire.binding import input_binding
from opentrail.core.wire.inflate import inflate_body
from opentrail.core.wire.model import Operation, ServiceModel
from opentrail.core.wire.rest_routes import Match, Router, router

_REST = frozenset({"rest-json", "rest-xml"})
_FORM = frozenset({"query", "ec2"})
_ACTION = re.compile(r"(?:^|&)Action=([A-Za-z0-9_]{1,128})(?=&|$)")
_VERSION = re.compile(r"(?:^|&)Version=([0-9-]{1,16})(?=&|$)")
_RPC_PATH = re.compile(r"(?:/[^/]+)*/service/([A-Za-z0-9_.]{1,256})/operation/([A-Za-z0-9_]{1,128})/?")
_UNSIGNED_REST = ("signin", "sso", "sso-oidc")  # all whose models have REST operations of ``authtype`` none
_SSO_TOKEN = "x-amz-sso_bearer_token"  # noqa: S105  the header's name
_TARGET = re.compile(r"([A-Za-z0-9_.]{1,256})\.([A-Za-z0-9_]{1,128})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a signature's credential scope says."""

    signing_name: str  # "s3"
    region: str = ""


class Catalog(Protocol):
    """Where service models come from; each is loaded when it is first asked for."""

    def service(self, name: str) -> ServiceModel:
        """The model of botocore's service ``name``."""
        ...

    def by_signing_name(self, signing_name: str) -> tuple[str, ...]:
        """The services that sign as ``signing_name``, the one of that name first."""
        ...

    def by_target_prefix(self, prefix: str) -> tuple[str, ...]:
        """The services whose ``X-Amz-Target`` starts with ``prefix``."""
        ...

    def by_version(self, version: str) -> tuple[str, ...]:
        """The services of the query and ec2 protocols whose API version is ``version``."""
        ...

    def protocols(self, name: str) -> tuple[str, ...]:
        """The protocols of service ``name``, the preferred one first."""
        ...

    def endpoint_prefix(self, name: str) -> str:
        """The first label of the host name of service ``name``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes.  ``path`` and ``query`` are percent-encoded; S3's are in path style."""

    service: ServiceModel
    operation: Operation | None
    operation_name: str  # what was asked for, as far as it can be known
    protocol: str
    method: str
    path: str
    query: str
    labels: Mapping[str, str] = field(default_factory=dict)  # a template's labels, percent-encoded
    fault: ServiceFault | None = None  # the answer, where there is no operation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The parts of a request that identification reads."""

    request: HttpRequest
    body: bytes | None
    scope: Scope | None
    domains: Collection[str]

    def action(self) -> re.Match[str] | None:
        """The ``Action`` within the query string or the form body, whichever holds one."""
        request = self.request
        if self.scope is None and request.path != "/":
            return None  # anonymous: the path of an object, whatever its query says
        found = _ACTION.search(request.query) if request.query else None
        if found is not None:
            return found
        content_type = request.headers.get("content-type")
        if not self.body or request.method != "POST" or (content_type and "form-urlencoded" not in content_type):
            return None
        try:
            return _ACTION.search(inflate_body(request, self.body).decode("utf-8", "replace"))
        except ServiceFault:
            return None  # what cannot be read names no action


def is_form(request: HttpRequest) -> bool:
    """Whether the head is one of the query protocol: a form is sent to "/", or an ``Action`` stands in the query."""
    posted = request.method == "POST" and "form-urlencoded" in request.headers.get("content-type").lower()
    return request.path == "/" and (posted or _ACTION.search(request.query) is not None)


def identify(
    request: HttpRequest,
    body: bytes | None,
    scope: Scope | None,
    catalog: Catalog,
    *,
    s3_domains: Collection[str] = s3.DEFAULT_DOMAINS,
) -> Route:
    """Which service, operation and protocol ``request`` is for.

    ``body`` may be ``None`` (not read yet): then a form's ``Action`` goes unseen.  ``s3_domains`` are the suffixes
    under which host names hold a bucket.

    Raises ``ServiceFault`` where the service cannot be told.
    """
    asked = _Asked(request=request, body=body, scope=scope, domains=s3_domains)
    names = _candidates(asked, catalog)
    headers = request.headers
    if names == ("s3",):
        return _identify_s3(asked, catalog.service("s3"))
    if "smithy-protocol" in headers:
        return _identify_rpc(asked, names, catalog, "smithy-rpc-v2-cbor")
    if "x-amz-target" in headers:
        return _identify_rpc(asked, names, catalog, "json")
    action = None if _are_rest(names, catalog) else asked.action()
    if action is not None:
        return _identify_action(asked, action, names, catalog)
    return _identify_rest(asked, names, catalog)


def _are_rest(names: tuple[str, ...], catalog: Catalog) -> bool:
    """Whether there are candidates, and none takes forms."""
    for name in names:
        if not _REST.issuperset(catalog.protocols(name)):
            return False
    return bool(names)


def _candidates(asked: _Asked, catalog: Catalog) -> tuple[str, ...]:
    """The names of the services that the scope and the host leave, perhaps none."""
    if asked.scope is None:
        return ()
    names = catalog.by_signing_name(asked.scope.signing_name)
    if len(names) < 2:
        return names
    host = asked.request.host.lower()
    if names[0] == "s3":
        return ("s3control",) if s3.is_control(asked.request.path, host, asked.request.headers) else ("s3",)
    label = host.partition(".")[0]
    return tuple(name for name in names if catalog.endpoint_prefix(name) == label) or names


def _identify_rpc(asked: _Asked, names: tuple[str, ...], catalog: Catalog, protocol: str) -> Route:
    request = asked.request
    if protocol == "json":
        match = _TARGET.fullmatch(request.headers.get("x-amz-target"))
    else:
        match = _RPC_PATH.fullmatch(request.path)
    if match is None:
        return _without_operation(asked, "", names, catalog, protocol)
    prefix, operation_name = match.groups()
    named = catalog.by_target_prefix(prefix)
    # The scope decides where it names a service at all: a target of another service is an operation it does not have.
    chosen = tuple(name for name in names if name in named) if names else named
    for name in chosen:
        service = catalog.service(name)
        operation = service.operations.get(operation_name)
        if operation is not None and protocol in service.protocols:
            return _route(asked, service, operation, protocol)
    return _without_operation(asked, operation_name, chosen or names, catalog, protocol)


def _identify_action(asked: _Asked, action: re.Match[str], names: tuple[str, ...], catalog: Catalog) -> Route:
    operation_name = action.group(1)
    chosen = names
    if len(names) != 1:
        version = _VERSION.search(action.string)
        versioned = catalog.by_version(version.group(1)) if version else ()
        chosen = tuple(name for name in names if name in versioned) or names or versioned
    for name in chosen:
        service = catalog.service(name)
        operation = service.operations.get(operation_name)
        protocol = _form_protocol(service.protocols)
        if operation is not None and protocol:
            return _route(asked, service, operation, protocol)
    forms = tuple(name for name in chosen if _form_protocol(catalog.protocols(name)))
    protocol = _form_protocol(catalog.protocols(forms[0])) if forms else "query"
    return _without_operation(asked, operation_name, forms or chosen, catalog, protocol)


def _form_protocol(protocols: Collection[str]) -> str:
    for protocol in protocols:
        if protocol in _FORM:
            return protocol
    return ""


def _identify_rest(asked: _Asked, names: tuple[str, ...], catalog: Catalog) -> Route:
    if asked.scope is None:
        return _identify_unsigned(asked, catalog)
    rest = [catalog.service(name) for name in names if not _REST.isdisjoint(catalog.protocols(name))]
    if not rest:
        protocol = catalog.protocols(names[0])[0] if names else ""
        return _without_operation(asked, "", names, catalog, protocol)
    request = asked.request
    query = _query_names(request.query)
    best: tuple[ServiceModel, Match] | None = None
    for service in rest:
        match = router(service).match(request.method, request.path, query, request.headers)
        if match is None:
            continue
        # Chime's phone numbers are in its own model and in its successor's, which calls more of them sensitive.
        rank = match.fit, service.api_version
        if best is None or rank > (best[1].fit, best[0].api_version):
            best = service, match
    if best is None:
        return _without_operation(asked, "", (rest[0].name,), catalog, rest[0].protocol)
    service, match = best
    return _route(asked, service, match.template.operation, service.protocol, labels=match.labels)


def _identify_unsigned(asked: _Asked, catalog: Catalog) -> Route:
    """S3's, unless the host is another service's, a token of its kind is there, or S3 has no such operation.

    Every POST of S3's has a query.
    """
    request = asked.request
    route = _identify_s3(asked, catalog.service("s3"))
    if s3.bucket_of_host(request.host, asked.domains):
        return route
    host = f".{request.host.lower()}"
    is_none = route.fault is not None or (request.method == "POST" and not request.query)
    for name in _UNSIGNED_REST:
        has_token = name == "sso" and _SSO_TOKEN in request.headers
        if not is_none and not has_token and f".{catalog.endpoint_prefix(name)}." not in host:
            continue
        service = catalog.service(name)
        match = router(service).match(request.method, request.path, _query_names(request.query), request.headers)
        if match is not None:
            return _route(asked, service, match.template.operation, service.protocol, labels=match.labels)
    return route


def _query_names(query: str) -> dict[str, str]:
    """The first value of each name of a query; values stay percent-encoded."""
    names: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        names.setdefault(unquote(name) if "%" in name else name, value)
    return names


def _identify_s3(asked: _Asked, service: ServiceModel) -> Route:
    request = asked.request
    bucket = s3.bucket_of_host(request.host, asked.domains)
    path = f"/{bucket}{request.path}" if bucket else request.path
    query = _query_names(request.query)
    routes = router(service)
    match = routes.match(request.method, path, query, request.headers)
    fault = _s3_fault(match, query, routes)
    operation = match.template.operation if match is not None and fault is None else None
    return Route(
        service=service,
        operation=operation,
        operation_name=operation.name if operation else "",
        protocol="rest-xml",
        method=request.method,
        path=path,
        query=request.query,
        labels=match.labels if match else {},
        fault=fault,
    )


def _s3_fault(match: Match | None, query: Mapping[str, str], routes: Router) -> ServiceFault | None:
    """Why a request is none of S3's operations: a sub-resource without the method, or two, or half an upload's name."""
    if match is None:
        return _method_not_allowed()
    if not query:
        return None
    sub_resources = routes.sub_resources.intersection(query)
    if not sub_resources.issubset(match.template.literals):
        if len(sub_resources) == 1:
            return _method_not_allowed()
        message = f"Conflicting query string parameters: {', '.join(sorted(sub_resources))}"
        return ServiceFault("InvalidArgument", message)
    # PutObject must not take what is meant as a part: it would put the part in the place of the object.
    if "uploadId" in query or ("partNumber" in query and match.template.operation.http_method == "PUT"):
        bound = input_binding(match.template.operation).query
        for name in ("uploadId", "partNumber"):
            if name in query and name not in bound:
                return ServiceFault(
                    "InvalidArgument", f"This operation does not accept a query-string parameter {name}."
                )
    return None


def _method_not_allowed() -> ServiceFault:
    message = "The specified method is not allowed against this resource."
    return ServiceFault("MethodNotAllowed", message, status=405)


def _route(
    asked: _Asked,
    service: ServiceModel,
    operation: Operation,
    protocol: str,
    labels: Mapping[str, str] | None = None,
) -> Route:
    return Route(
        service=service,
        operation=operation,
        operation_name=operation.name,
        protocol=protocol,
        method=asked.request.method,
        path=asked.request.path,
        query=asked.request.query,
        labels=labels or {},
    )


def _without_operation(
    asked: _Asked, operation_name: str, names: tuple[str, ...], catalog: Catalog, protocol: str
) -> Route:
    """The route of a request for what no operation is; raises its fault where there is no service either."""
    service = catalog.service(names[0]) if names else None
    fault = _unknown_operation(operation_name, service, protocol)
    if service is None:
        raise fault
    return Route(
        service=service,
        operation=None,
        operation_name=operation_name,
        protocol=protocol if protocol in service.protocols else service.protocol,
        method=asked.request.method,
        path=asked.request.path,
        query=asked.request.query,
        fault=fault,
    )


def _unknown_operation(name: str, service: ServiceModel | None, protocol: str) -> ServiceFault:
    if protocol == "ec2" and name:
        return ServiceFault("InvalidAction", f"The action {name} is not valid for this web service.")
    if protocol in _FORM and name:
        version = f" for version {service.api_version}" if service else ""
        return ServiceFault("InvalidAction", f"Could not find operation {name}{version}")
    if protocol in _FORM:
        return ServiceFault("MissingAction", "The request must contain the parameter Action.")
    if protocol in _REST or not protocol:
        return ServiceFault("UnknownOperationException", "No operation has this method and path.", status=404)
    return ServiceFault(
        "UnknownOperationException", f"There is no operation {name}." if name else "No operation is named."
    )
