"""What Organizations' operations share: their dependencies, who may call them, and on what.

Besides what policies allow, an operation belongs to the management account alone; or, where it only reads, also to the
members that administer some service ("delegated administrators"); or to every account of the organization.
Source: AWS Organizations API reference, the introduction of each operation; service authorization reference.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentrail.core.organizations import Organization
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.services.organizations.faults import constraint, fault, invalid_input
from opentrail.state.accounts import Account, Accounts
from opentrail.state.identities import Identities
from opentrail.state.organizations import Organizations

TAGS_PER_RESOURCE = 50

_KINDS = (
    (re.compile(r"r-.*"), "root", ""),
    (re.compile(r"ou-.*"), "ou", ""),
    (re.compile(r"[0-9]{12}"), "account", ""),
    (re.compile(r"h-.*"), "handshake", "invite/"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationsDeps:
    """What Organizations needs; ``random_bytes(n)`` gives the bytes of new ids."""

    organizations: Organizations
    accounts: Accounts
    identities: Identities
    random_bytes: Callable[[int], bytes]


Handler = Callable[[ApiCall, OrganizationsDeps], Mapping[str, Any]]
Permissions = Callable[[ApiCall, OrganizationsDeps], tuple[Permission, ...]]


def own_organization(call: ApiCall, deps: OrganizationsDeps) -> Organization:
    """The caller's organization.  Raises ``ServiceFault`` AWSOrganizationsNotInUseException."""
    organization = deps.organizations.of_account(call.account_id)
    if organization is None:
        raise fault("AWSOrganizationsNotInUse")
    return organization


def managed_organization(call: ApiCall, deps: OrganizationsDeps) -> Organization:
    """The organization that the caller's account manages.

    Raises ``ServiceFault`` AWSOrganizationsNotInUseException or AccessDeniedException.
    """
    organization = own_organization(call, deps)
    if organization.management_account_id != call.account_id:
        raise fault("AccessDenied")
    return organization


def readable_organization(call: ApiCall, deps: OrganizationsDeps) -> Organization:
    """The organization that the caller's account manages or administers a service for.

    Raises ``ServiceFault`` AWSOrganizationsNotInUseException or AccessDeniedException.
    """
    organization = own_organization(call, deps)
    if organization.management_account_id != call.account_id and not organization.delegated_services(call.account_id):
        raise fault("AccessDenied")
    return organization


def change_managed(
    call: ApiCall, deps: OrganizationsDeps, edit: Callable[[Organization], Organization]
) -> Organization:
    """Change the organization that the caller's account manages.

    Raises ``ServiceFault`` as ``managed_organization`` does, and what ``edit`` raises.
    """
    changed = deps.organizations.change(managed_organization(call, deps).organization_id, edit)
    if changed is None:
        raise fault("AWSOrganizationsNotInUse")  # it was deleted meanwhile
    return changed


def find_member(deps: OrganizationsDeps, organization: Organization, account_id: str) -> Account:
    """The account of a member.  Raises ``ServiceFault`` AccountNotFoundException."""
    account = deps.accounts.find(account_id) if account_id in organization.members else None
    if account is None:
        raise fault("AccountNotFound")
    return account


def check_text(parameter: str, text: str) -> str:
    """A text as given, which may be anything but NUL: no client's language and no database holds that well.

    Raises ``ServiceFault`` InvalidInputException.
    """
    if "\0" in text:
        raise invalid_input("INVALID_PATTERN", parameter)
    return text


def parse_tags(tags: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    """Tags out of a list of keys and values.  Raises ``ServiceFault``."""
    parsed = {tag["Key"]: tag["Value"] for tag in tags or ()}
    if not all(_may_be_in_tag(character) for tag in parsed.items() for text in tag for character in text):
        raise invalid_input("INVALID_PATTERN", "Tags")
    if len(parsed) != len(tags or ()):
        raise invalid_input("DUPLICATE_TAG_KEY")
    if any(key.lower().startswith("aws:") for key in parsed):
        raise invalid_input("INVALID_SYSTEM_TAGS_PARAMETER")
    if len(parsed) > TAGS_PER_RESOURCE:
        raise constraint("MAX_TAG_LIMIT_EXCEEDED")
    return parsed


def _may_be_in_tag(character: str) -> bool:
    """The model's pattern: letters, separators, numbers and some signs."""
    return character in "_.:/=+-@" or unicodedata.category(character)[0] in "LZN"


def needs(action: str, *names: str) -> Permissions:
    """The permission for ``organizations:action`` on each resource whose id is in one of the parameters ``names``.

    Without names the action is on no resource in particular (``*``).
    """

    def permissions(call: ApiCall, deps: OrganizationsDeps) -> tuple[Permission, ...]:
        organization = deps.organizations.of_account(call.account_id)
        context = _request_context(call.parameters)
        ids = [call.parameters.get(name) for name in names]
        if organization is None or not names:
            return (Permission(action=f"organizations:{action}", resource="*", context=context),)
        return tuple(
            Permission(
                action=f"organizations:{action}",
                resource=resource_arn(organization, str(each)),
                context={**context, **_resource_context(organization, str(each))},
            )
            for each in ids
            if each is not None
        )

    return permissions


def resource_arn(organization: Organization, item_id: str) -> str:
    """The ARN of a root, unit, account, handshake or policy of the organization, by the form of its id."""
    for form, kind, folder in _KINDS:
        if form.fullmatch(item_id):
            return organization.arn_of(kind, folder + item_id)
    return organization.policy_arn(item_id)


def _request_context(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """The condition keys of what is asked for."""
    context: dict[str, list[str]] = {}
    policy_type = parameters.get("PolicyType") or parameters.get("Type") or parameters.get("Filter")
    if isinstance(policy_type, str):
        context["organizations:policytype"] = [policy_type]
    if parameters.get("ServicePrincipal"):
        context["organizations:serviceprincipal"] = [parameters["ServicePrincipal"]]
    tags = parameters.get("Tags") or ()
    keys = [tag["Key"] for tag in tags] or list(parameters.get("TagKeys") or ())
    context |= {f"aws:requesttag/{tag['Key'].lower()}": [tag["Value"]] for tag in tags}
    if keys:
        context["aws:tagkeys"] = keys
    return context


def _resource_context(organization: Organization, item_id: str) -> dict[str, list[str]]:
    """The condition keys of a resource: its tags, and of a policy its type."""
    resource = organization.place(item_id) or organization.policies.get(item_id)
    context = {f"aws:resourcetag/{key.lower()}": [value] for key, value in resource.tags.items()} if resource else {}
    if item_id.startswith("p-"):
        context["organizations:policytype"] = ["SERVICE_CONTROL_POLICY"]
    return context
