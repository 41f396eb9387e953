"""S3: enough of it to be a log bucket that AWS's own clients use without surprise.

Buckets are rows (``state.buckets``), objects lie in an ``ObjectStore`` under ``bucket/key``.  What is not in this table
is answered 501 NotImplemented.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentrail.services.base import OperationEntry
from opentrail.services.s3 import buckets, copying, listing, multipart, objects, policies, tagging, uploads
from opentrail.services.s3.deps import S3Deps
from opentrail.services.s3.permissions import (
    bucket_owner,
    on_bucket,
    on_object,
    on_policy,
    to_copy,
    to_create_bucket,
    to_delete_many,
    to_list_buckets,
    to_put,
)

_Entry = OperationEntry

S3_OPERATIONS: Mapping[str, OperationEntry[S3Deps]] = {
    "AbortMultipartUpload": _Entry(
        handler=multipart.abort_multipart_upload,
        permissions=on_object("s3:AbortMultipartUpload"),
        writes=True,
        anonymous=True,
    ),
    "CompleteMultipartUpload": _Entry(
        handler=multipart.complete_multipart_upload,
        permissions=on_object("s3:PutObject"),
        writes=True,
        anonymous=True,
    ),
    "CopyObject": _Entry(handler=copying.copy_object, permissions=to_copy, writes=True, anonymous=True),
    "CreateBucket": _Entry(handler=buckets.create_bucket, permissions=to_create_bucket, writes=True),
    "CreateMultipartUpload": _Entry(
        handler=multipart.create_multipart_upload, permissions=to_put, writes=True, anonymous=True
    ),
    "DeleteBucket": _Entry(handler=buckets.delete_bucket, permissions=on_bucket("s3:DeleteBucket"), writes=True),
    "DeleteBucketPolicy": _Entry(
        handler=policies.delete_bucket_policy, permissions=on_policy("s3:DeleteBucketPolicy"), writes=True
    ),
    "DeleteBucketTagging": _Entry(
        handler=tagging.delete_bucket_tagging, permissions=on_bucket("s3:PutBucketTagging"), writes=True
    ),
    "DeleteObject": _Entry(
        handler=objects.delete_object, permissions=on_object("s3:DeleteObject"), writes=True, anonymous=True
    ),
    "DeleteObjectTagging": _Entry(
        handler=tagging.delete_object_tagging,
        permissions=on_object("s3:DeleteObjectTagging"),
        writes=True,
        anonymous=True,
    ),
    "DeleteObjects": _Entry(
        handler=objects.delete_objects, permissions=to_delete_many, writes=True, anonymous=True, owner=bucket_owner
    ),
    "DeletePublicAccessBlock": _Entry(
        handler=policies.delete_public_access_block,
        permissions=on_bucket("s3:PutBucketPublicAccessBlock"),
        writes=True,
    ),
    "GetBucketAcl": _Entry(
        handler=buckets.get_bucket_acl,
        permissions=on_bucket("s3:GetBucketAcl"),
        writes=False,
        blocking=False,
        anonymous=True,
    ),
    "GetBucketLocation": _Entry(
        handler=buckets.get_bucket_location,
        permissions=on_bucket("s3:GetBucketLocation"),
        writes=False,
        blocking=False,
        anonymous=True,
    ),
    "GetBucketOwnershipControls": _Entry(
        handler=buckets.get_bucket_ownership_controls,
        permissions=on_bucket("s3:GetBucketOwnershipControls"),
        writes=False,
        blocking=False,
    ),
    "GetBucketPolicy": _Entry(
        handler=policies.get_bucket_policy,
        permissions=on_policy("s3:GetBucketPolicy"),
        writes=False,
        blocking=False,
    ),
    "GetBucketPolicyStatus": _Entry(
        handler=policies.get_bucket_policy_status,
        permissions=on_bucket("s3:GetBucketPolicyStatus"),
        writes=False,
        blocking=False,
    ),
    "GetBucketTagging": _Entry(
        handler=tagging.get_bucket_tagging,
        permissions=on_bucket("s3:GetBucketTagging"),
        writes=False,
        blocking=False,
    ),
    "GetBucketVersioning": _Entry(
        handler=buckets.get_bucket_versioning,
        permissions=on_bucket("s3:GetBucketVersioning"),
        writes=False,
        blocking=False,
        anonymous=True,
    ),
    "GetObject": _Entry(
        handler=objects.get_object, permissions=on_object("s3:GetObject"), writes=False, anonymous=True
    ),
    "GetObjectAcl": _Entry(
        handler=objects.get_object_acl, permissions=on_object("s3:GetObjectAcl"), writes=False, anonymous=True
    ),
    "GetObjectAttributes": _Entry(
        handler=objects.get_object_attributes,
        permissions=on_object("s3:GetObject", "s3:GetObjectAttributes"),
        writes=False,
        anonymous=True,
    ),
    "GetObjectTagging": _Entry(
        handler=tagging.get_object_tagging,
        permissions=on_object("s3:GetObjectTagging"),
        writes=False,
        anonymous=True,
    ),
    "GetPublicAccessBlock": _Entry(
        handler=policies.get_public_access_block,
        permissions=on_bucket("s3:GetBucketPublicAccessBlock"),
        writes=False,
        blocking=False,
    ),
    "HeadBucket": _Entry(
        handler=buckets.head_bucket,
        permissions=on_bucket("s3:ListBucket"),
        writes=False,
        blocking=False,
        anonymous=True,
    ),
    "HeadObject": _Entry(
        handler=objects.head_object, permissions=on_object("s3:GetObject"), writes=False, anonymous=True
    ),
    "ListBuckets": _Entry(handler=buckets.list_buckets, permissions=to_list_buckets, writes=False, blocking=False),
    "ListMultipartUploads": _Entry(
        handler=uploads.list_multipart_uploads,
        permissions=on_bucket("s3:ListBucketMultipartUploads"),
        writes=False,
        anonymous=True,
    ),
    "ListObjectVersions": _Entry(
        handler=listing.list_object_versions,
        permissions=on_bucket("s3:ListBucketVersions"),
        writes=False,
        anonymous=True,
    ),
    "ListObjects": _Entry(
        handler=listing.list_objects, permissions=on_bucket("s3:ListBucket"), writes=False, anonymous=True
    ),
    "ListObjectsV2": _Entry(
        handler=listing.list_objects_v2, permissions=on_bucket("s3:ListBucket"), writes=False, anonymous=True
    ),
    "ListParts": _Entry(
        handler=uploads.list_parts,
        permissions=on_object("s3:ListMultipartUploadParts"),
        writes=False,
        anonymous=True,
    ),
    "PutBucketPolicy": _Entry(
        handler=policies.put_bucket_policy, permissions=on_policy("s3:PutBucketPolicy"), writes=True
    ),
    "PutBucketTagging": _Entry(
        handler=tagging.put_bucket_tagging, permissions=on_bucket("s3:PutBucketTagging"), writes=True
    ),
    "PutObject": _Entry(
        handler=objects.put_object,
        begin=objects.begin_put_object,
        permissions=to_put,
        writes=True,
        anonymous=True,
    ),
    "PutObjectTagging": _Entry(
        handler=tagging.put_object_tagging,
        permissions=on_object("s3:PutObjectTagging"),
        writes=True,
        anonymous=True,
    ),
    "PutPublicAccessBlock": _Entry(
        handler=policies.put_public_access_block,
        permissions=on_bucket("s3:PutBucketPublicAccessBlock"),
        writes=True,
    ),
    "UploadPart": _Entry(
        handler=multipart.upload_part, permissions=on_object("s3:PutObject"), writes=True, anonymous=True
    ),
    "UploadPartCopy": _Entry(handler=multipart.upload_part_copy, permissions=to_copy, writes=True, anonymous=True),
}

__all__ = ["S3_OPERATIONS", "S3Deps"]
