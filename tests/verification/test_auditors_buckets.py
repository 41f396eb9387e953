"""What an auditor's own AWS configuration and buckets have: roles with MFA, requesters who pay, names with spaces."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.credentials import AssumeRoleProvider

from opentrail.cli.main import main
from opentrail.cli.verify_options import parse_end
from opentrail.core.errors import ConfigError, StoreError
from opentrail.core.public_keys import decode_public_keys, encode_public_keys
from opentrail.testing.pretend_aws import Asked, Authority, PretendAws
from opentrail.testing.sample_trail import BUCKET, FOLDER, SampleTrail
from opentrail.testing.static_bucket import bucket_of_objects, serving
from opentrail.verification.opening import SourceOptions, open_source
from opentrail.verification.public_keys_file import KeyQuestion, ask_public_keys, endpoint_of
from opentrail.verification.s3_hosts import find_proxy
from opentrail.verification.s3_settings import parse_endpoint

NOW = datetime(2026, 5, 1, tzinfo=UTC)
EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType></ListBucketResult>"
LOG_IN = "user:hush"

Case = tuple[str, Mapping[str, str], str]  # a configuration file, variables, and what is said


def answer(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def fault(status: int, code: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code><Message>said so</Message></Error>".encode())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Path:
    """A user who has set keys, a region and a private authority, and no more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.file))
    (tmp_path / ".aws").mkdir()
    return tmp_path


