"""Users and roles in a resource's policy are kept by their unique ids, so that a namesake is never trusted.

Rules: a stored trust or bucket policy holds ``AIDA...`` or ``AROA...`` where its writer named a user or role by ARN in
``Principal.AWS`` (or ``NotPrincipal.AWS``).  Whoever is deleted and created again has another id, and the policy does
not speak of it.  A reader sees the ARN while the id exists, and the bare id afterwards; a policy that names an id
without an owner cannot be stored again.  Accounts, sessions, services and ``*`` stay as they are, and so does every
other part: a condition that compares ``aws:PrincipalArn`` goes by the name.  A text in which something was replaced is
compact JSON, any other is returned as it was given.

The engine needs no resolving: ``principals.Principals`` matches a unique id against that of the caller, which is its
role's for a session.

Source: IAM user guide, "AWS JSON policy elements: Principal", "IAM role principals" and "IAM user principals".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.policy.principals import names_entity


def pin_principals(text: str, resolve: Callable[[str], str | None]) -> str:
    """The policy ``text`` (which ``parse_policy`` took) as it is stored: users and roles by their unique ids.

    ``resolve(name)`` is asked for each user or role, named by ARN or by unique id, and answers the unique id, or None
    where there is no such user or role.  Raises ``FormatError`` with IAM's words, ``Invalid principal in policy:
    "AWS":"arn:..."``, for one that does not exist.
    """

    def pinned(name: str) -> str:
        unique_id = resolve(name)
        if unique_id is None:
            raise FormatError(f'Invalid principal in policy: "AWS":"{name}"')
        return unique_id

    return _replace_entities(text, pinned)


def unpin_principals(text: str, name_of: Callable[[str], str | None]) -> str:
    """A stored policy as a reader sees it; ``name_of(unique_id)`` answers the ARN, or None where the id is gone."""
    return _replace_entities(text, lambda name: name_of(name) or name)


def _replace_entities(text: str, replacement: Callable[[str], str]) -> str:
    """``text`` with every user and role of its principals replaced; ``text`` itself where that changes nothing."""
    if '"AWS"' not in text and "\\u" not in text:
        return text
    document = json.loads(text)
    statements = document["Statement"]
    changed = False
    for statement in statements if isinstance(statements, list) else [statements]:
        for element in ("Principal", "NotPrincipal"):
            principal = statement.get(element)
            if isinstance(principal, dict) and "AWS" in principal:
                before = principal["AWS"]
                principal["AWS"] = _replaced(before, replacement)
                changed = changed or principal["AWS"] != before
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) if changed else text


def _replaced(value: Any, replacement: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_replaced(item, replacement) for item in value]
    return replacement(value) if names_entity(value) else value
