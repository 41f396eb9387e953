"""What a refusal says, for each reason and each family of services: AWS's sentences of today."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer
from opentrail.core.organizations import Membership
from opentrail.core.policy import Decision, PolicyType
from opentrail.core.wire.calls import ApiCall
from opentrail.server.authorisation import Authoriser
from opentrail.server.caller_policies import CallerPolicies
from opentrail.server.catalog import BotocoreCatalog
from opentrail.services.base import OperationEntry, Permission
from opentrail.state.grants import Grants, NamedPolicy

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
ACCOUNT, OTHER = "123456789012", "210987654321"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/team/alice"
USER = Identity(
    type=IdentityType.IAM_USER, principal_id="AIDAALICE", arn=ALICE, account_id=ACCOUNT, access_key_id="AKIAALICE",
    user_name="alice",
)  # fmt: skip
BUCKET, OBJECT = "arn:aws:s3:::logs", "arn:aws:s3:::logs/k"
DENY_ARN = f"arn:aws:iam::{ACCOUNT}:policy/No"
CONTROL_ARN = f"arn:aws:organizations::{OTHER}:policy/o-a/service_control_policy/p-1"


def policy(effect: str, **more: Any) -> str:
    statement = {"Effect": effect, "Action": "*", "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def named(effect: str, name: str = "inline") -> NamedPolicy:
    return NamedPolicy(name=name, text=policy(effect))


class Judge:
    """An authoriser with the policies of one test."""

    def __init__(
        self,
        *,
        identity: tuple[NamedPolicy, ...] = (),
        boundary: NamedPolicy | None = None,
        control: tuple[tuple[NamedPolicy, ...], ...] = (),
        organization: tuple[str, ...] = (),
        seal: Callable[[Decision], str] | None = None,
    ) -> None:
        grants = Grants(policies=identity, boundary=boundary)
        member = {
            account: Membership(organization_id="o-a", management_account_id=OTHER, path="o-a/r-1/")
            for account in organization
        }
        self.authoriser = Authoriser(
            callers=CallerPolicies(
                grants=lambda _id: grants,
                known_grants=lambda _id: grants,
                policy_text=lambda _arn: None,
                service_control=lambda _account: control,
                membership=member.get,
            ),
            clock=lambda: NOW,
            seal=seal,
        )

    def fault(
        self,
        action: str,
        resource: str,
        *,
        caller: Identity = USER,
        owner: str = "",
        resource_policy: str | None = None,
        trust: bool = False,
    ) -> tuple[str, int, str]:
        """Code, status and message of the refusal."""
        service, _, operation = action.partition(":")
        permission = Permission(
            action=action,
            resource=resource,
            resource_account=owner,
            resource_policy=resource_policy,
            resource_policy_type=PolicyType.TRUST if trust else PolicyType.BUCKET,
            resource_must_allow=trust,
        )
        operations = BotocoreCatalog().service(service).operations
        call = ApiCall(
            operation=operations.get(operation) or next(iter(operations.values())),
            parameters={},
            identity=caller,
            region="us-east-1",
            now=NOW,
            event_id="e",
            request_id="r",
            request=HttpRequest(method="GET", path="/", headers=Headers([("host", "x")])),
        )
        entry: OperationEntry[None] = OperationEntry(
            handler=lambda _call, _deps: {}, permissions=lambda _call, _deps: (permission,), writes=False
        )
        fault = self.authoriser.authorise(call, entry, None).fault
        assert fault is not None, "it was allowed"
        return fault.code, fault.status, fault.message


NO_IDENTITY = "because no identity-based policy allows the {0} action"


@pytest.mark.parametrize(
    ("action", "resource", "shown"),
    [
        ("s3:GetObject", OBJECT, f' on resource: "{OBJECT}"'),
        ("s3:ListAllMyBuckets", "*", ""),
        ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/bob", f" on resource: arn:aws:iam::{ACCOUNT}:user/bob"),
        ("iam:DeleteUser", f"arn:aws:iam::{ACCOUNT}:user/a/bob", " on resource: user bob"),
        ("iam:GetRole", f"arn:aws:iam::{ACCOUNT}:role/app", " on resource: role app"),
        ("iam:AddUserToGroup", f"arn:aws:iam::{ACCOUNT}:group/ops", " on resource: group ops"),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/app", f" on resource: arn:aws:iam::{ACCOUNT}:role/app"),
        ("iam:GetPolicy", DENY_ARN, f" on resource: policy {DENY_ARN}"),
        ("iam:ListUsers", f"arn:aws:iam::{ACCOUNT}:user/", f" on resource: arn:aws:iam::{ACCOUNT}:user/"),
        ("iam:ListAccountAliases", "*", " on resource: *"),
        ("sts:DecodeAuthorizationMessage", "*", ""),
    ],
)
def test_the_resource_as_its_service_names_it(action: str, resource: str, shown: str) -> None:
    message = f"User: {ALICE} is not authorized to perform: {action}{shown} {NO_IDENTITY.format(action)}"
    assert Judge().fault(action, resource) == ("AccessDenied", 403, message)


@pytest.mark.parametrize(
    ("action", "resource", "shown"),
    [
        ("cloudtrail:LookupEvents", "*", ""),
        ("cloudtrail:StopLogging", f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/t",
         f" on resource: arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/t"),
        ("organizations:DescribeOrganization", "*", " on resource: *"),
    ],
)  # fmt: skip
def test_json_services_have_a_code_of_their_own(action: str, resource: str, shown: str) -> None:
    message = f"User: {ALICE} is not authorized to perform: {action}{shown} {NO_IDENTITY.format(action)}"
    assert Judge().fault(action, resource) == ("AccessDeniedException", 400, message)


@pytest.mark.parametrize(
    ("action", "code", "status"),
    [
        ("autoscaling:CreateAutoScalingGroup", "AccessDenied", 403),
        ("cloudfront:ListDistributions", "AccessDenied", 403),
        ("cloudwatch:PutMetricData", "AccessDenied", 403),
        ("dynamodb:PutItem", "AccessDeniedException", 400),
        ("kinesisvideo:CreateStream", "AccessDeniedException", 401),
        ("lambda:ListFunctions", "AccessDeniedException", 403),
        ("rds:DescribeDBInstances", "AccessDenied", 403),
        ("route53:ListHostedZones", "AccessDenied", 403),
        ("shield:ListProtections", "AccessDeniedException", 400),
        ("sns:ListTopics", "AuthorizationError", 403),
        ("sqs:ListQueues", "AccessDenied", 403),
    ],
)
def test_each_protocol_and_service_has_its_own_code(action: str, code: str, status: int) -> None:
    spelled = {"sns:ListTopics": "SNS:ListTopics", "sqs:ListQueues": "sqs:listqueues"}.get(action, action)
    message = f"User: {ALICE} is not authorized to perform: {spelled} {NO_IDENTITY.format(spelled)}"
    assert Judge().fault(action, "*") == (code, status, message)


@pytest.mark.parametrize(
    ("resource", "where"), [("*", ""), (INSTANCE := "arn:aws:ec2:::instance/i", f" on resource: {INSTANCE}")]
)
@pytest.mark.parametrize(("seals", "end"), [(False, ""), (True, ". Encoded authorization failure message: SEALED")])
def test_ec2_has_a_sentence_of_its_own(resource: str, where: str, seals: bool, end: str) -> None:
    sentence = f"User: {ALICE} is not authorized to perform: ec2:RunInstances{where}"
    message = f"You are not authorized to perform this operation. {sentence} {NO_IDENTITY.format('ec2:RunInstances')}"
    judge = Judge(seal=(lambda _decision: "SEALED") if seals else None)
    assert judge.fault("ec2:RunInstances", resource) == ("UnauthorizedOperation", 403, message + end)


ALLOW, DENY = named("Allow"), named("Deny")
SESSION = Identity(
    type=IdentityType.ASSUMED_ROLE,
    principal_id="AROAAPP:me",
    arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/app/me",
    account_id=ACCOUNT,
    access_key_id="ASIAAPP",
    session=Session(
        issuer=SessionIssuer(
            type="Role",
            principal_id="AROAAPP",
            arn=f"arn:aws:iam::{ACCOUNT}:role/app",
            account_id=ACCOUNT,
            user_name="app",
        ),
        creation_date=NOW,
        policy=policy("Allow", Action="s3:PutObject"),
    ),
)


@pytest.mark.parametrize(
    ("judge", "caller", "reason"),
    [
        (Judge(identity=(ALLOW, DENY)), USER, "with an explicit deny in an identity-based policy"),
        (Judge(identity=(ALLOW, named("Deny", DENY_ARN))), USER,
         f"with an explicit deny in an identity-based policy: {DENY_ARN}"),
        (Judge(identity=(ALLOW,), boundary=named("Deny", DENY_ARN)), USER,
         f"with an explicit deny in a permissions boundary: {DENY_ARN}"),
        (Judge(identity=(ALLOW,), boundary=NamedPolicy(name=DENY_ARN, text=policy("Allow", Action="iam:*"))), USER,
         "because no permissions boundary allows the s3:GetObject action"),
        (Judge(identity=(ALLOW,), control=((named("Allow"),), (named("Allow"), named("Deny", CONTROL_ARN)))), USER,
         f"with an explicit deny in a service control policy: {CONTROL_ARN}"),
        (Judge(identity=(ALLOW,), control=((named("Allow"),), ())), USER,
         "because no service control policy allows the s3:GetObject action"),
        (Judge(identity=(ALLOW,)), SESSION, "because no session policy allows the s3:GetObject action"),
    ],
)  # fmt: skip
def test_the_reason(judge: Judge, caller: Identity, reason: str) -> None:
    message = f'User: {caller.arn} is not authorized to perform: s3:GetObject on resource: "{OBJECT}" {reason}'
    assert judge.fault("s3:GetObject", OBJECT, caller=caller, owner=ACCOUNT) == ("AccessDenied", 403, message)


def test_a_resources_policy_denies() -> None:
    text = policy("Deny", Principal="*", Resource="arn:aws:s3:::logs/*")
    _, _, message = Judge(identity=(ALLOW,)).fault("s3:GetObject", OBJECT, owner=ACCOUNT, resource_policy=text)
    assert message.endswith("with an explicit deny in a resource-based policy")


def test_s3_tells_strangers_nothing_and_relatives_everything() -> None:
    stranger = Judge(identity=(ALLOW,)).fault("s3:GetObject", OBJECT, owner=OTHER)
    assert stranger == ("AccessDenied", 403, "Access Denied")
    relative = Judge(identity=(ALLOW,), organization=(ACCOUNT, OTHER)).fault("s3:GetObject", OBJECT, owner=OTHER)
    assert relative[2].endswith("because no resource-based policy allows the s3:GetObject action")


ROLE = f"arn:aws:iam::{OTHER}:role/reader"


def trust(effect: str, principal: Mapping[str, str]) -> str:
    statement = {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.mark.parametrize(
    ("judge", "document", "reason"),
    [
        (Judge(identity=(ALLOW,)), trust("Allow", {"AWS": OTHER}),
         " because no role trust policy allows the sts:AssumeRole action"),
        (Judge(identity=(ALLOW,)), trust("Deny", {"AWS": ALICE}), " with an explicit deny in the role trust policy"),
        (Judge(), trust("Allow", {"AWS": ACCOUNT}),
         " because no identity-based policy allows the sts:AssumeRole action"),
    ],
)  # fmt: skip
def test_assuming_a_role_of_ones_own_account(judge: Judge, document: str, reason: str) -> None:
    own = ROLE.replace(OTHER, ACCOUNT)
    message = f"User: {ALICE} is not authorized to perform: sts:AssumeRole on resource: {own}{reason}"
    found = judge.fault("sts:AssumeRole", own, owner=ACCOUNT, resource_policy=document, trust=True)
    assert found == ("AccessDenied", 403, message)


@pytest.mark.parametrize("judge", [Judge(), Judge(identity=(ALLOW,)), Judge(identity=(DENY,))])
def test_assuming_a_role_of_another_account_gets_no_reason(judge: Judge) -> None:
    message = f"User: {ALICE} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    for document in (trust("Allow", {"AWS": OTHER}), None):
        found = judge.fault("sts:AssumeRole", ROLE, owner=OTHER, resource_policy=document, trust=True)
        assert found == ("AccessDenied", 403, message)
