"""Requests for fuzzing: calls of real operations whose parameters are nearly right, and requests that are nothing much.

Everything is drawn from one ``random.Random``: Hypothesis and atheris bring their own, whose draws they can steer.
Parameters follow the service's model, so that they get past the parser and into the service, but for what is mangled.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from opentrail.core.wire.model import Operation, ServiceModel, Shape
from opentrail.core.wire.routing import Catalog
from opentrail.testing.local_endpoint import LocalRequest

MAX_DEPTH = 6

#: What strings are likely to mean something: names that earlier requests may have made, and limits of every kind.
TEXTS = (
    "",
    "a",
    "alice",
    "bob",
    "bucket-1",
    "bucket-2",
    "trail-1",
    "arn:aws:cloudtrail:us-east-1:123456789012:trail/trail-1",
    "arn:aws:s3:::bucket-1/k",
    "arn:aws:iam::123456789012:user/alice",
    "/bucket-1/k",
    "k",
    "k/../k",
    "a" * 64,
    "a" * 129,
    "x" * 2000,
    "\u00e9\u4e16\U0001f600",
    "a\0b",
    "a\nb",
    "<&>'\"",
    "../..",
    "%2e%2e%2f",
    "-1",
    "0",
    "1",
    "true",
    "null",
    "9" * 400,
    "2015-01-01T00:00:00Z",
    "bytes=0-0",
    "bytes=5-2",
    "AES256",
    "CRC32",
    '{"Version":"2012-10-17","Statement":[]}',
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}',
)
#: What members of these names should hold to be accepted, most of the time.
LIKELY: Mapping[str, Sequence[str]] = {
    "Bucket": ("bucket-1", "bucket-2"),
    "Key": ("k", "new", "a/b"),
    "Name": ("trail-1", "trail-2", "arn:aws:cloudtrail:us-east-1:123456789012:trail/trail-1"),
    "TrailName": ("trail-1", "trail-2"),
    "S3BucketName": ("bucket-1",),
    "ResourceId": ("arn:aws:cloudtrail:us-east-1:123456789012:trail/trail-1",),
    "ResourceIdList": ("arn:aws:cloudtrail:us-east-1:123456789012:trail/trail-1",),
    "UserName": ("alice", "bob"),
    "NewUserName": ("alice", "bob"),
    "PolicyName": ("p",),
    "PolicyDocument": (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}',
        '{"Version":"2012-10-17","Statement":[]}',
    ),
    "CopySource": ("/bucket-1/k", "bucket-2/k?versionId=null"),
    "Range": ("bytes=0-0", "bytes=5-2", "bytes=-1"),
    "Path": ("/", "/a/"),
}
NUMBERS = (-1, 0, 1, 2, 5, 1000, 1001, 2**31, 2**63, 2**64, -(2**63) - 1)
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW")
PATHS = ("/", "//", "/bucket-1", "/bucket-1/", "/bucket-1/k", "/bucket-1/%zz", "/bucket-1/%ff", "/../x", "/healthz")
QUERIES = (
    "",
    "acl",
    "policy",
    "uploads",
    "delete",
    "uploadId=x&partNumber=1",
    "list-type=2",
    "Action=GetCallerIdentity",
)
HEADERS = (
    "content-type",
    "content-encoding",
    "content-length",
    "content-md5",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "range",
    "smithy-protocol",
    "transfer-encoding",
    "user-agent",
    "x-amz-acl",
    "x-amz-checksum-crc32",
    "x-amz-copy-source",
    "x-amz-decoded-content-length",
    "x-amz-meta-a",
    "x-amz-metadata-directive",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-tagging",
    "x-amz-target",
    "x-amz-trailer",
)
FORM = ("content-type", "application/x-www-form-urlencoded; charset=utf-8")


def make_call(
    random: Random, service: ServiceModel, operation: Operation, words: Sequence[str] = TEXTS
) -> LocalRequest:
    """A request for ``operation`` whose parameters are nearly right, unsigned; its texts are of ``words``."""
    parameters = _structure(random, operation.input, words, 0) if operation.input else {}
    if service.protocol == "query":
        pairs = [("Action", operation.name), ("Version", service.api_version)]
        if operation.input is not None:
            pairs += _flatten("", operation.input, parameters)
        request = LocalRequest(method="POST", target="/", headers=[FORM], body=urlencode(pairs).encode())
    elif service.protocol == "json":
        target = ("x-amz-target", f"{service.target_prefix}.{operation.name}")
        body = json.dumps(parameters, default=_encode_bytes).encode()
        headers = [("content-type", f"application/x-amz-json-{service.json_version}"), target]
        request = LocalRequest(method="POST", target="/", headers=headers, body=body)
    else:
        request = _make_rest_call(random, operation, parameters, words)
    return _mangle(random, request) if random.randrange(4) == 0 else request


def make_anything(random: Random) -> LocalRequest:
    """A request made of words that mean something somewhere."""
    query = random.choice(QUERIES)
    target = random.choice(PATHS) + (f"?{query}" if query else "")
    request = LocalRequest(
        method=random.choice(METHODS), target=target, headers=_headers(random, 5), body=_body(random)
    )
    return _mangle(random, request)


def make_foreign_call(random: Random, catalog: Catalog, name: str) -> LocalRequest:
    """A request for some operation of the service ``name``, in its own protocol, with a body of any kind."""
    service = catalog.service(name)
    operation = service.operations[random.choice(sorted(service.operations))]
    protocol = random.choice(service.protocols)
    body = random.choice((b"", b"{}", b"\xa0", b"<a/>", _body(random)))
    if protocol in {"query", "ec2"}:
        text = f"Action={operation.name}&Version={service.api_version}&{random.choice(TEXTS)}={random.choice(TEXTS)}"
        return LocalRequest(method="POST", target="/", headers=[FORM], body=text.encode() + body)
    if protocol == "json":
        target = ("x-amz-target", f"{service.target_prefix}.{operation.name}")
        return LocalRequest(method="POST", target="/", headers=[target], body=body)
    if protocol == "smithy-rpc-v2-cbor":
        path = f"/service/{service.target_prefix or service.name}/operation/{operation.name}"
        return LocalRequest(method="POST", target=path, headers=[("smithy-protocol", "rpc-v2-cbor")], body=body)
    path = _fill(random, operation.request_uri, {}, TEXTS)
    return LocalRequest(method=operation.http_method, target=path, headers=_headers(random, 3), body=body)


def _make_rest_call(
    random: Random, operation: Operation, parameters: Mapping[str, Any], words: Sequence[str]
) -> LocalRequest:
    shape = operation.input
    members = shape.members if shape is not None else {}
    headers: list[tuple[str, str]] = []
    query: list[tuple[str, str]] = []
    for name, value in parameters.items():
        member = members.get(name)
        if member is None:
            continue
        if member.location == "header":
            headers.append((member.wire_name(name).lower(), _header(_text(value))))
        elif member.location == "headers" and isinstance(value, dict):
            headers += [(f"{member.location_name}{_token(key)}", _header(_text(item))) for key, item in value.items()]
        elif member.location == "querystring":
            query.append((member.wire_name(name), _text(value)))
    target = _fill(random, operation.request_uri, parameters, words)
    if query:
        target += ("&" if "?" in target else "?") + urlencode(query)
    body = b""
    if shape is not None and shape.payload:
        value = parameters.get(shape.payload)
        payload = members[shape.payload]
        if payload.type == "blob":
            body = _body(random)
        elif payload.type == "string":
            body = _text(value).encode()
        elif value is not None:
            body = _xml(payload.location_name or payload.root_name or payload.name, payload, value).encode()
    return LocalRequest(method=operation.http_method, target=target, headers=headers, body=body)


def _fill(random: Random, template: str, parameters: Mapping[str, Any], words: Sequence[str]) -> str:
    """A URI template with its labels filled in."""
    parts: list[str] = []
    for number, piece in enumerate(template.replace("}", "{").split("{")):
        if number % 2 == 0:
            parts.append(piece)
            continue
        name = piece.rstrip("+")
        value = _text(parameters.get(name, random.choice(words)))
        parts.append(quote(value, safe="/" if piece.endswith("+") else ""))
    return "".join(parts) or "/"


def _structure(random: Random, shape: Shape, words: Sequence[str], depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    optional = 2 if len(shape.members) > 12 else 8  # of many members, each of which may be wrong, few are enough
    for name, member in shape.members.items():
        if random.randrange(20) < (19 if name in shape.required else optional):
            made[name] = _value(random, member, words, depth + 1, name)
    if random.randrange(20) == 0:
        made["NoSuchMember"] = random.choice(words)
    return made


def _value(  # noqa: PLR0911  one line a type
    random: Random, shape: Shape, words: Sequence[str], depth: int, name: str = ""
) -> Any:
    """A value of ``shape``; now and then one of another type."""
    if random.randrange(25) == 0:
        return random.choice((None, True, "", "x", 1, 1.5, [], {}, [None], {"a": []}))
    if depth > MAX_DEPTH:
        return {} if shape.type == "structure" else []
    if shape.type == "structure":
        return _structure(random, shape, words, depth)
    if shape.type == "list":
        return [_value(random, shape.member, words, depth + 1, name) for _ in range(random.randrange(4))]
    if shape.type == "map":
        return {random.choice(words): _value(random, shape.value, words, depth + 1) for _ in range(random.randrange(3))}
    if shape.type == "boolean":
        return bool(random.randrange(2))
    if shape.type in {"integer", "long", "float", "double"}:
        return random.choice(NUMBERS)
    if shape.type == "blob":
        return _body(random)
    if shape.enum and random.randrange(4):
        return random.choice(shape.enum)
    fitting = LIKELY.get(name)
    return random.choice(fitting if fitting and random.randrange(4) else words)


def _flatten(prefix: str, shape: Shape, value: Any) -> list[tuple[str, str]]:
    """The query protocol's pairs for a value."""
    if shape.type == "structure" and isinstance(value, dict):
        pairs: list[tuple[str, str]] = []
        for name, item in value.items():
            member = shape.members.get(name)
            path = f"{prefix}.{name}" if prefix else name
            pairs += _flatten(path, member, item) if member is not None else [(path, _text(item))]
        return pairs
    if shape.type == "list" and isinstance(value, list):
        return [
            pair
            for number, item in enumerate(value, 1)
            for pair in _flatten(f"{prefix}.member.{number}", shape.member, item)
        ]
    return [(prefix, _text(value))]


