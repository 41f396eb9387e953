"""AssumeRoleWithWebIdentity against an issuer on this machine: which tokens are good, what becomes of the others."""

from __future__ import annotations

import json
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.exceptions import ClientError

from opentrail.core.errors import FormatError, StorageError
from opentrail.server import openid_keys
from opentrail.server.openid_keys import (
    KEPT_SECONDS,
    MAX_ANSWER_BYTES,
    PATIENCE_SECONDS,
    OpenIdKeys,
    fetch_document,
)
from opentrail.testing.clock import FakeClock
from opentrail.testing.openid_issuer import OpenIdIssuer, run_openid_issuer

AUDIENCE = "sts.amazonaws.com"
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.fixture(scope="module")
def issuer_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdIssuer]:
    with run_openid_issuer(tmp_path_factory.mktemp("issuer")) as issuer:
        yield issuer


@pytest.fixture
def issuer(issuer_of_module: OpenIdIssuer) -> OpenIdIssuer:
    issuer_of_module.publish()
    issuer_of_module.asked.clear()
    return issuer_of_module


class Federation:
    """An account that trusts the issuer's tokens with a role of its own."""

    def __init__(self, local: Any, issuer: OpenIdIssuer) -> None:
        self.local = local
        self.issuer = issuer
        self.iam = local.client("iam")
        self.provider = self.iam.create_open_id_connect_provider(
            Url=issuer.url, ClientIDList=[AUDIENCE], ThumbprintList=[issuer.thumbprint]
        )["OpenIDConnectProviderArn"]
        self.account = self.provider.split(":")[4]
        self.role = self.make_role("Deployer", {"StringLike": {f"{issuer.name}:sub": "repo:example/*"}})

    def make_role(self, name: str, condition: Mapping[str, Any], *actions: str) -> str:
        statement = {
            "Effect": "Allow",
            "Principal": {"Federated": self.provider},
            "Action": ["sts:AssumeRoleWithWebIdentity", *actions],
            "Condition": condition,
        }
        made = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(statement))
        self.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(ALLOW_ALL))
        return str(made["Role"]["Arn"])

    def token(self, **claims: Any) -> str:
        return self.issuer.token(self.issuer.claims(datetime.now(UTC), **claims))

    def assume(self, token: str, **parameters: Any) -> Any:
        """What the role's bearer is answered; the client has no credentials."""
        client = self.local.client("sts")
        call = {"RoleArn": self.role, "RoleSessionName": "build-1", "WebIdentityToken": token, **parameters}
        return client.assume_role_with_web_identity(**call)

    def refusal(self, token: str, **parameters: Any) -> tuple[str, str]:
        with pytest.raises(ClientError) as caught:
            self.assume(token, **parameters)
        error = caught.value.response["Error"]
        return str(error["Code"]), str(error["Message"])

    def key(self, answer: Mapping[str, Any]) -> Any:
        made = answer["Credentials"]
        make = type(self.local.key)
        return make(id=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"])


@pytest.fixture
def federation(local: Any, issuer: OpenIdIssuer) -> Federation:
    return Federation(local, issuer)


@pytest.mark.parametrize("elliptic", [False, True])
def test_a_good_token_gets_a_session_and_a_record(federation: Federation, elliptic: bool) -> None:
    issuer = federation.issuer
    issuer.add_key("chosen", elliptic=elliptic)
    issuer.publish()
    claims = issuer.claims(datetime.now(UTC))
    token = issuer.token(claims, key_id="chosen")
    answer = federation.assume(token)
    assert answer["SubjectFromWebIdentityToken"] == claims["sub"]
    assert (answer["Audience"], answer["Provider"]) == (AUDIENCE, federation.provider)
    arn = f"arn:aws:sts::{federation.account}:assumed-role/Deployer/build-1"
    assert answer["AssumedRoleUser"]["Arn"] == arn
    record = federation.local.records()[-1]
    assert record["userIdentity"] == {
        "type": "WebIdentityUser",
        "principalId": f"{federation.provider}:{AUDIENCE}:{claims['sub']}",
        "userName": claims["sub"],
        "identityProvider": federation.provider,
    }
    assert record["recipientAccountId"] == federation.account
    assert record["eventName"] == "AssumeRoleWithWebIdentity"
    assert record["requestParameters"] == {"roleArn": federation.role, "roleSessionName": "build-1"}
    assert record["resources"][0]["ARN"] == federation.role
    assert record["responseElements"]["subjectFromWebIdentityToken"] == claims["sub"]

    session = federation.key(answer)
    federation.local.client("s3", session).list_buckets()
    listed = federation.local.records()[-1]
    context = next(
        each["userIdentity"]["sessionContext"]
        for each in (listed, *federation.local.records())
        if each["eventName"] == "ListBuckets"
    )
    assert context["webIdFederationData"] == {
        "federatedProvider": federation.provider,
        "attributes": {f"{issuer.name}:aud": AUDIENCE, f"{issuer.name}:sub": claims["sub"]},
    }
    journal = b"".join(bytes(entry.payload) for entry in federation.local.entries())
    for secret in (token, token.rpartition(".")[2], session.secret):
        assert secret.encode() not in journal


def test_a_session_keeps_its_tokens_condition_keys(federation: Federation) -> None:
    name = federation.issuer.name
    pairs = {
        f"{name}:sub": "repo:example/app:ref:main",
        f"{name}:aud": AUDIENCE,
        "aws:FederatedProvider": federation.provider,
    }
    conditional = {**ALLOW_ALL, "Condition": {"StringEquals": pairs}}
    federation.iam.put_role_policy(RoleName="Deployer", PolicyName="p", PolicyDocument=document(conditional))
    session = federation.key(federation.assume(federation.token()))
    federation.local.client("s3", session).list_buckets()
    other = federation.key(federation.assume(federation.token(sub="repo:example/other")))
    with pytest.raises(ClientError, match="AccessDenied"):
        federation.local.client("s3", other).list_buckets()


def test_whom_the_trust_policy_does_not_mean_is_denied_and_recorded(federation: Federation) -> None:
    code, _ = federation.refusal(federation.token(sub="repo:mallory/app"))
    assert code == "AccessDenied"
    record = federation.local.records()[-1]
    assert (record["errorCode"], record["recipientAccountId"]) == ("AccessDenied", federation.account)
    assert record["userIdentity"]["userName"] == "repo:mallory/app"
    only_users = document(
        {"Effect": "Allow", "Principal": {"AWS": federation.account}, "Action": "sts:AssumeRoleWithWebIdentity"}
    )
    federation.iam.update_assume_role_policy(RoleName="Deployer", PolicyDocument=only_users)
    assert federation.refusal(federation.token())[0] == "AccessDenied"
    missing = f"arn:aws:iam::{federation.account}:role/Missing"
    assert federation.refusal(federation.token(), RoleArn=missing)[0] == "AccessDenied"


SOON, LATE = 10_000, 100_000_000_000
BAD_CLAIMS: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"iss": "https://issuer.example.com"}, "InvalidIdentityToken", "No OpenIDConnect provider found in your account"),
    ({"iss": None}, "InvalidIdentityToken", "Missing a required claim: iss"),
    ({"iss": 5}, "InvalidIdentityToken", "Missing a required claim: iss"),
    ({"aud": "another"}, "InvalidIdentityToken", "Incorrect token audience"),
    ({"aud": None}, "InvalidIdentityToken", "Incorrect token audience"),
    ({"aud": ["a", {"b": AUDIENCE}]}, "InvalidIdentityToken", "Incorrect token audience"),
    ({"azp": "another"}, "InvalidIdentityToken", "Incorrect token audience"),
    ({"sub": None}, "InvalidIdentityToken", "Missing a required claim: sub"),
    ({"sub": ["list"]}, "InvalidIdentityToken", "Missing a required claim: sub"),
    ({"sub": "a" * 256}, "InvalidIdentityToken", "Missing a required claim: sub"),
    ({"sub": "bell\x07"}, "InvalidIdentityToken", "Missing a required claim: sub"),
    ({"exp": SOON}, "ExpiredTokenException", "Token expired: current date/time"),
    ({"exp": None}, "InvalidIdentityToken", "Missing a required claim: exp"),
    ({"exp": "tomorrow"}, "InvalidIdentityToken", "The claim exp is not a time"),
    ({"exp": True}, "InvalidIdentityToken", "The claim exp is not a time"),
    ({"iat": None}, "InvalidIdentityToken", "Missing a required claim: iat"),
    ({"iat": LATE}, "InvalidIdentityToken", "The token is not valid yet"),
    ({"nbf": LATE}, "InvalidIdentityToken", "The token is not valid yet"),
    ({"https://aws.amazon.com/source_identity": "no spaces"}, "IDPRejectedClaim", "source_identity"),
    ({"https://aws.amazon.com/tags": {"principal_tags": {"k": ["1", "2"]}}}, "IDPRejectedClaim", "principal_tags"),
    ({"https://aws.amazon.com/tags": {"principal_tags": ["k"]}}, "IDPRejectedClaim", "principal_tags"),
    ({"https://aws.amazon.com/tags": {"principal_tags": {"k*": ["1"]}}}, "IDPRejectedClaim", "tags.1.member.key"),
    ({"https://aws.amazon.com/tags/transitive_tag_keys": ["k"]}, "IDPRejectedClaim", "transitive"),
)  # fmt: skip


