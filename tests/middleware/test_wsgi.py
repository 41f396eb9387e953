"""The WSGI middleware with Flask, Django and moto's own application, and against every way in which a call can end."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from opentrail.middleware import Api, Exchange, UserIdentity, WSGIMiddleware

Make = Callable[..., Any]


def who(exchange: Exchange) -> UserIdentity:
    return UserIdentity(type="User", principal_id=exchange.context.get("orders.user", "nobody"))


API = Api(
    event_source="orders.example.com",
    identity=who,
    parameters={"CreateOrder": ["path.shop", "body.customer"], "*": ["query.page"]},
    responses={"*": ["id"]},
)


def call(
    app: Any,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    on_start: Callable[[], None] = lambda: None,
    **environ: str,
) -> tuple[str, bytes]:
    """The status and body that an application answers."""
    path, _, query = target.partition("?")
    started: list[str] = []

    def start_response(status: str, _headers: Any, _exc_info: Any = None) -> Callable[[bytes], None]:
        on_start()
        started.append(status)
        return written.append

    written: list[bytes] = []
    fields = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": "test/1",
        "REMOTE_ADDR": "203.0.113.9",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **environ,
    }
    if body:
        fields |= {"CONTENT_TYPE": environ.get("CONTENT_TYPE", "application/json"), "CONTENT_LENGTH": str(len(body))}
    result = app(fields, start_response)
    try:
        written.extend(result)
    finally:
        if hasattr(result, "close"):
            result.close()
    return started[-1], b"".join(written)


def flask_app() -> Any:
    from flask import Flask, Response, jsonify, request

    app = Flask("orders")

    @app.post("/<shop>/orders")
    def create_order(shop: str) -> Any:
        request.environ["orders.user"] = "mary"
        return jsonify(id=f"{shop}-{request.json['customer']}", card=request.json["card"]), 201

    @app.get("/stream")
    def stream() -> Any:
        breaks = request.args.get("page") == "break"

        def parts() -> Iterator[str]:
            yield "a"
            if breaks:
                raise OSError("s3cr3t")
            yield "b"

        return Response(parts())

    @app.get("/fail")
    def fail() -> Any:
        raise ZeroDivisionError("s3cr3t")

    return app


def test_flask(spooled: Make) -> None:
    log = spooled()
    app = flask_app()
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, audit_log=log.log, api=API)
    status, body = call(app, "POST", "/north/orders?page=1", b'{"customer": "c-1", "card": "s3cr3t"}')
    assert (status, json.loads(body)["id"]) == ("201 CREATED", "north-c-1")
    assert call(app, "GET", "/nowhere")[0].startswith("404")
    assert call(app, "GET", "/fail")[0].startswith("500")
    made, unknown, failed = log.events()
    assert made["eventName"] == "CreateOrder"
    assert made["userIdentity"] == {"type": "User", "principalId": "mary"}
    assert made["requestParameters"] == {"page": "1", "shop": "north", "customer": "c-1"}
    assert made["responseElements"] == {"id": "north-c-1"}
    assert made["sourceIPAddress"] == "203.0.113.9"
    assert (unknown["eventName"], unknown["errorCode"]) == ("UnknownOperation", "NotFound")
    assert (failed["eventName"], failed["errorCode"]) == ("Fail", "InternalServerError")
    assert "s3cr3t" not in json.dumps(log.events())


def test_a_stream_is_recorded_at_its_beginning_and_told_of_where_it_breaks_off(spooled: Make) -> None:
    log = spooled()
    app = flask_app()
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, audit_log=log.log, api=API)
    seen: list[int] = []
    assert call(app, "GET", "/stream", on_start=lambda: seen.append(len(log.events())))[1] == b"ab"
    assert seen == [1], "the event is safe before the head of the answer leaves"
    with pytest.raises(OSError, match="s3cr3t"):
        call(app, "GET", "/stream?page=break")
    _, began, broke = log.events()
    assert broke["errorCode"] == "ResponseInterrupted"
    assert broke["UID"] == began["UID"]


def django_app() -> Any:
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse, JsonResponse
    from django.urls import path

    def create_order(request: HttpRequest, shop: str) -> HttpResponse:
        request.META["orders.user"] = "mary"  # the environ
        body = json.loads(request.body)
        return JsonResponse({"id": f"{shop}-{body['customer']}", "card": body["card"]}, status=201)

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=(path("<str:shop>/orders", create_order),),
            ALLOWED_HOSTS=["localhost"],
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            SECRET_KEY="for this test alone",
        )
        django.setup()
    return get_wsgi_application()


def test_django(spooled: Make) -> None:
    log = spooled()
    app = WSGIMiddleware(django_app(), audit_log=log.log, api=API)
    assert call(app, "POST", "/north/orders", b'{"customer": "c-1", "card": "s3cr3t"}')[0] == "201 Created"
    assert call(app, "GET", "/")[0].startswith("404")
    made, unknown = log.events()
    assert made["eventName"] == "CreateOrder"
    assert made["userIdentity"] == {"type": "User", "principalId": "mary"}
    assert made["requestParameters"] == {"shop": "north", "customer": "c-1"}
    assert made["responseElements"] == {"id": "north-c-1"}
    assert unknown["eventName"] == "UnknownOperation"
    assert "s3cr3t" not in json.dumps(log.events())


def test_motos_own_application(spooled: Make) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    def operation(exchange: Exchange) -> str:
        return exchange.headers["x-amz-target"].rpartition(".")[2]

    log = spooled()
    api = Api(event_source="moto.example.com", event_name=operation)
    app = WSGIMiddleware(DomainDispatcherApplication(create_backend_app), audit_log=log.log, api=api)
    key = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
    status, body = call(
        app,
        "POST",
        "/",
        b"{}",
        HTTP_X_AMZ_TARGET="DynamoDB_20120810.ListTables",
        HTTP_AUTHORIZATION=key,
        CONTENT_TYPE="application/x-amz-json-1.0",
    )
    assert (status[:3], json.loads(body)) == ("200", {"TableNames": []})
    assert [each["eventName"] for each in log.events()] == ["ListTables"]


class Body:
    """An answer's body that counts how it is treated."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = iter(parts)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        self.closed += 1


