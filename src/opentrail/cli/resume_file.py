"""The resume file: what an interrupted ``opentrail verify`` leaves, and ``--resume`` goes on from.

Rules: it says what was found, so it is believed as the result itself is: only where this user alone can have written
it.  Whoever can write it could let a damaged trail pass.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentrail.core.errors import ConfigError, FormatError, StoreError

if TYPE_CHECKING:  # `opentrail verify --help` must not wait for it
    from opentrail.verification.checkpoint import Checkpoint

DEFAULT_NAME: Final = "opentrail-verify.resume"
_MAX_BYTES: Final = 256 * 1024 * 1024


def read_checkpoint(path: Path) -> Checkpoint:
    """How far the interrupted run came.  Raises ``ConfigError``."""
    from opentrail.verification.checkpoint import decode_checkpoint  # noqa: PLC0415  only for --resume
    from opentrail.verification.own_file import read_own  # noqa: PLC0415  the same

    try:
        data = read_own(path, most=_MAX_BYTES, with_folder=False)
    except FileNotFoundError as error:
        raise ConfigError(f"--resume: {path}: {error.strerror}; nothing was interrupted here") from None
    except PermissionError as error:
        why = "what it says is believed, so it must be yours, and writable by nobody else"
        raise ConfigError(f"--resume: {path}: {error.strerror}; {why}") from None
    except OSError as error:
        raise ConfigError(f"--resume: {path}: {error.strerror}") from None
    try:
        return decode_checkpoint(data)
    except FormatError as error:
        raise ConfigError(f"--resume: {path}: {error}") from None


def leave_checkpoint(path: Path, checkpoint: Checkpoint, how: str) -> str:
    """Write the resume file, if there is anything to go on from; its name, or "".  ``how`` the run ended."""
    from opentrail.verification.checkpoint import encode_checkpoint  # noqa: PLC0415  only where a run ends early
    from opentrail.verification.output_file import replaced  # noqa: PLC0415  the same

    if not checkpoint.finished and not checkpoint.partial:
        print(f"opentrail verify: {how}, before there was anything to go on from", file=sys.stderr)
        return ""
    try:
        with replaced(path) as file:
            file.write(encode_checkpoint(checkpoint))
    except StoreError as error:  # what ended it is to be told, not this
        print(f"opentrail verify: {how}; it cannot go on later: {error}", file=sys.stderr)
        return ""
    print(f"opentrail verify: {how}; the same command with --resume goes on ({path})", file=sys.stderr)
    return str(path)
