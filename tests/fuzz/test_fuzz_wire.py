"""Arbitrary requests into the wire layer: a ``Route``, parameters, or a ``ServiceFault``; never another exception."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.wire import codec_cbor, codec_json, codec_query, codec_xml
from opentrail.core.wire.faults import format_fault
from opentrail.core.wire.protocols import parse_request
from opentrail.core.wire.routing import Scope, identify
from opentrail.server.catalog import BotocoreCatalog

CATALOG = BotocoreCatalog()
SIGNING_NAMES = ["s3", "sts", "iam", "cloudtrail", "dynamodb", "lambda", "ec2", "monitoring", "route53", "nothing"]
TARGETS = [
    "CloudTrail_20131101.CreateTrail",
    "CloudTrail_20131101.LookupEvents",
    "DynamoDB_20120810.PutItem",
    "GraniteServiceVersion20100801.PutMetricData",
]
PATHS = [
    "/",
    "/b",
    "/b/k",
    "/2015-03-31/functions/f/configuration",
    "/2013-04-01/hostedzone",
    "/service/GraniteServiceVersion20100801/operation/PutMetricData",
]
NAMES = [
    "content-type",
    "content-length",
    "content-encoding",
    "x-amz-copy-source",
    "x-amz-meta-a",
    "x-amz-tagging",
    "x-amz-acl",
    "x-amz-object-lock-retain-until-date",
    "x-amz-expected-bucket-owner",
    "if-modified-since",
    "x-amz-object-attributes",
    "host",
    "range",
]
QUERIES = ["acl", "policy", "tagging", "delete", "uploads", "uploadId=", "partNumber=", "list-type=2", "max-keys=", "x"]
ACTIONS = ["Action=AssumeRole&Version=2011-06-15&", "Action=RunInstances&Version=2016-11-15&", ""]

latin = st.text(st.characters(max_codepoint=255), max_size=30)
raw_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
MEMBERS = [
    "Name",
    "TagsList",
    "Key",
    "Item",
    "M",
    "L",
    "S",
    "B",
    "N",
    "StartTime",
    "MaxResults",
    "MetricData",
    "Values",
]
shaped = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["x", "eA==", "1", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=15,
)
elements = st.recursive(
    st.sampled_from(["x", "&#1;", "&lt;", "1", "2020-01-01T00:00:00Z"]),
    lambda inner: st.tuples(
        st.sampled_from(["Tagging", "TagSet", "Tag", "Key", "Value", "Delete", "Object", "CORSRule", "MaxAgeSeconds"]),
        st.lists(inner, max_size=3),
    ).map(lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"),
    max_leaves=12,
)
form_names = st.lists(
    st.sampled_from(["Tags", "member", "1", "2", "Key", "Filter", "Value", "", "x", "DurationSeconds", "entry"]),
    min_size=1,
    max_size=5,
).map(".".join)
forms = st.lists(st.tuples(form_names, raw_text).map("=".join), max_size=5).map("&".join)
bodies = st.one_of(
    st.binary(max_size=60),
    shaped.map(codec_json.encode),
    shaped.map(codec_cbor.encode),
    elements.map(str.encode),
    st.tuples(st.sampled_from(ACTIONS), forms).map("".join).map(str.encode),
)
requests = st.builds(
    HttpRequest,
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", ""]),
    path=st.one_of(st.sampled_from(PATHS), raw_text.map(lambda text: f"/{text}"), raw_text),
    query=st.one_of(
        st.just(""),
        raw_text,
        st.lists(st.tuples(st.sampled_from(QUERIES), raw_text).map("".join), max_size=3).map("&".join),
        st.tuples(st.sampled_from(ACTIONS), forms).map("".join),
    ),
    headers=st.builds(
        lambda *parts: Headers([pair for part in parts for pair in part]),
        st.lists(st.tuples(st.sampled_from(NAMES), latin), max_size=5),
        st.just([]) | st.tuples(st.just("x-amz-target"), st.sampled_from(TARGETS) | raw_text).map(lambda pair: [pair]),
        st.sampled_from([[], [("smithy-protocol", "rpc-v2-cbor")]]),
    ),
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request=requests, body=st.none() | bodies, name=st.sampled_from(["", *SIGNING_NAMES]))
def test_any_request_is_understood_or_refused(request: HttpRequest, body: bytes | None, name: str) -> None:
    route = None
    try:
        route = identify(request, body, Scope(signing_name=name) if name else None, CATALOG)
        assert (route.operation is None) == (route.fault is not None)
        parse_request(route, request, body or b"")
    except ServiceFault as fault:
        response = format_fault(route, fault, "id", request.path)
        assert 400 <= response.status < 500
        assert isinstance(response.body, bytes)


@pytest.mark.parametrize("decode", [codec_json.decode, codec_cbor.decode, codec_xml.decode])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_decoder_raises_format_error_and_nothing_else(decode: Any, data: st.DataObject) -> None:
    body = data.draw(st.one_of(st.binary(max_size=200), bodies))
    with suppress(FormatError):
        decode(body)


@settings(max_examples=300, deadline=None)
@given(forms | st.text(max_size=60))
def test_a_form_decoder_raises_format_error_and_nothing_else(form: str) -> None:
    with suppress(FormatError):
        codec_query.decode(form)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_cbor_and_json_round_trips(value: Any) -> None:
    decoded = codec_cbor.decode(codec_cbor.encode(value)) if _fits_cbor(value) else value
    assert repr(decoded) == repr(value)
    if "nan" not in repr(value) and "inf" not in repr(value):
        assert repr(codec_json.decode(codec_json.encode(value))) == repr(value) or not _fits_cbor(value)


def _fits_cbor(value: Any) -> bool:
    """CBOR's integers have 64 bits here and a sign beside; JSON's beyond that become floats."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, dict):
        return all(map(_fits_cbor, value.values()))
    return not isinstance(value, list) or all(map(_fits_cbor, value))
