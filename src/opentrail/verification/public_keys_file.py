"""Public keys for a verification: out of a file, or asked for once and kept in a file.

Rules: a file is what ``ListPublicKeys`` answers (``core.public_keys``), so ``aws cloudtrail list-public-keys`` makes
one too.  What an endpoint answered is cached for each region with the time that was asked for; a question that lies
within it, or is asked within the minute, is not asked again: a key may be rotated at any time.  A cache that cannot be
read or written is none; nor is one that somebody else owns or may write, who could make any signature good.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from opentrail.core.errors import ConfigError, FormatError, StoreError
from opentrail.core.public_keys import PublicKey, decode_public_keys, encode_public_keys
from opentrail.verification.output_file import replaced
from opentrail.verification.own_file import read_own

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_MOST_PAGES: Final = 1000  # of an answer
FIRST_KEYS: Final = datetime(2013, 11, 1, tzinfo=UTC)  # CloudTrail's own beginning
_FRESH: Final = timedelta(minutes=1)
#: What botocore's parser raises, besides its own exceptions, for an answer that is not ListPublicKeys'.
_NO_ANSWER: Final = (FormatError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_CONNECT_SECONDS: Final = 10
_SILENCE_SECONDS: Final = 20
_ATTEMPTS: Final = 3
_MOST_SAID: Final = 300  # characters of a fault
#: By how the code, or the name of botocore's exception, begins.
_ADVICE: Final = {
    "AccessDenied": "cloudtrail:ListPublicKeys is needed",
    "NoCredentials": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with --profile",
    "SSLError": "AWS_CA_BUNDLE names a file of certificates to trust",
    "UnrecognizedClient": "is the region enabled for this account, and of its partition?",
    **dict.fromkeys(("ExpiredToken", "SSOToken", "TokenRetrieval", "UnauthorizedSSOToken"), "log in again"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuestion:
    """Which keys are wanted: of ``regions``, valid at any time from ``start`` to ``end`` (aware)."""

    endpoint_url: str  # of CloudTrail; "": as environment and configuration say
    profile: str = ""
    regions: tuple[str, ...]
    start: datetime
    end: datetime


def read_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """The keys in the file at ``path``.  Raises ``ConfigError``."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"--public-keys {path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"--public-keys {path}: the file has more than {MAX_FILE_BYTES} bytes")
    try:
        return decode_public_keys(data)
    except FormatError as error:
        raise ConfigError(f"--public-keys {path}: {error}") from None


def write_public_keys(path: Path, keys: Iterable[PublicKey]) -> None:
    """Write ``keys`` to the file at ``path``, whole or not at all.  Raises ``StoreError``."""
    with replaced(path) as file:
        file.write(encode_public_keys(keys))


def ask_public_keys(question: KeyQuestion, *, now: datetime, cache: Path | None) -> tuple[PublicKey, ...]:
    """The keys, out of the cache folder ``cache`` where it has them, else from the endpoint, once a region.

    Raises ``ConfigError`` when the endpoint cannot be asked.
    """
    found: dict[tuple[str, bytes], PublicKey] = {}
    client = None
    endpoint = endpoint_of(question)
    for region in question.regions:
        path = _cache_path(cache, endpoint, question.profile, region) if cache else None
        keys = _cached(path, question, now) if path else None
        if keys is None:
            client = client or _Client(question, endpoint)
            keys = client.ask(region)
            if path is not None:
                _keep(path, keys, question, now)
        found |= {(key.fingerprint, key.value): key for key in keys}
    return tuple(found.values())


def endpoint_of(question: KeyQuestion) -> str:
    """The URL of the endpoint that is asked; "" for AWS's own.  Raises ``ConfigError``."""
    from opentrail.verification.s3_settings import configured_endpoint, parse_endpoint  # noqa: PLC0415  not for a file

    if not question.endpoint_url:
        return configured_endpoint("cloudtrail", question.profile)
    parse_endpoint(question.endpoint_url)
    return question.endpoint_url


def default_cache(environ: Mapping[str, str]) -> Path | None:
    """The folder for answers of endpoints; None where the user has no home."""
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return Path(base) / "opentrail" / "public-keys" if base else None


