"""Service models: shapes and operations out of a decoded ``service-2.json`` document.

The document is the one that every AWS SDK of the botocore family carries.  Rules:

* Nothing is resolved before it is asked for; what is resolved is kept.  A model costs little to load and nothing
  to use again.
* A reference to a shape may add traits (a location, a name on the wire).  Such a variant is a ``Shape`` of its own,
  and equal variants are one object: a recursive shape stays finite however deep the data is.
* A model is trusted (it comes with the program); a broken one raises ``FormatError`` where it is read.

Times, bytes and text on the wire are the codecs' part; this module holds only what the document says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from opentrail.core.errors import FormatError

Raw = Mapping[str, Any]

#: Traits of a reference that say nothing about the wire; they make no variant of a shape.
_SILENT_TRAITS = frozenset(
    {"shape", "documentation", "deprecated", "deprecatedMessage", "deprecatedSince", "contextParam", "box"}
)
#: In botocore's order of preference.
PROTOCOL_NAMES = ("json", "rest-json", "rest-xml", "smithy-rpc-v2-cbor", "query", "ec2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTrait:
    """What an exception shape says about its answer."""

    code: str  # the code on the wire
    status: int | None  # HTTP status, where the model states one
    sender_fault: bool  # the caller's fault (``Sender``), not the service's (``Receiver``)
    explicit_code: bool  # the model states the code; else it is the shape's name


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlNamespace:
    """An ``xmlns`` declaration of an element."""

    uri: str
    prefix: str = ""

    @property
    def attribute(self) -> str:
        """The attribute's name: ``xmlns`` or ``xmlns:prefix``."""
        return f"xmlns:{self.prefix}" if self.prefix else "xmlns"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """One shape, or a variant of it with the traits of a reference laid over its own.

    ``type`` is one of structure, list, map, string, character, integer, long, float, double, boolean, blob,
    timestamp, bigdecimal, biginteger.  ``min`` and ``max`` bound a length or a value, as the type has it.
    ``compiled`` is the codecs' memory: what each has made of this shape, by the codec's own key.
    """

    service: ServiceModel = field(repr=False)
    name: str
    type: str
    required: tuple[str, ...] = ()
    location: str = ""  # "", uri, querystring, header, headers, statusCode
    location_name: str = ""  # the name on the wire, where it differs from the member's
    root_name: str = ""  # the element's name where the shape is a whole document
    query_name: str = ""  # the same for the ec2 protocol alone
    payload: str = ""  # the member that is the whole body
    flattened: bool = False
    names_items: bool = False  # a flattened list of the older models: an unnamed member is called as the items are
    result_wrapper: str = ""  # the query protocol's element around an output
    xml_namespace: XmlNamespace | None = None
    xml_attribute: bool = False
    timestamp_format: str = ""  # lower case: iso8601, rfc822, unixtimestamp
    enum: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    pattern: str = ""
    sensitive: bool = False
    streaming: bool = False
    requires_length: bool = False
    box: bool = False
    union: bool = False
    document: bool = False
    jsonvalue: bool = False
    sparse: bool = False
    idempotency_token: bool = False
    host_label: bool = False
    event_stream: bool = False
    error: ErrorTrait | None = None
    compiled: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def members(self) -> Mapping[str, Shape]:
        """A structure's members, in the model's order; empty for any other type."""
        return self.service.members_of(self.name)

    @property
    def member(self) -> Shape:
        """A list's item."""
        return self.service.part_of(self.name, "member")

    @property
    def key(self) -> Shape:
        """A map's key."""
        return self.service.part_of(self.name, "key")

    @property
    def value(self) -> Shape:
        """A map's value."""
        return self.service.part_of(self.name, "value")

    def wire_name(self, default: str) -> str:
        """The name on the wire, or ``default`` (the member's own name)."""
        return self.location_name or default


