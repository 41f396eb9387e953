"""Temporary credentials at the front door: each way to send them, each way in which they are not good, and when."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from opentrail.server.config import Settings
from opentrail.testing.clock import FakeClock
from opentrail.testing.local_endpoint import Key, LocalAnswer, LocalEndpoint, LocalRequest, run_local_endpoint

ACCOUNT = "111111111111"
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def session_key(local: Any, answer: Mapping[str, Any]) -> Any:
    made = answer["Credentials"]
    make = type(local.key)
    return make(id=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"])


def code_of(call: Callable[..., object], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


# ----- what users and root make of their own keys


def test_a_users_session_is_the_user(local: Any) -> None:
    alice = local.new_user("alice", {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"})
    answer = local.client("sts", alice).get_session_token()
    left = answer["Credentials"]["Expiration"] - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < left <= timedelta(hours=12)
    session = session_key(local, answer)
    who = local.client("sts", session).get_caller_identity()
    assert who["Arn"].endswith(":user/alice")
    local.client("s3", session).list_buckets()
    assert code_of(local.client("cloudtrail", session).describe_trails) == "AccessDeniedException"
    record = next(each for each in local.records() if each["eventName"] == "ListBuckets")["userIdentity"]
    assert (record["type"], record["userName"], record["accessKeyId"]) == ("IAMUser", "alice", session.id)
    assert set(record["sessionContext"]) == {"attributes"}
    local.client("iam").update_user(UserName="alice", NewUserName="bob")
    assert local.client("sts", session).get_caller_identity()["Arn"].endswith(":user/bob")


def test_a_users_session_makes_no_sessions_and_does_not_touch_iam(local: Any) -> None:
    alice = local.new_user("alice", ALLOW_ALL)
    session = session_key(local, local.client("sts", alice).get_session_token(DurationSeconds=900))
    sts = local.client("sts", session)
    for call, parameters in (
        (sts.get_session_token, {}),
        (sts.get_federation_token, {"Name": "bob"}),
        (sts.get_access_key_info, {"AccessKeyId": session.id}),
    ):
        assert code_of(call, **parameters) == "AccessDenied"
    assert code_of(local.client("iam", session).list_users) == "InvalidClientTokenId"
    record = local.records()[-1]
    assert (record["eventName"], record["errorCode"]) == ("ListUsers", "InvalidClientTokenId")
    account = sts.get_caller_identity()["Account"]
    principal = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    role = local.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=document(principal))["Role"]["Arn"]
    assumed = session_key(local, sts.assume_role(RoleArn=role, RoleSessionName="session"))
    assert code_of(local.client("sts", assumed).get_session_token) == "AccessDenied"
    assert code_of(local.client("sts", assumed).get_federation_token, Name="bob") == "AccessDenied"


def test_no_policy_keeps_a_user_from_its_own_session(local: Any) -> None:
    nobody = local.new_user("nobody", {"Effect": "Deny", "Action": "*", "Resource": "*"})
    session = session_key(local, local.client("sts", nobody).get_session_token())
    local.client("sts", session).get_caller_identity()
    assert code_of(local.client("s3", session).list_buckets) == "AccessDenied"


def test_roots_session_is_root_for_an_hour(local: Any) -> None:
    answer = local.client("sts").get_session_token(DurationSeconds=7200)
    assert answer["Credentials"]["Expiration"] - datetime.now(UTC) <= timedelta(hours=1)
    session = session_key(local, answer)
    assert local.client("sts", session).get_caller_identity()["Arn"].endswith(":root")
    local.client("s3", session).create_bucket(Bucket="bucket-of-root")
    assert local.records()[-1]["userIdentity"]["type"] == "Root"
    assert code_of(local.client("iam", session).list_users) == "InvalidClientTokenId"


def test_a_federated_user_may_do_what_its_user_and_its_session_policy_allow(local: Any) -> None:
    alice = local.new_user("alice", {"Effect": "Allow", "Action": ["s3:*", "sts:*", "iam:*"], "Resource": "*"})
    sts = local.client("sts", alice)
    answer = sts.get_federation_token(Name="bob", Policy=document(ALLOW_ALL), Tags=[{"Key": "Team", "Value": "Blue"}])
    account = sts.get_caller_identity()["Account"]
    arn = f"arn:aws:sts::{account}:federated-user/bob"
    assert answer["FederatedUser"] == {"FederatedUserId": f"{account}:bob", "Arn": arn}
    assert answer["PackedPolicySize"] >= 1
    bob = session_key(local, answer)
    assert local.client("sts", bob).get_caller_identity()["Arn"] == arn
    local.client("s3", bob).list_buckets()
    assert code_of(local.client("cloudtrail", bob).describe_trails) == "AccessDeniedException"
    assert code_of(local.client("iam", bob).list_users) == "InvalidClientTokenId"
    assert (
        code_of(local.client("sts", bob).assume_role, RoleArn=f"arn:aws:iam::{account}:role/r", RoleSessionName="s2")
        == "AccessDenied"
    )
    record = next(each for each in local.records() if each["eventName"] == "ListBuckets")["userIdentity"]
    issuer = record["sessionContext"]["sessionIssuer"]
    assert (record["type"], record["principalId"], record["arn"]) == ("FederatedUser", f"{account}:bob", arn)
    assert (issuer["type"], issuer["userName"]) == ("IAMUser", "alice")
    assert issuer["principalId"].startswith("AIDA")


def test_a_federated_user_without_a_policy_may_do_nothing(local: Any) -> None:
    alice = local.new_user("alice", ALLOW_ALL)
    bob = session_key(local, local.client("sts", alice).get_federation_token(Name="bob"))
    assert code_of(local.client("s3", bob).list_buckets) == "AccessDenied"
    assert code_of(local.client("sts", local.new_user("other")).get_federation_token, Name="bob") == "AccessDenied"


def test_roots_federated_user_is_limited_by_its_policy_alone(local: Any) -> None:
    only_s3 = document({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    bob = session_key(local, local.client("sts").get_federation_token(Name="bob", Policy=only_s3))
    local.client("s3", bob).list_buckets()
    assert code_of(local.client("cloudtrail", bob).describe_trails) == "AccessDeniedException"
    record = next(each for each in local.records() if each["eventName"] == "ListBuckets")["userIdentity"]
    assert record["sessionContext"]["sessionIssuer"]["type"] == "Root"
    assert "userName" not in record["sessionContext"]["sessionIssuer"]


def test_sessions_end_with_their_user(local: Any) -> None:
    alice = local.new_user("alice", ALLOW_ALL)
    sts = local.client("sts", alice)
    own = session_key(local, sts.get_session_token())
    bob = session_key(local, sts.get_federation_token(Name="bob", Policy=document(ALLOW_ALL)))
    local.client("s3", own).list_buckets()
    iam = local.client("iam")
    iam.delete_access_key(UserName="alice", AccessKeyId=alice.id)
    local.client("s3", own).list_buckets()  # the key is not what the session hangs on
    iam.delete_user_policy(UserName="alice", PolicyName="p")
    assert code_of(local.client("s3", own).list_buckets) == "AccessDenied"
    iam.delete_user(UserName="alice")
    assert code_of(local.client("s3", own).list_buckets) == "InvalidToken"
    assert code_of(local.client("s3", bob).list_buckets) == "InvalidToken"


def test_a_token_can_be_asked_to_be_long(local: Any) -> None:
    sts = local.client("sts")
    answer = sts.get_session_token(MinimumSessionTokenSize=4096)
    assert 4096 <= answer["SessionTokenSize"] == len(answer["Credentials"]["SessionToken"]) < 4100
    assert 0 < answer["SessionTokenUtilization"] <= 100
    assert local.client("sts", session_key(local, answer)).get_caller_identity()["Arn"].endswith(":root")


# ----- questions


def test_a_keys_account_is_told_to_whom_may_ask(local: Any) -> None:
    alice = local.new_user("alice", {"Effect": "Allow", "Action": "sts:GetAccessKeyInfo", "Resource": "*"})
    sts = local.client("sts", alice)
    account = sts.get_caller_identity()["Account"]
    assert sts.get_access_key_info(AccessKeyId=alice.id)["Account"] == account
    assert sts.get_access_key_info(AccessKeyId="ASIAIOSFODNN7EXAMPLE")["Account"].isdigit()
    assert code_of(sts.get_access_key_info, AccessKeyId="ASIA-is-not-base32".replace("-", "0")) == "ValidationError"
    assert (
        code_of(local.client("sts", local.new_user("bob")).get_access_key_info, AccessKeyId=alice.id) == "AccessDenied"
    )


def test_what_is_no_authorization_message_is_told(local: Any) -> None:
    sts = local.client("sts")
    for message in ("x", "abc" * 300, "ünïcode"):
        assert (
            code_of(sts.decode_authorization_message, EncodedMessage=message) == "InvalidAuthorizationMessageException"
        )


# ----- how they are sent


class Timed:
    """An endpoint whose clock the test moves."""

    def __init__(self, endpoint: LocalEndpoint, clock: FakeClock) -> None:
        self.endpoint = endpoint
        self.clock = clock

    def form(self, key: Key, token: str | None, service: str, version: str, **parameters: str) -> LocalAnswer:
        """The answer to a call of the query protocol."""
        headers = [("content-type", "application/x-www-form-urlencoded")]
        if token is not None:
            headers.append(("x-amz-security-token", token))
        body = urlencode({"Version": version, **parameters}).encode()
        return self.signed(key, service, LocalRequest(method="POST", target="/", headers=headers, body=body))

    def caller(self, key: Key, token: str | None) -> LocalAnswer:
        return self.form(key, token, "sts", "2011-06-15", Action="GetCallerIdentity")

    def trails(self, key: Key, token: str | None) -> LocalAnswer:
        target = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.DescribeTrails"
        headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")]
        if token is not None:
            headers.append(("x-amz-security-token", token))
        return self.signed(key, "cloudtrail", LocalRequest(method="POST", target="/", headers=headers, body=b"{}"))

    def buckets(self, key: Key, token: str | None) -> LocalAnswer:
        headers = [("x-amz-security-token", token)] if token is not None else []
        return self.signed(key, "s3", LocalRequest(method="GET", target="/", headers=headers))

    def signed(self, key: Key, service: str, request: LocalRequest) -> LocalAnswer:
        return self.endpoint.send(request.signed(key, service, "us-east-1", self.clock.now()))

    def session(self, seconds: int = 3600) -> tuple[Key, str]:
        """A session of root's, which this call begins."""
        answer = self.form(
            self.endpoint.key, None, "sts", "2011-06-15", Action="GetSessionToken", DurationSeconds=str(seconds)
        )
        assert answer.status == 200, answer.body

        def part(name: str) -> str:
            return answer.body.decode().partition(f"<{name}>")[2].partition("<")[0]

        return Key(id=part("AccessKeyId"), secret=part("SecretAccessKey")), part("SessionToken")