@pytest.fixture
def as_aws(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Iterator[PretendAws]:
    """Every host there is, behind a proxy; it answers with an empty bucket."""
    with PretendAws(authority, lambda _: answer(200, EMPTY)) as aws:
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{aws.port}")
        yield aws


@pytest.fixture
def keys_file(trail: SampleTrail, tmp_path: Path) -> str:
    path = tmp_path / "keys.json"
    path.write_bytes(encode_public_keys(trail.public_keys()))
    return str(path)


def test_names_with_spaces_and_pluses_are_what_boto3_takes_them_for() -> None:
    """S3 writes a space as ``+`` where a listing is URL-encoded."""
    names = ["a folder/a key", "a folder/a+key", "a folder/a!key", "a+folder/key", "plain/100%"]
    with serving(bucket_of_objects({name: (b"data", {}) for name in names}, BUCKET, ())) as url:
        listed = boto3.client("s3", endpoint_url=url).list_objects_v2(Bucket=BUCKET)["Contents"]
        source = open_source(f"s3://{BUCKET}", SourceOptions(endpoint_url=url)).source
        assert list(source.list_keys("")) == [each["Key"] for each in listed] == sorted(names)
        assert source.list_folders("") == ["a folder/", "a+folder/", "plain/"]
        assert [source.read(name, limit=10).data for name in names] == [b"data"] * len(names)
        source.close()


def test_a_copy_below_a_name_with_spaces(trail: SampleTrail, keys_file: str) -> None:
    below = "copies of 2024 + more/case 17/"
    copy = {below + key: value for key, value in trail.objects.items()}
    with serving(bucket_of_objects(copy, "copies", ())) as url:
        given = ("--endpoint-url", url, "--public-keys", keys_file, "--original-bucket", BUCKET)
        assert main(["verify", f"s3://copies/{below}", *given, "--account-id", FOLDER.account_id]) == 0


def test_whoever_agrees_to_pay_says_so_in_each_request_as_boto3_does(as_aws: PretendAws) -> None:
    boto3.client("s3").list_objects_v2(Bucket=BUCKET, RequestPayer="requester")
    source = open_source(f"s3://{BUCKET}", SourceOptions(request_payer="requester")).source
    list(source.list_keys(""))
    source.read("key", limit=1000)
    source.close()
    theirs, *ours = as_aws.asked
    for asked in ours:
        assert asked.fields["x-amz-request-payer"] == theirs.fields["x-amz-request-payer"] == "requester"
        assert "x-amz-request-payer" in asked.fields["authorization"].partition("SignedHeaders=")[2].split(",")[0]


def test_a_trail_whose_requester_pays(
    as_aws: PretendAws, trail: SampleTrail, keys_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = bucket_of_objects(trail.objects, BUCKET, ())

    def respond(asked: Asked) -> bytes:
        if "x-amz-request-payer" not in asked.fields:
            return fault(403, "AccessDenied")
        return bucket.answer(b"GET", f"/{BUCKET}{asked.target}".encode(), b"")

    as_aws.answer_with(respond)
    words = ("verify", f"s3://{BUCKET}", "--public-keys", keys_file, "--account-id", FOLDER.account_id)
    assert main([*words]) == 2
    assert "--request-payer" in capsys.readouterr().err
    assert main([*words, "--request-payer", "requester", "--report", "report.json"]) == 0
    (command,) = json.loads(Path("report.json").read_text())["commands"]
    assert "--request-payer requester" in command


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--request-payer", "me"), "`requester` is expected"),
        (("--request-payer", "requester", "--no-sign-request"), "who pays has to sign"),
    ],
)
def test_what_nobody_can_pay_with_is_refused(
    keys_file: str, words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", f"s3://{BUCKET}", "--public-keys", keys_file, *words]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("region", ["", "eu-central-1"])
@pytest.mark.parametrize("code", ["PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException"])
def test_a_redirect_that_says_no_region_says_what_to_set(
    as_aws: PretendAws, monkeypatch: pytest.MonkeyPatch, code: str, region: str
) -> None:
    as_aws.answer_with(lambda asked: answer(200, EMPTY) if "eu-central-1" in asked.host else fault(301, code))
    if region:
        monkeypatch.setenv("AWS_REGION", region)
    source = open_source(f"s3://{BUCKET}", SourceOptions()).source
    if region:
        assert list(source.list_keys("")) == []
    else:
        with pytest.raises(StoreError, match=f"{code}.*set AWS_REGION"):
            list(source.list_keys(""))
    source.close()


@pytest.mark.parametrize(
    "url",
    [f"http://{LOG_IN}@127.0.0.1:1", f"htp://{LOG_IN}@x", f"{LOG_IN}@x:9000", f"http://{LOG_IN}@[x", "localhost:9000",
     "http://a host", "https://", "http://x?y=z", "http://x:port"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["--endpoint-url", "--public-keys", "AWS_ENDPOINT_URL", "keys export"])
def test_an_endpoint_that_is_none_is_refused_and_no_login_is_shown(
    monkeypatch: pytest.MonkeyPatch, keys_file: str, capsys: pytest.CaptureFixture[str], url: str, where: str
) -> None:
    words = ["verify", f"s3://{BUCKET}", "--public-keys", keys_file]
    if where.isupper():
        monkeypatch.setenv(where, url)
    elif where == "keys export":
        words = ["keys", "export", "--endpoint-url", url, "--region", "eu-west-1"]
    elif where == "--endpoint-url":
        words += [where, url]
    elif not url.startswith("http"):
        return  # a file's name
    else:
        words += [where, url, "--endpoint-url", "http://127.0.0.1:1"]
        monkeypatch.setattr("opentrail.verification.discovery.find_folders", lambda *_: [FOLDER])
    assert main(words) == 2
    said = capsys.readouterr()
    assert "the endpoint URL" in said.err
    assert "hush" not in said.err + said.out


def test_an_endpoint_s_login_is_told_where_credentials_belong() -> None:
    with pytest.raises(ConfigError, match="leave the login before it out"):
        parse_endpoint(f"http://{LOG_IN}@127.0.0.1:9000")


def test_an_access_point_is_named_by_its_alias(keys_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    arn = "arn:aws:s3:eu-west-1:111122223333:accesspoint/audit"
    assert main(["verify", f"s3://{arn}", "--public-keys", keys_file]) == 2
    said = capsys.readouterr().err
    assert "-s3alias" in said
    assert "--original-bucket" in said


def test_an_access_point_s_alias_with_the_bucket_behind_it(trail: SampleTrail, keys_file: str) -> None:
    alias = "audit-x7f2qexample-s3alias"
    with serving(bucket_of_objects(trail.objects, alias, ())) as url:
        given = ("--endpoint-url", url, "--public-keys", keys_file, "--account-id", FOLDER.account_id)
        assert main(["verify", f"s3://{alias}", *given, "--original-bucket", BUCKET]) == 0


@pytest.mark.parametrize("day", ["2026-05-31", "20260531", "2026-W22-7", " 2026-05-31 "])
def test_a_day_is_meant_to_its_end_in_any_form(day: str) -> None:
    assert parse_end(day) == datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)
    assert parse_end("20260531T000000Z") == datetime(2026, 5, 31, tzinfo=UTC)


def question(**changes: str) -> KeyQuestion:
    return KeyQuestion(**{"endpoint_url": "", **changes}, regions=("eu-west-1",), start=NOW, end=NOW)


CONFIG = """
[profile own]
endpoint_url = http://own.example
[profile services]
services = mine
[services mine]
cloudtrail =
    endpoint_url = http://trail.example
"""


@pytest.mark.parametrize(
    ("variables", "profile", "asked"),
    [
        ({}, "", ""),
        ({"AWS_ENDPOINT_URL": "http://a.example"}, "", "http://a.example"),
        ({"AWS_ENDPOINT_URL": "http://a.example", "AWS_ENDPOINT_URL_CLOUDTRAIL": "http://b.example"}, "", "http://b.example"),
        ({"AWS_ENDPOINT_URL_S3": "http://a.example"}, "", ""),
        ({"AWS_ENDPOINT_URL": "http://a.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, "", ""),
        ({"AWS_PROFILE": "own"}, "", "http://own.example"),
        ({}, "own", "http://own.example"),
        ({}, "services", "http://trail.example"),
    ],
)  # fmt: skip
def test_whose_keys_they_are_is_said_as_they_are_asked_for(
    as_aws: PretendAws, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], profile: str, asked: str
) -> None:
    """A report names that endpoint, and the cache keeps its keys apart from all others'."""
    Path(".aws/config").write_text(CONFIG)
    Path(".aws/credentials").write_text(
        "".join(f"[{name}]\naws_access_key_id=A\naws_secret_access_key=s\n" for name in ("own", "services"))
    )
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    as_aws.answer_with(lambda _: answer(200, b'{"PublicKeyList": []}'))
    cache = Path("cache")
    assert ask_public_keys(question(profile=profile), now=NOW, cache=cache) == ()
    assert endpoint_of(question(profile=profile)) == asked
    assert as_aws.asked[-1].host == (urlsplit(asked).hostname or "cloudtrail.eu-west-1.amazonaws.com")
    for name in variables:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDTRAIL", "http://another.example")
    ask_public_keys(question(), now=NOW, cache=cache)
    assert as_aws.asked[-1].host == "another.example"


def test_keys_of_several_regions_are_exported_without_a_profile(
    as_aws: PretendAws, trail: SampleTrail, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = bucket_of_objects({}, BUCKET, trail.public_keys())
    as_aws.answer_with(lambda _: bucket.answer(b"POST", b"/", b"{}"))
    assert main(["keys", "export", "--from-aws", "--region", "eu-west-1, us-east-1", "-o", "keys.json"]) == 0
    hosts = [f"cloudtrail.{region}.amazonaws.com" for region in ("eu-west-1", "us-east-1")]
    assert [asked.host for asked in as_aws.asked] == hosts
    assert set(decode_public_keys(Path("keys.json").read_bytes())) == set(trail.public_keys())
    for region in ("eu west 1", "eu-west-1,EU"):
        assert main(["keys", "export", "--from-aws", "--region", region]) == 2
        assert "--region: a region is expected" in capsys.readouterr().err
    assert main(["keys", "export", "--data-dir", "nowhere"]) == 2
    assert "--from-aws" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("AccessDeniedException", "cloudtrail:ListPublicKeys is needed"),
        ("UnrecognizedClientException", "is the region enabled"),
        ("ExpiredTokenException", "log in again"),
        ("", "set AWS_ACCESS_KEY_ID"),
    ],
)
def test_keys_that_cannot_be_asked_for_say_what_to_do(
    as_aws: PretendAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, text: str
) -> None:
    log = f"AWSLogs/{FOLDER.account_id}/CloudTrail/{FOLDER.region}/2026/05/01/x.json.gz"
    bucket = bucket_of_objects({log: (b"", {})}, BUCKET, ())

    def respond(asked: Asked) -> bytes:
        if "cloudtrail" in asked.host:
            return answer(400, json.dumps({"__type": code, "message": "said so"}).encode())
        return bucket.answer(b"GET", f"/{BUCKET}{asked.target}".encode(), b"")

    as_aws.answer_with(respond)
    unsigned = () if code else ("--no-sign-request",)
    if not code:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert main(["verify", f"s3://{BUCKET}", "--account-id", FOLDER.account_id, *unsigned]) == 2
    said = capsys.readouterr().err
    assert text in said
    assert "--public-keys names a file" in said


@pytest.mark.parametrize("proxy", ["http://user:hush@127.0.0.1:1", "socks5://user:hush@127.0.0.1:1"])
def test_a_proxy_that_cannot_be_gone_through_is_told_without_its_login(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert main(["keys", "export", "--from-aws", "--region", "eu-west-1"]) == 2
    said = capsys.readouterr().err
    assert "HTTPS_PROXY" in said
    assert "hush" not in said


@pytest.mark.parametrize("named", ["::1", "[::1]", "*", "example.com, ::1"])
def test_an_address_that_needs_no_proxy_is_named_with_brackets_or_without(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    origin = parse_endpoint("http://[::1]:9000")
    assert find_proxy(origin) is not None
    monkeypatch.setenv("NO_PROXY", named)
    assert find_proxy(origin) is None


def test_a_server_without_public_keys_is_told_in_one_line(
    as_aws: PretendAws, capsys: pytest.CaptureFixture[str]
) -> None:
    as_aws.answer_with(lambda _: answer(501, b"<html>\n" + b"<p>no such operation</p>\n" * 1000))
    assert main(["keys", "export", "--from-aws", "--region", "eu-west-1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert len(said) < 500


KEY: dict[str, Any] = {"Value": "eA==", "Fingerprint": "x", "ValidityStartTime": 1, "ValidityEndTime": 2}


@pytest.mark.parametrize(
    "body",
    [
        *(b"[]", b"null", b"1", b"\xed", b"[" * 100_000, b'{"PublicKeyList": [null]}', b'{"PublicKeyList": "x"}'),
        *(
            json.dumps({"PublicKeyList": [{**KEY, **changes}]}).encode()
            for changes in ({}, {"Value": 5}, {"ValidityStartTime": "x"}, {"ValidityEndTime": 1e99}, {"Fingerprint": 5})
        ),
        json.dumps({"PublicKeyList": [], "NextToken": "again"}).encode(),
    ],
    ids=range(13),
)
def test_what_is_no_answer_of_cloudtrail_is_told_in_one_line(
    as_aws: PretendAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    monkeypatch.setattr("opentrail.verification.public_keys_file._MOST_PAGES", 3)
    as_aws.answer_with(lambda _: answer(200, body))
    assert main(["keys", "export", "--from-aws", "--region", "eu-west-1", "-o", "keys.json"]) == 2
    assert "the public keys of eu-west-1: the endpoint's answer" in capsys.readouterr().err
    assert not Path("keys.json").exists()


def test_an_authority_that_nobody_trusts_is_told_with_what_to_set(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with PretendAws(authority, lambda _: answer(200, b"{}"), host="127.0.0.1") as aws:
        url = f"https://127.0.0.1:{aws.port}"
        assert main(["keys", "export", "--endpoint-url", url, "--region", "eu-west-1"]) == 2
    assert "AWS_CA_BUNDLE" in capsys.readouterr().err


SSO = """
[profile sso]
sso_session = company
sso_account_id = 111122223333
sso_role_name = Audit
region = eu-west-1
[sso-session company]
sso_start_url = https://company.awsapps.com/start
sso_region = eu-west-1
"""


@pytest.mark.parametrize(
    "case",
    [
        (SSO, {"AWS_PROFILE": "sso"}, "aws sso login"),
        ("", {"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/x"}, "/nowhere/x"),
        ("[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = me\n", {"AWS_PROFILE": "role"}, '"me"'),
    ],
)  # fmt: skip
def test_credentials_that_cannot_be_had_say_why_and_ask_nobody(
    as_aws: PretendAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    config, variables, text = case
    Path(".aws/config").write_text(config)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["verify", f"s3://{BUCKET}"]) == 2
    said = capsys.readouterr().err
    assert "the AWS credentials cannot be had" in said
    assert text in said
    assert not as_aws.asked


def assume_role_answer(code: str) -> bytes:
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = "".join(
        f"<{name}>{value}</{name}>"
        for name, value in {
            "AccessKeyId": f"ASIA{code}", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": end
        }.items()
    )  # fmt: skip
    user = "<AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/audit/a</Arn></AssumedRoleUser>"
    result = f"<AssumeRoleResult><Credentials>{made}</Credentials>{user}</AssumeRoleResult>"
    return answer(200, f"<AssumeRoleResponse>{result}</AssumeRoleResponse>".encode())


@pytest.fixture
def mfa_role(home: Path, as_aws: PretendAws, trail: SampleTrail, monkeypatch: pytest.MonkeyPatch) -> PretendAws:
    """The profile ``audit`` is a role that asks for an MFA code; AWS counts how often it is assumed."""
    (home / ".aws" / "config").write_text(
        "[profile audit]\nrole_arn = arn:aws:iam::111122223333:role/audit\nsource_profile = me\n"
        "mfa_serial = arn:aws:iam::444455556666:mfa/me\nregion = eu-west-1\n"
    )
    (home / ".aws" / "credentials").write_text("[me]\naws_access_key_id=AKIDME\naws_secret_access_key=s\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    bucket = bucket_of_objects(trail.objects, BUCKET, trail.public_keys())

    def respond(asked: Asked) -> bytes:
        if asked.host.startswith("sts."):
            return assume_role_answer("MFA")
        if asked.host.startswith("cloudtrail."):
            return bucket.answer(b"POST", b"/", b"{}")
        return bucket.answer(b"GET", f"/{BUCKET}{asked.target}".encode(), b"")

    as_aws.answer_with(respond)
    return as_aws


def prompt_with(monkeypatch: pytest.MonkeyPatch, say: Callable[[str], str]) -> None:
    """Have botocore ask ``say`` where it would ask a terminal."""
    made: Any = AssumeRoleProvider.__init__
    defaults = tuple(say if value is getpass.getpass else value for value in made.__defaults__)
    assert defaults != made.__defaults__
    monkeypatch.setattr(made, "__defaults__", defaults)


def test_a_role_asks_for_one_mfa_code_and_the_next_run_for_none(
    mfa_role: PretendAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 and CloudTrail are two clients, and AWS takes a code once."""
    asked: list[str] = []

    def type_code(text: str) -> str:
        asked.append(text)
        return "123456"

    prompt_with(monkeypatch, type_code)
    for _ in range(2):
        assert main(["verify", f"s3://{BUCKET}", "--profile", "audit", "--account-id", FOLDER.account_id]) == 0
    assert len(asked) == 1
    assert sum(each.host.startswith("sts.") for each in mfa_role.asked) == 1
    assert any("ASIAMFA" in each.fields["authorization"] for each in mfa_role.asked if "cloudtrail" in each.host)


@pytest.mark.parametrize("words", [("verify", f"s3://{BUCKET}"), ("keys", "export", "--region", "eu-west-1")])
def test_an_mfa_code_that_nobody_can_type_is_no_traceback(
    mfa_role: PretendAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    def nobody(_text: str) -> str:
        raise EOFError

    prompt_with(monkeypatch, nobody)
    assert main([*words, "--profile", "audit"]) == 2
    assert "MFA code" in capsys.readouterr().err
    assert not mfa_role.asked
