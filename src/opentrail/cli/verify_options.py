"""The options of ``opentrail verify`` (and of ``opentrail evidence``): flags, variables and a TOML table alike.

Rules: ``--account-id`` is ``OPENTRAIL_VERIFY_ACCOUNT_ID`` and ``account-id`` in the table ``[verify]``; a flag beats a
variable, a variable beats the file.  What may be given several times is separated by commas in a variable and a list in
TOML.  What an option cannot be is a ``ConfigError`` that says where it was set.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from opentrail.core.errors import ConfigError

NOW: Final = "now"
_TRAIL_ARN: Final = re.compile(r"arn:aws[a-z-]*:cloudtrail:([a-z0-9-]+):([0-9]{12}):trail/([A-Za-z0-9._-]{3,128})")
_TABLE: Final = "verify"
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9990  # some days more are a date, too


def parse_start(text: str) -> datetime:
    """A moment: ``2026-05-01``, ``2026-05-01T12:00:00Z``; UTC unless it says otherwise.  Raises ``ValueError``."""
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("a time is expected, such as 2026-05-01 or 2026-05-01T12:00:00Z") from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"a time from {_FIRST_YEAR} to {_LAST_YEAR} is expected")
    return moment


def parse_end(text: str) -> datetime:
    """As ``parse_start``; a day is meant to its end."""
    moment = parse_start(text)
    try:
        date.fromisoformat(text.strip())  # in any form that ``parse_start`` takes a day in
    except ValueError:
        return moment
    return moment + timedelta(days=1, seconds=-1)


def parse_until(text: str) -> datetime | str:
    """As ``parse_start``, or ``NOW``."""
    return NOW if text.strip() == NOW else parse_start(text)


def _parse_account(text: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", text, re.ASCII):
        raise ValueError("an account ID of 12 digits is expected")
    return text


def _parse_region(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,40}", text):
        raise ValueError("a region is expected, such as eu-west-1")
    return text


def _parse_trail(text: str) -> tuple[str, str, str]:
    match = _TRAIL_ARN.fullmatch(text)
    if match is None:
        raise ValueError("a trail's ARN is expected, such as arn:aws:cloudtrail:eu-west-1:111122223333:trail/main")
    return match[1], match[2], match[3]


def _parse_jobs(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) < 1:
        raise ValueError("a number of processes is expected, 1 to 9999")
    return int(text)


def _parse_payer(text: str) -> str:
    if text != "requester":
        raise ValueError("`requester` is expected")
    return text


def _parse_switch(text: str) -> bool:
    switches = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
    if text.lower() not in switches:
        raise ValueError("true or false is expected")
    return switches[text.lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option; ``metavar`` is "" for a switch."""

    name: str  # as the flag, without its dashes
    parse: Callable[[str], Any]
    metavar: str
    help: str
    many: bool = False
    short: str = ""  # another flag, of one letter

    @property
    def attribute(self) -> str:
        """Its name in Python."""
        return self.name.replace("-", "_")


def _switch(name: str, text: str, *, short: str = "") -> Option:
    return Option(name=name, parse=_parse_switch, metavar="", help=text, short=short)


