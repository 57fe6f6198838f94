"""The command itself, against real services: truthful ones, lying ones, and none.

All commands of this file start together, a few at a time; each test waits for its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from load.operations import OPERATIONS
from load.verdict import opened
from tests.support.engines import Engine, free_port
from tests.support.service import Service, eventually, running

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "a" * 64
KEY = Ed25519PrivateKey.generate()
FULL = os.environ.get("STRONGROOM_FULL") == "1"

# Two seconds of every operation; nothing that depends on the machine's speed.
_PROFILE = """
about = "every operation, a few times"
arrivals = "constant"
users = {users}
documents = 6
seed = 3
timeout_seconds = 30
stages = [{{seconds = 2, rate = {rate}}}]
mix = {{{mix}}}
sizes = [{{share = 1, least_bytes = 200, most_bytes = 8000}}]
gate = {{min_requests = 10, rate_ratio = {rate_ratio}, late_p99_ms = 20000}}
[thresholds.every]
p50_ms = 20000
shed_ratio = {shed}
"""
_ALL = ", ".join(f"{name} = 1" for name in OPERATIONS)


def profile(
    folder: Path,
    name: str = "tiny",
    *,
    mix: str = _ALL,
    users: int = 24,
    rate: int = 24,
    rate_ratio: float = 0.01,
    shed: float = 0,
) -> str:
    path = folder / f"{name}.toml"
    path.write_text(
        _PROFILE.format(mix=mix, users=users, rate=rate, rate_ratio=rate_ratio, shed=shed)
    )
    return str(path)


@dataclass
class Outcome:
    code: int
    text: str
    data: dict[str, Any]

    def missed(self) -> set[str]:
        return {f"{t['place']} {t['name']}" for t in self.data["thresholds"] if not t["held"]}

    def measured(self, name: str) -> str:
        [found] = [t for t in self.data["thresholds"] if f"{t['place']} {t['name']}" == name]
        text: str = found["measured"]
        return text


def call(
    *arguments: str, out: Path | None = None, module: str = "load", **environment: str
) -> Outcome:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STRONGROOM_")}
    done = subprocess.run(
        [sys.executable, "-m", *module.split(), *arguments, *(["--out", str(out)] if out else [])],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    report = out / "report.json" if out else None
    data = json.loads(report.read_text()) if report and report.exists() else {}
    return Outcome(done.returncode, done.stdout + done.stderr, data)


def broken(fault: str) -> str:
    return f"tests.load.broken {fault}"


# --- the services, and all runs against them ----------------------------------------------------

_LIES = "wrong-bytes,lost-update,short-list,lead-away"
_QUICK = ("two-workers", "lies", "crash-at-start")


@dataclass
class Runs:
    futures: dict[str, Future[Outcome]]

    def __getitem__(self, name: str) -> Outcome:
        return self.futures[name].result()


def _plans(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """By name: the module that is run, and its arguments."""
    tiny = profile(folder)
    two = [tiny, "--workers", "2"]
    port = str(free_port())
    (folder / "key.pem").write_bytes(
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    signed = ["--verdict-of", DIGEST, "--verdict-key", str(folder / "key.pem")]
    return {
        "two-workers": ("load", [*two, *signed]),
        "lies": ("load", [tiny, "--key-env", "LIED_TO", *signed]),
        "crash-at-start": (broken("crash-at-start"), [tiny]),
        # --- in full only
        "no-worker": ("load", [tiny, "--expect-workers", "1", "--wait", "1", "--port", port]),
        "one-process": ("load", [tiny]),
        "exception": (broken("exception"), [tiny]),
        "crash-when-made": (broken("crash-when-made"), [tiny]),
        "crash-in-workers": (broken("crash-at-start"), two),
        "exception-in-workers": (broken("exception"), two),
        "users-vanish": (broken("users-vanish"), [tiny]),
        "stalls": (broken("stalls"), [tiny]),
        "silent-endpoint": (broken("silent-endpoint"), [tiny]),
        "worker-dies": (broken("worker-dies"), two),
    }


@pytest.fixture(scope="module")
def service(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It lies to `other_key`."""
    log = tmp_path_factory.mktemp("load") / "log"
    with running(ministack, "load", log, module="tests.load.lying", LIE=_LIES) as started:
        yield started


