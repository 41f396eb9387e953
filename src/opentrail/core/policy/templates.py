"""Policy text with wildcards and variables: ``arn:aws:s3:::home/${aws:username}/*``.

Rules: ``*`` and ``?`` of the policy's own text are wildcards where the place allows them; what a variable stands for is
always literal; ``${*}``, ``${?}`` and ``${$}`` are those characters; ``${key, 'default'}`` stands in for a missing key.
A variable without value, or with several, leaves its text unresolved (None): it matches nothing.
Only policies of version 2012-10-17 know variables; elsewhere the text means itself.

Source: IAM user guide, "IAM policy elements: Variables and tags".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentrail.core.arn import ANY_ONE, ANY_RUN, Matcher, Token, compile_tokens, wildcard_tokens

Context = Mapping[str, Sequence[str]]  # lower-case condition keys to their values

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_INNER = re.compile(r"\s*([^\s,']+)\s*(?:,\s*'([^']*)'\s*)?")
_SPECIAL = frozenset("*?$")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: its context key in lower case, and its default where it has one."""

    key: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Template:
    """Parsed policy text: wildcard tokens and variables in order."""

    text: str
    parts: tuple[Token | Variable, ...]

    @property
    def is_static(self) -> bool:
        """Whether the text holds no variables."""
        return not any(isinstance(part, Variable) for part in self.parts)

    def resolve(self, context: Context) -> list[Token] | None:
        """The tokens with every variable's value as literal text, or None where one has no single value."""
        tokens: list[Token] = []
        for part in self.parts:
            if isinstance(part, Variable):
                values = context.get(part.key, ())
                value = values[0] if len(values) == 1 else part.default if not values else None
                if value is None:
                    return None
                tokens.append(("", value))
            else:
                tokens.append(part)
        return tokens

    def matcher(self, context: Context) -> Matcher | None:
        """A whole-text matcher for this context, or None where a variable is unresolved."""
        tokens = self.resolve(context)
        return None if tokens is None else compile_tokens(tokens)


def parse_template(text: str, *, variables: bool, wildcards: bool = True) -> Template:
    """Parse ``text``; without ``wildcards`` its stars and question marks mean themselves."""
    parts: list[Token | Variable] = []

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
    return Template(text, tuple(parts))


def split_arn(tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens of an ARN pattern by segment: the first five colons of the pattern's text divide it."""
    segments: list[list[Token]] = [[]]
    for kind, text in tokens:
        if kind in {ANY_RUN, ANY_ONE}:
            segments[-1].append((kind, ""))
            continue
        first, *rest = text.split(":", 6 - len(segments))
        segments[-1].append(("", first))
        segments.extend([("", piece)] for piece in rest)
    return segments
