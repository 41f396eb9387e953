"""Passwords of IAM users: the account's password policy, and the slow hash that is all that is kept of one.

Rules: a hash is a PHC string, ``$scrypt$ln=15,r=8,p=3$salt$hash`` (RFC 7914; OWASP's cost for 32 MB of memory), so
a later release may raise the cost and still read what is stored.  A user's passwords share one salt: whether a new one
repeats any of the last 24 then costs one hash, not 24.  No message ever holds a password.

Source: IAM user guide, "Set an account password policy for IAM users".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from opentrail.core.errors import FormatError

SALT_BYTES = 16
MAX_REMEMBERED = 24  # PasswordReusePrevention's highest value

_HASH_BYTES = 32
_MEMORY_BYTES = 64 << 20
_COST = "ln=15,r=8,p=3"
_PHC = re.compile(r"\$scrypt\$(ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2}))\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_SYMBOLS = frozenset("!@#$%^&*()_+-=[]{}|'")
_DEFAULT_LENGTH = 8
_DEFAULT_MIX = 3  # of the four kinds of characters


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordPolicy:
    """An account's own password policy; the defaults are those of ``UpdateAccountPasswordPolicy``.

    ``max_age_days`` and ``reuse_prevention`` are 0 where there is no such rule.
    """

    minimum_length: int = 6
    require_symbols: bool = False
    require_numbers: bool = False
    require_uppercase: bool = False
    require_lowercase: bool = False
    allow_users_to_change: bool = False
    max_age_days: int = 0
    reuse_prevention: int = 0
    hard_expiry: bool | None = None


def password_fault(password: str, policy: PasswordPolicy | None, forbidden: Iterable[str] = ()) -> str:
    """What is wrong with ``password`` under ``policy``, or "".

    Without a policy AWS's default one counts: eight characters, three of the four kinds, and none of ``forbidden``
    (the account's name and e-mail address).
    """
    kinds = {
        "uppercase letter": any("A" <= each <= "Z" for each in password),
        "lowercase letter": any("a" <= each <= "z" for each in password),
        "number": any("0" <= each <= "9" for each in password),
        "symbol": not _SYMBOLS.isdisjoint(password),
    }
    minimum = policy.minimum_length if policy else _DEFAULT_LENGTH
    if len(password) < minimum:
        return f"Password should have a minimum length of {minimum}"
    if policy is None:
        if sum(kinds.values()) < _DEFAULT_MIX:
            return "Password should have at least three of: uppercase letters, lowercase letters, numbers, symbols"
        same = any(each and password.casefold() == each.casefold() for each in forbidden)
        return "Password should not be the account's name or e-mail address" if same else ""
    required = {
        "uppercase letter": policy.require_uppercase,
        "lowercase letter": policy.require_lowercase,
        "number": policy.require_numbers,
        "symbol": policy.require_symbols,
    }
    missing = next((kind for kind, wanted in required.items() if wanted and not kinds[kind]), "")
    return f"Password should have at least one {missing}" if missing else ""


def hash_password(password: str, salt: bytes) -> str:
    """The PHC string of ``password``; ``salt`` is ``SALT_BYTES`` random bytes.  Takes a fifth of a second."""
    return f"$scrypt${_COST}${_base64(salt)}${_base64(_scrypt(password, salt, (15, 8, 3)))}"


def salt_of(encoded: str) -> bytes:
    """The salt in a PHC string.  Raises ``FormatError``."""
    return _parse(encoded)[1]


def is_password(password: str, encoded: Iterable[str]) -> bool:
    """Whether ``password`` is behind one of the PHC strings; those of one salt and cost take one hash together.

    Raises ``FormatError`` for a string that is no such hash.
    """
    hashes: dict[tuple[tuple[int, int, int], bytes], bytes] = {}
    found = False
    for text in encoded:
        cost, salt, expected = _parse(text)
        if (cost, salt) not in hashes:
            hashes[cost, salt] = _scrypt(password, salt, cost)
        found |= hmac.compare_digest(hashes[cost, salt], expected)
    return found


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    log_n, block, parallel = cost
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << log_n, r=block, p=parallel, maxmem=_MEMORY_BYTES, dklen=_HASH_BYTES
    )


def _parse(encoded: str) -> tuple[tuple[int, int, int], bytes, bytes]:
    match = _PHC.fullmatch(encoded)
    if match is None:
        raise FormatError("not a scrypt hash in PHC form")
    cost = (int(match[2]), int(match[3]), int(match[4]))
    return cost, _unbase64(match[5]), _unbase64(match[6])


def _base64(data: bytes) -> str:
    """PHC's base64: without padding."""
    return base64.b64encode(data).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise FormatError("not a scrypt hash in PHC form") from None
