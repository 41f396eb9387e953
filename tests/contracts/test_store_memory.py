"""The memory store keeps the contract."""

from __future__ import annotations

import pytest

from opentrail.stores.base import ObjectStore
from opentrail.stores.memory import MemoryStore
from opentrail.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryStore()
