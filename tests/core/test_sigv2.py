"""Signature Version 2 in S3's URLs against AWS's published examples, botocore's own signer, and forgers."""

from __future__ import annotations

import contextlib
import hmac
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4.sigv2 import (
    SIGNED_PARAMETERS,
    QueryAuthorization,
    is_query_signed,
    parse_query_authorization,
    sign,
    string_to_sign,
    verify_query_signature,
    with_query_headers,
)
from opentrail.core.wire.rest_routes import router
from opentrail.server.catalog import BotocoreCatalog

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _verify(request: HttpRequest, path: str, secret: str = SECRET, now: datetime = NOW) -> QueryAuthorization:
    """Authenticate as the server does; ``path`` is in path style."""
    request = with_query_headers(request)
    authorization = parse_query_authorization(request)
    verify_query_signature(request, authorization, secret, now, path=path)
    return authorization


def _fault(request: HttpRequest, path: str = "/b/k", now: datetime = NOW) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        _verify(request, path, now=now)
    assert SECRET not in f"{caught.value} {caught.value.fields}"
    return caught.value


# What the S3 API reference prints, "Authentication examples" and "Query string request authentication".

# The signature of the URL is for the bucket johnsmith: later editions print awsexamplebucket1 beside it, unchanged.
PUBLISHED = HttpRequest(
    method="GET",
    path="/photos/puppy.jpg",
    query="AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620",
    headers=Headers([("host", "johnsmith.s3.amazonaws.com")]),
)
PUBLISHED_PATH = "/johnsmith/photos/puppy.jpg"
PUBLISHED_END = datetime.fromtimestamp(1175139620, UTC)


def test_the_published_url_verifies_until_it_expires() -> None:
    assert string_to_sign(PUBLISHED, "1175139620", PUBLISHED_PATH) == f"GET\n\n\n1175139620\n{PUBLISHED_PATH}"
    authorization = _verify(PUBLISHED, PUBLISHED_PATH, now=PUBLISHED_END)
    assert (authorization.access_key_id, authorization.end) == (KEY_ID, PUBLISHED_END)
    fault = _fault(PUBLISHED, PUBLISHED_PATH, PUBLISHED_END + timedelta(seconds=1))
    assert (fault.code, fault.status, fault.message) == ("AccessDenied", 403, "Request has expired")
    assert fault.fields == {"Expires": "2007-03-29T03:40:20Z", "ServerTime": "2007-03-29T03:40:21Z"}


@pytest.mark.parametrize(
    ("method", "query", "path", "headers", "date", "signature"),
    [
        (
            "GET",
            "",
            "/awsexamplebucket1/photos/puppy.jpg",
            [],
            "Tue, 27 Mar 2007 19:36:42 +0000",
            "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=",
        ),
        (
            "PUT",
            "",
            "/awsexamplebucket1/photos/puppy.jpg",
            [("content-type", "image/jpeg"), ("content-length", "94328")],
            "Tue, 27 Mar 2007 21:15:45 +0000",
            "iqRzw+ileNPu1fhspnRs8nOjjIA=",
        ),
        (
            "GET",
            "prefix=photos&max-keys=50&marker=puppy",
            "/awsexamplebucket1/",
            [],
            "Tue, 27 Mar 2007 19:42:41 +0000",
            "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
        ),
        ("GET", "acl", "/awsexamplebucket1/", [], "Tue, 27 Mar 2007 19:44:46 +0000", "82ZHiFIjc+WbcwFKGUVEQspPn+0="),
        (
            "PUT",
            "",
            "/static.awsexamplebucket1.net/db-backup.dat.gz",
            [
                ("x-amz-acl", "public-read"),
                ("content-type", "application/x-download"),
                ("content-md5", "4gJE4saaMU4BqNR0kLY+lw=="),
                ("x-amz-meta-reviewedby", "joe@awsexamplebucket1.net"),
                ("x-amz-meta-reviewedby", " jane@awsexamplebucket1.net"),
                ("x-amz-meta-filechecksum", "0x02661779"),
                ("x-amz-meta-checksumalgorithm", "crc32"),
                ("content-disposition", "attachment; filename=database.dat"),
            ],
            "Tue, 27 Mar 2007 21:06:08 +0000",
            "dKZcB+bz2EPXgSdXZp9ozGeOM4I=",
        ),
        ("GET", "", "/", [], "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s="),
        (
            "GET",
            "",
            "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
            [],
            "Wed, 28 Mar 2007 01:49:49 +0000",
            "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
        ),
    ],
    ids=["get", "put", "list", "fetch", "upload", "buckets", "unicode"],
)
def test_each_published_header_example_gives_its_signature(  # noqa: PLR0917  pytest passes them by name
    method: str, query: str, path: str, headers: list[tuple[str, str]], date: str, signature: str
) -> None:
    # Header and query authentication differ in nothing but the date's place, which Expires takes.
    request = HttpRequest(method=method, path=path, query=query, headers=Headers(headers))
    assert sign(SECRET, string_to_sign(request, date, path)) == signature


