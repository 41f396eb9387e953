"""The credential report over time: a clock that the test sets, boto3 as the reader."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from opentrail.services.iam import IamDeps

ACCOUNT = "123456789012"
CREATED = datetime(2020, 1, 1, tzinfo=UTC)
PASSWORD = "Correct-horse-1"

Fault = Callable[..., dict[str, Any]]


def rows_of(iam: Any) -> dict[str, dict[str, str]]:
    content = iam.get_credential_report()["Content"].decode()
    return {row["user"]: row for row in csv.DictReader(io.StringIO(content))}


def test_a_report_is_started_complete_and_expires_after_four_hours(iam: Any, served: Any, fault_of: Fault) -> None:
    missing = fault_of(iam.get_credential_report)
    assert (missing["Code"], missing["Status"]) == ("ReportNotPresent", 410)
    started = iam.generate_credential_report()
    assert started["State"] == "STARTED"
    assert started["Description"] == "No report exists. Starting a new report generation task"
    made = served.now
    assert iam.generate_credential_report()["State"] == "COMPLETE"
    report = iam.get_credential_report()
    assert report["ReportFormat"] == "text/csv"
    assert report["GeneratedTime"] == made
    iam.create_user(UserName="late")
    assert "late" not in rows_of(iam)
    served.now = made + timedelta(hours=4)
    expired = fault_of(iam.get_credential_report)
    assert (expired["Code"], expired["Status"]) == ("ReportExpired", 410)
    assert iam.generate_credential_report()["State"] == "STARTED"
    assert "late" in rows_of(iam)


def test_a_report_that_another_call_generates_is_in_progress(iam: Any, iam_deps: IamDeps, fault_of: Fault) -> None:
    with iam_deps.account.credential_reports.generating(ACCOUNT) as is_free:
        assert is_free
        assert iam.generate_credential_report()["State"] == "INPROGRESS"
        fault = fault_of(iam.get_credential_report)
        assert (fault["Code"], fault["Status"]) == ("ReportInProgress", 404)
    assert iam.generate_credential_report()["State"] == "STARTED"


def test_the_columns_tell_the_state_of_every_credential(iam: Any, served: Any, iam_deps: IamDeps) -> None:
    iam.create_user(UserName="alice", Path="/team/")
    iam.create_user(UserName="bob")
    iam.update_account_password_policy(MaxPasswordAge=90)
    iam.create_login_profile(UserName="alice", Password=PASSWORD)
    changed = served.now
    first = iam.create_access_key(UserName="alice")["AccessKey"]
    second = iam.create_access_key(UserName="alice")["AccessKey"]
    iam.update_access_key(UserName="alice", AccessKeyId=second["AccessKeyId"], Status="Inactive")
    used = datetime(2024, 6, 1, 8, 30, tzinfo=UTC)
    iam_deps.identities.note_use(first["AccessKeyId"], "s3", "eu-central-1", used)
    iam.generate_credential_report()
    content = iam.get_credential_report()["Content"].decode()
    assert content.splitlines()[0] == (
        "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,"
        "mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,"
        "access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,"
        "access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,"
        "cert_1_last_rotated,cert_2_active,cert_2_last_rotated"
    )
    rows = rows_of(iam)
    assert list(rows) == ["<root_account>", "alice", "bob"]
    root, alice, bob = rows.values()
    assert root["arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    assert root["user_creation_time"] == "2020-01-01T00:00:00+00:00"
    assert (root["password_enabled"], root["password_last_used"]) == ("not_supported", "no_information")
    assert alice["arn"] == f"arn:aws:iam::{ACCOUNT}:user/team/alice"
    assert (alice["password_enabled"], alice["password_last_changed"]) == ("true", changed.isoformat())
    assert alice["password_next_rotation"] == (changed + timedelta(days=90)).isoformat()
    assert (alice["access_key_1_active"], alice["access_key_2_active"]) == ("true", "false")
    assert alice["access_key_1_last_rotated"] == first["CreateDate"].isoformat()
    assert alice["access_key_1_last_used_date"] == used.isoformat()
    assert (alice["access_key_1_last_used_region"], alice["access_key_1_last_used_service"]) == ("eu-central-1", "s3")
    assert alice["access_key_2_last_rotated"] == second["CreateDate"].isoformat()
    assert alice["access_key_2_last_used_date"] == "N/A"
    assert (bob["password_enabled"], bob["password_last_used"], bob["mfa_active"]) == ("false", "N/A", "false")
    assert bob["access_key_1_last_rotated"] == "N/A"
