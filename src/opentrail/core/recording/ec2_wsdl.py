"""EC2's older operations (those of the 2014-10-01 API), recorded by the names of its WSDL.

Rules (read off real records, and EC2's WSDL):

* A parameter has its name on the wire with a small first letter; a list is ``{"items": [...]}`` under a name of its
  own, a scalar in it an object of one member.  Names, sets that are told though nothing was sent, and values that EC2
  fills in are a table (``ec2_targets``).
* Values have the types of the model, tags and filters stay text; a name that the model does not know has the type that
  its text reads as.  Times are milliseconds since 1970.
* In an answer ``<item>`` elements are ``items``, ``return`` is ``_return``, an empty scalar is left out and an empty
  set is ``{}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from opentrail.core.errors import FormatError
from opentrail.core.recording.ec2_query import Secrets, answer_members, item_shape, numbered, own_text, request_members
from opentrail.core.recording.ec2_targets import PLAIN, Target, Targets, parse_target, put, put_missing
from opentrail.core.recording.elements import recorded_name
from opentrail.core.recording.sent_xml import add, typed
from opentrail.core.wire.codec_query import Tree
from opentrail.core.wire.codec_xml import local_name
from opentrail.core.wire.model import Shape
from opentrail.core.wire.scalars import epoch_seconds, parse_timestamp, text_parser

_SCALAR = frozenset({"", "item", "member"})  # names of items that say nothing of what the item is


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWriter:
    """Writes the parameters of one call."""

    targets: Targets
    secrets: Secrets
    root: dict[str, Any] = field(default_factory=dict)

    def write(self, tree: Tree, shape: Shape | None) -> dict[str, Any]:
        """``requestParameters`` out of the form's ``tree``."""
        self._fill(self.root, tree, shape, ())
        return self.root

    def _structure(self, tree: Any, shape: Shape | None, path: tuple[str, ...]) -> dict[str, Any]:
        named: dict[str, Any] = {}
        if isinstance(tree, Mapping):
            self._fill(named, tree, shape, path)
        return named

    def _fill(self, named: dict[str, Any], tree: Mapping[str, Any], shape: Shape | None, path: tuple[str, ...]) -> None:
        members = request_members(shape)
        for name, value in tree.items():
            if not name:
                continue
            text, is_own = self.targets.find(path, name)
            if text == "":
                continue
            member = members.get(name)
            target = default_target(name, value, member) if text is None else parse_target(text)
            written = self._value(value, member, target, (*path, name))
            if written is not None:
                put(self.root if is_own else named, target.path, written)
        for target in self.targets.within(path):
            if target.always:
                put_missing(named, target.path, {})
            elif target.default is not None:
                put_missing(named, target.path, target.default)

    def _value(self, value: Any, shape: Shape | None, target: Target, path: tuple[str, ...]) -> Any:
        if self.secrets.are_in(path[-1], shape):
            return self.secrets.hide(value)
        if target.emptied:
            return {}
        if target.item is not None:
            return self._set(value, shape, target, path)
        if isinstance(value, Mapping) and (shape is None or shape.type == "structure"):
            return self._structure(value, shape, path) or None
        text = own_text(value)
        if text is None or (target.unless_empty and not text):
            return None
        return text if target.as_text else scalar(text, path[-1], shape)

    def _set(self, value: Any, shape: Shape | None, target: Target, path: tuple[str, ...]) -> Any:
        inner, item_name = item_shape(shape), target.item or ""
        items = [self._item(each, inner, item_name, path) for _, each in numbered(value) or ()]
        if item_name == PLAIN:
            return items
        return {target.key: items} if items else {}

    def _item(self, value: Any, shape: Shape | None, item_name: str, path: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping) and (shape is None or shape.type == "structure"):
            return self._structure(value, shape, path)
        text = own_text(value)
        if not text:
            return {}
        name = item_name or recorded_name(path[-1])
        if self.secrets.are_in(name, shape):
            return {name: self.secrets.hide(text)}
        return {name: scalar(text, path[-1], shape)}


def default_target(name: str, value: Any, shape: Shape | None) -> Target:
    """Where a parameter stands that no rule names."""
    recorded = recorded_name(name)
    is_list = shape.type == "list" if shape is not None else numbered(value) is not None
    if not is_list:
        return Target(path=(recorded,))
    inner = item_shape(shape)
    item = "" if inner is not None and inner.type == "structure" else recorded
    if inner is not None and item and inner.location_name not in _SCALAR:
        item = recorded_name(inner.location_name)
    return Target(path=(recorded if recorded.endswith("Set") else f"{recorded}Set",), item=item)


def scalar(text: str, name: str, shape: Shape | None) -> Any:
    """The text of a scalar with the type that ``shape`` gives it, or, without one, that it reads as.

    What is called an id is text, whatever it reads as: an account's is all digits.
    """
    if shape is None:
        return text if name.endswith("Id") else typed(text)
    if shape.type == "blob":
        return None
    with suppress(FormatError, OverflowError, ValueError):
        if shape.type == "timestamp":
            return round(epoch_seconds(parse_timestamp(text)) * 1000)
        parse = text_parser(shape)
        return text if parse is None else parse(text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerWriter:
    """Writes an answer's document."""

    names: Mapping[str, str]  # of elements that are recorded by another name, at any depth
    item_keys: Mapping[str, str]  # of sets whose items stand under another key than "items"
    always: Mapping[str, list[str]]  # what an element holds though it was not answered: {}
    secrets: Secrets

    def write(self, element: Element, shape: Shape | None) -> dict[str, Any]:
        """The document's members as ``responseElements``."""
        named: dict[str, Any] = {}
        members = answer_members(shape)
        for child in element:
            name = local_name(child.tag)
            text = self.names.get(name)
            target = Target(path=("_return" if name == "return" else name,)) if text is None else parse_target(text)
            value = self._value(child, name, members.get(name), as_text=target.as_text)
            if value is not None:
                add(named, target.path[-1], value)
        for name in self.always.get(local_name(element.tag), ()):
            named.setdefault(name, {})
        return named

    def _value(self, element: Element, name: str, shape: Shape | None, *, as_text: bool) -> Any:
        if self.secrets.are_in(name, shape):
            return self.secrets.hide("".join(element.itertext()))
        if len(element):
            return self._branch(element, name, shape)
        text = (element.text or "").strip()
        if shape is None and name == "requestId":
            return text
        if not text:
            return {} if shape is None or shape.type in {"structure", "list"} else None
        return text if as_text else scalar(text, name, shape if shape is None or shape.type != "list" else None)

    def _branch(self, element: Element, name: str, shape: Shape | None) -> dict[str, Any]:
        is_list = shape is not None and shape.type == "list"
        if not is_list and (shape is not None or any(local_name(child.tag) != "item" for child in element)):
            return self.write(element, shape)
        inner = item_shape(shape)
        items = [self._item(child, name, inner) for child in element]
        return {self.item_keys.get(name, "items"): items}

    def _item(self, element: Element, set_name: str, shape: Shape | None) -> Any:
        if len(element):
            named = self.write(element, shape)
            for name in self.always.get(set_name, ()):
                named.setdefault(name, {})
            return named
        return self._value(element, "", shape, as_text=False)