def test_tokens_whose_claims_do_not_hold_are_refused(federation: Federation) -> None:
    for claims, code, message in BAD_CLAIMS:
        found = federation.refusal(federation.token(**claims))
        assert (found[0], message in found[1]) == (code, True), (claims, found)
        record = federation.local.records()[-1]
        assert record["recipientAccountId"] == federation.account
        assert record["userIdentity"]["type"] == "AWSAccount"  # nobody was proven


def test_an_authorized_party_is_the_audience(federation: Federation) -> None:
    answer = federation.assume(federation.token(azp=AUDIENCE, aud=["api", "web"]))
    assert answer["Audience"] == AUDIENCE
    federation.assume(federation.token(aud=["api", AUDIENCE]))


def test_tokens_that_are_not_signed_by_the_issuer_are_refused(federation: Federation) -> None:
    issuer = federation.issuer
    good = federation.token()
    head, body, signature = good.split(".")
    issuer.keys["unpublished"] = issuer.keys["first"]
    issuer.add_key("stolen name")
    claims = issuer.claims(datetime.now(UTC))
    forged = issuer.token(claims, key_id="stolen name", header={"kid": "first"})
    del issuer.keys["unpublished"], issuer.keys["stolen name"]

    def encoded(value: object) -> str:
        return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    other_body = encoded({**claims, "sub": "repo:example/admin"})
    tokens = {
        "forged": forged,
        "another body": f"{head}.{other_body}.{signature}",
        "no signature": f"{head}.{body}.",
        "none": f"{encoded({'alg': 'none'})}.{body}.",
        "symmetric": f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{body}.{signature}",
        "another algorithm": f"{encoded({'alg': 'ES256', 'kid': 'first'})}.{body}.{signature}",
        "PSS": f"{encoded({'alg': 'PS256', 'kid': 'first'})}.{body}.{signature}",
        "odd algorithm": f"{encoded({'alg': ['RS256'], 'kid': 'first'})}.{body}.{signature}",
        "odd key": f"{encoded({'alg': 'RS256', 'kid': {'a': 1}})}.{body}.{signature}",
        "a key of its own": f"{encoded({'alg': 'RS256', 'jwk': {'kty': 'oct', 'k': 'AA'}})}.{body}.{signature}",
        "critical": f"{encoded({'alg': 'RS256', 'kid': 'first', 'crit': ['x'], 'x': 1})}.{body}.{signature}",
        "cut": good[:-10],
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "no JSON": f"{head}.AAAA.{signature}",
        "a list": f"{head}.{encoded([1])}.{signature}",
        "text": "this is no token",
        "dots": "....",
        "unicode": "ü.ü.ü",
    }
    for name, token in tokens.items():
        code, message = federation.refusal(token)
        assert code == "InvalidIdentityToken", (name, code, message)
    federation.assume(good)


