"""The route that a call took, as each framework tells it once the call is over.  Nothing here imports a framework.

Starlette and FastAPI leave ``endpoint`` and ``path_params`` in the scope; werkzeug (Flask, moto) leaves its request in
the environ; Django resolves the path again (``django_route``).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from opentrail.middleware.exchange import Route

log = logging.getLogger("opentrail.middleware")

RouteOf = Callable[[Mapping[str, Any]], Route | None]


def find_route(route_of: RouteOf, context: Mapping[str, Any]) -> Route | None:
    """The route that ``route_of`` tells; None where it fails, for its mistake must cost neither event nor call."""
    try:
        found = route_of(context)
    except Exception:  # the application's own function, or a framework's
        log.exception("the route of a call cannot be told")
        return None
    if found is None or isinstance(found, Route):
        return found
    log.error("the route of a call must be a Route, not %s", type(found).__name__)
    return None


def asgi_route(scope: Mapping[str, Any]) -> Route | None:
    """The route that Starlette or FastAPI has found for a scope."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    return Route(name=_name(endpoint), path_parameters=dict(scope.get("path_params") or {}))


def wsgi_route(environ: Mapping[str, Any]) -> Route | None:
    """The route that Flask has found for an environ, or Django where it is loaded."""
    request = environ.get("werkzeug.request")
    if request is not None:
        endpoint = getattr(request, "endpoint", None)
        return Route(name=endpoint, path_parameters=dict(request.view_args or {})) if endpoint else None
    return django_route(environ) if "django.urls" in sys.modules else None


def django_route(environ: Mapping[str, Any]) -> Route | None:
    """The route that Django's URL configuration gives the path."""
    urls = sys.modules["django.urls"]
    try:
        match = urls.resolve(_text(environ.get("PATH_INFO", "")))
    except urls.Resolver404:
        return None
    return Route(name=match.url_name or _name(match.func), path_parameters=dict(match.kwargs))


def _text(path: str) -> str:
    """A path of an environ, which is UTF-8 in the guise of Latin-1 (PEP 3333)."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _name(endpoint: Any) -> str:
    while hasattr(endpoint, "func"):  # a partial
        endpoint = endpoint.func
    view = getattr(endpoint, "view_class", endpoint)
    return str(getattr(view, "__name__", type(view).__name__))
