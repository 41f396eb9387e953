"""The errors of Opentrail, of three kinds and no other.

    OpentrailError
    ├── FormatError            the outside is wrong: bytes or text that do not follow their format
    ├── ServiceFault           the outside is wrong: an API call that AWS would answer with an error
    ├── StorageError           the world failed: a disk, a network, a bucket; says whether a retry can help
    │   ├── StoreError         an object store refused or lost a request
    │   │   └── NoSuchObject   the key is not there
    │   └── JournalError       an event could not be made durable
    └── ConfigError            a setting that cannot be used; names the setting and says what to do

A fourth kind, "we are wrong", is an ``assert``: the process stops before it writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class OpentrailError(Exception):
    """The root of every error that Opentrail raises on purpose."""


class FormatError(OpentrailError):
    """Bytes or text do not follow the format that they claim to have."""


class ConfigError(OpentrailError):
    """A setting cannot be used; the message names the setting and the mend."""


class ServiceFault(OpentrailError):  # noqa: N818  Smithy's word: an answer, not a failure of ours
    """An API call's answer is an error, written as the call's own protocol writes it.

    ``code`` is the wire code (``NoSuchBucket``); ``fields`` are further members of the error
    (``{"BucketName": "b"}``); ``headers`` are further HTTP headers of the answer.
    A status of 500 or more says that the fault is the server's and that the call may be tried again.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 400,
        fields: Mapping[str, Any] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.status = status
        self.fields: Mapping[str, Any] = fields or {}
        self.headers = headers


class StorageError(OpentrailError):
    """The world failed.  ``retryable`` says whether the same request may succeed later."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class StoreError(StorageError):
    """An object store refused or failed a request."""


class NoSuchObject(StoreError):  # noqa: N818  the field's word is S3's NoSuchKey, an error by context
    """The object is not in the store."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key!r}", retryable=False)
        self.key = key


class JournalError(StorageError):
    """An entry could not be made durable."""
