"""Where calls are forwarded to: the ``upstream`` setting, out of flags, ``OPENTRAIL_UPSTREAM*`` variables and TOML.

An upstream belongs to a service (botocore's name, or the name that its requests are signed for) or to ``*``, all that
is nobody else's.  Its options, one table for all three sources:

* ``--upstream s3=http://seaweed:8333``, repeatable, and ``OPENTRAIL_UPSTREAM="s3=http://... *=http://..."`` name
  services and URLs;
* ``OPENTRAIL_UPSTREAM_S3_MODE=re-sign`` sets one option of one upstream (of ``*``: ``OPENTRAIL_UPSTREAM_ANY_MODE``);
* ``[upstream.s3]``, or ``[[upstream]]`` with ``service = "s3"``, sets them all in TOML.

A flag beats a variable, a variable beats the file, option by option.  What an option cannot be is a ``ConfigError``
that names it and where it was set; no message repeats a secret, and no flag takes one.
"""

from __future__ import annotations

import configparser
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opentrail.core.errors import ConfigError

PASS_THROUGH, RE_SIGN = "pass-through", "re-sign"
ANY = "*"

_PREFIX = "OPENTRAIL_UPSTREAM"
_SERVICE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}|\*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DEFAULT_CREDENTIALS = Path("~/.aws/credentials")
_SECRET = "secret-access-key"  # noqa: S105  an option's name
_SECRETS = {_SECRET, "session-token"}
_MILLISECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamKey:
    """The credentials that calls are signed with for an upstream."""

    access_key_id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One endpoint that calls are forwarded to.  Time-outs are seconds.

    With a ``key`` Opentrail signs what it forwards, without one the client's own signature stays.  ``region`` is what
    is signed for ("": the client's); ``account_id`` receives the calls of callers without an account ("": the first).
    """

    service: str
    host: str
    port: int
    tls: bool = False
    key: UpstreamKey | None = None
    region: str = ""
    account_id: str = ""
    ca_file: Path | None = None
    verify: bool = True
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    max_connections: int = 512

    @property
    def mode(self) -> str:
        """``re-sign`` or ``pass-through``."""
        return RE_SIGN if self.key is not None else PASS_THROUGH

    @property
    def host_header(self) -> str:
        """What a request to it has as its Host."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _DEFAULT_PORTS["https" if self.tls else "http"] else f"{name}:{self.port}"

    def tls_context(self) -> ssl.SSLContext | None:
        """How its certificate is checked; None where it speaks plain HTTP.  Raises ``ConfigError``."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not a PEM file"
            raise ConfigError(f"upstream {self.service}: tls-ca-file {self.ca_file}: {reason}") from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """An option's text, and where it was set."""

    text: str = field(repr=False)
    source: str


_Options = dict[str, dict[str, _Given]]  # service -> option -> what was given


def _parse_url(text: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, of a URL that is nothing but an endpoint.  Raises ``ValueError``."""
    expected = "a URL such as http://seaweed:8333 or https://storage.example.org is expected, without a path"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(expected)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{expected} and without credentials, which have options of their own")
    return host, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == "https"


def _parse_seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})\s*(ms|s|m|)", text.strip().lower())
    if not found or int(found[1]) < 1:
        raise ValueError("a time such as 500ms, 5s or 1m is expected")
    return int(found[1]) * _MILLISECONDS[found[2]]


def _parse_mode(text: str) -> str:
    if text not in {PASS_THROUGH, RE_SIGN}:
        raise ValueError(f"{PASS_THROUGH} or {RE_SIGN} is expected")
    return text


def _parse_flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("true or false is expected")
    return text.lower() == "true"


def _parse_count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) < 1:
        raise ValueError("a number from 1 to 99999 is expected")
    return int(text)


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{expected} is expected")
        return text

    return parse


#: Every option of an upstream, how it is read, and what it is (``docs/configuration.md`` lists them).
OPTIONS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "url": (_parse_url, "the endpoint: `http://HOST:PORT` or `https://HOST`"),
    "mode": (_parse_mode, "`pass-through` (default without credentials) or `re-sign` (default with them)"),
    "account-id": (
        _matching("[0-9]{12}", "an account ID of 12 digits"),
        "account whose trails receive the calls of callers that have none (default: the first)",
    ),
    "region": (
        _matching("[a-z0-9][a-z0-9-]{0,31}", "a region such as eu-central-1"),
        "region that is signed for (default: the client's)",
    ),
    "access-key-id": (
        _matching(r"\S{1,128}", "an access key ID"),
        "with `secret-access-key`: what calls are signed with",
    ),
    _SECRET: (_matching(r"\S{1,256}", "a secret access key"), "the secret; a variable or the file takes it, no flag"),
    "session-token": (_matching(r"\S{1,8192}", "a session token"), "of temporary credentials"),
    "credentials-file": (
        Path,
        "AWS credentials file that holds the key (default with `profile`: `~/.aws/credentials`)",
    ),
    "profile": (
        _matching(r"[^\[\]]{1,128}", "a profile's name"),
        "profile in the credentials file (default: `default`)",
    ),
    "tls-ca-file": (Path, "certificates in PEM that the upstream's is checked with (default: the system's)"),
    "tls-verify": (_parse_flag, "`false` accepts any certificate"),
    "connect-timeout": (_parse_seconds, "how long a connection may take, and the wait for a free one (default: 5s)"),
    "read-timeout": (_parse_seconds, "how long the upstream may be silent (default: 60s)"),
    "max-connections": (_parse_count, "most connections to the upstream at once (default: 512)"),
}


def read_upstreams(
    flags: str, environ: Mapping[str, str], table: Any, config_file: Path | None
) -> tuple[Upstream, ...]:
    """The upstreams out of ``--upstream`` (texts with white space between them), variables, and TOML's ``upstream``.

    Raises ``ConfigError``.
    """
    options: _Options = {}
    _read_table(options, table, f"{config_file}: upstream")
    _read_pairs(options, environ.get(_PREFIX, "").split(), _PREFIX)
    _read_variables(options, environ)
    _read_pairs(options, flags.split(), "--upstream")
    return tuple(_upstream(service, given) for service, given in options.items())


def _read_pairs(options: _Options, pairs: list[str], source: str) -> None:
    seen: set[str] = set()
    for pair in pairs:
        service, equals, url = pair.partition("=")
        if not equals or not _SERVICE.fullmatch(service):
            raise ConfigError(f"{source}: SERVICE=URL is expected, such as s3=http://seaweed:8333, not {pair!r}")
        if service in seen:
            raise ConfigError(f"{source}: {service} is named twice")
        seen.add(service)
        options.setdefault(service, {})["url"] = _Given(text=url, source=source)


def _read_table(options: _Options, table: Any, source: str) -> None:
    if table is None:
        return
    if isinstance(table, str):
        _read_pairs(options, table.split(), source)
        return
    if isinstance(table, Mapping):
        rows = [(service, row) for service, row in table.items()]
    elif isinstance(table, list) and all(isinstance(row, str) for row in table):
        _read_pairs(options, table, source)
        return
    elif isinstance(table, list) and all(isinstance(row, Mapping) for row in table):
        rows = [(row.get("service"), {name: row[name] for name in row if name != "service"}) for row in table]
    else:
        rows = [(None, None)]
    for service, row in rows:
        if not isinstance(service, str) or not _SERVICE.fullmatch(service) or not isinstance(row, Mapping):
            raise ConfigError(f'{source}: [upstream.SERVICE], or [[upstream]] with service = "s3", is expected')
        if service in options:
            raise ConfigError(f"{source}: {service} is named twice")
        given = options.setdefault(service, {})
        for name, value in row.items():
            option = name.replace("_", "-")
            if option not in OPTIONS or isinstance(value, dict | list):
                raise ConfigError(f"{source}.{service}: there is no option {name!r}; there are {', '.join(OPTIONS)}")
            text = str(value).lower() if isinstance(value, bool) else str(value)
            given[option] = _Given(text=text, source=f"{source}.{service}.{name}")


def _read_variables(options: _Options, environ: Mapping[str, str]) -> None:
    """Options of one upstream each: ``OPENTRAIL_UPSTREAM_S3_REGION``."""
    words = {_word(service): service for service in options}
    for variable in sorted(environ):
        if not variable.startswith(f"{_PREFIX}_"):
            continue
        rest = variable.removeprefix(f"{_PREFIX}_")
        option = next((name for name in OPTIONS if rest.endswith(f"_{_word(name)}")), None)
        word = rest.removesuffix(f"_{_word(option)}") if option else ""
        if option is None or not word:
            raise ConfigError(f"{variable}: no upstream has such an option; there are {', '.join(OPTIONS)}")
        service = words.get(word, ANY if word == "ANY" else word.lower().replace("_", "-"))
        options.setdefault(service, {})[option] = _Given(text=environ[variable], source=variable)


def _word(name: str) -> str:
    return "ANY" if name == ANY else re.sub("[^A-Z0-9]", "_", name.upper())


def _upstream(service: str, given: Mapping[str, _Given]) -> Upstream:
    values: dict[str, Any] = {}
    for name, each in given.items():
        try:
            values[name] = OPTIONS[name][0](each.text)
        except ValueError as error:
            shown = "" if name in _SECRETS else f", not {each.text!r}"
            raise ConfigError(f"{each.source}: {error}{shown}") from None
    if "url" not in values:
        (first, *_) = given.values()
        raise ConfigError(f"{first.source}: upstream {service} has no URL: name it with --upstream {service}=URL")
    host, port, tls = values["url"]
    for name in ("tls-ca-file", "tls-verify"):
        if name in values and not tls:
            raise ConfigError(f"{given[name].source}: upstream {service} has a URL without TLS; begin it with https://")
    kept = {
        "region": "region",
        "account-id": "account_id",
        "tls-ca-file": "ca_file",
        "tls-verify": "verify",
        "connect-timeout": "connect_timeout",
        "read-timeout": "read_timeout",
        "max-connections": "max_connections",
    }
    arguments = {kept[name]: value for name, value in values.items() if name in kept}
    upstream = Upstream(service=service, host=host, port=port, tls=tls, key=_key(service, values), **arguments)
    upstream.tls_context()  # a file that cannot be read is told at the start
    return upstream


def _key(service: str, values: Mapping[str, Any]) -> UpstreamKey | None:
    """The credentials to sign with, None in pass-through mode.  Raises ``ConfigError``."""
    direct = {"access-key-id", *_SECRETS} & values.keys()
    by_file = {"credentials-file", "profile"} & values.keys()
    mode = values.get("mode", RE_SIGN if direct or by_file else PASS_THROUGH)
    where = f"upstream {service}"
    if mode == PASS_THROUGH:
        if direct or by_file:
            raise ConfigError(
                f"{where}: credentials are of use in mode {RE_SIGN} alone; leave out the one or the other"
            )
        return None
    if direct and by_file:
        raise ConfigError(f"{where}: name a key, or a credentials file and profile, not both")
    if by_file:
        return _key_of_profile(where, values.get("credentials-file"), values.get("profile", "default"))
    if not {"access-key-id", _SECRET} <= direct:
        raise ConfigError(f"{where}: mode {RE_SIGN} needs access-key-id and {_SECRET}, or a profile")
    token = values.get("session-token", "")
    return UpstreamKey(access_key_id=values["access-key-id"], secret=values[_SECRET], session_token=token)


def _key_of_profile(where: str, file: Path | None, profile: str) -> UpstreamKey:
    path = (file or _DEFAULT_CREDENTIALS).expanduser()
    parser = configparser.RawConfigParser(default_section="")  # [default] is a profile like any other
    try:
        parser.read_string(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{where}: credentials-file {path}: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):  # its message may quote a line, and with it a secret
        raise ConfigError(f"{where}: credentials-file {path}: not an AWS credentials file") from None
    words = parser[profile] if parser.has_section(profile) else {}
    if not words.get("aws_access_key_id") or not words.get("aws_secret_access_key"):
        raise ConfigError(f"{where}: credentials-file {path}: there is no key of profile {profile}")
    return UpstreamKey(
        access_key_id=words["aws_access_key_id"],
        secret=words["aws_secret_access_key"],
        session_token=words.get("aws_session_token", ""),
    )
