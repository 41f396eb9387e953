"""Issuing credentials: an access key ID, a secret, and the token that says whose they are and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from opentrail.core.credentials import (
    ACCESS_KEY_ID_BYTES,
    SECRET_BYTES,
    TEMPORARY,
    format_access_key_id,
    format_secret,
)
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer, WebIdentity
from opentrail.core.session_tokens import MAX_TOKEN_CHARACTERS, SessionCredentials
from opentrail.core.wire.calls import ApiCall
from opentrail.services.sts.deps import StsDeps
from opentrail.services.sts.session_parameters import SessionParameters
from opentrail.state.entities import Role


def issue_credentials(call: ApiCall, identity: Identity, deps: StsDeps) -> dict[str, Any]:
    """The ``Credentials`` of a session, which ``identity`` describes but for its access key ID, and their size."""
    session = identity.session
    assert session is not None, "credentials are issued for a session"
    key_id = format_access_key_id(identity.account_id, deps.random_bytes(ACCESS_KEY_ID_BYTES), TEMPORARY)
    secret = format_secret(deps.random_bytes(SECRET_BYTES))
    holder = replace(identity, access_key_id=key_id)
    token = deps.tokens.seal(
        SessionCredentials(access_key_id=key_id, secret=secret, identity=holder),
        minimum_characters=call.parameters.get("MinimumSessionTokenSize") or 0,
    )
    return {
        "Credentials": {
            "AccessKeyId": key_id,
            "SecretAccessKey": secret,
            "SessionToken": token,
            "Expiration": session.expiration,
        },
        "SessionTokenSize": len(token),
        "SessionTokenUtilization": -(-100 * len(token) // MAX_TOKEN_CHARACTERS),
    }


def issue_role_session(
    call: ApiCall,
    role: Role,
    deps: StsDeps,
    *,
    seconds: int,
    parameters: SessionParameters,
    source_identity: str = "",
    web_identity: WebIdentity | None = None,
) -> dict[str, Any]:
    """What AssumeRole and its like answer for a session of ``role``, of which ``call`` says the name."""
    name = call.parameters["RoleSessionName"]
    issuer = SessionIssuer(
        type="Role", principal_id=role.entity_id, arn=role.arn, account_id=role.account_id, user_name=role.name
    )
    session = replace(
        _session(issuer, name=name, now=call.now, seconds=seconds, parameters=parameters),
        source_identity=source_identity,
        web_identity=_lasting(web_identity) if web_identity else None,
    )
    identity = Identity(
        type=IdentityType.ASSUMED_ROLE,
        principal_id=f"{role.entity_id}:{name}",
        arn=f"arn:aws:sts::{role.account_id}:assumed-role/{role.name}/{name}",
        account_id=role.account_id,
        session=session,
    )
    answer = {
        **issue_credentials(call, identity, deps),
        "AssumedRoleUser": {"AssumedRoleId": identity.principal_id, "Arn": identity.arn},
        **_packed(parameters),
    }
    return answer | {"SourceIdentity": source_identity} if source_identity else answer


def issue_federation(call: ApiCall, deps: StsDeps, *, seconds: int, parameters: SessionParameters) -> Mapping[str, Any]:
    """What GetFederationToken answers: a session of the calling user (or root), under a name of its own."""
    caller, name = call.identity, call.parameters["Name"]
    issuer = SessionIssuer(
        type=caller.type.value,
        principal_id=caller.principal_id,
        arn=caller.arn,
        account_id=caller.account_id,
        user_name=caller.user_name,
    )
    identity = Identity(
        type=IdentityType.FEDERATED_USER,
        principal_id=f"{caller.account_id}:{name}",
        arn=f"arn:aws:sts::{caller.account_id}:federated-user/{name}",
        account_id=caller.account_id,
        session=_session(issuer, name=name, now=call.now, seconds=seconds, parameters=parameters),
    )
    return {
        **issue_credentials(call, identity, deps),
        "FederatedUser": {"FederatedUserId": identity.principal_id, "Arn": identity.arn},
        **_packed(parameters),
    }


def issue_own_session(call: ApiCall, deps: StsDeps, *, seconds: int) -> Mapping[str, Any]:
    """What GetSessionToken answers: a session in which the caller stays who it is."""
    session = _session(None, name="", now=call.now, seconds=seconds, parameters=SessionParameters())
    return issue_credentials(call, replace(call.identity, session=session), deps)


def _session(
    issuer: SessionIssuer | None, *, name: str, now: datetime, seconds: int, parameters: SessionParameters
) -> Session:
    start = now.replace(microsecond=0)
    return Session(
        issuer=issuer,
        creation_date=start,
        expiration=start + timedelta(seconds=seconds),
        name=name,
        policy=parameters.policy,
        policy_arns=parameters.policy_arns,
        tags=parameters.tags,
        transitive_tag_keys=parameters.transitive_tag_keys,
    )


def _lasting(web_identity: WebIdentity) -> WebIdentity:
    """What a session keeps of its token: who, and for whom; the other claims spoke of the call that began it."""
    claims = {name: web_identity.claims[name] for name in ("aud", "sub")}
    return WebIdentity(provider_arn=web_identity.provider_arn, issuer=web_identity.issuer, claims=claims)


def _packed(parameters: SessionParameters) -> dict[str, Any]:
    return {} if parameters.packed_percent is None else {"PackedPolicySize": parameters.packed_percent}
