"""Policy documents: what the grammar takes, what it refuses and with which words, and bucket policies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import ANONYMOUS, Identity, IdentityType, service_identity
from opentrail.core.policy import Effect, PolicyType, is_public, parse_bucket_policy, parse_policy
from opentrail.core.policy.principals import Naming, parse_principals

ALLOW: dict[str, Any] = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


def _text(*statements: Any, version: str | None = "2012-10-17", **more: Any) -> str:
    head = {"Version": version} if version else {}
    return json.dumps({**head, **more, "Statement": list(statements)})


def _fault(text: str, policy_type: PolicyType = PolicyType.IDENTITY) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        parse_policy(text, policy_type)
    return caught.value


def test_a_policy_is_read_as_written() -> None:
    document = parse_policy(
        _text(
            {
                "Sid": "One",
                "Effect": "Deny",
                "NotAction": ["iam:*", "sts:Get?"],
                "NotResource": "*",
                "Condition": {"Bool": {"aws:SecureTransport": False}, "NumericLessThan": {"s3:max-keys": [10, 2.5]}},
            },
            Id="my policy",
        ),
        PolicyType.IDENTITY,
    )
    assert (document.version, document.id) == ("2012-10-17", "my policy")
    statement = document.statements[0]
    assert (statement.sid, statement.effect, statement.not_action, statement.not_resource) == (
        "One",
        Effect.DENY,
        True,
        True,
    )
    assert statement.actions == ("iam:*", "sts:Get?")
    assert [(c.operator, c.key, c.values) for c in statement.conditions] == [
        ("Bool", "aws:SecureTransport", ("false",)),
        ("NumericLessThan", "s3:max-keys", ("10", "2.5")),
    ]


def test_one_statement_needs_no_list_and_one_value_no_list_either() -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": ALLOW})
    assert len(parse_policy(text, PolicyType.IDENTITY).statements) == 1


def test_actions_match_in_any_case_and_resources_exactly() -> None:
    statement = parse_policy(_text(dict(ALLOW, Action="S3:getobj*")), PolicyType.IDENTITY).statements[0]
    assert statement.covers_action("s3:getobject")
    assert not statement.covers_action("s3:putobject")
    assert statement.covers_resource("arn:aws:s3:::b/k", {})
    assert not statement.covers_resource("arn:aws:s3:::B/k", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Syntax errors in policy."),
        ("[]", "Syntax errors in policy."),
        ("[" * 100_000, "Syntax errors in policy."),
        ('{"Version": NaN}', "Syntax errors in policy."),
        ('{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}', "Syntax errors in policy."),
        ('{"Version":"2012-10-17","Statement":[]}', "Syntax errors in policy."),
        (_text(ALLOW, version="2012-10-18"), "The policy must contain a valid version string"),
        (_text(ALLOW, version=None), "Policy document must be version 2012-10-17 or greater."),
        (_text(ALLOW, Statements=[]), "Unknown field Statements"),
        (_text(dict(ALLOW, Efect="Allow")), "Unknown field Efect"),
        (_text(dict(ALLOW, Effect="allow")), "Invalid effect: allow"),
        (_text({"Action": "s3:*", "Resource": "*"}), "Missing required field Effect"),
        (_text({"Effect": "Allow", "Resource": "*"}), "Policy statement must contain actions."),
        (_text(dict(ALLOW, Action=[])), "Policy statement must contain actions."),
        (_text({"Effect": "Allow", "Action": "s3:*"}), "Policy statement must contain resources."),
        (_text(dict(ALLOW, NotAction="s3:*")), "Syntax errors in policy."),
        (_text(dict(ALLOW, Action="GetObject")), "Actions/Conditions must be prefaced by a vendor"),
        (_text(dict(ALLOW, Action="s3:Get:Object")), "Actions/Condition can contain only one colon."),
        (_text(dict(ALLOW, Action="s*:GetObject")), "Vendor s* is not valid"),
        (_text(dict(ALLOW, Resource="bucket")), 'Resource bucket must be in ARN format or "*".'),
        (_text(dict(ALLOW, Resource="aws:s3:::b")), 'Resource aws:s3:::b must be in ARN format or "*".'),
        (_text(dict(ALLOW, Resource="arn:s3:::b")), 'Partition "s3" is not valid for resource "arn:s3:::b:*".'),
        (_text(dict(ALLOW, Resource="arn:amazon:s3:::b")), 'Partition "amazon" is not valid for resource'),
        (_text(dict(ALLOW, Resource="arn:aws:*:::b")), "Resource vendor must be fully qualified and cannot contain"),
        (_text(dict(ALLOW, Resource="arn:aws")), "Resource vendor must be fully qualified and cannot contain"),
        (_text(dict(ALLOW, Resource="arn:aws::::b")), "The policy failed legacy parsing"),
        (_text(dict(ALLOW, Resource="arn:aws:s3::b")), "The policy failed legacy parsing"),
        (
            _text(dict(ALLOW, Resource="arn:aws:s3:eu-west-1::b")),
            "Resource arn:aws:s3:eu-west-1::b can not contain region",
        ),
        (
            _text(dict(ALLOW, Resource="arn:aws:iam:eu-west-1::*")),
            "IAM resource arn:aws:iam:eu-west-1::* cannot contain",
        ),
        (
            _text(dict(ALLOW, Resource="arn:aws:iam::1:u*")),
            'IAM resource path must either be "*" or start with user/, ',
        ),
        (_text(dict(ALLOW, Principal="*")), "Policy document should not specify a principal."),
        (_text(dict(ALLOW, Sid="a b")), "Statement IDs (SID) must be alpha-numeric."),
        (_text(dict(ALLOW, Sid="a"), dict(ALLOW, Sid="a")), "Statement IDs (SID) in a single policy must be unique."),
        (_text(dict(ALLOW, Condition={"StringIs": {"aws:x": "y"}})), "Invalid Condition type : StringIs"),
        (_text(dict(ALLOW, Condition={"StringEquals": {"x": "y"}})), "Actions/Conditions must be prefaced by a vendor"),
        (
            _text(dict(ALLOW, Condition={"StringEquals": {":x": "y"}})),
            "Actions/Conditions must be prefaced by a vendor",
        ),
        (_text(dict(ALLOW, Sid="\ud800")), "Syntax errors in policy."),
        (_text(ALLOW, Id=5), "Syntax errors in policy."),
        (_text(dict(ALLOW, Condition={"StringEquals": "x"})), "Syntax errors in policy."),
        (_text(dict(ALLOW, Condition={"StringEquals": {"aws:x": None}})), "Syntax errors in policy."),
        (_text("Allow"), "Syntax errors in policy."),
        (" " * 131_073, "Policy exceeds the maximum allowed document size."),
    ],
)
def test_a_malformed_policy_is_refused_with_its_reason(text: str, message: str) -> None:
    fault = _fault(text)
    assert (fault.code, fault.status) == ("MalformedPolicyDocument", 400)
    assert fault.message.startswith(message)


def test_a_session_policy_completes_no_arn() -> None:
    short = _text({**ALLOW, "Resource": "arn:aws:sns"})
    assert parse_policy(short, PolicyType.IDENTITY)
    assert _fault(short, PolicyType.SESSION).message == 'Resource arn:aws:sns must be in ARN format or "*".'
    assert parse_policy(_text({**ALLOW, "Resource": ["*", "arn:aws:sns:*:*:*"]}), PolicyType.SESSION)


def test_each_place_has_its_own_words() -> None:
    assert _fault("x", PolicyType.CONTROL).code == "MalformedPolicyDocumentException"
    fault = _fault(" {}", PolicyType.BUCKET)
    assert (fault.code, fault.message) == (
        "MalformedPolicy",
        "Policies must be valid JSON and the first byte must be '{'",
    )
    public = {**ALLOW, "Principal": "*"}
    for change, message in (
        ({"Principal": None}, "Missing required field Principal"),
        ({"Action": None}, "Missing required field Action"),
        ({"Resource": None}, "Missing required field Resource"),
        ({"Action": "GetObject"}, "Policy has invalid action"),
        ({"Resource": "b"}, "Policy has invalid resource"),
        ({"Condition": {"Bool": {"x": "true"}}}, "Policy has an invalid condition key"),
        ({"Principal": None, "NotPrincipal": "*"}, "Allow with NotPrincipal is not supported."),
    ):
        statement = {key: value for key, value in {**public, **change}.items() if value is not None}
        assert _fault(_text(statement), PolicyType.BUCKET).message == message
    control = _fault(_text({"Effect": "Allow", "Action": "*"}), PolicyType.CONTROL).message
    assert control.startswith(
        "The provided policy document does not meet the requirements of the specified policy type."
    )
    assert control.endswith("Policy statement must contain resources.")
    trust = {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}
    assert parse_policy(_text(trust), PolicyType.TRUST).statements[0].covers_resource("any", {})
    assert _fault(_text({**trust, "Resource": "*"}), PolicyType.TRUST).message == "Has prohibited field Resource"
    assert _fault(_text({**trust, "Action": "s3:*"}), PolicyType.TRUST).message.startswith("AssumeRole policy may only")
    negated = {"Effect": "Deny", "NotPrincipal": "*", "Action": "sts:AssumeRole"}
    assert _fault(_text(negated), PolicyType.TRUST).message == "Has prohibited field NotPrincipal"
    both = {**trust, "NotPrincipal": "*"}
    assert _fault(_text(both), PolicyType.TRUST).message == "Syntax errors in policy."


@pytest.mark.parametrize(
    "principal",
    [
        {"AWS": "arn:aws-cn:iam::123456789012:root"},
        "alice",
        [],
        {},
        {"AWS": []},
        {"AWS": 1},
        {"AWS": [None]},
        {"Aws": "*"},
        {"AWS": "arn:aws:iam::123456789012:user/*"},
        {"AWS": "arn:aws:iam::123456789012:group/g"},
        {"AWS": "arn:aws:s3:::b"},
        {"AWS": "1234"},
        {"Service": "*"},
        {"Service": "cloudtrail"},
        {"Federated": "*"},
        {"CanonicalUser": "abc"},
    ],
)
def test_odd_principals_are_refused(principal: Any) -> None:
    fault = _fault(_text(dict(ALLOW, Principal=principal)), PolicyType.BUCKET)
    assert fault.code == "MalformedPolicy"
    assert fault.message.startswith("Invalid principal in policy")


ALICE = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLEALICE0",
    arn="arn:aws:iam::123456789012:user/alice",
    account_id="123456789012",
    user_name="alice",
)


@pytest.mark.parametrize(
    ("element", "naming"),
    [
        ("*", Naming.EVERYBODY),
        ({"AWS": "*"}, Naming.EVERYBODY),
        ({"AWS": "123456789012"}, Naming.ACCOUNT),
        ({"AWS": ["arn:aws:iam::123456789012:root", "210987654321"]}, Naming.ACCOUNT),
        ({"AWS": "arn:aws:iam::123456789012:user/alice"}, Naming.ITSELF),
        ({"AWS": ["*", "arn:aws:iam::123456789012:user/alice"]}, Naming.ITSELF),
        ({"AWS": "AIDAEXAMPLEALICE0"}, Naming.ITSELF),
        ({"AWS": "arn:aws:iam::123456789012:user/bob"}, Naming.NOT),
        ({"Service": "cloudtrail.amazonaws.com"}, Naming.NOT),
        ({"CanonicalUser": "0" * 64}, Naming.NOT),
        ({"Federated": "accounts.google.com"}, Naming.NOT),
    ],
)
def test_how_principals_name_a_user(element: Any, naming: Naming) -> None:
    assert parse_principals(element).naming(ALICE) is naming


def test_how_principals_name_services_and_the_unsigned() -> None:
    cloudtrail = service_identity("cloudtrail.amazonaws.com")
    service = parse_principals({"Service": ["cloudtrail.amazonaws.com"]})
    assert service.naming(cloudtrail) is Naming.ITSELF
    assert service.naming(service_identity("config.amazonaws.com")) is Naming.NOT
    assert service.naming(ANONYMOUS) is Naming.NOT
    assert parse_principals("*").naming(ANONYMOUS) is Naming.EVERYBODY
    assert parse_principals("*").naming(cloudtrail) is Naming.EVERYBODY


# Buckets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Action": "ec2:RunInstances"}, "Policy has invalid action"),
        ({"Resource": "arn:aws:s3:::other/*"}, "Policy has invalid resource"),
        ({"Resource": "*"}, "Policy has invalid resource"),
        ({"Resource": "arn:aws:s3:::b*"}, "Policy has invalid resource"),
        ({"Resource": "arn:aws:sqs:::b"}, "Policy has invalid resource"),
        ({"Resource": "arn:aws:s3:::b"}, "Action does not apply to any resource(s) in statement"),
        ({"Action": ["s3:GetObject", "s3:ListBucket"]}, "Action does not apply to any resource(s) in statement"),
        ({"Action": "s3:GetBucketObjectLockConfiguration"}, "Action does not apply to any resource(s) in statement"),
        ({"Action": "s3:AbortMultipartUpload", "Resource": "arn:aws:s3:::b"}, "Action does not apply to any"),
    ],
)
def test_a_bucket_policy_speaks_of_its_bucket(change: dict[str, str], message: str) -> None:
    with pytest.raises(ServiceFault) as caught:
        parse_bucket_policy(_text({**ALLOW, "Principal": "*", **change}), "b")
    assert caught.value.code == "MalformedPolicy"
    assert caught.value.message.startswith(message)


def test_every_action_of_a_bucket_policy_finds_its_resource() -> None:
    both = ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]
    for change in (
        {"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": both},
        {"Action": ["s3:Get*"], "Resource": "arn:aws:s3:::b"},
        {"Action": "*", "Resource": "arn:aws:s3:::b/*"},
        {"Action": "s3:ListBucketMultipartUploads", "Resource": "arn:aws:s3:::b"},
    ):
        parse_bucket_policy(_text({**ALLOW, "Principal": "*", **change}), "b")


def test_a_bucket_policy_may_be_old_and_large_but_not_too_large() -> None:
    resources = ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]
    statement = {**ALLOW, "Principal": "*", "Action": "*", "Sid": "with blanks", "Resource": resources}
    assert parse_bucket_policy(_text(statement, version=None), "b").version == "2008-10-17"
    with pytest.raises(ServiceFault, match="maximum allowed document size"):
        parse_bucket_policy(_text({**statement, "Sid": "x" * 20_480}), "b")


@pytest.mark.parametrize(
    ("change", "public"),
    [
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": "123456789012"}}, False),
        ({"Principal": {"Service": "cloudtrail.amazonaws.com"}}, False),
        ({"NotPrincipal": {"AWS": "123456789012"}, "Effect": "Deny"}, False),
        ({"Principal": "*", "Effect": "Deny"}, False),
        ({"Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}, False),
        ({"Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "0.0.0.0/0"]}}}, True),
        ({"Principal": "*", "Condition": {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}, True),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}, False),
        ({"Principal": "*", "Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}, True),
        ({"Principal": "*", "Condition": {"StringEqualsIfExists": {"aws:SourceVpce": "vpce-1"}}}, True),
        ({"Principal": "*", "Condition": {"ForAllValues:StringEquals": {"aws:SourceVpce": "vpce-1"}}}, True),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:SourceVpce": "${aws:x}"}}}, True),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": True}}}, True),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:userid": "AROAEXAMPLE:*"}}}, True),
        ({"Principal": "*", "Condition": {"ArnLike": {"s3:DataAccessPointArn": "arn:aws:s3:r:1:ap/*"}}}, False),
    ],
)  # fmt: skip
def test_what_is_public(change: dict[str, Any], public: bool) -> None:
    assert is_public(parse_bucket_policy(_text({**ALLOW, **change}), "b")) is public
