"""The hosts of S3's buckets, and the proxies on the way to them.

Rules: AWS is addressed by the bucket's host (path-style for a name that is no host's, or has dots, which no certificate
covers), an endpoint of one's own by path, unless the configuration says otherwise.  Whatever a server says, a host is
made of the endpoint that was configured, or of AWS's own domain: so no answer can send a signature elsewhere.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from typing import Final
from urllib.parse import unquote, urlsplit

from opentrail.core.errors import ConfigError
from opentrail.verification.http_connection import Origin, Proxy
from opentrail.verification.s3_settings import AwsSettings

#: The domains of AWS's partitions by how their regions begin; the longest comes first.  botocore's partitions.json.
_DOMAINS: Final = (
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
    ("cn-", "amazonaws.com.cn"),
    ("", "amazonaws.com"),
)


_NAME: Final = re.compile(r"[A-Za-z0-9._-]{3,255}", re.ASCII)  # what S3 once took, and others take
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]", re.ASCII)


def is_bucket_name(text: str) -> bool:
    """Whether a bucket can have the name ``text``: a digest may name anything."""
    return _NAME.fullmatch(text) is not None


def bucket_place(settings: AwsSettings, bucket: str, region: str) -> tuple[Origin, str]:
    """Whom to ask for objects of ``bucket`` in ``region``, and what their paths begin with (not yet encoded)."""
    style, endpoint = settings.addressing_style, settings.endpoint
    is_host = _HOST.fullmatch(bucket) is not None
    if endpoint is not None:
        if style != "virtual" or not is_host:
            return endpoint, f"{settings.endpoint_path}/{bucket}"
        host = f"{bucket}.{endpoint.host}"
        return Origin(host=host, port=endpoint.port, is_tls=endpoint.is_tls), settings.endpoint_path
    domain = next(domain for start, domain in _DOMAINS if region.startswith(start))
    service = ("s3-fips" if settings.is_fips else "s3") + (".dualstack" if settings.is_dualstack else "")
    host = f"{service}.{region}.{domain}"
    if style == "path" or not is_host:
        return Origin(host=host, port=443, is_tls=True), f"/{bucket}"
    return Origin(host=f"{bucket}.{host}", port=443, is_tls=True), ""


def find_proxy(origin: Origin) -> Proxy | None:
    """The proxy for ``origin`` that ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` say.  Raises ``ConfigError``."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies_environment, proxy_bypass  # noqa: PLC0415  where there is one

    scheme = "https" if origin.is_tls else "http"
    url = getproxies_environment().get(scheme, "")
    hosts = (origin.host, f"[{origin.host}]") if ":" in origin.host else (origin.host,)  # NO_PROXY may have either
    if not url or any(proxy_bypass(f"{host}:{origin.port}") for host in hosts):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "http":
        raise ConfigError(f"{scheme.upper()}_PROXY: write http://HOST:PORT: no other kind of proxy can be gone through")
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else ""
    authorization = f"Basic {b64encode(login.encode()).decode()}" if login else ""
    return Proxy(host=host, port=port, authorization=authorization)
