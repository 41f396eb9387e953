"""``opentrail explain``: why a recorded call was allowed or denied."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from opentrail.cli.options import add_settings, read_settings, require_data
from opentrail.core.errors import ConfigError
from opentrail.server.control import call_server

EXAMPLES = """\
examples:
  opentrail explain 5a9b6d0e-3f0c-4a7e-9d55-0c1e5a3f7b21
  opentrail explain 5a9b6d0e-3f0c-4a7e-9d55-0c1e5a3f7b21 --json --data-dir /var/lib/opentrail

The ID is a record's eventID (or its sharedEventID).  Policies are shown as they were when the call was made.

exit codes: 0 explained, 1 nothing is known of this event, 2 could not be done
"""

_GREEN, _RED, _BOLD, _DIM = "32", "31", "1", "2"
_WIDTH = 26  # of the names of condition keys

Json = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("event_id", metavar="EVENT-ID", help="the record's eventID")
    parser.add_argument("--json", action="store_true", help="print the explanation as JSON")
    add_settings(parser, ("data_dir",))


def run(arguments: argparse.Namespace) -> int:
    """Explain one event, from the decisions that the server keeps; it need not run."""
    from opentrail.server.decision_log import DECISIONS  # noqa: PLC0415  --help needs none of the server
    from opentrail.server.explanation import explain_event  # noqa: PLC0415  the same

    settings = read_settings(arguments)
    require_data(settings)
    try:
        event_id = str(UUID(arguments.event_id))
    except ValueError:
        raise ConfigError(
            f"{arguments.event_id!r} is no event ID: a UUID is expected, as in a record's eventID"
        ) from None
    call_server(settings.data_dir, {"command": "flush-decisions"})
    explanation = explain_event(settings.data_dir / DECISIONS, event_id)
    if explanation is None:
        print(_unknown(event_id), file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(explanation, indent=2))
    else:
        paint = _Paint(on=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
        print("\n".join(_text(explanation, paint)))
    return 0


def _unknown(event_id: str) -> str:
    return (
        f"opentrail explain: nothing is known of {event_id}: no such call was decided here, or it was refused before "
        "anything was decided, or it is older than --decision-retention and --decision-bytes keep"
    )


class _Paint:
    """Writes in colour, or does not."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._on else text

    def verdict(self, *, allowed: bool) -> str:
        return self("ALLOWED", _BOLD, _GREEN) if allowed else self("DENIED", _BOLD, _RED)


def _text(explanation: Json, paint: _Paint) -> Iterator[str]:
    yield f"{paint.verdict(allowed=explanation['allowed'])}  {explanation['operation']}  {explanation['time']}"
    yield f"  caller    {explanation['principal']}"
    yield f"  event     {explanation['eventID']}"
    fault = explanation["fault"]
    if fault:
        yield f"  answered  {fault['code']}: {fault['message']}"
    if not explanation["decisions"]:
        yield ""
        yield (
            "  This was answered before any policy was asked."
            if fault
            else "  This needs no permission: whoever can sign may do it."
        )
    told: dict[str, list[str]] = {}  # condition keys that were printed
    for decision in explanation["decisions"]:
        yield ""
        yield from _decision(decision, paint)
        yield ""
        yield from _asked(decision, told, paint)
        told |= decision["context"]


def _decision(decision: Json, paint: _Paint) -> Iterator[str]:
    action, resource = decision["action"], decision["resource"]
    yield f"{paint.verdict(allowed=decision['allowed'])}  {paint(action, _BOLD)} on {resource}"
    if decision["within"]:
        yield "  asked by the service while it worked; its answer followed from this"
    if decision["changed"]:
        yield "  This version of Opentrail decides otherwise than the one that decided; what follows is its own view."
    yield from _reason(decision, paint)
    for near in decision["near"]:
        yield ""
        yield from _near(near, paint)


def _reason(decision: Json, paint: _Paint) -> Iterator[str]:
    statement = decision["statement"]
    if statement is not None:
        verb = "allowed" if decision["allowed"] else "denied explicitly"
        yield f"  {verb} by the {decision['kind']} {paint(decision['policy'], _BOLD)}, {_statement_name(statement)}:"
        yield from _indented(statement["element"])
    elif decision["allowed"]:
        yield "  the root user of the account needs no policy"
    for missing in decision["missing"]:
        yield f"  {missing['text']}"


def _near(near: Json, paint: _Paint) -> Iterator[str]:
    effect = near["statement"]["element"]["Effect"]
    yield (
        f"  {paint('did not apply', _BOLD)}: {effect} of the {near['kind']} {near['policy']}, "
        f"{_statement_name(near['statement'])}"
    )
    if not near["namesPrincipal"]:
        yield "    it names another principal"
    for condition in near["conditions"]:
        wanted, found = ", ".join(condition["wanted"]), condition["found"]
        have = "the request does not have it" if found is None else f"the request has {', '.join(found)}"
        yield f"    {condition['operator']} {condition['key']}: wants {wanted}; {have}"


def _asked(decision: Json, told: Json, paint: _Paint) -> Iterator[str]:
    names = [f"{each['kind']} {each['name']}" for each in decision["policies"]]
    yield paint(f"  policies asked: {'; '.join(names) or 'none'}", _DIM)
    new = {key: values for key, values in decision["context"].items() if told.get(key) != values}
    if new:
        yield paint(f"  condition keys{' that differ' if told else ''}:", _DIM)
    for key, values in new.items():
        yield paint(f"    {key:{_WIDTH}} {', '.join(values)}", _DIM)


def _statement_name(statement: Json) -> str:
    number = f"statement {statement['index'] + 1}"
    return f'{number} ("{statement["sid"]}")' if statement["sid"] else number


def _indented(element: Json) -> Iterator[str]:
    return (f"    {line}" for line in json.dumps(element, indent=2, ensure_ascii=False).splitlines())
