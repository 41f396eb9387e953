"""The lecture's demonstration: ``examples/cross_account.sh``, as a newcomer would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from opentrail.testing.aws_cli import require_aws

ROOT = Path(__file__).resolve().parents[2]


def test_each_account_reads_its_own_folder_and_nothing_else() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENTRAIL_"))}
    environment |= {"AWS": str(require_aws("newest")), "OPENTRAIL": str(Path(sys.executable).with_name("opentrail"))}
    done = subprocess.run(
        [ROOT / "examples/cross_account.sh"], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert len(re.findall(r"refused: .*InsufficientS3BucketPolicyException", done.stdout)) == 3
    assert len(re.findall(r"refused: .*AccessDenied", done.stdout)) == 8
    assert len(re.findall(r"(\d+)/\1 log files valid", done.stdout)) == 3
    assert done.stdout.endswith("Done: three accounts, one bucket, and each reads only its own.\n")
