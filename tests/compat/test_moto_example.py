"""`examples/moto.py`, as a newcomer would run it: a dozen services of moto behind Opentrail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from opentrail.testing.aws_cli import require_aws

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_calls_of_a_dozen_services_are_recorded_and_proven(run_example: Run) -> None:
    require_aws("newest")
    if not Path(sys.executable).with_name("moto_server").exists():
        pytest.skip("moto_server is not installed")
    done = run_example("moto.py")
    assert done.stderr == ""
    services = dict(re.findall(r"^   (\S+)\.amazonaws\.com +(\d+) records?\b", done.stdout, re.MULTILINE))
    assert set(services) >= {"dynamodb", "ec2", "ecr", "events", "kinesis", "kms", "lambda", "logs", "route53"}
    assert set(services) >= {"cloudtrail", "iam", "secretsmanager", "sns", "sqs", "ssm"}
    assert re.search(r"ec2\.amazonaws\.com .*Client\.InvalidInstanceID\.NotFound 1", done.stdout)
    assert re.search(r"secretsmanager\.amazonaws\.com .*AccessDenied 1", done.stdout)
    assert '"imageId": "ami-12c6146b"' in done.stdout
    assert "the secret and the password are in none of them" in done.stdout
    assert "hunter22222" not in done.stdout
    assert re.search(r"(\d+)/\1 digest files valid", done.stdout)
    assert re.search(r"(\d+)/\1 log files valid", done.stdout)
