"""Somebody who calls the endpoint from a test: credentials, and boto3 with them.

Rules: boto3 is imported when a client is asked for, not before; its models are loaded once a process, whoever calls;
no proxy and no configuration file of this machine comes between a client made here and the endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

from opentrail.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user (or an account's root user, ``name`` root) with an access key for the endpoint at ``endpoint_url``."""

    name: str
    arn: str
    account_id: str
    region: str
    endpoint_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    @property
    def credentials(self) -> dict[str, str]:
        """The access key, as boto3's arguments name its parts."""
        return {"aws_access_key_id": self.access_key_id, "aws_secret_access_key": self.secret_access_key}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that send any AWS client of a process to the endpoint, as this caller."""
        return {
            **{name.upper(): value for name, value in self.credentials.items()},
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @property
    def session(self) -> Any:
        """A new ``boto3.Session`` with the credentials; its clients and resources go to the endpoint.

        Raises ``ConfigError`` where boto3 is not installed.
        """
        botocore_session = import_boto("botocore.session").Session()
        botocore_session.register_component("data_loader", _shared_botocore().get_component("data_loader"))
        session = import_boto("boto3").Session(
            botocore_session=botocore_session, region_name=self.region, **self.credentials
        )
        connect = session.client

        def client(*words: Any, endpoint_url: str | None = None, **options: Any) -> Any:
            return connect(*words, endpoint_url=endpoint_url or self.endpoint_url, **options)

        session.client = client  # a session has no setting for its endpoint: only the environment and a file do
        return session

    def client(self, service: str, *, region: str = "", config: Any = None, **options: Any) -> Any:
        """A boto3 client of ``service``; ``options`` as ``boto3.client`` has them, ``config`` a botocore ``Config``.

        It tries nothing twice unless ``config`` says so.  Raises ``ConfigError`` where boto3 is not installed.
        """
        make_config = import_boto("botocore.config").Config
        plain = make_config(retries={"total_max_attempts": 1}, proxies={}, s3={"addressing_style": "path"})
        settings: Mapping[str, Any] = {
            "endpoint_url": self.endpoint_url,
            "region_name": region or self.region,
            "config": plain.merge(config) if config is not None else plain,
            **self.credentials,
            **options,
        }
        return _shared_boto3().client(service, **settings)


@lru_cache(maxsize=1)
def _shared_botocore() -> Any:
    """What loads the models for all sessions: a model takes longer to load than a test to run."""
    return import_boto("botocore.session").Session()


@lru_cache(maxsize=1)
def _shared_boto3() -> Any:
    return import_boto("boto3").Session(botocore_session=_shared_botocore())


def import_boto(name: str) -> Any:
    """The module ``name`` of boto3 or botocore.  Raises ``ConfigError`` where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        message = f"{package} is not installed, and clients need it: pip install 'opentrail[testing]'"
        raise ConfigError(message) from None
