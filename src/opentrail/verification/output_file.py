"""Files that are whole or not there: what a command writes for its user."""

from __future__ import annotations

import hashlib
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


def check_place(path: Path, option: str) -> None:
    """Make sure, before long work begins, that a file can be written at ``path``, which ``option`` named.

    Raises ``ConfigError``.
    """
    folder = path.parent
    if path.is_dir():
        raise ConfigError(f"{option} {path}: a folder lies there; name a file")
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} {path}: you may not write into the folder {folder}")


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file at ``path``, in hex.  Raises ``StoreError``."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}", retryable=False) from error
