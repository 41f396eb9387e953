"""Organizations' errors: codes, reasons, and what they say.

Source: AWS Organizations API reference, the errors of each operation and the reasons of
ConstraintViolationException, InvalidInputException and HandshakeConstraintViolationException.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentrail.core.errors import ServiceFault

_FAULTS: Mapping[str, str] = {
    "AWSOrganizationsNotInUse": "Your account is not a member of an organization.",
    "AccessDenied": "You don't have permissions to access this resource.",
    "AccountAlreadyClosed": "The account is already closed.",
    "AccountAlreadyRegistered": "The account is already a delegated administrator for this service.",
    "AccountNotFound": "You specified an account that doesn't exist.",
    "AccountNotRegistered": "The account is not a delegated administrator for this service.",
    "AlreadyInOrganization": "The AWS account is already a member of an organization.",
    "ChildNotFound": "You specified a child that doesn't exist.",
    "CreateAccountStatusNotFound": "We can't find a create account request with the ID that you specified.",
    "DestinationParentNotFound": "You specified a destination container that doesn't exist.",
    "DuplicateAccount": "The account is already in the destination container.",
    "DuplicateHandshake": "An open invitation of this account to the organization exists already.",
    "DuplicateOrganizationalUnit": "An OU with the same name already exists.",
    "DuplicatePolicy": "A policy with the same name already exists.",
    "DuplicatePolicyAttachment": "The selected policy is already attached to the specified target.",
    "HandshakeAlreadyInState": "The handshake is already in the requested state.",
    "HandshakeNotFound": "You specified a handshake that doesn't exist.",
    "InvalidHandshakeTransition": "The handshake's present state does not allow this.",
    "MasterCannotLeaveOrganization": "You can't remove the management account from its organization.",
    "OrganizationNotEmpty": "To delete an organization you must first remove all member accounts.",
    "OrganizationalUnitNotEmpty": "The OU is not empty: move its accounts and remove its OUs first.",
    "OrganizationalUnitNotFound": "You specified an organizational unit that doesn't exist.",
    "ParentNotFound": "You specified a parent that doesn't exist.",
    "PolicyInUse": (
        "The policy is attached to one or more entities. You must detach it from all roots, OUs, and accounts before "
        "performing this operation."
    ),
    "PolicyNotAttached": "The policy isn't attached to the specified target.",
    "PolicyNotFound": "You specified a policy that doesn't exist.",
    "PolicyTypeAlreadyEnabled": "The specified policy type is already enabled.",
    "PolicyTypeNotAvailableForOrganization": "The policy type is not available for your organization.",
    "PolicyTypeNotEnabled": "This operation can be performed only for enabled policy types.",
    "RootNotFound": "You specified a root that doesn't exist.",
    "SourceParentNotFound": "You specified a source container that doesn't exist.",
    "TargetNotFound": "You specified a target that doesn't exist.",
}

_CONSTRAINTS: Mapping[str, str] = {
    "ACCOUNT_NUMBER_LIMIT_EXCEEDED": "You have exceeded the allowed number of AWS accounts.",
    "CANNOT_CLOSE_MANAGEMENT_ACCOUNT": "You can't close the management account of an organization.",
    "CANNOT_REGISTER_MASTER_AS_DELEGATED_ADMINISTRATOR": (
        "You cannot register master account/yourself as delegated administrator for your organization."
    ),
    "CANNOT_REGISTER_SUSPENDED_ACCOUNT_AS_DELEGATED_ADMINISTRATOR": (
        "You can't register a suspended account as a delegated administrator."
    ),
    "CANNOT_REMOVE_DELEGATED_ADMINISTRATOR_FROM_ORG": (
        "The account is a delegated administrator: deregister it before it leaves the organization."
    ),
    "DELEGATED_ADMINISTRATOR_EXISTS_FOR_THIS_SERVICE": (
        "The service has delegated administrators: deregister them before you disable its access."
    ),
    "MAX_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED": (
        "You have attached the maximum number of policies of this type to the specified target."
    ),
    "MAX_TAG_LIMIT_EXCEEDED": "The resource has reached the maximum number of tags.",
    "MIN_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED": (
        "You cannot remove the last policy attached to the specified target. You must have at least one attached at "
        "all times."
    ),
    "ORGANIZATION_NOT_IN_ALL_FEATURES_MODE": "The organization does not have all features enabled.",
    "OU_DEPTH_LIMIT_EXCEEDED": "You have exceeded the allowed depth of nested OUs.",
    "OU_NUMBER_LIMIT_EXCEEDED": "You have exceeded the allowed number of OUs.",
    "POLICY_CONTENT_LIMIT_EXCEEDED": "You have exceeded the maximum size of a policy of this type.",
    "POLICY_NUMBER_LIMIT_EXCEEDED": "You have exceeded the allowed number of policies of this type.",
    "SERVICE_ACCESS_NOT_ENABLED": "Enable the service's access to the organization first.",
}

_INPUTS: Mapping[str, str] = {
    "DUPLICATE_TAG_KEY": "Tags: a key is given twice.",
    "IMMUTABLE_POLICY": "PolicyId: you can't change a policy that AWS manages.",
    "INVALID_NEXT_TOKEN": "NextToken: get a new one from the first page.",
    "INVALID_PARTY_TYPE_TARGET": "Target: an invitation goes to an ACCOUNT or an EMAIL.",
    "INVALID_PATTERN": "you provided a value that does not match the required pattern.",
    "INVALID_ROLE_NAME": "RoleName: not the name of an IAM role.",
    "INVALID_SYSTEM_TAGS_PARAMETER": "Tags: keys that begin with aws: are reserved.",
    "TARGET_NOT_SUPPORTED": "Target: there is no such account.",
    "UNRECOGNIZED_SERVICE_PRINCIPAL": "You specified an unrecognized service principal.",
}

_HANDSHAKES: Mapping[str, str] = {
    "ACCOUNT_NUMBER_LIMIT_EXCEEDED": "You have exceeded the allowed number of AWS accounts.",
    "ALREADY_IN_AN_ORGANIZATION": "The account is already a member of an organization.",
}


def fault(name: str) -> ServiceFault:
    """The fault ``name`` (without ``Exception``)."""
    return ServiceFault(f"{name}Exception", _FAULTS[name])


def constraint(reason: str) -> ServiceFault:
    """ConstraintViolationException: a limit or a rule of organizations."""
    return ServiceFault("ConstraintViolationException", _CONSTRAINTS[reason], fields={"Reason": reason})


def invalid_input(reason: str, parameter: str = "") -> ServiceFault:
    """InvalidInputException: a parameter's value.  ``parameter`` is named where the reason does not say which."""
    text = f"{parameter}: {_INPUTS[reason]}" if parameter else _INPUTS[reason]
    return ServiceFault("InvalidInputException", text, fields={"Reason": reason})


def handshake_constraint(reason: str) -> ServiceFault:
    """HandshakeConstraintViolationException: what keeps an account from joining."""
    return ServiceFault("HandshakeConstraintViolationException", _HANDSHAKES[reason], fields={"Reason": reason})
