"""OpenID Connect ID tokens: is it its issuer's, is it meant for this account, is it valid now.

Rules: nothing that a token says is believed before its signature is proven with a key that its issuer publishes, but
for its issuer, which must be a provider of the role's account; the algorithm is one of a fixed list and fits the key;
``exp``, ``iat``, ``sub`` and an audience that the provider lists are required.  ``azp``, where there is one, is the
audience.

Source: OpenID Connect Core 1.0, section 3.1.3.7; RFC 7519; IAM user guide, "Available keys for AWS OIDC federation" and
"Pass session tags in AWS STS" (the claims under https://aws.amazon.com/).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwk, jws
from joserfc.errors import JoseError

from opentrail.core.errors import FormatError, ServiceFault, StorageError
from opentrail.core.identity import WebIdentity
from opentrail.services.sts.deps import StsDeps
from opentrail.services.sts.session_parameters import SESSION_TAGS, read_tags, read_transitive_keys
from opentrail.state.oidc_providers import OidcProvider

ALGORITHMS: Mapping[str, str] = {  # to the type of key that each needs
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "ES256": "EC", "ES384": "EC", "ES512": "EC",
}  # fmt: skip
CLOCK_SKEW_SECONDS = 300  # how far ahead an issuer's clock may be
MAX_SUBJECT_CHARACTERS = 255

_SOURCE_IDENTITY = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_CLAIMS = "https://aws.amazon.com/"
_TAGS = f"{_CLAIMS}tags"
_REGISTRY = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
_REGISTRY.max_header_length = 8192  # a certificate chain fits


def prove_id_token(token: str, account_id: str, deps: StsDeps, now: datetime) -> WebIdentity:
    """Who bears ``token``, as a provider of ``account_id`` vouches for it at ``now`` (aware).

    Raises ``ServiceFault`` InvalidIdentityToken, ExpiredTokenException, IDPCommunicationError, IDPRejectedClaim;
    ``StorageError`` where the account's providers cannot be read.
    """
    header, unproven = _peek(token)
    provider = _provider(unproven.get("iss"), account_id, deps)
    claims = _prove_signature(token, header, provider, deps)
    if claims.get("iss") != unproven.get("iss"):
        raise _invalid("The issuer of the token is not the one that signed it")
    _check_times(claims, now)
    return WebIdentity(
        provider_arn=provider.arn,
        issuer=provider.url,
        claims=_condition_claims(claims, provider),
        **_session_claims(claims),
    )


def _peek(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The header and the claims, unproven."""
    try:
        parts = jws.extract_compact(token.encode(), registry=_REGISTRY)
        claims = orjson.loads(parts.payload)
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):  # odd headers raise any of them
        claims = None
    if not isinstance(claims, dict):
        raise _invalid("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
    return parts.headers(), claims


def _provider(issuer: object, account_id: str, deps: StsDeps) -> OidcProvider:
    if not isinstance(issuer, str) or not issuer:
        raise _invalid("Missing a required claim: iss")
    for url in dict.fromkeys((issuer, issuer.rstrip("/"))):
        provider = deps.providers.find(account_id, url)
        if provider is not None:
            return provider
    raise _invalid(f"No OpenIDConnect provider found in your account for {issuer[:255]}")


def _prove_signature(token: str, header: Mapping[str, Any], provider: OidcProvider, deps: StsDeps) -> Mapping[str, Any]:
    algorithm, key_id = header.get("alg"), header.get("kid") or ""
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not isinstance(key_id, str):
        raise _invalid(f"The token must be signed with one of {', '.join(ALGORITHMS)}")
    try:
        published = deps.issuer_keys.find(f"https://{provider.url}", provider.thumbprints, key_id)
    except StorageError:  # why is the operator's to know: whoever names a host would learn what is there
        raise ServiceFault("IDPCommunicationError", "The identity provider could not be reached") from None
    except FormatError as error:
        text = f"Couldn't retrieve verification key from your identity provider: {error}"
        raise _invalid(text) from None
    for key in _candidates(published, ALGORITHMS[algorithm], key_id):
        try:
            proven = jws.deserialize_compact(token, jwk.import_key(dict(key)), [algorithm], _REGISTRY)
        except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):  # such a key proves nothing
            continue
        claims = orjson.loads(proven.payload)
        assert isinstance(claims, dict), "the same payload was read before"
        return claims
    raise _invalid("The token's signature is not that of a key of its issuer")