@dataclass(frozen=True, kw_only=True, eq=False)  # without slots: every call asks for the cached properties
class Operation:
    """One operation of a service."""

    service: ServiceModel = field(repr=False)
    name: str
    http_method: str
    request_uri: str  # a template: /{Bucket}/{Key+}?acl
    http_status: int  # of a good answer
    errors_raw: tuple[str, ...] = field(repr=False)
    host_prefix: str = ""  # "data-", "{AccountId}."
    http_checksum: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the httpChecksum trait
    http_checksum_required: bool = False
    request_compression: bool = False  # a client may send the body gzipped
    unsigned_payload: bool = False
    auth_type: str = ""  # "none", "v4", "v4-unsigned-body", ...
    deprecated: bool = False
    compiled: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def input(self) -> Shape | None:
        """The parameters' shape."""
        return self.service.operation_shape(self.name, "input")

    @cached_property
    def output(self) -> Shape | None:
        """The result's shape."""
        return self.service.operation_shape(self.name, "output")

    @property
    def errors(self) -> tuple[Shape, ...]:
        """The exception shapes that the model names for this operation."""
        return tuple(self.service.shape(name) for name in self.errors_raw)

    @cached_property
    def streaming_input(self) -> str | None:
        """The input member that is the body as a stream of bytes."""
        return _streaming_member(self.input)

    @cached_property
    def streaming_output(self) -> str | None:
        """The output member that is the body as a stream of bytes."""
        return _streaming_member(self.output)

    @cached_property
    def event_stream_input(self) -> str | None:
        """The input member that is an event stream."""
        return _event_stream_member(self.input)

    @cached_property
    def event_stream_output(self) -> str | None:
        """The output member that is an event stream."""
        return _event_stream_member(self.output)


class ServiceModel:
    """One service: its metadata, operations and shapes.

    ``document`` is the decoded ``service-2.json``; ``name`` is botocore's name of the service (``s3``, ``elbv2``).
    Raises ``FormatError`` for a document that is no service model.
    """

    def __init__(self, document: Raw, name: str) -> None:
        try:
            metadata: Raw = document["metadata"]
            self._shapes: Raw = document.get("shapes", {})
            self._operations: Raw = document.get("operations", {})
            self.protocols = _protocols(metadata)
            self.api_version: str = metadata["apiVersion"]
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{name}: not a service model: {error}") from error
        self.name = name
        self.protocol = self.protocols[0]
        self.endpoint_prefix: str = metadata.get("endpointPrefix", name)
        self.signing_name: str = metadata.get("signingName", self.endpoint_prefix)
        self.service_id: str = metadata.get("serviceId", name)
        self.json_version: str = metadata.get("jsonVersion", "1.1")
        self.target_prefix: str = metadata.get("targetPrefix", "")
        self.xml_namespace: str = metadata.get("xmlNamespace", "")
        self.query_compatible = "awsQueryCompatible" in metadata
        self.compiled: dict[Any, Any] = {}
        self._named: dict[str, Shape] = {}
        self._variants: dict[tuple[str, str], Shape] = {}
        self._members: dict[str, Mapping[str, Shape]] = {}
        self._parts: dict[tuple[str, str], Shape] = {}
        self._errors_by_code: dict[str, Shape] | None = None
        self.operations: Mapping[str, Operation] = MappingProxyType(
            {key: self._operation(key, raw) for key, raw in self._operations.items()}
        )

    def __repr__(self) -> str:
        return f"ServiceModel({self.name!r}, {self.protocol!r})"

    def shape(self, name: str) -> Shape:
        """The shape ``name`` with its own traits alone.

        Raises ``FormatError`` when the model has none.
        """
        shape = self._named.get(name)
        if shape is None:
            try:
                raw = self._shapes[name]
            except KeyError as error:
                raise FormatError(f"{self.name}: no shape {name!r}") from error
            shape = self._named.setdefault(name, _shape(self, name, raw, {}))
        return shape

    def members_of(self, name: str) -> Mapping[str, Shape]:
        """The members of the structure ``name``, in the model's order."""
        members = self._members.get(name)
        if members is None:
            raw = self._shapes[name].get("members") or {}
            built = MappingProxyType({member: self._resolve(reference) for member, reference in raw.items()})
            members = self._members.setdefault(name, built)
        return members

    def part_of(self, name: str, part: str) -> Shape:
        """The ``member`` of the list ``name``, or the ``key`` or ``value`` of the map."""
        key = (name, part)
        shape = self._parts.get(key)
        if shape is None:
            shape = self._parts[key] = self._resolve(self._shapes[name][part])
        return shape

    def operation_shape(self, operation: str, part: str) -> Shape | None:
        """The ``input`` or ``output`` shape of ``operation``, where it has one."""
        reference = self._operations[operation].get(part)
        return None if reference is None else self._resolve(reference)

    def error(self, code: str) -> Shape | None:
        """The exception shape whose wire code, or whose name, is ``code``."""
        if self._errors_by_code is None:
            self._errors_by_code = self._index_errors()
        return self._errors_by_code.get(code)

    def _index_errors(self) -> dict[str, Shape]:
        shapes = [self.shape(name) for name, raw in self._shapes.items() if raw.get("exception")]
        by_code = {shape.error.code: shape for shape in reversed(shapes) if shape.error is not None}
        return {shape.name: shape for shape in shapes} | by_code

    def _resolve(self, reference: Raw) -> Shape:
        name = reference["shape"]
        traits = {key: value for key, value in reference.items() if key not in _SILENT_TRAITS}
        if not traits:
            return self.shape(name)
        key = (name, repr(sorted(traits.items())))
        variant = self._variants.get(key)
        if variant is None:
            variant = self._variants.setdefault(key, _shape(self, name, self._shapes[name], traits))
        return variant

    def _operation(self, name: str, raw: Raw) -> Operation:
        http = raw.get("http", {})
        return Operation(
            service=self,
            name=name,
            http_method=http.get("method", "POST"),
            request_uri=http.get("requestUri", "/"),
            http_status=http.get("responseCode", 200),
            errors_raw=tuple(error["shape"] for error in raw.get("errors", ())),
            host_prefix=raw.get("endpoint", {}).get("hostPrefix", ""),
            http_checksum=raw.get("httpChecksum", {}),
            http_checksum_required=bool(raw.get("httpChecksumRequired")),
            request_compression="gzip" in raw.get("requestcompression", {}).get("encodings", ()),
            unsigned_payload=bool(raw.get("unsignedPayload")),
            auth_type=raw.get("authtype", ""),
            deprecated=bool(raw.get("deprecated")),
        )