def test_an_issuer_that_cannot_be_used_is_told(federation: Federation) -> None:
    issuer, iam = federation.issuer, federation.iam
    iam.update_open_id_connect_provider_thumbprint(
        OpenIDConnectProviderArn=federation.provider, ThumbprintList=["0" * 40]
    )
    code, message = federation.refusal(federation.token())
    assert (code, "certificate" in message) == ("InvalidIdentityToken", True)
    dead = "https://127.0.0.1:1"
    iam.create_open_id_connect_provider(Url=dead, ClientIDList=[AUDIENCE], ThumbprintList=[issuer.thumbprint])
    refusal = federation.refusal(federation.token(iss=dead))
    assert refusal == ("IDPCommunicationError", "The identity provider could not be reached"), "and no word on why"


def test_tokens_may_ask_for_tags_and_a_source_identity(federation: Federation) -> None:
    claims = {
        "https://aws.amazon.com/tags": {"principal_tags": {"Team": ["Blue"]}, "transitive_tag_keys": ["Team"]},
        "https://aws.amazon.com/source_identity": "alice",
    }
    assert federation.refusal(federation.token(**claims))[0] == "AccessDenied"
    tagged = {"StringEquals": {"aws:RequestTag/Team": "Blue", "sts:SourceIdentity": "alice"}}
    role = federation.make_role("Tagged", tagged, "sts:TagSession", "sts:SetSourceIdentity")
    answer = federation.assume(federation.token(**claims), RoleArn=role)
    assert (answer["SourceIdentity"], answer["PackedPolicySize"] > 0) == ("alice", True)
    flat = {
        "https://aws.amazon.com/tags/principal_tags/Team": "Blue",
        "https://aws.amazon.com/source_identity": "alice",
    }
    session = federation.key(federation.assume(federation.token(**flat), RoleArn=role))
    only_blue = {**ALLOW_ALL, "Condition": {"StringEquals": {"aws:PrincipalTag/Team": "Blue"}}}
    federation.iam.put_role_policy(RoleName="Tagged", PolicyName="p", PolicyDocument=document(only_blue))
    federation.local.client("s3", session).list_buckets()


