"""Signature Version 4 against botocore's own signers, against forgers, and AWS's words for each failure."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.sigv4 import (
    Authorization,
    Family,
    expired_token,
    family_of,
    invalid_token,
    missing_token,
    parse_authorization,
    peek_scope,
    s3_payload_hash,
    sign,
    signing_key,
    string_to_sign,
    unknown_key,
    verify_signature,
    wrong_region,
)
from opentrail.core.sigv4.canonical import canonical_headers, canonical_path, canonical_request

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

HEADER_SIGNERS: list[tuple[Any, str, Family]] = [
    (SigV4Auth, "cloudtrail", Family.JSON),
    (SigV4Auth, "iam", Family.QUERY),
    (S3SigV4Auth, "s3", Family.S3),
]
QUERY_SIGNERS: list[tuple[Any, str, Family]] = [
    (SigV4QueryAuth, "sts", Family.QUERY),
    (S3SigV4QueryAuth, "s3", Family.S3),
]


def _signed(signer: Any, service: str, request: Any, token: str | None = None) -> HttpRequest:
    """The AWSRequest ``request`` as botocore would send it."""
    signer(Credentials(KEY_ID, SECRET, token), service, "eu-central-1").add_auth(request)
    parts = urlsplit(request.url)
    pairs = [("host", parts.netloc)]
    for name, value in request.headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        pairs.append((name.lower(), text.strip(" \t")))
    return HttpRequest(method=request.method, path=parts.path or "/", query=parts.query, headers=Headers(pairs))


def _verify(
    request: HttpRequest, body: bytes, family: Family, secret: str = SECRET, now: datetime | None = None
) -> Authorization:
    """Authenticate as the server does, at ``now`` or at the time of signing."""
    authorization = parse_authorization(request, family)
    assert authorization is not None
    payload_hash = s3_payload_hash(authorization) if family is Family.S3 else hashlib.sha256(body).hexdigest()
    verify_signature(
        request, authorization, secret, now or authorization.time, payload_hash=payload_hash, family=family
    )
    return authorization


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
_SEGMENT = st.one_of(_TEXT, st.sampled_from(["", ".", "..", "a b", "a+b", "%2F", "~", "é", "a:b", "$x", "(1)"]))
_PATH = st.lists(_SEGMENT, max_size=5).map(lambda parts: "/" + "/".join(quote(p, safe="~") for p in parts))
_RAW_PATH = st.text("abc./~-_!*'()$&+,;=:@%2F", max_size=16).map(lambda text: "/" + text)
_QUERY = st.lists(st.tuples(_TEXT.filter(bool), _TEXT), max_size=5).map(
    lambda pairs: "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs)
)
_VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
_HEADERS = st.lists(
    st.tuples(st.sampled_from(["x-amz-meta-a", "X-Amz-Meta-B", "My-Header", "content-type", "range"]), _VALUE),
    max_size=5,
)
_METHOD = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])
_TOKEN = st.sampled_from([None, "FwoGZXIvYXdzEJr//////token=="])


def _request(method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes) -> Any:
    url = f"https://b.example.test:4577{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, data=body)
    for name, value in headers:
        request.headers.add_header(name, value)
    return request


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(HEADER_SIGNERS), _METHOD, _PATH | _RAW_PATH, _QUERY, _HEADERS, st.binary(max_size=40), _TOKEN)
def test_what_botocore_signs_in_headers_verifies(  # noqa: PLR0917  Hypothesis passes them by position
    signer: tuple[Any, str, Family],
    method: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    body: bytes,
    token: str | None,
) -> None:
    auth, service, family = signer
    request = _signed(auth, service, _request(method, path, query, headers, body), token)
    authorization = _verify(request, body, family)
    assert (authorization.access_key_id, authorization.region, authorization.service) == (
        KEY_ID,
        "eu-central-1",
        service,
    )
    assert authorization.session_token == (token or "")
    assert not authorization.presigned
    assert peek_scope(request) == ("eu-central-1", service)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(QUERY_SIGNERS), _METHOD, _PATH, _QUERY, _HEADERS, _TOKEN, st.integers(1, 604_800))
def test_what_botocore_presigns_verifies(  # noqa: PLR0917  Hypothesis passes them by position
    signer: tuple[Any, str, Family],
    method: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    token: str | None,
    expires: int,
) -> None:
    auth, service, family = signer

    def presigner(credentials: Credentials, name: str, region: str) -> Any:
        return auth(credentials, name, region, expires=expires)

    # botocore reads a URL's query into a mapping before it presigns: of repeated names it keeps one
    names = [piece.partition("=")[0] for piece in query.split("&")]
    assume(len(set(names)) == len(names))
    request = _signed(presigner, service, _request(method, path, query, headers, b""), token)
    authorization = _verify(request, b"", family)
    assert authorization.presigned
    assert authorization.expires == expires
    assert authorization.session_token == (token or "")
    assert peek_scope(request) == ("eu-central-1", service)


def _s3_put(**headers: str) -> HttpRequest:
    request = _request("PUT", "/bucket/a%20key", "partNumber=1&uploadId=u%2F1", list(headers.items()), b"data")
    return _signed(S3SigV4Auth, "s3", request, "session-token")


def _flip(text: str, position: int) -> str:
    """``text`` with one character changed, letters staying letters."""
    position %= len(text)
    return text[:position] + ("b" if text[position] == "a" else "a") + text[position + 1 :]


_MUTATIONS: dict[str, Callable[[HttpRequest, int], HttpRequest]] = {
    "method": lambda r, _: replace(r, method="POST"),
    "path": lambda r, n: replace(r, path="/" + _flip(r.path[1:], n)),
    "query": lambda r, n: replace(r, query=_flip(r.query, n)),
    "more query": lambda r, _: replace(r, query=r.query + "&x=1"),
    "repeated query": lambda r, _: replace(r, query=r.query + "&partNumber=1"),
    "less query": lambda r, _: replace(r, query=r.query.rpartition("&")[0]),
    "new x-amz header": lambda r, _: replace(r, headers=Headers([*r.headers, ("x-amz-acl", "public-read")])),
    "second value": lambda r, _: replace(r, headers=Headers([*r.headers, ("x-amz-meta-a", "more")])),
}


def _change_header(request: HttpRequest, name: str, change: Callable[[str], str] | None) -> HttpRequest:
    pairs = [(key, change(value) if change and key == name else value) for key, value in request.headers]
    return replace(request, headers=Headers(pair for pair in pairs if change or pair[0] != name))


@given(st.sampled_from(sorted(_MUTATIONS)), st.integers(0, 200))
def test_any_change_of_a_signed_part_is_refused(mutation: str, position: int) -> None:
    request = _s3_put(**{"x-amz-meta-a": "one two", "content-type": "text/plain"})
    _verify(request, b"", Family.S3)
    changed = _MUTATIONS[mutation](request, position)
    assume((changed.path, changed.query) != (request.path, request.query) or mutation not in {"path", "query"})
    with pytest.raises(ServiceFault) as caught:
        _verify(changed, b"", Family.S3)
    assert caught.value.code in {"SignatureDoesNotMatch", "AccessDenied"}


@given(st.integers(0, 200), st.booleans())
def test_any_change_or_loss_of_a_signed_header_is_refused(position: int, remove: bool) -> None:
    request = _s3_put(**{"x-amz-meta-a": "one two", "content-type": "text/plain", "x-amz-meta-empty": ""})
    authorization = _verify(request, b"", Family.S3)
    for name in authorization.signed_headers:
        if not remove and not request.headers.get(name):
            continue
        changed = _change_header(request, name, None if remove else lambda text: _flip(text, position))
        with pytest.raises(ServiceFault):
            _verify(changed, b"", Family.S3)


@given(st.integers(0, 63))
def test_any_change_of_the_signature_is_refused(position: int) -> None:
    request = _s3_put()
    head, mark, signature = request.headers.get("authorization").partition("Signature=")
    changed = _change_header(request, "authorization", lambda _: head + mark + _flip(signature, position))
    with pytest.raises(ServiceFault, match="SignatureDoesNotMatch"):
        _verify(changed, b"", Family.S3)


@pytest.mark.parametrize(
    "name", ["X-Amz-Date", "X-Amz-Expires", "X-Amz-Credential", "X-Amz-SignedHeaders", "versionId"]
)
def test_any_change_of_a_presigned_parameter_is_refused(name: str) -> None:
    request = _signed(S3SigV4QueryAuth, "s3", _request("GET", "/b/k", "versionId=7", [], b""))
    pieces = [f"{p}1" if p.startswith(name + "=") else p for p in request.query.split("&")]
    with pytest.raises(ServiceFault):
        _verify(replace(request, query="&".join(pieces)), b"", Family.S3)
    shuffled = replace(request, query="&".join(reversed(request.query.split("&"))))
    _verify(shuffled, b"", Family.S3)  # the order of parameters means nothing


def test_a_presigned_parameter_given_twice_is_refused_in_any_case() -> None:
    request = _signed(S3SigV4QueryAuth, "s3", _request("GET", "/b/k", "", [], b""))
    for extra in ("X-Amz-Signature=00", "x-amz-signature=00", "X-Amz-Expires=604800", "X-AMZ-DATE=20260101T000000Z"):
        with pytest.raises(ServiceFault, match="AuthorizationQueryParametersError"):
            _verify(replace(request, query=f"{request.query}&{extra}"), b"", Family.S3)


def test_s3_paths_are_not_normalised_but_other_services_are() -> None:
    sent = _signed(S3SigV4Auth, "s3", _request("GET", "/b/a//../c", "", [], b""))
    _verify(sent, b"", Family.S3)
    with pytest.raises(ServiceFault, match="SignatureDoesNotMatch"):
        _verify(replace(sent, path="/b/c"), b"", Family.S3)
    assert canonical_path("/b/a//../c/") == "/b/c/"
    assert canonical_path("/a%20b") == "/a%2520b"


# The words of each failure -------------------------------------------------------------------------------------------


def _make(
    family: Family = Family.QUERY,
    service: str = "iam",
    extra: tuple[tuple[str, str], ...] = (),
    time: datetime = NOW,
    use_date_header: bool = False,
) -> HttpRequest:
    """A GET signed at ``time`` by our own signer, with extra headers that are not signed."""
    timestamp = f"{time:%Y%m%dT%H%M%SZ}"
    date = ("date", format_datetime(time, usegmt=True)) if use_date_header else ("x-amz-date", timestamp)
    pairs = [("host", "h"), date]
    if family is Family.S3:
        pairs.append(("x-amz-content-sha256", "UNSIGNED-PAYLOAD"))
    request = HttpRequest(method="GET", path="/", headers=Headers(pairs))
    payload_hash = "UNSIGNED-PAYLOAD" if family is Family.S3 else hashlib.sha256(b"").hexdigest()
    signed = tuple(sorted(name for name, _ in pairs))
    canonical = canonical_request(request, "/", canonical_headers(request.headers), signed, payload_hash)
    scope = f"{timestamp[:8]}/us-east-1/{service}/aws4_request"
    key = signing_key(SECRET, timestamp[:8], "us-east-1", service)
    signature = sign(key, string_to_sign(timestamp, scope, canonical))
    value = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={';'.join(signed)}, Signature={signature}"
    return replace(request, headers=Headers([*pairs, ("authorization", value), *extra]))


def _fault(request: HttpRequest, family: Family, now: datetime = NOW, secret: str = SECRET) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        _verify(request, b"", family, secret, now)
    return caught.value


def test_the_date_header_stands_in_for_x_amz_date() -> None:
    request = _make(use_date_header=True)
    authorization = _verify(request, b"", Family.QUERY)
    assert authorization.time == NOW


def test_unsigned_requests_carry_no_claim() -> None:
    assert parse_authorization(HttpRequest(method="GET", path="/b/k", query="versionId=1"), Family.S3) is None


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_more_than_15_minutes_away_is_refused(family: Family, minutes: int) -> None:
    service = "s3" if family is Family.S3 else "iam"
    fault = _fault(_make(family, service), family, NOW + timedelta(minutes=minutes))
    if family is Family.S3:
        assert (fault.code, fault.status) == ("RequestTimeTooSkewed", 403)
        assert fault.fields["MaxAllowedSkewMilliseconds"] == "900000"
        assert fault.fields["RequestTime"] == "20260301T120000Z"
    elif family is Family.EC2:
        assert fault.code == "RequestExpired"
    elif minutes > 0:
        assert fault.message == (
            "Signature expired: 20260301T120000Z is now earlier than 20260301T120100Z (20260301T121600Z - 15 min.)"
        )
    else:
        assert fault.message == (
            "Signature not yet current: 20260301T120000Z is still later than 20260301T115900Z "
            "(20260301T114400Z + 15 min.)"
        )


@pytest.mark.parametrize("family", list(Family))
def test_a_clock_within_15_minutes_is_good(family: Family) -> None:
    request = _make(family, "s3" if family is Family.S3 else "iam")
    authorization = parse_authorization(request, family)
    assert authorization is not None
    payload_hash = "UNSIGNED-PAYLOAD" if family is Family.S3 else hashlib.sha256(b"").hexdigest()
    for minutes in (-15, 0, 15):
        now = NOW + timedelta(minutes=minutes)
        verify_signature(request, authorization, SECRET, now, payload_hash=payload_hash, family=family)


@pytest.mark.parametrize(
    ("family", "code", "status"),
    [
        (Family.S3, "SignatureDoesNotMatch", 403),
        (Family.QUERY, "SignatureDoesNotMatch", 403),
        (Family.EC2, "AuthFailure", 401),
        (Family.JSON, "InvalidSignatureException", 400),
        (Family.REST_JSON, "InvalidSignatureException", 403),
    ],
)
def test_a_wrong_secret_is_answered_in_the_familys_words(family: Family, code: str, status: int) -> None:
    fault = _fault(_make(family, "s3" if family is Family.S3 else "iam"), family, secret="wrong")
    assert (fault.code, fault.status) == (code, status)
    if family is Family.S3:
        assert fault.fields["AWSAccessKeyId"] == KEY_ID
        assert fault.fields["StringToSign"].startswith("AWS4-HMAC-SHA256\n20260301T120000Z\n")
        assert bytes.fromhex(fault.fields["StringToSignBytes"]).decode() == fault.fields["StringToSign"]
        assert bytes.fromhex(fault.fields["CanonicalRequestBytes"]).decode() == fault.fields["CanonicalRequest"]
        assert len(fault.fields["SignatureProvided"]) == 64


def test_unsigned_x_amz_headers_are_refused_and_named() -> None:
    extra = (("x-amz-acl", "public-read"), ("accept", "*/*"))
    fault = _fault(_make(Family.S3, "s3", extra), Family.S3)
    assert (fault.code, fault.status) == ("AccessDenied", 403)
    assert fault.message == "There were headers present in the request which were not signed"
    assert fault.fields == {"HeadersNotSigned": "x-amz-acl"}
    fault = _fault(_make(Family.JSON, "kms", (("x-amz-target", "TrentService.Decrypt"),)), Family.JSON)
    assert (fault.code, fault.message) == (
        "InvalidSignatureException",
        "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization.",
    )


def test_the_host_must_be_signed() -> None:
    request = _change_header(_make(), "authorization", lambda text: text.replace("host;", ""))
    assert "'host' must be" in _fault(request, Family.QUERY).message


def _with_authorization(family: Family, edit: Callable[[str], str]) -> HttpRequest:
    return _change_header(_make(family, "s3" if family is Family.S3 else "iam"), "authorization", edit)


_CREDENTIAL = f"{KEY_ID}/20260301/us-east-1"


@pytest.mark.parametrize(
    ("edit", "s3_message", "query_message"),
    [
        (
            lambda t: t.replace(_CREDENTIAL, "AKID/us-east-1"),
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
            "Credential must have exactly 5 slash-delimited elements",
        ),
        (
            lambda t: t.replace("aws4_request", "aws5_request"),
            'incorrect terminal "aws5_request". This endpoint uses "aws4_request".',
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
        ),
        (
            lambda t: t.replace("/20260301/", "/20260302/"),
            'Invalid credential date "20260302". This date is not the same as X-Amz-Date: "20260301".',
            (
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                "'20260302' != '20260301', from '20260301T120000Z'."
            ),
        ),
        (
            lambda t: t.partition(", Signature=")[0],
            "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
            "Authorization header requires 'Signature' parameter. (Hashed with SHA-256 and encoded with Base64) ",
        ),
        (
            lambda t: t + ", Signature=00",
            "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
            "Authorization header requires 'Signature' parameter.",
        ),
    ],
    ids=["credential", "terminator", "date", "missing", "twice"],
)
def test_malformed_authorization_headers(edit: Callable[[str], str], s3_message: str, query_message: str) -> None:
    fault = _fault(_with_authorization(Family.S3, edit), Family.S3)
    assert (fault.code, fault.status) == ("AuthorizationHeaderMalformed", 400)
    assert fault.message == f"The authorization header is malformed; {s3_message}"
    request = _with_authorization(Family.QUERY, edit)
    fault = _fault(request, Family.QUERY)
    assert fault.code in {"IncompleteSignature", "SignatureDoesNotMatch"}
    assert fault.message.startswith(query_message)
    if "Hashed" in fault.message:
        digest = b64encode(hashlib.sha256(request.headers.get("authorization").encode()).digest()).decode()
        assert fault.message.endswith(f"Authorization={digest}")


@pytest.mark.parametrize("date", ["", "2026-03-01T12:00:00Z", "20261301T000000Z", "yesterday", "Sun, 31 Feb 2026"])
def test_a_missing_or_odd_date_is_refused(date: str) -> None:
    for family, code in ((Family.S3, "AccessDenied"), (Family.QUERY, "IncompleteSignature")):
        request = _make(family, "s3" if family is Family.S3 else "iam")
        request = _change_header(request, "x-amz-date", (lambda _: date) if date else None)
        assert _fault(request, family).code == code


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("AWS AKID:c2lnbmF0dXJl", "InvalidRequest"),
        ("AWS4-ECDSA-P256-SHA256 Credential=a/b/s3/aws4_request", "InvalidRequest"),
        ("Bearer very-secret", "InvalidArgument"),
        ("very-secret", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
def test_other_mechanisms_are_refused_without_repeating_them(header: str, code: str) -> None:
    request = HttpRequest(method="GET", path="/", headers=Headers([("authorization", header)]))
    fault = _fault(request, Family.S3)
    assert (fault.code, fault.status) == (code, 400)
    other = _fault(request, Family.JSON)
    assert other.code == "IncompleteSignatureException"
    assert "secret" not in f"{fault} {fault.fields} {other} {other.fields}"


@pytest.mark.parametrize("family", list(Family))
def test_signature_version_2_in_the_query_is_not_read_here(family: Family) -> None:
    request = HttpRequest(method="GET", path="/b/k", query="AWSAccessKeyId=A&Signature=x&Expires=1")
    assert _fault(request, family).code.startswith("InvalidRequest" if family is Family.S3 else "IncompleteSignature")


def test_two_mechanisms_are_one_too_many() -> None:
    request = _make(Family.S3, "s3")
    doubled = replace(request, query="X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert _fault(doubled, Family.S3).message.startswith("Only one auth mechanism allowed")
    twice = replace(request, headers=Headers([*request.headers, ("authorization", "Bearer x")]))
    assert _fault(twice, Family.S3).code == "InvalidArgument"


def _presigned(expires: int = 60, extra: tuple[tuple[str, str], ...] = ()) -> HttpRequest:
    def presigner(credentials: Credentials, name: str, region: str) -> Any:
        return S3SigV4QueryAuth(credentials, name, region, expires=expires)

    request = _signed(presigner, "s3", _request("GET", "/b/k", "", [], b""))
    return replace(request, headers=Headers([*request.headers, *extra]))


def test_presigned_urls_expire() -> None:
    request = _presigned(60)
    authorization = parse_authorization(request, Family.S3)
    assert authorization is not None
    fault = _fault(request, Family.S3, authorization.time + timedelta(seconds=61))
    assert (fault.code, fault.status, fault.message) == ("AccessDenied", 403, "Request has expired")
    assert fault.fields["X-Amz-Expires"] == "60"
    assert fault.fields["Expires"] == f"{authorization.time + timedelta(seconds=60):%Y-%m-%dT%H:%M:%SZ}"
    fault = _fault(request, Family.S3, authorization.time - timedelta(minutes=16))
    assert fault.message == "Request is not yet valid"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda q: q.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"), "X-Amz-Expires must be less than a week"),
        (lambda q: q.replace("X-Amz-Expires=60", "X-Amz-Expires=-1"), "X-Amz-Expires must be non-negative"),
        (lambda q: q.replace("X-Amz-Expires=60", "X-Amz-Expires=1e3"), "X-Amz-Expires should be a number"),
        (lambda q: q.replace("&X-Amz-Expires=60", ""), "Query-string authentication version 4 requires"),
        (lambda q: q.replace("X-Amz-Date=2", "X-Amz-Date=x"), "X-Amz-Date must be in the ISO8601 Long Format"),
        (lambda q: q.replace("%2Faws4_request", ""), "Error parsing the X-Amz-Credential parameter"),
    ],
)
def test_malformed_presigned_urls(edit: Callable[[str], str], message: str) -> None:
    request = _presigned(60)
    fault = _fault(replace(request, query=edit(request.query)), Family.S3)
    assert (fault.code, fault.status) == ("AuthorizationQueryParametersError", 400)
    assert fault.message.startswith(message)


def test_a_presigned_url_does_not_let_its_bearer_add_x_amz_headers() -> None:
    request = _presigned(60, (("x-amz-meta-a", "b"),))
    with pytest.raises(ServiceFault, match="not signed"):
        _verify(request, b"", Family.S3)


def test_s3_insists_on_a_payload_hash() -> None:
    request = _change_header(_make(Family.S3, "s3"), "x-amz-content-sha256", None)
    assert "x-amz-content-sha256" in _fault(request, Family.S3).message
    request = _change_header(_make(Family.S3, "s3"), "x-amz-content-sha256", lambda _: "sha256")
    assert _fault(request, Family.S3).code == "InvalidArgument"


def test_families_follow_protocols() -> None:
    assert family_of("s3", "rest-xml") is Family.S3
    assert family_of("cloudfront", "rest-xml") is Family.QUERY
    assert family_of("sts", "query") is Family.QUERY
    assert family_of("cloudtrail", "json") is Family.JSON
    assert family_of("lambda", "rest-json") is Family.REST_JSON


def test_the_words_for_unknown_keys_and_tokens() -> None:
    codes = {family: unknown_key(family, "AKID").code for family in Family}
    assert codes == {
        Family.S3: "InvalidAccessKeyId",
        Family.QUERY: "InvalidClientTokenId",
        Family.EC2: "AuthFailure",
        Family.JSON: "UnrecognizedClientException",
        Family.REST_JSON: "UnrecognizedClientException",
    }
    assert missing_token(Family.QUERY).code == "MissingAuthenticationToken"
    assert missing_token(Family.S3).message == "Access Denied"
    assert expired_token(Family.JSON).code == "ExpiredTokenException"
    assert invalid_token(Family.S3).code == "InvalidToken"
    assert wrong_region(Family.S3, "us-east-1", "eu-west-1").fields == {"Region": "eu-west-1"}
