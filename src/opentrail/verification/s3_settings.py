"""Where S3 is and who asks: the usual AWS configuration.

Rules: variables (``AWS_ACCESS_KEY_ID`` ..., ``AWS_REGION``, ``AWS_ENDPOINT_URL_S3``, ``AWS_CA_BUNDLE`` ...) are read
here and come before the configuration file, a profile that is named as an argument before both, as with every SDK.  For
that file, and for roles, single sign-on and the credentials of machines, botocore is asked, whose import costs more
than many a verification.  Credentials that expire are asked for again.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from opentrail.core.errors import ConfigError, StoreError
from opentrail.verification.http_connection import Origin

DEFAULT_REGION: Final = "us-east-1"
_ASK_AGAIN_SECONDS: Final = 60.0  # botocore renews credentials ten minutes before they expire
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCredentials:
    """What requests are signed with."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


class CredentialSource(Protocol):
    """Where credentials come from; for any number of threads."""

    def get(self) -> AwsCredentials:
        """The credentials now.  Raises ``StoreError`` when there are none any more."""
        ...

    def renew(self, expired: AwsCredentials) -> bool:
        """Look for others than ``expired``, which a server has refused; whether there are."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSettings:
    """What to sign with, and where to go.

    ``endpoint`` is None for AWS's own, ``credentials`` is None for requests that are not signed, ``ca_bundle`` is the
    path of a file or a folder.
    """

    region: str
    endpoint: Origin | None
    endpoint_path: str
    credentials: CredentialSource | None
    ca_bundle: str
    addressing_style: str = "auto"  # or path, virtual
    is_fips: bool = False
    is_dualstack: bool = False


def read_aws_settings(
    *, service: str, profile: str = "", region: str = "", endpoint_url: str = "", is_signed: bool = True
) -> AwsSettings:
    """The settings for ``service`` (``s3``) out of arguments, environment and, where there is one, the configuration.

    Raises ``ConfigError``.
    """
    environ = os.environ
    own = None if profile else _of_environment(environ)
    is_asked = bool(profile or environ.get("AWS_PROFILE")) or _has_configuration(environ)
    session = _open_session(profile) if is_asked or (is_signed and own is None) else None
    written = _Configuration(session, service)
    credentials: CredentialSource | None = None
    if is_signed:
        credentials = FixedCredentials(own) if own is not None else AskedCredentials(session, profile)
    url = endpoint_url or written.endpoint_url(environ)
    region = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or written.text("region")
    if region and not is_region(region):
        raise ConfigError(f"the AWS region {region!r} is none: AWS_REGION, or region in the configuration file")
    style = written.nested("addressing_style")
    return AwsSettings(
        region=region if region not in ("", "aws-global") else DEFAULT_REGION,
        endpoint=parse_endpoint(url) if url else None,
        endpoint_path=urlsplit(url).path.rstrip("/"),
        credentials=credentials,
        ca_bundle=environ.get("AWS_CA_BUNDLE") or written.text("ca_bundle") or environ.get("REQUESTS_CA_BUNDLE", ""),
        addressing_style=style if style in ("path", "virtual") else "auto",
        is_fips=_is_true(environ.get("AWS_USE_FIPS_ENDPOINT") or written.text("use_fips_endpoint")),
        is_dualstack=_is_true(
            environ.get("AWS_USE_DUALSTACK_ENDPOINT")
            or written.nested("use_dualstack_endpoint")
            or written.text("use_dualstack_endpoint")
        ),
    )


def is_region(text: str) -> bool:
    """Whether a region can have the name ``text``: it becomes a part of the host that credentials go to."""
    return _REGION.fullmatch(text) is not None


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


class FixedCredentials:
    """Those of the environment: there will be no others."""

    def __init__(self, credentials: AwsCredentials) -> None:
        self._credentials = credentials

    def get(self) -> AwsCredentials:
        """Them."""
        return self._credentials

    def renew(self, expired: AwsCredentials) -> bool:  # noqa: ARG002  the protocol's
        """A process's environment does not change."""
        return False


