"""Which condition keys a policy asks about: in its conditions, and as variables in its resources and values.

Rules: keys come as they are written, in the order of the text, each once without regard to case.

Source: IAM API reference, ``GetContextKeysForCustomPolicy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from opentrail.core.policy.statement import PolicyDocument, Statement
from opentrail.core.policy.templates import Template

_WRITTEN = re.compile(r"\$\{\s*([^\s,'{}]+)")


def statement_keys(statement: Statement) -> list[str]:
    """The keys that one statement asks about."""
    keys = [key for each in statement.dynamic_resources for key in _variables(each.template)]
    for condition in statement.conditions:
        keys.append(condition.key)
        keys += [key for each in condition.dynamic for key in _variables(each.template)]
    return distinct_keys(keys)


def document_keys(document: PolicyDocument) -> list[str]:
    """The keys that a policy asks about."""
    return distinct_keys(key for statement in document.statements for key in statement_keys(statement))


def distinct_keys(keys: Iterable[str]) -> list[str]:
    """``keys``, each once, as it was written first."""
    seen: dict[str, str] = {}
    for key in keys:
        seen.setdefault(key.lower(), key)
    return list(seen.values())


def _variables(template: Template) -> list[str]:
    known = {variable.key for variable in template.variables}
    return [name for name in _WRITTEN.findall(template.text) if name.lower() in known]
