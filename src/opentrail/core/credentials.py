"""The forms of IAM's identifiers and secrets, made from random bytes that the caller gives.

An access key ID carries its account, where AWS's own tools and many scanners look for it: its 16 characters after the
prefix are base32, and of their first 48 bits the 40 above the lowest seven are the account number.
Source: observed keys, as public decoders of ``sts:GetAccessKeyInfo`` read them; IAM user guide, "IAM identifiers".
"""

from __future__ import annotations

import base64

from opentrail.core.errors import FormatError

UNIQUE_ID_BYTES = 11
ACCESS_KEY_ID_BYTES = 5
SECRET_BYTES = 30

LONG_TERM, TEMPORARY = "AKIA", "ASIA"  # how access key IDs of users and root begin, and those of sessions


def format_unique_id(prefix: str, random: bytes) -> str:
    """``prefix`` (``AIDA`` of a user, ``AROA`` of a role) and 17 base32 characters, from 11 random bytes."""
    return f"{prefix}{base64.b32encode(random).decode()[:17]}"


def format_access_key_id(account_id: str, random: bytes, prefix: str = LONG_TERM) -> str:
    """``prefix`` and 16 base32 characters that hold the account, from 5 random bytes."""
    head = 1 << 47 | int(account_id) << 7 | random[0] & 0x7F
    return f"{prefix}{base64.b32encode(head.to_bytes(6) + random[1:5]).decode()}"


def parse_access_key_account(access_key_id: str) -> str:
    """The 12-digit account that an access key ID carries.  Raises ``FormatError``."""
    try:
        data = base64.b32decode(access_key_id[4:])
    except ValueError:
        raise FormatError("not an access key ID: 16 base32 characters must follow the prefix") from None
    if len(data) != 10:
        raise FormatError("not an access key ID: 16 base32 characters must follow the prefix")
    return f"{(int.from_bytes(data[:6]) & 0x7FFF_FFFF_FF80) >> 7:012}"


def format_secret(random: bytes) -> str:
    """A secret access key: 40 base64 characters, from 30 random bytes."""
    return base64.b64encode(random).decode()
