"""Reading digests ahead of the walk over their chain, from any thread.

Rules: a digest that the source refuses is a reading that says so.  A large digest may take 80 MB to look into: where
many are read ahead, all large ones are looked into in one thread, for malloc keeps for each thread what it has freed.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from opentrail.core.digests import MAX_DIGEST_BYTES
from opentrail.core.errors import NoSuchObject, StoreError
from opentrail.core.object_checks import DigestReading, read_digest, too_large_digest
from opentrail.core.public_keys import PublicKey
from opentrail.verification.refusals import is_of_one_object, unread_digest
from opentrail.verification.source import ObjectTooLarge, TrailSource

_SMALL_BYTES: Final = 4096  # as it lies there: no more than 4 MB inflated, be it a bomb


class DigestReader:
    """Reads digests of ``source``, which the keys of ``public_keys`` (by fingerprint) signed."""

    def __init__(self, source: TrailSource, public_keys: Mapping[str, PublicKey]) -> None:
        self.public_keys = public_keys
        self._source = source
        self._large = ThreadPoolExecutor(max_workers=1)  # starts no thread before there is a digest for it

    def read(self, key: str, bucket: str) -> DigestReading:
        """The digest object at ``key``, which should have been made for ``bucket``.

        Raises ``StoreError`` when the source fails, and may do better later.
        """
        data: bytes | None
        try:
            found = self._source.read(key, limit=MAX_DIGEST_BYTES)
            data, metadata = found.data, found.metadata
        except NoSuchObject:
            data, metadata = None, {}
        except ObjectTooLarge:
            return too_large_digest(key, MAX_DIGEST_BYTES)
        except StoreError as error:
            if not is_of_one_object(error, self._source, key):
                raise
            return unread_digest(key, error)
        look = partial(
            read_digest,
            key,
            data,
            metadata,
            bucket=bucket,
            public_keys=self.public_keys,
            metadata_kept=self._source.keeps_metadata,
        )
        if data is None or len(data) <= _SMALL_BYTES or self._source.reads_at_once == 1:
            return look()
        return self._large.submit(look).result()

    def close(self) -> None:
        """Let the thread go when it has done what was asked for."""
        self._large.shutdown(wait=False, cancel_futures=True)
