"""The services of the endpoint: one table, botocore's name of a service to its operations."""

from collections.abc import Mapping
from typing import Any

from opentrail.server.condition_context import RequestKeys
from opentrail.services.base import OperationEntry
from opentrail.services.cloudtrail import CLOUDTRAIL_OPERATIONS
from opentrail.services.cloudtrail_data import CLOUDTRAIL_DATA_OPERATIONS
from opentrail.services.iam import IAM_OPERATIONS
from opentrail.services.organizations import ORGANIZATIONS_OPERATIONS
from opentrail.services.s3 import S3_OPERATIONS
from opentrail.services.s3.condition_keys import request_keys
from opentrail.services.sts import STS_OPERATIONS

SERVICES: Mapping[str, Mapping[str, OperationEntry[Any]]] = {
    "cloudtrail": CLOUDTRAIL_OPERATIONS,
    "cloudtrail-data": CLOUDTRAIL_DATA_OPERATIONS,
    "iam": IAM_OPERATIONS,
    "organizations": ORGANIZATIONS_OPERATIONS,
    "s3": S3_OPERATIONS,
    "sts": STS_OPERATIONS,
}

# Services whose requests have condition keys of their own, whatever they ask for.
REQUEST_KEYS: RequestKeys = {"s3": request_keys}
