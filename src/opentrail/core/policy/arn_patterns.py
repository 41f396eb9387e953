"""ARNs as policies write them: segment by segment, with wildcards.

Rules: in a condition an ARN has six segments, each of which is matched by itself.  In a Resource a wildcard before the
fifth colon stays within its segment, unless it is a star that ends it, which may reach over colons (a pattern that
holds both sorts keeps them all within); segments that are left out at the end stand for any, ``arn:aws:sqs`` is
``arn:aws:sqs:*:*:*``; a variable is replaced behind the fifth colon alone.

Source: IAM user guide, "IAM JSON policy elements: Resource", "ARN condition operators", "IAM policy elements: Variables
and tags".
"""

from __future__ import annotations

from collections.abc import Sequence

from opentrail.core.arn import ANY_ONE, ANY_RUN, Matcher, Token, compile_tokens
from opentrail.core.policy.templates import (
    Part,
    Pattern,
    Template,
    Variable,
    VariableText,
    any_of,
    compile_alternatives,
    fill,
    has_wildcard,
    remember,
)

_ANYTHING: Pattern = ((ANY_RUN, ""),)
_COLON: Token = ("", ":")
_SEGMENTS = 6


def compile_arns(patterns: Sequence[Pattern]) -> Matcher:
    """The test of a condition: whether an ARN matches any of the patterns."""
    segmented = [_split(pattern) for pattern in patterns]
    tests = [_compile_segments([fill(parts) for parts in each]) for each in segmented if len(each) == _SEGMENTS]
    return any_of(tests) if tests else lambda _: False


def compile_resources(templates: Sequence[Template]) -> tuple[Matcher, tuple[VariableText, ...]]:
    """The tests of a statement's Resource: of the ARNs without variables together, and of each one with variables.

    An action without resources asks for ``*``, which only ``*`` covers.
    """
    fixed = [_complete(template, ()) or () for template in templates if not template.variables]
    dynamic = [template for template in templates if template.variables]
    return _compile_complete(fixed), tuple(_remember_resource(template) for template in dynamic)


def _remember_resource(template: Template) -> VariableText:
    def compiled(values: tuple[str, ...]) -> Matcher | None:
        complete = _complete(template, values)
        return None if complete is None else _compile_complete([complete])

    return remember(template, compiled)


def _complete(template: Template, values: Sequence[str]) -> tuple[Pattern, ...] | None:
    """A Resource as six segments (``*`` as one), or None with a variable where none may stand."""
    if template.parts == _ANYTHING:
        return (_ANYTHING,)
    segments = _split(template.parts)
    if any(isinstance(part, Variable) for parts in segments[: _SEGMENTS - 1] for part in parts):
        return None
    filled = [fill(parts, values) for parts in segments]
    return (*filled, *[_ANYTHING] * (_SEGMENTS - len(filled)))


def _split(parts: Sequence[Part]) -> list[list[Part]]:
    """``parts`` by segment of an ARN: the first five colons of the text divide them."""
    segments: list[list[Part]] = [[]]
    for part in parts:
        if isinstance(part, Variable) or part[0]:
            segments[-1].append(part)
            continue
        first, *rest = part[1].split(":", _SEGMENTS - len(segments))
        if first:
            segments[-1].append(("", first))
        segments.extend([("", piece)] if piece else [] for piece in rest)
    return segments


def _compile_complete(resources: Sequence[tuple[Pattern, ...]]) -> Matcher:
    whole = [_join(segments) for segments in resources if _ends_segments(segments[:-1])]
    others = [_compile_segments(segments) for segments in resources if not _ends_segments(segments[:-1])]
    return any_of([*([compile_alternatives(whole)] if whole or not others else []), *others])


def _ends_segments(segments: Sequence[Pattern]) -> bool:
    """Whether the only wildcards are stars at the end of their segment."""
    return all(not has_wildcard(segment[:-1]) and segment[-1:] != ((ANY_ONE, ""),) for segment in segments)


def _compile_segments(segments: Sequence[Pattern]) -> Matcher:
    tests = [compile_tokens(list(segment)) for segment in segments]

    def test(text: str) -> bool:
        parts = text.split(":", _SEGMENTS - 1)
        return len(parts) == _SEGMENTS and all(match(part) for match, part in zip(tests, parts, strict=True))

    return test


def _join(segments: Sequence[Pattern]) -> Pattern:
    """Segments as one pattern, neighbouring literals in one piece."""
    joined: list[Token] = []
    for index, segment in enumerate(segments):
        for kind, text in (*((_COLON,) if index else ()), *segment):
            if kind or not joined or joined[-1][0]:
                joined.append((kind, text))
            else:
                joined[-1] = ("", joined[-1][1] + text)
    return tuple(joined)
