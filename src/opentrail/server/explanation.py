"""Why a recorded call was allowed or denied, from the decision log.

Reads the segments of ``decision_log``, takes what a decision was made from, and makes it again.  Where this version of
Opentrail would decide otherwise than the one that decided, the explanation says so.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from opentrail.core.events import format_time
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer, WebIdentity
from opentrail.core.policy import AuthorizationRequest, PolicySet, PolicyType, evaluate
from opentrail.server.caller_policies import PolicyTexts, compile_policies, resource_policies, with_resource
from opentrail.server.condition_context import Head, keys_of
from opentrail.server.decision_log import segments_of
from opentrail.server.service_table import REQUEST_KEYS
from opentrail.state.grants import NamedPolicy


def explain_event(folder: Path, event_id: str) -> dict[str, Any] | None:
    """Why the call with this event ID was decided as it was, as JSON; None where no decision on it is kept.

    ::

        {"eventID": ..., "time": "2024-05-01T12:00:00Z", "operation": "s3:GetObject", "allowed": bool,
         "principal": "arn:...", "fault": {"code": ..., "message": ...} | null,
         "decisions": [{... core.policy.Decision.explain() ..., "resourceAccount": "123456789012" | null,
                        "within": bool, "changed": bool, "context": {"aws:sourceip": ["..."], ...},
                        "policies": [{"kind": "identity-based policy", "name": ...}, ...]}]}

    ``within``: a decision that the service made while it worked.  ``changed``: this version decides otherwise; what is
    said of why is then this version's.  ``policies`` are all that were asked.  The ID of a copy that another account
    received, and a ``sharedEventID``, find their call as well; ``eventID`` is the caller's.
    """
    for _, path in reversed(segments_of(folder)):
        segment = _read_segment(path, event_id)
        if segment is not None:
            return _explain(segment)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """What a segment says of one event, and everything that its lines may refer to."""

    texts: dict[int, str] = field(default_factory=dict)
    callers: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    heads: dict[int, Head] = field(default_factory=dict)
    lines: list[Mapping[str, Any]] = field(default_factory=list)


def _read_segment(path: Path, event_id: str) -> _Segment | None:
    """The event's lines; None where the segment has none, or is gone by now."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(event_id.encode()) < 0:
                return None
            segment = _Segment()
            for line in _whole_lines(data):
                _take_line(segment, line, event_id)
    except (FileNotFoundError, ValueError):  # trimmed; empty, which cannot be mapped
        return None
    return segment if segment.lines else None


def _whole_lines(data: mmap.mmap) -> Iterator[bytes]:
    return (line for line in iter(data.readline, b"") if line.endswith(b"\n"))


def _take_line(segment: _Segment, line: bytes, event_id: str) -> None:
    if line.startswith(b'{"text":'):
        entry = orjson.loads(line)
        segment.texts[entry["text"]] = entry["is"]
    elif line.startswith(b'{"caller":'):
        entry = orjson.loads(line)
        segment.callers[entry["caller"]] = entry["is"]
    elif line.startswith(b'{"head":'):
        entry = orjson.loads(line)
        *texts, organization = entry["is"]
        segment.heads[entry["head"]] = Head._make([*texts, tuple(organization)])
    elif event_id.encode() in line:
        entry = orjson.loads(line)
        if event_id in (entry["event"], *entry.get("copies", ())):
            segment.lines.append(entry)


def _explain(segment: _Segment) -> dict[str, Any]:
    lines = sorted(segment.lines, key=lambda line: bool(line["within"]))
    first = lines[0]
    caller = segment.callers[first["caller"]]
    fault = next((line["fault"] for line in lines if line["fault"] and not line["within"]), None)
    decisions = [_explain_decision(entry, line, segment) for line in lines for entry in line["decisions"]]
    return {
        "eventID": first["event"],
        "time": format_time(datetime.fromtimestamp(first["time"], UTC)),
        "operation": first["operation"],
        "allowed": fault is None,
        "principal": caller["arn"] or caller["invoked_by"] or "anonymous",
        "fault": fault and {"code": fault[0], "message": fault[1]},
        "decisions": decisions,
    }


def _explain_decision(entry: Mapping[str, Any], line: Mapping[str, Any], segment: _Segment) -> dict[str, Any]:
    caller = segment.callers[line["caller"]]
    request = AuthorizationRequest(
        principal=_identity(caller),
        action=entry["action"],
        resource=entry["resource"],
        resource_account=entry["owner"],
        context={**caller["context"], **_context(entry, line, segment)},
        any_resource="resource" in entry.get("any", ()),
        any_action="action" in entry.get("any", ()),
    )
    decision = evaluate(request, _policies(entry, segment, caller))
    return {
        **decision.explain(),
        "resourceAccount": entry["owner"] or None,
        "within": line["within"],
        "changed": decision.allowed is not entry["allowed"],
        "context": dict(sorted(request.context.items())),
        "policies": [{"kind": str(kind), "name": policy.name} for kind, policy in decision.policies.all()],
    }


def _context(entry: Mapping[str, Any], line: Mapping[str, Any], segment: _Segment) -> Mapping[str, list[str]]:
    """The condition keys beside the caller's own."""
    if "context" in entry:
        context: Mapping[str, list[str]] = entry["context"]
        return context
    own = REQUEST_KEYS.get(line["operation"].partition(":")[0])
    date, content = entry["sent"]
    time = datetime.fromtimestamp(line["time"], UTC)
    return {**keys_of(segment.heads[entry["head"]], (date, content), time, own), **entry["own"]}


def _policies(entry: Mapping[str, Any], segment: _Segment, caller: Mapping[str, Any]) -> PolicySet:
    def named(items: list[Any]) -> tuple[NamedPolicy, ...]:
        return tuple(NamedPolicy(name=name, text=segment.texts[number]) for name, number in items)

    texts = PolicyTexts(
        identity=named(caller["identity"]),
        boundary=named([caller["boundary"]])[0] if caller["boundary"] else None,
        session=None if caller["session"] is None else named(caller["session"]),
        service_control=tuple(named(level) for level in caller["service_control"]),
        level_names=tuple(caller["level_names"]),
    )
    text = segment.texts[entry["policy"]] if entry["policy"] is not None else None
    resource = resource_policies(entry["resource"], text, PolicyType(entry["type"]))
    return with_resource(compile_policies(texts), resource, must_allow=entry["must"])


def _identity(caller: Mapping[str, Any]) -> Identity:
    """As much of the caller as policies can name."""
    issuer, web = caller["issuer"], caller["web_identity"]
    return Identity(
        type=IdentityType(caller["type"]),
        principal_id=caller["principal_id"],
        arn=caller["arn"],
        account_id=caller["account_id"],
        user_name=caller["user_name"],
        invoked_by=caller["invoked_by"],
        web_identity=WebIdentity(provider_arn=web[0], issuer=web[1], claims={}) if web else None,
        session=Session(issuer=SessionIssuer(**issuer), creation_date=_NO_TIME) if issuer else None,
    )


_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)  # no policy asks for it but by a condition key, which is kept
