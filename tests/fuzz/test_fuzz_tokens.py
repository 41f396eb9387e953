"""Whatever is sent as a session's token, or as a web identity's, is answered by the rules of ``testing.front_door``."""

from __future__ import annotations

import json
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.server.config import Settings
from opentrail.testing.front_door import FrontDoorOracle, error_code
from opentrail.testing.local_endpoint import Key, LocalEndpoint, LocalRequest, run_local_endpoint

ACCOUNT = "123456789012"
ISSUER = "https://127.0.0.1:1"  # nobody answers there
FORM = [("content-type", "application/x-www-form-urlencoded")]
EXAMPLES = 40 if not os.environ.get("OPENTRAIL_LONG") else 2000
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

header_text = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f\xa0"), max_size=300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
claim_names = st.sampled_from(
    ["iss", "aud", "azp", "sub", "exp", "iat", "nbf", "amr", "https://aws.amazon.com/tags", "alg", "kid", "crit", "b64"]
)
objects = st.dictionaries(claim_names, json_values | st.sampled_from([ISSUER, "RS256", "ES256", "none"]), max_size=8)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    folder = tmp_path_factory.mktemp("fuzz")
    with run_local_endpoint(Settings(data_dir=folder / "data", account_id=ACCOUNT)) as running:
        yield running


def call(endpoint: LocalEndpoint, service: str, version: str, **parameters: str) -> str:
    body = urlencode({"Version": version, **parameters}).encode()
    request = LocalRequest(method="POST", target="/", headers=FORM, body=body)
    answer = endpoint.send(request.signed(endpoint.key, service, "us-east-1"))
    assert answer.status == 200, answer.body
    return answer.body.decode()


def test_session_tokens(endpoint: LocalEndpoint) -> None:
    answer = call(endpoint, "sts", "2011-06-15", Action="GetSessionToken")
    key_id, secret, token = re.findall("<(?:AccessKeyId|SecretAccessKey|SessionToken)>([^<]+)<", answer)
    key = Key(id=key_id, secret=secret)
    oracle = FrontDoorOracle(endpoint)
    near = st.builds(
        lambda at, text, cut: token[:at] + text + token[at + cut :],
        st.integers(0, len(token)),
        header_text,
        st.integers(0, 8),
    )

    @given(header_text | near, st.sampled_from(["sts", "s3"]))
    @SETTINGS
    def run(sent: str, service: str) -> None:
        headers = [*FORM, ("x-amz-security-token", sent)]
        body = b"Action=GetCallerIdentity&Version=2011-06-15" if service == "sts" else b""
        request = LocalRequest(method="POST" if body else "GET", target="/", headers=headers, body=body)
        answer = oracle.check(request.signed(key, service, "us-east-1"), proven=sent == token)
        assert (answer.status == 200) is (sent == token)

    run()


def test_web_identity_tokens(endpoint: LocalEndpoint) -> None:
    policy = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/127.0.0.1:1"},
                "Action": "sts:AssumeRoleWithWebIdentity",
            },
        }
    )
    call(endpoint, "iam", "2010-05-08", Action="CreateOpenIDConnectProvider", Url=ISSUER)
    call(endpoint, "iam", "2010-05-08", Action="CreateRole", RoleName="Role", AssumeRolePolicyDocument=policy)
    oracle = FrontDoorOracle(endpoint)

    def encoded(value: object) -> str:
        return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    made = st.builds(
        lambda head, body, end: f"{encoded(head)}.{encoded(body)}.{end}",
        objects | json_values,
        objects | json_values,
        st.from_regex("[A-Za-z0-9_-]{0,20}", fullmatch=True),
    )

    @given(st.text(min_size=4, max_size=100) | made)
    @SETTINGS
    def run(token: str) -> None:
        parameters = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/Role",
            "RoleSessionName": "session",
            "WebIdentityToken": token,
        }
        body = urlencode(parameters, errors="replace").encode()
        headers = [("host", "127.0.0.1:4577"), *FORM]
        answer = oracle.check(LocalRequest(method="POST", target="/", headers=headers, body=body), proven=True)
        assert error_code(answer) in {"InvalidIdentityToken", "IDPCommunicationError", "ValidationError"}

    run()
