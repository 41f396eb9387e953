"""CPU of one authorization decision over 50 statements: Opentrail's policy engine against moto's and a naive one.

    python benchmarks/decisions.py [--decisions 2000] [--rounds 7]

The statements are spread over five identity policies.  *plain*: each service's own, as people have them, without
conditions and variables (moto knows neither).  *mixed*: the same with both; a few speak of the call.  *covering*: all
of them speak of the call's action and resource, told apart by two conditions each.  *everything*: the mixed ones under
two levels of service control policies, with a permissions boundary, a session policy and a resource's policy.

moto is asked through ``moto.iam.access_control.IAMPolicy``; *naive* reads the same documents with fnmatch and ipaddress
at every call.  Each engine must give the same answer.  Every call asks for another object; documents are compiled
before, as the server keeps them.  Each figure is the median of the rounds, in which the engines take turns.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy import (
    AuthorizationRequest,
    Policy,
    PolicySet,
    PolicyType,
    call_context,
    evaluate,
    parse_policy,
    principal_context,
)

ACCOUNT = "123456789012"
ACTION = "s3:GetObject"
OBJECT = "arn:aws:s3:::reports/home/alice/{}.txt"
SERVICES = ("ec2", "iam", "sqs", "sns", "logs", "kms", "dynamodb", "lambda", "s3", "sts")
ALICE = Identity(
    type=IdentityType.IAM_USER,
    principal_id="AIDAEXAMPLEALICE0000A",
    arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
    account_id=ACCOUNT,
    user_name="alice",
)
CONTEXT = principal_context(ALICE) | call_context(
    now=datetime(2026, 3, 1, tzinfo=UTC), source_ip="203.0.113.7", secure_transport=True, region="eu-west-1"
)
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}

Decide = Callable[[str], bool]


def plain(number: int) -> dict[str, Any]:
    """One of the statements that people have, without what moto does not know."""
    statement = mixed(number)
    del statement["Condition"]
    return {**statement, "Resource": statement["Resource"].replace("${aws:username}", "alice")}


def mixed(number: int) -> dict[str, Any]:
    """One of the statements that people have."""
    service = SERVICES[number % len(SERVICES)]
    own = {
        "s3": "arn:aws:s3:::reports/home/${aws:username}/*",
        "iam": f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}",
    }
    return {
        "Effect": "Allow",
        "Action": [f"{service}:Get*", f"{service}:List*", f"{service}:Describe*"],
        "Resource": own.get(service, f"arn:aws:{service}:*:{ACCOUNT}:x/*"),
        "Condition": {"IpAddress": {"aws:SourceIp": f"203.0.113.{number}/24"}},
    }


def covering(number: int) -> dict[str, Any]:
    """One that speaks of the call, and decides by its conditions."""
    return {
        "Effect": "Allow" if number == 49 else "Deny",
        "Action": "s3:Get*",
        "Resource": "arn:aws:s3:::reports/*",
        "Condition": {
            "StringEquals": {"aws:RequestedRegion": ["eu-west-1", "eu-north-1"]},
            "StringLike": {"aws:username": "ali*" if number == 49 else f"user-{number}-*"},
        },
    }


def texts(make: Callable[[int], Mapping[str, Any]]) -> list[str]:
    """Fifty statements in five documents."""
    statements = [make(number) for number in range(50)]
    return [json.dumps({"Version": "2012-10-17", "Statement": statements[at : at + 10]}) for at in range(0, 50, 10)]


def group(documents: list[str], policy_type: PolicyType = PolicyType.IDENTITY) -> tuple[Policy, ...]:
    return tuple(Policy(name="policy", document=parse_policy(text, policy_type)) for text in documents)


def ours(policies: PolicySet) -> Decide:
    def decide(resource: str) -> bool:
        request = AuthorizationRequest(principal=ALICE, action=ACTION, resource=resource, context=CONTEXT)
        return evaluate(request, policies).allowed

    return decide


def moto(documents: list[str]) -> Decide:
    policies = [IAMPolicy(text) for text in documents]

    def decide(resource: str) -> bool:
        results = {policy.is_action_permitted(ACTION, resource) for policy in policies}
        return PermissionResult.DENIED not in results and PermissionResult.PERMITTED in results

    return decide


def naive(documents: list[str]) -> Decide:
    statements = [statement for text in documents for statement in json.loads(text)["Statement"]]

    def decide(resource: str) -> bool:
        effects = {each["Effect"] for each in statements if applies(each, resource)}
        return effects == {"Allow"}

    return decide


def applies(statement: Mapping[str, Any], resource: str) -> bool:
    """What a statement says, read anew."""
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    covered = re.sub(r"\$\{([^}]*)\}", lambda match: CONTEXT[match[1].lower()][0], statement["Resource"])
    return (
        any(fnmatchcase(ACTION.lower(), action.lower()) for action in actions)
        and fnmatchcase(resource, covered)
        and all(
            NAIVE[operator](CONTEXT[key.lower()][0], wanted)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


NAIVE: Mapping[str, Callable[[str, Any], bool]] = {
    "StringEquals": lambda given, wanted: given in wanted,
    "StringLike": fnmatchcase,
    "IpAddress": lambda given, wanted: ip_address(given) in ip_network(wanted, strict=False),
}


def everything() -> PolicySet:
    """Every kind of policy; those that only limit allow all of S3."""
    open_ = [json.dumps({"Version": "2012-10-17", "Statement": [ALLOW_ALL]})]
    granted = {**ALLOW_ALL, "Principal": {"AWS": ACCOUNT}, "Action": "s3:*", "Resource": "arn:aws:s3:::reports/*"}
    bucket = json.dumps({"Version": "2012-10-17", "Statement": [granted]})
    return PolicySet(
        identity=group(texts(mixed)),
        resource=group([bucket], PolicyType.BUCKET),
        boundary=group(open_),
        session=group(open_),
        service_control=(group(open_, PolicyType.CONTROL), group(open_, PolicyType.CONTROL)),
    )


def cpu_microseconds(decide: Decide, count: int) -> float:
    resources = [OBJECT.format(number) for number in range(count)]
    start = time.process_time()
    for resource in resources:
        decide(resource)
    return (time.process_time() - start) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=2000, help="a round; the peers are asked a tenth of them")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{'50 statements':>16}" + "".join(f"{name:>16}" for name in ("opentrail us", "moto", "naive")))
    for name, make, peers in (
        ("plain", plain, (moto, naive)),
        ("mixed", mixed, (None, naive)),
        ("covering", covering, (None, naive)),
        ("everything", None, (None, None)),
    ):
        documents = texts(make) if make else []
        engines = [ours(PolicySet(identity=group(documents)) if make else everything())]
        engines += [peer(documents) for peer in peers if peer]
        answers = [engine(OBJECT.format("july")) for engine in engines]
        assert all(answers), f"{name}: every engine allows the call: {answers}"
        rounds = [
            [cpu_microseconds(engine, options.decisions // (10 if at else 1)) for at, engine in enumerate(engines)]
            for _ in range(options.rounds)
        ]
        own, *others = [statistics.median(figures) for figures in zip(*rounds, strict=True)]
        beside = iter(others)
        cells = [f"{next(beside) / own:.0f}x" if peer else "-" for peer in peers]
        print(f"{name:>16}{own:16.1f}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
