"""Where the judges are: the AWS CLI that is installed, and an older one where the environment names it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def require_aws(version: str) -> Path:
    """The ``aws`` executable: ``newest``, or ``old`` as ``OPENTRAIL_AWSCLI_OLD`` names it; skips without."""
    if version == "old":
        path = os.environ.get("OPENTRAIL_AWSCLI_OLD")
        reason = "OPENTRAIL_AWSCLI_OLD names no aws executable"
    else:
        beside = Path(sys.executable).with_name("aws")
        path = str(beside) if beside.exists() else shutil.which("aws")
        reason = "the AWS CLI is not installed"
    if not path or not Path(path).exists():
        import pytest  # noqa: PLC0415  the benchmarks have none

        pytest.skip(reason)
    return Path(path)


def judge_environment(region: str) -> dict[str, str]:
    """An environment in which the AWS CLI knows nothing of whoever runs it: a made-up key, ``region``, one attempt."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
