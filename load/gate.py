"""The verdict over a run: every threshold, held or not. Whatever is not known has not held."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from load.operations import OPERATIONS
from load.profile import Noise, Profile, Thresholds
from load.samples import ERROR, NOISE, SHED, Run, Sample, percentile

HELD, MISSED, UNSOUND = 0, 1, 5  # exit codes, see __main__

RUN = "run"
PERCENTILES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}


@dataclass(frozen=True)
class Verdict:
    """One threshold. `place` is an endpoint, or the run itself; a `sound` one says whether the
    measurement can be believed at all. `used` is the measured share of what is allowed."""

    place: str
    name: str
    wanted: str
    measured: str
    held: bool
    sound: bool = False
    used: float | None = None

    @property
    def text(self) -> str:
        return f"{self.place} {self.name}: wanted {self.wanted}, measured {self.measured}"


def judge(profile: Profile, run: Run) -> list[Verdict]:
    """All thresholds, in the order of a report."""
    verdicts = [*_soundness(profile, run), *_of_the_run(profile, run)]
    for operation in profile.mix:
        for endpoint in OPERATIONS[operation]:
            verdicts += _of_an_endpoint(endpoint, operation, profile.thresholds[endpoint], run)
    return verdicts + (_of_the_noise(profile.noise, run) if profile.noise else [])


def exit_code(verdicts: list[Verdict]) -> int:
    if any(verdict.sound and not verdict.held for verdict in verdicts):
        return UNSOUND
    held = bool(verdicts) and all(verdict.held for verdict in verdicts)
    return HELD if held else MISSED


def _soundness(profile: Profile, run: Run) -> list[Verdict]:
    def sound(name: str, wanted: str, measured: str, held: bool) -> Verdict:
        return Verdict(RUN, name, wanted, measured, held, sound=True)

    done = [worker for worker in run.workers if worker.phase == "done" and not worker.ended]
    users = sum(worker.users for worker in done)
    beside = [s for s in run.samples if s.endpoint in ("prepare", "verify") and s.outcome == ERROR]
    exceptions = _told([text.splitlines()[0] for text in run.exceptions])
    late = percentile(sorted(sample.late * 1000 for sample in run.measured), 0.99)
    return [
        sound("carried out", "to its end", run.failure or "to its end", not run.failure),
        sound(
            "workers at the end",
            str(run.workers_wanted),
            str(len(done)),
            len(done) == run.workers_wanted,
        ),
        sound("users at the end", str(profile.users), str(users), users == profile.users),
        sound("exceptions", "none", exceptions, not run.exceptions),
        sound("requests", f">= {profile.gate.min_requests}", str(len(run.measured)),
              len(run.measured) >= profile.gate.min_requests),
        sound("sent late, p99", f"<= {profile.gate.late_p99_ms:g} ms", f"{late:.1f} ms",
              late <= profile.gate.late_p99_ms),
        Verdict(RUN, "changes kept", "all", _told([s.reason for s in beside]) if beside else "all",
                not beside),
    ]  # fmt: skip


def _of_the_run(profile: Profile, run: Run) -> list[Verdict]:
    scheduled, served = sum(run.scheduled.values()), len(run.served)
    took = max(run.took, run.seconds, 1e-9)
    wanted, measured = scheduled / max(run.seconds, 1e-9), served / took
    least = profile.gate.rate_ratio * wanted
    unfinished = scheduled - served - len(run.drops)
    verdicts = [
        Verdict(RUN, "arrivals per second", f">= {least:.2f}", f"{measured:.2f}",
                scheduled > 0 and measured >= least, used=_share(least, measured)),
        Verdict(RUN, "dropped arrivals", "none", str(len(run.drops)), not run.drops),
        Verdict(RUN, "unfinished arrivals", "none", str(unfinished), unfinished <= 0),
    ]  # fmt: skip
    limit = profile.gate.drift_ratio
    if limit is not None:
        drift = _quarter(run, 3) / _quarter(run, 1)  # the first one warms up
        verdicts.append(
            Verdict(
                RUN, "drift", f"<= x{limit:g}", f"x{drift:.2f}", drift <= limit, used=drift / limit
            )
        )
    return verdicts


def _of_the_noise(noise: Noise, run: Run) -> list[Verdict]:
    """That it was refused, and that the others have hardly felt it."""
    samples = run.of(NOISE)
    refused = sum(sample.status == 429 for sample in samples) / len(samples) if samples else 0.0
    alone, beside = (_p99(run, noise.start_seconds, after=after) for after in (False, True))
    ratio = beside / max(alone, 1e-9)
    return [
        _ratio(NOISE, "errors", ERROR, 0.0, samples),
        Verdict(NOISE, "refused", f">= {noise.refused_ratio:.2%}", f"{refused:.2%}",
                refused >= noise.refused_ratio, used=_share(noise.refused_ratio, refused)),
        Verdict(RUN, "p99 beside noise", f"<= x{noise.p99_ratio:g}", f"x{ratio:.2f}",
                ratio <= noise.p99_ratio, used=ratio / noise.p99_ratio),
    ]  # fmt: skip


def _p99(run: Run, moment: float, *, after: bool) -> float:
    """Of all that was answered before or after a moment; NaN if nothing was."""
    answered = [sample for sample in run.measured if sample.outcome != SHED]
    found = [one.latency for one in answered if (one.intended >= moment) == after]
    return percentile(sorted(found), 0.99)


def _quarter(run: Run, number: int) -> float:
    """The median latency of a quarter of the time; NaN if it had none."""
    quarter = run.seconds / 4
    return percentile(
        sorted(
            sample.latency
            for sample in run.measured
            if sample.outcome != SHED and number <= sample.intended / quarter < number + 1
        ),
        0.5,
    )


def _of_an_endpoint(endpoint: str, operation: str, limits: Thresholds, run: Run) -> list[Verdict]:
    samples = run.of(endpoint)
    took = max(run.took, run.seconds, 1e-9)
    verdicts = [
        Verdict(endpoint, "called", "yes", f"{len(samples)} times", bool(samples)),
        _ratio(endpoint, "errors", ERROR, limits.error_ratio, samples),
        _ratio(endpoint, "shed", SHED, limits.shed_ratio, samples),
    ]
    if limits.rate_per_second is not None:
        rate = sum(sample.outcome not in (ERROR, SHED) for sample in samples) / took
        verdicts.append(
            Verdict(endpoint, "rate", f">= {limits.rate_per_second:g}/s", f"{rate:.2f}/s",
                    rate >= limits.rate_per_second, used=_share(limits.rate_per_second, rate))
        )  # fmt: skip
    latencies = sorted(s.latency * 1000 for s in samples if s.outcome != SHED)
    for name, share in PERCENTILES.items():
        limit = getattr(limits, name)
        if limit is not None:
            found = percentile(latencies, share)
            verdicts.append(
                Verdict(endpoint, name.removesuffix("_ms"), f"<= {limit:g} ms", f"{found:.1f} ms",
                        found <= limit, used=found / limit)
            )  # fmt: skip
    return verdicts


def _ratio(endpoint: str, name: str, outcome: str, limit: float, samples: list[Sample]) -> Verdict:
    found = [sample.reason for sample in samples if sample.outcome == outcome]
    ratio = len(found) / len(samples) if samples else float("nan")
    measured = f"{ratio:.2%}" + (f" ({_told(found)})" if found else "")
    wanted = f"<= {limit:.2%}" if limit else "none"
    return Verdict(
        endpoint, name, wanted, measured, ratio <= limit, used=ratio / limit if limit else None
    )


def _share(least: float, measured: float) -> float | None:
    return least / measured if measured else None


def _told(reasons: list[str]) -> str:
    """The most frequent ones, shortened."""
    if not reasons:
        return "none"
    most = Counter(reasons).most_common(2)
    told = ", ".join(f"{count}x {reason[:90]}" for reason, count in most)
    return told + (", ..." if len(set(reasons)) > 2 else "")
