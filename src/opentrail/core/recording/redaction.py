"""What is hidden in one place of a record appears in none: not in an error message, a header, a name.

Rules: every text within a hidden value counts, as it is and as JSON and a URL write it; those of under four letters
hide nothing and would blot the record.  What the record says of itself (who called, when, which event) is not touched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from json import dumps
from typing import Any
from urllib.parse import quote

_LEAST_LETTERS = 4
_LEAST_LETTERS_IN_NAMES = 8  # the names of members are the model's: a short text is in them by chance
_IN_ITS_PLACE = "***"
_SCRUBBED_FIELDS = frozenset(
    {"userAgent", "errorMessage", "requestParameters", "responseElements", "additionalEventData", "resources"}
    | {"tlsDetails", "requestID"}
)


def collect_texts(value: Any, hidden: list[str]) -> None:
    """Add every text within a hidden ``value`` to ``hidden``; names in it are the model's."""
    if isinstance(value, str):
        if len(value) >= _LEAST_LETTERS:
            hidden.append(value)
    elif isinstance(value, bytes):
        if len(value) >= _LEAST_LETTERS:
            hidden.append(b64encode(value).decode("ascii"))
    elif isinstance(value, Mapping):
        for item in value.values():
            collect_texts(item, hidden)
    elif isinstance(value, list):
        for item in value:
            collect_texts(item, hidden)


def scrub_text(text: str, hidden: Iterable[str]) -> str:
    """``text`` without any of the ``hidden`` ones."""
    return _without(text, _all_forms(hidden))


def scrub(record: Mapping[str, Any], hidden: Iterable[str]) -> dict[str, Any]:
    """``record`` without any of the ``hidden`` texts in the fields that echo what a caller sent."""
    secrets = _all_forms(hidden)
    long_secrets = [secret for secret in secrets if len(secret) >= _LEAST_LETTERS_IN_NAMES]

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return _without(value, secrets)
        if isinstance(value, Mapping):
            return {_without(name, long_secrets): clean(item) for name, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return value

    return {name: clean(value) if name in _SCRUBBED_FIELDS else value for name, value in record.items()}


def _all_forms(hidden: Iterable[str]) -> list[str]:
    """Every form of every hidden text, the longest first: one may hold another."""
    return sorted({form for text in hidden for form in _forms(text)}, key=len, reverse=True)


def _forms(text: str) -> set[str]:
    """The text as it is, as JSON writes it (beyond ASCII or not), and as a URL does."""
    return {text, dumps(text)[1:-1], dumps(text, ensure_ascii=False)[1:-1], quote(text, safe="", errors="replace")}


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, _IN_ITS_PLACE)
    return text