class _Client:
    """Asks CloudTrail's endpoints through botocore."""

    def __init__(self, question: KeyQuestion, endpoint: str) -> None:
        from botocore.config import Config  # noqa: PLC0415  once, when nothing is cached
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  the same

        from opentrail.verification.s3_settings import open_session  # noqa: PLC0415  the same

        self._question = question
        self._endpoint = endpoint
        self._faults: tuple[type[Exception], ...] = (BotoCoreError, ClientError, OSError)
        self._config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_SILENCE_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        )
        self._session = open_session(question.profile)

    def ask(self, region: str) -> tuple[PublicKey, ...]:
        """Every key of the region.  Raises ``ConfigError``."""
        question = self._question
        try:
            client: Any = self._session.create_client(
                "cloudtrail", region_name=region, endpoint_url=self._endpoint or None, config=self._config
            )
            listed: list[Mapping[str, Any]] = []
            asked: dict[str, Any] = {"StartTime": question.start, "EndTime": question.end}
            for _ in range(_MOST_PAGES):
                answer = client.list_public_keys(**asked)
                listed += answer.get("PublicKeyList", [])
                if not answer.get("NextToken"):
                    break
                asked["NextToken"] = answer["NextToken"]
            else:
                raise ConfigError(f"the public keys of {region}: the endpoint's answer goes on without an end")
            return decode_public_keys(encode_public_keys(_key(entry) for entry in listed))
        except self._faults as error:
            raise ConfigError(f"the public keys of {region} cannot be asked for: {_reason(error)}") from None
        except EOFError:
            from opentrail.verification.s3_settings import NO_MFA_CODE  # noqa: PLC0415  the same

            raise ConfigError(f"the public keys of {region} cannot be asked for: {NO_MFA_CODE}") from None
        except _NO_ANSWER as error:
            raise ConfigError(f"the public keys of {region}: the endpoint's answer is none: {error}") from None


def _reason(error: Exception) -> str:
    """What botocore says, and what a person can do about it; nothing of a proxy's URL, in which its login may stand."""
    if type(error).__name__ == "ProxyConnectionError":
        return "the proxy that HTTPS_PROXY or HTTP_PROXY names cannot be gone through"
    answer: Mapping[str, Any] = getattr(error, "response", {})
    code = str(answer.get("Error", {}).get("Code", type(error).__name__))
    advice = next((text for start, text in _ADVICE.items() if code.startswith(start)), "")
    said = " ".join(str(error).split())[:_MOST_SAID]  # of a server that has no such operation it may be a page
    return f"{said}; {advice}" if advice else said


def _key(entry: Mapping[str, Any]) -> PublicKey:
    return PublicKey(
        value=entry["Value"],
        fingerprint=entry["Fingerprint"],
        validity_start=entry["ValidityStartTime"],
        validity_end=entry["ValidityEndTime"],
    )


def keys_by_fingerprint(keys: Iterable[PublicKey]) -> dict[str, PublicKey]:
    """``keys`` by what digests call them; one that is listed twice is valid from the first moment to the last.

    Raises ``ConfigError`` when two keys have one fingerprint: nobody knows which one a digest means.
    """
    found: dict[str, PublicKey] = {}
    for key in keys:
        other = found.setdefault(key.fingerprint, key)
        if other.value != key.value:
            raise ConfigError(f"the public keys are none to trust: two of them have the fingerprint {key.fingerprint}")
        found[key.fingerprint] = replace(
            key,
            validity_start=min(key.validity_start, other.validity_start),
            validity_end=max(key.validity_end, other.validity_end),
        )
    return found


def _cache_path(cache: Path, endpoint: str, profile: str, region: str) -> Path:
    profile = profile or os.environ.get("AWS_PROFILE", "")
    text = f"{endpoint}\n{profile}\n{os.environ.get('AWS_ACCESS_KEY_ID', '')}\n{region}"
    return cache / f"{region}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _cached(path: Path, question: KeyQuestion, now: datetime) -> tuple[PublicKey, ...] | None:
    with suppress(OSError, ValueError, KeyError, TypeError, FormatError):
        data = read_own(path, most=MAX_FILE_BYTES, with_folder=True)
        asked = json.loads(data)["asked"]
        start, end, at = (datetime.fromisoformat(asked[name]) for name in ("start", "end", "at"))
        if start <= question.start and (question.end <= end or now - at < _FRESH):
            return decode_public_keys(data)
    return None


def _keep(path: Path, keys: tuple[PublicKey, ...], question: KeyQuestion, now: datetime) -> None:
    document = json.loads(encode_public_keys(keys))
    document["asked"] = {
        "start": question.start.isoformat(),
        "end": min(question.end, now).isoformat(),
        "at": now.isoformat(),
    }
    with suppress(OSError, StoreError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replaced(path) as file:
            file.write(json.dumps(document, indent=1).encode())
