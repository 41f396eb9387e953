"""The AccessDenied of a decision, in AWS's words of today.

Rules:

* ``User: <arn> is not authorized to perform: <action> on resource: <resource> <reason>``, where the reason names the
  kind of policy; an explicit deny of a managed or service control policy names its ARN.
* S3 puts the resource in double quotes, and tells nothing to a caller of another account and organization.  IAM names
  its users, groups and roles, not their ARNs, unless one is made or passed.  What has no resource names none, but for
  IAM and Organizations, which name ``*``.
* STS gives no reason across accounts, and to a web identity nothing but the action.
* The code is the protocol's, or one of the service's own (``_BY_PROTOCOL``, ``_BY_SERVICE``); the status is the model's
  where it knows the error.  A service that once spoke query kept the code of then.
* SNS spells its own name in capitals there, SQS the action in small letters.
* EC2 begins its sentence with one of its own, and ends it with the sealed message that others have in a header.

Source: botocore's models; Amazon EC2 API reference, "Error codes"; IAM user guide, "Troubleshoot access denied error
messages"; Amazon S3 user guide, "Troubleshoot access denied (403 Forbidden) errors"; AWS's answers as its users quote
them.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import IdentityType
from opentrail.core.policy import AuthorizationRequest, Decision, PolicyKind
from opentrail.core.wire.model import ServiceModel
from opentrail.server.authorization_messages import HEADER

_NAMED_BY_ARN = frozenset({"iam:CreateGroup", "iam:CreateRole", "iam:CreateUser", "iam:PassRole"})
_IAM_ENTITIES = frozenset({"group", "role", "user"})
_SHOW_STAR = frozenset({"iam", "organizations"})


_DENIED = ("AccessDenied", 403)  # S3, query, rest-xml

_BY_PROTOCOL: Mapping[str, tuple[str, int]] = {
    "ec2": ("UnauthorizedOperation", 403),
    "json": ("AccessDeniedException", 400),
    "rest-json": ("AccessDeniedException", 403),
    "smithy-rpc-v2-cbor": ("AccessDeniedException", 400),
}
_BY_SERVICE: Mapping[str, tuple[str, int]] = {"sns": ("AuthorizationError", 403)}


def denial(decision: Decision, service: ServiceModel, *, is_kin: bool, sealed: str = "") -> ServiceFault:
    """The fault that refuses what ``decision`` denies.

    ``is_kin``: the resource is of the caller's account or organization.  ``sealed``: the decision's authorization
    message, "" where there is none.
    """
    text = denied_sentence(decision, is_kin=is_kin) if _may_know(decision, service, is_kin=is_kin) else "Access Denied"
    headers = ((HEADER, sealed),) if sealed else ()
    if service.protocol == "ec2":
        text = f"You are not authorized to perform this operation. {text}"
        text += f". Encoded authorization failure message: {sealed}" if sealed else ""
        headers = ()
    return access_denied(service, text, headers=headers)


def access_denied(service: ServiceModel, text: str, *, headers: tuple[tuple[str, str], ...] = ()) -> ServiceFault:
    """What is denied, in the code and with the status that the service has for it."""
    kept = _DENIED if service.query_compatible else _BY_PROTOCOL.get(service.protocol, _DENIED)
    code, status = _BY_SERVICE.get(service.name, kept)
    shape = service.error(code)
    if shape is not None and shape.error is not None and shape.error.status is not None:
        status = shape.error.status
    return ServiceFault(code, text, status=status, headers=headers)


def denied_sentence(decision: Decision, *, is_kin: bool) -> str:
    """AWS's sentence for a decision that denies."""
    request = decision.request
    principal, action = request.principal, _spelled(request.action)
    if principal.type is IdentityType.WEB_IDENTITY_USER:
        return f"Not authorized to perform {action}"
    user = principal.arn or principal.invoked_by
    resource = _resource(request)
    where = f" on resource: {resource}" if resource else ""
    sentence = f"User: {user} is not authorized to perform: {action}{where}"
    if action.startswith("sts:") and not request.is_same_account:
        return sentence
    return f"{sentence} {_reason(decision, is_kin=is_kin)}"


def _spelled(action: str) -> str:
    """``action`` as its service's messages spell it: ``SNS:Publish``, ``sqs:sendmessage``."""
    service, _, name = action.partition(":")
    if service == "sns":
        return f"SNS:{name}"
    return action.lower() if service == "sqs" else action


def _may_know(decision: Decision, service: ServiceModel, *, is_kin: bool) -> bool:
    return not decision.request.principal.is_anonymous and (is_kin or service.name != "s3")


def _reason(decision: Decision, *, is_kin: bool) -> str:
    kind, action = decision.kind, _spelled(decision.request.action)
    is_trust = kind is PolicyKind.RESOURCE and action.startswith("sts:")  # STS has no other resource with a policy
    if not decision.explicit:
        name = "role trust policy" if is_trust else kind or PolicyKind.IDENTITY
        return f"because no {name} allows the {action} action"
    if is_trust:
        return "with an explicit deny in the role trust policy"
    article = "an" if kind is PolicyKind.IDENTITY else "a"
    has_arn = is_kin and kind is not PolicyKind.RESOURCE and decision.policy.startswith("arn:")
    return f"with an explicit deny in {article} {kind}" + (f": {decision.policy}" if has_arn else "")


def _resource(request: AuthorizationRequest) -> str:
    service = request.action.partition(":")[0]
    if request.resource == "*":
        return "*" if service in _SHOW_STAR else ""
    if service == "s3":
        return f'"{request.resource}"'
    if service == "iam" and request.action not in _NAMED_BY_ARN:
        kind, _, name = request.resource.split(":", 5)[-1].partition("/")
        if kind in _IAM_ENTITIES and name:
            return f"{kind} {name.rpartition('/')[2]}"
        if kind == "policy" and name:
            return f"policy {request.resource}"
    return request.resource
