"""Samples as they are measured."""

from __future__ import annotations

from load.bench.measure import Sample


def sample(server: str, cpu_us: float, turn: int = 0, **other: object) -> Sample:
    """A valid one of 1,000 requests, unless told otherwise."""
    told: dict[str, object] = {
        "server": server,
        "operation": "read_metadata",
        "round": turn,
        "requests": 1000,
        "errors": 0,
        "seconds": cpu_us / 1000,
        "cpu_seconds": cpu_us / 1000,
        "p50_us": 7000,
        "p99_us": 9000,
        "peak_mib": 60.0,
        "waited_share": 0.0,
        "responder_share": 0.1,
        "generator_share": 0.1,
    }
    return Sample(**(told | other))  # type: ignore[arg-type]
