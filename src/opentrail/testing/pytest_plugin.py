"""The pytest plugin: a trail for each test, on an endpoint within the test's process.

Fixtures: ``opentrail_trail`` (a ``LiveTrail``); ``opentrail_env`` (the same, and the process's AWS clients go to it);
``opentrail_moto`` (the same, and what moto's mocks answer is recorded); ``opentrail_server`` (the endpoint under them,
one a process).  Rules:

* Nothing of Opentrail is imported, and nothing starts, before a test asks for a fixture.
* Everything lies in pytest's temporary folder and on a free port of 127.0.0.1: workers of xdist do not meet.
* A test that fails shows what its trail recorded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a session that uses no fixture of ours imports nothing of ours
    from opentrail.testing.live_trail import LiveTrail, TrailServer

_TRAIL: pytest.StashKey[LiveTrail] = pytest.StashKey()
_SHOWN_EVENTS = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's settings."""
    parser.addini("opentrail_region", "home region of the trails that tests are given", default="us-east-1")
    parser.addini(
        "opentrail_settings",
        "settings of the endpoint, a line each: name = value, as in docs/configuration.md",
        type="linelist",
        default=[],
    )
    group = parser.getgroup("opentrail")
    group.addoption(
        "--opentrail-settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the Opentrail endpoint that tests run against, beside those in the ini file",
    )


@pytest.fixture(scope="session")
def opentrail_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrailServer]:
    """The endpoint under all trails of this process."""
    from opentrail.testing.live_trail import open_trail_server  # noqa: PLC0415  the module's first rule

    folder = tmp_path_factory.mktemp("opentrail") / "data"
    with open_trail_server(folder, pytestconfig.getini("opentrail_region"), _read_settings(pytestconfig)) as server:
        yield server


@pytest.fixture
def opentrail_trail(request: pytest.FixtureRequest, opentrail_server: TrailServer) -> Iterator[LiveTrail]:
    """A trail that logs everything, in an account of its own."""
    with opentrail_server.open_trail() as trail:
        request.node.stash[_TRAIL] = trail
        yield trail


@pytest.fixture
def opentrail_env(opentrail_trail: LiveTrail, monkeypatch: pytest.MonkeyPatch) -> LiveTrail:
    """The trail, with the environment set so that AWS clients made from now on call its account's endpoint."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in opentrail_trail.environment.items():
        before = os.environ.get(name, "") if name.lower() == "no_proxy" else ""
        monkeypatch.setenv(name, f"{before},{value}" if before else value)
    boto3 = sys.modules.get("boto3")
    if boto3 is not None:
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it may remember other credentials
    return opentrail_trail


@pytest.fixture
def opentrail_moto(opentrail_trail: LiveTrail) -> Iterator[LiveTrail]:
    """The trail, with moto's mocks of all services; what clients made from now on call is recorded."""
    try:
        from moto import mock_aws  # noqa: PLC0415  optional
    except ImportError:
        pytest.fail("opentrail_moto needs moto: pip install moto", pytrace=False)
    with mock_aws(), opentrail_trail.watch_new_clients():
        yield opentrail_trail


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the trail of a test that failed has recorded."""
    report = yield
    trail = item.stash.get(_TRAIL, None)
    if trail is not None and report.when == "call" and report.failed:
        from opentrail.testing.event_search import describe  # noqa: PLC0415  the module's first rule

        events = trail.events()
        lines = [describe(record) for record in events[-_SHOWN_EVENTS:]]
        count = f"{len(events)} event{'' if len(events) == 1 else 's'}"
        title = f"Opentrail recorded {count}" + (", the last of them" if len(events) > len(lines) else "")
        report.sections.append((title, "\n".join(lines)))
    return report


def _read_settings(config: pytest.Config) -> dict[str, str]:
    """The endpoint's settings by name; what the command line says beats the file."""
    settings: dict[str, str] = {}
    for line in (*config.getini("opentrail_settings"), *config.getoption("opentrail_settings")):
        name, equals, value = line.partition("=")
        if not equals:
            raise pytest.UsageError(f"opentrail_settings: name=value is expected, not {line!r}")
        settings[name.strip().replace("-", "_")] = value.strip()
    return settings
