"""Files that are whole or not there: what a command writes for its user."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from opentrail.core.errors import ConfigError, StoreError


@contextmanager
def replaced(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A file to write (its ``name`` is a path) that becomes ``path`` at the end of the block, durably.

    After an exception nothing is left of it.  Raises ``ConfigError`` where ``path`` is taken and may not be,
    ``StoreError`` when the disk fails.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # The name is known before the file is there: an interrupt at any moment removes it.
        with temporary.open("x+b") as file:
            os.fchmod(file.fileno(), 0o600)  # log files are for few eyes
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not overwrite and path.exists():
            raise ConfigError(f"{path} is there already: --force replaces it")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}", retryable=False) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
