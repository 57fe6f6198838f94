"""Two operators at once, and a run that is killed half-way."""

from __future__ import annotations

import json
import os
import re
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
