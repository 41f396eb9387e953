"""Shared by the wire tests: botocore as the client, seeded parameters for any shape."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSRequest, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import OperationModel
from botocore.model import ServiceModel as BotocoreModel
from botocore.serialize import create_serializer

from opentrail.core.http import Headers, HttpRequest
from opentrail.core.wire.model import ServiceModel, Shape
from opentrail.server.catalog import BotocoreCatalog

_TEXTS = ("a", "b c", "é ☃ 😀", "x&y=<z>", "50%+1", "a/b", "'q\"", "tail ", "0", "null", "[]", "ü" * 3)
_HEADER_TEXTS = ("a", "b c", "x=y;z", "100%", "A-b_c", '"quoted"')
_LABEL_TEXTS = ("a", "b c", "é☃", "50%+1", "a:b", "arn:aws:s3:::x", "x&y", "a/b")
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


class Maker:
    """Values for shapes: seeded, so that a failure can be run again."""

    def __init__(self, seed: object) -> None:
        self._headers: tuple[str, ...] = _HEADER_TEXTS
        self._random = random.Random(repr(seed))

    def value(
        self,
        shape: Shape,
        texts: tuple[str, ...] = _TEXTS,
        depth: int = 0,
        headers: tuple[str, ...] = _HEADER_TEXTS,
    ) -> Any:
        """Some value of ``shape``; ``texts`` are for its strings, ``headers`` for those that are bound to headers."""
        self._headers = headers if depth == 0 else self._headers
        if shape.document:
            return {"a": [1, "b", None, True], "c": {"d": 1.5}}
        make: Callable[[Shape, tuple[str, ...], int], Any] = getattr(self, f"_{shape.type}", self._integer)
        return make(shape, texts, depth)

    def _structure(self, shape: Shape, texts: tuple[str, ...], depth: int) -> dict[str, Any]:
        names = list(shape.members)
        if shape.union:
            names = [self._random.choice(names)] if names else []
        wanted = 0.0 if depth > 6 else 0.3 if depth > 3 else 0.7
        return {
            name: self.member(shape.members[name], texts, depth)
            for name in names
            if name in shape.required or shape.union or self._random.random() < wanted
        }

    def member(self, member: Shape, texts: tuple[str, ...], depth: int) -> Any:
        if member.jsonvalue and member.location == "header":
            return {"a": [1, "é"]}
        if member.host_label:
            texts = ("host-label",)
        elif member.location in ("header", "headers"):
            texts = self._headers
        elif member.location == "uri":
            texts = _LABEL_TEXTS
        return self.value(member, texts, depth + 1)

    def _list(self, shape: Shape, texts: tuple[str, ...], depth: int) -> list[Any]:
        count = self._random.randint(1, 3) if depth < 6 else 1
        return [self.value(shape.member, texts, depth + 1) for _ in range(count)]

    def _map(self, shape: Shape, texts: tuple[str, ...], depth: int) -> dict[str, Any]:
        keys = shape.key.enum or ("k1", "K é 2") if texts is _TEXTS else ("k1", "k2")
        return {key: self.value(shape.value, texts, depth + 1) for key in keys[:2]}

    def _string(self, shape: Shape, texts: tuple[str, ...], _depth: int) -> str:
        return self._random.choice(shape.enum or texts)

    def _integer(self, _shape: Shape, _texts: tuple[str, ...], _depth: int) -> int:
        return self._random.choice((0, 1, -1, 7, 2**31 - 1, -(2**31)))

    def _long(self, _shape: Shape, _texts: tuple[str, ...], _depth: int) -> int:
        return self._random.choice((0, 1, -1, 2**53, 2**63 - 1, -(2**63)))

    def _float(self, _shape: Shape, _texts: tuple[str, ...], _depth: int) -> float:
        return self._random.choice((0.0, 1.5, -2.25, 1e10))

    def _double(self, _shape: Shape, _texts: tuple[str, ...], _depth: int) -> float:
        return self._random.choice((0.0, 0.1, -2.25, 1e300, 5e-324))

    def _boolean(self, _shape: Shape, _texts: tuple[str, ...], _depth: int) -> bool:
        return self._random.random() < 0.5

    def _blob(self, _shape: Shape, _texts: tuple[str, ...], _depth: int) -> bytes:
        return self._random.choice((b"\x00\xff blob", b"text", b"a" * 50))

    def _timestamp(self, _shape: Shape, _texts: tuple[str, ...], _depth: int) -> datetime:
        return _EPOCH + timedelta(seconds=self._random.randint(0, 10**8))


class Client:
    """botocore's models and serializer, without a network."""

    def __init__(self) -> None:
        self._loader = Loader(include_default_extras=False)
        self._models: dict[str, BotocoreModel] = {}

    def model(self, service: ServiceModel) -> BotocoreModel:
        if service.name not in self._models:
            document = self._loader.load_service_model(service.name, "service-2")
            self._models[service.name] = BotocoreModel(document, service.name)
        return self._models[service.name]

    def operation(self, service: ServiceModel, name: str) -> OperationModel:
        return self.model(service).operation_model(name)

    def request(
        self, service: ServiceModel, name: str, parameters: dict[str, Any], protocol: str, host: str = "127.0.0.1:4577"
    ) -> tuple[HttpRequest, bytes]:
        """The request that botocore would send for ``parameters``, unsigned."""
        operation = self.operation(service, name)
        prepared = create_serializer(protocol, include_validation=False).serialize_to_request(parameters, operation)
        prepared.pop("host_prefix", None)
        prepare_request_dict(prepared, f"http://{host}")
        sent = AWSRequest(
            method=prepared["method"], url=prepared["url"], data=prepared["body"], headers=prepared["headers"]
        ).prepare()
        url = urlsplit(sent.url)
        body = sent.body or b""
        assert isinstance(body, bytes | str)
        headers = [("host", host)]
        for key, value in sent.headers.items():
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            headers.append((key.lower(), text.strip()))
        request = HttpRequest(method=sent.method, path=url.path, query=url.query, headers=Headers(headers))
        return request, body.encode() if isinstance(body, str) else body


@pytest.fixture(scope="session")
def catalog() -> BotocoreCatalog:
    return BotocoreCatalog()


@pytest.fixture(scope="session")
def client() -> Client:
    return Client()


@pytest.fixture
def make() -> Callable[[object], Maker]:
    return Maker