# What botocore signs.


class _At(HmacV1QueryAuth):
    """botocore's signer of URLs, whose clock stands still a minute before they expire."""

    def _get_date(self) -> str:
        return str(int(NOW.timestamp()) + 60)


def _presign(
    method: str,
    path: str,
    query: str = "",
    headers: list[tuple[str, str]] = [],  # noqa: B006  never changed
    *,
    token: str | None = None,
    host: str = "localhost:4577",
    auth_path: str | None = None,
) -> HttpRequest:
    """What a client sends that got its URL from botocore: x-amz-* in the URL alone, other headers by itself."""
    url = f"http://{host}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, auth_path=auth_path)
    for name, value in headers:
        request.headers.add_header(name, value)
    _At(Credentials(KEY_ID, SECRET, token)).add_auth(request)
    parts = urlsplit(str(request.url))
    sent = [(name.lower(), value.strip()) for name, value in headers if not name.lower().startswith("x-amz-")]
    return HttpRequest(method=method, path=path, query=parts.query, headers=Headers([("host", host), *sent]))


_BOTOCORE_SIGNS = sorted(set(HmacV1Auth.QSAOfInterest))
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
_KEY = st.lists(_TEXT | st.sampled_from(["a b", "a+b", "%2F", "..", "é", "$:~"]), min_size=1, max_size=3).map("/".join)
_VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
_SIGNED = st.tuples(st.sampled_from(_BOTOCORE_SIGNS), st.none() | _TEXT.filter(bool))
_OTHER = st.tuples(st.sampled_from(["prefix", "list-type", "x-id", "max-keys", "Acl", "uploadid"]), _TEXT)
_QUERY = st.lists(_SIGNED | _OTHER, max_size=4).map(
    lambda pairs: "&".join(name if value is None else f"{name}={quote(value, safe='-_.~')}" for name, value in pairs)
)
_HEADERS = st.dictionaries(
    st.sampled_from(["x-amz-acl", "X-Amz-Meta-A", "x-amz-meta-b", "Content-Type", "content-md5", "Range"]),
    _VALUE,
    max_size=4,
).map(lambda named: list(named.items()))
_METHOD = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])
_TOKEN = st.sampled_from([None, "FwoGZXIvYXdzEJr//////token=="])


@settings(max_examples=250, deadline=None)
@given(_METHOD, _KEY, _QUERY, _HEADERS, _TOKEN, st.booleans())
def test_what_botocore_signs_verifies(  # noqa: PLR0917  Hypothesis passes them by position
    method: str, key: str, query: str, headers: list[tuple[str, str]], token: str | None, virtual: bool
) -> None:
    key_path = quote(key, safe="/~")
    path = f"/my-bucket/{key_path}"
    if virtual:
        request = _presign(
            method, f"/{key_path}", query, headers, token=token, host="my-bucket.localhost", auth_path=path
        )
    else:
        request = _presign(method, path, query, headers, token=token)
    assert is_query_signed(request)
    authorization = _verify(request, path)
    assert (authorization.access_key_id, authorization.end) == (KEY_ID, NOW + timedelta(seconds=60))
    assert authorization.session_token == (token or "")
    restored = with_query_headers(request)
    for name, value in headers:
        assert restored.headers.get(name.lower()) == value.strip()
    assert not any(name.startswith("x-amz-") for name, _ in parse_qsl(restored.query))