@pytest.fixture(scope="module")
def runs(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor(3) as pool:
        yield Runs(
            {
                name: pool.submit(
                    call, "run", "--url", service.url, "--profile", *arguments,
                    out=folder / name, module=module,
                    STRONGROOM_API_KEY=service.key, LIED_TO=service.other_key,
                )
                for name, (module, arguments) in _plans(folder).items()
                if FULL or name in _QUICK
            }
        )  # fmt: skip


# --- what is right ------------------------------------------------------------------------------


def all_is_well(outcome: Outcome) -> None:
    assert outcome.code == 0, outcome.text
    assert outcome.missed() == set()
    assert outcome.data["passed"]
    assert outcome.data["served"] == outcome.data["scheduled"]
    assert sum(outcome.data["scheduled"].values()) == 48
    assert set(outcome.data["endpoints"]["patch"]["statuses"]) == {"200", "412"}
    assert set(outcome.data["endpoints"]["revalidate"]["statuses"]) == {"304"}
    assert set(outcome.data["endpoints"]["redirect"]["statuses"]) == {"307"}


def test_a_run_spread_over_two_workers_is_green(runs: Runs) -> None:
    outcome = runs["two-workers"]
    all_is_well(outcome)
    assert outcome.measured("run workers at the end") == "2"
    assert {worker["users"] for worker in outcome.data["workers"]} == {12}


def test_a_run_of_one_process_is_green(runs: Runs) -> None:
    all_is_well(runs["one-process"])


@pytest.mark.parametrize(("name", "held"), [("two-workers", True), ("lies", False)])
def test_the_verdict_is_the_last_line_and_says_of_the_image_how_it_did(
    runs: Runs, service: Service, name: str, held: bool
) -> None:
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    said = opened(runs[name].text.strip().splitlines()[-1], public)
    assert (said["digest"], said["profile"], said["held"]) == (DIGEST, "tiny", held)
    assert said["url"] == service.url
    assert (said["missed"] == []) == held


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--verdict-of", DIGEST], "belong together"),
        (["--verdict-key", "pyproject.toml"], "belong together"),
        (["--verdict-of", "latest", "--verdict-key", "pyproject.toml"], "is no digest"),
        (["--verdict-of", DIGEST, "--verdict-key", "pyproject.toml"], "no private key"),
        (["--verdict-of", DIGEST, "--verdict-key", "nowhere.pem"], "No such file"),
    ],
)
def test_a_verdict_that_could_not_be_signed_sends_nothing(arguments: list[str], told: str) -> None:
    outcome = call("run", "--url", f"http://127.0.0.1:{free_port()}", *arguments)
    assert outcome.code == 2, outcome.text
    assert told in outcome.text


# --- what is wrong with the service -------------------------------------------------------------


def test_wrong_answers_are_errors_with_their_reasons(runs: Runs) -> None:
    outcome = runs["lies"]
    assert outcome.code == 1, outcome.text
    assert outcome.missed() == {
        "content errors",
        "fetch errors",
        "list errors",
        "patch errors",
        "run changes kept",
    }
    assert "wrong bytes" in outcome.measured("content errors")
    assert "elsewhere.example.com is not on the list" in outcome.measured("fetch errors")
    assert "a document is missing" in outcome.measured("list errors")
    reasons = outcome.data["endpoints"]["patch"]["errors"]
    assert "If-Match was not honoured: another revision was changed" in reasons


def test_what_is_shed_is_counted_apart_and_allowed_only_where_it_is_said(
    ministack: Engine, tmp_path: Path
) -> None:
    with running(
        ministack, "load-shed", tmp_path / "log", module="tests.load.lying", LIE="overloaded"
    ) as service:
        for allowed, code in ((0.0, 1), (1.0, 0)):
            outcome = call(
                "run", "--url", service.url, "--profile",
                profile(tmp_path, mix="read = 1, list = 1", shed=allowed),
                out=tmp_path / "out", STRONGROOM_API_KEY=service.other_key,
            )  # fmt: skip
            assert outcome.code == code, outcome.text
            assert outcome.measured("read errors") == "0.00%"
            assert outcome.data["endpoints"]["read"]["shed"] > 0
            assert outcome.data["endpoints"]["list"]["shed"] == 0


