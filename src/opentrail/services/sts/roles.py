"""AssumeRole: who is trusted by a role gets a session of it.

Rules: the role's trust policy is the only way in, also for its own account, and speaks of each action that the call
needs: ``sts:AssumeRole``; ``sts:SetSourceIdentity`` where the session gets a source identity; ``sts:TagSession`` where
it gets tags.  What a chain of roles hands on (transitive tags, the source identity) counts as passed by the call, and
cannot be replaced by it.  A role that does not exist is answered as one that trusts nobody.

Source: STS API reference, "AssumeRole"; IAM user guide, "Pass session tags in AWS STS", "Monitor and control actions
taken with assumed roles".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.arn import parse_arn
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.identity import Identity, IdentityType, Session
from opentrail.core.policy import PolicyType
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.services.sts.deps import StsDeps
from opentrail.services.sts.issuing import issue_role_session
from opentrail.services.sts.session_parameters import (
    SESSION_TAGS,
    read_session_parameters,
    read_tags,
    read_transitive_keys,
    require_no_device,
    tag_context,
)
from opentrail.state.entities import Role

ROLE_SECONDS = 3600  # unless the call asks for something else
CHAINED_SECONDS = 3600  # at most, where a session assumes the role


def find_role(arn: str, deps: StsDeps) -> Role | None:
    """The role with this ARN.  Raises ``ServiceFault`` ValidationError for what is no role's ARN, ``StorageError``."""
    account_id, name = parse_role_arn(arn)
    role = deps.identities.find_role(account_id, name)
    return role if role is not None and role.arn == arn else None


def parse_role_arn(arn: str) -> tuple[str, str]:
    """The account and the name in a role's ARN.  Raises ``ServiceFault`` ValidationError."""
    try:
        parsed = parse_arn(arn)
    except FormatError:
        raise ServiceFault("ValidationError", f"{arn} is invalid") from None
    name = parsed.resource.rsplit("/", 1)[-1]
    if parsed.service != "iam" or parsed.region or parsed.resource_type != "role" or not name:
        raise ServiceFault("ValidationError", f"{arn} is invalid")
    if not parsed.account.isdigit():
        raise ServiceFault("ValidationError", f"{arn} is invalid")
    return parsed.account, name


def assume_role_permissions(call: ApiCall, deps: StsDeps) -> tuple[Permission, ...]:
    """What the caller must be allowed, by its own policies and by the role's."""
    if call.identity.type is IdentityType.ROOT:
        raise ServiceFault("AccessDenied", "Roles may not be assumed by root accounts.", status=403)
    tags, transitive = _read_tags(call)
    context = {"sts:rolesessionname": [call.parameters["RoleSessionName"]], **tag_context(tags, transitive)}
    external_id = call.parameters.get("ExternalId")
    if external_id:
        context["sts:externalid"] = [external_id]
    source_identity = _source_identity(call)
    actions = ["AssumeRole"]
    if source_identity:
        context["sts:sourceidentity"] = [source_identity]
        actions.append("SetSourceIdentity")
    if tags:
        actions.append("TagSession")
    return role_permissions(call, deps, actions, context)


def role_permissions(
    call: ApiCall, deps: StsDeps, actions: list[str], context: Mapping[str, list[str]]
) -> tuple[Permission, ...]:
    """The permissions for ``actions`` (``AssumeRole``) on the role that the call names, each by its trust policy."""
    arn = call.parameters["RoleArn"]
    role = find_role(arn, deps)
    keys = dict(context)
    if call.parameters.get("DurationSeconds") is not None:
        keys["sts:durationseconds"] = [str(call.parameters["DurationSeconds"])]
    for key, value in (role.tags if role else {}).items():
        keys[f"aws:resourcetag/{key.lower()}"] = keys[f"iam:resourcetag/{key.lower()}"] = [value]
    return tuple(
        Permission(
            action=f"sts:{action}",
            resource=arn,
            resource_account=parse_role_arn(arn)[0],
            resource_policy=role.trust_policy if role else None,
            resource_policy_type=PolicyType.TRUST,
            resource_must_allow=True,
            context=keys,
        )
        for action in actions
    )


def assume_role(call: ApiCall, deps: StsDeps) -> Mapping[str, Any]:
    """AssumeRole."""
    require_no_device(call.parameters)
    if call.parameters.get("ProvidedContexts"):
        raise ServiceFault("ValidationError", "ProvidedContexts is not supported: no context provider is trusted.")
    role = require_role(call, deps)
    tags, transitive = _read_tags(call)
    return issue_role_session(
        call,
        role,
        deps,
        seconds=session_seconds(call, role),
        parameters=read_session_parameters(call, deps, role.account_id, tags=tags, transitive_tag_keys=transitive),
        source_identity=_source_identity(call),
    )


def require_role(call: ApiCall, deps: StsDeps) -> Role:
    """The role that the call names.  Raises ``ServiceFault`` AccessDenied where it is gone since it was authorised."""
    arn = call.parameters["RoleArn"]
    role = find_role(arn, deps)
    if role is None:
        action = f"sts:{call.operation.name}"
        text = f"User: {call.identity.arn} is not authorized to perform: {action} on resource: {arn}"
        raise ServiceFault("AccessDenied", text, status=403)
    return role


def session_seconds(call: ApiCall, role: Role) -> int:
    """How long the session lasts.  Raises ``ServiceFault`` ValidationError for longer than the role allows."""
    seconds: int = call.parameters.get("DurationSeconds") or ROLE_SECONDS
    if call.identity.session is not None and seconds > CHAINED_SECONDS:
        text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        raise ServiceFault("ValidationError", text)
    if seconds > role.max_session_seconds:
        text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise ServiceFault("ValidationError", text)
    return seconds


def _role_session(caller: Identity) -> Session | None:
    """The session that a chain of roles goes on from."""
    return caller.session if caller.type is IdentityType.ASSUMED_ROLE else None


def _read_tags(call: ApiCall) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The new session's tags, and which of them are transitive: those that the call passes, and the inherited."""
    tags = read_tags(call.parameters.get("Tags") or ())
    transitive = read_transitive_keys(call.parameters.get("TransitiveTagKeys") or (), tags)
    session = _role_session(call.identity)
    if session is None or not session.transitive_tag_keys:
        return tags, transitive
    inherited = {key: session.tags[key] for key in session.transitive_tag_keys}
    passed = {key.lower() for key in tags}
    for key in inherited:
        if key.lower() in passed:
            text = f"The transitive tag key {key} was passed by an earlier role and cannot be replaced."
            raise ServiceFault("InvalidParameterValue", text)
    if len(tags) + len(inherited) > SESSION_TAGS:
        text = f"The session would have more than {SESSION_TAGS} tags, those of earlier roles included."
        raise ServiceFault("InvalidParameterValue", text)
    return {**inherited, **tags}, (*session.transitive_tag_keys, *transitive)


def _source_identity(call: ApiCall) -> str:
    """The new session's source identity: the first of a chain's, which none after it can change."""
    session = _role_session(call.identity)
    inherited = session.source_identity if session else ""
    given: str = call.parameters.get("SourceIdentity") or ""
    if inherited and given and given != inherited:
        text = "The source identity of a session cannot be changed by the roles that it assumes."
        raise ServiceFault("AccessDenied", text, status=403)
    return inherited or given
