"""Settings: one table, read from flags, ``OPENTRAIL_*`` variables and a TOML file alike.

A flag beats a variable, a variable beats the file, the file beats the default.  ``--data-dir`` is
``OPENTRAIL_DATA_DIR`` and ``data-dir`` in TOML.  What a setting cannot be is a ``ConfigError`` that names it, says
where it was set and what would be right.  ``docs/configuration.md`` is made from this table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from opentrail.core.errors import ConfigError
from opentrail.server.upstream_settings import Upstream, read_upstreams

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "b": 1, "kb": 1 << 10, "kib": 1 << 10, "mb": 1 << 20, "mib": 1 << 20, "gb": 1 << 30, "gib": 1 << 30}


def parse_duration(text: str) -> int:
    """Seconds of ``90``, ``90s``, ``5m``, ``1h`` or ``30d``; at least one.  Raises ``ValueError``."""
    found = re.fullmatch(r"([0-9]{1,9})\s*([smhd]?)", text.strip().lower())
    if not found or int(found[1]) * _UNITS[found[2]] < 1:
        raise ValueError("a duration of at least one second is expected, such as 90s, 5m or 1h")
    return int(found[1]) * _UNITS[found[2]]


def parse_size(text: str) -> int:
    """Bytes of ``65536``, ``64KB`` or ``10MB``.  Raises ``ValueError``."""
    found = re.fullmatch(r"([0-9]{1,15})\s*([a-z]*)", text.strip().lower())
    if not found or found[2] not in _SIZES or int(found[1]) < 1:
        raise ValueError("a size is expected, such as 65536, 64KB or 10MB")
    return int(found[1]) * _SIZES[found[2]]


def _parse_size_or_none(text: str) -> int:
    return 0 if text.strip() == "0" else parse_size(text)


def _parse_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError("a port from 0 to 65535 is expected (0: any free one)")
    return int(text)


def _parse_account(text: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", text):
        raise ValueError("an account ID of 12 digits is expected")
    return text


def _parse_path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError("a path is expected")
    return Path(text)


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)} is expected")
        return text

    parse.__doc__ = "|".join(choices)
    return parse


def _setting(default: Any, parse: Callable[[str], Any], metavar: str, text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "metavar": metavar, "help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a user can set.  Durations are seconds, sizes bytes."""

    host: str = _setting("127.0.0.1", str, "ADDRESS", "address to listen on")
    port: int = _setting(4577, _parse_port, "PORT", "port to listen on; 0 takes any free one")
    data_dir: Path = _setting(  # noqa: RUF009  a dataclasses.field
        Path("opentrail-data"), _parse_path, "DIR", "folder that everything is kept under"
    )
    account_id: str = _setting(
        "", _parse_account, "ID", "12-digit ID of the account that the first start makes (default: one at random)"
    )
    object_store: str = _setting(
        "",
        str,
        "URL",
        "where objects lie: s3://, gs:// or az:// URL (default: the folder objects under the data folder)",
    )
    state_url: str = _setting(
        "", str, "URL", "SQLAlchemy URL of the control plane's database (default: state.db under the data folder)"
    )
    delivery_interval: int = _setting(300, parse_duration, "TIME", "how often log files are delivered")
    digest_interval: int = _setting(3600, parse_duration, "TIME", "how often digest files are delivered")
    on_journal_failure: str = _setting(
        "refuse",
        _one_of("refuse", "pass"),
        "refuse|pass",
        "what becomes of a call whose record cannot be made durable: refused, or answered and counted",
    )
    key_passphrase_file: Path | None = _setting(  # noqa: RUF009  the same
        None, _parse_path, "FILE", "file whose first line encrypts private keys and secrets at rest"
    )
    record_rules: Path | None = _setting(  # noqa: RUF009  the same
        None, _parse_path, "FILE", "JSON file with rules of records beside those that come with it (docs/records.md)"
    )
    tls_cert: Path | None = _setting(  # noqa: RUF009  the same
        None, _parse_path, "FILE", "certificate chain in PEM; with it, TLS is served"
    )
    tls_key: Path | None = _setting(  # noqa: RUF009  the same
        None, _parse_path, "FILE", "private key of --tls-cert in PEM"
    )
    domains: tuple[str, ...] = _setting(
        ("localhost",),
        _parse_list,
        "NAMES",
        "comma-separated names under which bucket.NAME means the bucket (S3 virtual hosts)",
    )
    upstream: tuple[Upstream, ...] = _setting(
        (),
        str,
        "SERVICE=URL",
        "where calls to a service are forwarded to, such as s3=http://seaweed:8333; * is every service that is not "
        "Opentrail's own; may be repeated (docs/upstreams.md has its further options)",
    )
    own: tuple[str, ...] = _setting(
        (),
        _parse_list,
        "NAMES",
        "comma-separated services that Opentrail answers itself (default: those it has and no --upstream names)",
    )
    own_buckets: tuple[str, ...] = _setting(
        (),
        _parse_list,
        "NAMES",
        "comma-separated buckets that stay Opentrail's own where S3 is forwarded (for log files)",
    )
    log_format: str = _setting("text", _one_of("text", "json"), "text|json", "form of the log on standard error")
    log_level: str = _setting(
        "info", _one_of("debug", "info", "warning", "error"), "LEVEL", "least severity that is logged"
    )
    max_header_bytes: int = _setting(32 << 10, parse_size, "SIZE", "largest head of a request; a larger one is refused")
    max_body_bytes: int = _setting(
        16 << 20, parse_size, "SIZE", "largest body of a request that is no object upload; a larger one is refused"
    )
    decision_retention: int = _setting(
        30 * 86400, parse_duration, "TIME", "how long `opentrail explain` knows why a call was allowed or denied"
    )
    decision_bytes: int = _setting(
        256 << 20, _parse_size_or_none, "SIZE", "most that is kept of why calls were allowed or denied; 0 keeps nothing"
    )
    journal_segment_bytes: int = _setting(64 << 20, parse_size, "SIZE", "size at which a journal segment is sealed")

    @property
    def scheme(self) -> str:
        """``https`` with a certificate, else ``http``."""
        return "https" if self.tls_cert else "http"


