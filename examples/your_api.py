"""An API of your own in the trail: start Opentrail, serve an application with the middleware, and look at the log file.

Run it with ``python examples/your_api.py``; it needs no account, no port of yours, and leaves nothing behind.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from opentrail.core.policy.log_bucket_policy import log_bucket_policy
from opentrail.middleware import Api, AuditLog, Credentials, Exchange, Route, UserIdentity, WSGIMiddleware
from opentrail.testing.live_server import LiveServer

REGION = "us-east-1"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_words: object) -> None:
        pass


def shop(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """The application: it takes orders, and knows its customers by a header."""
    environ["shop.user"] = environ.get("HTTP_X_USER", "nobody")
    order = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    answer = json.dumps({"id": "o-1", "price": 42 * len(order["items"])}).encode()
    start_response("201 Created", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


def who(exchange: Exchange) -> UserIdentity:
    return UserIdentity(type="Customer", principal_id=exchange.context["shop.user"])


API = Api(
    event_source="shop.example.com",
    identity=who,
    parameters={"CreateOrder": ["body.items[].sku"]},
    responses={"CreateOrder": ["id"]},
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder) / "opentrail")
        server.start()
        try:
            run(server, Path(folder) / "spool")
        finally:
            server.end()


def run(server: LiveServer, spool: Path) -> None:
    s3, cloudtrail = server.client("s3", REGION), server.client("cloudtrail", REGION)
    destination = {"Type": "AWS_SERVICE", "Location": "cloudtrail.amazonaws.com"}
    arn = cloudtrail.create_channel(Name="shop", Source="Custom", Destinations=[destination])["ChannelArn"]
    s3.create_bucket(Bucket="logs")
    policy = log_bucket_policy("logs", account_ids=[arn.split(":")[4]])
    s3.put_bucket_policy(Bucket="logs", Policy=json.dumps(policy))
    cloudtrail.create_trail(Name="main", S3BucketName="logs")
    cloudtrail.start_logging(Name="main")

    key = server.root_key()
    credentials = Credentials(access_key_id=key["aws_access_key_id"], secret_access_key=key["aws_secret_access_key"])
    log = AuditLog(spool, endpoint=server.url, channel_arn=arn, credentials=lambda: credentials)
    app = WSGIMiddleware(shop, audit_log=log, api=API, route=lambda _environ: Route(name="create_order"))
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        order = {"items": [{"sku": "tea"}, {"sku": "cup"}], "card": "4111 1111 1111 1111"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{http.server_port}/orders",
            json.dumps(order).encode(),
            {"Content-Type": "application/json", "X-User": "mary"},
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310  the same
            print("the application answered", response.status, response.read().decode())
        http.shutdown()
    log.close()

    server.run("flush")
    for item in s3.list_objects_v2(Bucket="logs")["Contents"]:
        records = json.loads(gzip.decompress(s3.get_object(Bucket="logs", Key=item["Key"])["Body"].read()))["Records"]
        for record in records:
            if record["eventSource"] == "shop.example.com":
                print("the log file", item["Key"], "says:")
                print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