def _protocols(metadata: Raw) -> tuple[str, ...]:
    """The protocols of a service, the preferred one first (botocore's order of preference)."""
    protocols = metadata.get("protocols") or [metadata["protocol"]]
    known = [protocol for protocol in PROTOCOL_NAMES if protocol in protocols]
    if not known:
        raise KeyError("protocols")
    return tuple(known)


def _shape(service: ServiceModel, name: str, own: Raw, traits: Raw) -> Shape:
    """The shape whose document is ``own``, under the ``traits`` of a reference."""
    raw = {**own, **traits}
    # A structure's own name is that of a document's root; a member of the structure's type goes by its own name.
    inherited_name = "" if raw["type"] == "structure" else own.get("locationName", "")
    return Shape(
        service=service,
        name=name,
        type=raw["type"],
        required=tuple(raw.get("required", ())),
        location=raw.get("location", ""),
        location_name=traits.get("locationName", inherited_name),
        root_name=own.get("locationName", ""),
        query_name=raw.get("queryName", ""),
        payload=raw.get("payload", ""),
        flattened=bool(raw.get("flattened")),
        names_items=bool(own.get("flattened")) and bool(own.get("member", {}).get("locationName")),
        result_wrapper=raw.get("resultWrapper", ""),
        xml_namespace=_xml_namespace(raw.get("xmlNamespace")),
        xml_attribute=bool(raw.get("xmlAttribute")),
        timestamp_format=raw.get("timestampFormat", "").lower(),
        enum=tuple(raw.get("enum", ())),
        min=raw.get("min"),
        max=raw.get("max"),
        pattern=raw.get("pattern", ""),
        sensitive=bool(raw.get("sensitive")),
        streaming=bool(raw.get("streaming")),
        requires_length=bool(raw.get("requiresLength")),
        box=bool(raw.get("box")),
        union=bool(raw.get("union")),
        document=bool(raw.get("document")),
        jsonvalue=bool(raw.get("jsonvalue")),
        sparse=bool(raw.get("sparse")),
        idempotency_token=bool(raw.get("idempotencyToken")),
        host_label=bool(raw.get("hostLabel")),
        event_stream=bool(raw.get("eventstream")),
        error=_error_trait(name, raw),
    )


def _xml_namespace(raw: Raw | str | None) -> XmlNamespace | None:
    if not raw:
        return None
    if isinstance(raw, str):
        return XmlNamespace(uri=raw)
    return XmlNamespace(uri=raw["uri"], prefix=raw.get("prefix", ""))


def _error_trait(name: str, raw: Raw) -> ErrorTrait | None:
    if not raw.get("exception"):
        return None
    error = raw.get("error", {})
    status = error.get("httpStatusCode")
    server_fault = raw.get("fault") or (status is not None and status >= 500)
    return ErrorTrait(
        code=error.get("code", name),
        status=status,
        sender_fault=bool(error.get("senderFault", not server_fault)),
        explicit_code="code" in error,
    )


def _streaming_member(shape: Shape | None) -> str | None:
    if shape is None or not shape.payload:
        return None
    member = shape.members[shape.payload]
    return shape.payload if member.streaming and member.type == "blob" else None


def _event_stream_member(shape: Shape | None) -> str | None:
    if shape is None:
        return None
    return next((name for name, member in shape.members.items() if member.event_stream), None)
