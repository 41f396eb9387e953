"""What holds for all tests: how far ``make test`` goes, and what it leaves to ``make test-long``.

``make test`` tries the same examples of every property each time, so that what passed once passes on every machine;
``make test-long`` tries other ones, and more.  No property has a deadline: machines under load are slow, not wrong.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

_LONG = bool(os.environ.get("OPENTRAIL_LONG"))

settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=1000)
settings.load_profile("search" if _LONG else "repeatable")


def pytest_configure() -> None:
    """Ctrl-C means something in the tests, and to the commands that they start.

    A shell lets what it runs in the background ignore it, and everything that is started there inherits that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _LONG:
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="make test-long runs it"))
