"""Terragrunt, called: what it knows of the units, and one command over many of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.platform.errors import PlatformError

_QUIET = ("--no-color", "--no-tips", "--non-interactive")
_LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d+ +(\w+) +(?:\[(\S+)\] )?(?:terraform: )?(.*)$")
# What tells how far a run is. Never a plan's own lines: they hold values.
_PROGRESS = re.compile(
    r"^(Plan: |No changes\.|Apply complete!|Destroy complete!|Acquiring state lock"
    r"|\S+: (Creating|Modifying|Destroying|Still |Creation complete|Modifications complete"
    r"|Destruction complete|Importing|Import complete))"
)
_ID = re.compile(r" \[id=[^]]*\]")

# Of a plan that fails one wants to know of all the others. An apply stops: what comes after a
# failed unit was reviewed for a world in which it had succeeded, and a second try of the same plan
# file is stale as soon as the first has written anything.
_GO_ON = ("--queue-ignore-errors",)
_STOP = ("--fail-fast", "--no-auto-retry")

# Results of units that came after one that failed.
NOT_BEGUN = ("early exit", "excluded", "did not run")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """How a command over many units ended."""

    results: dict[str, str]  # by unit: succeeded, failed, early exit, excluded
    errors: str
    seconds: float
    log: Path | None = None
    failed: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return not self.failed


def hcl_locals(file: Path) -> dict[str, Any]:
    """The locals of an HCL file, as Terragrunt itself reads them."""
    return dict(_read("render", "--json", "--config", str(file.resolve()))["locals"] or {})


def units(folder: Path) -> dict[str, list[str]]:
    """Each unit below the folder with its dependencies, these first."""
    found = _read(
        "find", "--dag", "--json", "--dependencies", "--no-hidden", "--working-dir", str(folder)
    )
    if not found:
        raise PlatformError(f"no unit below {folder}")
    return {unit["path"]: unit.get("dependencies", []) for unit in found}


def backend(unit: Path) -> dict[str, Any]:
    return dict(_read("render", "--json", "--working-dir", str(unit))["remote_state"]["config"])


def version() -> str:
    return _call("--version").stdout.strip().rpartition(" v")[2]


def bootstrap(unit: Path, environ: Mapping[str, str]) -> None:
    """Make the bucket that the unit's state goes to."""
    _call("backend", "bootstrap", "--working-dir", str(unit), environ=environ)


def run_all(
    folder: Path,
    units: Collection[str],
    command: Collection[str],
    *,
    environ: Mapping[str, str],
    options: Collection[str] = (),
    log: Path | None = None,
    progress: Progress = lambda line: None,
) -> Run:
    """`run --all` over these units alone. What it prints goes to the log; a plan holds values.
    After a failure a plan goes on with the other units; whatever else ends those that run, and
    begins no more."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report.json"
        filters = [word for unit in units for word in ("--filter", f"{{./{unit}}}")]
        call = [
            *("terragrunt", "run", "--all", *_QUIET, "--summary-disable"),
            *(_GO_ON if next(iter(command)) == "plan" else _STOP),
            *("--working-dir", str(folder), "--report-file", str(report)),
            *filters,
            *options,
            "--",
            *command,
        ]
        lines = _follow(call, environ, log, progress)
        results = _results(report)
    missing = {unit: "did not run" for unit in units if unit not in results}
    failed = [unit for unit, result in (results | missing).items() if result != "succeeded"]
    return Run(results | missing, _errors(lines), time.monotonic() - started, log, sorted(failed))


def _results(report: Path) -> dict[str, str]:
    if not report.is_file():
        return {}
    return {entry["Name"]: entry["Result"] for entry in json.loads(report.read_text())}


def _follow(
    call: list[str], environ: Mapping[str, str], log: Path | None, progress: Progress
) -> list[tuple[str, str, str]]:
    """All lines as level, unit and text. An interrupt is Terraform's to heed: it saves its state
    and ends, and we wait for it."""
    lines: list[tuple[str, str, str]] = []
    with _log(log) as file, _popen(call, environ) as process:
        assert process.stdout is not None
        while process.poll() is None or not process.stdout.closed:
            try:
                for line in process.stdout:
                    file.write(line)
                    file.flush()
                    level, unit, text = _split(line)
                    if not level and lines and lines[-1][1]:
                        level, unit = lines[-1][:2]  # a message of several lines, about a unit
                    lines.append((level, unit, text))
                    if _PROGRESS.match(text):
                        progress(f"{unit}: {_ID.sub('', text)}" if unit else text)
                break
            except KeyboardInterrupt:
                print("  interrupted: Terraform ends what it began, and saves", file=sys.stderr)
    return lines


def _log(log: Path | None) -> Any:
    if log is None:
        return tempfile.TemporaryFile("w")
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return log.open("w")


def _popen(call: list[str], environ: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            call,
            env={**environ, "TF_IN_AUTOMATION": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError as error:
        raise _absent() from error


def _split(line: str) -> tuple[str, str, str]:
    found = _LINE.match(line.rstrip("\n"))
    if found is None:
        return "", "", line.rstrip("\n")
    return found[1], found[2] or "", found[3]


def _errors(lines: list[tuple[str, str, str]]) -> str:
    """What went wrong, as Terraform and Terragrunt say, each line once."""
    told = [f"[{unit}] {text}" if unit else text for level, unit, text in lines if level in _BAD]
    return "\n".join(dict.fromkeys(line for line in told if line.strip()))


_BAD = ("ERROR", "STDERR")


def _read(*arguments: str) -> Any:
    return json.loads(_call(*arguments).stdout)


def _call(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            ["terragrunt", *_QUIET, *arguments], capture_output=True, text=True, env=environ
        )
    except FileNotFoundError as error:
        raise _absent() from error
    if done.returncode != 0:
        raise PlatformError(f"terragrunt {' '.join(arguments)}:\n{done.stderr.strip()}")
    return done


def _absent() -> PlatformError:
    return PlatformError("terragrunt is not on the PATH: python -m scripts.platform doctor")
