"""The lecture's demonstration: ``examples/cross_account.sh``, as a newcomer would run it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from opentrail.testing.aws_cli import warm_aws

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_each_account_reads_its_own_folder_and_nothing_else(run_example: Run) -> None:
    with warm_aws("newest") as aws:
        done = run_example("cross_account.sh", AWS=str(aws))
    assert done.stderr == ""
    assert len(re.findall(r"refused: .*InsufficientS3BucketPolicyException", done.stdout)) == 3
    assert len(re.findall(r"refused: .*AccessDenied", done.stdout)) == 8
    assert len(re.findall(r"(\d+)/\1 log files valid", done.stdout)) == 3
    assert done.stdout.endswith("Done: three accounts, one bucket, and each reads only its own.\n")