def test_arrivals_that_find_no_user_are_dropped_and_a_slow_rate_is_seen(
    ministack: Engine, tmp_path: Path
) -> None:
    with running(
        ministack, "load-slow", tmp_path / "log", module="tests.load.lying", LIE="slow",
        LIE_SECONDS="1.5",
    ) as service:  # fmt: skip

        def outcome(users: int) -> Outcome:
            return call(
                "run", "--url", service.url, "--profile",
                profile(tmp_path, mix="read = 1", users=users, rate=20, rate_ratio=0.9),
                out=tmp_path / "out", STRONGROOM_API_KEY=service.other_key,
            )  # fmt: skip

        few = outcome(5)
        assert few.code == 1
        assert {"run dropped arrivals", "run arrivals per second"} <= few.missed()
        assert 30 <= int(few.measured("run dropped arrivals")) < 40
        many = outcome(60)
        assert many.code == 1
        # All are served, but the last of them a second and a half after the schedule's end.
        assert many.missed() == {"run arrivals per second"}


# --- what is wrong with the load ----------------------------------------------------------------


def test_users_that_all_crash_are_no_success(runs: Runs) -> None:
    outcome = runs["crash-at-start"]
    assert outcome.code == 5, outcome.text
    assert {"run carried out", "run exceptions", "run requests"} <= outcome.missed()
    assert "no user can start" in outcome.measured("run exceptions")


def test_an_exception_in_a_task_is_no_success(runs: Runs) -> None:
    outcome = runs["exception"]
    assert outcome.code == 5, outcome.text
    assert {"run exceptions", "read called"} <= outcome.missed()
    assert "a task went wrong" in outcome.measured("run exceptions")


def test_a_worker_that_never_comes_is_no_success(runs: Runs) -> None:
    outcome = runs["no-worker"]
    assert outcome.code == 5, outcome.text
    assert "0 of 1 workers came" in outcome.measured("run carried out")
    assert "run workers at the end" in outcome.missed()


def test_users_that_cannot_be_made_are_no_success(runs: Runs) -> None:
    outcome = runs["crash-when-made"]
    assert outcome.code == 5, outcome.text
    assert "0 of 24 users started" in outcome.measured("run carried out")


def test_users_that_crash_in_workers_are_no_success(runs: Runs) -> None:
    outcome = runs["crash-in-workers"]
    assert outcome.code == 5, outcome.text
    assert "no user can start" in outcome.measured("run exceptions")


def test_an_exception_in_a_worker_is_no_success(runs: Runs) -> None:
    outcome = runs["exception-in-workers"]
    assert outcome.code == 5, outcome.text
    assert "a task went wrong" in outcome.measured("run exceptions")


def test_users_that_leave_half_way_are_no_success(runs: Runs) -> None:
    outcome = runs["users-vanish"]
    assert outcome.code == 5, outcome.text
    assert "run users at the end" in outcome.missed()


def test_latency_counts_from_the_intended_start(runs: Runs) -> None:
    """Two seconds of arrivals, for most of which the load generator stood still."""
    outcome = runs["stalls"]
    assert float(outcome.measured("run sent late, p99").removesuffix(" ms")) > 1000
    slowest = max(outcome.data["endpoints"].values(), key=lambda one: float(one["max_ms"]))
    assert slowest["max_ms"] > 1000


def test_an_endpoint_that_is_never_called_is_no_success(runs: Runs) -> None:
    outcome = runs["silent-endpoint"]
    assert outcome.code == 1, outcome.text
    assert {"content called", "content errors", "content p50"} <= outcome.missed()
    assert not any(name.startswith("read ") for name in outcome.missed())


def test_a_worker_that_dies_is_no_success(runs: Runs) -> None:
    outcome = runs["worker-dies"]
    assert outcome.code == 5, outcome.text
    assert "ended with 9" in outcome.measured("run carried out")
    assert "run workers at the end" in outcome.missed()


# --- what is not even begun ---------------------------------------------------------------------


