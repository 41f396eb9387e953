"""Tags of users, roles, managed policies and instance profiles: the same rules, the same three operations.

Keys are compared without regard to case and kept as they were written.

Source: IAM user guide, "Tags for AWS Identity and Access Management resources".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import invalid_input, limit_exceeded, validation_error
from opentrail.services.iam.paging import paginate
from opentrail.services.iam.permissions import Permissions
from opentrail.state.identities import Iam

TAGS_PER_RESOURCE = 50

_PATTERN = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]"  # as the model writes it, for another engine than Python's
_PUNCTUATION = frozenset("_.:/=+-@")

Tags = Mapping[str, str]
FindTags = Callable[[ApiCall, Iam], Tags]
WriteTags = Callable[[ApiCall, Iam, Tags], None]


def tag_operations(
    noun: str, find: FindTags, write: WriteTags, permission: Callable[[str], Permissions]
) -> Mapping[str, OperationEntry[IamDeps]]:
    """``Tag<noun>``, ``Untag<noun>`` and ``List<noun>Tags``.

    ``find`` gives the tags of what the call names, or raises ``ServiceFault``; ``write`` replaces them;
    ``permission(action)`` says what is needed.
    """

    def tag(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        with deps.identities.changing(call.account_id) as iam:
            write(call, iam, merge_tags(find(call, iam), call.parameters["Tags"]))
        return {}

    def untag(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        removed = {key.lower() for key in call.parameters["TagKeys"]}
        with deps.identities.changing(call.account_id) as iam:
            tags = find(call, iam)
            write(call, iam, {key: value for key, value in tags.items() if key.lower() not in removed})
        return {}

    def list_tags(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        with deps.identities.reading() as iam:
            tags = find(call, iam)
        page, members = paginate(list(tags.items()), call.parameters, lambda item: item[0])
        return {"Tags": tag_members(dict(page)), **members}

    return {
        f"Tag{noun}": OperationEntry(handler=tag, permissions=permission(f"Tag{noun}"), writes=True),
        f"Untag{noun}": OperationEntry(handler=untag, permissions=permission(f"Untag{noun}"), writes=True),
        f"List{noun}Tags": OperationEntry(handler=list_tags, permissions=permission(f"List{noun}Tags"), writes=False),
    }


def merge_tags(existing: Tags, tags: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    """``existing`` tags with ``tags`` (Key and Value each) written over them.

    Raises ``ServiceFault`` ValidationError, InvalidInput or LimitExceeded.
    """
    tags = tags or ()
    for number, tag in enumerate(tags, 1):
        _check_characters(tag["Key"], f"tags.{number}.member.key", "+")
        _check_characters(tag["Value"], f"tags.{number}.member.value", "*")
    added = {tag["Key"].lower(): tag for tag in tags}
    if len(added) != len(tags):
        raise invalid_input("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if any(key.startswith("aws:") for key in added):
        raise invalid_input("Tag keys cannot start with the reserved prefix aws:.")
    kept = {key: value for key, value in existing.items() if key.lower() not in added}
    merged = kept | {tag["Key"]: tag["Value"] for tag in added.values()}
    if len(merged) > TAGS_PER_RESOURCE:
        raise limit_exceeded("The number of tags has reached the maximum limit.")
    return merged


def tag_members(tags: Tags) -> list[dict[str, str]]:
    """Tags as an answer lists them, by key."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _check_characters(text: str, path: str, times: str) -> None:
    if not all(each in _PUNCTUATION or unicodedata.category(each)[0] in "LZN" for each in text):
        raise validation_error(
            f"1 validation error detected: Value '{text}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {_PATTERN}{times}"
        )
