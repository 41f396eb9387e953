"""Trails in Google Cloud Storage and Azure: whole verifications against an emulation of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opentrail.cli.main import main
from opentrail.core.public_keys import encode_public_keys
from opentrail.stores.opening import open_store
from opentrail.testing.cloud_buckets import CloudBucket, serving_cloud
from opentrail.testing.sample_trail import BUCKET, FOLDER, SampleTrail
from opentrail.verification.source import user_metadata

MetadataOf = Callable[[dict[str, str]], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Cloud:
    """A bucket behind ``source``, what a person calls it."""

    source: str
    bucket: CloudBucket


def as_it_is(metadata: dict[str, str]) -> dict[str, str]:
    return metadata


def as_opentrail_packs_it(metadata: dict[str, str]) -> dict[str, str]:
    """What no name of Azure's can say is JSON in one that can (``stores.remote``)."""
    packed = {f"x-amz-meta-{name}": value for name, value in metadata.items() if "-" in name}
    plain = {name: value for name, value in metadata.items() if "-" not in name}
    return {**plain, "opentrail": json.dumps(packed)} if packed else plain


def as_azcopy_leaves_it_out(metadata: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if "-" not in name}


def as_azcopy_renames_it(metadata: dict[str, str]) -> dict[str, str]:
    renamed = as_azcopy_leaves_it_out(metadata)
    for name, value in metadata.items():
        if "-" in name:
            plain = name.replace("-", "_")
            renamed |= {f"rename_{plain}": value, f"rename_key_{plain}": name}
    return renamed


@pytest.fixture(autouse=True)
def _resume_files_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lay_cloud(trail: SampleTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Cloud]]:
    """Lays the trail into a bucket of ``scheme``, with the metadata that ``metadata_of`` makes."""
    with ExitStack() as stack:

        def lay(scheme: str, metadata_of: MetadataOf) -> Cloud:
            objects = {key: (data, metadata_of(user_metadata(given))) for key, (data, given) in trail.objects.items()}
            bucket = CloudBucket(BUCKET, objects, page_size=7)
            answer = bucket.answer_google if scheme == "gs" else bucket.answer_azure
            url = stack.enter_context(serving_cloud(answer))
            account = {
                "gcs_base_url": url,
                "disable_oauth": True,
                "client_email": "",
                "private_key": "",
                "private_key_id": "",
            }
            (tmp_path / "account.json").write_text(json.dumps(account))
            monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
            monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
            monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", url)
            return Cloud(f"{scheme}://{BUCKET}{'?allow_http=true' if scheme == 'gs' else ''}", bucket)

        yield lay


@pytest.fixture
def verify(
    trail: SampleTrail, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, Any]], str]]:
    """Verifies a cloud's bucket: the exit code, the lines of JSON, and what was said beside them."""
    (tmp_path / "keys.json").write_bytes(encode_public_keys(trail.public_keys()))
    given = ("--public-keys", str(tmp_path / "keys.json"), "--json", "--account-id", FOLDER.account_id, "--jobs", "1")

    def run(cloud: Cloud, *words: str) -> tuple[int, list[dict[str, Any]], str]:
        code = main(["verify", cloud.source, *given, *words])
        said = capsys.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    return run


Verify = Callable[..., tuple[int, list[dict[str, Any]], str]]
LayCloud = Callable[[str, MetadataOf], Cloud]
CLOUDS = pytest.mark.parametrize(("scheme", "metadata_of"), [("gs", as_it_is), ("az", as_opentrail_packs_it)])


@pytest.mark.parametrize(
    ("scheme", "metadata_of"),
    [("gs", as_it_is), ("az", as_opentrail_packs_it), ("az", as_azcopy_leaves_it_out), ("az", as_azcopy_renames_it)],
)
def test_a_whole_trail_is_valid_with_its_signatures(
    lay_cloud: LayCloud, verify: Verify, trail: SampleTrail, scheme: str, metadata_of: MetadataOf
) -> None:
    cloud = lay_cloud(scheme, metadata_of)
    code, lines, said = verify(cloud)
    assert code == 0, (lines, said)
    (chain,) = lines[-1]["chains"]
    assert chain["digests"]["valid"] == chain["digests"]["total"] == len(trail.digests) + len(trail.backfills)
    assert chain["logFiles"]["valid"] == sum(map(len, trail.files.values()))
    assert cloud.bucket.asked.count("") > 10  # it went from page to page


