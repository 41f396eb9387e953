"""A trail as its readers find it: set up, fetched and validated through the endpoint with boto3 alone.

Rules: nothing here knows the data folder; what is judged is what a client of S3 and CloudTrail can see.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from opentrail.core.gzip_member import decode_member
from opentrail.core.logfiles import MAX_LOG_FILE_BYTES
from opentrail.core.public_keys import PublicKey
from opentrail.stores.memory import MemoryStore
from opentrail.testing.live_server import HOME, LiveServer
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket

TRAIL: Final = "main"
LOG_BUCKET: Final = "trail-logs"
_LOGS, _DIGESTS = "CloudTrail", "CloudTrail-Digest"


def log_bucket_policy(account_id: str, bucket: str = LOG_BUCKET) -> str:
    """The bucket policy that CloudTrail's user guide asks for, as JSON."""
    principal = {"Service": "cloudtrail.amazonaws.com"}
    may_look = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:GetBucketAcl",
        "Resource": f"arn:aws:s3:::{bucket}",
    }
    may_write = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/AWSLogs/{account_id}/*",
        "Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [may_look, may_write]})


def make_log_bucket(server: LiveServer) -> None:
    """Make the log bucket with its policy."""
    s3 = server.client("s3")
    s3.create_bucket(Bucket=LOG_BUCKET, CreateBucketConfiguration={"LocationConstraint": HOME})
    account_id = server.client("sts").get_caller_identity()["Account"]
    s3.put_bucket_policy(Bucket=LOG_BUCKET, Policy=log_bucket_policy(account_id))


def make_trail(server: LiveServer, *data_buckets: str) -> str:
    """Make a multi-region trail with validation that logs, with the data events of ``data_buckets``; its ARN."""
    make_log_bucket(server)
    s3, cloudtrail = server.client("s3"), server.client("cloudtrail")
    for bucket in {*data_buckets} - {LOG_BUCKET}:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": HOME})
    made = cloudtrail.create_trail(
        Name=TRAIL, S3BucketName=LOG_BUCKET, IsMultiRegionTrail=True, EnableLogFileValidation=True
    )
    if data_buckets:
        arns = [f"arn:aws:s3:::{bucket}/" for bucket in data_buckets]
        resources = [{"Type": "AWS::S3::Object", "Values": arns}]
        selector = {"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": resources}
        cloudtrail.put_event_selectors(TrailName=TRAIL, EventSelectors=[selector])
    cloudtrail.start_logging(Name=TRAIL)
    return str(made["TrailARN"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredTrail:
    """The log bucket, fetched whole, with the public keys of each region."""

    account_id: str
    store: MemoryStore
    public_keys: dict[str, list[PublicKey]]  # by region

    def keys(self, kind: str = _LOGS, region: str = "") -> list[str]:
        """The keys of the log files (or, ``CloudTrail-Digest``, of the digests) of ``region`` or of all."""
        prefix = f"AWSLogs/{self.account_id}/{kind}/" + (f"{region}/" if region else "")
        return [info.key for info in self.store.list(prefix)]

    def digests(self, region: str = "") -> list[str]:
        """The keys of the digests."""
        return self.keys(_DIGESTS, region)

    def regions(self) -> list[str]:
        """The regions that have log files or digests."""
        return sorted({key.split("/")[3] for key in (*self.keys(), *self.digests())})

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record of every log file."""
        for key in self.keys():
            data = decode_member(b"".join(self.store.get(key).chunks), max_size=MAX_LOG_FILE_BYTES)
            yield from json.loads(data)["Records"]

    def verify(self) -> VerifiedBucket:
        """What verification says of the whole bucket."""
        return verify_bucket(self.store, self._all_public_keys(), bucket=LOG_BUCKET)

    def verify_copy(self) -> VerifiedBucket:
        """What it says of a copy without the objects' metadata."""
        copy = MemoryStore()
        for info in self.store.list(""):
            copy.put(info.key, self.store.get(info.key).chunks, {})
        return verify_bucket(copy, self._all_public_keys(), bucket=LOG_BUCKET, keeps_metadata=False)

    def _all_public_keys(self) -> Collection[PublicKey]:
        return {key.fingerprint: key for region in self.public_keys.values() for key in region}.values()


def fetch_trail(server: LiveServer) -> DeliveredTrail:
    """Everything that lies in the log bucket now."""
    s3 = server.client("s3")
    store = MemoryStore()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=LOG_BUCKET):
        for item in page.get("Contents", []):
            found = s3.get_object(Bucket=LOG_BUCKET, Key=item["Key"])
            metadata = {f"x-amz-meta-{name}": value for name, value in found["Metadata"].items()}
            store.put(item["Key"], found["Body"].read(), metadata)
    account_id = server.client("sts").get_caller_identity()["Account"]
    trail = DeliveredTrail(account_id=account_id, store=store, public_keys={})
    for region in trail.regions():
        trail.public_keys[region] = _public_keys(server, region)
    return trail


def _public_keys(server: LiveServer, region: str) -> list[PublicKey]:
    now = datetime.now(UTC)
    span = {"StartTime": now - timedelta(days=30), "EndTime": now + timedelta(days=30)}
    return [
        PublicKey(
            value=item["Value"],
            fingerprint=item["Fingerprint"],
            validity_start=item["ValidityStartTime"],
            validity_end=item["ValidityEndTime"],
        )
        for item in server.client("cloudtrail", region).list_public_keys(**span)["PublicKeyList"]
    ]


def count_by(records: Iterable[dict[str, Any]], member: str) -> Counter[str]:
    """How often each value of ``member`` occurs; records without it are left out."""
    return Counter(record[member] for record in records if record.get(member))


def more_than_once(counts: Counter[str]) -> Sequence[str]:
    """The values that occur twice or more."""
    return [value for value, count in counts.items() if count > 1]
