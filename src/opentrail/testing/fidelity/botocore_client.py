"""The requests that botocore sends, without a network: its models and its serializers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.serialize import create_serializer

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.wire.model import Operation


class BotocoreClient:
    """Makes requests, unsigned."""

    def __init__(self) -> None:
        self._loader = Loader(include_default_extras=False)
        self._models: dict[str, BotocoreModel] = {}

    def request(self, operation: Operation, parameters: Mapping[str, Any], host: str) -> tuple[HttpRequest, bytes]:
        """The head and the body that go to ``host``."""
        service = operation.service
        model = self._models.get(service.name)
        if model is None:
            document = self._loader.load_service_model(service.name, "service-2")
            model = self._models[service.name] = BotocoreModel(document, service.name)
        serializer = create_serializer(service.protocol, include_validation=False)
        prepared: dict[str, Any] = serializer.serialize_to_request(
            dict(parameters), model.operation_model(operation.name)
        )
        prepared.pop("host_prefix", None)
        prepare_request_dict(prepared, f"http://{host}")
        sent = AWSRequest(
            method=prepared["method"], url=prepared["url"], data=prepared["body"], headers=prepared["headers"]
        ).prepare()
        url = urlsplit(sent.url)
        headers = [("host", host)]
        for key, value in sent.headers.items():
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            headers.append((key.lower(), text.strip()))
        body = sent.body or b""
        assert isinstance(body, bytes | str), "no parameter here is a stream"
        data = body.encode() if isinstance(body, str) else body
        return HttpRequest(method=sent.method, path=url.path, query=url.query, headers=Headers(headers)), data
