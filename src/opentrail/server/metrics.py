"""Metrics in Prometheus's text format: calls, refusals, the journal, delivery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from opentrail.core.wire.routing import Route

Reading = tuple[str, str, str, Callable[[], float]]  # name, "counter" or "gauge", help, its value now


class Metrics:
    """The endpoint's metrics.  ``readings`` are taken when they are asked for."""

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._registry = CollectorRegistry()
        self._calls: defaultdict[tuple[str, str, int], int] = defaultdict(int)  # of the event loop's thread alone
        self._refused = Counter(
            "opentrail_unauthenticated_calls",
            "Calls refused before anyone was proven",
            ["code"],
            registry=self._registry,
        )
        self.refusals = 0  # of all codes
        self._registry.register(_Calls(self._calls))
        self._registry.register(_Readings(tuple(readings)))

    def count_call(self, route: Route, status: int) -> None:
        """A call was answered."""
        # Names of operations that no model knows come from clients: they must not become labels without bound.
        operation = route.operation.name if route.operation is not None else "unknown"
        self._calls[route.service.name, operation, status] += 1

    def count_refusal(self, code: str) -> None:
        """A request was refused before its caller was proven."""
        self.refusals += 1
        self._refused.labels(code).inc()

    def render(self) -> tuple[str, bytes]:
        """The content type and the text of all metrics."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)


class _Calls(Collector):
    """Counted in a plain mapping: a ``Counter`` takes a lock and a microsecond each time."""

    def __init__(self, calls: Mapping[tuple[str, str, int], int]) -> None:
        self._calls = calls

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("opentrail_calls", "Calls answered", labels=["service", "operation", "status"])
        for (service, operation, status), count in list(self._calls.items()):
            family.add_metric([service, operation, str(status)], count)
        yield family


class _Readings(Collector):
    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        for name, kind, text, read in self._readings:
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(name, text, value=read())
