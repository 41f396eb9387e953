"""Authorised calls a second in an account that is full of users, roles and policies, against an empty one.

    python benchmarks/accounts.py [--seconds 4] [--rounds 3] [--users 1000] [--roles 200] [--policies 500]

Two endpoints, in turn, in one run; both authenticate, authorise and record the same call (s3:HeadBucket) of users who
each have an inline policy, two managed ones and a group's.  In the empty account there is one such user; in the full
one each connection is another user of many.  Each figure is the median of the rounds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from calls import BUCKET, Figures, Server, median, run_round, wire
from processes import load_parser, opentrail

AIM = 0.9
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)


def main() -> None:
    parser = load_parser(__doc__, seconds=4, rounds_of="endpoint")
    parser.add_argument("--users", type=int, default=1000, help="users of the full account (default 1,000)")
    parser.add_argument("--roles", type=int, default=200, help="its roles (default 200)")
    parser.add_argument("--policies", type=int, default=500, help="its managed policies (default 500)")
    options = parser.parse_args()
    with (
        endpoint("empty", users=1, roles=0, policies=2, keys=1) as empty,
        endpoint(
            "full", users=options.users, roles=options.roles, policies=options.policies, keys=options.clients
        ) as full,
    ):
        rounds: dict[str, list[Figures]] = {"empty": [], "full": []}
        for number in range(-1, options.rounds):
            for server, callers in (empty, full):
                requests = [[head_bucket(server, callers[n % len(callers)])] for n in range(options.clients)]
                figures = run_round(server, requests, options.seconds)
                if number >= 0:  # the first one reads the database
                    rounds[server.name].append(figures)
    print(
        f"s3:HeadBucket, {options.clients} connections, median of {options.rounds} rounds of {options.seconds:g} s each"
    )
    print(f"{'':34}{'calls/s':>10}{'CPU us/call':>13}{'p50 ms':>9}{'p99 ms':>9}")
    contents = {
        "empty": "1 user",
        "full": f"{options.users} users, {options.roles} roles, {options.policies} policies",
    }
    for name, text in contents.items():
        figures = median(rounds[name])
        print(f"{text:34}{figures.rate:10,.0f}{figures.cpu:13,.0f}{figures.p50:9.1f}{figures.p99:9.1f}")
    pairs = zip(rounds["full"], rounds["empty"], strict=True)
    ratio = statistics.median(one.rate / other.rate for one, other in pairs)
    print(f"ratio: {ratio:.2f} of the empty account's calls a second (aim: at least {AIM})")


@contextmanager
def endpoint(
    name: str, *, users: int, roles: int, policies: int, keys: int
) -> Iterator[tuple[Server, list[Credentials]]]:
    """An endpoint whose account holds so much, and the access keys of ``keys`` of its users."""
    with opentrail() as live:
        live.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        callers = fill(live.client("iam"), users=users, roles=roles, policies=policies, keys=keys)
        yield Server(name=name, port=live.port, pid=live.pid, credentials=callers[0]), callers


def fill(iam: Any, *, users: int, roles: int, policies: int, keys: int) -> list[Credentials]:
    """Make users, roles and policies; the first ``keys`` users may call and have an access key each."""
    arns = [
        iam.create_policy(PolicyName=f"policy-{number}", PolicyDocument=document(f"arn:aws:s3:::other-{number}"))[
            "Policy"
        ]["Arn"]
        for number in range(policies)
    ]
    iam.create_group(GroupName="everyone")
    iam.put_group_policy(GroupName="everyone", PolicyName="reading", PolicyDocument=document("arn:aws:s3:::shared"))
    for number in range(roles):
        iam.create_role(RoleName=f"role-{number}", AssumeRolePolicyDocument=TRUST)
        iam.attach_role_policy(RoleName=f"role-{number}", PolicyArn=arns[number % policies])
    callers = []
    for number in range(users):
        name = f"user-{number}"
        iam.create_user(UserName=name)
        if number >= keys:
            continue
        iam.add_user_to_group(GroupName="everyone", UserName=name)
        for offset in (0, 1):
            iam.attach_user_policy(UserName=name, PolicyArn=arns[(number + offset) % policies])
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(f"arn:aws:s3:::{BUCKET}"))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        callers.append(Credentials(key["AccessKeyId"], key["SecretAccessKey"]))
    return callers


def document(resource: str) -> str:
    statement = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucket*"], "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def head_bucket(server: Server, caller: Credentials) -> bytes:
    request = AWSRequest("HEAD", f"{server.url}/{BUCKET}", headers={"User-Agent": "benchmark"})
    S3SigV4Auth(caller, "s3", "eu-central-1").add_auth(request)
    return wire(request, b"")


if __name__ == "__main__":
    main()
