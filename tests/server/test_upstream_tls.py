"""An upstream behind TLS: its certificate is checked, and a call that met the wrong one never left."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.testing.certificates import make_certificate
from opentrail.testing.stub_upstream import run_stub_upstream
from opentrail.testing.upstream_trail import UpstreamTrail, run_upstream_trail

GOOD, OTHER_NAME, OTHER, OLD = "good", "other-name", "other", "old"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {
        GOOD: make_certificate(folder, GOOD),
        OTHER: make_certificate(folder, OTHER),
        OTHER_NAME: make_certificate(folder, OTHER_NAME, host="storage.example.org"),
        OLD: make_certificate(folder, OLD, days=-1),
    }


Start = Callable[..., AbstractContextManager[UpstreamTrail]]


@pytest.fixture
def start(certificates: dict[str, tuple[Path, Path]], tmp_path: Path) -> Start:
    """Opentrail that trusts ``trusted``, before an upstream that shows ``shown``."""

    @contextmanager
    def run(shown: str, trusted: str | None, **options: Any) -> Iterator[UpstreamTrail]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificates[shown])
        ca_file = certificates[trusted][0] if trusted else None
        with run_stub_upstream(tls) as stub, run_upstream_trail(tmp_path, stub, ca_file=ca_file, **options) as trail:
            yield trail

    return run


def test_an_upstream_whose_certificate_is_trusted(start: Start) -> None:
    with start(GOOD, GOOD) as trail:
        for size in (7, 3 << 20):
            trail.forget()
            trail.client("s3").put_object(Bucket="bucket", Key="k", Body=b"x" * size)
            assert "errorCode" not in trail.record()
            assert len(trail.stub.requests[-1].body) == size


@pytest.mark.parametrize(("shown", "trusted"), [(OTHER, GOOD), (OTHER_NAME, OTHER_NAME), (OLD, OLD), (GOOD, None)])
def test_a_certificate_that_is_not_trusted(start: Start, shown: str, trusted: str | None) -> None:
    calls: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
        ("s3", "ServiceUnavailable", lambda client: client.put_object(Bucket="bucket", Key="k", Body=b"c")),
        ("ec2", "Unavailable", lambda client: client.create_vpc(CidrBlock="10.0.0.0/16")),
        ("dynamodb", "ServiceUnavailable", lambda client: client.delete_table(TableName="table")),
    )
    with start(shown, trusted) as trail:
        for service, code, call in calls:
            trail.forget()
            with pytest.raises(ClientError) as caught:
                call(trail.client(service))
            error = caught.value.response
            assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (code, 503)
            assert "certificate" in error["Error"]["Message"]
            record = trail.record()
            assert record["errorCode"].removeprefix("Server.") == code
            assert record["errorMessage"] == error["Error"]["Message"]
            assert "not known" not in record["errorMessage"], "nothing was sent"
        assert trail.stub.requests == []


def test_no_check_where_none_is_wanted(start: Start) -> None:
    with start(OTHER_NAME, None, verify=False) as trail:
        trail.client("s3").put_object(Bucket="bucket", Key="k", Body=b"c")
        assert "errorCode" not in trail.record()


def test_an_upstream_that_speaks_no_tls(certificates: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    with (
        run_stub_upstream() as stub,
        run_upstream_trail(tmp_path, stub, tls=True, ca_file=certificates[GOOD][0]) as trail,
    ):
        with pytest.raises(ClientError) as caught:
            trail.client("s3").put_object(Bucket="bucket", Key="k", Body=b"c")
        assert caught.value.response["Error"]["Code"] == "ServiceUnavailable"
        assert trail.record()["errorCode"] == "ServiceUnavailable"
        assert stub.requests == []
