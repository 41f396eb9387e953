"""Which service and operation a request is for: hosts, sub-resources, actions, targets, and what is none of them."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.wire.protocols import parse_request
from opentrail.core.wire.routing import Route, Scope, identify
from opentrail.core.wire.s3 import bucket_of_host
from opentrail.server.catalog import BotocoreCatalog

FORM = {"content-type": "application/x-www-form-urlencoded"}


def _identify(catalog: BotocoreCatalog, line: str, body: bytes | None = None, scope: str = "", **headers: str) -> Route:
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = HttpRequest(method=method, path=path, query=query, headers=Headers(fields.items()))
    return identify(request, body, Scope(signing_name=scope) if scope else None, catalog)


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("bucket.s3.amazonaws.com", "bucket"),
        ("bucket.s3.eu-west-1.amazonaws.com", "bucket"),
        ("bucket.s3-us-west-2.amazonaws.com:443", "bucket"),
        ("bucket.s3.dualstack.us-gov-west-1.amazonaws.com", "bucket"),
        ("bucket.s3-accelerate.amazonaws.com", "bucket"),
        ("bucket.s3.cn-north-1.amazonaws.com.cn", "bucket"),
        ("my.dotted.bucket.s3.us-east-1.amazonaws.com", "my.dotted.bucket"),
        ("a.s3.b.s3.us-east-1.amazonaws.com", "a.s3.b"),
        ("BUCKET.LOCALHOST:4577", "bucket"),
        ("bucket.localhost", "bucket"),
        ("s3-logs.localhost", "s3-logs"),
        ("bucket.s3.localhost:4577", "bucket"),
        ("bucket.s3.us-east-1.localhost", "bucket"),
        ("s3.amazonaws.com", ""),
        ("s3.us-east-1.amazonaws.com", ""),
        ("s3-eu-west-1.amazonaws.com", ""),
        ("sts.amazonaws.com", ""),
        ("s3.localhost", ""),
        ("localhost:4577", ""),
        ("127.0.0.1:4577", ""),
        ("[::1]:4577", ""),
        ("opentrail.example.com", ""),
        ("", ""),
    ],
)
def test_a_host_name_holds_a_bucket_only_under_a_known_domain(host: str, bucket: str) -> None:
    assert bucket_of_host(host) == bucket


def test_domains_are_configurable() -> None:
    assert bucket_of_host("b.trail.corp", ["trail.corp"]) == "b"
    assert bucket_of_host("b.localhost", ["trail.corp"]) == ""


@pytest.mark.parametrize(
    ("line", "headers", "operation"),
    [
        ("GET /", {}, "ListBuckets"),
        ("GET /b", {}, "ListObjects"),
        ("GET /b/", {}, "ListObjects"),
        ("GET /b?list-type=2", {}, "ListObjectsV2"),
        ("GET /b?list-type=2&x-id=ListObjectsV2", {}, "ListObjectsV2"),
        ("GET /b?versions", {}, "ListObjectVersions"),
        ("GET /b?versions=", {}, "ListObjectVersions"),
        ("GET /b?uploads", {}, "ListMultipartUploads"),
        ("GET /b?%61cl", {}, "GetBucketAcl"),
        ("GET /b?acl", {}, "GetBucketAcl"),
        ("GET /b?policy", {}, "GetBucketPolicy"),
        ("GET /b?policyStatus", {}, "GetBucketPolicyStatus"),
        ("GET /b?lifecycle", {}, "GetBucketLifecycleConfiguration"),
        ("GET /b?notification", {}, "GetBucketNotificationConfiguration"),
        ("GET /b?analytics", {}, "ListBucketAnalyticsConfigurations"),
        ("GET /b?analytics&id=x", {}, "GetBucketAnalyticsConfiguration"),
        ("PUT /b", {}, "CreateBucket"),
        ("PUT /b/", {}, "CreateBucket"),
        ("DELETE /b?policy", {}, "DeleteBucketPolicy"),
        ("HEAD /b", {}, "HeadBucket"),
        ("HEAD /b/k", {}, "HeadObject"),
        ("POST /b?delete", {}, "DeleteObjects"),
        ("GET /b/k/", {}, "GetObject"),
        ("GET /b//", {}, "GetObject"),
        ("GET /b/k?acl", {}, "GetObjectAcl"),
        ("GET /b/k?versionId=1", {}, "GetObject"),
        ("GET /b/k?partNumber=1", {}, "GetObject"),
        ("GET /b/k?uploadId=u", {}, "ListParts"),
        ("PUT /b/k", {}, "PutObject"),
        ("PUT /b/k", {"x_amz_copy_source": "/b/o"}, "CopyObject"),
        ("PUT /b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
        ("PUT /b/k?partNumber=1&uploadId=u", {"x_amz_copy_source": "/b/o"}, "UploadPartCopy"),
        ("POST /b/k?uploads", {}, "CreateMultipartUpload"),
        ("POST /b/k?uploadId=u", {}, "CompleteMultipartUpload"),
        ("POST /b/k?select&select-type=2", {}, "SelectObjectContent"),
        ("DELETE /b/k", {}, "DeleteObject"),
        ("DELETE /b/k?uploadId=u", {}, "AbortMultipartUpload"),
        ("DELETE /b/k?tagging", {}, "DeleteObjectTagging"),
    ],
)
def test_s3_operations(catalog: BotocoreCatalog, line: str, headers: dict[str, str], operation: str) -> None:
    route = _identify(catalog, line, None, "s3", **headers)
    assert (route.operation_name, route.fault) == (operation, None)
    assert _identify(catalog, line, None, "", **headers).operation_name == operation  # anonymous


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        ("DELETE /b?acl", "MethodNotAllowed", 405),  # never DeleteBucket
        ("DELETE /b?versions", "MethodNotAllowed", 405),
        ("PUT /b/k?policy", "MethodNotAllowed", 405),  # never PutObject
        ("POST /b", "MethodNotAllowed", 405),
        ("PATCH /b/k", "MethodNotAllowed", 405),
        ("GET /b?acl&policy", "InvalidArgument", 400),
        ("PUT /b/k?uploadId=u", "InvalidArgument", 400),  # half a part's name: never the whole object
        ("PUT /b/k?partNumber=1", "InvalidArgument", 400),
    ],
)
def test_a_sub_resource_is_never_ignored(catalog: BotocoreCatalog, line: str, code: str, status: int) -> None:
    route = _identify(catalog, line, None, "s3")
    assert route.operation is None
    assert route.service.name == "s3"
    assert route.fault is not None
    assert (route.fault.code, route.fault.status) == (code, status)
    with pytest.raises(ServiceFault) as refusal:
        parse_request(route, HttpRequest(method="GET", path="/"), b"")
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("path", "host", "bucket", "key"),
    [
        ("/b/a%2Fb/c%20d/", "127.0.0.1:4577", "b", "a/b/c d/"),
        ("/b/%E2%98%83", "localhost", "b", "☃"),
        ("/b//a//b", "localhost", "b", "/a//b"),
        ("/a+b%2B", "b.localhost:4577", "b", "a+b+"),
        ("/b/k", "b.s3.us-east-1.amazonaws.com", "b", "b/k"),
    ],
)
def test_bucket_and_key_of_both_styles(catalog: BotocoreCatalog, path: str, host: str, bucket: str, key: str) -> None:
    request = HttpRequest(method="PUT", path=path, headers=Headers([("host", host)]))
    route = identify(request, None, Scope(signing_name="s3"), catalog)
    assert parse_request(route, request, b"") == {"Bucket": bucket, "Key": key}
    assert route.path.startswith(f"/{bucket}/")


def _form(action: str, version: str) -> bytes:
    return f"Action={action}&Version={version}".encode()


@pytest.mark.parametrize(
    ("scope", "action", "version", "service", "protocol"),
    [
        ("sts", "GetCallerIdentity", "2011-06-15", "sts", "query"),
        ("", "AssumeRoleWithWebIdentity", "2011-06-15", "sts", "query"),
        ("iam", "ListUsers", "2010-05-08", "iam", "query"),
        ("elasticloadbalancing", "DescribeLoadBalancers", "2012-06-01", "elb", "query"),
        ("elasticloadbalancing", "DescribeLoadBalancers", "2015-12-01", "elbv2", "query"),
        ("rds", "DescribeDBInstances", "2014-10-31", "rds", "query"),
        ("ses", "SendEmail", "2010-12-01", "ses", "query"),
        ("ec2", "DescribeInstances", "2016-11-15", "ec2", "ec2"),
        ("monitoring", "ListMetrics", "2010-08-01", "cloudwatch", "query"),
    ],
)
def test_actions(
    *, catalog: BotocoreCatalog, scope: str, action: str, version: str, service: str, protocol: str
) -> None:
    for route in (
        _identify(catalog, "POST /", _form(action, version), scope, content_type=FORM["content-type"]),
        _identify(catalog, f"GET /?{_form(action, version).decode()}", b"", scope),
    ):
        assert (route.service.name, route.operation_name, route.protocol) == (service, action, protocol)


@pytest.mark.parametrize(
    ("scope", "target", "service"),
    [
        ("cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.CreateTrail", "cloudtrail"),
        ("cloudtrail", "CloudTrail_20131101.CreateTrail", "cloudtrail"),  # SDKs made from Smithy models
        ("dynamodb", "DynamoDB_20120810.PutItem", "dynamodb"),
        ("dynamodb", "DynamoDBStreams_20120810.GetRecords", "dynamodbstreams"),
        ("timestream", "Timestream_20181101.WriteRecords", "timestream-write"),
        ("timestream", "Timestream_20181101.Query", "timestream-query"),
        ("", "AWSCognitoIdentityService.GetId", "cognito-identity"),
    ],
)
def test_targets(catalog: BotocoreCatalog, scope: str, target: str, service: str) -> None:
    route = _identify(catalog, "POST /", b"{}", scope, x_amz_target=target)
    assert (route.service.name, route.operation_name) == (service, target.rpartition(".")[2])
    assert route.protocol == "json"


def test_the_rpc_v2_protocol_is_named_by_a_header(catalog: BotocoreCatalog) -> None:
    path = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
    route = _identify(catalog, f"POST {path}", b"", "monitoring", smithy_protocol="rpc-v2-cbor")
    assert (route.service.name, route.operation_name, route.protocol) == (
        "cloudwatch",
        "PutMetricData",
        "smithy-rpc-v2-cbor",
    )


@pytest.mark.parametrize(
    ("line", "scope", "headers", "service", "operation"),
    [
        ("GET /2015-03-31/functions", "lambda", {}, "lambda", "ListFunctions"),
        ("GET /2015-03-31/functions/", "lambda", {}, "lambda", "ListFunctions"),
        ("GET /v2/email/account", "ses", {}, "sesv2", "GetAccount"),
        ("GET /v2/apis", "apigateway", {}, "apigatewayv2", "GetApis"),
        ("GET /restapis", "apigateway", {}, "apigateway", "GetRestApis"),
        ("POST /model/m/invoke", "bedrock", {}, "bedrock-runtime", "InvokeModel"),
        ("GET /v20180820/configuration/publicAccessBlock", "s3", {"x_amz_account_id": "1"}, "s3control",
         "GetPublicAccessBlock"),
        ("GET /v20180820/configuration/publicAccessBlock", "s3", {}, "s3", "GetObject"),
        ("PUT /portals/a%2Fb/browserSettings", "workspaces-web", {}, "workspaces-web", "AssociateBrowserSettings"),
        ("PUT /portals/a%2Fb", "workspaces-web", {}, "workspaces-web", "UpdatePortal"),
    ],
)  # fmt: skip
def test_rest_services(
    *, catalog: BotocoreCatalog, line: str, scope: str, headers: dict[str, str], service: str, operation: str
) -> None:
    route = _identify(catalog, line, None, scope, **headers)
    assert (route.service.name, route.operation_name) == (service, operation)


@pytest.mark.parametrize(
    ("line", "body", "scope", "headers", "asked", "code"),
    [
        ("POST /", _form("Nope", "2010-05-08"), "iam", FORM, "Nope", "InvalidAction"),
        ("POST /", _form("Nope", "2016-11-15"), "ec2", FORM, "Nope", "InvalidAction"),
        ("POST /", b"", "sts", FORM, "", "MissingAction"),
        ("POST /", b"{}", "cloudtrail", {"x_amz_target": "CloudTrail_20131101.Nope"}, "Nope",
         "UnknownOperationException"),
        ("POST /", b"{}", "cloudtrail", {"x_amz_target": "DynamoDB_20120810.PutItem"}, "PutItem",
         "UnknownOperationException"),
        ("POST /", b"{}", "cloudtrail", {}, "", "UnknownOperationException"),
        ("GET /nowhere", b"", "lambda", {}, "", "UnknownOperationException"),
    ],
)  # fmt: skip
def test_an_unknown_operation_is_a_route_that_can_be_recorded(
    *, catalog: BotocoreCatalog, line: str, body: bytes, scope: str, headers: dict[str, Any], asked: str, code: str
) -> None:
    route = _identify(catalog, line, body, scope, **{key.replace("-", "_"): value for key, value in headers.items()})
    assert route.operation is None
    assert route.operation_name == asked
    assert scope in (route.service.name, route.service.signing_name)
    assert route.fault is not None
    assert route.fault.code == code


@pytest.mark.parametrize(
    ("line", "body", "scope", "headers"),
    [
        ("POST /", b"{}", "no-such-service", {}),
        ("POST /", _form("Nope", "1999-01-01"), "", {"content_type": FORM["content-type"]}),
        ("POST /", b"{}", "", {"x_amz_target": "Nothing.Nope"}),
        ("POST /", b"{}", "", {"x_amz_target": "?"}),
        ("POST /elsewhere", b"", "", {"smithy_protocol": "rpc-v2-cbor"}),
    ],
)
def test_an_unknown_service_is_a_fault(
    catalog: BotocoreCatalog, line: str, body: bytes, scope: str, headers: dict[str, str]
) -> None:
    with pytest.raises(ServiceFault):
        _identify(catalog, line, body, scope, **headers)


UNSIGNED = [
    ("POST /token", "oidc.eu-west-1.amazonaws.com", "sso-oidc", "CreateToken"),
    ("POST /client/register", "127.0.0.1:5000", "sso-oidc", "RegisterClient"),
    ("POST /device_authorization", "127.0.0.1:5000", "sso-oidc", "StartDeviceAuthorization"),
    ("POST /v1/token", "eu-west-1.signin.aws.amazon.com", "signin", "CreateOAuth2Token"),
    ("GET /federation/credentials?role_name=r&account_id=1", "127.0.0.1:5000", "sso", "GetRoleCredentials"),
    ("GET /assignment/accounts", "portal.sso.us-east-1.amazonaws.com", "sso", "ListAccounts"),
    ("POST /logout", "localhost", "sso", "Logout"),
    ("GET /assignment/accounts", "localhost", "s3", "GetObject"),
    ("GET /token", "oidc.eu-west-1.amazonaws.com", "s3", "ListObjects"),
    ("GET /assignment/accounts", "portal.sso.localhost", "s3", "GetObject"),
    ("POST /k?uploads", "oidc.s3.amazonaws.com", "s3", "CreateMultipartUpload"),
]


@pytest.mark.parametrize(("line", "host", "service", "operation"), UNSIGNED)
def test_an_unsigned_rest_request_is_that_of_a_service_without_signatures_or_s3_s(
    catalog: BotocoreCatalog, line: str, host: str, service: str, operation: str
) -> None:
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    token = [("x-amz-sso_bearer_token", "t")] if service == "sso" else []
    request = HttpRequest(method=method, path=path, query=query, headers=Headers([("host", host), *token]))
    route = identify(request, None, None, catalog)
    assert (route.service.name, route.operation_name) == (service, operation)


def test_every_service_with_unsigned_rest_operations_is_known() -> None:
    """botocore's models say which: a new one is a new line in the table."""
    session = botocore.session.get_session()
    found = set()
    for name in session.get_available_services():
        model = session.get_service_model(name)
        if model.metadata["protocol"].startswith("rest"):
            operations = map(model.operation_model, model.operation_names)
            found |= {name for operation in operations if operation.auth_type == "none"}
    assert found == {service for _, _, service, _ in UNSIGNED} - {"s3"}


def test_an_anonymous_object_with_an_action_in_its_query_is_still_an_object(catalog: BotocoreCatalog) -> None:
    assert _identify(catalog, "GET /b/k?Action=ListUsers&Version=2010-05-08").operation_name == "GetObject"
