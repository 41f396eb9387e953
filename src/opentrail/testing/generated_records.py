"""Records for generated trails: of the sizes and with the variety that real ones have, and quickly made.

Rules: a record is a template of its caller and operation in which what differs from call to call is filled in (times,
ids, an address, a resource), so that a file's records share text as real ones do: 1.4 KB in the mean, and a file of
5 minutes compresses about eightfold.  Every value is made up.  The same seed makes the same records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from opentrail.core.events import format_time

_CALLERS: Final = 6  # for each account and region
_AGENTS: Final = (
    "aws-cli/2.27.40 md/awscrt#0.26.1 ua/2.1 os/linux#6.1.0 md/arch#x86_64 lang/python#3.13.4",
    "Boto3/1.38.30 md/Botocore#1.38.30 ua/2.1 os/linux#5.10.0 md/arch#aarch64 lang/python#3.12.9",
    "aws-sdk-go-v2/1.36.3 ua/2.1 os/linux lang/go#1.24.2 md/GOOS#linux md/GOARCH#amd64 api/s3#1.79.3 m/E",
)
_TLS: Final = {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256"}
_INSTANCE: Final = {
    "instanceId": "i-0%(resource)s",
    "imageId": "ami-0a1b2c3d4e5f60718",
    "currentState": {"code": 0, "name": "pending"},
    "privateDnsName": "ip-10-0-12-%(host)s.internal",
    "amiLaunchIndex": 0,
    "productCodes": {},
    "instanceType": "m7i.large",
    "launchTime": 1714986000000,
    "placement": {"availabilityZone": "zone-a", "tenancy": "default"},
    "monitoring": {"state": "disabled"},
    "subnetId": "subnet-0f1e2d3c4b5a69788",
    "vpcId": "vpc-0123456789abcdef0",
    "privateIpAddress": "10.0.12.%(host)s",
    "stateReason": {"code": "pending", "message": "pending"},
    "architecture": "x86_64",
    "rootDeviceType": "ebs",
    "rootDeviceName": "/dev/xvda",
    "tagSet": {"items": [{"key": "Name", "value": "worker-%(host)s"}, {"key": "team", "value": "billing"}]},
    "groupSet": {"items": [{"groupId": "sg-0aa11bb22cc33dd44", "groupName": "workers"}]},
    "networkInterfaceSet": {"items": [{"networkInterfaceId": "eni-0%(resource)s", "status": "in-use"}]},
}


@dataclass(frozen=True, slots=True)
class _Operation:
    """``elements`` are the record's that are not as with every call; their ``%(name)s`` are filled in for each."""

    source: str
    name: str
    share: int
    elements: Mapping[str, Any]


_OPERATIONS: Final = (
    _Operation(
        "ec2",
        "DescribeInstances",
        5,
        {"requestParameters": {"instancesSet": {"items": [{"instanceId": "i-0%(resource)s"}]}, "filterSet": {}}},
    ),
    _Operation("ec2", "DescribeNetworkInterfaces", 6, {"requestParameters": {"maxResults": 1000, "filterSet": {}}}),
    _Operation(
        "ec2",
        "RunInstances",
        1,
        {
            "readOnly": False,
            "requestParameters": {
                "instancesSet": {"items": [{"imageId": "ami-0a1b2c3d4e5f60718", "minCount": 1, "maxCount": 1}]},
                "instanceType": "m7i.large",
                "clientToken": "%(event_id)s",
            },
            "responseElements": {
                "requestId": "%(request_id)s",
                "reservationId": "r-0%(resource)s",
                "instancesSet": {"items": [_INSTANCE]},
            },
        },
    ),
    _Operation(
        "sts",
        "AssumeRole",
        4,
        {
            "requestParameters": {
                "roleArn": "arn:aws:iam::%(account)s:role/deployment",
                "roleSessionName": "build-%(resource)s",
                "durationSeconds": 3600,
            },
            "responseElements": {
                "credentials": {
                    "accessKeyId": "ASIA%(key)s",
                    "sessionToken": "%(token)s",
                    "expiration": "May 6, 2024, 11:00:00 AM",
                },
                "assumedRoleUser": {
                    "assumedRoleId": "AROAEXAMPLE3ROLE4ID5X:build-%(resource)s",
                    "arn": "arn:aws:sts::%(account)s:assumed-role/deployment/build-%(resource)s",
                },
            },
            "resources": [
                {
                    "accountId": "%(account)s",
                    "type": "AWS::IAM::Role",
                    "ARN": "arn:aws:iam::%(account)s:role/deployment",
                }
            ],
        },
    ),
    _Operation(
        "s3",
        "GetObject",
        5,
        {
            "requestParameters": {
                "bucketName": "invoices-%(account)s",
                "Host": "invoices-%(account)s.s3.amazonaws.com",
                "key": "2024/05/%(resource)s.pdf",
            },
            "additionalEventData": {
                "SignatureVersion": "SigV4",
                "CipherSuite": "TLS_AES_128_GCM_SHA256",
                "bytesTransferredIn": 0,
                "AuthenticationMethod": "AuthHeader",
                "x-amz-id-2": "%(token)s",
                "bytesTransferredOut": 20480,
            },
            "managementEvent": False,
            "eventCategory": "Data",
            "resources": [
                {"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::invoices-%(account)s/2024/05/%(resource)s.pdf"},
                {
                    "accountId": "%(account)s",
                    "type": "AWS::S3::Bucket",
                    "ARN": "arn:aws:s3:::invoices-%(account)s",
                },
            ],
        },
    ),
    _Operation(
        "kms",
        "Decrypt",
        4,
        {
            "requestParameters": {
                "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "encryptionContext": {"aws:s3:arn": "arn:aws:s3:::invoices-%(account)s/2024/05/%(resource)s.pdf"},
            },
            "resources": [
                {
                    "accountId": "%(account)s",
                    "type": "AWS::KMS::Key",
                    "ARN": "arn:aws:kms:%(region)s:%(account)s:key/5f0e1d2c-3b4a-4958-8776-a5b4c3d2e1f0",
                }
            ],
        },
    ),
    _Operation(
        "iam",
        "ListAttachedRolePolicies",
        2,
        {
            "requestParameters": {"roleName": "worker-%(host)s"},
            "errorCode": "AccessDenied",
            "errorMessage": (
                "User: arn:aws:sts::%(account)s:assumed-role/deployment/build-%(resource)s is not authorized to "
                "perform: iam:ListAttachedRolePolicies on resource: role worker-%(host)s because no identity-based "
                "policy allows it"
            ),
        },
    ),
)


