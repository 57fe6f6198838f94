"""What samples say together: ratios paired by round, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from load.bench import picture
from load.bench.measure import Sample
from load.bench.picture import COLOURS, Bar

OURS = "strongroom"
# By how much the service is to be near to the floor and to what it was, and ahead of the others.
TARGETS = {"floor": 0.70, "baseline": 0.97, "fastapi_boto3": 10.0, "fastapi_aiobotocore": 5.0}


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


def below_gate(found: Mapping[str, Mapping[str, Spread]], gates: Mapping[str, float]) -> list[str]:
    """Why the gate is shut: an operation whose ratio to the floor is too low, or unknown."""
    reasons = []
    for operation, gate in gates.items():
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


# --- the picture --------------------------------------------------------------------------------

_WIDTH, _MARGIN = 1080.0, 28.0


def draw(samples: Sequence[Sample], path: Path) -> Path:
    """CPU time per request by operation and server at the left, ratios to ours at the right."""
    found = ratios(samples)
    servers = list(dict.fromkeys(sample.server for sample in samples))
    half = (_WIDTH - 3 * _MARGIN) / 2
    parts = [picture.text(_MARGIN, 38, "CPU time per request, and how it compares", "title")]
    parts.append(
        picture.text(
            _MARGIN,
            60,
            "Medians over rounds; thin lines from the least to the most. Dashed: the target.",
            "faint",
        )
    )
    top = 84.0
    for operation in dict.fromkeys(sample.operation for sample in samples):
        cpu = []
        for number, server in enumerate(servers):
            values = [s.cpu_us for s in samples if (s.operation, s.server) == (operation, server)]
            cpu.append(_bar(server, Spread.of(values), COLOURS[number]))
        parts += picture.bars(_MARGIN, top, half, operation, cpu, "{:.0f} µs")
        compared = [
            _bar(server, found[operation][server], COLOURS[number])
            for number, server in enumerate(servers)
            if server in found.get(operation, {})
        ]
        right = _MARGIN * 2 + half
        for bar in compared:
            head = f"{operation}: CPU time over ours" if bar is compared[0] else ""
            at = top + compared.index(bar) * (picture.ROW + 6)
            parts += picture.bars(
                right, at, half, head, [bar], "{:.2f}", {bar.name: TARGETS[bar.name]}
            )
        top += picture.bars_height(len(servers)) + 12
    return picture.write(path, _WIDTH, top + 10, parts)


def _bar(name: str, spread: Spread, colour: str) -> Bar:
    return Bar(name, spread.median, spread.min, spread.max, colour)
