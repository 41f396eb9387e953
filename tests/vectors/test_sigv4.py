"""AWS's Signature Version 4 test suite: each case as a signer sees it and as we verify it.

``sreq`` is the signed request, ``authz`` the Authorization header.  The two disagree in one case of the suite
(get-vanilla-with-session-token carries another case's signature in ``sreq``), so the header is taken from ``authz``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import Family, parse_authorization, sign, signing_key, string_to_sign, verify_signature
from opentrail.core.sigv4.canonical import canonical_headers, canonical_path, canonical_request

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
_CASES = Path(__file__).resolve().parents[2] / "../shared/data/sigv4/cases.json"


def _cases() -> list[Any]:
    if not _CASES.exists():
        skip = pytest.mark.skip(reason="data/sigv4 is absent")
        return [pytest.param({}, marks=skip)]
    return [pytest.param(case, id=case["name"].split("/")[-1]) for case in json.loads(_CASES.read_text())]


def _read(text: str) -> tuple[HttpRequest, bytes]:
    """The request of a case: bytes as Latin-1 text, folded header lines unfolded."""
    head, _, body = text.encode().decode("latin-1").partition("\n\n")
    line, *lines = head.split("\n")
    method, _, rest = line.partition(" ")
    target = rest.rpartition(" ")[0]
    path, _, query = target.partition("?")
    pairs: list[tuple[str, str]] = []
    for item in filter(None, lines):
        if item.startswith(" "):
            name, value = pairs.pop()
            pairs.append((name, f"{value} {item.strip()}"))
        else:
            name, _, value = item.partition(":")
            pairs.append((name.lower(), value.strip()))
    request = HttpRequest(method=method, path=path, query=query, headers=Headers(pairs))
    return request, body.encode("latin-1")


@pytest.mark.parametrize("case", _cases())
def test_each_case_gives_the_published_signature(case: dict[str, str]) -> None:
    request, body = _read(case["sreq"])
    payload_hash = hashlib.sha256(body).hexdigest()
    values = canonical_headers(request.headers)
    signed = tuple(case["authz"].partition("SignedHeaders=")[2].partition(",")[0].split(";"))
    canonical = canonical_request(request, canonical_path(request.path), values, signed, payload_hash)
    assert canonical == case["creq"]
    text = string_to_sign("20150830T123600Z", "20150830/us-east-1/service/aws4_request", canonical)
    assert text == case["sts"]
    key = signing_key(SECRET, "20150830", "us-east-1", "service")
    assert case["authz"].endswith("Signature=" + sign(key, text))


@pytest.mark.parametrize("case", _cases())
def test_each_signed_case_verifies_and_only_with_its_secret_and_body(case: dict[str, str]) -> None:
    request, body = _read(case["sreq"])
    pairs = [pair for pair in request.headers if pair[0] != "authorization"]
    request = replace(request, headers=Headers([*pairs, ("authorization", case["authz"])]))
    authorization = parse_authorization(request, Family.QUERY)
    assert authorization is not None
    assert (authorization.access_key_id, authorization.region) == ("AKIDEXAMPLE", "us-east-1")
    payload_hash = hashlib.sha256(body).hexdigest()
    verify_signature(request, authorization, SECRET, NOW, payload_hash=payload_hash, family=Family.QUERY)
    for secret, digest in ((SECRET + "x", payload_hash), (SECRET, hashlib.sha256(body + b"x").hexdigest())):
        with pytest.raises(ServiceFault, match="SignatureDoesNotMatch"):
            verify_signature(request, authorization, secret, NOW, payload_hash=digest, family=Family.QUERY)
