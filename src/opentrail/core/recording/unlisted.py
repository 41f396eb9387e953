"""Operations that no model has, but that the rules describe: agents and consoles call such.

Of an operation that nobody describes no parameter is recorded, for nobody can say which are secret.  The rules' words:
``{"InstanceId": "string", "Times": ["timestamp"], "Result": {"Status": "string"}}``, names as on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.errors import FormatError
from opentrail.core.wire import codec_json, codec_query, trees
from opentrail.core.wire.calls import ApiCall
from opentrail.core.wire.model import ServiceModel, Shape

SCALARS = frozenset({"boolean", "double", "integer", "long", "string", "timestamp"})
_ROOT = "Input"


def unlisted_input(service: ServiceModel, operation: str, members: Mapping[str, Any]) -> Shape:
    """The shape of the described ``members``, as a model would have had it."""
    shapes: dict[str, Any] = {}
    _add(shapes, _ROOT, members)
    metadata = {"apiVersion": service.api_version, "protocol": service.protocol}
    described = {operation: {"input": {"shape": _ROOT}}}
    model = ServiceModel({"metadata": metadata, "operations": described, "shapes": shapes}, service.name)
    return model.shape(_ROOT)


def _add(shapes: dict[str, Any], name: str, described: Any) -> dict[str, str]:
    """Add the shape ``name`` of what is described, and those within it; the reference to it."""
    if isinstance(described, Mapping):
        members = {member: _add(shapes, f"{name}.{member}", each) for member, each in described.items()}
        shapes[name] = {"type": "structure", "members": members}
    elif isinstance(described, list):
        shapes[name] = {"type": "list", "member": _add(shapes, f"{name}.member", described[0])}
    else:
        shapes[name] = {"type": described}
    return {"shape": name}


def unlisted_parameters(call: ApiCall, shape: Shape) -> dict[str, Any]:
    """What the body of ``call`` holds of ``shape``; nothing where it cannot be read."""
    protocol = call.operation.service.protocol
    try:
        if protocol in {"query", "ec2"}:
            return codec_query.parse(shape, call.raw_body.decode("utf-8", "replace"), protocol)
        if protocol in {"json", "rest-json"}:
            parameters: dict[str, Any] = trees.reader(shape, codec_json.LENIENT_LEAVES)(
                codec_json.decode(call.raw_body)
            )
            return parameters
    except FormatError:
        pass
    return {}
