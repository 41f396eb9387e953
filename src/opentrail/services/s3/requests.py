"""What every S3 call is asked first: its bucket, and whether it wants something that is not here.

A parameter that would change the meaning of a call and is not implemented is refused with 501, never passed over.
"""

from __future__ import annotations

from opentrail.core.errors import ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.faults import access_denied, invalid_argument, no_such_bucket, not_implemented
from opentrail.services.s3.names import check_key
from opentrail.state.buckets import Bucket

#: Parameters for customer keys, encryption, locks, redirects and the like, with the headers that carry them.
NOT_IMPLEMENTED = {
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
    "BucketNamespace": "x-amz-bucket-namespace",
    "BypassGovernanceRetention": "x-amz-bypass-governance-retention",
    "CopySourceSSECustomerAlgorithm": "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "CopySourceSSECustomerKey": "x-amz-copy-source-server-side-encryption-customer-key",
    "CopySourceSSECustomerKeyMD5": "x-amz-copy-source-server-side-encryption-customer-key-MD5",
    "MFA": "x-amz-mfa",
    "ObjectLockEventHold": "x-amz-object-lock-event-hold",
    "ObjectLockEventHoldDurationDays": "x-amz-object-lock-event-hold-duration-days",
    "ObjectLockEventHoldDurationYears": "x-amz-object-lock-event-hold-duration-years",
    "ObjectLockLegalHoldStatus": "x-amz-object-lock-legal-hold",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
    "SSECustomerKey": "x-amz-server-side-encryption-customer-key",
    "SSECustomerKeyMD5": "x-amz-server-side-encryption-customer-key-MD5",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
    "WriteOffsetBytes": "x-amz-write-offset-bytes",
}
_GRANTS = frozenset({"GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP"})
_STORAGE_CLASSES = frozenset({
    "DEEP_ARCHIVE", "EXPRESS_ONEZONE", "FSX_ONTAP", "FSX_OPENZFS", "GLACIER", "GLACIER_IR", "INTELLIGENT_TIERING",
    "ONEZONE_IA", "OUTPOSTS", "REDUCED_REDUNDANCY", "SNOW", "STANDARD_IA",
})  # fmt: skip


def require_bucket(call: ApiCall, deps: S3Deps) -> Bucket:
    """The bucket that the call names, owned by whom the call expects; unsupported parameters are refused.

    Raises ``ServiceFault`` NoSuchBucket, AccessDenied, NotImplemented, KeyTooLongError or InvalidArgument.
    """
    parameters = call.parameters
    bucket = find_bucket(deps, parameters["Bucket"])
    expected = parameters.get("ExpectedBucketOwner")
    if expected is not None and expected != bucket.owner:
        raise access_denied()
    refuse_unsupported(call)
    key = parameters.get("Key")
    if key is not None:
        check_key(key)
        version = parameters.get("VersionId")
        if version is not None and version != "null":
            raise invalid_argument("Invalid version id specified", "versionId", version)
    return bucket


def find_bucket(deps: S3Deps, name: str) -> Bucket:
    """The bucket ``name``.  Raises ``ServiceFault`` NoSuchBucket."""
    bucket = deps.buckets.find(name)
    if bucket is None:
        raise no_such_bucket(name)
    return bucket


def refuse_unsupported(call: ApiCall) -> None:
    """Raise ``ServiceFault`` NotImplemented where the call asks for what is not here."""
    asked = NOT_IMPLEMENTED.keys() & call.parameters.keys()
    if asked:
        raise not_implemented(NOT_IMPLEMENTED[min(asked)])


def check_object_settings(call: ApiCall) -> None:
    """Check the ACL and the storage class of a new object: the bucket's owner owns it, and there is one class.

    Raises ``ServiceFault`` AccessControlListNotSupported, InvalidStorageClass or NotImplemented.
    """
    parameters = call.parameters
    acl = parameters.get("ACL")
    if (acl is not None and acl != "bucket-owner-full-control") or _GRANTS & parameters.keys():
        raise ServiceFault("AccessControlListNotSupported", "The bucket does not allow ACLs")
    storage_class = parameters.get("StorageClass", "STANDARD")
    if storage_class in _STORAGE_CLASSES:
        raise not_implemented("x-amz-storage-class")
    if storage_class != "STANDARD":
        message = "The storage class you specified is not valid"
        raise ServiceFault("InvalidStorageClass", message, fields={"StorageClassRequested": storage_class})