def _xml(name: str, shape: Shape, value: Any) -> str:
    if shape.type == "structure" and isinstance(value, dict):
        inner = "".join(
            _xml(shape.members[key].wire_name(key), shape.members[key], item) if key in shape.members else ""
            for key, item in value.items()
        )
        return f"<{name}>{inner}</{name}>"
    if shape.type == "list" and isinstance(value, list):
        if shape.flattened:
            return "".join(_xml(name, shape.member, item) for item in value)
        inner = "".join(_xml(shape.member.wire_name("member"), shape.member, item) for item in value)
        return f"<{name}>{inner}</{name}>"
    return f"<{name}>{escape(_text(value))}</{name}>"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, str) else json.dumps(value, default=_encode_bytes)


def _encode_bytes(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


def _header(text: str) -> str:
    """What a header can hold: an HTTP parser lets no control character through."""
    return "".join(letter for letter in text.encode().decode("latin-1") if letter >= " " and letter != "\x7f").strip()


def _token(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isascii() and (letter.isalnum() or letter == "-")) or "a"


def _headers(random: Random, most: int) -> list[tuple[str, str]]:
    return [(random.choice(HEADERS), _header(random.choice(TEXTS))) for _ in range(random.randrange(most + 1))]


def _body(random: Random) -> bytes:
    size = random.choice((0, 1, 10, 100))
    return bytes(random.randrange(256) for _ in range(size)) if size < 100 else random.choice(TEXTS).encode() * 3


def _mangle(random: Random, request: LocalRequest) -> LocalRequest:
    """``request`` with one thing wrong."""
    method, target, headers, body = request.method, request.target, list(request.headers), request.body
    what = random.randrange(5)
    if what == 0:
        body = body[: random.randrange(len(body) + 1)]
    elif what == 1 and body:
        at = random.randrange(len(body))
        body = body[:at] + bytes([random.randrange(256)]) + body[at + 1 :]
    elif what == 2:
        headers += _headers(random, 3)
    elif what == 3:
        method = random.choice(METHODS)
    else:
        target += random.choice(("?", "&", "")) + quote(random.choice(TEXTS), safe="/=&")
    return LocalRequest(method=method, target=target, headers=headers, body=body)


def operations_of(services: Mapping[str, Mapping[str, object]]) -> Sequence[tuple[str, str]]:
    """Every service and operation of a service table, in a fixed order."""
    return [(service, operation) for service in sorted(services) for operation in sorted(services[service])]