class AskedCredentials:
    """What botocore has; asked again now and then, and when a server says that they have expired."""

    def __init__(self, session: Any, profile: str) -> None:
        self._profile = profile
        self._lock = threading.Lock()
        self._source = _find_credentials(session)
        self._known: AwsCredentials | None = None
        self._asked = 0.0

    def get(self) -> AwsCredentials:
        """The credentials now.  Raises ``StoreError``."""
        with self._lock:
            if self._known is None or time.monotonic() - self._asked > _ASK_AGAIN_SECONDS:
                self._known = self._ask()
            return self._known

    def renew(self, expired: AwsCredentials) -> bool:
        """Begin anew with the files, the process or the login that they came from.  Raises ``StoreError``."""
        with self._lock:
            if self._known == expired:
                try:
                    self._source = _find_credentials(_open_session(self._profile))
                except ConfigError as error:
                    raise StoreError(str(error), retryable=True) from None
                self._known = self._ask()
            return self._known != expired

    def _ask(self) -> AwsCredentials:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  it has been imported by now

        try:
            frozen = self._source.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            raise StoreError(f"the AWS credentials cannot be renewed: {error}", retryable=True) from None
        self._asked = time.monotonic()
        return AwsCredentials(
            access_key_id=frozen.access_key, secret_access_key=frozen.secret_key, session_token=frozen.token or ""
        )


class _Configuration:
    """What the configuration file says; nothing where there is no ``session``."""

    def __init__(self, session: Any, service: str) -> None:
        self._service = service
        self._scoped: Mapping[str, Any] = session.get_scoped_config() if session else {}
        self._services: Mapping[str, Any] = session.full_config.get("services", {}) if session else {}

    def text(self, name: str) -> str:
        """A setting of the profile; "" where it has none."""
        found = self._scoped.get(name)
        return found if isinstance(found, str) else ""

    def nested(self, name: str) -> str:
        """A setting of the service within the profile (``s3 =``, and lines that are indented)."""
        return _member(self._scoped.get(self._service), name)

    def endpoint_url(self, environ: Mapping[str, str]) -> str:
        """The endpoint: variables first, the service's own before that of all.

        AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
        """
        ignored = environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or self.text("ignore_configured_endpoint_urls")
        if _is_true(ignored):
            return ""
        section = self._services.get(self.text("services"))
        own = section.get(self._service) if isinstance(section, dict) else None
        return (
            environ.get(f"AWS_ENDPOINT_URL_{self._service.upper()}")
            or environ.get("AWS_ENDPOINT_URL")
            or _member(own, "endpoint_url")
            or self.text("endpoint_url")
        )


def _member(found: object, name: str) -> str:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _is_true(text: str) -> bool:
    return text.strip().lower() == "true"


def _of_environment(environ: Mapping[str, str]) -> AwsCredentials | None:
    access_key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key_id or not secret:
        return None
    token = environ.get("AWS_SESSION_TOKEN", "")
    return AwsCredentials(access_key_id=access_key_id, secret_access_key=secret, session_token=token)


def _has_configuration(environ: Mapping[str, str]) -> bool:
    path = environ.get("AWS_CONFIG_FILE") or (f"{environ['HOME']}/.aws/config" if environ.get("HOME") else "")
    return bool(path) and Path(path).is_file()


def _open_session(profile: str) -> Any:
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  only where the environment does not say all
    from botocore.session import Session  # noqa: PLC0415  the same

    try:
        session = Session(profile=profile or None)
        session.get_scoped_config()
    except BotoCoreError as error:
        raise ConfigError(str(error)) from None
    return session


def _find_credentials(session: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  the session has imported it

    try:
        found = session.get_credentials()
    except (BotoCoreError, ClientError) as error:
        raise ConfigError(f"the AWS credentials cannot be had: {error}") from None
    if found is None:
        raise ConfigError(
            "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile "
            "with --profile; --no-sign-request asks without"
        )
    return found