def load_settings(flags: Mapping[str, str], environ: Mapping[str, str], config_file: Path | None) -> Settings:
    """Settings out of ``flags`` (setting name to text), the environment and a TOML file.  Raises ``ConfigError``."""
    values: dict[str, Any] = {}
    table = read_toml(config_file) if config_file else {}
    known = {item.name for item in fields(Settings)}
    for name in table:
        if name.replace("-", "_") not in known and name != "verify":  # the table of another command
            raise ConfigError(f"{config_file}: there is no setting {name!r}; see `opentrail serve --help`")
    for item in fields(Settings):
        dashed = item.name.replace("_", "-")
        variable = f"OPENTRAIL_{item.name.upper()}"
        if item.name == "upstream":
            values["upstream"] = read_upstreams(flags.get("upstream", ""), environ, table.get("upstream"), config_file)
            continue
        if item.name in flags:
            source, text = f"--{dashed}", flags[item.name]
        elif variable in environ:
            source, text = variable, environ[variable]
        elif dashed in table or item.name in table:
            source, text = f"{config_file}: {dashed}", _toml_text(table.get(dashed, table.get(item.name)))
        else:
            continue
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            raise ConfigError(f"{source}: {error}, not {text!r}") from None
    settings = Settings(**values)
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigError("--tls-cert and --tls-key belong together: name both, or neither")
    return settings


def read_toml(path: Path) -> dict[str, Any]:
    """The document in the file at ``path``.  Raises ``ConfigError``."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not TOML: {error}") from None


def _toml_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)
