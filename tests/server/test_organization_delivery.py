"""An organization's trail, delivered and judged: each account's folder, as the AWS CLI and our own reader see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opentrail.core.findings import FindingCode
from opentrail.core.layout import parse_log_key
from opentrail.core.policy.log_bucket_policy import RecordedOrganization, log_bucket_policy
from opentrail.core.public_keys import PublicKey
from opentrail.stores.memory import MemoryStore
from opentrail.testing.aws_cli import require_aws
from opentrail.testing.company import (
    CLOUDTRAIL,
    Tenant,
    fetch_records,
    first_account,
    join,
    make_account,
    make_organization,
)
from opentrail.testing.live_server import HOME, LiveServer
from opentrail.testing.verified_bucket import VerifiedBucket, verify_bucket

BUCKET = "company-logs"


class Company:
    """A management account, two members, an outsider who owns the log bucket, and an organization trail."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.management = first_account(server)
        self.alpha, self.beta, self.archive = (make_account(server, name) for name in ("alpha", "beta", "archive"))
        self.organization_id = make_organization(self.management)
        join(self.management, self.alpha)
        join(self.management, self.beta)
        organization = RecordedOrganization(
            organization_id=self.organization_id, management_account_id=self.management.account_id
        )
        self.archive.make_bucket(BUCKET, log_bucket_policy(BUCKET, account_ids=[], organization=organization))
        cloudtrail = self.management.client("cloudtrail")
        made = cloudtrail.create_trail(
            Name="company",
            S3BucketName=BUCKET,
            IsOrganizationTrail=True,
            IsMultiRegionTrail=True,
            EnableLogFileValidation=True,
        )
        self.arn: str = made["TrailARN"]
        cloudtrail.start_logging(Name="company")

    def deliver(self) -> None:
        self.server.flush(digest=True)

    def calls_of(self, tenant: Tenant) -> list[str]:
        """The names of the delivered events in the account's folder of the organization."""
        prefix = f"AWSLogs/{self.organization_id}/{tenant.account_id}/"
        found = []
        for key, record in fetch_records(self.archive, BUCKET, prefix):
            folder = parse_log_key(key).folder
            assert (folder.organization_id, folder.account_id) == (self.organization_id, record["recipientAccountId"])
            found.append(record["eventName"])
        return found

    def judge(self, tenant: Tenant, aws: Path) -> str:
        """What the AWS CLI says of the account's files; the bucket is given to it to read."""
        start = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        words = ["cloudtrail", "validate-logs", "--trail-arn", self.arn, "--start-time", start, "--verbose"]
        done = self.server.aws(aws, *words, "--account-id", tenant.account_id)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def allow_reading(company: Company) -> None:
    """Let the management account, which asks for the validation, read the bucket of the archive."""
    organization = RecordedOrganization(
        organization_id=company.organization_id, management_account_id=company.management.account_id
    )
    policy = log_bucket_policy(BUCKET, account_ids=[], organization=organization)
    policy["Statement"].append(
        {
            "Effect": "Allow",
            "Principal": {"AWS": company.management.account_id},
            "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
        }
    )
    s3 = company.archive.client("s3")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    server = LiveServer(tmp_path / "data", "--delivery-interval", "1h", "--digest-interval", "1h")
    server.start()
    try:
        yield Company(server)
    finally:
        server.end()


def verify(company: Company) -> VerifiedBucket:
    """What `opentrail verify` says of all that lies in the bucket."""
    s3, store = company.archive.client("s3"), MemoryStore()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            found = s3.get_object(Bucket=BUCKET, Key=item["Key"])
            metadata = {f"x-amz-meta-{name}": value for name, value in found["Metadata"].items()}
            store.put(item["Key"], found["Body"].read(), metadata)
    now = datetime.now(UTC)
    span = {"StartTime": now - timedelta(days=1), "EndTime": now + timedelta(days=1)}
    listed = [
        item
        for region in (HOME, "us-east-1")
        for item in company.management.client("cloudtrail", region).list_public_keys(**span)["PublicKeyList"]
    ]
    keys = [
        PublicKey(
            value=item["Value"],
            fingerprint=item["Fingerprint"],
            validity_start=item["ValidityStartTime"],
            validity_end=item["ValidityEndTime"],
        )
        for item in listed
    ]
    return verify_bucket(store, keys, bucket=BUCKET)


def test_every_account_s_calls_are_delivered_and_valid(company: Company) -> None:
    aws = require_aws("newest")
    for tenant in (company.management, company.alpha, company.beta, company.archive):
        tenant.client("cloudtrail").list_public_keys()
    company.alpha.client("iam").create_user(UserName="alice")  # us-east-1
    company.deliver()
    company.beta.client("cloudtrail").list_trails()
    company.deliver()
    for tenant in (company.management, company.alpha, company.beta):
        assert "ListPublicKeys" in company.calls_of(tenant)
    assert "CreateUser" in company.calls_of(company.alpha)
    assert "StartLogging" in company.calls_of(company.management)
    assert company.calls_of(company.archive) == [], "the archive is not in the organization"
    keys = {key for key, _ in fetch_records(company.archive, BUCKET)}
    assert all(key.startswith(f"AWSLogs/{company.organization_id}/") for key in keys)
    allow_reading(company)
    for tenant in (company.management, company.alpha, company.beta):
        told = company.judge(tenant, aws)
        assert "2/2 digest files valid" in told, told
        assert "log files valid" in told
    verified = verify(company)
    assert (verified.result.exit_code, verified.objections()) == (0, [])
    chains = {(chain.trail.folder.account_id, chain.trail.folder.region) for chain in verified.result.chains}
    members = (company.management, company.alpha, company.beta)
    assert chains == {*((tenant.account_id, HOME) for tenant in members), (company.alpha.account_id, "us-east-1")}


