"""AssumeRoleWithWebIdentity: who bears the token of an OpenID Connect provider gets a session of a role that trusts it.

The call is unsigned: its token says who calls (``prove_bearer``), which is then authorised by the role's trust policy
alone, under ``Principal.Federated`` and the conditions on the token's claims.

Source: STS API reference, "AssumeRoleWithWebIdentity".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import web_identity_user
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Bearer, Permission
from opentrail.services.sts.deps import StsDeps
from opentrail.services.sts.id_tokens import prove_id_token
from opentrail.services.sts.issuing import issue_role_session
from opentrail.services.sts.roles import find_role, parse_role_arn, require_role, role_permissions, session_seconds
from opentrail.services.sts.session_parameters import read_session_parameters, tag_context


def prove_bearer(call: ApiCall, deps: StsDeps) -> Bearer:
    """Who calls, by the token in the call; where it proves nobody, the role's account (if there is one) is told."""
    account_id, _ = parse_role_arn(call.parameters["RoleArn"])
    if call.parameters.get("ProviderId"):
        text = "ProviderId is for OAuth 2.0 access tokens; OpenID Connect ID tokens alone are supported."
        raise ServiceFault("ValidationError", text)
    try:
        web_identity = prove_id_token(call.parameters["WebIdentityToken"], account_id, deps, call.now)
    except ServiceFault as fault:
        owner = account_id if find_role(call.parameters["RoleArn"], deps) is not None else ""
        return Bearer(owner=owner, fault=fault)
    return Bearer(identity=web_identity_user(account_id, web_identity), owner=account_id)


def web_identity_permissions(call: ApiCall, deps: StsDeps) -> tuple[Permission, ...]:
    """What the role's trust policy must allow the bearer."""
    web_identity = call.identity.web_identity
    if web_identity is None:
        text = "AssumeRoleWithWebIdentity takes no AWS credentials: its token says who calls."
        raise ServiceFault("ValidationError", text)
    context = {
        "sts:rolesessionname": [call.parameters["RoleSessionName"]],
        **tag_context(web_identity.session_tags, web_identity.transitive_tag_keys),
    }
    actions = ["AssumeRoleWithWebIdentity"]
    if web_identity.source_identity:
        context["sts:sourceidentity"] = [web_identity.source_identity]
        actions.append("SetSourceIdentity")
    if web_identity.session_tags:
        actions.append("TagSession")
    return role_permissions(call, deps, actions, context)


def assume_role_with_web_identity(call: ApiCall, deps: StsDeps) -> Mapping[str, Any]:
    """AssumeRoleWithWebIdentity."""
    web_identity = call.identity.web_identity
    assert web_identity is not None, "its permissions require one"
    role = require_role(call, deps)
    parameters = read_session_parameters(
        call,
        deps,
        role.account_id,
        tags=web_identity.session_tags,
        transitive_tag_keys=web_identity.transitive_tag_keys,
    )
    answer = issue_role_session(
        call,
        role,
        deps,
        seconds=session_seconds(call, role),
        parameters=parameters,
        source_identity=web_identity.source_identity,
        web_identity=web_identity,
    )
    return answer | {
        "SubjectFromWebIdentityToken": web_identity.subject,
        "Provider": web_identity.provider_arn,
        "Audience": web_identity.audience,
    }