def _candidates(keys: Sequence[Mapping[str, Any]], key_type: str, key_id: str) -> list[Mapping[str, Any]]:
    """The keys that may have signed: of the right type, for signatures, and of the name that the token says."""
    fitting = [key for key in keys if key.get("kty") == key_type and key.get("use", "sig") == "sig"]
    return [key for key in fitting if not key_id or key.get("kid") == key_id]


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    seconds = int(now.timestamp())
    expiry = _time(claims, "exp")
    if expiry <= seconds:
        text = f"Token expired: current date/time {seconds} must be before the expiration date/time {expiry}"
        raise ServiceFault("ExpiredTokenException", text)
    for name in ("iat", "nbf") if "nbf" in claims else ("iat",):
        start = _time(claims, name)
        if start > seconds + CLOCK_SKEW_SECONDS:
            raise _invalid(f"The token is not valid yet: current date/time {seconds}, {name} {start}")


def _time(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519, section 2): seconds since the epoch."""
    value = claims.get(name)
    if value is None:
        raise _invalid(f"Missing a required claim: {name}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"The claim {name} is not a time")
    return value


def _condition_claims(claims: Mapping[str, Any], provider: OidcProvider) -> Mapping[str, tuple[str, ...]]:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise _invalid("Missing a required claim: sub")
    audiences = _texts(claims.get("aud"))
    authorized_party = claims.get("azp")
    accepted = (authorized_party,) if isinstance(authorized_party, str) and authorized_party else audiences
    audience = next((each for each in accepted if each in provider.client_ids), None)
    if audience is None:
        raise _invalid("Incorrect token audience")
    others = {
        "oaud": audiences if accepted is not audiences else (),
        "amr": _texts(claims.get("amr")),
        "email": _texts(claims.get("email")),
    }
    return {"aud": (audience,), "sub": (subject,), **{name: values for name, values in others.items() if values}}


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str) and each)


def _session_claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    """What the token wants its session to have: tags, nested or flattened, and a source identity."""
    source_identity = claims.get(f"{_CLAIMS}source_identity") or ""
    if not isinstance(source_identity, str) or (source_identity and not _SOURCE_IDENTITY.fullmatch(source_identity)):
        raise _rejected("source_identity is not 2 to 64 characters of those that a source identity may have")
    nested = claims.get(_TAGS) or _flattened_tags(claims)
    given = nested.get("principal_tags", {}) if isinstance(nested, dict) else None
    if not isinstance(given, dict):
        raise _rejected("principal_tags is not an object")
    if len(given) > SESSION_TAGS:
        raise _rejected(f"principal_tags are more than {SESSION_TAGS}")
    try:
        tags = read_tags([{"Key": key, "Value": _tag_value(key, value)} for key, value in given.items()])
        keys = read_transitive_keys(_texts(nested.get("transitive_tag_keys")), tags)
    except ServiceFault as fault:
        raise _rejected(fault.message) from None
    return {"session_tags": tags, "transitive_tag_keys": keys, "source_identity": source_identity}


def _flattened_tags(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of issuers that cannot nest them: ``https://aws.amazon.com/tags/principal_tags/KEY``."""
    prefix = f"{_TAGS}/principal_tags/"
    tags = {name.removeprefix(prefix): value for name, value in claims.items() if name.startswith(prefix)}
    return {"principal_tags": tags, "transitive_tag_keys": claims.get(f"{_TAGS}/transitive_tag_keys")}


def _tag_value(key: str, value: object) -> str:
    values = value if isinstance(value, list) else [value]
    if len(values) != 1 or not isinstance(values[0], str) or len(values[0]) > 256 or not 0 < len(key) <= 128:
        raise _rejected("principal_tags must have keys of 1 to 128 characters, each with one text of up to 256")
    return values[0]


def _invalid(text: str) -> ServiceFault:
    return ServiceFault("InvalidIdentityToken", text)


def _rejected(text: str) -> ServiceFault:
    return ServiceFault("IDPRejectedClaim", f"The token's claims under {_CLAIMS} cannot be used: {text}", status=403)