@pytest.fixture
def timed(tmp_path: Path) -> Iterator[Timed]:
    clock = FakeClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    with run_local_endpoint(Settings(data_dir=tmp_path / "data", account_id=ACCOUNT), clock.now) as endpoint:
        yield Timed(endpoint, clock)


UNKNOWN_CLIENT = (b"UnrecognizedClientException", 400)
ANSWERS = (  # how to ask; the codes of an expired token, one that is none, and an unknown key
    ("caller", (b"ExpiredToken", 403), (b"InvalidClientTokenId", 403), (b"InvalidClientTokenId", 403)),
    ("trails", (b"ExpiredTokenException", 400), UNKNOWN_CLIENT, UNKNOWN_CLIENT),
    ("buckets", (b"ExpiredToken", 400), (b"InvalidToken", 400), (b"InvalidAccessKeyId", 403)),
)


@pytest.mark.parametrize(("ask", "expired", "_invalid", "_unknown"), ANSWERS)
def test_a_session_ends_at_its_second(
    timed: Timed, ask: str, expired: tuple[bytes, int], _invalid: object, _unknown: object
) -> None:
    key, token = timed.session(900)
    call = getattr(timed, ask)
    assert call(key, token).status == 200
    timed.clock.advance(899.999999)
    assert call(key, token).status == 200
    timed.clock.advance(0.000001)
    answer = call(key, token)
    code, status = expired
    assert answer.status == status
    assert code in answer.body
    assert code + b"Exception" not in answer.body or code.endswith(b"Exception")


