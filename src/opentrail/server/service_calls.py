"""Calls that Opentrail makes itself, as a service of AWS would: authorised, carried out and recorded like any other.

Delivery puts its files as ``cloudtrail.amazonaws.com`` under the log bucket's own policy, so a policy that is withdrawn
stops it, and the bucket's owner finds each of its calls in the trail.  These calls block; threads make them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opentrail.core.errors import ServiceFault
from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import service_identity
from opentrail.core.policy import AuthorizationRequest, Decision
from opentrail.core.recording import build_event, choose_recipient
from opentrail.core.recording.rules import RecordRules
from opentrail.core.wire.calls import ApiCall, Outcome
from opentrail.core.wire.routing import Catalog
from opentrail.delivery.ledger import StagedObject
from opentrail.server.authorisation import Authoriser
from opentrail.server.bodies import BytesPayload
from opentrail.server.execution import judge, run_handler
from opentrail.server.identifiers import Identifiers
from opentrail.server.recorder import Recorder
from opentrail.services.base import OperationEntry, Service
from opentrail.state.buckets import Buckets

CLOUDTRAIL = "cloudtrail.amazonaws.com"
FULL_CONTROL = "bucket-owner-full-control"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCaller:
    """Makes calls as a service principal."""

    catalog: Catalog
    services: Mapping[str, Service[Any]]
    authoriser: Authoriser
    recorder: Recorder
    rules: RecordRules
    identifiers: Identifiers
    clock: Callable[[], datetime]
    host: Callable[[], str]

    def call(
        self,
        operation: str,
        parameters: Mapping[str, Any],
        *,
        region: str,
        source_arn: str,
        payload: bytes | None = None,
    ) -> Mapping[str, Any]:
        """The result of S3's ``operation``, called as CloudTrail on behalf of ``source_arn``.

        Raises ``ServiceFault`` where it is refused or fails, also where its record cannot be made durable.
        """
        call = self._build(operation, parameters, region=region, source_arn=source_arn, payload=payload)
        service = self.services["s3"]
        entry = service.operations[operation]
        before = self.recorder.begin()
        try:
            return self._carry_out(call, entry, service.deps, before)
        finally:
            self.recorder.end(before)

    def _carry_out(self, call: ApiCall, entry: OperationEntry[Any], deps: Any, before: int) -> Mapping[str, Any]:
        verdict = judge(call, entry, deps, self.authoriser)
        recipient = choose_recipient(call, verdict.owner, refused=verdict.fault is not None)
        if verdict.fault is not None:
            outcome = Outcome(fault=verdict.fault)
        else:
            if entry.writes and verdict.owner:
                self.recorder.intend_now(build_event(call, Outcome(), self.rules, recipient), before, own=True)
            outcome = run_handler(call, entry, deps)
        if verdict.owner:
            happened = entry.writes and verdict.fault is None
            size = call.payload.length if call.payload is not None else 0
            transferred = {"bytesTransferredIn": size, "bytesTransferredOut": 0}
            outcome = Outcome(result=outcome.result, fault=outcome.fault, additional=transferred)
            event = build_event(call, outcome, self.rules, recipient)
            self.recorder.record_now(event, before, happened=happened, own=True)
        if outcome.fault is not None:
            raise outcome.fault
        assert outcome.result is not None, "an outcome has a result or a fault"
        return outcome.result

    def _build(
        self, operation: str, parameters: Mapping[str, Any], *, region: str, source_arn: str, payload: bytes | None
    ) -> ApiCall:
        path = f"/{parameters['Bucket']}" + (f"/{parameters['Key']}" if "Key" in parameters else "")
        headers = [("host", self.host())]
        if "ACL" in parameters:
            headers.append(("x-amz-acl", str(parameters["ACL"])))
        return ApiCall(
            operation=self.catalog.service("s3").operations[operation],
            parameters=parameters,
            identity=service_identity(CLOUDTRAIL),
            region=region,
            now=self.clock(),
            event_id=self.identifiers.event_id(),
            request_id=self.identifiers.request_id(),
            request=HttpRequest(method="PUT" if payload is not None else "GET", path=path, headers=Headers(headers)),
            payload=BytesPayload(payload) if payload is not None else None,
            source_arn=source_arn,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBucket:
    """The log bucket as delivery and ``CreateTrail`` reach it."""

    caller: ServiceCaller
    buckets: Buckets
    authoriser: Authoriser

    def put(self, item: StagedObject) -> None:
        """Store a staged log or digest file.  Raises ``ServiceFault`` or ``StorageError``."""
        parameters: dict[str, Any] = {
            "Bucket": item.bucket,
            "Key": item.key,
            "ACL": FULL_CONTROL,
            "ContentType": "application/json",
            "ContentEncoding": "gzip",
            "ContentLength": len(item.body),
        }
        if item.metadata:
            parameters["Metadata"] = dict(item.metadata)
        key = item.chain.key
        self.caller.call("PutObject", parameters, region=key.region, source_arn=key.trail_arn, payload=item.body)

    def check(self, bucket: str, folders: Sequence[str], trail_arn: str) -> None:
        """Refuse a bucket that CloudTrail could not deliver to (user guide, "Amazon S3 bucket policy for CloudTrail").

        ``folders`` are the beginnings of the keys that will be written, with their last slash.  Raises
        ``ServiceFault`` S3BucketDoesNotExistException or InsufficientS3BucketPolicyException.
        """
        region = trail_arn.split(":")[3]
        try:
            self.caller.call("GetBucketAcl", {"Bucket": bucket}, region=region, source_arn=trail_arn)
        except ServiceFault as fault:
            if fault.code == "NoSuchBucket":
                text = f"S3 bucket {bucket} does not exist!"
                raise ServiceFault("S3BucketDoesNotExistException", text) from None
            raise _insufficient(bucket) from None
        found = self.buckets.find(bucket)
        if found is None:
            raise ServiceFault("S3BucketDoesNotExistException", f"S3 bucket {bucket} does not exist!")
        for folder in folders:
            if not self._may_put(bucket, found.policy, found.owner, folder, trail_arn).allowed:
                raise _insufficient(bucket)

    def _may_put(self, bucket: str, policy: str | None, owner: str, key: str, trail_arn: str) -> Decision:
        request = AuthorizationRequest(
            principal=service_identity(CLOUDTRAIL),
            action="s3:PutObject",
            resource=f"arn:aws:s3:::{bucket}/{key}",
            resource_account=owner,
            context={
                **self.authoriser.service_context(service_identity(CLOUDTRAIL), trail_arn),
                "s3:x-amz-acl": [FULL_CONTROL],
            },
        )
        return self.authoriser.decide(request, resource_policy=policy)


def _insufficient(bucket: str) -> ServiceFault:
    text = f"Incorrect S3 bucket policy is detected for bucket: {bucket}"
    return ServiceFault("InsufficientS3BucketPolicyException", text)
