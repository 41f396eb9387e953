"""Options that several commands share: the settings as flags, and where the configuration file is."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path

from opentrail.core.errors import ConfigError
from opentrail.server.config import Settings, load_settings


def add_settings(parser: argparse.ArgumentParser, names: tuple[str, ...] = ()) -> None:
    """A flag for each setting (``names``: for these alone), and ``--config``."""
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file with settings (also OPENTRAIL_CONFIG); flags and variables beat it"
    )
    for item in fields(Settings):
        if names and item.name not in names:
            continue
        default = item.default
        if isinstance(default, tuple):
            default = ",".join(default)
        shown = "" if default in ("", None) or "default:" in item.metadata["help"] else f" (default: {default})"
        parser.add_argument(
            f"--{item.name.replace('_', '-')}",
            dest=f"setting_{item.name}",
            action="append" if item.name == "upstream" else "store",
            metavar=item.metadata["metavar"],
            help=item.metadata["help"] + shown,
        )


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings out of flags, environment and file.  Raises ``ConfigError``."""
    flags = {
        name.removeprefix("setting_"): " ".join(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name.startswith("setting_") and value is not None
    }
    config = arguments.config or os.environ.get("OPENTRAIL_CONFIG")
    return load_settings(flags, os.environ, Path(config) if config else None)


def require_data(settings: Settings) -> None:
    """Let a command go on where there is an installation alone: it must not make one in whatever folder was named.

    Raises ``ConfigError``.
    """
    folder = settings.data_dir
    if not folder.is_dir():
        raise ConfigError(f"--data-dir {folder}: there is no such folder; `opentrail serve` makes it")
    if not (folder / "journal").is_dir():
        raise ConfigError(
            f"--data-dir {folder}: nothing of Opentrail's lies there; `opentrail serve` makes what it needs"
        )
