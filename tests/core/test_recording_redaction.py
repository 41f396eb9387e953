"""What is hidden in one place of a record is hidden in all, and what is no secret stays readable."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, build_event
from opentrail.core.recording.redaction import HiddenName, enumerated_values, scrub, scrub_text
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

CATALOG, RULES = BotocoreCatalog(), load_rules()
ACCOUNT = "123456789012"
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"


def record(service: str, operation: str, parameters: dict[str, Any], outcome: Outcome, agent: str = "cli") -> Any:
    call = ApiCall(
        operation=CATALOG.service(service).operations[operation],
        parameters=parameters,
        identity=root_identity(ACCOUNT),
        region="us-east-1",
        now=datetime(2026, 3, 4, tzinfo=UTC),
        event_id="00000000-0000-4000-8000-000000000000",
        request_id="11111111-0000-4000-8000-000000000000",
        request=HttpRequest(method="POST", path="/", query="", headers=Headers([("user-agent", agent)])),
        raw_body=b"",
    )
    return build_event(call, outcome, RULES, Recipient(account_id=ACCOUNT)).record


def test_the_names_in_a_hidden_map_are_words_of_the_api_and_its_values_are_secrets() -> None:
    parameters = {
        "AuthFlow": "USER_PASSWORD_AUTH",
        "AuthParameters": {"USERNAME": "bob", "PASSWORD": "hunter2-hunter2"},
        "ClientId": "4u37654rhubjei088dj85clscq",
    }
    fault = ServiceFault("NotAuthorizedException", "Incorrect username or password hunter2-hunter2.")
    told = record("cognito-idp", "InitiateAuth", parameters, Outcome(fault=fault))
    assert told["requestParameters"]["authFlow"] == "USER_PASSWORD_AUTH"
    assert told["requestParameters"]["authParameters"] == HIDDEN
    assert told["errorMessage"] == "Incorrect username or password ***."


def test_a_value_that_the_model_enumerates_is_told_though_a_secret_is_like_it() -> None:
    assert "USER_PASSWORD_AUTH" in enumerated_values(CATALOG.service("cognito-idp").operations["InitiateAuth"])
    parameters = {"AuthFlow": "CUSTOM_AUTH", "AuthParameters": {"PASSWORD": "CUSTOM"}, "ClientId": "c"}
    told = record("cognito-idp", "InitiateAuth", parameters, Outcome(result={}))
    assert told["requestParameters"]["authFlow"] == "CUSTOM_AUTH"


def test_the_environment_of_a_function_is_hidden_with_its_names() -> None:
    environment = {"Variables": {"STRIPE_LIVE_MODE_OF_BOB": "sk-live-0001"}}
    fault = ServiceFault("InvalidParameterValueException", "STRIPE_LIVE_MODE_OF_BOBx=sk-live-0001 is too long")
    told = record("lambda", "CreateFunction", {"FunctionName": "f", "Environment": environment}, Outcome(fault=fault))
    assert "STRIPE" not in json.dumps(told)
    assert "sk-live" not in json.dumps(told)


def test_a_short_secret_is_hidden_whole_and_does_not_blot_the_record() -> None:
    told = record(
        "iam", "CreateLoginProfile", {"UserName": "a", "Password": "a"}, Outcome(fault=ServiceFault("X", "bad a"))
    )
    assert told["requestParameters"] == {"userName": "***"}
    assert told["errorMessage"] == "bad a"
    assert told["eventName"] == "CreateLoginProfile"
    other = record("iam", "CreateLoginProfile", {"UserName": "anna", "Password": "a"}, Outcome(result={}))
    assert other["requestParameters"] == {"userName": "anna"}


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("customer-42", "***"),
        ("no customer-42!", "no ***!"),
        ("a=customer-42&b", "a=***&b"),
        ("x%3Dcustomer-42%26", "x%3D***%26"),
        ("customer-421", "customer-421"),
        ("my_customer-42", "my_customer-42"),
    ],
)
def test_a_name_is_hidden_where_it_stands_alone(text: str, scrubbed: str) -> None:
    assert scrub_text(text, [HiddenName("customer-42")]) == scrubbed


def test_what_is_a_name_and_a_secret_is_a_secret() -> None:
    for hidden in ([HiddenName("token"), "token"], ["token", HiddenName("token")]):
        assert scrub_text("my_token1", hidden) == "my_***1"


secrets = st.text(min_size=1, max_size=12).filter(lambda text: "*" not in text)


@settings(max_examples=200, deadline=None)
@given(secret=secrets, around=st.text(max_size=6), is_name=st.booleans())
@example(secret="a", around="banana", is_name=False)
@example(secret="PASSWORD", around="_", is_name=True)
@example(secret="\ud7ff\x00é", around="", is_name=False)
def test_planted_secrets_stay_hidden(*, secret: str, around: str, is_name: bool) -> None:
    hidden = [HiddenName(secret) if is_name else secret]
    echoes = {"whole": secret, "listed": [secret, {"deep": secret}]}
    inside = [f"<{secret}>", f"{json.dumps(secret)}", f"?x={quote(secret, safe='')}&y"]
    if not is_name:
        inside.append(f"{around}{secret}{around}")
    told = scrub({"eventName": secret, "requestParameters": {**echoes, "inside": inside}}, hidden)
    assert told["eventName"] == secret  # the record's own word
    assert told["requestParameters"]["whole"] == "***"
    assert told["requestParameters"]["listed"] == ["***", {"deep": "***"}]
    if len(secret) >= 4:
        assert not any(secret in text for text in told["requestParameters"]["inside"])
    else:
        assert told["requestParameters"]["inside"][0] == f"<{secret}>"
