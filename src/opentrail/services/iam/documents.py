"""Policy documents as IAM takes and gives them: checked, measured without white space, answered percent-encoded.

Source: IAM user guide, "IAM and AWS STS quotas", and the API reference's notes on each PolicyDocument (RFC 3986).
"""

from __future__ import annotations

import re
from urllib.parse import quote

from opentrail.core.policy import PolicyType, parse_policy
from opentrail.services.iam.faults import quota_exceeded, validation_error

MANAGED_POLICY_CHARACTERS = 6144

_CHARACTERS = re.compile(r"[\t\n\r\x20-\xff]+")


def check_identity_policy(document: str, member: str = "policyDocument") -> None:
    """Refuse what is no identity-based policy.  Raises ``ServiceFault``; ``member`` is the parameter it names."""
    check_characters(document, member)
    parse_policy(document, PolicyType.IDENTITY)


def check_managed_policy(document: str) -> None:
    """Refuse what can be no managed policy.  Raises ``ServiceFault``."""
    check_identity_policy(document)
    if size(document) > MANAGED_POLICY_CHARACTERS:
        raise quota_exceeded("PolicySize", MANAGED_POLICY_CHARACTERS)


def check_characters(document: str, member: str) -> None:
    """Refuse characters that no policy may have.  Raises ``ServiceFault`` ValidationError."""
    if not _CHARACTERS.fullmatch(document):
        raise validation_error(
            f"The specified value for {member} is invalid. It must contain only printable ASCII characters."
        )


def size(document: str) -> int:
    """The characters that count towards a quota."""
    return sum(not character.isspace() for character in document)


def encode_document(document: str) -> str:
    """A document as an answer holds it."""
    return quote(document, safe="")