@CLOUDS
def test_a_signature_that_was_changed_is_found(
    lay_cloud: LayCloud, verify: Verify, trail: SampleTrail, scheme: str, metadata_of: MetadataOf
) -> None:
    digest = trail.full_digest(3)

    def damaged(metadata: dict[str, str]) -> dict[str, str]:
        if metadata.get("signature") == trail.objects[digest][1]["x-amz-meta-signature"]:
            metadata = {**metadata, "signature": "00" + metadata["signature"][2:]}
        return metadata_of(metadata)

    code, lines, _ = verify(lay_cloud(scheme, damaged))
    accused = [line["key"] for line in lines if line.get("severity") == "error"]
    assert (code, set(accused)) == (1, {digest})


@CLOUDS
@pytest.mark.parametrize("is_listed_before", [False, True])
def test_worker_processes_read_it_too(  # noqa: PLR0917  fixtures
    lay_cloud: LayCloud,
    verify: Verify,
    trail: SampleTrail,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    metadata_of: MetadataOf,
    is_listed_before: bool,
) -> None:
    """They are forks; and a process that has listed has threads of the store's, which no fork has."""
    cloud = lay_cloud(scheme, metadata_of)
    if is_listed_before:
        public_keys = trail.public_keys()
        monkeypatch.setattr("opentrail.verification.public_keys_file.ask_public_keys", lambda *_, **__: public_keys)
    given = ("--public-keys", "https://cloudtrail.example") if is_listed_before else ()
    code, lines, said = verify(cloud, "--jobs", "2", *given)
    assert code == 0, (lines, said)


@CLOUDS
@pytest.mark.parametrize("prefix", ["/audit", "/audit/", "/audit/AWSLogs/111122223333/"])
def test_a_prefix_and_a_day_alone(  # noqa: PLR0917  fixtures
    lay_cloud: LayCloud, verify: Verify, trail: SampleTrail, scheme: str, metadata_of: MetadataOf, prefix: str
) -> None:
    cloud = lay_cloud(scheme, metadata_of)
    bucket, mark, query = cloud.source.partition("?")
    code, lines, said = verify(Cloud(f"{bucket}{prefix}{mark}{query}", cloud.bucket), "--start", "2024-05-07")
    assert code == 0, (lines, said)
    assert 0 < lines[-1]["chains"][0]["digests"]["total"] < len(trail.digests)


@CLOUDS
def test_what_may_not_be_read_is_a_finding(
    lay_cloud: LayCloud, verify: Verify, trail: SampleTrail, scheme: str, metadata_of: MetadataOf
) -> None:
    log = trail.files[trail.full_digest(3)][0]
    cloud = lay_cloud(scheme, metadata_of)
    cloud.bucket.refuse = lambda key: (403, {}, b"<Error><Code>AccessDenied</Code></Error>") if key == log else None
    code, lines, _ = verify(cloud)
    assert code == 2
    (finding,) = (line for line in lines if line.get("code") == "log-file-unreachable")
    assert finding["key"] == log
    assert "permission" in finding["message"]


@CLOUDS
def test_what_may_not_be_listed_is_said(
    lay_cloud: LayCloud, verify: Verify, scheme: str, metadata_of: MetadataOf
) -> None:
    cloud = lay_cloud(scheme, metadata_of)
    cloud.bucket.refuse = lambda _key: (403, {}, b"<Error><Code>AccessDenied</Code></Error>")
    code, _, said = verify(cloud)
    assert code == 2
    assert "403" in said
    assert "Traceback" not in said


@CLOUDS
def test_a_log_file_that_is_gone_is_missing(
    lay_cloud: LayCloud, verify: Verify, trail: SampleTrail, scheme: str, metadata_of: MetadataOf
) -> None:
    log = trail.files[trail.full_digest(3)][0]
    cloud = lay_cloud(scheme, metadata_of)
    gone = (404, {"x-ms-error-code": "BlobNotFound"}, b"<Error><Code>NoSuchKey</Code></Error>")
    cloud.bucket.refuse = lambda key: gone if key == log else None
    code, lines, _ = verify(cloud)
    assert code == 1
    assert [line["key"] for line in lines if line.get("code") == "log-file-missing"] == [log]


@CLOUDS
def test_folders_are_asked_for_as_such(
    lay_cloud: LayCloud, trail: SampleTrail, scheme: str, metadata_of: MetadataOf
) -> None:
    """Azure lists from the first key on, whatever one asks for: a folder costs a page, not all that lies in it."""
    cloud = lay_cloud(scheme, metadata_of)
    store: Any = open_store(cloud.source)
    assert sorted(store.list_folders("")) == ["audit/"]
    accounts = ("111122223333", "444455556666")
    assert sorted(store.list_folders("audit/AWSLogs/")) == [f"audit/AWSLogs/{account}/" for account in accounts]
    assert store.list_folders("audit//") == []
    assert len(cloud.bucket.asked) == 2
    assert len(trail.objects) > 100
