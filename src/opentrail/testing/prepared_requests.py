"""botocore's requests as the server would see them: what a ``before-send`` handler is given, read.

Nothing here imports botocore: its request is handed in.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from opentrail.core.http import Headers, HttpRequest


def read_prepared(request: Any) -> tuple[HttpRequest, bytes]:
    """The head and the body of botocore's ``AWSPreparedRequest``.

    A body that is a file is read and put back to where it was.
    """
    parts = urlsplit(request.url)
    pairs = [
        (name.lower(), value.decode("latin-1") if isinstance(value, bytes) else str(value))
        for name, value in request.headers.items()
    ]
    if not any(name == "host" for name, _ in pairs):
        pairs.insert(0, ("host", parts.netloc))
    head = HttpRequest(method=request.method, path=parts.path or "/", query=parts.query, headers=Headers(pairs))
    return head, _read_body(request.body)


def _read_body(body: Any) -> bytes:
    if hasattr(body, "read"):
        place = body.tell() if hasattr(body, "tell") else None
        data = body.read()
        if place is not None:
            body.seek(place)
    else:
        data = body or b""
    return data.encode() if isinstance(data, str) else bytes(data)
