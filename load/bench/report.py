"""What samples say together: ratios paired by round, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from load.bench.measure import Sample

OURS = "strongroom"


@dataclass(frozen=True)
class Spread:
    """One figure over all rounds."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


def ratios(samples: Iterable[Sample]) -> dict[str, dict[str, Spread]]:
    """By operation and other server: its CPU per request over ours, each round by itself.

    0.70 at the floor: we need 1/0.70 of what it needs. 10: ten times as cheap as that server.
    Rounds that are not valid for both do not count.
    """
    found: dict[tuple[str, str, int], float] = {
        (sample.operation, sample.server, sample.round): sample.cpu_us
        for sample in samples
        if not sample.faults
    }
    paired: dict[str, dict[str, list[float]]] = {}
    for (operation, server, turn), cpu in found.items():
        ours = found.get((operation, OURS, turn))
        if server != OURS and ours is not None:
            paired.setdefault(operation, {}).setdefault(server, []).append(cpu / ours)
    return {
        operation: {server: Spread.of(values) for server, values in servers.items()}
        for operation, servers in paired.items()
    }


def below_gate(
    found: Mapping[str, Mapping[str, Spread]], operations: Iterable[str], gate: float
) -> list[str]:
    """Why the gate is shut: an operation whose ratio to the floor is too low, or unknown."""
    reasons = []
    for operation in operations:
        spread = found.get(operation, {}).get("floor")
        if spread is None:
            reasons.append(f"{operation}: there is no valid ratio to the floor")
        elif spread.median < gate:
            reasons.append(f"{operation}: {spread.median:.3f} of the floor, wanted {gate:.2f}")
    return reasons


def invalid(samples: Iterable[Sample]) -> list[str]:
    """What was measured and does not count."""
    return [
        f"{sample.operation} of {sample.server}, round {sample.round + 1}: {fault}"
        for sample in samples
        for fault in sample.faults
    ]


def table(samples: Sequence[Sample]) -> str:
    """A line per operation and server: medians over the rounds, and the ratio with its spread."""
    found = ratios(samples)
    lines = [
        f"{'operation':<17}{'server':<21}{'CPU µs':>8}{'(min':>8}{'max)':>8}{'req/s':>8}"
        f"{'p50 ms':>8}{'p99 ms':>8}{'MiB':>6}  CPU / ours (min, max)"
    ]
    for operation in dict.fromkeys(sample.operation for sample in samples):
        for server in dict.fromkeys(sample.server for sample in samples):
            chosen = [s for s in samples if (s.operation, s.server) == (operation, server)]
            if chosen:
                lines.append(_line(operation, server, chosen, found))
    return "\n".join(lines)


def _line(
    operation: str,
    server: str,
    samples: Sequence[Sample],
    found: Mapping[str, Mapping[str, Spread]],
) -> str:
    cpu = Spread.of([sample.cpu_us for sample in samples])
    ratio = found.get(operation, {}).get(server)
    told = f"{ratio.median:6.2f} ({ratio.min:.2f}, {ratio.max:.2f})" if ratio else ""
    return (
        f"{operation:<17}{server:<21}{cpu.median:>8.1f}{cpu.min:>8.1f}{cpu.max:>8.1f}"
        f"{median(s.rate for s in samples):>8.0f}{median(s.p50_us for s in samples) / 1000:>8.2f}"
        f"{median(s.p99_us for s in samples) / 1000:>8.2f}{max(s.peak_mib for s in samples):>6.0f}"
        f"  {told}"
    ).rstrip()
