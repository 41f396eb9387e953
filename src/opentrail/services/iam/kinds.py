"""What tells users, groups and roles apart: one table.  Whatever they have in common is written once, over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.iam.faults import cannot_be_found
from opentrail.state.entities import Entity, EntityKind
from opentrail.state.identities import Iam


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of entity: its words, and AWS's default quotas for it."""

    kind: EntityKind
    noun: str  # in the names of operations and members: CreateUser, UserName
    id_prefix: str
    per_account: int
    policy_characters: int  # of all inline policies together, white space not counted

    @property
    def name_member(self) -> str:
        """The parameter that names one."""
        return f"{self.noun}Name"

    def no_such(self, name: str) -> ServiceFault:
        """The fault for one that is not there."""
        return cannot_be_found(self.kind, name)

    def find(self, call: ApiCall, iam: Iam) -> Entity | None:
        """The one that the call names."""
        return iam.entities.find(call.account_id, self.kind, call.parameters[self.name_member])

    def require(self, call: ApiCall, iam: Iam) -> Entity:
        """The one that the call names.  Raises ``ServiceFault`` NoSuchEntity."""
        found = self.find(call, iam)
        if found is None:
            raise self.no_such(call.parameters[self.name_member])
        return found


USER = Kind(kind=EntityKind.USER, noun="User", id_prefix="AIDA", per_account=5000, policy_characters=2048)
GROUP = Kind(kind=EntityKind.GROUP, noun="Group", id_prefix="AGPA", per_account=300, policy_characters=5120)
ROLE = Kind(kind=EntityKind.ROLE, noun="Role", id_prefix="AROA", per_account=1000, policy_characters=10_240)

KINDS: Sequence[Kind] = (USER, GROUP, ROLE)
