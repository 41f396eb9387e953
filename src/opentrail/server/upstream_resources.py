"""Which resources a forwarded call is about, as far as it says so itself: ``resources_of``.

Rules:

* A member that a row of ``upstream_actions.json`` names is a resource's name, or its ARN; wherever else the call has an
  ARN of its own service in a member that names something (``StreamARN``, ``SecretId``), that is one.  EC2's ids say of
  what type they are.
* Where the call names something that cannot be told so, nobody knows all it is about: ``is_known`` is false, and a Deny
  of any resource of the service denies it (ADR 17).  A call that names nothing (ListKeys) is about ``*``.

Source: Service Authorization Reference; Amazon EC2 user guide, "Resource IDs".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from opentrail.core.values import dataclass
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.model import Shape

_PARTIAL_ARN = re.compile(r"([0-9]{12}):[a-z]+:(.+)")  # as Lambda takes it for FunctionName
_NAMING = re.compile(
    r"arn|id|name|identifier|resource|url|"
    r"cluster|services?$|tasks?$|taskDefinition|taskSet|capacityProvider|containerInstance",  # as ECS calls them
    re.IGNORECASE,
)
_NAMES_NOTHING = re.compile(r"(?:token|marker|cursor|description|comment|requestid|dryrun)", re.IGNORECASE)
_EC2_ID = re.compile(r"([a-z]+(?:-[a-z]+)*)-[0-9a-f]{8,17}")
_ALIAS = "alias/"  # of a KMS key: which one is not said
_MADE = ("Create", "Register", "Request", "Run")  # what these make has no id yet, and is a resource of the call as well
MAX_RESOURCES = 1000  # that one call is authorised for; one that names more is authorised for all there are

Rows = Mapping[str, str]  # member -> the form of its ARN


class _Leaf(NamedTuple):
    """A text in a call's parameters, and the member that holds it (the list's, of an item; the map's, of a key)."""

    member: str
    text: str
    is_choice: bool  # one of the values that the model lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """ARNs that a call needs to be allowed for, of a call without any ``*``; ``is_known``: it is about nothing else."""

    arns: tuple[str, ...] = ()
    is_known: bool = True


def resources_of(call: ApiCall, service: str, rows: Rows, ec2_types: Mapping[str, str]) -> Resources:
    """The resources of ``call``, whose actions IAM calls ``service``."""
    operation = call.operation
    if service == "ec2" and operation.name.startswith("Describe"):
        return Resources()  # these are for all or none: EC2 asks for *
    arns: dict[str, None] = {}
    is_known = service != "ec2" or not operation.name.startswith(_MADE)
    names_something = False
    for leaf in _leaves(operation.input, call.parameters):
        found = _arn(leaf, call, service, rows, ec2_types)
        if found:
            arns[found] = None
        elif not leaf.is_choice and leaf.text and not _NAMES_NOTHING.search(leaf.member):
            names_something = True
            is_naming = leaf.member in rows if rows else _NAMING.search(leaf.member) and not _is_foreign(leaf, service)
            is_known = is_known and not is_naming
    if len(arns) > MAX_RESOURCES:
        return Resources(is_known=False)
    return Resources(arns=tuple(arns), is_known=is_known if arns else not names_something)


def _is_foreign(leaf: _Leaf, service: str) -> bool:
    """Whether it is the ARN of something of another service's."""
    return leaf.text.startswith("arn:") and leaf.text.split(":", 3)[2:3] != [service]


def _arn(leaf: _Leaf, call: ApiCall, service: str, rows: Rows, ec2_types: Mapping[str, str]) -> str:
    """The ARN that ``leaf`` is or names, or ""."""
    member, text, _ = leaf
    form = rows.get(member)
    if text.startswith("arn:"):
        parts = text.split(":", 5)
        is_one = len(parts) == 6 and parts[2] == service and (form is not None or _NAMING.search(member))
        return text if is_one and not parts[5].startswith(_ALIAS) else ""
    if form is not None:
        return "" if text.startswith(_ALIAS) else _filled(form, text, call)
    if service == "ec2":
        found = _EC2_ID.fullmatch(text)
        kind = ec2_types.get(found[1]) if found else None
        account = "" if kind in {"image", "snapshot"} else call.account_id
        return f"arn:aws:ec2:{call.region}:{account}:{kind}/{text}" if kind else ""
    return ""


def _filled(form: str, text: str, call: ApiCall) -> str:
    partial = _PARTIAL_ARN.fullmatch(text)
    account, text = partial.groups() if partial else (call.account_id, text)
    last = unquote(re.split("[?#]", text)[0]).rstrip("/").rpartition("/")[2]
    stream = call.parameters.get("logStreamName", "")
    return form.format(text, region=call.region, account=account, last=last, stream=stream)


def _leaves(shape: Shape | None, parameters: Mapping[str, Any]) -> Iterator[_Leaf]:
    """Every text in ``parameters``, and every key of a map that is the user's."""
    if shape is None:
        return
    waiting: list[tuple[Shape, str, Any]] = [(shape, "", parameters)]
    while waiting:
        here, member, value = waiting.pop()
        if isinstance(value, str):
            yield _Leaf(member, value, bool(here.enum))
        elif here.type == "list" and isinstance(value, list):
            waiting += [(here.member, member, each) for each in value]
        elif here.type == "map" and isinstance(value, Mapping):
            for key, each in value.items():
                yield _Leaf(member, key, bool(here.key.enum))
                waiting.append((here.value, member, each))
        elif here.type == "structure" and isinstance(value, Mapping):
            waiting += [(here.members[name], name, each) for name, each in value.items() if name in here.members]
