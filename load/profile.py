"""A profile: how much load of what kind, for how long, and what must hold. One TOML file each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from load.operations import OPERATIONS

FOLDER = Path(__file__).parent / "profiles"
MOST_SECONDS = 12 * 3600.0
MOST_ARRIVALS = 2_000_000
_LEAST_FOR = {"p50_ms": 2, "p95_ms": 20, "p99_ms": 100}

Rate = Annotated[float, Field(ge=0, le=10_000)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0)]


class ProfileError(Exception):
    """What is wrong with it, in lines that say where."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Strict):
    """Arrivals per second over some time: `rate`, or from one rate to another evenly."""

    seconds: float = Field(gt=0, le=MOST_SECONDS)
    start: Rate
    end: Rate

    @model_validator(mode="before")
    @classmethod
    def _even(cls, given: object) -> object:
        if isinstance(given, dict) and "rate" in given:
            rest = {name: value for name, value in given.items() if name != "rate"}
            if rest.keys() & {"start", "end"}:
                raise ValueError("either 'rate', or 'start' and 'end'")
            return rest | {"start": given["rate"], "end": given["rate"]}
        return given

    @property
    def arrivals(self) -> float:
        """How many are expected."""
        return self.seconds * (self.start + self.end) / 2


class Sizes(_Strict):
    """A share of the documents created, their sizes even on a logarithmic scale."""

    share: float = Field(gt=0)
    least_bytes: int = Field(ge=1, le=64 * 1024 * 1024)
    most_bytes: int = Field(ge=1, le=64 * 1024 * 1024)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least_bytes > self.most_bytes:
            raise ValueError("least_bytes is above most_bytes")
        return self


class Thresholds(_Strict):
    """What must hold of one endpoint. Latencies count from the intended start."""

    rate_per_second: float | None = Field(default=None, ge=0, description="at least")
    p50_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    error_ratio: Ratio = 0.0
    shed_ratio: Ratio = 0.0


class Gate(_Strict):
    """What must hold of the run as a whole."""

    min_requests: int = Field(ge=1)
    rate_ratio: Ratio = Field(default=0.95, description="of the scheduled rate, at least")
    late_p99_ms: Milliseconds = Field(
        default=250, description="by which requests may be sent late: the load's own fault"
    )
    drift_ratio: float | None = Field(
        default=None, gt=1, description="the last quarter's median over the second quarter's"
    )


class Noise(_Strict):
    """Another tenant's requests beside the load, more than its limit lets in."""

    start_seconds: float = Field(gt=0, description="until then the load is alone")
    rate: float = Field(gt=0, le=10_000, description="requests a second")
    refused_ratio: float = Field(gt=0, le=1, description="that must get 429, at least")
    p99_ratio: float = Field(gt=1, description="of the load beside it over the load alone")


class Profile(_Strict):
    """Everything that a run is made of, but for the target."""

    name: str = ""
    about: str
    arrivals: Literal["poisson", "constant"] = "poisson"
    seed: int = Field(default=1, ge=0)
    users: int = Field(ge=1, le=5_000, description="requests at once, at most: the pool")
    timeout_seconds: float = Field(default=10, gt=0, le=120)
    documents: int = Field(default=20, ge=5, le=10_000, description="made before it starts")
    stages: list[Stage] = Field(min_length=1)
    mix: dict[str, Annotated[float, Field(gt=0)]] = Field(min_length=1)
    sizes: list[Sizes] = Field(min_length=1)
    gate: Gate
    thresholds: dict[str, Thresholds]
    noise: Noise | None = None
    settings: dict[str, str] = Field(
        default_factory=dict, description="of a service that is started for the run"
    )

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def expected(self) -> float:
        """Arrivals, on average."""
        return sum(stage.arrivals for stage in self.stages)

    @property
    def endpoints(self) -> list[str]:
        """Those that the mix calls, each with thresholds."""
        return [endpoint for operation in self.mix for endpoint in OPERATIONS[operation]]

    def shortened(self, seconds: float) -> Self:
        """Its highest rate for a while, without thresholds: to warm a service up."""
        rate = max(max(stage.start, stage.end) for stage in self.stages)
        stages = [Stage(seconds=seconds, start=rate, end=rate)]
        gate = self.gate.model_copy(update={"min_requests": 1})
        none = {endpoint: Thresholds() for endpoint in self.thresholds}
        return self.model_copy(
            update={"stages": stages, "gate": gate, "thresholds": none, "noise": None}
        )

    def share(self, operation: str) -> float:
        return self.mix[operation] / sum(self.mix.values())

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        unknown = sorted(self.mix.keys() - OPERATIONS.keys())
        if unknown:
            raise ValueError(f"mix: there is no {unknown[0]!r}; known are {', '.join(OPERATIONS)}")
        if self.seconds > MOST_SECONDS:
            raise ValueError(f"stages: longer than {MOST_SECONDS / 3600:g} hours")
        if not 1 <= self.expected <= MOST_ARRIVALS:
            raise ValueError(f"stages: {self.expected:g} arrivals; 1 to {MOST_ARRIVALS:,} can be")
        if self.gate.min_requests > self.expected:
            raise ValueError(
                f"gate: min_requests is {self.gate.min_requests}, but the stages have only "
                f"{self.expected:g} arrivals"
            )
        if self.thresholds.keys() != set(self.endpoints):
            odd = sorted(self.thresholds.keys() ^ set(self.endpoints))
            raise ValueError(
                f"thresholds: {', '.join(odd)}: wanted is exactly what the mix calls: "
                + ", ".join(self.endpoints)
            )
        for operation in self.mix:
            self._enough_for_percentiles(operation)
        if self.noise is not None and self.noise.start_seconds >= self.seconds:
            raise ValueError("noise: start_seconds is after the end")
        return self

    def _enough_for_percentiles(self, operation: str) -> None:
        """A p99 of thirty requests is their maximum by another name."""
        count = self.expected * self.share(operation)
        for endpoint in OPERATIONS[operation]:
            for name, least in _LEAST_FOR.items():
                if getattr(self.thresholds[endpoint], name) is not None and count < least:
                    raise ValueError(
                        f"thresholds: {endpoint}: {name} needs {least} requests, but only "
                        f"{count:.0f} are expected: run longer, or leave it out"
                    )


def load_profile(name: str) -> Profile:
    """By its name, or by the path of a file. Raises `ProfileError`."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        raise ProfileError(f"there is no profile {name!r}; known are {', '.join(known())}")
    try:
        content = tomllib.loads(path.read_text())
        return Profile.model_validate(_filled(content) | {"name": path.stem})
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [f"  {_place(e['loc'])}{e['msg']}" for e in error.errors()]
        raise ProfileError("\n".join([f"{path}:", *lines])) from error


def known() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _filled(content: dict[str, object]) -> dict[str, object]:
    """`[thresholds.every]` says what holds for each endpoint that does not say otherwise."""
    thresholds, mix = content.get("thresholds"), content.get("mix")
    if not isinstance(thresholds, dict) or not isinstance(mix, dict) or "every" not in thresholds:
        return content
    common = thresholds["every"]
    named = {k: v for k, v in thresholds.items() if k != "every"}
    called = {e for operation in mix for e in OPERATIONS.get(operation, ())}
    if not isinstance(common, dict) or not all(isinstance(v, dict) for v in named.values()):
        return content | {"thresholds": named}
    full = {k: common | named.get(k, {}) for k in [*called, *named]}
    return content | {"thresholds": full}


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
