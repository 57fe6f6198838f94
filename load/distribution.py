"""How a run is spread over workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Distribution:
    """`workers` are expected at this address. `local` ones are started here, as processes."""

    workers: int
    host: str = "127.0.0.1"
    port: int = 0
    local: bool = True
    wait_seconds: float = 60.0
