"""Several accounts on one server, and an organization of them: made as their users make them."""

from __future__ import annotations

import configparser
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opentrail.testing.live_server import HOME, LiveServer

CLOUDTRAIL = "cloudtrail.amazonaws.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An account and its root user's access key."""

    server: LiveServer
    account_id: str
    key: Mapping[str, str]

    def client(self, service: str, region: str = HOME) -> Any:
        """A boto3 client of the account's root user."""
        return self.server.client(service, region, self.key)

    def make_bucket(self, name: str, policy: Mapping[str, Any] | str = "") -> None:
        """Make a bucket, with a policy where one is given."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": HOME})
        if policy:
            s3.put_bucket_policy(Bucket=name, Policy=policy if isinstance(policy, str) else json.dumps(policy))


def first_account(server: LiveServer) -> Tenant:
    """The account that the server was started with."""
    account_id = server.client("sts").get_caller_identity()["Account"]
    return Tenant(server=server, account_id=account_id, key=server.root_key())


def make_account(server: LiveServer, name: str) -> Tenant:
    """Make a further account with ``opentrail account create``."""
    done = server.run("account", "create", name, "--email", f"{name}@example.com", "--json")
    assert done.returncode == 0, done.stderr
    parser = configparser.ConfigParser()
    parser.read(server.data / "credentials")
    key = {part: parser[name][part] for part in ("aws_access_key_id", "aws_secret_access_key")}
    return Tenant(server=server, account_id=json.loads(done.stdout)["account"]["account_id"], key=key)


def make_organization(management: Tenant) -> str:
    """Make an organization that trusts CloudTrail; its id."""
    organizations = management.client("organizations")
    organization_id: str = organizations.create_organization(FeatureSet="ALL")["Organization"]["Id"]
    organizations.enable_aws_service_access(ServicePrincipal=CLOUDTRAIL)
    return organization_id


def join(management: Tenant, member: Tenant) -> None:
    """Invite ``member`` into the organization of ``management``, and let it accept."""
    target = {"Type": "ACCOUNT", "Id": member.account_id}
    invited = management.client("organizations").invite_account_to_organization(Target=target)
    member.client("organizations").accept_handshake(HandshakeId=invited["Handshake"]["Id"])


def fetch_records(owner: Tenant, bucket: str, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every record of the log files in ``bucket``, with the key of its file."""
    s3 = owner.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            if "/CloudTrail/" in item["Key"]:
                data = gzip.decompress(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
                for record in json.loads(data)["Records"]:
                    yield item["Key"], record
