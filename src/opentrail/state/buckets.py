"""S3 buckets and unfinished multipart uploads.

Every S3 call asks for its bucket, so all buckets are held in memory: read once, then written to the database first and
to memory after it.  One process owns the database.  What is read is a frozen value: perhaps old, never torn.
Uploads are few and are asked for by their own calls alone: they live in the database.

Parts are kept in the object store; a row says under which key (``services.s3.multipart``).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from opentrail.state.columns import Instant
from opentrail.state.database import metadata, transaction, write_row

buckets = Table(
    "buckets",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("region", String, nullable=False),
    Column("created", Instant, nullable=False),
    Column("policy", Text),
    Column("public_access_block", Text, nullable=False),  # JSON object, "null" where it was removed
    Column("tags", Text, nullable=False),  # JSON object
)
uploads = Table(
    "multipart_uploads",
    metadata,
    Column("upload_id", String, primary_key=True),
    Column("bucket", ForeignKey("buckets.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("key", Text, nullable=False),
    Column("initiator", Text, nullable=False),
    Column("initiated", Instant, nullable=False),
    Column("object_metadata", Text, nullable=False),  # JSON object
    Column("checksum_algorithm", String, nullable=False),
    Column("checksum_type", String, nullable=False),
)
parts = Table(
    "multipart_parts",
    metadata,
    Column("upload_id", ForeignKey("multipart_uploads.upload_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("store_key", Text, nullable=False),
    Column("etag", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("checksum", String, nullable=False),
    Column("modified", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicAccessBlock:
    """A bucket's four settings; a new bucket has them all on."""

    block_public_acls: bool = True
    ignore_public_acls: bool = True
    block_public_policy: bool = True
    restrict_public_buckets: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One bucket.  ``policy`` is the document as it was put."""

    name: str
    owner: str  # account
    region: str
    created: datetime
    policy: str | None = None
    public_access_block: PublicAccessBlock | None = field(default_factory=PublicAccessBlock)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An unfinished multipart upload.  ``metadata`` will be the object's."""

    upload_id: str
    bucket: str
    key: str
    initiator: str  # ARN
    initiated: datetime
    metadata: Mapping[str, str]
    checksum_algorithm: str = ""  # "": the client named none
    checksum_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One uploaded part; ``checksum`` (base64) is of its upload's algorithm."""

    number: int
    store_key: str
    etag: str
    size: int  # bytes
    checksum: str
    modified: datetime


