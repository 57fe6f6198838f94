"""Prometheus metrics. Labels are route templates and known names only, never what clients send."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Rate, errors and duration of requests, and of the calls to AWS."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        labels = ("method", "route", "status")
        self._requests = Counter(
            "strongroom_requests", "Requests answered", labels, registry=self.registry
        )
        self._duration = Histogram(
            "strongroom_request_duration_seconds",
            "From the request's headers to the end of its answer",
            labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            "strongroom_errors",
            "Requests answered with a problem",
            ("method", "route", "problem"),
            registry=self.registry,
        )
        self._shed = Counter(
            "strongroom_requests_shed",
            "Requests refused because there were too many",
            ("reason",),
            registry=self.registry,
        )
        self._cut = Counter(
            "strongroom_clients_cut_off",
            "Clients that were too slow, or too many, by what they were waited for",
            ("reason",),
            registry=self.registry,
        )
        self._aws = Histogram(
            "strongroom_aws_call_duration_seconds",
            "One attempt of a call to AWS",
            ("operation", "result"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._aws_children: dict[tuple[str, str], Histogram] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `method` must be a known one: clients may send any."""
        key = (method, route, status // 100)
        children = self._children.get(key)
        if children is None:
            values = (method, route, f"{status // 100}xx")
            children = (self._requests.labels(*values), self._duration.labels(*values))
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def failed(self, method: str, route: str, problem: str) -> None:
        self._errors.labels(method, route, problem).inc()

    def shed(self, reason: str) -> None:
        self._shed.labels(reason).inc()

    def cut_off(self, reason: str) -> None:
        self._cut.labels(reason).inc()

    def gauge(
        self, name: str, documentation: str, label: str, readings: Mapping[str, Callable[[], float]]
    ) -> None:
        """Values that are read when somebody asks, by their label's value. Without a `label`
        there is one, under any name."""
        labels = (label,) if label else ()
        gauge = Gauge(name, documentation, labels, registry=self.registry)
        for value, reading in readings.items():
            (gauge.labels(value) if label else gauge).set_function(reading)

    def aws_call(self, operation: str, result: str, seconds: float) -> None:
        key = (operation, result)
        child = self._aws_children.get(key)
        if child is None:
            child = self._aws_children[key] = self._aws.labels(operation, result)
        child.observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)
