"""Whatever is sent to IAM is answered with IAM's errors: never a 500, never what is no XML."""

import json
from typing import Any
from urllib.parse import quote_plus
from xml.etree import ElementTree as ET

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.services.iam import IAM_OPERATIONS

POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}

TEXTS = st.one_of(
    st.sampled_from(
        [
            "name",
            "NAME",
            "/",
            "/path/",
            "v1",
            "User",
            "Active",
            "arn:aws:iam::aws:policy/AdministratorAccess",
            "arn:aws:iam::aws:policy/\x00",
            "arn:aws:iam::123456789012:policy/p",
            "AKIAAAAAAAAAAAAAAAAA",
            json.dumps(POLICY),
            json.dumps(TRUST),
            json.dumps({**POLICY, "Statement": [*POLICY["Statement"], "\u2603"]}),
            '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": {}, "Resource": [[]]}}',
            '{"Version": "2012-10-17", "Statement": {"Effect": [], "Principal": {"AWS": {}}, "Action": "sts:*"}}',
            "MTIz",
            "x" * 5000,
        ]
    ),
    st.text(max_size=40),
)
NUMBERS = st.sampled_from(["-1", "0", "1", "1000", "3600", "1" + "0" * 30, "1.5", "x", ""])


def fields(draw: st.DrawFn, shape: Any, prefix: str) -> list[tuple[str, str]]:
    """Form fields for ``shape``, some of its members left out."""
    if shape.type_name == "structure":
        chosen = [name for name in shape.members if name in shape.required_members or draw(st.booleans())]
        joined = f"{prefix}." if prefix else ""
        return [field for name in chosen for field in fields(draw, shape.members[name], f"{joined}{name}")]
    if shape.type_name == "list":
        count = draw(st.integers(0, 2))
        return [
            field for number in range(1, count + 1) for field in fields(draw, shape.member, f"{prefix}.member.{number}")
        ]
    if shape.type_name in {"integer", "long"}:
        return [(prefix, draw(NUMBERS))]
    if shape.type_name == "boolean":
        return [(prefix, draw(st.sampled_from(["true", "false", "maybe"])))]
    return [(prefix, draw(TEXTS))]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(sorted(IAM_OPERATIONS)))
def test_bad_input_is_the_callers_fault(local: Any, data: st.DataObject, name: str) -> None:
    shape = local.client("iam").meta.service_model.operation_model(name).input_shape

    @st.composite
    def forms(draw: st.DrawFn) -> list[tuple[str, str]]:
        return fields(draw, shape, "") if shape else []

    form = [("Action", name), ("Version", "2010-05-08"), *data.draw(forms())]
    body = "&".join(f"{quote_plus(key)}={quote_plus(value, errors='replace')}" for key, value in form).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _headers, answer = local.request(local.sign("POST", "/", service="iam", headers=headers, body=body))
    assert status < 500, answer
    ET.fromstring(answer)
