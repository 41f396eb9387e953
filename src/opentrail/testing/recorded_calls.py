"""Calls made for the sake of their record: a request as it was sent, and what ``core.recording`` makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.identity import root_identity
from opentrail.core.recording import Recipient, RecordRules, build_event
from opentrail.core.wire.calls import ApiCall, Outcome, WireAnswer
from opentrail.server.catalog import BotocoreCatalog

ACCOUNT = "123456789012"
_NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecorder:
    """Records calls of ``catalog``'s services by ``rules``."""

    catalog: BotocoreCatalog
    rules: RecordRules

    def record(
        self,
        service: str,
        operation: str,
        *,
        request: HttpRequest,
        body: bytes = b"",
        parameters: Mapping[str, Any] | None = None,
        outcome: Outcome | None = None,
    ) -> dict[str, Any]:
        """The whole record of one call, by the account's root."""
        call = ApiCall(
            operation=self.catalog.service(service).operations[operation],
            parameters=parameters or {},
            identity=root_identity(ACCOUNT),
            region="us-east-1",
            now=_NOW,
            event_id="00000000-0000-4000-8000-000000000001",
            request_id="00000000-0000-4000-8000-000000000002",
            request=request,
            raw_body=body,
        )
        recipient = Recipient(account_id=ACCOUNT, resource_account=ACCOUNT)
        return dict(build_event(call, outcome or Outcome(result={}), self.rules, recipient).record)

    def ec2(self, operation: str, form: Mapping[str, str] | str, answer: str = "") -> dict[str, Any]:
        """The record of an EC2 call by its form, without ``Action`` and ``Version``, and its answer's document."""
        sent = form if isinstance(form, str) else urlencode(form)
        outcome = None
        if answer:
            outcome = Outcome(result={}, answer=WireAnswer(status=200, headers=Headers(), body=answer.encode()))
        request = HttpRequest(method="POST", path="/", headers=Headers((("host", "ec2.us-east-1.amazonaws.com"),)))
        body = f"Action={operation}&Version=2016-11-15&{sent}".encode()
        return self.record("ec2", operation, request=request, body=body, outcome=outcome)
