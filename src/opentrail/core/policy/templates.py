"""Policy text with wildcards and variables: ``arn:aws:s3:::home/${aws:username}/*``.

Rules: ``*`` and ``?`` of the policy's own text are wildcards where the place allows them; what a variable stands for is
always literal; ``${*}``, ``${?}`` and ``${$}`` are those characters; ``${key, 'default'}`` stands in for a missing key.
A variable without value, or with several, leaves its text unresolved (None): it matches nothing.
Only policies of version 2012-10-17 know variables; elsewhere the text means itself.

What text with variables comes to is compiled once for each of their values: the same caller's are the same call after
call.  All documents share the room for that, and long values get none: who calls chooses some of them.

Source: IAM user guide, "IAM policy elements: Variables and tags".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from opentrail.core.arn import ANY_RUN, Matcher, Token, compile_tokens, wildcard_tokens

Context = Mapping[str, Sequence[str]]  # lower-case condition keys to their values
Pattern = tuple[Token, ...]

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_INNER = re.compile(r"\s*([^\s,']+)\s*(?:,\s*'([^']*)'\s*)?")
_SPECIAL = frozenset("*?$")
_REMEMBERED = 8192  # texts, of all documents
_MAX_REMEMBERED_CHARACTERS = 512  # of a text and its values


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: its context key in lower case, and its default where it has one."""

    key: str
    default: str | None


Part = Token | Variable


@dataclass(frozen=True, slots=True)
class Template:
    """Parsed policy text: wildcard tokens and variables in order."""

    text: str
    parts: tuple[Part, ...]
    variables: tuple[Variable, ...]

    def values(self, context: Context) -> tuple[str, ...] | None:
        """The values of the variables, in their order, or None where one has no single value."""
        values = []
        for variable in self.variables:
            found = context.get(variable.key, ())
            value = found[0] if len(found) == 1 else variable.default if not found else None
            if value is None:
                return None
            values.append(value)
        return tuple(values)


@dataclass(frozen=True, slots=True)
class VariableText:
    """Text whose test depends on the request: ``compiled`` makes it from the variables' values, and keeps it."""

    template: Template
    compiled: Callable[[tuple[str, ...]], Matcher | None] = field(repr=False, compare=False)

    def matcher(self, context: Context) -> Matcher | None:
        """The test for this context, or None where the text is unresolved."""
        values = self.template.values(context)
        return None if values is None else self.compiled(values)


def remember(template: Template, compile_: Callable[[tuple[str, ...]], Matcher | None]) -> VariableText:
    """``template`` with what ``compile_`` makes of its variables' values; None says that they help nothing."""
    room = _MAX_REMEMBERED_CHARACTERS - len(template.text)

    def compiled(values: tuple[str, ...]) -> Matcher | None:
        return _compiled(compile_, values) if sum(map(len, values)) <= room else compile_(values)

    return VariableText(template, compiled)


@lru_cache(maxsize=_REMEMBERED)
def _compiled(compile_: Callable[[tuple[str, ...]], Matcher | None], values: tuple[str, ...]) -> Matcher | None:
    return compile_(values)


def parse_template(text: str, *, variables: bool, wildcards: bool = True) -> Template:
    """Parse ``text``; without ``wildcards`` its stars and question marks mean themselves."""
    parts: list[Part] = []

    def literal(piece: str) -> None:
        if wildcards:
            parts.extend(wildcard_tokens(piece))
        elif piece:
            parts.append(("", piece))

    position = 0
    for match in _VARIABLE.finditer(text) if variables else ():
        literal(text[position : match.start()])
        position = match.end()
        inner = match[1]
        parsed = _INNER.fullmatch(inner)
        if inner in _SPECIAL:
            parts.append(("", inner))
        elif parsed:
            parts.append(Variable(parsed[1].lower(), parsed[2]))
        else:
            literal(match[0])
    literal(text[position:])
    return Template(text, tuple(parts), tuple(part for part in parts if isinstance(part, Variable)))


def fill(parts: Sequence[Part], values: Sequence[str] = ()) -> Pattern:
    """The tokens of a text with the values of its variables, in their order, as literal text."""
    given = iter(values)
    return tuple(("", next(given)) if isinstance(part, Variable) else part for part in parts)


def has_wildcard(pattern: Pattern) -> bool:
    """Whether the pattern holds a wildcard."""
    return any(kind for kind, _ in pattern)


def pattern_text(pattern: Pattern) -> str:
    """The text of a pattern without wildcards."""
    return "".join(text for _, text in pattern)


def compile_alternatives(patterns: Sequence[Pattern]) -> Matcher:
    """A function that says whether a text matches any of the patterns: literals and prefixes cost one look-up each."""
    literals: set[str] = set()
    prefixes: list[str] = []
    others: list[Matcher] = []
    for pattern in patterns:
        if not has_wildcard(pattern):
            literals.add(pattern_text(pattern))
        elif pattern[-1][0] == ANY_RUN and not has_wildcard(pattern[:-1]):
            prefixes.append(pattern_text(pattern))
        else:
            others.append(compile_tokens(list(pattern)))
    starts = tuple(prefixes)
    if not others and not prefixes:
        return frozenset(literals).__contains__
    if not others:
        return lambda text: text.startswith(starts) or text in literals
    return any_of([lambda text: text.startswith(starts) or text in literals, *others] if starts or literals else others)


def any_of(tests: Sequence[Matcher]) -> Matcher:
    """A function that says whether any of ``tests`` does."""
    if len(tests) == 1:
        return tests[0]
    return lambda text: any(test(text) for test in tests)