def test_the_gateway_interface_is_kept(spooled: Make) -> None:
    log = spooled()

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(2)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"a", b"", b"b"]

    wrapped = validator(WSGIMiddleware(validator(app), audit_log=log.log, api=API))
    assert call(wrapped, "POST", "/", b"ab", CONTENT_TYPE="text/plain") == ("200 OK", b"ab")
    assert len(log.events()) == 1


@pytest.mark.parametrize("parts", [(), (b"",), (b"a",), (b"", b"a", b"b")])
def test_every_body_passes_and_is_closed_once(spooled: Make, parts: tuple[bytes, ...]) -> None:
    log = spooled()
    body = Body(*parts)

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    wrapped = WSGIMiddleware(app, audit_log=log.log, api=API)
    assert call(wrapped, "GET", "/") == ("200 OK", b"".join(parts))
    assert body.closed == 1
    assert len(log.events()) == 1


def test_a_server_that_stops_reading_is_told_of(spooled: Make) -> None:
    log = spooled()
    body = Body(b"a", b"b")

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    wrapped = WSGIMiddleware(app, audit_log=log.log, api=API)
    answer: Any = wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_head: None)
    assert next(answer) == b"a"
    answer.close()
    assert [each.get("errorCode") for each in log.events()] == [None, "ResponseInterrupted"]
    assert body.closed == 1


def test_a_worker_that_is_ended_in_the_middle_of_an_answer_tells_of_it(spooled: Make) -> None:
    log = spooled()

    def parts() -> Iterator[bytes]:
        yield b"a"
        raise SystemExit(1)  # as gunicorn ends a worker whose time is over

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return parts()

    with pytest.raises(SystemExit):
        call(WSGIMiddleware(app, audit_log=log.log, api=API), "GET", "/")
    assert [each.get("errorCode") for each in log.events()] == [None, "ResponseInterrupted"]


def test_a_route_that_cannot_be_told_costs_neither_event_nor_call(spooled: Make) -> None:
    log = spooled()

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"a"]

    def route(_environ: Any) -> Any:
        raise KeyError("route")

    wrapped = WSGIMiddleware(app, audit_log=log.log, api=API, route=route)
    assert call(wrapped, "GET", "/") == ("200 OK", b"a")
    assert [each["eventName"] for each in log.events()] == ["UnknownOperation"]


def test_the_old_write_is_recorded_first(spooled: Make) -> None:
    log = spooled()

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        return [b"b"]

    assert call(WSGIMiddleware(app, audit_log=log.log, api=API), "GET", "/") == ("200 OK", b"ab")
    assert len(log.events()) == 1


def test_an_error_page_in_place_of_a_head_that_was_not_sent(spooled: Make) -> None:
    log = spooled()

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            json.loads("s3cr3t")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())
        return [b"sorry"]

    assert call(WSGIMiddleware(app, audit_log=log.log, api=API), "GET", "/") == ("500 Oops", b"sorry")
    assert [each["errorCode"] for each in log.events()] == ["InternalServerError"]


def test_an_exception_is_recorded_by_its_type_and_passes(spooled: Make) -> None:
    log = spooled()

    def app(_environ: Any, _start_response: Any) -> Iterable[bytes]:
        raise ZeroDivisionError("s3cr3t")

    with pytest.raises(ZeroDivisionError):
        call(WSGIMiddleware(app, audit_log=log.log, api=API), "GET", "/")
    assert [each["errorCode"] for each in log.events()] == ["ZeroDivisionError"]
    assert "s3cr3t" not in json.dumps(log.events())


def test_a_full_spool_refuses_before_anything_has_happened(spooled: Make) -> None:
    log = spooled(max_bytes=2000)
    done: list[int] = []

    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        done.append(1)
        start_response("200 OK", [])
        return [b"done"]

    wrapped = WSGIMiddleware(app, audit_log=log.log, api=API)
    statuses = [call(wrapped, "GET", "/")[0][:3] for _ in range(20)]
    assert statuses == sorted(statuses)
    assert 0 < statuses.count("200") == len(log.events()) < 20
    assert len(done) == statuses.count("200") + 1  # the one that just did not fit
