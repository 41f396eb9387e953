"""Writes a trail as delivery would, at times that a test or a benchmark chooses.

Rules: what it writes is untouched, in the formats of ``core``; the same calls with the same seed write the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Final, Protocol

from opentrail.core.digests import DigestedLogFile, PreviousDigest, SignedDigest, next_digest, sign_digest
from opentrail.core.layout import (
    DigestKey,
    LogKey,
    LogKind,
    TrailFolder,
    format_digest_key,
    format_log_key,
    unique_part,
)
from opentrail.core.logfiles import CONTENT_ENCODING, CONTENT_TYPE, encode_log_file
from opentrail.keys.base import Signer

_FILE: Final = {"content-type": CONTENT_TYPE, "content-encoding": CONTENT_ENCODING}


class Target(Protocol):
    """Where objects go: an ``ObjectStore``, or less than one."""

    def put(self, key: str, data: bytes, metadata: Mapping[str, str]) -> object:
        """Store ``data`` with ``metadata`` under ``key``."""
        ...


class TrailWriter:
    """Puts log files and digests of ``trail`` into ``store``, the bucket ``bucket``.

    ``signer`` gives the key that signs a digest that ends at the given moment.
    """

    def __init__(
        self,
        store: Target,
        trail: TrailFolder,
        *,
        bucket: str,
        signer: Callable[[datetime], Signer],
        start: datetime,
        seed: int = 0,
    ) -> None:
        self.trail = trail
        self.bucket = bucket
        self._store = store
        self._signer = signer
        self._random = Random(seed)  # noqa: S311  names of a test's files are no secret
        self._sequence = 0
        self._start = start
        self._link: PreviousDigest | None = None
        self._backfill_link: PreviousDigest | None = None
        self._delivered: list[DigestedLogFile] = []

    def put_log_file(
        self,
        at: datetime,
        records: Sequence[bytes],
        *,
        oldest: datetime | None = None,
        kind: LogKind = LogKind.EVENTS,
        name: bool = True,
    ) -> DigestedLogFile:
        """Deliver ``records`` (JSON, events from ``oldest``, None: ``at``, to ``at``) at ``at``.

        With ``name`` the next digest names them.
        """
        encoded = encode_log_file(records)
        unique = unique_part(self._sequence, self._random.randbytes(8))
        self._sequence += 1
        key = format_log_key(LogKey(folder=self.trail.folder, kind=kind, delivered_at=at, unique=unique))
        self._store.put(key, encoded.data, _FILE)
        file = DigestedLogFile(
            bucket=self.bucket,
            key=key,
            hash_value=encoded.sha256,
            newest_event_time=at,
            oldest_event_time=oldest or at,
        )
        if name:
            self._delivered.append(file)
        return file

    def put_digest(self, at: datetime) -> str:
        """Deliver the digest of all that was delivered since the last one; its key."""
        key = DigestKey(trail=self.trail, end_time=at)
        signed = self._sign(key, self._start, self._link, self._delivered)
        self._store.put(format_digest_key(key), signed.data(), _stored(signed.metadata()))
        self._start, self._link, self._delivered = at, signed.link(), []
        return format_digest_key(key)

    def put_backfill_digest(self, start: datetime, end: datetime, files: Sequence[DigestedLogFile]) -> str:
        """Deliver a backfill digest for the hour from ``start`` to ``end``; its key."""
        key = DigestKey(trail=self.trail, end_time=end, backfill=True)
        signed = self._sign(key, start, self._backfill_link, files)
        self._store.put(format_digest_key(key), signed.data(), _stored(signed.metadata(end)))
        self._backfill_link = signed.link()
        return format_digest_key(key)

    def start_chain(self, at: datetime) -> None:
        """Logging starts again at ``at``: the next digest names none before it."""
        self._start, self._link, self._delivered = at, None, []

    def _sign(
        self, key: DigestKey, start: datetime, link: PreviousDigest | None, files: Sequence[DigestedLogFile]
    ) -> SignedDigest:
        signer = self._signer(key.end_time)
        digest = next_digest(
            link,
            bucket=self.bucket,
            key=key,
            start_time=start,
            public_key_fingerprint=signer.fingerprint,
            log_files=files,
        )
        return sign_digest(digest, signer.sign)


def _stored(user_metadata: Mapping[str, str]) -> dict[str, str]:
    return {**_FILE, **{f"x-amz-meta-{name}": value for name, value in user_metadata.items()}}
