"""The tables behind a record: which name, which category, what is hidden and how.

The rules are data (``server/record_rules.json``), read once by the server and handed in; this module gives them types.
Source: the CloudTrail user guide, and what real records show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opentrail.core.wire.model import ServiceModel

HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
OMITTED = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFacts:
    """What the rules say of one operation, whoever calls it."""

    event_source: str  # "monitoring.amazonaws.com"
    event_name: str  # for a few S3 and Lambda operations not its own name
    api_version: str  # "" for a service whose records have none
    read_only: bool  # changes nothing, by AWS's reading
    is_data: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRules:
    """How calls become records, by service (botocore's name) and ``service.Operation``."""

    event_sources: Mapping[str, str]
    event_names: Mapping[str, str]
    api_versions: Mapping[str, str]
    global_services: frozenset[str]
    read_prefixes: tuple[str, ...]
    always_read: frozenset[str]
    never_read: frozenset[str]
    s3_data_operations: frozenset[str]
    reads_with_response: frozenset[str]
    response_hoist: frozenset[str]
    redactions: Mapping[str, str]  # service -> what stands in a hidden value's place; "": the member is left out
    _known: dict[str, OperationFacts] = field(default_factory=dict, init=False, repr=False, compare=False)

    def facts(self, service: ServiceModel, operation: str) -> OperationFacts:
        """What the rules say of ``operation``, worked out once for each that the model knows."""
        name = f"{service.name}.{operation}"
        facts = self._known.get(name)
        if facts is None:
            source = self.event_sources.get(service.name)
            facts = OperationFacts(
                event_source=source or f"{service.signing_name or service.endpoint_prefix}.amazonaws.com",
                event_name=self.event_names.get(name, operation),
                api_version=self.api_versions.get(service.name, ""),
                read_only=self._is_read_only(name, operation),
                is_data=service.name == "s3" and operation in self.s3_data_operations,
            )
            if operation in service.operations:  # names that clients made up would fill the memory
                self._known[name] = facts
        return facts

    def _is_read_only(self, name: str, operation: str) -> bool:
        if name in self.always_read:
            return True
        return name not in self.never_read and operation.startswith(self.read_prefixes)

    def region(self, service: str, region: str) -> str:
        """``awsRegion``: that of the endpoint, for global services us-east-1."""
        return "us-east-1" if service in self.global_services else region

    def replacement(self, service: str) -> str:
        """What a record shows for a hidden value of the service; ``OMITTED`` leaves the member out."""
        return self.redactions.get(service, HIDDEN)


def parse_rules(tables: Mapping[str, Any]) -> RecordRules:
    """The rules out of their JSON tables (``server/record_rules.json``)."""
    redactions: dict[str, str] = {}
    for replacement, services in tables["redaction"].items():
        redactions.update(dict.fromkeys(services, OMITTED if replacement == "omit" else replacement))
    return RecordRules(
        event_sources=tables["eventSources"],
        event_names=tables["eventNames"],
        api_versions=tables["apiVersions"],
        global_services=frozenset(tables["globalServices"]),
        read_prefixes=tuple(tables["readOnly"]["prefixes"]),
        always_read=frozenset(tables["readOnly"]["alwaysTrue"]),
        never_read=frozenset(tables["readOnly"]["alwaysFalse"]),
        s3_data_operations=frozenset(tables["s3DataOperations"]),
        reads_with_response=frozenset(tables["readsWithResponseElements"]),
        response_hoist=frozenset(tables["responseHoist"]),
        redactions=redactions,
    )
