"""Middleware: the calls of an API of your own, recorded as events of the account's trails.

``ASGIMiddleware`` (Starlette, FastAPI) and ``WSGIMiddleware`` (Flask, Django) record what ``Api`` allows them to in an
``AuditLog``, which keeps each event on the application's own disk until Opentrail has it; ``record_calls`` does so for
the AWS calls that a program makes with botocore.  See docs/your-own-api.md.
"""

from opentrail.middleware.api import Api
from opentrail.middleware.asgi import ASGIMiddleware
from opentrail.middleware.audit_log import AuditLog
from opentrail.middleware.botocore_hook import record_calls
from opentrail.middleware.exchange import Exchange, Route, UserIdentity
from opentrail.middleware.put_audit_events import Credentials, environment_credentials
from opentrail.middleware.wsgi import WSGIMiddleware

__all__ = [
    "ASGIMiddleware",
    "Api",
    "AuditLog",
    "Credentials",
    "Exchange",
    "Route",
    "UserIdentity",
    "WSGIMiddleware",
    "environment_credentials",
    "record_calls",
]
