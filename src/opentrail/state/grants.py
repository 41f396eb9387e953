"""What IAM grants to a user or a role: the policies that bear on its calls, as text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPolicy:
    """A policy's JSON text.  ``name`` is a managed policy's ARN, or an inline policy's name."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """``policies``: all that grant or deny, those of a user's groups included; ``boundary`` limits them."""

    policies: tuple[NamedPolicy, ...] = ()
    boundary: NamedPolicy | None = None


NO_GRANTS = Grants()
