"""The credentials file of AWS's clients: a profile an access key, for each root user that Opentrail makes.

Rules: a profile is appended and never changed; what a person wrote beside it stays, byte for byte; the file is written
whole or not at all, mode 0600.  Source: AWS CLI user guide, "Configuration and credential file settings".
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from pathlib import Path

from opentrail.core.errors import ConfigError
from opentrail.server.first_start import write_secret_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One access key under its profile's name."""

    name: str
    access_key_id: str
    secret: str = field(repr=False)


def find_profile(path: Path, name: str) -> Profile | None:
    """The profile ``name`` in the file; None where there is none, or no file.

    Raises ``ConfigError`` for a file that cannot be read or is no credentials file.
    """
    parser = configparser.RawConfigParser(default_section="")  # [default] is a profile like any other
    try:
        parser.read_string(_read(path))
    except configparser.Error:
        raise ConfigError(f"--credentials {path}: not a credentials file of AWS's clients") from None
    if not parser.has_section(name):
        return None
    words = parser[name]
    return Profile(
        name=name,
        access_key_id=words.get("aws_access_key_id", ""),
        secret=words.get("aws_secret_access_key", ""),
    )


def add_profile(path: Path, profile: Profile) -> None:
    """Append a profile, whose name must be free, to the file, which is made where it is not there.

    Raises ``ConfigError`` for a file that cannot be written.
    """
    before = _read(path)
    space = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    text = (
        f"[{profile.name}]\n"
        f"aws_access_key_id = {profile.access_key_id}\n"
        f"aws_secret_access_key = {profile.secret}\n"
        "region = us-east-1\n"
    )
    try:
        write_secret_file(path.resolve(), (before + space + text).encode())
    except OSError as error:
        raise ConfigError(f"--credentials {path}: {error.strerror}") from None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"--credentials {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--credentials {path}: not a credentials file of AWS's clients") from None
