"""What the middleware costs an application: calls a second and CPU a call of a FastAPI application, bare and recorded.

    python benchmarks/middleware.py [--seconds 3] [--clients 64] [--rounds 3]

The same application three times, in turn, in one run, with the same requests from the same client: as it is; with the
middleware, which delivers to an Opentrail on this machine; and with an Opentrail that is away, so that the spool grows.
An event is on disk before its call is answered.  CPU is the application's process, with the delivery that its threads
do meanwhile; Opentrail's own is not in it.  Each figure is the median of the rounds, the ratio that of CPU a call.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from botocore.credentials import Credentials
from fastapi import FastAPI
from pydantic import BaseModel

from calls import Figures, Server, median, run_round
from opentrail.middleware import Api, ASGIMiddleware, AuditLog
from opentrail.testing.live_server import free_port
from processes import listening, load_parser, opentrail

BODY = b'{"customer": "c-1042", "items": [{"sku": "a", "count": 2}, {"sku": "b", "count": 1}]}'
REQUEST = (
    b"POST /shops/north/orders HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: benchmark\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
NOWHERE = "http://127.0.0.1:9"
SPOOL_BYTES = 4 << 30  # more than any run fills


class Item(BaseModel):
    sku: str
    count: int


class Order(BaseModel):
    customer: str
    items: list[Item]


async def create_order(shop: str, order: Order) -> dict[str, str]:
    return {"id": f"{shop}-{len(order.items)}"}


def main() -> None:
    parser = load_parser(__doc__, seconds=3, rounds_of="application")
    parser.add_argument("--serve", nargs=4, metavar=("PORT", "SPOOL", "URL", "CHANNEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(int(options.serve[0]), *options.serve[1:])
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opentrail-bench-")))
        live = stack.enter_context(opentrail())
        channel = live.client("cloudtrail", "us-east-1").create_channel(
            Name="orders",
            Source="Custom",
            Destinations=[{"Type": "AWS_SERVICE", "Location": "cloudtrail.amazonaws.com"}],
        )["ChannelArn"]
        key = Credentials(*live.root_key().values())
        ways = [
            stack.enter_context(application(name, key, folder / name, url, channel))
            for name, url in (("bare", ""), ("recorded", live.url), ("Opentrail away", NOWHERE))
        ]
        compare(ways, options)


def compare(ways: list[Server], options: argparse.Namespace) -> None:
    rounds: dict[str, list[Figures]] = {way.name: [] for way in ways}
    for number in range(-1, options.rounds):
        for way in ways:
            figures = run_round(way, [[REQUEST]] * options.clients, options.seconds if number >= 0 else 0.5)
            if number >= 0:  # the first one warms up
                rounds[way.name].append(figures)
    print(f"{options.clients} connections, median of {options.rounds} rounds of {options.seconds:g} s each")
    print(f"{'':16}{'calls/s':>10}{'CPU us/call':>13}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>8}")
    for name, each in rounds.items():
        figures = median(each)
        pairs = zip(each, rounds["bare"], strict=True)
        ratio = statistics.median(one.cpu / bare.cpu for one, bare in pairs)
        print(f"{name:16}{figures.rate:10,.0f}{figures.cpu:13,.0f}{figures.p50:9.1f}{figures.p99:9.1f}{ratio:7.2f}x")


@contextmanager
def application(name: str, key: Credentials, spool: Path, url: str, channel: str) -> Iterator[Server]:
    """The application in a process of its own; with ``url`` "" it is bare."""
    port = free_port()
    environment = {each: value for each, value in os.environ.items() if not each.startswith("AWS_")}
    environment |= {"AWS_ACCESS_KEY_ID": key.access_key, "AWS_SECRET_ACCESS_KEY": key.secret_key}
    command = (sys.executable, __file__, "--serve", str(port), str(spool), url, channel)
    # SIGKILL: it would try to deliver first.
    with listening(*command, port=port, env=environment, end=signal.SIGKILL) as pid:
        yield Server(name=name, port=port, pid=pid, credentials=key)


def serve(port: int, spool: str, url: str, channel: str) -> None:
    """The application: takes an order and answers with its number."""
    app: Any = FastAPI()
    app.post("/shops/{shop}/orders")(create_order)
    if url:
        log = AuditLog(spool, endpoint=url, channel_arn=channel, max_bytes=SPOOL_BYTES)
        parameters = {"CreateOrder": ["path.shop", "body.customer", "body.items[].sku"]}
        api = Api(event_source="orders.example.com", parameters=parameters, responses={"CreateOrder": ["id"]})
        app = ASGIMiddleware(app, audit_log=log, api=api)
    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    main()
