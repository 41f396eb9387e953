"""The usual AWS configuration: S3 is asked where boto3 asks it, with what boto3 signs with, and nobody else is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from opentrail.cli.main import main
from opentrail.core.errors import StoreError
from opentrail.core.public_keys import encode_public_keys
from opentrail.testing.pretend_aws import Asked, Authority, PretendAws
from opentrail.testing.sample_trail import BUCKET, FOLDER, SampleTrail
from opentrail.testing.static_bucket import StaticBucket
from opentrail.verification.opening import SourceOptions, open_source
from opentrail.verification.source import SourceObject, TrailSource, user_metadata

REGION = "eu-west-1"
EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType></ListBucketResult>"


def answer(status: int, body: bytes = b"", **fields: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"HTTP/1.1 {status} -", f"content-length: {len(body)}", *lines, "", ""]).encode() + body


def fault(status: int, code: str, more: str = "", **fields: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code><Message>said so</Message>{more}</Error>".encode(), **fields)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    """A user who has set keys, a region and a private authority, and no more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.file))
    monkeypatch.setattr("opentrail.verification.aws_client._FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("opentrail.verification.aws_client._LONGEST_PAUSE_SECONDS", 0.002)


@pytest.fixture
def as_aws(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Iterator[PretendAws]:
    """Every host there is, behind a proxy; it answers with an empty bucket."""
    with PretendAws(authority, lambda _: answer(200, EMPTY)) as aws:
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{aws.port}")
        yield aws


def open_bucket(bucket: str = BUCKET, **options: str) -> TrailSource:
    return open_source(f"s3://{bucket}", SourceOptions(**options)).source  # type: ignore[arg-type]  # all are text


def ask_ours(bucket: str = BUCKET, **options: str) -> None:
    source = open_bucket(bucket, **options)
    try:
        list(source.list_keys(""))
    finally:
        source.close()


def ask_boto3(bucket: str, **options: str) -> None:
    session = boto3.Session(profile_name=options.get("profile"))
    config = Config(retries={"max_attempts": 0})
    client = session.client("s3", endpoint_url=options.get("endpoint_url"), config=config)
    client.list_objects_v2(Bucket=bucket)


def who_asked(asked: Asked) -> tuple[str, str, str, str]:
    """The host, the path, the access key and the region."""
    credential = asked.fields["authorization"].partition("Credential=")[2].split(",")[0].split("/")
    return asked.host, urlsplit(asked.target).path, credential[0], credential[2]


CONFIG = """
[default]
region = ap-southeast-2
[profile dual]
region = eu-central-1
use_dualstack_endpoint = true
[profile nested]
region = eu-central-1
s3 =
    addressing_style = path
    use_accelerate_endpoint = false
[profile own]
region = eu-south-1
endpoint_url = http://objects.example:9000
[profile services]
region = eu-south-1
services = mine
[services mine]
s3 =
    endpoint_url = https://s3.mine.example
cloudtrail =
    endpoint_url = https://trail.mine.example
"""
CREDENTIALS = "".join(
    f"[{name}]\naws_access_key_id = AKID{name.upper()}\naws_secret_access_key = s\n"
    for name in ("default", "dual", "nested", "own", "services")
)


@pytest.mark.parametrize(
    ("bucket", "variables", "options"),
    [
        (BUCKET, {}, {}),
        ("with.dots.in.its.name", {}, {}),
        (BUCKET, {"AWS_DEFAULT_REGION": "cn-north-1"}, {}),
        (BUCKET, {"AWS_DEFAULT_REGION": "us-gov-west-1", "AWS_USE_FIPS_ENDPOINT": "true"}, {}),
        (BUCKET, {"AWS_DEFAULT_REGION": "us-isob-east-1"}, {}),
        (BUCKET, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, {}),
        (BUCKET, {"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_USE_FIPS_ENDPOINT": "true"}, {}),
        ("with.dots", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, {}),
        (BUCKET, {"AWS_ENDPOINT_URL": "https://objects.example/below"}, {}),
        (BUCKET, {"AWS_ENDPOINT_URL": "https://no.example", "AWS_ENDPOINT_URL_S3": "https://s3.example:8443"}, {}),
        (BUCKET, {"AWS_ENDPOINT_URL_S3": "https://no.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, {}),
        (BUCKET, {"AWS_ENDPOINT_URL_S3": "https://no.example"}, {"endpoint_url": "http://objects.example"}),
        (BUCKET, {"AWS_PROFILE": "own"}, {}),
        (BUCKET, {}, {"profile": "own"}),
        (BUCKET, {}, {"profile": "dual"}),
        (BUCKET, {}, {"profile": "nested"}),
        (BUCKET, {}, {"profile": "services"}),
        (BUCKET, {"AWS_DEFAULT_REGION": ""}, {}),
        (BUCKET, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, {}),
        (BUCKET, {"AWS_SESSION_TOKEN": "token"}, {}),
        (BUCKET, {"AWS_SECURITY_TOKEN": "its old name", "AWS_SESSION_TOKEN": "token"}, {}),
        (BUCKET, {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_DEFAULT_REGION": ""}, {}),
    ],
)  # fmt: skip
def test_s3_is_asked_where_boto3_asks_it(
    as_aws: PretendAws,
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    variables: dict[str, str],
    options: dict[str, str],
) -> None:
    folder = Path.home() / ".aws"
    folder.mkdir()
    (folder / "config").write_text(CONFIG)
    (folder / "credentials").write_text(CREDENTIALS)
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    ask_boto3(bucket, **options)
    ask_ours(bucket, **options)
    theirs, ours = as_aws.asked
    assert who_asked(ours) == who_asked(theirs)
    assert ours.fields.get("x-amz-security-token") == theirs.fields.get("x-amz-security-token")


@pytest.mark.parametrize(
    "elsewhere",
    [
        fault(301, "PermanentRedirect", "<Endpoint>x.s3.example</Endpoint>", x_amz_bucket_region="eu-central-1"),
        fault(307, "TemporaryRedirect", location="https://evil.example/", x_amz_bucket_region="eu-central-1"),
        fault(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>"),
        fault(400, "IllegalLocationConstraintException", x_amz_bucket_region="eu-central-1"),
    ],
)
def test_a_bucket_of_another_region_is_asked_there_from_then_on(as_aws: PretendAws, elsewhere: bytes) -> None:
    def respond(asked: Asked) -> bytes:
        return answer(200, EMPTY if "list-type" in asked.target else b"data") if "central" in asked.host else elsewhere

    as_aws.answer_with(respond)
    source = open_bucket()
    assert list(source.list_keys("")) == []
    assert source.read("key", limit=100).data == b"data"
    source.close()
    hosts = [f"{BUCKET}.s3.{region}.amazonaws.com" for region in (REGION, "eu-central-1", "eu-central-1")]
    assert [asked.host for asked in as_aws.asked] == hosts
    assert [who_asked(asked)[3] for asked in as_aws.asked] == [REGION, "eu-central-1", "eu-central-1"]


def test_regions_that_send_to_each_other_are_given_up(as_aws: PretendAws) -> None:
    def respond(asked: Asked) -> bytes:
        region = "eu-central-1" if REGION in asked.host else REGION
        return fault(301, "PermanentRedirect", x_amz_bucket_region=region)

    as_aws.answer_with(respond)
    with pytest.raises(StoreError, match="from region to region"):
        ask_ours()
    assert len(as_aws.asked) <= 5


def test_an_endpoint_of_ones_own_sends_nobody_to_another_host(as_aws: PretendAws) -> None:
    def respond(asked: Asked) -> bytes:
        if who_asked(asked)[3] != "eu-central-1":
            return fault(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1", location="https://evil.example/")
        return answer(200, EMPTY)

    as_aws.answer_with(respond)
    ask_ours(endpoint_url="https://objects.example")
    assert {asked.host for asked in as_aws.asked} == {"objects.example"}


def test_a_proxy_with_a_login_gets_it_and_the_bucket_does_not(
    as_aws: PretendAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{as_aws.port}")
    ask_ours()
    assert as_aws.logins == ["Basic dXNlcjpwQHNz"]
    assert "proxy-authorization" not in as_aws.asked[0].fields


def test_a_host_that_needs_no_proxy_is_asked_itself(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with PretendAws(authority, lambda _: answer(200, EMPTY), host="127.0.0.1") as aws:
        ask_ours(endpoint_url=f"https://127.0.0.1:{aws.port}")
        assert len(aws.asked) == 1


def test_a_proxy_of_another_kind_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hush@127.0.0.1:1080")
    assert main(["verify", f"s3://{BUCKET}"]) == 2
    said = capsys.readouterr().err
    assert "HTTPS_PROXY" in said
    assert "hush" not in said


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "ca_bundle"])
def test_a_private_authority_is_trusted_where_the_configuration_says_so(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with PretendAws(authority, lambda _: answer(200, EMPTY), host="127.0.0.1") as aws:
        url = f"https://127.0.0.1:{aws.port}"
        with pytest.raises(StoreError, match=r"not to be trusted.*AWS_CA_BUNDLE"):
            ask_ours(endpoint_url=url)
        assert not aws.asked
        if variable.isupper():
            monkeypatch.setenv(variable, str(authority.file))
        else:
            (tmp_path / "config").write_text(f"[default]\n{variable} = {authority.file}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        ask_ours(endpoint_url=url)
        assert len(aws.asked) == 1


def test_a_certificate_of_another_host_is_refused_at_once(authority: Authority) -> None:
    with PretendAws(authority, lambda _: answer(200, EMPTY), host="objects.example") as aws:
        with pytest.raises(StoreError, match=r"not to be trusted.*127\.0\.0\.1") as raised:
            ask_ours(endpoint_url=f"https://127.0.0.1:{aws.port}")
        assert not raised.value.retryable
        assert not aws.asked


def test_a_whole_trail_over_tls(
    authority: Authority, trail: SampleTrail, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(key: str) -> SourceObject | None:
        data, metadata = trail.objects[key]
        return SourceObject(data=data, metadata=user_metadata(metadata))

    bucket = StaticBucket(BUCKET, sorted(trail.objects), read, trail.public_keys())
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.public_keys()))
    with PretendAws(
        authority, lambda asked: bucket.answer(b"GET", asked.target.encode(), b""), host="127.0.0.1"
    ) as aws:
        given = ("--endpoint-url", f"https://127.0.0.1:{aws.port}", "--public-keys", "keys.json")
        assert main(["verify", f"s3://{BUCKET}", *given, "--account-id", FOLDER.account_id]) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("status", "code", "texts"),
    [
        (403, "RequestTimeTooSkewed", ("RequestTimeTooSkewed", "set this machine's clock")),
        (400, "ExpiredToken", ("ExpiredToken", "log in again")),
        (403, "InvalidAccessKeyId", ("access key", "profile")),
        (403, "SignatureDoesNotMatch", ("secret access key",)),
        (403, "AccessDenied", (f"listing s3://{BUCKET}/", "s3:ListBucket")),
        (404, "NoSuchBucket", (f"listing s3://{BUCKET}/", "right name")),
    ],
)
def test_what_the_caller_can_do_about_it_is_said(
    as_aws: PretendAws, capsys: pytest.CaptureFixture[str], status: int, code: str, texts: tuple[str, ...]
) -> None:
    as_aws.answer_with(lambda _: fault(status, code))
    assert main(["verify", f"s3://{BUCKET}"]) == 2
    said = capsys.readouterr().err
    for text in texts:
        assert text in said
    assert len(as_aws.asked) == 1


def test_credentials_that_expire_on_the_way_are_asked_for_again(
    as_aws: PretendAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long verification with a credential_process (or a role, or a login: botocore asks for all alike)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    program = tmp_path / "credentials.py"
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = {"Version": 1, "SecretAccessKey": "s", "SessionToken": "t", "Expiration": end}
    program.write_text(
        "import json, pathlib\npath = pathlib.Path(__file__).with_suffix('.count')\n"
        "count = int(path.read_text()) + 1 if path.exists() else 1\npath.write_text(str(count))\n"
        f"print(json.dumps({{**{json.dumps(made)}, 'AccessKeyId': f'AKID{{count}}'}}))\n"
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} -I {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    refused = {"AKID1"}

    def respond(asked: Asked) -> bytes:
        return fault(400, "ExpiredToken") if who_asked(asked)[2] in refused else answer(200, b"data")

    as_aws.answer_with(respond)
    source = open_bucket()
    for _ in range(3):
        assert source.read("key", limit=10).data == b"data"
    assert [who_asked(asked)[2] for asked in as_aws.asked] == ["AKID1", "AKID2", "AKID2", "AKID2"]
    refused |= {f"AKID{number}" for number in range(10)}
    with pytest.raises(StoreError, match=r"object 'key': ExpiredToken.*log in again") as raised:
        source.read("key", limit=10)
    assert raised.value.retryable  # the verification ends here, and can go on later
    source.close()


def test_credentials_that_cannot_be_had_any_more_are_no_traceback(
    as_aws: PretendAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} -c 'exit(7)'\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert main(["verify", f"s3://{BUCKET}"]) == 2
    assert "credentials" in capsys.readouterr().err
    assert not as_aws.asked


def test_boto3_is_a_judge_that_can_refuse(as_aws: PretendAws) -> None:
    """It speaks to the same server: what that one refuses, it tells."""
    as_aws.answer_with(lambda _: fault(403, "AccessDenied"))
    with pytest.raises((ClientError, BotoCoreError), match="AccessDenied"):
        ask_boto3(BUCKET)
    assert parse_qs(urlsplit(as_aws.asked[0].target).query)["list-type"] == ["2"]