def test_a_buckets_own_url_verifies_with_the_slash_that_botocore_signs() -> None:
    request = _presign("GET", "/b", "versions", auth_path="/b/")
    _verify(request, "/b")
    assert _fault(request, "/c").code == "SignatureDoesNotMatch"
    assert _fault(_presign("GET", "/b/k/"), "/b/k").code == "SignatureDoesNotMatch"
    assert _fault(_presign("GET", "//"), "/").code == "SignatureDoesNotMatch"


# What forgers do.

_GOOD = _presign(
    "PUT",
    "/b/a%20key",
    "versionId=v%2B1&tagging&prefix=p&response-content-type=text%2Fplain",
    [("x-amz-acl", "private"), ("x-amz-meta-a", "one"), ("Content-Type", "text/plain")],
    token="token",
)
_GOOD_PATH = "/b/a%20key"
#: botocore repeats the Content-Type, of which the header alone counts; the key ID chooses the secret, here it is given.
_UNSIGNED = {"prefix", "content-type", "AWSAccessKeyId"}


def test_the_url_that_is_tampered_with_is_good() -> None:
    _verify(_GOOD, _GOOD_PATH)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_change_of_a_signed_part_fails(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["method", "path", "query", "header", "secret"]))
    request, path, secret = _GOOD, _GOOD_PATH, SECRET
    letter = st.sampled_from("aZ09/+% &=")
    if kind == "method":
        request = replace(request, method=data.draw(st.sampled_from(["GET", "POST", "DELETE", "HEAD"])))
    elif kind == "path":
        at = data.draw(st.integers(1, len(path)))
        path = path[:at] + data.draw(letter) + path[at + data.draw(st.booleans()) :]
        assume(path != _GOOD_PATH)
    elif kind == "secret":
        secret += data.draw(letter)
    elif kind == "header":
        added = data.draw(st.sampled_from(["x-amz-acl", "x-amz-meta-new", "content-type", "content-md5"]))
        request = replace(request, headers=Headers([*request.headers, (added, data.draw(st.sampled_from(["x", "y"])))]))
    else:
        request = replace(request, query=_tampered(data, request.query, letter))
    with pytest.raises(ServiceFault):
        _verify(request, path, secret)


def _tampered(data: st.DataObject, query: str, letter: st.SearchStrategy[str]) -> str:
    """``query`` that means something else: a signed parameter gone, changed or added."""
    pieces = query.split("&")
    at = data.draw(st.sampled_from([i for i, each in enumerate(pieces) if each.partition("=")[0] not in _UNSIGNED]))
    change = data.draw(st.sampled_from(["drop", "change", "add", "respell"]))
    if change == "drop":
        del pieces[at]
    elif change == "add":
        name = data.draw(st.sampled_from([*sorted(SIGNED_PARAMETERS), "x-amz-meta-new", "x-amz-copy-source"]))
        pieces.insert(at, name + data.draw(st.sampled_from(["", "=", "=1"])))
    elif change == "respell":  # the name that a router decodes to the same parameter
        name = data.draw(st.sampled_from(["uploadId", "versionId", "retention"]))
        pieces.insert(at, f"%{ord(name[0]):02X}{name[1:]}=1")
    else:
        name, _, value = pieces[at].partition("=")
        cut = data.draw(st.integers(0, len(value)))
        pieces[at] = f"{name}={value[:cut]}{data.draw(letter)}{value[cut + 1 :]}"
    changed = "&".join(pieces)
    assume(_meaning(changed) != _meaning(query))
    return changed


def _meaning(query: str) -> list[tuple[str, str]]:
    """What ``query`` says: order means nothing, nor does the space around a header's value."""
    return sorted((name, value.strip()) for name, value in parse_qsl(query, keep_blank_values=True))


