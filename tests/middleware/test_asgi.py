"""The ASGI middleware with Starlette and FastAPI, and against every way in which a call can end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from opentrail.middleware import Api, ASGIMiddleware, Exchange, UserIdentity

Make = Callable[..., Any]
Message = MutableMapping[str, Any]


class Order(BaseModel):
    customer: str
    card: str


def who(exchange: Exchange) -> UserIdentity:
    return UserIdentity(type="User", principal_id=exchange.context["state"]["user"], details={"role": "buyer"})


API = Api(
    event_source="orders.example.com",
    identity=who,
    parameters={
        "*": ["query.dry_run"],
        "CreateOrder": ["body.customer", "body.items[].sku"],
        "GetOrder": ["path.order_id"],
    },
    responses={"CreateOrder": ["id"]},
    error_code="code",
    error_message="reason",
)


async def create_order(request: Request) -> Response:
    request.state.user = "mary"
    body = await request.json()
    if body["customer"] == "":
        return JSONResponse({"code": "NoCustomer", "reason": "say who", "secret": "s3cr3t"}, 422)
    return JSONResponse({"id": "o-1", "secret": "s3cr3t"}, 201)


async def get_order(request: Request) -> Response:
    request.state.user = "john"
    return PlainTextResponse("an order")


async def fail(request: Request) -> Response:
    request.state.user = "mary"
    raise ZeroDivisionError("s3cr3t")


async def stream(request: Request) -> Response:
    request.state.user = "mary"

    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number
        if request.query_params.get("dry_run") == "break":
            raise OSError("s3cr3t")

    return StreamingResponse(parts())


ROUTES = [
    Route("/orders", create_order, methods=["POST"]),
    Mount("/v1", routes=[Route("/orders/{order_id}", get_order)]),
    Route("/fail", fail),
    Route("/stream", stream),
]


def call(
    app: Any,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    on_send: Callable[[Message], None] = lambda _message: None,
    disconnect: bool = False,
) -> list[Message]:
    """What an application answers; ``on_send`` sees each message as it leaves."""
    path, _, query = target.partition("?")
    fields = {"content-type": "application/json", "user-agent": "test/1", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        "client": ("203.0.113.9", 5000),
        "server": ("127.0.0.1", 80),
    }
    half = len(body) // 2
    incoming: list[Message] = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    if disconnect:
        incoming = [{"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        on_send(message)
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def test_an_event_says_what_is_listed_and_nothing_else(spooled: Make) -> None:
    log = spooled()
    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API)
    order = {"customer": "c-1", "items": [{"sku": "a", "price": 1}, {"sku": "b"}], "card": "s3cr3t"}
    sent = call(app, "POST", "/orders?dry_run=1&token=s3cr3t", json.dumps(order).encode())
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    (event,) = log.events()
    assert "s3cr3t" not in json.dumps(event)
    assert event["eventSource"] == "orders.example.com"
    assert event["eventName"] == "CreateOrder"
    assert event["userIdentity"] == {"type": "User", "principalId": "mary", "details": {"role": "buyer"}}
    assert event["requestParameters"] == {"dry_run": "1", "customer": "c-1", "items": [{"sku": "a"}, {"sku": "b"}]}
    assert event["responseElements"] == {"id": "o-1"}
    assert event["sourceIPAddress"] == "203.0.113.9"
    assert event["userAgent"] == "test/1"
    assert event["additionalEventData"] == {"readOnly": False, "httpMethod": "POST", "httpStatusCode": 201}
    assert "errorCode" not in event


def test_a_mounted_route_tells_its_name_and_path(spooled: Make) -> None:
    log = spooled()
    call(ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API), "GET", "/v1/orders/7")
    (event,) = log.events()
    assert (event["eventName"], event["requestParameters"]) == ("GetOrder", {"order_id": "7"})
    assert event["additionalEventData"]["readOnly"] is True


def test_an_error_answer_tells_its_own_code(spooled: Make) -> None:
    log = spooled()
    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API)
    call(app, "POST", "/orders", b'{"customer": ""}')
    call(app, "GET", "/nowhere")
    refused, unknown = log.events()
    assert (refused["errorCode"], refused["errorMessage"]) == ("NoCustomer", "say who")
    assert "responseElements" not in refused
    assert (unknown["eventName"], unknown["errorCode"]) == ("UnknownOperation", "NotFound")
    assert unknown["userIdentity"] == {"type": "Unknown", "principalId": "unknown"}
    assert unknown["additionalEventData"]["whoFailed"] == "KeyError"


ODD_DETAILS: Any = 5


@pytest.mark.parametrize(
    "answer",
    ["alice", {"type": "User"}, 5, ("User", "alice"), UserIdentity(type="U", principal_id="a", details=ODD_DETAILS)],
)
def test_an_identity_that_is_none_costs_neither_event_nor_call(spooled: Make, answer: Any) -> None:
    log = spooled()

    def who(_exchange: Exchange) -> Any:
        return answer

    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=Api(event_source="a.example", identity=who))
    assert call(app, "GET", "/v1/orders/7")[0]["status"] == 200
    (event,) = log.events()
    assert event["userIdentity"] == {"type": "Unknown", "principalId": "unknown"}
    assert event["additionalEventData"]["whoFailed"] in {"AttributeError", "TypeError"}


@pytest.mark.parametrize("answer", ["create_order", KeyError("route")])
def test_a_route_that_cannot_be_told_costs_neither_event_nor_call(spooled: Make, answer: Any) -> None:
    log = spooled()

    def route(_scope: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API, route=route)
    assert call(app, "GET", "/v1/orders/7")[0]["status"] == 200
    assert [each["eventName"] for each in log.events()] == ["UnknownOperation"]


def test_a_head_that_never_left_is_no_status(spooled: Make) -> None:
    log = spooled()

    async def stumbles(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(ASGIMiddleware(stumbles, audit_log=log.log, api=API), "GET", "/")
    (event,) = log.events()
    assert event["errorCode"] == "ZeroDivisionError"
    assert "httpStatusCode" not in event["additionalEventData"]


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_a_file_that_the_server_sends_by_itself_is_a_whole_answer(spooled: Make, kind: str) -> None:
    log = spooled()

    async def sends(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": kind, "path": "/nowhere"})

    sent = call(ASGIMiddleware(sends, audit_log=log.log, api=API), "GET", "/")
    assert [each["type"] for each in sent] == ["http.response.start", kind]
    assert ["errorCode" in each for each in log.events()] == [False]


def test_an_exception_is_recorded_by_its_type_and_passes(spooled: Make) -> None:
    log = spooled()

    async def bare(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ZeroDivisionError("s3cr3t")

    app = ASGIMiddleware(bare, audit_log=log.log, api=API)
    with pytest.raises(ZeroDivisionError):
        call(app, "GET", "/")
    with pytest.raises(ZeroDivisionError):
        call(ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API), "GET", "/fail")
    first, second = log.events()
    assert first["errorCode"] == "ZeroDivisionError"
    assert second["eventName"] == "Fail"
    assert "s3cr3t" not in json.dumps([first, second])


def test_as_a_starlette_middleware_an_exception_is_recorded_once(spooled: Make) -> None:
    log = spooled()
    app = Starlette(routes=ROUTES)
    app.add_middleware(ASGIMiddleware, audit_log=log.log, api=API)
    with pytest.raises(ZeroDivisionError):
        call(app, "GET", "/fail")
    assert [each["errorCode"] for each in log.events()] == ["ZeroDivisionError"]


def test_the_event_is_safe_before_the_answer_leaves(spooled: Make) -> None:
    log = spooled()
    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API)
    seen: list[int] = []
    call(app, "GET", "/v1/orders/7", on_send=lambda _message: seen.append(len(log.events())))
    call(app, "GET", "/stream", on_send=lambda _message: seen.append(len(log.events())))
    assert set(seen[:2]) == {1}
    assert set(seen[2:]) == {2}


def test_a_stream_passes_as_it_is_and_is_recorded_at_its_beginning(spooled: Make) -> None:
    log = spooled()
    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API)
    sent = call(app, "GET", "/stream")
    assert [each.get("body") for each in sent[1:]] == [b"0", b"1", b"2", b""]
    assert len(log.events()) == 1


def test_a_stream_that_breaks_off_is_told_of(spooled: Make) -> None:
    log = spooled()
    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API)
    with pytest.raises(OSError, match="s3cr3t"):
        call(app, "GET", "/stream?dry_run=break")
    began, broke = log.events()
    assert "errorCode" not in began
    assert broke["errorCode"] == "ResponseInterrupted"
    assert broke["UID"] == began["UID"]
    assert "s3cr3t" not in json.dumps(broke)


def test_a_client_that_goes_away_leaves_an_event(spooled: Make) -> None:
    log = spooled()

    async def waits(_scope: Any, receive: Callable[[], Awaitable[Message]], _send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"

    call(ASGIMiddleware(waits, audit_log=log.log, api=API), "GET", "/", disconnect=True)
    assert [each["errorCode"] for each in log.events()] == ["ClientDisconnected"]


def test_a_cancelled_call_leaves_an_event(spooled: Make) -> None:
    log = spooled()

    async def hangs(_scope: Any, _receive: Any, _send: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        call(ASGIMiddleware(hangs, audit_log=log.log, api=API), "GET", "/")
    assert [each["errorCode"] for each in log.events()] == ["ClientDisconnected"]


def test_a_full_spool_refuses_before_anything_has_happened(spooled: Make) -> None:
    log = spooled(max_bytes=2000)
    done: list[int] = []

    async def effect(_request: Request) -> Response:
        done.append(1)
        return PlainTextResponse("done")

    app = ASGIMiddleware(Starlette(routes=[Route("/", effect)]), audit_log=log.log, api=API)
    statuses = [call(app, "GET", "/")[0]["status"] for _ in range(20)]
    assert set(statuses) == {200, 503}
    assert statuses == sorted(statuses)
    assert statuses.count(200) == len(log.events())
    assert len(done) <= statuses.count(200) + 1  # the one that just did not fit


def test_a_log_that_passes_counts_what_it_could_not_record(spooled: Make) -> None:
    log = spooled(max_bytes=1000, on_failure="pass")
    app = ASGIMiddleware(Starlette(routes=ROUTES), audit_log=log.log, api=API)
    assert {call(app, "GET", "/v1/orders/7")[0]["status"] for _ in range(10)} == {200}
    assert log.log.unrecorded == 10 - len(log.events()) > 0


async def never_called(*_arguments: Any) -> Any:
    raise AssertionError


def test_what_is_no_http_passes(spooled: Make) -> None:
    log = spooled()
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    wrapped = ASGIMiddleware(app, audit_log=log.log, api=API)
    for kind in ("lifespan", "websocket"):
        asyncio.run(wrapped({"type": kind}, never_called, never_called))
    assert seen == ["lifespan", "websocket"]
    assert log.events() == []


def test_fastapi(spooled: Make) -> None:
    log = spooled()
    app = FastAPI()

    @app.post("/orders/{shop}", status_code=201)
    async def create_order(shop: str, order: Order, request: Request) -> dict[str, str]:
        request.state.user = "mary"
        return {"id": f"{shop}-{order.customer}", "card": order.card}

    api = Api(
        event_source="orders.example.com",
        identity=who,
        parameters={"CreateOrder": ["path.shop", "body.customer"]},
        responses={"*": ["id"]},
    )
    app.add_middleware(ASGIMiddleware, audit_log=log.log, api=api)
    call(app, "POST", "/orders/north", b'{"customer": "c-1", "card": "s3cr3t"}')
    call(app, "POST", "/orders/north", b'{"customer": 1}')
    made, refused = log.events()
    assert made["requestParameters"] == {"shop": "north", "customer": "c-1"}
    assert made["responseElements"] == {"id": "north-c-1"}
    assert refused["errorCode"].startswith("Unprocessable")
    assert "s3cr3t" not in json.dumps(made)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not one of ours: its word counts nothing
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # what the client wrote itself is not believed
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "rubbish", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.1:80", "198.51.100.1"),
        ("testclient", "198.51.100.1", ""),
    ],
)
def test_addresses_behind_proxies(peer: str, forwarded: str, address: str) -> None:
    from opentrail.middleware.client_address import client_address, parse_networks

    assert client_address(peer, forwarded, parse_networks(["10.0.0.0/8"])) == address


@pytest.mark.parametrize(
    "rules",
    [
        {"event_source": "s3.amazonaws.com"},
        {"event_source": "a b"},
        {"event_source": "a", "parameters": {"*": ["card"]}},
        {"event_source": "a", "parameters": {"*": ["body"]}},
        {"event_source": "a", "parameters": {"*": ["body.a..b"]}},
        {"event_source": "a", "parameters": {"*": ["body.id", "path.id"]}},
        {"event_source": "a", "responses": {"*": "id"}},
        {"event_source": "a", "trusted_proxies": ["the proxy"]},
    ],
)
def test_rules_that_cannot_be_meant_are_told_at_once(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Api(**rules)
