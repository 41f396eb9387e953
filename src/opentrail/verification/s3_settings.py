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

from opentrail.core.arn import is_region
from opentrail.core.errors import ConfigError, StoreError
from opentrail.verification.http_connection import Origin

DEFAULT_REGION: Final = "us-east-1"
_ASK_AGAIN_SECONDS: Final = 60.0  # botocore renews credentials ten minutes before they expire
_SPACE: Final = re.compile(r"\s")
_CLI_CACHE: Final = "~/.aws/cli/cache"  # where the AWS CLI keeps the credentials of roles
#: What botocore raises where a single sign-on has run out, or never was.
_LOGINS: Final = frozenset({"SSOTokenLoadError", "TokenRetrievalError", "UnauthorizedSSOTokenError"})
_CACHED: Final = ("assume-role", "assume-role-with-web-identity")  # botocore's providers that the AWS CLI has cached


#: What is said where botocore asks for a code at the terminal and there is none.
NO_MFA_CODE: Final = (
    "the AWS credentials need an MFA code, and nobody is here to type it: let the AWS CLI ask for it before "
    "(`aws sts get-caller-identity`, with the same profile), whose cache is read"
)


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
    request_payer: str = ""  # "requester": whoever asks agrees to pay for it


def read_aws_settings(
    *,
    service: str,
    profile: str = "",
    region: str = "",
    endpoint_url: str = "",
    is_signed: bool = True,
    request_payer: str = "",
) -> AwsSettings:
    """The settings for ``service`` (``s3``) out of arguments, environment and, where there is one, the configuration.

    Raises ``ConfigError``.
    """
    environ = os.environ
    own = None if profile else _of_environment(environ)
    is_asked = _has_configuration(environ, profile)
    session = open_session(profile) if is_asked or (is_signed and own is None) else None
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
        request_payer=request_payer,
    )


def configured_endpoint(service: str, profile: str = "") -> str:
    """The URL that environment and configuration give for ``service``; "" for AWS's own.  Raises ``ConfigError``."""
    session = open_session(profile) if _has_configuration(os.environ, profile) else None
    url = _Configuration(session, service).endpoint_url(os.environ)
    if url:
        parse_endpoint(url)
    return url


def parse_endpoint(url: str) -> Origin:
    """The host of an endpoint's URL.  Raises ``ConfigError``, which shows no login that stands in it."""
    shown = f"the endpoint URL {url.rpartition('@')[2]!r}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{shown}: {error}") from None
    if "@" in url:
        raise ConfigError(f"{shown}: leave the login before it out: credentials are AWS's (AWS_ACCESS_KEY_ID ...)")
    is_url = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not _SPACE.search(url)
    if not is_url or parts.hostname is None:
        raise ConfigError(f"{shown}: write http://HOST[:PORT] or https://HOST[:PORT]")
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
                    self._source = _find_credentials(open_session(self._profile))
                except ConfigError as error:
                    raise StoreError(str(error), retryable=True) from None
                self._known = self._ask()
            return self._known != expired

    def _ask(self) -> AwsCredentials:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  it has been imported by now

        try:
            frozen = self._source.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError) as error:
            raise StoreError(_no_credentials(error), retryable=True) from None
        except EOFError:
            raise StoreError(NO_MFA_CODE, retryable=True) from None
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
    token = environ.get("AWS_SECURITY_TOKEN") or environ.get("AWS_SESSION_TOKEN", "")
    return AwsCredentials(access_key_id=access_key_id, secret_access_key=secret, session_token=token)


def _has_configuration(environ: Mapping[str, str], profile: str) -> bool:
    """Whether there may be settings besides the variables."""
    path = os.path.expanduser(environ.get("AWS_CONFIG_FILE") or "~/.aws/config")  # noqa: PTH111  no home is no error
    return bool(profile or environ.get("AWS_PROFILE")) or Path(path).is_file()


def open_session(profile: str) -> Any:
    """A session of botocore for ``profile`` ("": the environment's), with the AWS CLI's cache of roles' credentials.

    A role that asks for an MFA code would ask again for each service, and AWS takes a code once.  Raises
    ``ConfigError``.
    """
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  only where the environment does not say all
    from botocore.session import Session  # noqa: PLC0415  the same
    from botocore.utils import JSONFileCache  # noqa: PLC0415  the same

    try:
        session = Session(profile=profile or None)
        session.get_scoped_config()
        providers = session.get_component("credential_provider")
        for name in _CACHED:
            providers.get_provider(name).cache = JSONFileCache(os.path.expanduser(_CLI_CACHE))  # noqa: PTH111  the same
    except BotoCoreError as error:
        raise ConfigError(str(error)) from None
    return session


def _no_credentials(error: Exception) -> str:
    is_login = type(error).__name__ in _LOGINS
    return f"the AWS credentials cannot be had: {error}" + ("; log in again (`aws sso login`)" if is_login else "")


def _find_credentials(session: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  the session has imported it

    try:
        found = session.get_credentials()
    except (BotoCoreError, ClientError, OSError) as error:  # the last one: a token's file that is not there
        raise ConfigError(_no_credentials(error)) from None
    except EOFError:
        raise ConfigError(NO_MFA_CODE) from None
    if found is None:
        raise ConfigError(
            "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile "
            "with --profile; --no-sign-request asks without"
        )
    return found