class RecordMaker:
    """Makes the records of one account and region."""

    def __init__(self, account_id: str, region: str, random: Random) -> None:
        self._random = random
        self._fixed = {"account": account_id, "region": region}
        self._templates = [
            _template(operation, number, account_id, region)
            for number in range(_CALLERS)
            for operation in _OPERATIONS
            for _ in range(operation.share)
        ]

    def make(self, count: int, start: datetime, end: datetime) -> list[bytes]:
        """``count`` records (JSON, UTF-8) with event times from ``start`` to ``end``, in order of time."""
        seconds = (end - start) / timedelta(seconds=1)
        times = [format_time(start + timedelta(seconds=int(seconds * at / count))) for at in range(count)]
        templates = self._random.choices(self._templates, k=count)
        return [(template % self._values(time)).encode() for template, time in zip(templates, times, strict=True)]

    def _values(self, time: str) -> dict[str, str]:
        text = self._random.randbytes(62).hex()  # one draw for all: this is most of the work
        return {
            **self._fixed,
            "time": time,
            "event_id": _uuid(text[:32]),
            "request_id": _uuid(text[32:64]),
            "resource": text[64:80],
            "key": text[80:96].upper(),
            "token": text[96:] * 4,
            "host": str(int(text[2:4], 16)),
        }


def _template(operation: _Operation, number: int, account_id: str, region: str) -> str:
    """The records of one operation that the caller ``number`` makes."""
    source, name = operation.source, operation.name
    agent = _AGENTS[number % len(_AGENTS)]
    record = {
        "eventVersion": "1.11",
        "userIdentity": _caller(account_id, number),
        "eventTime": "%(time)s",
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "203.0.113.%(host)s",
        "userAgent": f"[{agent} md/command#{source}.{name}]",
        "requestParameters": None,
        "responseElements": None,
        "requestID": "%(request_id)s",
        "eventID": "%(event_id)s",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account_id,
        "eventCategory": "Management",
        "tlsDetails": {**_TLS, "clientProvidedHostHeader": f"{source}.{region}.amazonaws.com"},
    }
    return json.dumps({**record, **operation.elements}, separators=(",", ":"))


def _caller(account_id: str, number: int) -> dict[str, Any]:
    """An IAM user, or a session of a role with all that its record says."""
    if number % 3 == 0:
        return {
            "type": "IAMUser",
            "principalId": f"AIDAEXAMPLE{number:010}",
            "arn": f"arn:aws:iam::{account_id}:user/person-{number}",
            "accountId": account_id,
            "accessKeyId": f"AKIAEXAMPLE{number:09}",
            "userName": f"person-{number}",
        }
    role = f"service-{number}"
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLE{number:010}:%(host)s",
        "arn": f"arn:aws:sts::{account_id}:assumed-role/{role}/%(host)s",
        "accountId": account_id,
        "accessKeyId": "ASIA%(key)s",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": f"AROAEXAMPLE{number:010}",
                "arn": f"arn:aws:iam::{account_id}:role/{role}",
                "accountId": account_id,
                "userName": role,
            },
            "attributes": {"creationDate": "%(time)s", "mfaAuthenticated": "false"},
        },
    }


def _uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
