"""What answering a call needs, in one place: ``FrontDoor``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from opentrail.core.recording.rules import RecordRules
from opentrail.core.values import dataclass
from opentrail.core.wire.routing import Route
from opentrail.server.authentication import Authenticator
from opentrail.server.authorisation import Authoriser
from opentrail.server.call_records import CallRecords
from opentrail.server.call_threads import CallThreads
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.identifiers import Identifiers
from opentrail.server.metrics import Metrics
from opentrail.server.recorder import Recorder
from opentrail.server.upstreams import Forwarder
from opentrail.services.base import OperationEntry, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """What answering a call needs; wired in ``server.runtime``."""

    catalog: BotocoreCatalog
    services: Mapping[str, Service[Any]]
    authenticator: Authenticator
    authoriser: Authoriser
    recorder: Recorder
    rules: RecordRules
    records: CallRecords  # where the records of calls go
    identifiers: Identifiers
    metrics: Metrics
    threads: CallThreads  # blocking operations run here
    clock: Callable[[], datetime]
    health: Callable[[], str]  # what is wrong, or ""
    max_body_bytes: int
    s3_domains: Collection[str]
    forwarder: Forwarder | None = None  # where calls go that are not for the services above

    def entry(self, route: Route) -> OperationEntry[Any] | None:
        """How the operation of ``route`` is carried out, if it is one of this endpoint's."""
        service = self.services.get(route.service.name)
        operation = route.operation
        return service.operations.get(operation.name) if service is not None and operation is not None else None
