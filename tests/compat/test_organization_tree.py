"""Whatever is done to the tree: no account is lost, nothing is there twice, and the database says the same."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.identity import root_identity
from opentrail.services.base import Service
from opentrail.services.organizations import ORGANIZATIONS_OPERATIONS, OrganizationsDeps
from opentrail.state.accounts import Account, Accounts
from opentrail.state.database import open_database
from opentrail.state.identities import Identities
from opentrail.state.organizations import Organizations
from opentrail.state.secret_cipher import SecretCipher

MANAGEMENT = "123456789012"
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["unit", "account", "move", "rename", "delete unit", "remove account"]),
        st.integers(0, 50),
        st.integers(0, 50),
    ),
    min_size=5,
    max_size=25,
)
_numbers = itertools.count()


class Tree:
    """An organization and what must be in it: parents by child."""

    def __init__(self, org: Any, deps: OrganizationsDeps) -> None:
        self.org = org
        self.deps = deps
        org.create_organization()
        self.root: str = org.list_roots()["Roots"][0]["Id"]
        self.units: dict[str, str] = {self.root: ""}
        self.accounts: dict[str, str] = {MANAGEMENT: self.root}
        self._names = itertools.count()

    def step(self, action: str, first: int, second: int) -> None:
        """Try one thing; what is refused must change nothing."""
        unit = list(self.units)[first % len(self.units)]
        other = list(self.units)[second % len(self.units)]
        account = list(self.accounts)[first % len(self.accounts)]
        with suppress(ClientError):
            self._do(action, unit, other, account)

    def _do(self, action: str, unit: str, other: str, account: str) -> None:
        org, name = self.org, f"name-{next(self._names) % 5}"
        if action == "unit":
            made = org.create_organizational_unit(ParentId=unit, Name=name)["OrganizationalUnit"]["Id"]
            assert made not in self.units
            self.units[made] = unit
        elif action == "account":
            request = org.create_account(AccountName=name, Email=f"{name}-{next(_numbers)}@example.com")
            request_id = request["CreateAccountStatus"]["Id"]
            status = org.describe_create_account_status(CreateAccountRequestId=request_id)["CreateAccountStatus"]
            assert status["AccountId"] not in self.accounts
            self.accounts[status["AccountId"]] = self.root
        elif action == "move":
            org.move_account(AccountId=account, SourceParentId=unit, DestinationParentId=other)
            assert self.accounts[account] == unit
            self.accounts[account] = other
        elif action == "rename":
            org.update_organizational_unit(OrganizationalUnitId=unit, Name=name)
        elif action == "delete unit":
            org.delete_organizational_unit(OrganizationalUnitId=unit)
            assert unit not in self.accounts.values()
            del self.units[unit]
        elif action == "remove account":
            org.remove_account_from_organization(AccountId=account)
            del self.accounts[account]

    def check(self) -> None:
        """What a walk from the root meets is what must be there, each once and under its parent."""
        met: list[tuple[str, str]] = []
        waiting = [self.root]
        while waiting:
            parent = waiting.pop()
            for kind in ("ACCOUNT", "ORGANIZATIONAL_UNIT"):
                children = self.org.get_paginator("list_children").paginate(ParentId=parent, ChildType=kind)
                ids = [child["Id"] for child in children.build_full_result()["Children"]]
                met += [(child, parent) for child in ids]
                waiting += ids if kind == "ORGANIZATIONAL_UNIT" else []
        expected = {**self.accounts, **{unit: parent for unit, parent in self.units.items() if parent}}
        assert len(met) == len(expected)
        assert dict(met) == expected


@contextmanager
def planted(endpoint: Any, folder: Path) -> Iterator[Tree]:
    engine = open_database(f"sqlite:///{folder / f'state-{next(_numbers)}.db'}")
    try:
        accounts = Accounts(engine)
        accounts.create(
            Account(account_id=MANAGEMENT, name="main", email="m@example.com", created=datetime(2020, 1, 1, tzinfo=UTC))
        )
        deps = OrganizationsDeps(
            organizations=Organizations(engine),
            accounts=accounts,
            identities=Identities(engine, SecretCipher(b"k" * 32)),
            random_bytes=os.urandom,
        )
        endpoint.services["organizations"] = Service(
            name="organizations", operations=ORGANIZATIONS_OPERATIONS, deps=deps
        )
        tree = Tree(endpoint.client("organizations", identity=root_identity(MANAGEMENT)), deps)
        yield tree
        kept = Organizations(engine).all()
        assert kept == deps.organizations.all(), "memory and database agree"
    finally:
        engine.dispose()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_account_is_lost(endpoint: Any, tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    with planted(endpoint, tmp_path) as tree:
        for step in steps:
            tree.step(*step)
        tree.check()
