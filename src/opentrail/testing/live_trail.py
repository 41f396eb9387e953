"""A trail of an account of its own, on an endpoint within this process: what the pytest plugin gives to a test.

Rules:

* One endpoint serves many tests (``TrailServer``); each has an account that was made for it, with its root user, and a
  trail that logs everything of all regions: management events, and data events of S3.
* The log files lie in a bucket of another account, which every account may read: the test's own account has no bucket.
* What was made for the test is not among its events; what the test's code was answered is, by then durable.
* Nothing needs pytest; boto3 only where a client is asked for (``callers``).
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from opentrail.core.events import EntryRoute, parse_route
from opentrail.core.findings import Finding, Severity
from opentrail.core.policy.log_bucket_policy import log_bucket_policy
from opentrail.core.recording import shared_copy
from opentrail.journal.base import EntryKind, StoredEntry
from opentrail.server.config import load_settings
from opentrail.server.credentials_file import find_profile
from opentrail.server.serving import ThreadedEndpoint, serve_on_thread
from opentrail.services.s3 import S3Deps
from opentrail.services.s3.names import upload_prefix
from opentrail.stores.memory import MemoryStore
from opentrail.testing.callers import Caller
from opentrail.testing.event_search import EventFilter, explain
from opentrail.testing.local_endpoint import Key, LocalAnswer, LocalEndpoint, LocalRequest
from opentrail.testing.verified_bucket import verify_bucket
from opentrail.testing.watched_calls import CallWatcher

LOG_BUCKET: Final = "opentrail-logs"
TRAIL: Final = "opentrail"
_FORM: Final = "application/x-www-form-urlencoded"
_CLOUDTRAIL: Final = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101."
_NEVER: Final = "365d"  # the test says when files are delivered
_STEP_SECONDS: Final = 0.02  # between two looks for an event that is yet to come
_SEVERITIES: Final = (Severity.INFO, Severity.WARNING, Severity.ERROR)
_SELECTORS: Final = (
    {"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]},
    {
        "FieldSelectors": [
            {"Field": "eventCategory", "Equals": ["Data"]},
            {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
            {"Field": "resources.ARN", "NotStartsWith": [f"arn:aws:s3:::{LOG_BUCKET}/"]},
        ]
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredFile:
    """A log file as it was delivered: its key in the log bucket, its bytes (gzip) and the records in it."""

    key: str
    data: bytes = field(repr=False)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records, in the file's order."""
        records: list[dict[str, Any]] = json.loads(gzip.decompress(self.data))["Records"]
        return records


class TrailServer:
    """An endpoint on a thread, with the account that owns the log bucket.  Made by ``open_trail_server``."""

    def __init__(self, endpoint: ThreadedEndpoint, region: str) -> None:
        self.url = endpoint.url
        self.region = region
        self.runtime = endpoint.runtime
        self._local = LocalEndpoint(endpoint.runtime, endpoint.loop)
        self._number = 0
        self.s3: S3Deps = endpoint.runtime.door.services["s3"].deps
        self._make_log_bucket()

    def send(self, request: LocalRequest, caller: Key, service: str, region: str) -> LocalAnswer:
        """The answer to a request of the fixture's own.  Raises ``AssertionError`` where it is an error."""
        answer = self._local.send(request.signed(caller, service, region))
        assert answer.status < 300, f"{service} answered {answer.status}: {answer.body.decode(errors='replace')}"
        return answer

    @contextmanager
    def open_trail(self) -> Iterator[LiveTrail]:
        """A trail in a new account, until the block is left; the account's buckets go with it."""
        trail = LiveTrail(self, self._make_account())
        try:
            yield trail
        finally:
            trail.close()

    def _make_account(self) -> Caller:
        """The root user of a new account."""
        self._number += 1
        name = f"test-{self._number}"
        path = self.runtime.settings.data_dir / f"credentials-{name}"
        made = self.runtime.account_desk.create({"name": name, "credentials": str(path)})
        account_id = str(made["account"]["account_id"])
        profile = find_profile(path, name)
        assert profile is not None, "it was made with its account"
        path.unlink()
        return Caller(
            name="root",
            arn=f"arn:aws:iam::{account_id}:root",
            account_id=account_id,
            region=self.region,
            endpoint_url=self.url,
            access_key_id=profile.access_key_id,
            secret_access_key=profile.secret,
        )

    def _make_log_bucket(self) -> None:
        bucket = f"arn:aws:s3:::{LOG_BUCKET}"
        policy = log_bucket_policy(LOG_BUCKET, account_ids=["*"])
        for statement in policy["Statement"]:
            if statement["Action"] == "s3:PutObject":
                statement["Resource"] = f"{bucket}/AWSLogs/*"
        reading = {"Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": [bucket, f"{bucket}/*"]}
        policy["Statement"].append({"Effect": "Allow", **reading})
        calls = (("PUT", "", ""), ("DELETE", "?publicAccessBlock", ""), ("PUT", "?policy", json.dumps(policy)))
        for method, query, body in calls:
            request = LocalRequest(method=method, target=f"/{LOG_BUCKET}{query}", body=body.encode())
            self.send(request, self._local.key, "s3", "us-east-1")


