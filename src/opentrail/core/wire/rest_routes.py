"""Which operation of a REST service a method, path and query mean: request templates compiled into a tree.

Templates are those of ``service-2.json``: ``/{Bucket}/{Key+}?acl``.  Rules:

* A literal segment goes before a label, a label before a greedy one; a trailing slash means nothing.
* Every query literal of a template must be there; of several templates the one with the most literals wins, then the
  one whose required query parameters and headers are all there, then the one that binds more of them.
* Segments stay percent-encoded: a label that holds ``%2F`` is one label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from urllib.parse import unquote

from opentrail.core.http import Headers
from opentrail.core.values import dataclass
from opentrail.core.wire.model import Operation, ServiceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One operation's request template."""

    operation: Operation
    labels: tuple[str, ...]  # the labels' wire names in the order of the path
    literals: Mapping[str, str | None]  # query literals; None stands for any value (a bare name)
    required_query: frozenset[str]
    required_headers: frozenset[str]
    order: int  # place in the model
    full_rank: tuple[int, ...]  # where everything that is required is there

    def rank(self, query: Mapping[str, str], headers: Headers) -> tuple[int, ...] | None:
        """How well the template fits a request whose path it fits (larger is better); ``None`` if it does not."""
        for name, value in self.literals.items():
            if name not in query or value not in (None, query[name]):
                return None
        missing = 0
        for name in self.required_query:
            missing += name not in query
        for name in self.required_headers:
            missing += name not in headers
        if not missing:
            return self.full_rank
        return (len(self.literals), False, -missing, *self.full_rank[3:])


@dataclass(slots=True)
class _Node:
    """A place in the tree of paths; complete when the router is."""

    literal: dict[str, _Node] = field(default_factory=dict)
    label: _Node | None = None
    greedy: _Node | None = None
    templates: list[Template] = field(default_factory=list)
    plain: list[Template] = field(default_factory=list)  # those that a request without a query may mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A template that fits, with the labels' text as it stood in the path."""

    template: Template
    labels: Mapping[str, str]
    rank: tuple[int, ...]

    @property
    def fit(self) -> tuple[int, ...]:
        """The rank without the place in the model, which means nothing between services."""
        return self.rank[:-1]


class Router:
    """All templates of one service."""

    def __init__(self, service: ServiceModel) -> None:
        self._roots: dict[str, _Node] = {}
        #: Bare query literals of all templates: S3's sub-resources.
        self.sub_resources: frozenset[str] = frozenset()
        bare: set[str] = set()
        for order, operation in enumerate(service.operations.values()):
            path, _, query = operation.request_uri.partition("?")
            literals = _literals(query)
            bare.update(name for name, value in literals.items() if value is None)
            segments = _segments(path.rstrip("/")) if path != "/" else []
            template = _template(operation, segments, literals, order)
            _insert(self._roots.setdefault(operation.http_method, _Node()), segments, template)
        self.sub_resources = frozenset(bare)
        for root in self._roots.values():
            _find_plain(root)

    def match(self, method: str, path: str, query: Mapping[str, str], headers: Headers) -> Match | None:
        """The best template for a request, or ``None``; ``path`` is raw, ``query`` maps names to first values."""
        root = self._roots.get(method)
        if root is None:
            return None
        best: Match | None = None
        for path_rank, node, texts in _walk(root, _segments(path), 0, (), ()):
            for template in node.templates if query else node.plain:
                rank = template.rank(query, headers)
                if rank is not None and (best is None or path_rank + rank > best.rank):
                    best = Match(template=template, labels=_labels(template, texts), rank=path_rank + rank)
            if best is not None:
                return best  # paths come best first
        return best


def router(service: ServiceModel) -> Router:
    """The router of ``service``, compiled once."""
    compiled: Router | None = service.compiled.get("router")
    if compiled is None:
        compiled = service.compiled["router"] = Router(service)
    return compiled


def _segments(path: str) -> list[str]:
    return path[1:].split("/")


def _literals(query: str) -> dict[str, str | None]:
    literals: dict[str, str | None] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        literals[name] = value if equals else None
    return literals


def _template(operation: Operation, segments: list[str], literals: Mapping[str, str | None], order: int) -> Template:
    shape = operation.input
    required = {name: shape.members[name] for name in shape.required if name in shape.members} if shape else {}
    in_query = frozenset(
        member.wire_name(name) for name, member in required.items() if member.location == "querystring"
    )
    in_headers = frozenset(
        member.wire_name(name).lower() for name, member in required.items() if member.location == "header"
    )
    return Template(
        operation=operation,
        labels=tuple(segment[1:-1].rstrip("+") for segment in segments if segment[:1] == "{"),
        literals=literals,
        required_query=in_query,
        required_headers=in_headers,
        order=order,
        full_rank=(len(literals), True, len(in_query) + len(in_headers), not operation.deprecated, -order),
    )


def _find_plain(node: _Node) -> None:
    """Fill in ``plain`` for ``node`` and all below it.

    A template that lacks a query parameter comes behind one that lacks nothing: where there is one that never does,
    those that require any are out of the running.
    """
    plain = [template for template in node.templates if not template.literals]
    if any(not (template.required_query or template.required_headers) for template in plain):
        plain = [template for template in plain if not template.required_query]
    node.plain = plain
    for child in (*node.literal.values(), node.label, node.greedy):
        if child is not None:
            _find_plain(child)


def _insert(node: _Node, segments: list[str], template: Template) -> None:
    for segment in segments:
        if segment[:1] != "{":
            node = node.literal.setdefault(segment, _Node())
        elif segment.endswith("+}"):
            node.greedy = node = node.greedy or _Node()
        else:
            node.label = node = node.label or _Node()
    node.templates.append(template)


_LITERAL, _LABEL, _GREEDY = 2, 1, 0
Walk = Iterator[tuple[tuple[int, ...], _Node, tuple[str, ...]]]


def _walk(node: _Node, segments: list[str], index: int, rank: tuple[int, ...], texts: tuple[str, ...]) -> Walk:
    """Every node that the whole path leads to, the most literal one first: its path rank, itself, its labels."""
    left = len(segments) - index
    if node.templates and (not left or (left == 1 and not segments[-1])):
        yield rank, node, texts
    if not left:
        return
    segment = segments[index]
    child = node.literal.get(segment)
    if child is None and "%" in segment:
        child = node.literal.get(unquote(segment))
    if child is not None:
        yield from _walk(child, segments, index + 1, (*rank, _LITERAL), texts)
    if node.label is not None and segment:
        yield from _walk(node.label, segments, index + 1, (*rank, _LABEL), (*texts, segment))
    greedy = node.greedy
    if greedy is not None:
        # Literals behind the label first, as late as they can be; then the label to the end of the path.
        early = range(len(segments) - 1, index, -1) if greedy.literal else ()
        for end in (*early, len(segments)):
            text = "/".join(segments[index:end])
            if text:
                yield from _walk(greedy, segments, end, (*rank, _GREEDY), (*texts, text))


def _labels(template: Template, texts: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(template.labels, texts, strict=True))
