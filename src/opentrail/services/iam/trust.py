"""Trust policies of roles: who may assume one.

Users and roles that a trust policy names must exist, and are kept by their unique ids: whoever is deleted and created
again is not trusted.  An account need not be one of this installation: nobody of an unknown account can call.

Source: IAM user guide, "IAM role trust policies" and "IAM role principals".
"""

from __future__ import annotations

from collections.abc import Callable

from opentrail.core.arn import compile_wildcard, parse_arn
from opentrail.core.errors import FormatError
from opentrail.core.policy import PolicyType, parse_policy, pin_principals, unpin_principals
from opentrail.services.iam.documents import check_characters, size
from opentrail.services.iam.faults import malformed, quota_exceeded
from opentrail.state.entities import EntityKind
from opentrail.state.identities import Iam

TRUST_POLICY_CHARACTERS = 2048

_ACTIONS = (
    "sts:assumerole",
    "sts:assumerolewithsaml",
    "sts:assumerolewithwebidentity",
    "sts:setcontext",
    "sts:setsourceidentity",
    "sts:tagsession",
)


def parse_trust_policy(document: str, member: str, iam: Iam) -> str:
    """A trust policy as it is kept, from the text of the parameter ``member``.

    Raises ``ServiceFault`` MalformedPolicyDocument, ValidationError or LimitExceeded.
    """
    check_characters(document, member)
    policy = parse_policy(document, PolicyType.TRUST)
    if not all(_is_trust_action(action) for statement in policy.statements for action in statement.actions):
        raise malformed("AssumeRole policy may only specify STS AssumeRole actions.")
    if size(document) > TRUST_POLICY_CHARACTERS:
        raise quota_exceeded("ACLSizePerRole", TRUST_POLICY_CHARACTERS)
    try:
        return pin_principals(document, _unique_id_of(iam))
    except FormatError as error:
        raise malformed(str(error)) from None


def format_trust_policy(kept: str, iam: Iam) -> str:
    """A kept trust policy as a reader sees it."""

    def arn_of(unique_id: str) -> str | None:
        entity = iam.entities.find_id(unique_id)
        return entity.arn if entity else None

    return unpin_principals(kept, arn_of)


def _is_trust_action(pattern: str) -> bool:
    matches = compile_wildcard(pattern, ignore_case=True)
    return pattern.lower().startswith("sts:") and any(matches(action) for action in _ACTIONS)


def _unique_id_of(iam: Iam) -> Callable[[str], str | None]:
    """A function from a principal, an ARN or a unique id, to the unique id of who is there."""

    def unique_id_of(name: str) -> str | None:
        if not name.startswith("arn:"):
            found = iam.entities.find_id(name)
            return found.entity_id if found else None
        arn = parse_arn(name)
        found = iam.entities.find(arn.account, EntityKind(arn.resource_type), arn.resource.rpartition("/")[2])
        return found.entity_id if found and found.arn == name else None

    return unique_id_of
