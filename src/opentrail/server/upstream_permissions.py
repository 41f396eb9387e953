"""What a caller must be allowed for a forwarded call that Opentrail signs: actions and resources of any service.

Rules: an action is ``service:Operation``, on ``*``; where IAM names it otherwise, or its resource can be told from the
call, a table says so (``upstream_actions.json``).  Resource policies are the upstream's: here the caller's own policies
decide, so nobody without an identity is let through.  A resource that is not told is ``*``: only a statement about
``*`` speaks of it.

Source: Service Authorization Reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

import orjson

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.s3.names import bucket_arn, object_arn
from opentrail.services.s3.permissions import VERSIONED_ACTIONS, object_context
from opentrail.services.s3.sources import parse_copy_source

_PARTIAL_ARN = re.compile(r"([0-9]{12}):[a-z]+:(.+)")  # as Lambda takes it for FunctionName
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def forwarded_permissions(call: ApiCall, _deps: None) -> tuple[Permission, ...]:
    """The permissions of a forwarded ``call``.  Raises ``ServiceFault`` for a copy's source that cannot be read."""
    operation = call.operation
    if operation.service.name == "s3":
        return _s3_permissions(call, operation.name)
    _check_path(call.request.path)
    signing_name = operation.service.signing_name
    prefix = _tables()["prefixes"].get(signing_name, signing_name)
    return (Permission(action=f"{prefix}:{operation.name}", resource=_resource(call, signing_name)),)


def _not_here(_call: ApiCall, _deps: None) -> Mapping[str, Any]:
    raise AssertionError("a forwarded call has no handler")


@cache
def _tables() -> Mapping[str, Any]:
    tables: Mapping[str, Any] = orjson.loads((files("opentrail.server") / "upstream_actions.json").read_bytes())
    return tables


def _s3_permissions(call: ApiCall, operation: str) -> tuple[Permission, ...]:
    parameters = call.parameters
    bucket, key = parameters.get("Bucket", ""), parameters.get("Key", "")
    actions = [f"s3:{name}" for name in _tables()["s3"].get(operation, (operation,))]
    if not bucket:
        return tuple(Permission(action=action, resource="*") for action in actions)
    _check_place(bucket, key)
    if operation == "DeleteObjects":
        return tuple(_delete(bucket, each) for each in parameters.get("Delete", {}).get("Objects", ()))
    if parameters.get("VersionId"):
        actions = [VERSIONED_ACTIONS.get(action, action) for action in actions]
    if parameters.get("Tagging") and "s3:PutObject" in actions:
        actions.append("s3:PutObjectTagging")
    resource = object_arn(bucket, key) if key else bucket_arn(bucket)
    context = object_context(call)
    wanted = tuple(Permission(action=action, resource=resource, context=context) for action in actions)
    if not parameters.get("CopySource"):
        return wanted
    path, _, version = parameters["CopySource"].partition("?versionId=")
    source = parse_copy_source(path)
    _check_place(source.bucket, source.key)
    reading = "s3:GetObjectVersion" if version else "s3:GetObject"
    return (Permission(action=reading, resource=object_arn(source.bucket, source.key)), *wanted)


def _check_place(bucket: str, key: str) -> None:
    """Refuse a name under which an upstream that tidies paths could find something else than what was authorised."""
    if not _BUCKET.fullmatch(bucket):
        raise ServiceFault("InvalidBucketName", "The specified bucket is not valid.", fields={"BucketName": bucket})
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise ServiceFault("InvalidURI", "Couldn't parse the specified URI.")


def _check_path(path: str) -> None:
    """Refuse a path that an upstream could tidy into that of another operation, or of another resource."""
    if "//" in path or not {".", ".."}.isdisjoint(unquote(path).split("/")):
        raise ServiceFault("InvalidRequest", "The path of the request has an empty segment, or one of dots.")


def _delete(bucket: str, item: Mapping[str, Any]) -> Permission:
    action = "s3:DeleteObjectVersion" if item.get("VersionId") else "s3:DeleteObject"
    if not isinstance(item.get("Key"), str):
        raise ServiceFault("MalformedXML", "Each object to delete must have a Key.")
    _check_place(bucket, item["Key"])
    return Permission(action=action, resource=object_arn(bucket, item["Key"]))


def _resource(call: ApiCall, signing_name: str) -> str:
    """The ARN that the call names, by its service's row in the table; else ``*``."""
    name, form = _tables()["resources"].get(signing_name, ("", ""))
    value = call.parameters.get(name)
    if not isinstance(value, str) or not value:
        return "*"
    if value.startswith("arn:"):
        return value
    partial = _PARTIAL_ARN.fullmatch(value)
    account, value = partial.groups() if partial else (call.account_id, value)
    last = unquote(re.split("[?#]", value)[0]).rstrip("/").rpartition("/")[2]
    return str(form).format(value, region=call.region, account=account, last=last)


#: A forwarded operation as the authoriser knows operations; no handler carries it out.
FORWARDED: OperationEntry[None] = OperationEntry(handler=_not_here, permissions=forwarded_permissions, writes=True)