def test_a_url_does_not_let_its_bearer_choose_another_operation() -> None:
    """Every sub-resource of S3's model is signed; if this fails after an upgrade of botocore, add the new ones."""
    assert router(BotocoreCatalog().service("s3")).sub_resources <= SIGNED_PARAMETERS
    request = _presign("PUT", "/b/k")
    for name in ("retention", "legal-hold", "acl", "uploads"):
        assert _fault(replace(request, query=f"{name}&{request.query}")).code == "SignatureDoesNotMatch"


def test_what_is_not_signed_may_change() -> None:
    request = _presign("GET", "/b/k", "prefix=a")
    other = replace(request, query=request.query.replace("prefix=a", "prefix=b&max-keys=1"))
    _verify(replace(other, headers=Headers([("host", "elsewhere"), ("range", "bytes=0-1")])), "/b/k")


def test_a_mismatch_shows_what_was_signed() -> None:
    request = replace(_GOOD, method="GET")
    fault = _fault(request, _GOOD_PATH)
    assert (fault.code, fault.status) == ("SignatureDoesNotMatch", 403)
    assert fault.fields["AWSAccessKeyId"] == KEY_ID
    text = fault.fields["StringToSign"]
    assert text == (
        f"GET\n\ntext/plain\n{int(NOW.timestamp()) + 60}\nx-amz-acl:private\nx-amz-meta-a:one\n"
        "x-amz-security-token:token\n/b/a%20key?response-content-type=text/plain&tagging&versionId=v+1"
    )
    assert bytes.fromhex(fault.fields["StringToSignBytes"]).decode() == text
    assert "CanonicalRequest" not in fault.fields


# How the parameters are read.


def _with_query(query: str, *headers: tuple[str, str]) -> HttpRequest:
    return HttpRequest(method="GET", path="/b/k", query=query, headers=Headers([("host", "h"), *headers]))


_COMPLETE = "AWSAccessKeyId=A&Signature=c2ln&Expires=1893456000"


@pytest.mark.parametrize(
    "query",
    [
        "AWSAccessKeyId=A&Signature=x",
        "AWSAccessKeyId=A&Expires=1",
        "Signature=x&Expires=1",
        "Signature",
        "AWSAccessKeyId=&Signature=x&Expires=1",
        "AWSAccessKeyId=A&Signature=&Expires=1",
        "awsaccesskeyid=A&Signature=x&Expires=1",
        "AWSACCESSKEYID=A&signature=x&expires=1",
        "AWSAccessKeyId=A&Signature=x&expires=1",
    ],
)
def test_the_three_parameters_must_be_there_spelled_so(query: str) -> None:
    request = _with_query(query)
    assert is_query_signed(request)
    fault = _fault(request)
    assert (fault.code, fault.status) == ("AccessDenied", 403)
    assert fault.message == "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"


@pytest.mark.parametrize("again", ["AWSAccessKeyId=A", "Signature=y", "Expires=1893456000", "%45xpires=1"])
def test_a_parameter_given_twice_is_refused(again: str) -> None:
    fault = _fault(_with_query(f"{_COMPLETE}&{again}"))
    assert fault.code == "AccessDenied"
    assert fault.message.endswith("must be given once")


@pytest.mark.parametrize(
    "expires", ["soon", "NaN", "1e9", "1893456000.5", "%201", "2147483648", "9" * 30, "-99999999999999", "%D9%A3"]
)
def test_an_expires_that_is_no_date_is_named(expires: str) -> None:
    fault = _fault(_with_query(f"AWSAccessKeyId=A&Signature=x&Expires={expires}"))
    assert (fault.code, fault.status) == ("AccessDenied", 403)
    assert fault.message.startswith("Invalid date (should be seconds since epoch): ")


