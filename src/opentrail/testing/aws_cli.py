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
