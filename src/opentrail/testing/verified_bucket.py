"""A bucket that a test has at hand, verified as ``opentrail verify`` does it: by the same engine, all its chains."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opentrail.core.findings import Finding, Severity
from opentrail.core.layout import TrailFolder
from opentrail.core.public_keys import PublicKey
from opentrail.stores.base import ObjectStore
from opentrail.verification.engine import Verification
from opentrail.verification.request import VerifyRequest
from opentrail.verification.result import VerifyResult
from opentrail.verification.store_source import StoreSource


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBucket:
    """The result, and the findings in their order, each with its chain (None: of no chain)."""

    result: VerifyResult
    told: tuple[tuple[TrailFolder | None, Finding], ...]

    @property
    def findings(self) -> list[Finding]:
        """Those of all chains."""
        return [finding for _, finding in self.told]

    def of(self, severity: Severity) -> list[Finding]:
        """Those of one severity."""
        return [finding for finding in self.findings if finding.severity is severity]

    def objections(self) -> list[Finding]:
        """All but facts: what speaks against the bucket, or asks somebody to look."""
        return [each for each in self.findings if each.severity is not Severity.INFO]


def verify_bucket(
    store: ObjectStore, public_keys: Iterable[PublicKey], *, bucket: str, keeps_metadata: bool = True, **asked: Any
) -> VerifiedBucket:
    """Verify what ``store`` holds of ``bucket``; ``asked`` are members of ``VerifyRequest``.  Raises ``StoreError``."""
    told: list[tuple[TrailFolder | None, Finding]] = []
    verification = Verification(
        StoreSource(lambda: store, name=bucket, bucket=bucket, keeps_metadata=keeps_metadata),
        VerifyRequest(**asked),
        public_keys,
        on_finding=lambda trail, finding: told.append((trail, finding)),
        checked_at=datetime.now(UTC),
        clock=time.monotonic,
    )
    return VerifiedBucket(result=verification.run(), told=tuple(told))