def test_the_issuer_is_asked_once_for_many_tokens(federation: Federation) -> None:
    for _ in range(5):
        federation.assume(federation.token())
    assert federation.issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_the_call_needs_no_signature_and_every_other_one_does(federation: Federation) -> None:
    local = federation.local

    def send(method: str, target: str, form: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        headers = [(b"host", b"127.0.0.1:4577")]
        if form is not None:
            headers.append((b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"))
        status, _, body = local.send(method, target, headers, urlencode(form).encode() if form is not None else b"")
        return status, body

    call = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": federation.role}
    whole = {**call, "RoleSessionName": "build-1", "WebIdentityToken": federation.token()}
    assert send("POST", "/", whole)[0] == 200
    assert send("GET", f"/?{urlencode(whole)}")[0] == 200
    status, body = send("POST", "/", call)
    assert (status, b"ValidationError" in body) == (400, True)
    for action in ("GetCallerIdentity", "AssumeRole", "NoSuchAction", "ListUsers"):
        before = local.journal.end
        status, body = send("POST", "/", {"Action": action, "Version": "2011-06-15"})
        assert (status, b"MissingAuthenticationToken" in body) == (403, True), body
        assert local.journal.end == before
    before = local.journal.end
    far = {**whole, "RoleArn": "arn:aws:iam::999999999999:role/Nowhere", "WebIdentityToken": "x.y.z"}
    assert send("POST", "/", far)[0] == 400
    assert local.journal.end == before, "it turned to nobody's role"


# ----- where keys come from


def ask(keys: OpenIdKeys, url: str, key_id: str, wanted: type[Exception] | None = None) -> list[str]:
    if wanted is not None:
        with pytest.raises(wanted):
            keys.find(url, [], key_id)
        return []
    return [str(key["kid"]) for key in keys.find(url, [], key_id)]


class Web:
    """Documents by URL, to be changed by the test; counts how often it is asked."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.asked = 0

    def fetch(self, url: str, _thumbprints: object, _named_by: str) -> bytes:
        self.asked += 1
        found = self.documents.get(url)
        if found is None:
            raise StorageError("nobody answers", retryable=True)
        return found if isinstance(found, bytes) else json.dumps(found).encode()

    def publish(self, url: str, *key_ids: str) -> None:
        self.documents[f"{url}/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        self.documents[f"{url}/keys"] = {"keys": [{"kid": each} for each in key_ids]}


URL = "https://issuer.example.com/realm"


def test_keys_are_kept_and_asked_for_again_when_one_is_missing() -> None:
    web, clock = Web(), FakeClock()
    keys = OpenIdKeys(clock.monotonic, web.fetch)
    web.publish(URL, "a")
    assert ask(keys, URL, "a") == ["a"]
    assert ask(keys, URL, "a") == ["a"]
    assert web.asked == 2
    web.publish(URL, "a", "b")
    assert ask(keys, URL, "b") == ["a"]  # just asked
    clock.advance(PATIENCE_SECONDS)
    assert ask(keys, URL, "b") == ["a", "b"]
    assert web.asked == 4
    clock.advance(KEPT_SECONDS)
    web.publish(URL, "c")
    assert ask(keys, URL, "a") == ["c"]


def test_an_issuer_that_is_away_is_not_asked_at_every_call() -> None:
    web, clock = Web(), FakeClock()
    keys = OpenIdKeys(clock.monotonic, web.fetch)
    for _ in range(3):
        ask(keys, URL, "a", StorageError)
    assert web.asked == 1
    clock.advance(PATIENCE_SECONDS)
    web.publish(URL, "a")
    assert ask(keys, URL, "a") == ["a"]
    web.documents.clear()
    clock.advance(PATIENCE_SECONDS)
    assert ask(keys, URL, "made up") == ["a"], "whoever makes a name up spoils nobody else's keys"
    clock.advance(KEPT_SECONDS)
    ask(keys, URL, "a", StorageError)


@pytest.mark.parametrize(
    ("configuration", "published"),
    [
        (b"no JSON", {}),
        ([], {}),
        ({"issuer": "https://another.example.com", "jwks_uri": f"{URL}/keys"}, {"keys": []}),
        ({"issuer": URL}, {}),
        ({"issuer": URL, "jwks_uri": 5}, {}),
        ({"issuer": URL, "jwks_uri": f"{URL}/keys"}, []),
        ({"issuer": URL, "jwks_uri": f"{URL}/keys"}, {"keys": "none"}),
    ],
)
def test_documents_that_make_no_sense_are_refused(configuration: object, published: object) -> None:
    web = Web()
    web.documents = {f"{URL}/.well-known/openid-configuration": configuration, f"{URL}/keys": published}
    ask(OpenIdKeys(FakeClock().monotonic, web.fetch), URL, "a", FormatError)


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "https://", "https://a b/", "ftp://h/", "https://h:port/x", ""])
def test_nothing_but_https_is_fetched(url: str) -> None:
    with pytest.raises(FormatError):
        fetch_document(url, [])


def test_answers_are_bounded_and_redirects_are_not_followed(issuer: OpenIdIssuer) -> None:
    marks = [issuer.thumbprint.upper()]
    assert json.loads(fetch_document(f"{issuer.url}/keys", marks))["keys"]
    issuer.answers["/large"] = 200, b"x" * (MAX_ANSWER_BYTES + 1)
    with pytest.raises(FormatError, match="at most"):
        fetch_document(f"{issuer.url}/large", marks)
    issuer.answers["/moved"] = 302, b""
    for path in ("/moved", "/missing"):
        with pytest.raises(StorageError):
            fetch_document(f"{issuer.url}{path}", marks)
    with pytest.raises(FormatError, match="certificate"):
        fetch_document(f"{issuer.url}/keys", [])


def resolving(monkeypatch: pytest.MonkeyPatch, hosts: Mapping[str, Sequence[str]]) -> None:
    """Let names have the addresses that ``hosts`` says."""

    def look_up(host: str, port: int, **_options: object) -> list[Any]:
        addresses = hosts.get(host, [host])
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.1.2.3", "fe80::1%1"])
def test_an_issuer_on_the_internet_cannot_send_us_into_a_private_network(
    issuer: OpenIdIssuer, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Also where one of the name's addresses is public; an issuer within may have its keys on another host within."""
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.certificate))
    port = urlsplit(issuer.url).port
    hosts = {"public.example.com": ["93.184.215.14"], "inside.example.com": ["10.0.0.1"]}
    resolving(monkeypatch, {**hosts, "keys.example.com": ["93.184.215.14", address]})
    with pytest.raises(FormatError, match="private network"):
        fetch_document(f"https://keys.example.com:{port}/keys", [], "https://public.example.com/")
    assert issuer.asked == []
    assert json.loads(fetch_document(f"{issuer.url}/keys", [], "https://inside.example.com/"))["keys"]


def test_a_name_with_many_dead_addresses_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them share one patience."""
    monkeypatch.setattr(openid_keys, "TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        resolving(monkeypatch, {"dead.example.com": ["127.0.0.1"] * 50})
        began = time.monotonic()
        with pytest.raises(StorageError):
            fetch_document(f"https://dead.example.com:{port}/keys", [])
        assert time.monotonic() - began < 2


def test_the_system_may_vouch_for_an_issuer_too(issuer: OpenIdIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.certificate))
    assert fetch_document(f"{issuer.url}/keys", [])
