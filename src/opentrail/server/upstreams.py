"""Which calls are forwarded, and where to: ``Forwarder``.

Rules: a service is Opentrail's own if it implements it, no upstream is named for it, and ``own`` (where that is given)
names it.  Any other call goes to the upstream of its service, by botocore's name or the one it is signed for, else to
that of ``*``; without one it is answered as not implemented.  Of S3, calls to ``own_buckets`` stay own: there log files
are delivered to, whoever has the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from opentrail.core.errors import ConfigError
from opentrail.core.http import HttpRequest
from opentrail.core.wire.routing import Catalog, Route
from opentrail.server.bodies import RequestBody
from opentrail.server.config import Settings
from opentrail.server.forwarding import Forward, ForwardingDeps
from opentrail.server.upstream_client import UpstreamClient
from opentrail.server.upstream_connection import KEPT_BYTES
from opentrail.server.upstream_settings import ANY, Upstream
from opentrail.services.base import Service

_REST = frozenset({"rest-json", "rest-xml"})
_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Forwarder:
    """Sends calls to where they belong.  Of the event loop's thread alone, but for its making."""

    def __init__(
        self,
        *,
        upstreams: Sequence[Upstream],
        own: frozenset[str],
        own_buckets: Collection[str],
        catalog: Catalog,
        deps: ForwardingDeps,
    ) -> None:
        self._clients: Mapping[str, UpstreamClient] = {each.service: UpstreamClient(each) for each in upstreams}
        self._own = own
        self._own_buckets = own_buckets
        self._catalog = catalog
        self._deps = deps

    def begin(self, route: Route, sent: HttpRequest) -> Forward | None:
        """How the request ``sent`` is forwarded; None where it is for Opentrail itself."""
        service = route.service
        if service.name in self._own or (service.name == "s3" and self._is_own_bucket(route)):
            return None
        client = self._client(service.name, service.signing_name)
        if client is None:
            return None
        return Forward(route=route, sent=sent, client=client, deps=self._deps, writes=self._writes(route))

    def streams(self, signing_name: str, body: RequestBody) -> bool:
        """Whether a request signed for ``signing_name`` is known before its body is read, which may be a long one."""
        if body.declared is not None and body.declared <= KEPT_BYTES:
            return False
        names = self._catalog.by_signing_name(signing_name)
        client = self._client(names[0] if names else "", signing_name)
        if client is None or client.upstream.key is not None or not self._own.isdisjoint(names):
            return False
        return bool(names) and all(_REST.issuperset(self._catalog.protocols(name)) for name in names)

    def close(self) -> None:
        """Close what connections are kept."""
        for client in self._clients.values():
            client.close()

    def _client(self, *names: str) -> UpstreamClient | None:
        return next((self._clients[name] for name in (*names, ANY) if name in self._clients), None)

    def _is_own_bucket(self, route: Route) -> bool:
        return route.path.lstrip("/").partition("/")[0] in self._own_buckets

    def _writes(self, route: Route) -> bool:
        """Whether the call may change something; of an operation that no model knows, the method tells."""
        if route.operation is None:
            return route.method not in _READING_METHODS
        return not self._deps.rules.facts(route.service, route.operation.name).read_only


def own_services(implemented: Collection[str], settings: Settings) -> frozenset[str]:
    """The services that are Opentrail's own.  Raises ``ConfigError`` where the settings contradict each other."""
    named = {each.service for each in settings.upstream}
    for name in settings.own:
        if name not in implemented:
            raise ConfigError(f"--own: {name} is none of Opentrail's services: {', '.join(sorted(implemented))}")
        if name in named:
            raise ConfigError(f"--own, --upstream: {name} is named in both; a service is own or forwarded")
    own = frozenset(settings.own or implemented) - named
    if settings.own_buckets and ("s3" in own or named.isdisjoint({"s3", ANY})):
        raise ConfigError("--own-buckets is of use where S3 is forwarded: name its upstream with --upstream s3=URL")
    return own


def answered_services(services: Mapping[str, Service[Any]], settings: Settings) -> Mapping[str, Service[Any]]:
    """Those of ``services`` that answer clients: the own ones, and S3 for its own buckets.  Raises ``ConfigError``."""
    own = own_services(services.keys(), settings)
    kept = own | {"s3"} if settings.own_buckets else own
    return {name: service for name, service in services.items() if name in kept}