def test_membership_counts_from_the_call_on(company: Company) -> None:
    company.deliver()  # a round of delivery, which begins the chains of those who are members now
    newcomer = make_account(company.server, "newcomer")
    newcomer.client("cloudtrail").list_trails()
    join(company.management, newcomer)
    newcomer.client("cloudtrail").list_public_keys()
    company.beta.client("cloudtrail").list_public_keys()
    organizations = company.management.client("organizations")
    organizations.remove_account_from_organization(AccountId=company.beta.account_id)
    company.beta.client("cloudtrail").describe_trails()
    company.alpha.client("organizations").leave_organization()
    company.alpha.client("cloudtrail").describe_trails()
    company.deliver()
    assert "ListPublicKeys" in company.calls_of(newcomer)
    assert "ListTrails" not in company.calls_of(newcomer)
    assert "AcceptHandshake" in company.calls_of(newcomer), "the call that joins is the organization's too"
    assert company.calls_of(company.beta)[-1] == "ListPublicKeys"
    assert company.calls_of(company.alpha)[-1] == "LeaveOrganization", "and the one that leaves"
    company.deliver()
    verified = verify(company)
    assert (verified.result.exit_code, verified.objections()) == (0, [])
    starts = [finding.code for _, finding in verified.told].count(FindingCode.CHAIN_STARTED)
    assert starts == len(verified.result.chains)


def test_a_delegated_administrator_runs_the_trail(company: Company) -> None:
    organizations = company.management.client("organizations")
    organizations.register_delegated_administrator(AccountId=company.alpha.account_id, ServicePrincipal=CLOUDTRAIL)
    cloudtrail = company.alpha.client("cloudtrail")
    cloudtrail.stop_logging(Name=company.arn)
    company.beta.client("cloudtrail").list_public_keys()
    cloudtrail.start_logging(Name=company.arn)
    made = cloudtrail.create_trail(Name="second", S3BucketName=BUCKET, IsOrganizationTrail=True)
    assert made["TrailARN"].split(":")[4] == company.management.account_id
    company.deliver()
    calls = company.calls_of(company.alpha)
    assert calls[-3:] == ["StopLogging", "StartLogging", "CreateTrail"]
    assert "ListPublicKeys" not in company.calls_of(company.beta)
    status = cloudtrail.get_trail_status(Name=company.arn)
    assert status["LatestDeliveryAttemptSucceeded"]
    company.deliver()
    verified = verify(company)
    assert verified.result.exit_code == 0
    assert [finding.code for finding in verified.objections()] == [FindingCode.LOGGING_STOPPED]


def test_without_trusted_access_no_trail_is_the_organization_s(company: Company) -> None:
    management, alpha = company.management, company.alpha
    organizations, cloudtrail = management.client("organizations"), management.client("cloudtrail")
    organizations.disable_aws_service_access(ServicePrincipal=CLOUDTRAIL)
    company.deliver()
    alpha.client("cloudtrail").list_public_keys()
    organizations.enable_aws_service_access(ServicePrincipal=CLOUDTRAIL)
    company.deliver()
    assert cloudtrail.get_trail(Name="company")["Trail"]["IsOrganizationTrail"] is False
    assert alpha.client("cloudtrail").list_trails()["Trails"] == []
    assert company.calls_of(alpha) == []
    cloudtrail.update_trail(Name="company", IsOrganizationTrail=True)
    alpha.client("cloudtrail").list_trails()
    company.deliver()
    assert company.calls_of(alpha) == ["ListTrails"]
    plain = fetch_records(company.archive, BUCKET, f"AWSLogs/{management.account_id}/")
    assert "UpdateTrail" in [record["eventName"] for _, record in plain], "the trail has it as it was before"
    verified = verify(company)
    assert (verified.result.exit_code, verified.objections()) == (0, [])


def test_a_trail_outlives_its_organization_as_a_plain_one(company: Company) -> None:
    organizations = company.management.client("organizations")
    for tenant in (company.alpha, company.beta):
        organizations.remove_account_from_organization(AccountId=tenant.account_id)
    company.deliver()
    organizations.delete_organization()
    company.deliver()
    company.management.client("cloudtrail").list_trails()
    company.deliver()
    trail = company.management.client("cloudtrail").get_trail(Name="company")["Trail"]
    assert trail["IsOrganizationTrail"] is False
    plain = [record["eventName"] for _, record in fetch_records(
        company.archive, BUCKET, f"AWSLogs/{company.management.account_id}/")]  # fmt: skip
    assert "ListTrails" in plain
    assert "DeleteOrganization" in company.calls_of(company.management)
    verified = verify(company)
    assert (verified.result.exit_code, verified.objections()) == (0, [])