@pytest.mark.parametrize(("ask", "_expired", "invalid", "unknown"), ANSWERS)
def test_a_key_and_a_token_go_together(
    timed: Timed, ask: str, _expired: object, invalid: tuple[bytes, int], unknown: tuple[bytes, int]
) -> None:
    key, token = timed.session()
    _, other_token = timed.session()
    call = getattr(timed, ask)
    before = timed.endpoint.journal.end
    root = timed.endpoint.key
    for each_key, each_token, (code, status) in (
        (key, None, unknown),
        (key, "", unknown),
        (key, other_token, invalid),
        (key, token[:-4], invalid),
        (key, token.swapcase(), invalid),
        (key, "x" * 20_000, invalid),
        (root, token, invalid),
        (root, "anything", invalid),
        (Key(id="ASIAIOSFODNN7EXAMPLE", secret="s"), token, invalid),
    ):
        answer = call(each_key, each_token)
        assert (answer.status, code in answer.body) == (status, True), answer.body
        assert token.encode() not in answer.body
    assert timed.endpoint.journal.end == before, "who proves nothing is in nobody's trail"
    wrong = Key(id=key.id, secret="another")
    assert b"SignatureDoesNotMatch" in timed.caller(wrong, token).body
    assert call(key, token).status == 200


def test_a_session_outlives_a_restart(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    settings = Settings(data_dir=tmp_path / "data", account_id=ACCOUNT)
    with run_local_endpoint(settings, clock.now) as endpoint:
        key, token = Timed(endpoint, clock).session()
    with run_local_endpoint(settings, clock.now) as endpoint:
        assert Timed(endpoint, clock).caller(key, token).status == 200


@pytest.mark.parametrize("signer", [S3SigV4QueryAuth, HmacV1QueryAuth])
def test_presigned_urls_of_a_session_work_with_their_token_alone(local: Any, signer: Any) -> None:
    local.client("s3").create_bucket(Bucket="bucket")
    local.client("s3").put_object(Bucket="bucket", Key="key", Body=b"content")
    session = session_key(local, local.client("sts").get_session_token())

    def fetch(token: str) -> tuple[int, bytes]:
        request = AWSRequest("GET", "http://127.0.0.1:4577/bucket/key")
        credentials = Credentials(session.id, session.secret, token or None)
        arguments = ("s3", "us-east-1") if signer is S3SigV4QueryAuth else ()
        signer(credentials, *arguments, expires=60).add_auth(request)
        parts = urlsplit(request.prepare().url)
        status, _, body = local.send("GET", f"{parts.path}?{parts.query}", [(b"host", b"127.0.0.1:4577")])
        return status, body

    assert fetch(session.token) == (200, b"content")
    status, body = fetch("")
    assert (status, b"<Code>InvalidAccessKeyId</Code>" in body) == (403, True)
    status, body = fetch(session.token[:-8] + "AAAAAAA=")
    assert (status, b"<Code>InvalidToken</Code>" in body) == (400, True)
    recorded = json.dumps([each for each in local.records() if each["eventName"] == "GetObject"])
    assert "key" in recorded
    assert session.token not in recorded
    assert quote(session.token, safe="") not in recorded
