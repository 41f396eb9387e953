"""What a caller asks of a session, beside whose it shall be: session policies, session tags, a second factor.

An AWS conversion packs policies and tags into a binary form whose size is limited as well, and answers how much of that
limit they take (``PackedPolicySize``).  Here the form is deflated JSON.

Source: IAM user guide, "Session policies", "Pass session tags in AWS STS", "IAM and AWS STS quotas".
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.sts.deps import StsDeps

POLICY_CHARACTERS = 2048
POLICY_ARNS = 10
PACKED_BYTES = 3000  # 100 %: the one packed size that a real record shows (4 % for 124 characters) is met with it
SESSION_TAGS = 50

_TAG_PATTERN = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]"
_TAG_PUNCTUATION = frozenset("_.:/=+-@")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParameters:
    """Checked session policies and tags.  ``packed_percent`` is None where there are none of either."""

    policy: str = ""
    policy_arns: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive_tag_keys: tuple[str, ...] = ()
    packed_percent: int | None = None


def read_session_parameters(
    call: ApiCall,
    deps: StsDeps,
    account_id: str,
    *,
    tags: Mapping[str, str],
    transitive_tag_keys: tuple[str, ...] = (),
) -> SessionParameters:
    """The policies that ``call`` passes to a session of ``account_id``, with ``tags``, which are checked already.

    Raises ``ServiceFault`` ValidationError, MalformedPolicyDocument, PackedPolicyTooLarge.
    """
    policy = call.parameters.get("Policy") or ""
    if len(policy) > POLICY_CHARACTERS:
        raise _too_long("policy", POLICY_CHARACTERS)
    if policy:
        try:
            deps.check_policy(policy)
        except FormatError as error:
            raise ServiceFault("MalformedPolicyDocument", str(error)) from None
    arns = tuple(each["arn"] for each in call.parameters.get("PolicyArns") or () if each.get("arn"))
    if len(arns) > POLICY_ARNS:
        raise _too_long("policyArns", POLICY_ARNS)
    for arn in arns:
        if arn.split(":")[4:5] not in ([account_id], ["aws"]) or deps.identities.policy_text(arn) is None:
            raise ServiceFault("ValidationError", f"Policy {arn} does not exist or is not attachable.")
    return SessionParameters(
        policy=policy,
        policy_arns=arns,
        tags=tags,
        transitive_tag_keys=transitive_tag_keys,
        packed_percent=_packed_percent(policy, arns, tags),
    )


def read_tags(tags: Iterable[Mapping[str, str]]) -> Mapping[str, str]:
    """Session tags by key.  Raises ``ServiceFault`` ValidationError, InvalidParameterValue for a key given twice."""
    found: dict[str, str] = {}
    for number, tag in enumerate(tags, 1):
        key, value = tag["Key"], tag["Value"]
        _check_tag_text(key, f"tags.{number}.member.key", "+")
        _check_tag_text(value, f"tags.{number}.member.value", "*")
        if key.lower().startswith("aws:"):
            raise ServiceFault("InvalidParameterValue", f"Tag keys that begin with aws: are reserved: {key}")
        if key.lower() in {each.lower() for each in found}:
            text = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
            raise ServiceFault("InvalidParameterValue", text)
        found[key] = value
    return found


def read_transitive_keys(keys: Sequence[str], tags: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of ``tags`` that shall be transitive, as the tags spell them.

    Raises ``ServiceFault`` InvalidParameterValue for one that is no tag's.
    """
    spelled = {key.lower(): key for key in tags}
    unknown = [key for key in keys if key.lower() not in spelled]
    if unknown:
        text = f"The specified transitive tag key must be included in the requested tags: {unknown[0]}"
        raise ServiceFault("InvalidParameterValue", text)
    return tuple(dict.fromkeys(spelled[key.lower()] for key in keys))


def require_no_device(parameters: Mapping[str, Any]) -> None:
    """Refuse a call with a multi-factor device's serial number or code: nobody here has one.

    Raises ``ServiceFault`` AccessDenied, ValidationError.
    """
    serial, code = parameters.get("SerialNumber"), parameters.get("TokenCode")
    if serial and code:
        text = (
            "MultiFactorAuthentication failed, unable to validate MFA code.  "
            "Please verify your MFA serial number is valid and associated with this user."
        )
        raise ServiceFault("AccessDenied", text, status=403)
    if serial or code:
        raise ServiceFault("ValidationError", "SerialNumber and TokenCode must be given together.")


def tag_context(tags: Mapping[str, str], transitive_tag_keys: Sequence[str] = ()) -> dict[str, list[str]]:
    """The condition keys of the tags that a session shall get."""
    context = {f"aws:requesttag/{key.lower()}": [value] for key, value in tags.items()}
    if tags:
        context["aws:tagkeys"] = list(tags)
    if transitive_tag_keys:
        context["sts:transitivetagkeys"] = list(transitive_tag_keys)
    return context


def _packed_percent(policy: str, arns: tuple[str, ...], tags: Mapping[str, str]) -> int | None:
    if not policy and not arns and not tags:
        return None
    size = len(zlib.compress(orjson.dumps([policy, arns, dict(tags)]), 9))
    percent = -(-100 * size // PACKED_BYTES)
    if percent > 100:
        text = f"Packed size of session tags consumes {percent}% of allotted space."
        if policy or arns:
            text = f"Packed size of session policies and session tags consumes {percent}% of allotted space."
        raise ServiceFault("PackedPolicyTooLarge", text)
    return percent


def _check_tag_text(text: str, path: str, times: str) -> None:
    """Letters, separators and numbers of any script, and eight marks: the model's pattern, which is Java's."""
    if not all(letter in _TAG_PUNCTUATION or unicodedata.category(letter)[0] in "LZN" for letter in text):
        constraint = f"Member must satisfy regular expression pattern: {_TAG_PATTERN}{times}"
        raise _invalid(f"Value '{text}' at '{path}' failed to satisfy constraint: {constraint}")


def _too_long(path: str, limit: int) -> ServiceFault:
    return _invalid(
        f"Value at '{path}' failed to satisfy constraint: Member must have length less than or equal to {limit}"
    )


def _invalid(violation: str) -> ServiceFault:
    return ServiceFault("ValidationError", f"1 validation error detected: {violation}")
