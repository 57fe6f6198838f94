"""Prometheus metrics. Labels are route templates and known names only, never what clients send."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"
_LABELS = ("method", "route", "status")
_CLASSES = {status: f"{status // 100}xx" for status in range(100, 600)}
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class _Durations:
    """A histogram in seconds by labels, observed by one thread. The client library's own takes
    several times as long to observe, and every request is observed twice or more."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...]) -> None:
        self._about = (name, documentation, labels)
        self._series: dict[tuple[str, ...], list[float]] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        series = self._series.get(labels)
        if series is None:  # the count of each bucket, of what is beyond them, and the sum
            series = self._series[labels] = [0.0] * (len(_SECONDS) + 2)
        series[bisect_left(_SECONDS, seconds)] += 1
        series[-1] += seconds

    def counts(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for labels, series in list(self._series.items()):
            yield labels, sum(series[:-1])

    def collect(self) -> Iterator[Metric]:
        name, documentation, names = self._about
        family = HistogramMetricFamily(name, documentation, labels=names)
        bounds = [str(float(bound)) for bound in _SECONDS] + ["+Inf"]
        for labels, series in list(self._series.items()):  # a thread may serve it
            buckets = list(zip(bounds, accumulate(series[:-1]), strict=True))
            family.add_metric(labels, buckets, series[-1])
        yield family


class _Requests:
    """How many were answered: told from how long they took."""

    def __init__(self, durations: _Durations) -> None:
        self._durations = durations

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily("strongroom_requests", "Requests answered", labels=_LABELS)
        for labels, count in self._durations.counts():
            family.add_metric(labels, count)
        yield family


class Metrics:
    """Rate, errors and duration of requests, and of the calls to AWS."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._duration = _Durations(
            "strongroom_request_duration_seconds",
            "From the request's headers to the end of its answer",
            _LABELS,
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
        self._injected = Counter(
            "strongroom_faults_injected",
            "Requests that were failed or held up on purpose",
            ("kind",),
            registry=self.registry,
        )
        self._cut = Counter(
            "strongroom_clients_cut_off",
            "Clients that were too slow, or too many, by what they were waited for",
            ("reason",),
            registry=self.registry,
        )
        self._issuers = Counter(
            "strongroom_oidc_refreshes",
            "Requests for the keys of an issuer of tokens, by what came of them",
            ("result",),
            registry=self.registry,
        )
        self._aws = _Durations(
            "strongroom_aws_call_duration_seconds",
            "One attempt of a call to AWS",
            ("operation", "result"),
        )
        for own in (_Requests(self._duration), self._duration, self._aws):
            self.registry.register(own)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. `method` must be a known one: clients may send any."""
        self._duration.observe((method, route, _CLASSES[status]), seconds)

    def failed(self, method: str, route: str, problem: str) -> None:
        self._errors.labels(method, route, problem).inc()

    def shed(self, reason: str) -> None:
        self._shed.labels(reason).inc()

    def injected(self, kind: str) -> None:
        self._injected.labels(kind).inc()

    def issuer_asked(self, result: str) -> None:
        self._issuers.labels(result).inc()

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
        self._aws.observe((operation, result), seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)
