"""No secret in any record: each sensitive member of each operation of forty services, in requests and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import botocore.session
import pytest

from opentrail.core.http import Headers, HttpResponse, Tls
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event, encode_record
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.protocols import parse_request
from opentrail.core.wire.responses import parse_response
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules
from opentrail.testing.planted_answers import ALSO_HIDDEN, REFUSED, SERVICES, is_shown, make_answers
from opentrail.testing.planted_calls import REGION, PlantedCall, PlantedService
from opentrail.testing.planted_secrets import Planter

ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def rules() -> RecordRules:
    return load_rules()


@pytest.fixture(scope="module")
def catalog() -> BotocoreCatalog:
    return BotocoreCatalog()


@pytest.fixture(scope="module")
def models() -> botocore.session.Session:
    return botocore.session.Session()


def record(call: PlantedCall, response: HttpResponse, rules: RecordRules) -> bytes:
    """The record, as it goes into the journal, of a call that an upstream answered with ``response``."""
    operation = call.route.operation
    assert operation is not None
    streaming = operation.streaming_input is not None
    body = b"" if streaming else call.body
    parameters = {} if call.name in REFUSED else parse_request(call.route, call.request, body)
    made = ApiCall(
        operation=operation,
        parameters=parameters,
        identity=root_identity(ACCOUNT, "AKIAIOSFODNN7EXAMPLE"),
        region=REGION,
        now=datetime(2024, 5, 1, 12, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000000",
        request_id="11111111-0000-4000-8000-000000000000",
        request=replace(call.request, tls=Tls(version="TLSv1.3", cipher_suite="TLS_AES_128_GCM_SHA256")),
        raw_body=body,
    )
    assert isinstance(response.body, bytes)
    headers = Headers([(name.lower(), value) for name, value in response.headers])
    outcome = parse_response(call.route, response.status, headers, response.body)
    recipient = Recipient(account_id=ACCOUNT, resource_account=ACCOUNT)
    return encode_record(build_event(made, outcome, rules, recipient))


def leaks(call: PlantedCall, data: bytes) -> set[str]:
    """The places whose secrets ``data`` shows and should not."""
    found = call.planter.found_in(data.decode())
    found |= call.planter.found_in(json.dumps(json.loads(data), ensure_ascii=False))
    return {place for place in found if not is_shown(place)}


@pytest.mark.parametrize(
    ("special", "turn"),
    [
        pytest.param("", 0, id="plain"),
        pytest.param('/+ =\u00e9"<&', 1, id="special", marks=pytest.mark.long),
        pytest.param("", 2, id="other-members-of-unions", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("service", SERVICES)
def test_no_record_shows_what_is_sensitive(
    *,
    service: str,
    special: str,
    turn: int,
    rules: RecordRules,
    catalog: BotocoreCatalog,
    models: botocore.session.Session,
) -> None:
    found: dict[str, list[str]] = {}
    planter = Planter(special=special, turn=turn)
    if service == "s3":
        planter.special = special.encode("ascii", "ignore").decode()  # most of its members are headers
    for call in PlantedService(service, catalog, ALSO_HIDDEN).calls(planter):
        for what, response in make_answers(call, models):
            for place in leaks(call, record(call, response, rules)):
                found.setdefault(place, []).append(what)
    assert found == {}
    assert planter.places