def test_a_target_that_nobody_allowed_is_refused(tmp_path: Path) -> None:
    outcome = call(
        "run", "--url", "https://strongroom.example.com", out=tmp_path, STRONGROOM_API_KEY="x"
    )
    assert outcome.code == 3
    assert "strongroom.example.com is not on the list" in outcome.text
    assert "--allow-host" in outcome.text
    assert not outcome.data


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "--profile", "smok"], 2, "there is no profile 'smok'"),
        (["run", "--url", "http://127.0.0.1:1", "--key-env", "NO_KEY"], 2, "set NO_KEY"),
        (["run", "--url", "http://127.0.0.1:1"], 4, "no service is ready"),
        (["run", "--workers", "2", "--expect-workers", "2"], 2, "either --workers or"),
        (["run", "--workers", "1000"], 2, "1000 workers for 32 users"),
        (["compare", "--rounds", "2"], 2, "not from 3 to 100"),
        (["compare", "--a", "https://strongroom.example.com"], 3, "is not on the list"),
        (["compare", "--a", "no-such-revision"], 2, "nor a git revision"),
        (["worker", "--key-env", "NO_KEY"], 2, "set NO_KEY"),
    ],
)
def test_what_is_wrong_with_the_command_is_one_message(
    arguments: list[str], code: int, told: str
) -> None:
    outcome = call(*arguments, STRONGROOM_API_KEY="x")
    assert outcome.code == code, outcome.text
    assert told in outcome.text
    assert "Traceback" not in outcome.text


@pytest.mark.parametrize("command", [[], ["run"], ["compare"], ["worker"], ["profiles"]])
def test_every_command_explains_itself_and_its_exit_codes(command: list[str]) -> None:
    outcome = call(*command, "--help")
    assert outcome.code == 0
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 130):
        assert f"\n  {code:<4} " in outcome.text


# --- two services -------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "code", "told"), [("0.3", 6, "read p50"), ("0", 0, "passed")])
def test_a_slowed_copy_is_told_from_the_same(
    service: Service, ministack: Engine, tmp_path: Path, seconds: str, code: int, told: str
) -> None:
    with running(
        ministack, f"load-{code}", tmp_path / "log", module="tests.load.lying", LIE="slow",
        LIE_SECONDS=seconds,
    ) as slowed:  # fmt: skip
        outcome = call(
            "compare", "--a", service.url, "--b", slowed.url, "--key-env", "A", "--key-env-b", "B",
            "--profile", profile(tmp_path, mix="read = 1, list = 1", rate=20),
            "--rounds", "5", "--margin", "1",
            out=tmp_path / "out", A=service.key, B=slowed.other_key,
        )  # fmt: skip
    assert outcome.code == code, outcome.text
    slower = {d["endpoint"] for d in outcome.data["differences"] if d["verdict"] == "slower"}
    assert "list" not in slower
    assert ("read" in slower) == bool(code)
    assert told in outcome.text


@pytest.mark.parametrize(("seconds", "codes"), [("0.5", {6, 7}), ("0", {0, 7})])
def test_a_p95_that_doubles_on_a_merge_is_noticed(
    service: Service, ministack: Engine, tmp_path: Path, seconds: str, codes: set[int]
) -> None:
    """By the options of ci's load-compare, in rounds of two seconds: so few requests may leave it
    untold, which is red, too. With half a second more for each read it is never green."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    [command] = [step["run"] for step in jobs["load-compare"]["steps"] if "run" in step]
    told = re.fullmatch(r'make load-compare ARGS="--a \$BEFORE --profile merge (.*)"', command)
    assert told, command
    with running(
        ministack, f"merge-{seconds}", tmp_path / "log", module="tests.load.lying", LIE="slow",
        LIE_SECONDS=seconds,
    ) as slowed:  # fmt: skip
        outcome = call(
            "compare", "--a", service.url, "--b", slowed.url, "--key-env", "A", "--key-env-b", "B",
            "--profile", profile(tmp_path, mix="read = 1, list = 1", rate=20),
            *shlex.split(told[1]),
            out=tmp_path / "out", A=service.key, B=slowed.other_key,
        )  # fmt: skip
    assert outcome.code in codes, outcome.text
    [found] = outcome.data["differences"]
    assert (found["endpoint"], found["name"], len(found["a_ms"])) == ("all", "p95", 3)


# --- and its end ----------------------------------------------------------------------------------


def _descendants(pid: int) -> set[int]:
    children: dict[int, set[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, set()).add(int(stat.parent.name))
    found, todo = set[int](), [pid]
    while todo:
        below = children.get(todo.pop(), set())
        found |= below
        todo += below
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_it(tmp_path: Path, number: signal.Signals) -> None:
    """A killed load leaves neither its workers, nor the service that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "load", "run", "--workers", "2", "--profile",
         profile(tmp_path, mix="read = 1", rate=20).replace("seconds = 2", "seconds = 60"),
         "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("STRONGROOM_")},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "making documents" in line:
                break
        below = _descendants(process.pid)
        assert len(below) >= 4  # two workers, the service, its emulator
        process.send_signal(number)
        process.wait(60)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
