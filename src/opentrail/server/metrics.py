"""Metrics in Prometheus's text format: calls, refusals, the journal, delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
        self._calls = Counter(
            "opentrail_calls", "Calls answered", ["service", "operation", "status"], registry=self._registry
        )
        self._refused = Counter(
            "opentrail_unauthenticated_calls",
            "Calls refused before anyone was proven",
            ["code"],
            registry=self._registry,
        )
        self.refusals = 0  # of all codes
        self._children: dict[tuple[str, str, int], Counter] = {}
        self._registry.register(_Readings(tuple(readings)))

    def count_call(self, route: Route, status: int) -> None:
        """A call was answered."""
        # Names of operations that no model knows come from clients: they must not become labels without bound.
        operation = route.operation.name if route.operation is not None else "unknown"
        key = (route.service.name, operation, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._calls.labels(key[0], key[1], str(status))
        child.inc()

    def count_refusal(self, code: str) -> None:
        """A request was refused before its caller was proven."""
        self.refusals += 1
        self._refused.labels(code).inc()

    def render(self) -> tuple[str, bytes]:
        """The content type and the text of all metrics."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)


class _Readings(Collector):
    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        for name, kind, text, read in self._readings:
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(name, text, value=read())