def test_expires_is_signed_as_it_was_sent() -> None:
    for expires in ("1893456000", "%2B1893456000", "001893456000", "2147483647"):
        text = f"GET\n\n\n{expires.replace('%2B', '+')}\n/b/k"
        signature = b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
        request = _with_query(f"AWSAccessKeyId=A&Expires={expires}&Signature={quote(signature, safe='')}")
        _verify(request, "/b/k")
    assert _fault(_with_query("AWSAccessKeyId=A&Signature=x&Expires=-1")).message == "Request has expired"


@pytest.mark.parametrize(
    "trace",
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "x-amz-credential=A",
        "X-Amz-Signature=00",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Expires=60",
    ],
)
def test_a_trace_of_signature_version_4_beside_it_is_refused(trace: str) -> None:
    for query in (f"{_COMPLETE}&{trace}", f"{trace}&{_COMPLETE}"):
        fault = _fault(_with_query(query))
        assert (fault.code, fault.status) == ("InvalidArgument", 400)
        assert fault.message.startswith("Only one auth mechanism allowed")


def test_an_authorization_header_beside_it_is_refused() -> None:
    for value in ("AWS A:c2ln", "AWS4-HMAC-SHA256 Credential=a", ""):
        assert _fault(_with_query(_COMPLETE, ("authorization", value))).code == "InvalidArgument"


def test_other_requests_are_left_alone() -> None:
    for query in ("", "acl", "signature=x", "prefix=Signature", "X-Amz-Signature=0&x-amz-acl=private", "Expires=1"):
        request = _with_query(query)
        assert not is_query_signed(request)
        assert with_query_headers(request) is request
    signed = _with_query("Signature=x&x-amz-meta-a=b", ("authorization", "AWS4-HMAC-SHA256 x"))
    assert with_query_headers(signed) is signed


def test_headers_in_the_query_are_headers() -> None:
    request = _with_query(f"{_COMPLETE}&x-amz-acl=public-read&x-amz-meta-a=%20caf%C3%A9+&acl", ("x-amz-acl", "private"))
    restored = with_query_headers(request)
    assert restored.query == f"{_COMPLETE}&acl"
    assert list(restored.headers)[1:] == [("x-amz-acl", "private"), ("x-amz-meta-a", "caf\u00c3\u00a9")]


@pytest.mark.parametrize("piece", ["x-amz-meta-a=1%0Ax-amz-acl:public-read", "x-amz-meta-a:b=1", "X-Amz-Acl=x"])
def test_what_cannot_be_a_header_does_not_become_one(piece: str) -> None:
    restored = with_query_headers(_with_query(f"{_COMPLETE}&{piece}"))
    assert restored.query == f"{_COMPLETE}&{piece}"
    assert list(restored.headers) == [("host", "h")]


_PIECE = st.sampled_from([
    "&", "=", "%", "%0A", "+", "AWSAccessKeyId=A", "&Signature=x", "&Expires=1", "&Expires=2147483647", "&Expires=-9",
    "&Signature", "&x-amz-acl=a", "&x-amz-", "&versionId=1", "&acl", "\u1234", "\ud800",
]) | st.text(st.characters(max_codepoint=255), max_size=6)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECE, max_size=10).map("".join), st.text(max_size=6), st.sampled_from(["", "AWS4 x"]))
@example("AWSAccessKeyId=A&Signature=\ud800&Expires=2147483647", "/", "")
def test_anything_is_refused_with_a_fault_and_nothing_else(query: str, path: str, header: str) -> None:
    request = _with_query(query, *([("authorization", header)] if header else []))
    with contextlib.suppress(ServiceFault):
        restored = with_query_headers(request)
        if is_query_signed(restored):
            _verify(restored, f"/{path}")
            raise AssertionError("a made-up signature was accepted")


def test_a_claim_is_read_whole() -> None:
    complete = _with_query(f"{_COMPLETE}&x-amz-security-token=t%2F")
    assert parse_query_authorization(with_query_headers(complete)) == QueryAuthorization(
        access_key_id="A",
        signature="c2ln",
        expires="1893456000",
        end=datetime(2030, 1, 1, tzinfo=UTC),
        session_token="t/",
    )
