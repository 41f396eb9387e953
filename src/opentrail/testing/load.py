"""Load on a live server by several clients at once, which remember what they were answered.

Rules: a call counts as answered when its client has the answer, success or error, and with it the request ID; one that
ended without, or with a 503, which promises nothing, is remembered by what it would have changed.  Every key is
written at most once and by one thread, so what must be in a bucket follows from what was answered.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from opentrail.testing.delivered_trail import TRAIL
from opentrail.testing.live_server import HOME, LiveServer

REGIONS: Final = (HOME, "us-east-1", "ap-southeast-2")
_PART_BYTES: Final = 5 << 20
_STREAMED_BYTES: Final = (1 << 20) + 4096  # more than the server reads before it starts a call


@dataclass(slots=True)
class Objects:
    """What is known of one thread's objects in a bucket."""

    there: dict[str, int] = field(default_factory=dict)  # key -> size; answered and not deleted
    gone: set[str] = field(default_factory=set)  # deleted, and answered
    unknown: set[str] = field(default_factory=set)  # a put or a delete had no answer


def content_of(key: str, size: int) -> bytes:
    """The data that ``key`` is written with."""
    return Random(key).randbytes(size)  # noqa: S311  a test's data


class Client:
    """One thread's calls."""

    def __init__(
        self, server: LiveServer, bucket: str, poor: Mapping[str, str], *, number: int, seed: int, room: float
    ) -> None:
        self._server = server
        self._bucket = bucket
        self._poor = poor
        self._room = room  # bytes of objects that it may still write
        self._random = Random(f"{seed} {number}")  # noqa: S311  repeats a test's choices
        self._names = (f"t{number}-{index}" for index in count())
        self._actions: Sequence[tuple[Callable[[], None], int]] = (
            (self._identify, 8),
            (self._put, 8),
            (self._delete, 3),
            (self._get, 3),
            (self._user, 2),
            (self._denied, 3),
            (self._refused, 2),
            (self._update_trail, 1),
            (self._multipart, 1),
        )
        self.objects = Objects()
        self.users: set[str] = set()
        self.answered: list[tuple[str, str]] = []  # request ID, operation
        self.unanswered = 0
        self.refused = 0
        self.cut_short = 0

    def run(self, stop: threading.Event) -> None:
        """Call until ``stop``."""
        actions, weights = zip(*self._actions, strict=True)
        while not stop.is_set():
            try:
                self._random.choices(actions, weights)[0]()
            except ResponseParserError:
                self.cut_short += 1  # of an answer, a part
            except (BotoCoreError, HTTPClientError):
                self.unanswered += 1
                time.sleep(0.01)  # the server is gone: do not spin

    def _call(self, service: str, operation: str, *, poor: bool = False, region: str = HOME, **parameters: Any) -> Any:
        """The answer, or None for an error; raises botocore's error where there was none."""
        client = self._server.client(service, region, self._poor if poor else None)
        try:
            answer = getattr(client, operation)(**parameters)
        except ClientError as error:
            self._note(error.response, operation)
            return None
        self._note(answer, operation)
        return answer

    def _note(self, answer: Any, operation: str) -> None:
        meta = answer["ResponseMetadata"]
        if meta["HTTPStatusCode"] == 503:
            self.refused += 1
        else:
            self.answered.append((meta["RequestId"], operation))

    def _identify(self) -> None:
        self._call("sts", "get_caller_identity", region=self._random.choice(REGIONS))

    def _put(self) -> None:
        key = next(self._names)
        size = _STREAMED_BYTES if self._random.random() < 0.03 else self._random.choice((0, 10, 3000, 70_000))
        size = size if size <= self._room else 0
        self._room -= size
        self.objects.unknown.add(key)
        if self._call("s3", "put_object", Bucket=self._bucket, Key=key, Body=content_of(key, size)) is not None:
            self.objects.unknown.discard(key)
            self.objects.there[key] = size

    def _delete(self) -> None:
        if not self.objects.there:
            return
        key = self._random.choice(list(self.objects.there))
        del self.objects.there[key]
        self.objects.unknown.add(key)
        if self._call("s3", "delete_object", Bucket=self._bucket, Key=key) is not None:
            self.objects.unknown.discard(key)
            self.objects.gone.add(key)

    def _get(self) -> None:
        key = self._random.choice(list(self.objects.there)) if self.objects.there else "none"
        answer = self._call("s3", "get_object", Bucket=self._bucket, Key=key)
        if answer is not None:
            answer["Body"].close()

    def _user(self) -> None:
        if self.users and self._random.random() < 0.5:
            self._call("iam", "delete_user", UserName=self.users.pop())
            return
        name = next(self._names)
        if self._call("iam", "create_user", UserName=name) is not None:
            self.users.add(name)

    def _denied(self) -> None:
        operation = self._random.choice(("list_buckets", "list_users", "describe_trails"))
        service = {"list_buckets": "s3", "list_users": "iam", "describe_trails": "cloudtrail"}[operation]
        self._call(service, operation, poor=True)

    def _refused(self) -> None:
        self._call("cloudtrail", "get_trail_status", Name="no-such-trail", region=self._random.choice(REGIONS))

    def _update_trail(self) -> None:
        self._call("cloudtrail", "update_trail", Name=TRAIL, EnableLogFileValidation=True)

    def _multipart(self) -> None:
        size = _PART_BYTES + 100
        if size > self._room:
            return
        self._room -= size
        key = next(self._names)
        self.objects.unknown.add(key)
        begun = self._call("s3", "create_multipart_upload", Bucket=self._bucket, Key=key)
        if begun is None:
            return
        if "UploadId" not in begun:
            self.cut_short += 1  # boto3 takes a body that never came for an empty one
            return
        upload = {"Bucket": self._bucket, "Key": key, "UploadId": begun["UploadId"]}
        data = content_of(key, size)
        parts = []
        for number, part in enumerate((data[:_PART_BYTES], data[_PART_BYTES:]), 1):
            answer = self._call("s3", "upload_part", **upload, PartNumber=number, Body=part)
            if answer is None:
                return
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        if self._random.random() < 0.3:
            self._call("s3", "abort_multipart_upload", **upload)
        elif self._call("s3", "complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}) is not None:
            self.objects.unknown.discard(key)
            self.objects.there[key] = len(data)


class Load:
    """Several clients, begun and ended together.

    ``object_bytes`` bounds what all their objects together take: a fast machine would else fill a small disk for good.
    """

    def __init__(
        self, server: LiveServer, bucket: str, *, clients: int, seed: int, object_bytes: float = math.inf
    ) -> None:
        iam = server.client("iam")
        iam.create_user(UserName="poor")
        made = iam.create_access_key(UserName="poor")["AccessKey"]
        poor = {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}
        self.bucket = bucket
        room = object_bytes / clients
        self.clients = [Client(server, bucket, poor, number=each, seed=seed, room=room) for each in range(clients)]
        for service in ("sts", "s3", "iam", "cloudtrail"):  # made here: a client takes longer than many of its calls
            for region in REGIONS:
                server.client(service, region)
            server.client(service, HOME, poor)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Let the clients call."""
        self._stop.clear()
        self._threads = [threading.Thread(target=client.run, args=(self._stop,)) for client in self.clients]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let each client finish its call, and wait for that."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def cut_short(self) -> int:
        """How many answers broke off after their head."""
        return sum(client.cut_short for client in self.clients)

    def answered(self) -> dict[str, str]:
        """The operation of each request ID that a client was answered with."""
        return dict(pair for client in self.clients for pair in client.answered)


def describe(load: Load) -> str:
    """What was done, in one line of JSON, for a report."""
    clients = load.clients
    return json.dumps(
        {
            "answered": sum(len(client.answered) for client in clients),
            "unanswered": sum(client.unanswered for client in clients),
            "refused": sum(client.refused for client in clients),
            "cut short": load.cut_short(),
            "objects": sum(len(client.objects.there) for client in clients),
        }
    )
