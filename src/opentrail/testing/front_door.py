"""What must hold of every request and its answer, whatever was sent: the oracle of the front door's fuzzing.

* It is answered: no exception, no 500, headers that HTTP allows, a body of the length they say.
* botocore reads it: an error has a code, whichever protocol it is told in.
* It is in the journal exactly once if its caller is proven, and not at all if it was refused or belongs to nobody.
"""

from __future__ import annotations

import json
import re
from typing import Any

from botocore.parsers import create_parser

from opentrail.core.events import ACTIVITY, parse_route
from opentrail.journal.base import EntryKind
from opentrail.testing.local_endpoint import LocalAnswer, LocalEndpoint, LocalRequest

_LOG_BUCKET_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "cloudtrail.amazonaws.com"},
                "Action": ["s3:GetBucketAcl", "s3:PutObject"],
                "Resource": ["arn:aws:s3:::bucket-1", "arn:aws:s3:::bucket-1/*"],
            }
        ],
    }
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_BAD_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTENT_TYPES = {
    "application/json": "rest-json",
    "application/x-amz-json-1.0": "json",
    "application/x-amz-json-1.1": "json",
    "application/cbor": "smithy-rpc-v2-cbor",
    "text/xml;charset=UTF-8": "ec2",
    "text/xml": "query",
    "application/xml": "rest-xml",
}


class FrontDoorOracle:
    """Sends requests and checks everything that can be known of any answer."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._endpoint = endpoint

    def check(self, request: LocalRequest, *, proven: bool) -> LocalAnswer:
        """Send ``request``; ``proven``: its signature holds.  Raises ``AssertionError`` where a rule is broken."""
        before, refused = self._endpoint.journal.end, self._refusals()
        answer = self._endpoint.send(request)
        check_http(request, answer)
        if request.target.partition("?")[0] in {"/healthz", "/metrics"} and not answer.request_id:
            return answer
        assert answer.request_id, "every answer has its request ID"
        if answer.status >= 300 and request.method != "HEAD" and answer.status != 304:
            assert error_code(answer), answer.body
        mine = []
        for entry in self._endpoint.entries(before):
            record = json.loads(bytes(entry.payload))
            route = parse_route(entry.route)
            if entry.kind is not EntryKind.INTENT and not route.own and route.category != ACTIVITY:
                assert record["requestID"] == answer.request_id, "an event of another call"
                mine.append(record)
        assert len(mine) <= 1, "recorded twice"
        was_refused = self._refusals() - refused
        assert was_refused + len(mine) <= 1, "recorded though refused"
        if proven:
            assert len(mine) == 1, f"not recorded: {answer.status} {answer.body[:300]!r}"
            _check_record(mine[0], answer)
        recorder = self._endpoint.runtime.door.recorder
        assert recorder.oldest_open_intent() is None, "an intent was left open"
        return answer

    def _refusals(self) -> int:
        return self._endpoint.runtime.door.metrics.refusals


def prepare(oracle: FrontDoorOracle, endpoint: LocalEndpoint) -> tuple[str, ...]:
    """Make what calls can be about, as far as it is not there; the words that name it, beside those of ``LIKELY``."""

    def call(service: str, method: str, target: str, body: str = "", **headers: str) -> str:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        request = LocalRequest(method=method, target=target, headers=fields, body=body.encode())
        answer = oracle.check(request.signed(endpoint.key, service, "us-east-1"), proven=True)
        return answer.body.decode()

    for bucket in ("bucket-1", "bucket-2"):
        call("s3", "PUT", f"/{bucket}")
        call("s3", "PUT", f"/{bucket}/k", "content")
    call("s3", "PUT", "/bucket-1?policy", _LOG_BUCKET_POLICY)
    target = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.CreateTrail"
    trail = json.dumps({"Name": "trail-1", "S3BucketName": "bucket-1"})
    call("cloudtrail", "POST", "/", trail, x_amz_target=target, content_type="application/x-amz-json-1.1")
    form = "application/x-www-form-urlencoded"
    call("iam", "POST", "/", "Action=CreateUser&Version=2010-05-08&UserName=alice", content_type=form)
    made = call("iam", "POST", "/", "Action=CreateAccessKey&Version=2010-05-08&UserName=alice", content_type=form)
    upload = call("s3", "POST", "/bucket-1/k?uploads")
    return tuple(re.findall("<(?:AccessKeyId|UploadId)>([^<]+)<", made + upload))


def check_http(request: LocalRequest, answer: LocalAnswer) -> None:
    """What an HTTP server could send, and what no client should see."""
    assert 200 <= answer.status < 600
    assert answer.status not in {500, 503}, answer.body
    for name, value in answer.headers:
        assert _HEADER_NAME.fullmatch(name), name
        assert not _BAD_HEADER_VALUE.search(value), value
    lengths = [value for name, value in answer.headers if name == "content-length"]
    assert len(lengths) <= 1
    if request.method == "HEAD" or answer.status in {204, 304}:
        assert answer.body == b""
    elif lengths:
        assert int(lengths[0]) == len(answer.body)


def error_code(answer: LocalAnswer) -> str:
    """The error's code as botocore reads it, by the content type that the answer has."""
    content_type = answer.header("content-type")
    protocol = _CONTENT_TYPES.get(content_type)
    assert protocol is not None, f"an error of type {content_type!r}: {answer.body!r}"
    if protocol == "query" and answer.body.startswith(b"<?xml"):
        protocol = "rest-xml"
    parser: Any = create_parser(protocol)
    response = {"status_code": answer.status, "headers": dict(answer.headers), "body": answer.body}
    parsed = parser.parse(response, None)
    return str(parsed["Error"]["Code"])


def _check_record(record: dict[str, Any], answer: LocalAnswer) -> None:
    if answer.status != 304:  # neither an error nor a result
        assert ("errorCode" in record) == (answer.status >= 300), record
    assert record["eventName"]
    assert record["eventSource"].endswith(".amazonaws.com")
    assert len(record["eventID"]) == 36
    if "errorCode" in record:
        assert record["responseElements"] is None
