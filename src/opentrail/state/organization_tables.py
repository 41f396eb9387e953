"""The tables of organizations: a head row, and for each kind of part a table whose columns are its fields.

An organization is one value (``core.organizations``), so a change is written by comparing two of them: a part that is
not the same object any more is removed and added.  ``PARTS`` lists the kinds, in the order of the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
)

from opentrail.core.organizations import (
    AccountRequest,
    ControlPolicy,
    Delegation,
    Invitation,
    Member,
    Organization,
    ServiceAccess,
    Unit,
)
from opentrail.state.accounts import accounts
from opentrail.state.columns import Instant, JsonList, JsonObject
from opentrail.state.database import metadata

organization_heads = Table(
    "organizations",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("management_account_id", ForeignKey(accounts.c.account_id), nullable=False),
    Column("feature_set", String, nullable=False),
    Column("policy_types", JsonList, nullable=False),  # those enabled in the root
    Column("revision", BigInteger, nullable=False),  # goes up with every change
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A mapping of ``Organization``: the class of its items, whose fields are the columns of ``table``, and its key."""

    name: str
    item: Callable[..., Any]
    table: Table
    key: tuple[str, ...]

    def key_of(self, item: Any) -> Any:
        """The item's key in the mapping."""
        values = tuple(getattr(item, name) for name in self.key)
        return values if len(values) > 1 else values[0]

    def row_of(self, organization_id: str, item: Any) -> dict[str, Any]:
        """The item's row."""
        return {"organization_id": organization_id, **{each.name: getattr(item, each.name) for each in fields(item)}}


def _table(name: str, *columns: Column[Any]) -> Table:
    """A table of items whose ids are unique over all organizations."""
    owner: Column[Any] = Column(
        "organization_id", ForeignKey("organizations.organization_id"), nullable=False, index=True
    )
    return Table(name, metadata, owner, *columns)


def _place_columns() -> tuple[Column[Any], ...]:
    """What units and members have in common: their place in the tree, tags, and attached policies."""
    return (
        Column("parent_id", String, nullable=False),
        Column("tags", JsonObject, nullable=False),
        Column("policy_ids", JsonList, nullable=False),
    )


PARTS = (
    Part(
        name="units",
        item=Unit,
        key=("unit_id",),
        table=_table(
            "organization_units",
            Column("unit_id", String, primary_key=True),  # an organizational unit's, or the root's
            Column("name", String, nullable=False),
            *_place_columns(),
        ),
    ),
    Part(
        name="members",
        item=Member,
        key=("account_id",),
        table=_table(
            "organization_members",
            Column("account_id", ForeignKey(accounts.c.account_id), primary_key=True),
            Column("joined_method", String, nullable=False),
            Column("joined", Instant, nullable=False),
            *_place_columns(),
        ),
    ),
    Part(
        name="policies",
        item=ControlPolicy,
        key=("policy_id",),
        table=_table(
            "organization_policies",
            Column("policy_id", String, primary_key=True),
            Column("name", String, nullable=False),
            Column("description", String, nullable=False),
            Column("content", Text, nullable=False),
            Column("tags", JsonObject, nullable=False),
        ),
    ),
    Part(
        name="services",
        item=ServiceAccess,
        key=("service_principal",),
        table=Table(
            "organization_services",
            metadata,
            Column("organization_id", ForeignKey("organizations.organization_id"), primary_key=True),
            Column("service_principal", String, primary_key=True),
            Column("enabled", Instant, nullable=False),
        ),
    ),
    Part(
        name="delegations",
        item=Delegation,
        key=("account_id", "service_principal"),
        table=_table(
            "organization_delegations",
            Column("account_id", ForeignKey(accounts.c.account_id), primary_key=True),
            Column("service_principal", String, primary_key=True),
            Column("enabled", Instant, nullable=False),
        ),
    ),
    Part(
        name="invitations",
        item=Invitation,
        key=("handshake_id",),
        table=_table(
            "organization_invitations",
            Column("handshake_id", String, primary_key=True),
            Column("account_id", ForeignKey(accounts.c.account_id), nullable=False),
            Column("target_type", String, nullable=False),
            Column("target", String, nullable=False),
            Column("notes", String, nullable=False),
            Column("tags", JsonObject, nullable=False),
            Column("state", String, nullable=False),
            Column("requested", Instant, nullable=False),
            Column("expires", Instant, nullable=False),
            Column("settled", Instant),
        ),
    ),
    Part(
        name="requests",
        item=AccountRequest,
        key=("request_id",),
        table=_table(
            "organization_account_requests",
            Column("request_id", String, primary_key=True),
            Column("account_id", String(12), nullable=False),  # of an account that may not be there yet, or ever
            Column("name", String, nullable=False),
            Column("email", String, nullable=False),
            Column("role_name", String, nullable=False),
            Column("tags", JsonObject, nullable=False),
            Column("state", String, nullable=False),
            Column("failure", String, nullable=False),
            Column("requested", Instant, nullable=False),
            Column("completed", Instant),
        ),
    ),
)


def head_row(organization: Organization) -> dict[str, Any]:
    """The row of an organization itself, without its revision."""
    return {
        "organization_id": organization.organization_id,
        "management_account_id": organization.management_account_id,
        "feature_set": organization.feature_set,
        "policy_types": organization.policy_types,
    }


def read_part(connection: Connection, part: Part) -> dict[str, dict[Any, Any]]:
    """The items of one kind: by organization, then by their key."""
    found: dict[str, dict[Any, Any]] = {}
    query = select(part.table).order_by(*(part.table.c[name] for name in part.key))
    for row in connection.execute(query).mappings():
        values = dict(row)
        organization_id = values.pop("organization_id")
        item = part.item(**values)
        found.setdefault(organization_id, {})[part.key_of(item)] = item
    return found


def write_part(
    connection: Connection, organization_id: str, part: Part, before: Mapping[Any, Any], after: Mapping[Any, Any]
) -> None:
    """Write what differs: a change is a removal and an addition."""
    removed = [item for key, item in before.items() if after.get(key) is not item]
    added = [part.row_of(organization_id, item) for key, item in after.items() if before.get(key) is not item]
    if removed:
        table = part.table
        same = table.c.organization_id == organization_id
        for name in part.key:
            same &= table.c[name] == bindparam(f"old_{name}")
        keys = [{f"old_{name}": getattr(item, name) for name in part.key} for item in removed]
        connection.execute(delete(table).where(same), keys)
    if added:
        connection.execute(insert(part.table), added)
