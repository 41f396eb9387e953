"""The local store keeps the contract, through its log and without, and shows a bucket as folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opentrail.stores.base import ObjectStore
from opentrail.stores.local import LocalStore
from opentrail.testing.store_contract import StoreContract


class TestLocalStore(StoreContract):
    @pytest.fixture(params=[True, False], ids=["logged", "direct"])
    def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
        opened = LocalStore(tmp_path / "root", logged=request.param)
        yield opened
        opened.close()
        work = tmp_path / "root" / "%work"
        assert not work.exists() or not list(work.iterdir())
