"""``opentrail bucket-policy``: what it prints lets in whom it names, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.cli.main import main
from opentrail.testing.company import Tenant, first_account, join, make_account, make_organization
from opentrail.testing.live_server import HOME, LiveServer


class Site:
    """The bucket's owner, two accounts and a stranger."""

    def __init__(self, server: LiveServer) -> None:
        self.owner = first_account(server)
        self.alpha, self.beta, self.stranger = (make_account(server, name) for name in ("alpha", "beta", "stranger"))
        self.owner.make_bucket("logs")
        self.count = 0

    def put_policy(self, text: str) -> None:
        self.owner.client("s3").put_bucket_policy(Bucket="logs", Policy=text)

    def create(self, tenant: Tenant, name: str = "main", **settings: Any) -> str:
        """The error code of CreateTrail, or "" where the trail was made; then it is deleted again."""
        cloudtrail = tenant.client("cloudtrail")
        try:
            made = cloudtrail.create_trail(Name=name, S3BucketName="logs", **settings)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        cloudtrail.delete_trail(Name=made["TrailARN"])
        return ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = LiveServer(tmp_path_factory.mktemp("site") / "data", "--delivery-interval", "1h")
    server.start()
    try:
        yield Site(server)
    finally:
        server.end()


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["bucket-policy", "--bucket", "logs", *words]) == 0
    return capsys.readouterr().out


INSUFFICIENT = "InsufficientS3BucketPolicyException"


def test_the_accounts_that_are_named_and_no_other(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.create(site.owner) == INSUFFICIENT, "without a policy even the owner's trail cannot deliver"
    text = printed(capsys, "--account", site.owner.account_id, "--account", site.alpha.account_id)
    site.put_policy(text)
    assert site.create(site.owner) == site.create(site.alpha) == ""
    assert site.create(site.beta) == site.create(site.stranger) == INSUFFICIENT
    assert site.create(site.alpha, S3KeyPrefix="other") == INSUFFICIENT
    tricks = ["AWSLogs", f"AWSLogs/{site.alpha.account_id}", f"AWSLogs/{site.alpha.account_id}/"]
    assert [site.create(site.stranger, S3KeyPrefix=each) for each in tricks] == ["InvalidS3PrefixException"] * 3


def test_the_prefix_that_is_named_and_no_other(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for prefix in ("audit/2026", "wild*card", "${aws:username}"):
        site.put_policy(printed(capsys, "--account", site.alpha.account_id, "--prefix", prefix))
        assert site.create(site.alpha, S3KeyPrefix=prefix) == ""
        assert site.create(site.alpha) == INSUFFICIENT
        assert site.create(site.alpha, S3KeyPrefix="wild-other-card") == INSUFFICIENT
        assert site.create(site.beta, S3KeyPrefix=prefix) == INSUFFICIENT


def test_the_trails_that_are_named_and_no_other(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    arns = [f"arn:aws:cloudtrail:{HOME}:{each.account_id}:trail/main" for each in (site.alpha, site.beta)]
    accounts = ["--account", site.alpha.account_id, "--account", site.beta.account_id]
    site.put_policy(printed(capsys, *accounts, "--trail-arn", arns[0], "--trail-arn", arns[1]))
    assert site.create(site.alpha) == site.create(site.beta) == ""
    assert site.create(site.alpha, "other") == site.create(site.owner) == INSUFFICIENT


def test_updating_a_trail_asks_the_bucket_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.put_policy(printed(capsys, "--account", site.alpha.account_id))
    cloudtrail = site.alpha.client("cloudtrail")
    cloudtrail.create_trail(Name="main", S3BucketName="logs")
    with pytest.raises(ClientError, match=INSUFFICIENT):
        cloudtrail.update_trail(Name="main", S3KeyPrefix="p")
    site.put_policy(printed(capsys, "--account", site.beta.account_id))
    with pytest.raises(ClientError, match=INSUFFICIENT):
        cloudtrail.update_trail(Name="main", IncludeGlobalServiceEvents=False)
    assert "S3KeyPrefix" not in cloudtrail.get_trail(Name="main")["Trail"]
    cloudtrail.delete_trail(Name="main")


def test_an_organization_and_nobody_beside_it(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    organization = make_organization(site.alpha)
    join(site.alpha, site.beta)
    management = site.alpha.account_id
    site.put_policy(printed(capsys, "--account", management))
    assert site.create(site.alpha, IsOrganizationTrail=True) == INSUFFICIENT
    text = printed(capsys, "--organization", organization, "--management-account", management)
    site.put_policy(text)
    assert site.create(site.alpha, IsOrganizationTrail=True) == site.create(site.alpha) == ""
    assert site.create(site.beta) == site.create(site.stranger) == INSUFFICIENT
    assert site.create(site.stranger, S3KeyPrefix=f"AWSLogs/{organization}") == "InvalidS3PrefixException"
    arn = f"arn:aws:cloudtrail:{HOME}:{management}:trail/main"
    words = ["--organization", organization, "--management-account", management, "--trail-arn", arn]
    site.put_policy(printed(capsys, *words))
    assert site.create(site.alpha, IsOrganizationTrail=True) == ""
    assert site.create(site.alpha, "other", IsOrganizationTrail=True) == INSUFFICIENT
    policy = json.loads(text)  # without the line of the organization's folder
    policy["Statement"] = [each for each in policy["Statement"] if "Organization" not in each["Sid"]]
    site.put_policy(json.dumps(policy))
    assert site.create(site.alpha, IsOrganizationTrail=True) == INSUFFICIENT
    assert site.create(site.alpha) == ""


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--account"),
        (["--account", "1"], "--account"),
        (["--account", "１１１１１１１１１１１１"], "--account"),  # noqa: RUF001  digits, and no account
        (["--account", "1" * 12, "--bucket", "B"], "--bucket"),
        (["--account", "1" * 12, "--prefix", "AWSLogs"], "--prefix"),
        (["--account", "1" * 12, "--organization", "o-a1b2c3d4e5"], "--management-account"),
        (["--organization", "x", "--management-account", "1" * 12], "--organization"),
        (["--account", "1" * 12, "--trail-arn", "arn:x"], "--trail-arn"),
        (["--account", "1" * 12, "--trail-arn", f"arn:aws:cloudtrail:eu-west-1:{'2' * 12}:trail/main"], "2" * 12),
        (
            f"--account {1:012} --account {2:012} --trail-arn arn:aws:cloudtrail:eu-west-1:{1:012}:trail/main".split(),
            f"{2:012}",
        ),
        ([word for number in range(600) for word in ("--account", f"{number:012}")], "20480"),
    ],
)
def test_what_it_cannot_make_a_policy_of(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bucket-policy", "--bucket", "logs", *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert named in told.err


@pytest.mark.parametrize("count", [300, 430])
def test_as_many_accounts_as_s3_takes(site: Site, capsys: pytest.CaptureFixture[str], count: int) -> None:
    words = [word for number in range(count - 1) for word in ("--account", f"{number:012}")]
    text = printed(capsys, *words, "--account", site.beta.account_id)
    assert len(json.loads(text)["Statement"][1]["Resource"]) == count
    site.put_policy(text)
    assert site.create(site.beta) == ""
