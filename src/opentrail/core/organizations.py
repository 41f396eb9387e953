"""Organizations: accounts in a tree of organizational units, and the policies that bind them.

An ``Organization`` is one value: a change is a function that returns another (``dataclasses.replace``), and who stores
it writes what differs.  Rules that always hold of a stored one:

* There is one root, the unit whose ``parent_id`` is empty; every other unit and every member has a unit as its parent.
* The management account is a member, and never leaves.
* Every unit and member has at least one service control policy attached; ``p-FullAWSAccess``, which is AWS's own and
  in no table, is the first.

Source: AWS Organizations API reference (data types, forms of ids) and user guide, "Terminology and concepts".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

SERVICE_CONTROL_POLICY = "SERVICE_CONTROL_POLICY"
FULL_ACCESS_ID = "p-FullAWSAccess"
FULL_ACCESS_ARN = f"arn:aws:organizations::aws:policy/service_control_policy/{FULL_ACCESS_ID}"
FULL_ACCESS_TEXT = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'

HANDSHAKE_KEPT = timedelta(days=30)  # after it has ended (API reference, ListHandshakesForOrganization)
ACCOUNT_REQUEST_KEPT = timedelta(days=90)  # after it was completed (user guide, "Quotas": account creation)

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
ID_BYTES = 24  # enough for every kind of id


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """An organizational unit, or the root."""

    unit_id: str  # "r-ab12", "ou-ab12-1a2b3c4d"
    parent_id: str  # "" of the root
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    policy_ids: tuple[str, ...] = (FULL_ACCESS_ID,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An account in the organization."""

    account_id: str
    parent_id: str
    joined_method: str  # INVITED or CREATED
    joined: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    policy_ids: tuple[str, ...] = (FULL_ACCESS_ID,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPolicy:
    """A service control policy of the customer; ``content`` is its JSON text as given."""

    policy_id: str  # "p-1a2b3c4d"
    name: str
    description: str
    content: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccess:
    """A service that may act in the organization ("trusted access")."""

    service_principal: str
    enabled: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """A member that administers a service for the organization."""

    account_id: str
    service_principal: str
    enabled: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A handshake that invites an account; ``state`` is as stored: an OPEN one whose time is over has expired."""

    handshake_id: str  # "h-..."
    account_id: str
    target_type: str  # ACCOUNT or EMAIL: how the account was named
    target: str
    notes: str
    tags: Mapping[str, str] = field(default_factory=dict)  # of the member to be
    state: str  # OPEN, CANCELED, ACCEPTED, DECLINED
    requested: datetime
    expires: datetime
    settled: datetime | None = None  # when it was canceled, accepted or declined

    def state_at(self, now: datetime) -> str:
        """The handshake's state at ``now``."""
        return "EXPIRED" if self.state == "OPEN" and now >= self.expires else self.state

    def is_kept(self, now: datetime) -> bool:
        """Whether it is still told of at ``now``."""
        return now < (self.settled or self.expires) + HANDSHAKE_KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRequest:
    """A CreateAccount: what was asked, and how far it got."""

    request_id: str  # "car-..."
    account_id: str  # chosen at the start, so that a try again makes the same one
    name: str
    email: str
    role_name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    state: str  # IN_PROGRESS, SUCCEEDED, FAILED
    failure: str = ""
    requested: datetime
    completed: datetime | None = None

    def is_kept(self, now: datetime) -> bool:
        """Whether it is still told of at ``now``."""
        return self.completed is None or now < self.completed + ACCOUNT_REQUEST_KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Where an account is: ``path`` ends with a slash, as ``aws:PrincipalOrgPaths`` has it (``o-x/r-x/ou-x/``)."""

    organization_id: str
    management_account_id: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """An organization, whole.  Mappings go by the id of what they hold."""

    organization_id: str
    management_account_id: str
    feature_set: str  # ALL or CONSOLIDATED_BILLING
    policy_types: tuple[str, ...] = ()  # those enabled in the root
    units: Mapping[str, Unit]
    members: Mapping[str, Member]
    policies: Mapping[str, ControlPolicy] = field(default_factory=dict)
    services: Mapping[str, ServiceAccess] = field(default_factory=dict)
    delegations: Mapping[tuple[str, str], Delegation] = field(default_factory=dict)  # account, service
    invitations: Mapping[str, Invitation] = field(default_factory=dict)
    requests: Mapping[str, AccountRequest] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """``arn:aws:organizations::<management account>:organization/o-...``."""
        return self.arn_of("organization", "")

    @property
    def root(self) -> Unit:
        """The root of the tree."""
        return next(unit for unit in self.units.values() if not unit.parent_id)

    def arn_of(self, kind: str, item_id: str) -> str:
        """The ARN of an ``account``, ``root``, ``ou``, ``policy`` or ``handshake``."""
        tail = f"/{item_id}" if item_id else ""
        return f"arn:aws:organizations::{self.management_account_id}:{kind}/{self.organization_id}{tail}"

    def policy_arn(self, policy_id: str) -> str:
        """The ARN of a service control policy."""
        if policy_id == FULL_ACCESS_ID:
            return FULL_ACCESS_ARN
        return self.arn_of("policy", f"service_control_policy/{policy_id}")

    def policy_text(self, policy_id: str) -> str:
        """The document of a service control policy."""
        return FULL_ACCESS_TEXT if policy_id == FULL_ACCESS_ID else self.policies[policy_id].content

    def remembered(self, now: datetime) -> Organization:
        """The organization without the handshakes and the requests for accounts that ended too long before ``now``."""
        invitations = {key: each for key, each in self.invitations.items() if each.is_kept(now)}
        requests = {key: each for key, each in self.requests.items() if each.is_kept(now)}
        if len(invitations) == len(self.invitations) and len(requests) == len(self.requests):
            return self
        return replace(self, invitations=invitations, requests=requests)

    def place(self, target_id: str) -> Unit | Member | None:
        """The root, unit or account with this id: what policies are attached to."""
        return self.units.get(target_id) or self.members.get(target_id)

    def way_down(self, target_id: str) -> list[Unit | Member]:
        """The places from the root down to ``target_id``, which must be there."""
        place = self.place(target_id)
        assert place is not None, f"{target_id} is in the organization"
        way = [place]
        while way[-1].parent_id:
            way.append(self.units[way[-1].parent_id])
        return way[::-1]

    def unit_path(self, unit_id: str) -> str:
        """``o-.../r-.../ou-.../``: the units from the root down to ``unit_id``."""
        ids = [place.unit_id for place in self.way_down(unit_id) if isinstance(place, Unit)]
        return "/".join([self.organization_id, *ids, ""])

    def membership(self, account_id: str) -> Membership:
        """Where a member is."""
        return Membership(
            organization_id=self.organization_id,
            management_account_id=self.management_account_id,
            path=self.unit_path(self.members[account_id].parent_id),
        )

    def control_levels(self, account_id: str) -> list[list[str]]:
        """The ids of the service control policies that bind a member: a list a level, from the root down to itself.

        Empty where none does: for the management account, and while the policy type is not enabled.
        """
        if account_id == self.management_account_id or SERVICE_CONTROL_POLICY not in self.policy_types:
            return []
        return [list(place.policy_ids) for place in self.way_down(account_id)]

    def targets_of(self, policy_id: str) -> list[Unit | Member]:
        """Where a policy is attached."""
        places: tuple[Unit | Member, ...] = (*self.units.values(), *self.members.values())
        return [place for place in places if policy_id in place.policy_ids]

    def delegated_services(self, account_id: str) -> list[Delegation]:
        """What a member administers, by service."""
        found = [each for each in self.delegations.values() if each.account_id == account_id]
        return sorted(found, key=lambda each: each.service_principal)


def without(items: Mapping[_Key, _Item], key: _Key) -> dict[_Key, _Item]:
    """All ``items`` but the one under ``key``."""
    return {each: item for each, item in items.items() if each != key}


def format_id(prefix: str, length: int, random: bytes, taken: Collection[str] = ()) -> str:
    """``prefix`` and ``length`` (up to 32) lower-case letters and digits, drawn from ``ID_BYTES`` random bytes.

    An id that is ``taken`` is followed by the next one that is not.
    """
    space = len(_ALPHABET) ** length
    number = int.from_bytes(random) % space
    while True:
        digits, rest = "", number
        for _ in range(length):
            rest, digit = divmod(rest, len(_ALPHABET))
            digits = _ALPHABET[digit] + digits
        if prefix + digits not in taken:
            return prefix + digits
        number = (number + 1) % space
