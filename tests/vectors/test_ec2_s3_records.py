"""Real records of EC2 and S3, turned back into calls and recorded again (data that no one here wrote)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.wire.model import ServiceModel
from opentrail.core.wire.responses import parse_response
from opentrail.core.wire.routing import Route
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules
from opentrail.testing.fidelity.cases import distinct_cases, is_api_call, read_records
from opentrail.testing.rebuild_ec2 import rebuild_ec2
from opentrail.testing.rebuild_s3 import is_s3_control, rebuild_s3
from opentrail.testing.rebuilt_call import RebuiltCall
from opentrail.testing.recorded_calls import CallRecorder

RECORDS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "records"
RECORDER = CallRecorder(catalog=BotocoreCatalog(), rules=load_rules())
LEAST_EXACT = 0.97
#: Of 2015 and 2016, when records did not have the host yet; and a call that no client can make.
_CANNOT_BE = ("CreateBucket", "GetStorageLensDashboardDataInternal")

pytestmark = pytest.mark.skipif(not RECORDS.exists(), reason="the folder of real records is not here")


def rebuilt(record: Mapping[str, Any]) -> tuple[ServiceModel, RebuiltCall | None]:
    if record["eventSource"] == "ec2.amazonaws.com":
        service = RECORDER.catalog.service("ec2")
        return service, rebuild_ec2(record, service, RECORDER.rules)
    service = RECORDER.catalog.service("s3control" if is_s3_control(record) else "s3")
    return service, rebuild_s3(record, service, RECORDER.rules)


def recorded_again(service: ServiceModel, call: RebuiltCall, real: Mapping[str, Any]) -> dict[str, Any]:
    request = HttpRequest(method=call.method, path=call.path, query=call.query, headers=Headers(call.headers))
    route = Route(
        service=service,
        operation=service.operations[call.operation],
        operation_name=call.operation,
        protocol=service.protocol,
        method=call.method,
        path=call.path,
        query=call.query,
    )
    told = real.get("requestParameters") or {}
    names = {"Bucket": "bucketName", "Key": "key"}
    return RECORDER.record(
        service.name,
        call.operation,
        request=request,
        body=call.body,
        parameters={name: told[other] for name, other in names.items() if service.name == "s3" and other in told},
        outcome=parse_response(route, call.answer.status, call.answer.headers, call.answer.body),
    )


@pytest.mark.parametrize("source", ["ec2.amazonaws.com", "s3.amazonaws.com"])
def test_real_records_are_written_alike(source: str) -> None:
    records = [record for record in read_records(sorted(RECORDS.glob("*.gz"))) if record.get("eventSource") == source]
    cases = [case.record for case in distinct_cases(record for record in records if is_api_call(record))]
    different = []
    for real in cases:
        service, call = rebuilt(real)
        if call is None:
            assert real["eventName"] in _CANNOT_BE
            continue
        ours = recorded_again(service, call, real)
        for name in ("eventName", "requestParameters", "responseElements", "errorCode", "readOnly"):
            expected = real.get(name, ours.get(name) if name == "readOnly" else None)
            host_is_missing = real["eventName"] in _CANNOT_BE and "Host" not in (expected or {})
            if ours.get(name) != expected and not host_is_missing:
                different.append(f"{real['eventName']}: {name}")
    assert len(cases) > 30
    assert len(different) <= (1 - LEAST_EXACT) * len(cases), different
