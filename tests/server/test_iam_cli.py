"""The AWS CLI and the credential report, the simulator and the account's summary: commands as people type them."""

from __future__ import annotations

import base64
import csv
import io
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opentrail.testing.aws_cli import warm_aws
from opentrail.testing.live_server import LiveServer

Aws = Callable[..., Any]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("live") / "data")
    server.start()
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module", params=["newest", "old"])
def aws(request: pytest.FixtureRequest, live: LiveServer) -> Iterator[Aws]:
    """``aws iam WORDS``: its JSON answer, or its error's text."""
    with warm_aws(request.param) as executable:

        def run(*words: str) -> Any:
            done = live.aws(executable, "iam", *words)
            if done.returncode:
                return done.stderr.strip()
            return json.loads(done.stdout) if done.stdout.strip() else None

        yield run


def test_the_credential_report(aws: Aws, live: LiveServer) -> None:
    missing = aws("get-credential-report")
    if isinstance(missing, str):  # the first CLI of this module
        assert "(ReportNotPresent)" in missing
        assert aws("generate-credential-report")["State"] == "STARTED"
    assert aws("generate-credential-report") == {"State": "COMPLETE"}
    report = aws("get-credential-report")
    assert report["ReportFormat"] == "text/csv"
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(report["Content"]).decode())))
    assert rows[0]["user"] == "<root_account>"
    assert rows[0]["access_key_1_active"] == "true"
    assert live.root_key()["aws_secret_access_key"] not in str(report)


def test_the_simulator(aws: Aws) -> None:
    policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}'
    answer = aws(
        *("simulate-custom-policy", "--policy-input-list", policy, "--action-names", "s3:GetObject", "s3:PutObject"),
        *("--context-entries", "ContextKeyName=aws:username,ContextKeyValues=alice,ContextKeyType=string"),
    )
    assert [result["EvalDecision"] for result in answer["EvaluationResults"]] == ["allowed", "implicitDeny"]
    assert aws("get-context-keys-for-custom-policy", "--policy-input-list", policy) == {"ContextKeyNames": []}


def test_policies_that_aws_manages_can_be_attached_and_read(aws: Aws) -> None:
    name = f"user-{secrets.token_hex(4)}"
    user = aws("create-user", "--user-name", name)["User"]["Arn"]
    arn = "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess"
    aws("attach-user-policy", "--user-name", name, "--policy-arn", arn)
    simulated = aws("simulate-principal-policy", "--policy-source-arn", user, "--action-names", "s3:ListAllMyBuckets")
    (matched,) = simulated["EvaluationResults"][0]["MatchedStatements"]
    assert matched["SourcePolicyId"] == "ViewOnlyAccess"
    details = aws("get-account-authorization-details", "--filter", "AWSManagedPolicy")
    (policy,) = details["Policies"]
    assert (policy["PolicyName"], policy["Path"]) == ("ViewOnlyAccess", "/job-function/")
    assert policy["PolicyVersionList"][0]["Document"]["Statement"][0]["Effect"] == "Allow"
