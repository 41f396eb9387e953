"""The users and roles that a resource's policy names: by ARN where people write it, by unique id where it is kept.

Source: IAM user guide, "AWS JSON policy elements: Principal".
"""

from __future__ import annotations

from dataclasses import dataclass

from opentrail.core.arn import parse_arn
from opentrail.core.errors import FormatError
from opentrail.state.entities import EntityKind
from opentrail.state.identities import Identities

_KINDS = {str(kind): kind for kind in (EntityKind.USER, EntityKind.ROLE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalNames:
    """Both directions; each answer is as of now."""

    identities: Identities

    def unique_id_of(self, name: str) -> str | None:
        """The unique id of the user or role with this ARN or unique id; None where there is none."""
        if not name.startswith("arn:"):
            return None if self.arn_of(name) is None else name
        try:
            arn = parse_arn(name)
        except FormatError:
            return None
        kind = _KINDS.get(arn.resource_type)
        if kind is None:
            return None
        with self.identities.reading() as iam:
            entity = iam.entities.find(arn.account, kind, arn.resource.rpartition("/")[2])
        return entity.entity_id if entity is not None and entity.arn == name else None

    def arn_of(self, unique_id: str) -> str | None:
        """The ARN of the user or role with this unique id; None where there is none any more."""
        with self.identities.reading() as iam:
            entity = iam.entities.find_id(unique_id)
        return entity.arn if entity is not None and entity.kind in _KINDS.values() else None
