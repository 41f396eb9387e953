"""What S3 does in its own way on the wire: buckets in host names, sub-resources, the names of its answers' elements.

Sources: Amazon S3 user guide, "Virtual hosting of general purpose buckets"; S3 API reference, each operation's
"Response Syntax".  botocore's model leaves the root elements out, as its parser has no need of them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection
from hashlib import sha384

from opentrail.core.http import Headers

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"

#: Suffixes under which ``BUCKET.suffix`` or ``BUCKET.s3[.REGION].suffix`` names a bucket.
DEFAULT_DOMAINS = ("localhost", "amazonaws.com", "amazonaws.com.cn")

#: What stands before a domain suffix: perhaps a bucket, then an S3 endpoint's own labels.
_REGION = "[a-z]{2,}(?:-[a-z]+)+-[0-9]+"
_ENDPOINT = re.compile(
    rf"(?:(.+)\.)?(?:s3(?:-(?:accelerate|fips|object-lambda|accesspoint|outposts|external-1|{_REGION}))*"
    r"|s3express(?:-fips)?-[a-z0-9-]+)"
    rf"(?:\.(?:dualstack|{_REGION}))*"
)
_ADDRESS = re.compile(r"[0-9.]+|\[?[0-9a-f:.]*:[0-9a-f:.]*\]?")

#: The root element of an answer, where it is not the output shape's or the payload's name.
ROOT_ELEMENTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CopyObject": "CopyObjectResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CreateSession": "CreateSessionResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycle": "LifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLocation": "LocationConstraint",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBucketAnalyticsConfigurations": "ListBucketAnalyticsConfigurationResult",
    "ListBucketIntelligentTieringConfigurations": "ListBucketIntelligentTieringConfigurationsOutput",
    "ListBucketInventoryConfigurations": "ListInventoryConfigurationsResult",
    "ListBucketMetricsConfigurations": "ListMetricsConfigurationsResult",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
    "UploadPartCopy": "CopyPartResult",
}


def bucket_of_host(host: str, domains: Collection[str] = DEFAULT_DOMAINS) -> str:
    """The bucket that ``host`` (a Host header) names, or the empty string for a path-style request.

    An address, an endpoint's own name and a host under none of ``domains`` name no bucket.
    """
    name = host.lower()
    if not name.endswith("]"):
        name = name.rpartition(":")[0] if name.count(":") == 1 else name
    name = name.rstrip(".")
    if _ADDRESS.fullmatch(name):
        return ""
    suffix = max((domain for domain in domains if name.endswith("." + domain)), key=len, default="")
    if not suffix:
        return ""
    rest = name[: -len(suffix) - 1]
    match = _ENDPOINT.fullmatch(rest)
    if match:
        return match.group(1) or ""
    return "" if suffix.startswith("amazonaws.com") else rest


def is_control(path: str, host: str, headers: Headers) -> bool:
    """Whether a request that is signed for S3 is one of S3 Control's: by its host, or its path and account header.

    Buckets on Outposts are made without that header.
    """
    if "s3-control" in host:
        return True
    return path.startswith("/v20180820/bucket/") or (path.startswith("/v20180820/") and "x-amz-account-id" in headers)


def host_id(request_id: str) -> str:
    """The ``x-amz-id-2`` of an answer: opaque text of 64 characters, the same for the same request."""
    return b64encode(sha384(request_id.encode()).digest()).decode("ascii")
