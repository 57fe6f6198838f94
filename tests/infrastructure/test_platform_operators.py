"""Two operators at once, and a run that is killed half-way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from scripts.live_local.accounts import EmulatedAccounts
from tests.support.live_tree import LiveTree

QUEUE = "eu-central-1/queue"
VERSIONS = "modules/queue/versions.tf"


@pytest.fixture
def tree(accounts: EmulatedAccounts, tmp_path: Path, request: pytest.FixtureRequest) -> LiveTree:
    project = "pf-" + re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_"))[:20]
    return LiveTree.make(tmp_path, accounts, project.strip("-"), ("identity", "queue"))


@contextmanager
def bringing_up(tree: LiveTree, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An operator's run, in a process group of its own, as far as it is making the queue."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            tree.platform_call("bring-up", "dev", "--yes"),
            cwd=tree.root,
            env=tree.environ("dev"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _await(log, "aws_sqs_queue.this: Creating", process)
            yield process
        finally:
            _kill(process)


def _await(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 240
    while time.monotonic() < ends and process.poll() is None:
        if text in log.read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"no {text!r}:\n{log.read_text()}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole group, as when a machine goes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_of_two_operators_the_second_is_refused_or_waits(tree: LiveTree, tmp_path: Path) -> None:
    log = tmp_path / "first.log"
    with bringing_up(tree, log) as first:
        hasty = tree.platform("plan", "dev", "--unit", "queue", "--lock-timeout", "0s")
        assert first.poll() is None, "the first had ended: this tried nothing"
        assert hasty.returncode == 1
        assert f"{QUEUE} is locked by" in hasty.stderr
        assert "If that run lives, wait for it" in hasty.stderr
        patient = tree.platform("bring-up", "dev", "--yes", "--lock-timeout", "3m")
        assert patient.returncode == 0, patient.stderr
        assert first.wait(120) == 0, log.read_text()
    # Neither tore the other's work: all is there once, as it should be.
    assert tree.platform("drift", "dev").returncode == 0
    queues = tree.accounts.session("dev").client("sqs").list_queues(QueueNamePrefix=tree.project)
    assert len(queues["QueueUrls"]) == 1


_RUNS = """\
variable "name" { type = string }
resource "terraform_data" "this" {
  provisioner "local-exec" {
    command = "COMMAND"
  }
}
"""


def test_an_apply_stops_at_its_first_failure(tree: LiveTree, tmp_path: Path) -> None:
    """What runs beside it ends in peace; what would come after either is not begun."""
    log = tmp_path / "tried"
    commands = {
        "fails": ("identity", "exit 1"),
        "runs": ("identity", f"sleep 5; echo runs >> {log}"),
        "after-fails": ("fails", f"echo after-fails >> {log}"),
        "after-runs": ("runs", f"echo after-runs >> {log}"),
    }
    region = "live/dev/eu-central-1"
    for name, (need, command) in commands.items():
        tree.write(f"modules/{name}/main.tf", _RUNS.replace("COMMAND", command))
        tree.write(f"modules/{name}/versions.tf", (tree.root / VERSIONS).read_text())
        unit = (tree.root / f"{region}/queue/terragrunt.hcl").read_text()
        unit = unit.replace("modules/queue", f"modules/{name}").replace("../identity", f"../{need}")
        tree.write(f"{region}/{name}/terragrunt.hcl", unit)
    shutil.rmtree(tree.root / f"{region}/queue")
    tree.commit("a unit that fails")
    bootstrap = ["backend", "bootstrap", "--working-dir", f"{region}/identity"]
    assert tree.terragrunt(*bootstrap).returncode == 0
    identity = planned(tree, "--unit", "identity")
    assert tree.platform("apply", "dev", "--plan", identity).returncode == 0
    done = tree.platform("apply", "dev", "--plan", planned(tree))
    assert done.returncode == 1, done.stdout
    assert log.read_text().split() == ["runs"]
    assert "failed: eu-central-1/fails\n" in done.stderr
    assert "not begun after that: eu-central-1/after-fails, eu-central-1/after-runs." in done.stderr


def planned(tree: LiveTree, *arguments: str, **environ: str) -> str:
    done = tree.platform("plan", "dev", *arguments, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"^Plan (\S+)$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return found[1]


def test_a_busy_aws_is_asked_again_by_a_plan_and_never_by_an_apply(
    tree: LiveTree, tmp_path: Path
) -> None:
    """Terraform is played for each command's first time: AWS answers that it is too much."""
    log, real = tmp_path / "calls", shutil.which("terraform")
    (tmp_path / "terraform").write_text(
        "#!/bin/sh\n"
        f'case "$1" in plan | apply) echo "$1" >> {log} ;; esac\n'
        f'if [ -e "{tmp_path}/busy-$1" ]; then rm "{tmp_path}/busy-$1"\n'
        '  echo "Error: ThrottlingException: Rate exceeded" >&2; exit 1; fi\n'
        f'exec {real} "$@"\n'
    )
    (tmp_path / "terraform").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{tree.environ('dev')['PATH']}"}
    shutil.rmtree(tree.root / "live/dev/eu-central-1/queue")
    tree.commit("one unit")
    identity = ["backend", "bootstrap", "--working-dir", "live/dev/eu-central-1/identity"]
    assert tree.terragrunt(*identity).returncode == 0
    (tmp_path / "busy-plan").touch()
    plan = planned(tree, **path)
    assert log.read_text().split() == ["plan", "plan"]
    log.unlink()
    (tmp_path / "busy-apply").touch()
    failed = tree.platform("apply", "dev", "--plan", plan, **path)
    assert failed.returncode == 1
    assert "Rate exceeded" in failed.stderr
    assert log.read_text().split() == ["apply"]
    # By hand, too.
    log.unlink()
    (tmp_path / "busy-apply").touch()
    folder = ["run", "--working-dir", "live/dev/eu-central-1/identity", "--"]
    assert tree.terragrunt(*folder, "apply", "-auto-approve", **path).returncode != 0
    assert log.read_text().split() == ["apply"]


