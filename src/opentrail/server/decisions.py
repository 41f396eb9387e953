"""Judged calls, and how a line of the decision log holds one.

The policy engine is pure: the same request and the same policies give the same decision.  So a line keeps what a
decision was made from, not what it would say, and whoever asks why makes the decision again (``explanation``).  Keeping
it costs the call one append to a queue; the line is written later, by a thread (``decision_log``).

A segment of the log is self-contained JSON lines.  What many decisions share is written once a segment and referred to
by its number:

* ``{"text": n, "is": "<a policy's JSON text>"}``
* ``{"caller": n, "is": CALLER}``: the identity, its own condition keys, its policies (``[name, text's number]``)
* ``{"event": "<event ID>", "time": seconds since 1970, "operation": "s3:GetObject", "caller": n, "within": bool,
  "fault": [code, message] | null, "copies": [further event IDs], "decisions": [{"action", "resource", "owner",
  "allowed", "policy": text's number | null, "type", "must": bool, CONTEXT}]}``, with ``"any": ["resource", "action"]``
  where it is not known which of the service's it is

CONTEXT is ``"context": {...}``, all condition keys but the caller's own; or, where the call was allowed and no policy
asked for any of them, what they are made from again: ``"head": n, "sent": [...], "own": {...}``, with
``{"head": n, "is": [...]}``.

No line holds a secret: policies, ARNs, and what the call's head says of itself; never its signature or its body.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from opentrail.core.errors import ServiceFault
from opentrail.core.events import encode_json
from opentrail.core.policy import Decision
from opentrail.core.recording.sharing import copy_event_id, shared_event_id
from opentrail.core.wire.calls import ApiCall
from opentrail.server.caller_policies import Standing
from opentrail.server.condition_context import Head, RequestContext
from opentrail.services.base import Permission
from opentrail.state.grants import NamedPolicy

Numbers = dict[str, int]
_VAGUE = ("resource", "action")


class JudgedCall(NamedTuple):
    """A call and what was decided on it.

    ``decisions`` are in their order, each with the permission that was asked for; none where no permission is needed,
    or where ``fault`` came before them.  ``within``: decided by the service while it worked, not before.
    """

    event_id: str
    time: float  # seconds since 1970
    operation: str  # "s3:GetObject"
    standing: Standing
    decisions: tuple[tuple[Decision, Permission], ...]
    fault: ServiceFault | None
    within: bool


def judged_call(
    call: ApiCall,
    standing: Standing,
    decisions: tuple[tuple[Decision, Permission], ...],
    fault: ServiceFault | None,
    *,
    within: bool = False,
) -> JudgedCall:
    """What is kept of ``call``; nothing of its body or its signature."""
    operation = call.operation
    name = f"{operation.service.name}:{operation.name}"
    return JudgedCall(call.event_id, call.now.timestamp(), name, standing, decisions, fault, within)


def _copies(judged: JudgedCall) -> list[str]:
    """The further IDs under which accounts may know the event: its ``sharedEventID``, and those of its copies."""
    own = judged.standing.identity.account_id
    if all(permission.resource_account in {own, ""} for _, permission in judged.decisions) or not own:
        return []
    owners = {permission.resource_account for _, permission in judged.decisions} - {own, ""}
    shared = shared_event_id(judged.event_id)
    return [shared, *[copy_event_id(shared, owner) for owner in sorted(owners)]]


class SegmentEncoder:
    """The lines of one segment.  Not for several threads at once."""

    def __init__(self) -> None:
        self._texts: Numbers = {}
        self._callers: dict[str, tuple[int, Standing]] = {}
        self._count = 0  # of callers
        self._heads: dict[Head, int] = {}
        self._lines: list[bytes] = []

    def encode(self, judged: JudgedCall) -> bytes:
        """The lines for ``judged``: what it refers to, where that is new, and its own."""
        self._lines = []
        line = {
            "event": judged.event_id,
            "time": judged.time,
            "operation": judged.operation,
            "caller": self._caller(judged.standing),
            "within": judged.within,
            "fault": judged.fault and [judged.fault.code, judged.fault.message],
            "decisions": [self._decision(*each) for each in judged.decisions],
        }
        copies = _copies(judged)
        if copies:
            line["copies"] = copies
        return b"\n".join([*self._lines, encode_json(line), b""])

    def _decision(self, decision: Decision, permission: Permission) -> dict[str, Any]:
        request = decision.request
        text = permission.resource_policy
        line = {
            "action": request.action,
            "resource": request.resource,
            "owner": request.resource_account,
            "allowed": decision.allowed,
            "policy": self._text(text) if text else None,
            "type": permission.resource_policy_type,
            "must": permission.resource_must_allow,
        }
        if request.any_resource or request.any_action:
            line["any"] = [name for name in _VAGUE if getattr(request, f"any_{name}")]
        context = request.context
        assert isinstance(context, RequestContext), "the authoriser makes every context"
        unasked = context.unasked() if decision.allowed else None
        if unasked is None:
            line["context"] = context.beside_caller()
        else:
            head, line["sent"], line["own"] = unasked
            line["head"] = self._head(head)
        return line

    def _head(self, head: Head) -> int:
        number = self._heads.get(head)
        if number is None:
            number = self._heads[head] = len(self._heads) + 1
            self._lines.append(encode_json({"head": number, "is": head}))
        return number

    def _caller(self, standing: Standing) -> int:
        identity = standing.identity
        key = identity.access_key_id or identity.arn or identity.invoked_by
        known = self._callers.get(key)
        if known is not None:
            number, same = known
            if same is standing:
                return number
            if (same.texts, same.context, same.identity) == (standing.texts, standing.context, identity):
                return number
        self._count += 1
        self._callers[key] = self._count, standing
        self._lines.append(encode_json({"caller": self._count, "is": self._describe(standing)}))
        return self._count

    def _describe(self, standing: Standing) -> dict[str, Any]:
        identity, texts = standing.identity, standing.texts
        issuer, web = identity.session.issuer if identity.session else None, identity.web_identity
        return {
            "type": identity.type,
            "principal_id": identity.principal_id,
            "arn": identity.arn,
            "account_id": identity.account_id,
            "user_name": identity.user_name,
            "invoked_by": identity.invoked_by,
            "issuer": issuer
            and {
                "type": issuer.type,
                "principal_id": issuer.principal_id,
                "arn": issuer.arn,
                "account_id": issuer.account_id,
                "user_name": issuer.user_name,
            },
            "web_identity": web and [web.provider_arn, web.issuer],
            "context": standing.context,
            "identity": self._named(texts.identity),
            "boundary": texts.boundary and self._named((texts.boundary,))[0],
            "session": None if texts.session is None else self._named(texts.session),
            "service_control": [self._named(level) for level in texts.service_control],
            "level_names": texts.level_names,
        }

    def _named(self, policies: tuple[NamedPolicy, ...]) -> list[tuple[str, int]]:
        return [(each.name, self._text(each.text)) for each in policies]

    def _text(self, text: str) -> int:
        number = self._texts.get(text)
        if number is None:
            number = self._texts[text] = len(self._texts) + 1
            self._lines.append(encode_json({"text": number, "is": text}))
        return number
