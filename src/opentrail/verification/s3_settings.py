"""Where S3 is and who asks: the usual AWS configuration.

Rules: variables (``AWS_ACCESS_KEY_ID`` ..., ``AWS_REGION``, ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``,
``AWS_CA_BUNDLE``) are read here; for profiles, roles, single sign-on and the credentials of machines botocore is asked,
whose import costs more than many a verification.  Credentials that expire are asked for again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from opentrail.core.errors import ConfigError
from opentrail.verification.http_connection import Origin

DEFAULT_REGION: Final = "us-east-1"
_ASK_AGAIN_SECONDS: Final = 60.0  # botocore renews credentials ten minutes before they expire


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCredentials:
    """What requests are signed with."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings:
    """What to sign with, and where to go.

    ``endpoint`` is None for AWS's own, ``credentials`` is None for requests that are not signed.
    """

    region: str
    endpoint: Origin | None
    endpoint_path: str
    credentials: Callable[[], AwsCredentials] | None
    ca_bundle: str


def read_aws_settings(
    *, service: str, profile: str = "", region: str = "", endpoint_url: str = "", is_signed: bool = True
) -> AwsSettings:
    """The settings for ``service`` (``s3``) out of arguments, environment and, where those lack something, botocore.

    Raises ``ConfigError``.
    """
    environ = os.environ
    profile = profile or environ.get("AWS_PROFILE", "")
    url = endpoint_url or environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environ.get("AWS_ENDPOINT_URL", "")
    region = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", "")
    credentials: Callable[[], AwsCredentials] | None = None
    if is_signed:
        own = _of_environment(environ)
        if own is not None and not profile:
            credentials = lambda: own  # noqa: E731
        else:
            session = _open_session(profile)
            region = region or session.get_config_variable("region") or ""
            url = url or session.get_scoped_config().get("endpoint_url", "")
            credentials = _AskedCredentials(session)
    return AwsSettings(
        region=region or DEFAULT_REGION,
        endpoint=parse_endpoint(url) if url else None,
        endpoint_path=urlsplit(url).path.rstrip("/"),
        credentials=credentials,
        ca_bundle=environ.get("AWS_CA_BUNDLE", ""),
    )


def parse_endpoint(url: str) -> Origin:
    """The host of an endpoint's URL.  Raises ``ConfigError``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"--endpoint-url {url}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ConfigError(f"--endpoint-url {url}: write http://HOST[:PORT] or https://HOST[:PORT]")
    is_tls = parts.scheme == "https"
    return Origin(host=parts.hostname, port=port or (443 if is_tls else 80), is_tls=is_tls)


class _AskedCredentials:
    """What botocore has; asked again now and then."""

    def __init__(self, session: Any) -> None:
        self._source = session.get_credentials()
        if self._source is None:
            raise ConfigError(
                "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile "
                "with --profile; --no-sign-request asks without"
            )
        self._lock = threading.Lock()
        self._known: AwsCredentials | None = None
        self._asked = 0.0

    def __call__(self) -> AwsCredentials:
        """The credentials now."""
        with self._lock:
            if self._known is None or time.monotonic() - self._asked > _ASK_AGAIN_SECONDS:
                frozen = self._source.get_frozen_credentials()
                self._known = AwsCredentials(
                    access_key_id=frozen.access_key,
                    secret_access_key=frozen.secret_key,
                    session_token=frozen.token or "",
                )
                self._asked = time.monotonic()
            return self._known


def _of_environment(environ: Mapping[str, str]) -> AwsCredentials | None:
    access_key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key_id or not secret:
        return None
    token = environ.get("AWS_SESSION_TOKEN", "")
    return AwsCredentials(access_key_id=access_key_id, secret_access_key=secret, session_token=token)


def _open_session(profile: str) -> Any:
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  only where the environment does not say all
    from botocore.session import Session  # noqa: PLC0415

    try:
        session = Session(profile=profile or None)
        session.get_scoped_config()
    except BotoCoreError as error:
        raise ConfigError(str(error)) from None
    return session
