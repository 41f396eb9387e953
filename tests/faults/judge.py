"""Runs ``aws cloudtrail validate-logs`` many times in one process; started by the tests, with the AWS CLI's own Python.

Reads a JSON list of ``{"endpoint": URL, "arguments": [...]}``, writes a list of ``{"status", "stdout", "stderr"}``;
with ``--lines`` it reads and writes one of them a line, so that the world can change in between.
Nothing but the AWS CLI is imported: the version under test need not share a venv with Opentrail.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]  # the AWS CLI has no stubs


def _run(endpoint: str, arguments: list[str]) -> dict[str, object]:
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = create_clidriver().main(["cloudtrail", "validate-logs", *arguments])
    return {"status": status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}


if sys.argv[1:] == ["--lines"]:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_run(**json.loads(line))) + "\n")
        sys.stdout.flush()
else:
    json.dump([_run(**case) for case in json.load(sys.stdin)], sys.stdout)
