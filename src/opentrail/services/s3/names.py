"""Names: what a bucket and a key may be called, their ARNs, and where their objects lie in the store.

Sources: Amazon S3 user guide, "General purpose bucket naming rules" and "Naming Amazon S3 objects".
"""

from __future__ import annotations

import hashlib
import re

from opentrail.core.errors import ServiceFault

KEY_LIMIT_BYTES = 1024

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_UPLOADS = ".uploads"  # no bucket's name starts with a dot


def check_bucket_name(name: str) -> None:
    """Raise ``ServiceFault`` InvalidBucketName where no new bucket may have this name."""
    good = (
        _BUCKET.fullmatch(name)
        and ".." not in name
        and not _ADDRESS.fullmatch(name)
        and not name.startswith(_PREFIXES)
        and not name.endswith(_SUFFIXES)
    )
    if not good:
        raise ServiceFault("InvalidBucketName", "The specified bucket is not valid.", fields={"BucketName": name})


def check_key(key: str) -> None:
    """Raise ``ServiceFault`` KeyTooLongError where ``key`` is longer than S3 allows."""
    size = len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass"))
    if size > KEY_LIMIT_BYTES:
        fields = {"Size": str(size), "MaxSizeAllowed": str(KEY_LIMIT_BYTES)}
        raise ServiceFault("KeyTooLongError", "Your key is too long", fields=fields)


def bucket_arn(bucket: str) -> str:
    """``arn:aws:s3:::bucket``."""
    return f"arn:aws:s3:::{bucket}"


def object_arn(bucket: str, key: str) -> str:
    """``arn:aws:s3:::bucket/key``."""
    return f"arn:aws:s3:::{bucket}/{key}"


def canonical_id(account: str) -> str:
    """An account's canonical user ID: 64 hexadecimal digits, the same for the same account."""
    return hashlib.sha256(f"canonical user {account}".encode()).hexdigest()


def store_key(bucket: str, key: str) -> str:
    """Where an object lies in the store."""
    return f"{bucket}/{key}"


def part_key(upload_id: str, number: int, event_id: str) -> str:
    """Where one sending of one part lies; a part that is sent again gets another place."""
    return f"{_UPLOADS}/{upload_id}/{number:05d}-{event_id}"


def upload_prefix(upload_id: str) -> str:
    """Where all parts of an upload lie."""
    return f"{_UPLOADS}/{upload_id}/"
