"""Planning digests: the next link of a chain, signed, as an object to put.

Rules: a chain's first digest starts where the chain did, each further one where its predecessor ended, also in an hour
without log files; a digest names the log files that were staged before it and named by none yet, so what it names is in
the bucket before it is (``ledger``: objects of a chain are put in order).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from opentrail.core.digests import DigestedLogFile, PreviousDigest, next_digest, sign_digest
from opentrail.core.layout import DigestKey, Folder, TrailFolder
from opentrail.core.trails import parse_trail_arn
from opentrail.delivery.ledger import Chain, FileToName, ObjectToPut
from opentrail.keys.base import Signer

MAX_CATCH_UP = (
    1000  # digests made at once for hours that passed while nothing ran; beyond, the first one spans the rest
)

SignerFor = Callable[[str, datetime], Signer]  # region, digestEndTime -> the key that signs it


def due_ends(chain: Chain, now: int, interval: int) -> list[int]:
    """The ends (seconds) of the digests that are due at ``now``, one every ``interval`` seconds."""
    last = chain.digest_end if chain.digest_end is not None else chain.started_at
    count = (now - last) // interval
    first = max(1, count - MAX_CATCH_UP + 1)
    return [last + interval * number for number in range(first, count + 1)]


def plan_digest(chain: Chain, files: Sequence[FileToName], end: int, signer: Signer) -> tuple[ObjectToPut, str]:
    """The chain's digest up to ``end`` (seconds) naming ``files``, and the chain's new head."""
    trail = parse_trail_arn(chain.key.trail_arn)
    folder = Folder(
        prefix=chain.prefix,
        organization_id=chain.organization_id,
        account_id=chain.key.account_id,
        region=chain.key.region,
    )
    place = TrailFolder(folder=folder, trail_name=trail.name, home_region=trail.region)
    start = chain.digest_end if chain.digest_end is not None else chain.started_at
    digest = next_digest(
        PreviousDigest(**json.loads(chain.head)) if chain.head else None,
        bucket=chain.bucket,
        key=DigestKey(trail=place, end_time=_moment(end)),
        start_time=_moment(start),
        public_key_fingerprint=signer.fingerprint,
        log_files=[
            DigestedLogFile(
                bucket=file.bucket,
                key=file.key,
                hash_value=file.sha256,
                newest_event_time=_moment(file.newest),
                oldest_event_time=_moment(file.oldest),
            )
            for file in files
        ],
    )
    signed = sign_digest(digest, signer.sign)
    item = ObjectToPut(
        kind="digest", bucket=digest.bucket, key=digest.key, body=signed.data(), metadata=signed.metadata()
    )
    return item, json.dumps(asdict(signed.link()))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
