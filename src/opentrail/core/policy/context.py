"""The global condition keys of a request: what every policy may ask about the caller and the call.

Rules: keys are lower case; a key that does not apply is absent, never empty; ``aws:PrincipalArn`` of a role's session
is its role's ARN; what a session was issued with (its time, its source identity, its tags) is its bearer's, and no call
can change it.  There are no multi-factor devices here, so ``aws:MultiFactorAuthAge`` never applies.

Source: IAM user guide, "AWS global condition context keys", "IAM and AWS STS condition context keys".
"""

from __future__ import annotations

from datetime import UTC, datetime

from opentrail.core.identity import Identity, IdentityType, Session, WebIdentity

_PRINCIPAL_TYPES = {
    IdentityType.ROOT: "Account",
    IdentityType.IAM_USER: "User",
    IdentityType.ASSUMED_ROLE: "AssumedRole",
    IdentityType.FEDERATED_USER: "FederatedUser",
}


def principal_context(identity: Identity) -> dict[str, list[str]]:
    """The keys that describe ``identity``."""
    context = {"aws:principalisawsservice": ["true" if identity.is_service else "false"]}
    if identity.is_anonymous:
        context["aws:principaltype"] = ["Anonymous"]
        return context
    if identity.is_service:
        context["aws:principalservicename"] = [identity.invoked_by]
        return context
    if identity.web_identity is not None:  # the bearer of a token is no principal of any account yet
        return context | web_identity_context(identity.web_identity)
    issuer = identity.session.issuer if identity.session else None
    is_role = identity.type is IdentityType.ASSUMED_ROLE
    context["aws:principalarn"] = [issuer.arn if issuer and is_role else identity.arn]
    context["aws:principalaccount"] = [identity.account_id]
    context["aws:userid"] = [identity.principal_id]
    principal_type = _PRINCIPAL_TYPES.get(identity.type)
    if principal_type:
        context["aws:principaltype"] = [principal_type]
    if identity.type is IdentityType.IAM_USER:
        context["aws:username"] = [identity.user_name]
    if identity.session:
        context |= _session_context(identity.session, is_role=is_role)
    for name, value in identity.tags.items():
        context[f"aws:principaltag/{name.lower()}"] = [value]
    return context


def _session_context(session: Session, *, is_role: bool) -> dict[str, list[str]]:
    context = {
        "aws:multifactorauthpresent": ["true" if session.mfa_authenticated else "false"],
        "aws:tokenissuetime": [_iso(session.creation_date)],
    }
    if session.source_identity:
        context["aws:sourceidentity"] = [session.source_identity]
    if is_role and session.name:
        context["aws:rolesessionname"] = context["sts:rolesessionname"] = [session.name]
    if session.web_identity is not None:
        context |= web_identity_context(session.web_identity)
    return context


def web_identity_context(web_identity: WebIdentity) -> dict[str, list[str]]:
    """The keys that an OpenID Connect token brings: ``issuer:sub``, ``issuer:aud`` ..., and its provider."""
    context = {f"{web_identity.issuer}:{name}".lower(): list(values) for name, values in web_identity.claims.items()}
    context["aws:federatedprovider"] = [web_identity.provider_arn]
    return context


def call_context(
    *,
    now: datetime,
    source_ip: str = "",
    secure_transport: bool = False,
    region: str = "",
    user_agent: str = "",
    referer: str = "",
    source_arn: str = "",
    source_account: str = "",
) -> dict[str, list[str]]:
    """The keys that describe the call; ``now`` is aware, empty texts leave their key out."""
    context = {
        "aws:currenttime": [_iso(now)],
        "aws:epochtime": [str(int(now.timestamp()))],
        "aws:securetransport": ["true" if secure_transport else "false"],
        "aws:viaawsservice": ["false"],
    }
    for key, value in (
        ("aws:sourceip", source_ip),
        ("aws:requestedregion", region),
        ("aws:useragent", user_agent),
        ("aws:referer", referer),
        ("aws:sourcearn", source_arn),
        ("aws:sourceaccount", source_account),
    ):
        if value:
            context[key] = [value]
    return context


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()[:19] + "Z"