class LiveTrail:
    """A trail and the account that it is of.  ``root`` is the account's root user; ``bucket`` holds the log files."""

    def __init__(self, server: TrailServer, root: Caller) -> None:
        self._server = server
        self._runtime = server.runtime
        self._records: list[dict[str, Any]] = []
        self._own_requests: set[str] = set()
        self.root = root
        self.name = TRAIL
        self.bucket = LOG_BUCKET
        self.arn = f"arn:aws:cloudtrail:{root.region}:{root.account_id}:trail/{TRAIL}"
        self._position = self._runtime.journal.end
        self._watcher = CallWatcher(server.runtime, root.account_id, root.endpoint_url)
        self._cloudtrail(
            "CreateTrail", Name=TRAIL, S3BucketName=LOG_BUCKET, IsMultiRegionTrail=True, EnableLogFileValidation=True
        )
        self._cloudtrail("PutEventSelectors", TrailName=TRAIL, AdvancedEventSelectors=_SELECTORS)
        self._cloudtrail("StartLogging", Name=TRAIL)
        self.clear()

    @property
    def endpoint_url(self) -> str:
        """Where AWS clients find the endpoint."""
        return self.root.endpoint_url

    @property
    def account_id(self) -> str:
        """The account that was made for the test."""
        return self.root.account_id

    @property
    def region(self) -> str:
        """The home region of the trail, and of clients that name none."""
        return self.root.region

    @property
    def credentials(self) -> dict[str, str]:
        """The root user's access key, as boto3's arguments name its parts."""
        return self.root.credentials

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a process's AWS clients (the AWS CLI) call as the root user."""
        return self.root.environment

    @property
    def session(self) -> Any:
        """A ``boto3.Session`` of the root user.  Raises ``ConfigError`` where boto3 is not installed."""
        return self.root.session

    def client(self, service: str, *, region: str = "", **options: Any) -> Any:
        """A boto3 client of the root user.  Raises ``ConfigError`` where boto3 is not installed."""
        return self.root.client(service, region=region, **options)

    def user(self, name: str, policy: Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | None = None) -> Caller:
        """A new IAM user with an access key.

        ``policy`` is what it may do: a policy document, as an object or as JSON, or its statements; without one it may
        do nothing.
        """
        self._iam("CreateUser", UserName=name)
        if policy is not None:
            if not isinstance(policy, str | Mapping):
                policy = {"Version": "2012-10-17", "Statement": list(policy)}
            text = policy if isinstance(policy, str) else json.dumps(policy)
            self._iam("PutUserPolicy", UserName=name, PolicyName=f"{name}-may", PolicyDocument=text)
        made = self._iam("CreateAccessKey", UserName=name).body.decode()
        key = dict(re.findall("<(AccessKeyId|SecretAccessKey)>([^<]+)</", made))
        return replace(
            self.root,
            name=name,
            arn=f"arn:aws:iam::{self.account_id}:user/{name}",
            access_key_id=key["AccessKeyId"],
            secret_access_key=key["SecretAccessKey"],
        )

    def events(
        self,
        name: str | None = None,
        *,
        source: str | None = None,
        error: str | bool | None = None,
        user: str | None = None,
        region: str | None = None,
    ) -> list[dict[str, Any]]:
        """The account's records that show all of this (``EventFilter``), newest last."""
        wanted = EventFilter(name=name, source=source, error=error, user=user, region=region)
        self._read()
        return [record for record in self._records if wanted.matches(record)]

    def assert_recorded(
        self, name: str | None = None, *, count: int | None = None, within: float = 0, **shows: Any
    ) -> list[dict[str, Any]]:
        """The records that show ``name`` and what else is named (``EventFilter``): at least one, or ``count`` of them.

        Looks for ``within`` seconds, for what a thread or another process may call.  Raises ``AssertionError``, whose
        message tells the nearest records.
        """
        __tracebackhide__ = True
        wanted = EventFilter(name=name, **shows)
        deadline = time.monotonic() + within
        while True:
            self._read()
            found = [record for record in self._records if wanted.matches(record)]
            if len(found) == count or (count is None and found):
                return found
            if time.monotonic() >= deadline:
                break
            time.sleep(_STEP_SECONDS)
        if count is None or not found:
            message = f"not recorded: {wanted}\n{explain(wanted, self._records)}"
        else:
            times = "once" if len(found) == 1 else f"{len(found)} times"
            message = f"recorded {times}, not {count}: {wanted}\n{explain(wanted, found)}"
        raise AssertionError(message)

    def assert_not_recorded(self, name: str | None = None, **shows: Any) -> None:
        """Nothing shows ``name`` and what else is named.  Raises ``AssertionError`` with the records that do."""
        __tracebackhide__ = True
        self.assert_recorded(name, count=0, **shows)

    def watch(self, client: Any) -> None:
        """Record what this boto3 client does from now on, whoever answers it: moto, another endpoint, AWS."""
        self._watcher.watch(client)

    def watch_new_clients(self) -> AbstractContextManager[None]:
        """Within the block, record what every boto3 client does that is made there, whoever answers it."""
        return self._watcher.watch_new_clients()

    def flush(self) -> list[DeliveredFile]:
        """Deliver now; the log files of the account, oldest first.  Raises ``StorageError``."""
        self._read()  # first: what is delivered, the journal may forget
        self._runtime.flush(digest=False)
        return self.log_files()

    def log_files(self) -> list[DeliveredFile]:
        """The log files of the account that were delivered so far, oldest first."""
        files = self._fetch("CloudTrail")
        keys = sorted((info.key for info in files.list("")), key=lambda key: key.rsplit("/", 1)[-1])
        return [DeliveredFile(key=key, data=b"".join(files.get(key).chunks)) for key in keys]

    def validate(self, least: Severity = Severity.WARNING) -> list[Finding]:
        """Deliver with digests, and check all files of the trail: what was found of at least this severity.

        Nothing, unless somebody touched the log bucket.  Raises ``StorageError``.
        """
        self._read()
        self._runtime.flush(digest=True)
        store = self._fetch("")
        regions = sorted({info.key.split("/")[3] for info in store.list(f"AWSLogs/{self.account_id}/")})
        now = datetime.now(UTC)
        span = now - timedelta(days=1), now + timedelta(days=1)
        keys = [key for region in regions for key in self._runtime.keys.public_keys(region, *span)]
        found = verify_bucket(store, keys, bucket=LOG_BUCKET).findings
        return [each for each in found if _SEVERITIES.index(each.severity) >= _SEVERITIES.index(least)]

    def overwrite(self, key: str, data: bytes) -> None:
        """Be the attacker: put ``data`` in the place of a delivered file, its metadata kept."""
        store, place = self._server.s3.store, f"{LOG_BUCKET}/{key}"
        store.put(place, data, store.head(place).metadata)

    def clear(self) -> None:
        """Forget the events so far: only what comes now is found.  Log files keep them."""
        self._position = self._runtime.journal.end
        self._records.clear()

    def close(self) -> None:
        """Stop the trail and remove the account's buckets, so that the next test may use their names."""
        trails = json.loads(self._cloudtrail("DescribeTrails").body)["trailList"]
        for trail in trails:
            self._cloudtrail("DeleteTrail", region=trail["HomeRegion"], Name=trail["TrailARN"])
        s3 = self._server.s3
        for bucket in s3.buckets.owned_by(self.account_id):
            uploads = s3.buckets.uploads_of(bucket.name)
            for prefix in (f"{bucket.name}/", *(upload_prefix(each.upload_id) for each in uploads)):
                for info in list(s3.store.list(prefix)):
                    s3.store.delete(info.key)
            s3.buckets.delete(bucket.name)

    def _read(self) -> None:
        """Take what the journal has for the account since the last look."""
        journal = self._runtime.journal
        while self._position < journal.end:
            for entry in journal.read(self._position):
                self._position = entry.position
                route = parse_route(entry.route)
                if entry.kind is not EntryKind.INTENT and not route.own:
                    self._take(entry, route)

    def _take(self, entry: StoredEntry, route: EntryRoute) -> None:
        if self.account_id not in {each.account_id for each in route.receivers}:
            return
        record = json.loads(bytes(entry.payload))
        if record["requestID"] in self._own_requests:
            return
        self._records.append(record if route.account_id == self.account_id else shared_copy(record, self.account_id))

    def _fetch(self, kind: str) -> MemoryStore:
        """What lies in the log bucket of the account: all, or one kind's folder."""
        store, place = self._server.s3.store, f"{LOG_BUCKET}/"
        copy = MemoryStore()
        for info in store.list(f"{place}AWSLogs/{self.account_id}/" + (f"{kind}/" if kind else "")):
            found = store.get(info.key)
            copy.put(info.key.removeprefix(place), b"".join(found.chunks), found.info.metadata)
        return copy

    def _cloudtrail(self, operation: str, *, region: str = "", **parameters: Any) -> LocalAnswer:
        headers = [("x-amz-target", _CLOUDTRAIL + operation), ("content-type", "application/x-amz-json-1.1")]
        return self._call("cloudtrail", headers, json.dumps(parameters), region or self.region)

    def _iam(self, operation: str, **parameters: str) -> LocalAnswer:
        form = urlencode({"Action": operation, "Version": "2010-05-08", **parameters})
        return self._call("iam", [("content-type", _FORM)], form, "us-east-1")

    def _call(self, service: str, headers: list[tuple[str, str]], body: str, region: str) -> LocalAnswer:
        """A call of the fixture's own, which is not among the test's events."""
        request = LocalRequest(method="POST", target="/", headers=headers, body=body.encode())
        key = Key(id=self.root.access_key_id, secret=self.root.secret_access_key)
        answer = self._server.send(request, key, service, region)
        self._own_requests.add(answer.request_id)
        return answer


@contextmanager
def open_trail_server(folder: Path, region: str, settings: Mapping[str, str]) -> Iterator[TrailServer]:
    """An endpoint that keeps everything in ``folder``, on a free port of 127.0.0.1.

    ``settings`` are texts by a setting's name (``docs/configuration.md``); the environment sets none.  Raises
    ``ConfigError``.
    """
    wanted = {"data_dir": str(folder), "port": "0", "delivery_interval": _NEVER, "digest_interval": _NEVER, **settings}
    with serve_on_thread(load_settings(wanted, {}, None)) as endpoint:
        yield TrailServer(endpoint, region)
