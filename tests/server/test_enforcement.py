"""Every operation of every service is authorised, by IAM actions that exist, and by nothing but them.

Each operation is called with just what its model requires, by a user without any policy, who is then allowed what each
refusal names, and nothing else, until the call gets past authorisation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from opentrail.server.service_table import SERVICES


def _document(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", **statement}})


#: What AWS lets any caller do that can sign (STS API reference; S3 decides on each key of a bulk deletion by itself).
OPEN = {
    "s3": {"DeleteObjects"},
    "sts": {"GetCallerIdentity", "GetSessionToken"},
}
#: The token's bearer calls unsigned: no user's policy has a say.
UNSIGNED = {"sts": {"AssumeRoleWithWebIdentity"}}

#: Actions that are no operations' names (Service authorization reference), as far as this endpoint asks for them.
FURTHER_ACTIONS = {
    "cloudtrail": set[str](),
    "cloudtrail-data": set[str](),
    "iam": {"PassRole"},
    "organizations": set[str](),
    "s3": {
        "AbortMultipartUpload", "DeleteObjectVersion", "DeleteObjectVersionTagging", "GetBucketOwnershipControls",
        "GetBucketPublicAccessBlock", "GetObjectVersion", "GetObjectVersionAcl", "GetObjectVersionAttributes",
        "GetObjectVersionTagging", "ListAllMyBuckets", "ListBucket", "ListBucketMultipartUploads", "ListBucketVersions",
        "ListMultipartUploadParts", "PutBucketPublicAccessBlock", "PutObjectVersionTagging",
    },
    "sts": {"SetSourceIdentity", "TagSession"},
}  # fmt: skip

#: Values for members that must name something, or whose form the model does not tell.
VALUES: Mapping[str, Any] = {
    "AccountAlias": "my-alias",
    "AssumeRolePolicyDocument": _document(Principal="*", Action="sts:AssumeRole"),
    "Bucket": "bkt",
    "CopySource": "bkt/k",
    "EventSelectors": [],
    "GroupName": "nogroup",
    "HandshakeId": "h-abcdefgh",
    "InsightSelectors": [],
    "Key": "k",
    "OpenIDConnectProviderArn": "arn:aws:iam::123456789012:oidc-provider/issuer.example",
    "Password": "Correct-Horse-1",
    "PolicyArn": "arn:aws:iam::123456789012:policy/none",
    "PolicyDocument": _document(Action="*", Resource="*"),
    "ResourceId": "123456789012",  # Organizations'; CloudTrail's is below
    "RoleArn": "arn:aws:iam::123456789012:role/trusting",
    "RoleName": "norole",
    "S3BucketName": "bkt",
    "TrailName": "none",
    "Url": "https://issuer.example",
    "UserName": "nobody",
    "VersionId": "v1",
}
MODELLED = {
    (service, operation)
    for service, operations in SERVICES.items()
    for operation in operations
    if operation not in UNSIGNED.get(service, ())
}
_REFUSAL = re.compile(r"is not authorized to perform: (\w[\w-]*):(\w+)")


def sample(shape: Any, name: str = "") -> Any:
    """A value that the model of ``shape`` accepts; of a structure what is required alone."""
    if name in VALUES:
        return VALUES[name]
    least = int(shape.metadata.get("min", 0))
    make: Mapping[str, Callable[[], Any]] = {
        "structure": lambda: {each: sample(shape.members[each], each) for each in shape.required_members},
        "list": lambda: [sample(shape.member)] * max(1, least),
        "map": lambda: {sample(shape.key): sample(shape.value)},
        "string": lambda: _text(shape),
        "blob": lambda: b"x",
        "boolean": lambda: True,
        "timestamp": lambda: 0,
    }
    return make.get(shape.type_name, lambda: max(1, least))()


def _text(shape: Any) -> str:
    if shape.enum:
        return str(shape.enum[0])
    pattern = shape.metadata.get("pattern", "")
    fitting = ("123456789012", "a@b.example", "o-abcdefghij", "r-abcd", "ou-abcd-abcdefgh", "p-abcdefgh", "h-abcdefgh",
               "car-abcdefgh", "abcdefghij", "AKIAABCDEFGHIJKLMNOP")  # fmt: skip
    short = int(shape.metadata.get("min", 1))
    for text in (*fitting, "a" * max(short, 1)):
        long_enough = len(text) >= short and len(text) <= int(shape.metadata.get("max", 1 << 20))
        if long_enough and (not pattern or re.fullmatch(_python(pattern), text)):
            return text
    return "a" * max(short, 1)


def _python(pattern: str) -> str:
    return pattern.replace("\\p{L}\\p{Z}\\p{N}", "a-zA-Z0-9 ").replace("\\p{L}", "a-z").replace("\\p{N}", "0-9")


@pytest.fixture(scope="module")
def endpoint(shared_local: Any) -> Any:
    s3 = shared_local.client("s3")
    s3.create_bucket(Bucket="bkt")
    s3.put_object(Bucket="bkt", Key="stays", Body=b"")  # nobody deletes the bucket
    trust = _document(Principal={"AWS": "123456789012"}, Action="sts:AssumeRole")
    shared_local.client("iam").create_role(RoleName="trusting", AssumeRolePolicyDocument=trust)
    return shared_local


@pytest.mark.parametrize(("service", "operation"), sorted(MODELLED))
def test_an_operation_is_refused_until_its_actions_are_allowed(endpoint: Any, service: str, operation: str) -> None:
    user = f"{service}-{operation}"[:60]
    caller = endpoint.client(service, endpoint.new_user(user))
    model = caller.meta.service_model.operation_model(operation)
    parameters = sample(model.input_shape) if model.input_shape else {}
    if service == "cloudtrail" and "ResourceId" in parameters:
        parameters["ResourceId"] = "arn:aws:cloudtrail:us-east-1:123456789012:trail/none"
    call = getattr(caller, xform_name(operation))
    actions: list[str] = []
    while True:
        message = _answer(endpoint, call, parameters)
        found = _REFUSAL.search(message)
        if found is None:
            break
        assert found[1] == service, message
        action = found[2]
        record = _last_record(endpoint)
        assert (record["userIdentity"]["userName"], record["errorCode"]) == (user, "AccessDenied")
        assert f"{service}:{action}" in record["errorMessage"]
        known = set(caller.meta.service_model.operation_names) | FURTHER_ACTIONS[service]
        assert action in known, f"IAM knows no action {service}:{action}"
        assert action not in actions, f"allowed on everything, and refused still: {message}"
        actions.append(action)
        statement = {"Effect": "Allow", "Action": [f"{service}:{each}" for each in actions], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        endpoint.client("iam").put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)
    assert bool(actions) is (operation not in OPEN.get(service, ())), message


def _last_record(endpoint: Any) -> Any:
    journal = endpoint.journal
    return json.loads(bytes(journal.read(journal.end - 1)[-1].payload))


def _answer(endpoint: Any, call: Any, parameters: Mapping[str, Any]) -> str:
    """What the answer says that went wrong; "" for a good one."""
    try:
        call(**parameters)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        message: str = error.response["Error"].get("Message", "")
        if status == 403 and message in {"", "Forbidden"}:  # an answer to HEAD has no body
            message = _last_record(endpoint)["errorMessage"]
        return message
    return ""