def test_a_run_that_is_killed_is_gone_on_with(tree: LiveTree, tmp_path: Path) -> None:
    with bringing_up(tree, tmp_path / "killed.log") as first:
        _kill(first)
    again = tree.platform("bring-up", "dev", "--yes", "--lock-timeout", "1s")
    assert again.returncode == 1
    assert f"{QUEUE} is locked by" in again.stderr
    unlock = re.search(r"^  terragrunt (force-unlock .*)$", again.stderr, re.MULTILINE)
    assert unlock, again.stderr
    assert unlock[1] in tree.platform("locks", "dev").stdout
    # Exactly what the message says, by somebody who knows that the run is dead.
    unlocked = tree.terragrunt(*unlock[1].split())
    assert unlocked.returncode == 0, unlocked.stderr
    assert tree.platform("locks", "dev").stdout == "no lock is held\n", unlocked.stdout
    done = tree.platform("bring-up", "dev", "--yes")
    assert done.returncode == 0, done.stderr
    assert "2 units, 1 of them changed" in done.stdout
    assert tree.platform("drift", "dev").returncode == 0


def test_what_a_killed_run_made_and_did_not_write_down_can_be_imported(
    tree: LiveTree,
) -> None:
    """Made by hand here: nobody can kill Terraform at just that point every time."""
    iam = tree.accounts.session("dev").client("iam")
    name = f"{tree.project}-dev-boundary"
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::y/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    arn = iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
    refused = tree.platform("bring-up", "dev", "--yes")
    assert refused.returncode == 1
    assert "docs/runbooks/stuck-lock.md tells how to import it" in refused.stderr
    identity = ["--working-dir", "live/dev/eu-central-1/identity"]
    imported = tree.terragrunt("import", *identity, "aws_iam_policy.boundary", arn)
    assert imported.returncode == 0, imported.stderr
    done = tree.platform("bring-up", "dev", "--yes")
    assert done.returncode == 0, done.stderr
