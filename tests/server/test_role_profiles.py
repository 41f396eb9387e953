"""Profiles of the unmodified AWS CLI and boto3 that assume roles by themselves, with nothing but an endpoint's URL."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from opentrail.testing.aws_cli import warm_aws
from opentrail.testing.openid_issuer import OpenIdIssuer, run_openid_issuer

AUDIENCE = "sts.amazonaws.com"
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdIssuer]:
    with run_openid_issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture(scope="module")
def environment(server: Any, issuer: OpenIdIssuer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a user whose configuration has the profiles ``reader``, ``chained``, ``build``, ``stranger``."""
    iam = server.client("iam")
    account = server.client("sts").get_caller_identity()["Account"]
    provider = iam.create_open_id_connect_provider(
        Url=issuer.url, ClientIDList=[AUDIENCE], ThumbprintList=[issuer.thumbprint]
    )["OpenIDConnectProviderArn"]

    def role(name: str, principal: dict[str, str], action: str = "sts:AssumeRole", **condition: Any) -> str:
        statement = {"Effect": "Allow", "Principal": principal, "Action": action, "Condition": condition}
        trust = json.dumps({"Version": "2012-10-17", "Statement": statement})
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, MaxSessionDuration=7200)["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=EVERYTHING)
        return str(arn)

    iam.create_user(UserName="alice")
    iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=EVERYTHING)
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    reader = role("Reader", {"AWS": account}, StringEquals={"sts:ExternalId": "the-id"})
    chained = role("Chained", {"AWS": reader})
    build = role("Build", {"Federated": provider}, "sts:AssumeRoleWithWebIdentity")

    folder = tmp_path_factory.mktemp("aws")
    (folder / "token").write_text(issuer.token(issuer.claims(datetime.now(UTC))))
    (folder / "credentials").write_text(
        f"[alice]\naws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
    )
    (folder / "config").write_text(
        f"[profile reader]\nrole_arn = {reader}\nsource_profile = alice\nexternal_id = the-id\n"
        "role_session_name = me\nduration_seconds = 7200\n"
        f"[profile chained]\nrole_arn = {chained}\nsource_profile = reader\nrole_session_name = further\n"
        f"[profile build]\nrole_arn = {build}\nweb_identity_token_file = {folder / 'token'}\n"
        "role_session_name = job\n"
        f"[profile stranger]\nrole_arn = {reader}\nsource_profile = alice\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_ENDPOINT_URL": server.url,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "HOME": str(folder),
    }


@pytest.fixture(scope="module", params=["newest", "old"])
def aws(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Callable[..., Any]]:
    with warm_aws(request.param) as path:

        def run(profile: str, *words: str) -> subprocess.CompletedProcess[str]:
            command = [str(path), "--profile", profile, *words]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

        yield run


@pytest.mark.parametrize(
    ("profile", "session"),
    [("reader", "Reader/me"), ("chained", "Chained/further"), ("build", "Build/job")],
)
def test_the_command_line_becomes_the_role(aws: Callable[..., Any], profile: str, session: str) -> None:
    done = aws(profile, "sts", "get-caller-identity", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Arn"].endswith(f":assumed-role/{session}")
    done = aws(profile, "s3", "ls")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_tells_a_refusal(aws: Callable[..., Any]) -> None:
    done = aws("stranger", "sts", "get-caller-identity")
    assert done.returncode != 0
    assert "(AccessDenied) when calling the AssumeRole operation" in done.stderr


def test_boto3_becomes_the_role(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for profile, session in (("chained", "Chained/further"), ("build", "Build/job")):
        client = boto3.Session(profile_name=profile).client("sts")
        server.clients.append(client)
        assert client.get_caller_identity()["Arn"].endswith(f":assumed-role/{session}")
    assert Path(environment["AWS_CONFIG_FILE"]).with_name("token").read_text() not in server.log
