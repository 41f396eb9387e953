"""What an AWS endpoint says when it does not answer, and what a person can do about it.

Rules: a fault is the object's (it may not be read, it is archived) or the caller's (an expired login, a clock that is
wrong).  The second kind says nothing of what was asked for: it ends a verification, which can go on later, so it is
``retryable`` although asking again at once is of no use.  Codes: Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

import re
from typing import Final

from opentrail.core.errors import StoreError

RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
_STATUSES_OF_THE_SERVER: Final = RETRIED_STATUSES - {500}
_RETRIED_CODES: Final = frozenset({"RequestTimeout"})  # HTTP 400

#: The login has run out; whoever can get another asks again with it.
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})

_SET_CLOCK: Final = "set this machine's clock: a signature holds for 15 minutes"
_LOG_IN: Final = "log in again"
_OF_THE_CALLER: Final = {
    **dict.fromkeys(EXPIRED, _LOG_IN),
    "InvalidToken": _LOG_IN,
    "RequestTimeTooSkewed": _SET_CLOCK,
    "InvalidAccessKeyId": "the endpoint does not know this access key: is it the right profile, region and endpoint?",
    "SignatureDoesNotMatch": "is the secret access key the right one?",
}
_SET_REGION: Final = "set AWS_REGION to the bucket's region"  # only where the answer does not say it
_OF_THE_OBJECT: Final = {
    **dict.fromkeys(("PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException"), _SET_REGION),
    "InvalidObjectState": "it is archived: restore it (s3:RestoreObject) and verify again",
    "InvalidRequest": "objects that a customer's key encrypts (SSE-C) cannot be read",
    "NoSuchBucket": "is it the right name, and the right endpoint?",
    "KMS.DisabledException": "the KMS key that it is encrypted with is disabled",
    "KMS.NotFoundException": "the KMS key that it is encrypted with is gone",
}
_CODE: Final = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]{1,500})</Message>")
_REGION: Final = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>")


class AwsFault(StoreError):  # noqa: N818  an answer, as ServiceFault
    """The server's answer is an error.

    ``region`` is the one that it sends the caller to, if it does.  ``about`` is what was asked for, ``permission`` what
    is needed for it.
    """

    def __init__(
        self, status: int, code: str, message: str, region: str = "", *, about: str = "", permission: str = ""
    ) -> None:
        text = f"{code} (HTTP {status})" if code else f"HTTP {status}"
        advice = _OF_THE_CALLER.get(code) or _OF_THE_OBJECT.get(code, "")
        if code in ("AccessDenied", "AllAccessDisabled") and permission:
            advice = f"{permission} is needed"
        parts = (about, f"{text}: {message}" if message else text)
        whole = ": ".join(filter(None, parts)) + (f"; {advice}" if advice else "")
        super().__init__(whole, retryable=status in RETRIED_STATUSES or code in _OF_THE_CALLER)
        self.status = status
        self.code = code
        self.message = message
        self.region = region

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.status in RETRIED_STATUSES or self.code in _RETRIED_CODES

    @property
    def is_of_the_server(self) -> bool:
        """Whether the server is overloaded, or nobody is there: so it is for whatever else is asked, too."""
        return self.status in _STATUSES_OF_THE_SERVER

    def told(self, about: str, permission: str) -> AwsFault:
        """The same, with what was asked for and what is needed for it."""
        return AwsFault(self.status, self.code, self.message, self.region, about=about, permission=permission)


def decode_fault(status: int, bucket_region: str, body: bytes) -> AwsFault:
    """The fault that an answer's ``body`` tells; ``bucket_region`` is its field ``x-amz-bucket-region``, or ""."""
    text = body.decode("utf-8", "replace")
    code, message, region = (pattern.search(text) for pattern in (_CODE, _MESSAGE, _REGION))
    found = bucket_region or (region[1] if region else "")
    return AwsFault(status, code[1] if code else "", message[1] if message else "", found)
