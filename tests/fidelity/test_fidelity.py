"""Real records, made again: how many come out as AWS wrote them (``docs/fidelity.md``).

The numbers are held on the shared records; where those are absent these tests skip.  Sign-ins and services' own events
are nobody's calls and count nowhere.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from opentrail.testing.fidelity.__main__ import main, measure
from opentrail.testing.fidelity.cases import distinct_cases, read_records
from opentrail.testing.fidelity.compare import Column, differences
from opentrail.testing.fidelity.report import Report

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY.parent / "shared" / "data"
FILES = sorted((FOLDER / "records").glob("*.ndjson.gz"))
ENVELOPES = sorted((FOLDER / "eventbridge_events").glob("event-cloud-trail-*.json"))

needs_records = pytest.mark.skipif(not FILES, reason="the shared records are not beside this checkout")


@pytest.fixture(scope="module")
def report() -> Report:
    return measure(FILES)


@needs_records
@pytest.mark.parametrize("column", list(Column))
def test_at_least_ninety_seven_percent_of_the_shapes_are_exact(report: Report, column: Column) -> None:
    assert report.share(column) >= 0.97


@needs_records
def test_every_difference_that_remains_has_its_reason_and_stands_in_the_page(report: Report) -> None:
    page = (REPOSITORY / "docs" / "fidelity.md").read_text()
    for each in report.remaining():
        assert each.reason, f"{each.service} {each.event} {each.difference}"
        assert f"| {each.service} {each.event} | `{each.difference.path}` {each.difference.how} |" in page


@needs_records
def test_without_a_server_the_result_is_the_same_but_for_the_host(report: Report) -> None:
    quick = {(each.event, each.difference.path) for each in measure(FILES, in_process=True).remaining()}
    whole = {(each.event, each.difference.path) for each in report.remaining()}
    assert {path for _, path in whole ^ quick} <= {"requestParameters.Host"}


@pytest.mark.skipif(not ENVELOPES, reason="the shared records are not beside this checkout")
def test_records_in_envelopes_are_read_too() -> None:
    cases = distinct_cases(read_records(ENVELOPES))
    assert {case.record["eventName"] for case in cases} >= {"CreateBucket", "RunInstances", "CreateDistribution"}


def test_what_differs_is_told_with_its_place() -> None:
    real = {
        "eventName": "A",
        "errorCode": "E",
        "readOnly": True,
        "requestParameters": {"a": [{"b": 1}], "c": "***", "d": "Jul 1, 2023 1:00:00 AM"},
        "responseElements": None,
    }
    ours = {
        "errorCode": "E",
        "errorMessage": "m",
        "readOnly": False,
        "requestParameters": {"a": [{"b": "1"}], "c": "HIDDEN_DUE_TO_SECURITY_REASONS", "d": "Jul 1, 2023, 1:00:00 AM"},
        "responseElements": {"e": 1},
    }
    found = {(each.path, each.how) for each in differences(real, ours)}
    assert found == {
        ("requestParameters.a[0].b", "differs"),
        ("responseElements", "differs"),
        ("errorMessage", "differs"),
        ("readOnly", "differs"),
    }


def test_resources_are_compared_by_type_and_arn_and_additional_data_by_what_a_call_can_carry() -> None:
    key = {"accountId": "1", "type": "AWS::KMS::Key", "ARN": "arn:aws:kms:eu-west-1:111111111111:key/k"}
    bucket = {"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::b"}
    said = {"SignatureVersion": "SigV4", "bytesTransferredIn": 1, "CipherSuite": "c", "SSEApplied": "SSE_S3"}
    real = {"eventName": "A", "resources": [key, bucket], "additionalEventData": said}
    same = {"resources": [bucket, key | {"ARN": "arn:aws:kms:us-east-1:2:key/k"}]}
    assert not differences(real, same | {"additionalEventData": said | {"bytesTransferredIn": 9, "x-amz-id-2": "i"}})
    ours = {"resources": [key | {"type": "AWS::KMS::Alias"}], "additionalEventData": {"SSEApplied": "SSE_KMS"}}
    assert {(each.column, each.path, each.how) for each in differences(real, ours)} == {
        (Column.RESOURCES, "resources.arn:aws:kms:::key/k.type", "differs"),
        (Column.RESOURCES, "resources.arn:aws:s3:::b", "absent"),
        (Column.ADDITIONAL, "additionalEventData.SignatureVersion", "absent"),
        (Column.ADDITIONAL, "additionalEventData.bytesTransferredIn", "absent"),
        (Column.ADDITIONAL, "additionalEventData.SSEApplied", "differs"),
    }


def test_the_command_tells_a_table_and_json_of_any_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {
        "eventVersion": "1.08",
        "eventSource": "iam.amazonaws.com",
        "eventName": "CreateUser",
        "requestParameters": {"userName": "bob"},
        "responseElements": {"user": {"userName": "bob", "userId": "AIDAEXAMPLE", "path": "/"}},
        "readOnly": False,
        "eventType": "AwsApiCall",
    }
    file = tmp_path / "log.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"Records": [record, record]}).encode()))
    assert main([str(file), "--in-process"]) == 0
    assert "iam" in capsys.readouterr().out
    assert main([str(file), "--in-process", "--json", "--page", str(tmp_path / "page.md")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["services"]["iam"]["requestParameters"] == {"exact": 1, "compared": 1}
    assert "iam" in (tmp_path / "page.md").read_text()
    assert main([str(tmp_path / "absent.json")]) == 0
