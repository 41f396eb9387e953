"""What a caller must be allowed for a forwarded call that Opentrail signs: actions and resources of any service.

Rules: an action is ``service:Operation``; where IAM names it otherwise, a table says so (``upstream_actions.json``).
Its resources are those that the call names (``upstream_resources``); of a call that names some which cannot be told,
and of one that no model knows, a Deny of any resource, or of any action, of the service is a Deny (ADR 17).  Resource
policies are the upstream's: here the caller's own policies decide, so nobody without an identity is let through.

Source: Service Authorization Reference; Amazon S3 user guide, "Required permissions for Amazon S3 API operations".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

import orjson

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.binding import input_binding
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.routing import Route
from opentrail.server.upstream_requests import SIGNATURE_QUERY
from opentrail.server.upstream_resources import resources_of
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.s3.names import bucket_arn, object_arn
from opentrail.services.s3.permissions import VERSIONED_ACTIONS, object_context
from opentrail.services.s3.sources import parse_copy_source

_SLASHES = re.compile("/{2,}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def forwarded_permissions(call: ApiCall, route: Route) -> tuple[Permission, ...]:
    """The permissions of a forwarded ``call``.

    Raises ``ServiceFault`` for what an upstream could take for something else than is authorised.
    """
    operation = call.operation
    if operation.service.name == "s3":
        return tuple(_s3_permissions(call, route))
    _check_path(call.request.path)
    signing_name = operation.service.signing_name
    tables = _tables()
    prefix = tables["prefixes"].get(signing_name, signing_name)
    found = resources_of(call, prefix, tables["resources"].get(prefix, {}), tables["ec2-ids"])
    # Of these protocols the path names nothing, but for older SQS clients' a queue.
    is_elsewhere = route.protocol in {"query", "ec2", "json"} and call.request.path != "/"
    vague = not found.is_known or is_elsewhere or route.operation is None
    return tuple(
        Permission(
            action=f"{prefix}:{operation.name}",
            resource=resource,
            any_resource=vague,
            any_action=route.operation is None and not route.operation_name,
        )
        for resource in found.arns or ("*",)
    )


def _not_here(_call: ApiCall, _route: Route) -> Mapping[str, Any]:
    raise AssertionError("a forwarded call has no handler")


@cache
def _tables() -> Mapping[str, Any]:
    tables: Mapping[str, Any] = orjson.loads((files("opentrail.server") / "upstream_actions.json").read_bytes())
    return tables


def _s3_permissions(call: ApiCall, route: Route) -> Iterator[Permission]:
    parameters, operation = call.parameters, call.operation.name
    if route.path.startswith("//"):
        raise _invalid_uri()
    vague = route.operation is None or _has_unknown_parameter(route)
    bucket, key = parameters.get("Bucket", ""), parameters.get("Key", "")
    actions = [f"s3:{name}" for name in _tables()["s3"].get(operation, (operation,))]
    if not bucket:
        for action in actions:
            yield Permission(action=action, resource="*", any_action=vague, any_resource=vague)
        return
    _check_place(bucket, key)
    if operation == "DeleteObjects":
        yield from _delete_all(call, bucket)
        return
    if "CopySource" in parameters:
        yield from _copied(parameters["CopySource"])
    if parameters.get("VersionId"):
        actions = [VERSIONED_ACTIONS.get(action, action) for action in actions]
    actions = [*dict.fromkeys(each for action in actions for each in (action, *_also(action, parameters)))]
    resources = [object_arn(bucket, each) for each in _spellings(key)] if key else [bucket_arn(bucket)]
    if vague and not key:
        resources.append(object_arn(bucket, "*"))
    context = object_context(call)
    for action in actions:
        for resource in resources:
            yield Permission(action=action, resource=resource, context=context, any_action=vague, any_resource=vague)


def _has_unknown_parameter(route: Route) -> bool:
    """Whether the query has a parameter that the operation does not know: to a newer S3 it may be another operation.

    S3 ignores those that begin with ``x-``, and signatures are taken out (user guide, "Customizing access logs").
    """
    if not route.query or route.operation is None:
        return False
    bound = input_binding(route.operation).query
    fixed = {part.partition("=")[0] for part in route.operation.request_uri.partition("?")[2].split("&")}
    for part in route.query.split("&"):
        name = unquote(part.partition("=")[0])
        is_signature = name.lower() in SIGNATURE_QUERY
        if name and name not in bound and name not in fixed and not is_signature and not name.lower().startswith("x-"):
            return True
    return False


def _also(action: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    """What ``action`` needs beside itself, for what the call does along with it."""
    for name, also in _tables()["s3-parameters"].get(action, {}).items():
        value = parameters.get(name)
        if value and (action, value) != ("s3:CreateBucket", "private"):  # which is what a bucket is without it
            yield also


def _copied(header: str) -> Iterator[Permission]:
    """What the source of a copy needs; it is named as AWS reads it, or refused."""
    path, mark, version = header.partition("?versionId=")
    source = parse_copy_source(path)
    _check_place(source.bucket, source.key)
    if "?versionId=" in source.key or (mark and not version):  # to whoever decodes before he divides
        raise ServiceFault("InvalidArgument", "The copy source cannot be read.")
    reading = "s3:GetObjectVersion" if version else "s3:GetObject"
    for key in _spellings(source.key):
        yield Permission(action=reading, resource=object_arn(source.bucket, key))


def _spellings(key: str) -> tuple[str, ...]:
    """``key``, and what it is to an upstream that takes several slashes for one."""
    tidy = _SLASHES.sub("/", key).lstrip("/")
    return (key,) if tidy == key or not tidy else (key, tidy)


def _invalid_uri() -> ServiceFault:
    return ServiceFault("InvalidURI", "Couldn't parse the specified URI.")


def _check_place(bucket: str, key: str) -> None:
    """Refuse a name under which an upstream that tidies paths could find something else than what was authorised."""
    if not _BUCKET.fullmatch(bucket):
        raise ServiceFault("InvalidBucketName", "The specified bucket is not valid.", fields={"BucketName": bucket})
    if "\0" in key or not {".", ".."}.isdisjoint(re.split(r"[/\\]", key)):
        raise _invalid_uri()


def _check_path(path: str) -> None:
    """Refuse a path that an upstream could tidy into that of another operation, or of another resource."""
    if "//" in path or not {".", ".."}.isdisjoint(unquote(path).split("/")):
        raise ServiceFault("InvalidRequest", "The path of the request has an empty segment, or one of dots.")


def _delete_all(call: ApiCall, bucket: str) -> Iterator[Permission]:
    """What DeleteObjects needs: each key is asked for as DeleteObject asks for it."""
    objects = call.parameters.get("Delete", {}).get("Objects", ())
    if not objects or b"<!--" in call.raw_body:  # where a comment divides a text, readers differ
        raise _malformed("The list of objects to delete is empty, or has comments in it.")
    for item in objects:
        key = item.get("Key")
        if not isinstance(key, str) or not key:
            raise _malformed("Each object to delete must have a Key.")
        _check_place(bucket, key)
        action = "s3:DeleteObjectVersion" if item.get("VersionId") else "s3:DeleteObject"
        for name in (action, *_also(action, call.parameters)):
            for each in _spellings(key):
                yield Permission(action=name, resource=object_arn(bucket, each))


def _malformed(text: str) -> ServiceFault:
    return ServiceFault("MalformedXML", text)


#: A forwarded operation as the authoriser knows operations; no handler carries it out.
FORWARDED: OperationEntry[Route] = OperationEntry(handler=_not_here, permissions=forwarded_permissions, writes=True)