SOURCE_OPTIONS: Final = (
    Option(name="start", parse=parse_start, metavar="TIME", help="only digests that end then or later"),
    Option(name="end", parse=parse_end, metavar="TIME", help="only digests that end then or earlier"),
    Option(name="trail-arn", parse=_parse_trail, metavar="ARN", help="only this trail (default: every one found)"),
    Option(name="account-id", parse=_parse_account, metavar="ID", help="only this account; repeat it", many=True),
    Option(name="region", parse=_parse_region, metavar="NAME", help="only this region; repeat it", many=True),
    Option(
        name="public-keys",
        parse=str,
        metavar="FILE|URL",
        help="file that list-public-keys or `opentrail keys export` wrote, or CloudTrail's endpoint"
        " (default: AWS's, or that of --endpoint-url; a bundle brings its own)",
    ),
    Option(
        name="original-bucket",
        parse=str,
        metavar="BUCKET[/PREFIX]",
        help="SOURCE is a copy of what lay there",
    ),
    _switch("metadata-lost", "SOURCE is a bucket that was filled from files, without the objects' metadata"),
    Option(name="endpoint-url", parse=str, metavar="URL", help="S3 endpoint to read from"),
    Option(name="profile", parse=str, metavar="NAME", help="profile of the AWS configuration"),
    _switch("no-sign-request", "read a public bucket without credentials"),
    Option(
        name="request-payer",
        parse=_parse_payer,
        metavar="requester",
        help="agree to pay for what is read, of a bucket whose requester pays",
    ),
)
VERIFY_OPTIONS: Final = (
    Option(
        name="expect-until",
        parse=parse_until,
        metavar="TIME",
        help="a digest must have been delivered that ends then or later (`now`: two hours ago, as one may be late)",
    ),
    _switch("events", "read every event too, to find those that stand in two log files (slower)"),
    Option(name="jobs", parse=_parse_jobs, metavar="N", help="processes that read and check (default: one a core)"),
    _switch("json", "print findings as they come, and then the result, each a line of JSON"),
    _switch("quiet", "print the verdict alone, and show no progress"),
    _switch("verbose", "print the verdict on every digest and log file as it comes", short="v"),
    _switch("progress", "show how far it is also where stderr is no terminal"),
    Option(name="report", parse=Path, metavar="FILE", help="write a report: FILE.html or FILE.json"),
    _switch("resume", "go on where a verification was interrupted"),
    Option(
        name="resume-file",
        parse=Path,
        metavar="FILE",
        help="what an interrupted verification leaves (default: opentrail-verify.resume)",
    ),
)


def add_options(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """A flag for each option, and ``--config``."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with these options in its table [verify]")
    for option in options:
        settings: dict[str, Any] = {"dest": f"option_{option.attribute}", "help": option.help}
        if not option.metavar:
            settings |= {"action": "store_const", "const": "true"}
        else:
            settings |= {"action": "append" if option.many else "store", "metavar": option.metavar}
        flags = (f"-{option.short}", f"--{option.name}") if option.short else (f"--{option.name}",)
        parser.add_argument(*flags, **settings)


def read_options(arguments: argparse.Namespace, options: Sequence[Option]) -> dict[str, Any]:
    """Each option's value (None, () or False where nobody set it) by its attribute.  Raises ``ConfigError``."""
    config = arguments.config or os.environ.get("OPENTRAIL_CONFIG")
    table = _read_table(Path(config)) if config else {}
    values = {option.attribute: _read_option(option, arguments, table) for option in options}
    start, end = values.get("start"), values.get("end")
    if start is not None and end is not None and start > end:
        raise ConfigError("--start must not be after --end")
    return values


def _read_option(option: Option, arguments: argparse.Namespace, table: Mapping[str, Any]) -> Any:
    variable = f"OPENTRAIL_VERIFY_{option.attribute.upper()}"
    given = getattr(arguments, f"option_{option.attribute}")
    if given is not None:
        source, texts = f"--{option.name}", given if isinstance(given, list) else [given]
    elif variable in os.environ:
        source, texts = variable, _split(os.environ[variable], option)
    elif option.name in table:
        value = table[option.name]
        listed = value if isinstance(value, list) else [value]
        source, texts = f"[verify] {option.name}", [_toml_text(item) for item in listed]
    else:
        return () if option.many else None if option.metavar else False
    try:
        parsed = [option.parse(text) for text in texts]
    except ValueError as error:
        raise ConfigError(f"{source}: {error}, not {', '.join(texts)!r}") from None
    return tuple(parsed) if option.many else parsed[-1]


def _split(text: str, option: Option) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()] if option.many else [text]


def _toml_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_table(path: Path) -> Mapping[str, Any]:
    from opentrail.server.config import read_toml  # noqa: PLC0415  only where a file is named

    table = read_toml(path).get(_TABLE, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [verify] is a table")
    known = {option.name for option in (*SOURCE_OPTIONS, *VERIFY_OPTIONS)}
    for name in table:
        if name not in known:
            raise ConfigError(f"{path}: [verify] has no option {name!r}; see `opentrail verify --help`")
    return table
