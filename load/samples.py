"""What was measured: every request as it was, so that workers' samples add up without loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OK, SHED, ERROR = "ok", "shed", "error"
# Another tenant's requests, meant to be refused.
NOISE = "noise"
# The variable with that tenant's key: the second one's of `make dev`.
NOISE_KEY = "STRONGROOM_API_KEY_2"
# Requests beside the load: documents made before it, what is looked up after it, and noise.
BESIDE = ("prepare", "verify", NOISE)


class Sample(NamedTuple):
    """One request. Times in seconds: `intended` since the start of the run, `latency` from the
    intended start to the whole answer, `service` from sending it."""

    endpoint: str
    intended: float
    latency: float
    service: float
    status: int
    size: int
    outcome: str
    reason: str

    @property
    def late(self) -> float:
        """How much later than intended it was sent: the load generator's own doing."""
        return self.latency - self.service


@dataclass
class Worker:
    """What one worker has told; `ended` is what ended it early, if anything did."""

    name: str
    users: int = 0
    phase: str = "connected"
    ended: str = ""


@dataclass
class Run:
    """Everything that came of a run."""

    seconds: float = 0.0  # of the schedule
    took: float = 0.0  # until the last answer
    started_at: float = 0.0  # Unix time
    url: str = ""
    seed: int = 0
    workers_wanted: int = 1
    workers: list[Worker] = field(default_factory=list)
    scheduled: dict[str, int] = field(default_factory=dict)  # by operation
    served: list[tuple[float, str]] = field(default_factory=list)  # ended at, operation
    samples: list[Sample] = field(default_factory=list)
    drops: list[tuple[float, str]] = field(default_factory=list)  # intended start, operation
    exceptions: list[str] = field(default_factory=list)
    failure: str = ""  # why there was no load at all
    intended: list[int] = field(default_factory=list)  # arrivals in each second

    @property
    def measured(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.endpoint not in BESIDE]

    def of(self, endpoint: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.endpoint == endpoint]

    def add(self, report: dict[str, Any]) -> None:
        """What a worker has told since it last did."""
        self.samples += [Sample(*row) for row in report["samples"]]
        self.drops += [(at, operation) for at, operation in report["drops"]]
        self.exceptions += report["exceptions"]
        self.served += [(at, operation) for at, operation in report["served"]]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least measured value that at least `share` of them do not exceed (0 < share <= 1).

    Never between two measured ones, and never below: with few samples a high percentile is the
    maximum. NaN if there are none.
    """
    if not ordered:
        return math.nan
    # 1e-9: 0.07 * 100 is more than 7 in binary.
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