class Buckets:
    """The buckets of all accounts.  Every method that writes, or reads uploads, may raise ``StorageError``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()  # held by whoever writes
        with transaction(engine) as connection:
            rows = connection.execute(select(buckets)).mappings().all()
        self._held: dict[str, Bucket] = {row["name"]: _bucket(row) for row in rows}
        self._closing: frozenset[str] = frozenset()

    def find(self, name: str) -> Bucket | None:
        """The bucket of this name."""
        return self._held.get(name)

    def owned_by(self, account: str) -> list[Bucket]:
        """An account's buckets, by name."""
        return sorted((each for each in list(self._held.values()) if each.owner == account), key=lambda b: b.name)

    def create(self, bucket: Bucket) -> Bucket | None:
        """Add ``bucket``; the one that has the name already, if any."""
        with self._lock:
            existing = self._held.get(bucket.name)
            if existing is not None:
                return existing
            with transaction(self._engine) as connection:
                connection.execute(insert(buckets).values(_row(bucket)))
            self._held[bucket.name] = bucket
        return None

    def change(self, name: str, **changes: Any) -> Bucket | None:
        """Replace fields of the bucket ``name`` (``policy``, ``public_access_block``, ``tags``); None: it is gone."""
        with self._lock:
            bucket = self._held.get(name)
            if bucket is None:
                return None
            changed = replace(bucket, **changes)
            with transaction(self._engine) as connection:
                connection.execute(update(buckets).where(buckets.c.name == name).values(_row(changed)))
            self._held[name] = changed
        return changed

    def delete(self, name: str) -> None:
        """Remove the bucket with its uploads."""
        with self._lock:
            with transaction(self._engine) as connection:
                connection.execute(delete(buckets).where(buckets.c.name == name))
            self._held.pop(name, None)

    def is_closing(self, name: str) -> bool:
        """Whether the bucket is about to be removed: nothing may be written to it now."""
        return name in self._closing

    @contextmanager
    def closing(self, name: str) -> Iterator[bool]:
        """Keep writers out of the bucket; yields False where another call does so already."""
        with self._lock:
            first = name not in self._closing
            self._closing |= {name}
        try:
            yield first
        finally:
            if first:
                with self._lock:
                    self._closing -= {name}

    def create_upload(self, upload: Upload) -> bool:
        """Add ``upload``; False where its bucket is gone."""
        values = {
            "upload_id": upload.upload_id,
            "bucket": upload.bucket,
            "key": upload.key,
            "initiator": upload.initiator,
            "initiated": upload.initiated,
            "object_metadata": json.dumps(dict(upload.metadata)),
            "checksum_algorithm": upload.checksum_algorithm,
            "checksum_type": upload.checksum_type,
        }
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(uploads).values(values))
        except IntegrityError:
            return False
        return True

    def find_upload(self, upload_id: str) -> Upload | None:
        """The upload of this id."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(uploads).where(uploads.c.upload_id == upload_id)).mappings().first()
        return None if row is None else _upload(row)

    def uploads_of(self, bucket: str) -> list[Upload]:
        """The bucket's uploads in the order of ListMultipartUploads: by key's bytes, then by time and id."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(uploads).where(uploads.c.bucket == bucket)).mappings().all()
        return sorted(map(_upload, rows), key=lambda each: (each.key.encode(), each.initiated, each.upload_id))

    def delete_upload(self, upload_id: str) -> None:
        """Forget the upload and its parts."""
        with transaction(self._engine) as connection:
            _hold_upload(connection, upload_id)
            connection.execute(delete(parts).where(parts.c.upload_id == upload_id))
            connection.execute(delete(uploads).where(uploads.c.upload_id == upload_id))

    def put_part(self, upload_id: str, part: Part) -> tuple[bool, Part | None]:
        """Add ``part``: whether the upload is still there, and the part that had its number."""
        key = {"upload_id": upload_id, "number": part.number}
        mine = (parts.c.upload_id == upload_id) & (parts.c.number == part.number)
        values = {
            "store_key": part.store_key,
            "etag": part.etag,
            "size": part.size,
            "checksum": part.checksum,
            "modified": part.modified,
        }
        with transaction(self._engine) as connection:
            if not _hold_upload(connection, upload_id):
                return False, None
            row = connection.execute(select(parts).where(mine)).mappings().first()
            write_row(connection, parts, key, values)
        return True, None if row is None else _part(row)

    def parts_of(self, upload_id: str) -> list[Part]:
        """The upload's parts, by number."""
        query = select(parts).where(parts.c.upload_id == upload_id).order_by(parts.c.number)
        with transaction(self._engine) as connection:
            return [_part(row) for row in connection.execute(query).mappings()]


def _hold_upload(connection: Connection, upload_id: str) -> bool:
    """Keep all others that change the upload waiting until the transaction ends; False where it is gone.

    An update that changes nothing is a lock in both databases: SQLite takes its one at the first write.
    """
    same = uploads.c.upload_id == upload_id
    return connection.execute(update(uploads).where(same).values(upload_id=upload_id)).rowcount == 1


def _row(bucket: Bucket) -> dict[str, Any]:
    block = bucket.public_access_block
    settings = None if block is None else [getattr(block, name) for name in PublicAccessBlock.__slots__]
    return {
        "name": bucket.name,
        "owner": bucket.owner,
        "region": bucket.region,
        "created": bucket.created,
        "policy": bucket.policy,
        "public_access_block": json.dumps(settings and dict(zip(PublicAccessBlock.__slots__, settings, strict=True))),
        "tags": json.dumps(dict(bucket.tags)),
    }


def _bucket(row: RowMapping) -> Bucket:
    settings = json.loads(row["public_access_block"])
    return Bucket(
        name=row["name"],
        owner=row["owner"],
        region=row["region"],
        created=row["created"],
        policy=row["policy"],
        public_access_block=None if settings is None else PublicAccessBlock(**settings),
        tags=json.loads(row["tags"]),
    )


def _upload(row: RowMapping) -> Upload:
    return Upload(
        upload_id=row["upload_id"],
        bucket=row["bucket"],
        key=row["key"],
        initiator=row["initiator"],
        initiated=row["initiated"],
        metadata=json.loads(row["object_metadata"]),
        checksum_algorithm=row["checksum_algorithm"],
        checksum_type=row["checksum_type"],
    )


def _part(row: RowMapping) -> Part:
    return Part(
        number=row["number"],
        store_key=row["store_key"],
        etag=row["etag"],
        size=row["size"],
        checksum=row["checksum"],
        modified=row["modified"],
    )
