"""Organizations: each one a value in memory, its parts rows in tables.

Rules:

* Reads never touch the database once it has been read.  ``service_control`` and ``membership``, which the front door
  asks at every call, are remembered until the next change of any organization.
* A change is a function of the organization as it is; writers take turns, within a process by a lock and between
  processes by advancing the organization's revision only from the one they have seen.
* What a change publishes in memory is durable.  Where a write's outcome is unknown, everything is read anew; until that
  succeeds nothing can be changed, and whoever only asks, as the front door does, hears what was known last.
* An account is in one organization at most: ``organization_members`` holds it once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from opentrail.core.errors import StorageError
from opentrail.core.organizations import Membership, Organization, without
from opentrail.state.database import transaction
from opentrail.state.grants import NamedPolicy
from opentrail.state.organization_tables import PARTS, head_row, organization_heads, read_part, write_part

_ATTEMPTS = 5

Levels = tuple[tuple[NamedPolicy, ...], ...]
Edit = Callable[[Organization], Organization | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """All organizations at one moment, and what was asked of them so far."""

    organizations: Mapping[str, Organization]
    revisions: Mapping[str, int]
    by_account: Mapping[str, Organization]
    control: dict[str, Levels] = field(default_factory=dict)
    memberships: dict[str, Membership] = field(default_factory=dict)


class Organizations:
    """The organizations of this installation.  ``create`` and ``change`` may raise ``StorageError``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.RLock()  # of reading and changing; an edit may ask
        self._view = self._read()
        self._is_stale = False

    def find(self, organization_id: str) -> Organization | None:
        """The organization with this id."""
        return self._current().organizations.get(organization_id)

    def of_account(self, account_id: str) -> Organization | None:
        """The organization that an account is in, as a member or as its management account."""
        return self._current().by_account.get(account_id)

    def all(self) -> list[Organization]:
        """Every organization."""
        return list(self._current().organizations.values())

    def membership(self, account_id: str) -> Membership | None:
        """Where an account is; None outside an organization."""
        view = self._current()
        found = view.memberships.get(account_id)
        if found is None:
            organization = view.by_account.get(account_id)
            if organization is None:
                return None
            found = view.memberships[account_id] = organization.membership(account_id)
        return found

    def service_control(self, account_id: str) -> Levels:
        """The service control policies that bind an account: one tuple a level, from the root down to the account.

        Empty where none does: outside an organization, for its management account, while the type is not enabled.
        """
        view = self._current()
        levels = view.control.get(account_id)
        if levels is None:
            organization = view.by_account.get(account_id)
            if organization is None:
                return ()
            levels = view.control[account_id] = tuple(
                tuple(
                    NamedPolicy(name=organization.policy_arn(each), text=organization.policy_text(each))
                    for each in level
                )
                for level in organization.control_levels(account_id)
            )
        return levels

    def create(self, organization: Organization) -> bool:
        """Add an organization; False where one of its accounts is in another."""
        with self._lock:
            self._refresh()
            self._is_stale = True  # until it is known to be stored
            try:
                with transaction(self._engine) as connection:
                    connection.execute(insert(organization_heads).values(revision=1, **head_row(organization)))
                    for part in PARTS:
                        write_part(connection, organization.organization_id, part, {}, getattr(organization, part.name))
            except IntegrityError:
                return False
            self._publish(organization.organization_id, organization, 1)
        return True

    def change(self, organization_id: str, edit: Edit) -> Organization | None:
        """Make of an organization what ``edit`` returns (None: delete it), and return that.

        None also where there is none with this id.  What ``edit`` raises leaves everything as it was; it may be asked
        again where another process was faster.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                self._refresh()
                before = self._view.organizations.get(organization_id)
                after = None if before is None else edit(before)
                if before is None or after is before:
                    return before
                if self._store(self._view.revisions[organization_id], before, after):
                    return after
        raise StorageError(f"organization {organization_id} is being changed by others", retryable=True)

    def _store(self, revision: int, before: Organization, after: Organization | None) -> bool:
        """Whether the change could be written; not where ``revision`` is not the last one any more."""
        same = (organization_heads.c.organization_id == before.organization_id) & (
            organization_heads.c.revision == revision
        )
        values = {"revision": revision + 1, **head_row(after or before)}
        self._is_stale = True  # until it is known to be stored
        try:
            with transaction(self._engine) as connection:
                if connection.execute(update(organization_heads).where(same).values(values)).rowcount != 1:
                    return False
                for part in PARTS:
                    new = getattr(after, part.name) if after else {}
                    write_part(connection, before.organization_id, part, getattr(before, part.name), new)
                if after is None:
                    gone = organization_heads.c.organization_id == before.organization_id
                    connection.execute(delete(organization_heads).where(gone))
        except IntegrityError:  # an account joined another organization meanwhile
            return False
        self._publish(before.organization_id, after, revision + 1)
        return True

    def _publish(self, organization_id: str, organization: Organization | None, revision: int) -> None:
        organizations = without(self._view.organizations, organization_id)
        if organization is not None:
            organizations[organization_id] = organization
        self._view = _make_view(organizations, {**self._view.revisions, organization_id: revision})
        self._is_stale = False

    def _current(self) -> _View:
        if self._is_stale and self._lock.acquire(blocking=False):  # else whoever has it is about to settle it
            try:
                self._refresh()
            except StorageError:
                pass  # what was known last is the best there is
            finally:
                self._lock.release()
        return self._view

    def _refresh(self) -> None:
        """Read everything anew where a write's outcome is unknown.  Raises ``StorageError``."""
        if self._is_stale:
            self._view = self._read()
            self._is_stale = False

    def _read(self) -> _View:
        with transaction(self._engine) as connection:
            heads = connection.execute(select(organization_heads)).mappings().all()
            parts = {part.name: read_part(connection, part) for part in PARTS}
        organizations, revisions = {}, {}
        for head in heads:
            values = dict(head)
            organization_id = values["organization_id"]
            revisions[organization_id] = values.pop("revision")
            for name, found in parts.items():
                values[name] = found.get(organization_id, {})
            organizations[organization_id] = Organization(**values)
        return _make_view(organizations, revisions)


def _make_view(organizations: Mapping[str, Organization], revisions: Mapping[str, int]) -> _View:
    by_account = {account_id: each for each in organizations.values() for account_id in each.members}
    return _View(organizations=organizations, revisions=revisions, by_account=by_account)
