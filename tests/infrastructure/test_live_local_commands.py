"""`python -m scripts.live_local`, with a Terragrunt that only writes down how it was called."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.live_local import inventory, provider, supervisor, tree, workers
from scripts.live_local.accounts import EmulatedAccounts
from scripts.live_local.operations import Operations
from scripts.live_local.workers import Command

ROOT = Path(__file__).parents[2]

TERRAGRUNT = """#!/bin/sh
echo "$AWS_PROFILE|destroy=$STRONGROOM_DESTROY|unreviewed=$STRONGROOM_UNREVIEWED|$*" >> CALLS
if [ -n "$SLOW" ]; then /bin/sleep "$SLOW"; fi
echo "Apply complete! Resources: 1 added"
if [ "$AWS_PROFILE" = "$BROKEN" ]; then echo "Error: it broke"; exit 1; fi
"""
# As `terraform init` does.
TERRAFORM = """#!/bin/sh
/bin/mkdir -p .terraform/providers/registry.terraform.io/hashicorp/aws/VERSION/os_arch
echo > .terraform/providers/registry.terraform.io/hashicorp/aws/VERSION/os_arch/provider
"""


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Tool:
    home: Path
    calls: Path
    environment: dict[str, str]

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "scripts.live_local"),
                *("--directory", str(self.home), *arguments),
            ],
            cwd=ROOT,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As at a terminal: in the background of a script SIGINT is ignored, for good.
            preexec_fn=_heed_interrupts,
        )

    def run(self, *arguments: str, **more: str) -> tuple[int, str]:
        with self.start(*arguments, **more) as process:
            output, _ = process.communicate(timeout=180)
        return process.returncode, output

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    @property
    def accounts(self) -> EmulatedAccounts:
        found = EmulatedAccounts(self.home / "live")
        assert found.attach()
        return found

    def make_state(self, profile: str, unit: str) -> None:
        """As if Terraform had made one resource there."""
        state = {
            "resources": [{"mode": "managed", "type": "t", "name": "n", "instances": [{}]}],
            "outputs": {"vpc_id": {"value": "vpc-1"}, "table_name": {"value": "documents"}},
        }
        s3 = self.accounts.session(profile).client("s3")
        bucket = f"strongroom-{profile}-{self.accounts.account_ids[profile]}-tfstate"
        if inventory.state_bucket(self.accounts, profile) is None:
            s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
            )
        key = f"eu-central-1/{unit}/terraform.tfstate"
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(state).encode())


@pytest.fixture
def tool(tmp_path: Path) -> Iterator[Tool]:
    """No git on its PATH: so the tree counts as not committed, and Terragrunt itself is called."""
    tools, calls = tmp_path / "tools", tmp_path / "calls"
    tools.mkdir()
    for name, script in (("terragrunt", TERRAGRUNT), ("terraform", TERRAFORM)):
        written = script.replace("CALLS", str(calls)).replace("VERSION", provider.pinned())
        (tools / name).write_text(written)
        (tools / name).chmod(0o700)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
    environment = kept | {"PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    found = Tool(tmp_path / "dev", calls, environment)
    yield found
    EmulatedAccounts(found.home / "live").stop()


def test_up_applies_each_account_as_its_administrator_and_leaves_them_running(tool: Tool) -> None:
    code, output = tool.run("up")

    assert code == 0, output
    applied = [call for call in tool.called() if " apply " in call]
    for profile in tree.PROFILES:
        assert [c for c in applied if c.startswith(f"{profile}|destroy=|unreviewed={profile}|")]
        assert f"{profile} ({tool.accounts.account_ids[profile]}): " in output
    assert "3 accounts stand after" in output
    assert supervisor.running(tool.home / "live") is not None


def test_what_a_shell_sources_leads_to_the_accounts_and_nowhere_else(tool: Tool) -> None:
    tool.run("up")
    shell = (
        "AWS_ENDPOINT_URL=http://127.0.0.1:1; AWS_ACCESS_KEY_ID=other; export AWS_ENDPOINT_URL "
        f"AWS_ACCESS_KEY_ID; . {tool.home}/live.env; export AWS_PROFILE=prod; "
        f"{sys.executable} -c 'import boto3, os; print(os.environ); "
        'print(boto3.client("sts").get_caller_identity()["Account"])\''
    )
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60)

    assert done.stdout.splitlines()[-1] == tool.accounts.account_ids["prod"], done.stderr
    text = (tool.home / "live.env").read_text()
    assert "AWS_ENDPOINT_URL" not in text
    for name in ("HTTPS_PROXY", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CONFIG_FILE"):
        assert f"\n{name}=" in text
    assert (tool.home / "live.env").stat().st_mode & 0o777 == 0o600
    assert tool.run("env") == (0, text)


def test_a_failure_is_told_with_its_account_and_others_go_on(tool: Tool) -> None:
    code, output = tool.run("up", BROKEN="staging")

    assert code == 1
    assert "staging failed; the end of " in output
    assert "Error: it broke" in output
    assert "Run the same command again" in output
    assert [call for call in tool.called() if call.startswith("prod|") and " apply " in call]


def test_status_and_down(tool: Tool) -> None:
    assert tool.run("status") == (3, "no emulator runs here\n")
    assert tool.run("env")[0] == 3
    assert tool.run("down") == (0, "no emulator runs here\n")
    assert tool.run("destroy")[0] == 0

    tool.run("up")
    tool.make_state("dev", "network")
    code, output = tool.run("status")
    assert code == 0
    assert "dev (111122223333): 1 resource\n" in output
    assert "eu-central-1/network    1  vpc-1" in output
    assert "table_name documents" in output

    code, output = tool.run("down")
    assert code == 0
    assert not (tool.home / "live.env").exists()
    assert tool.run("status") == (3, "no emulator runs here; an `up` goes on with what is kept\n")


def test_destroy_lifts_the_protection_of_protected_accounts_and_of_no_other(tool: Tool) -> None:
    tool.run("up")
    tool.make_state("dev", "network")
    tool.make_state("prod", "network")
    tool.make_state("prod", "document-store")
    tool.calls.unlink()

    code, output = tool.run("destroy")

    assert code == 1, "the stub destroys nothing, and that must be noticed"
    assert "prod: left are eu-central-1/document-store, eu-central-1/network" in output
    assert supervisor.running(tool.home / "live") is not None
    start = "run --all --non-interactive"
    only = "--filter {./eu-central-1/network}"
    both = f"--filter {{./eu-central-1/document-store}} {only}"
    assert [call for call in tool.called() if call.startswith("dev|")] == [
        f"dev|destroy=|unreviewed=|{start} {only} -- destroy -lock-timeout=5m"
    ]
    assert [call for call in tool.called() if call.startswith("prod|")] == [
        f"prod|destroy=prod|unreviewed=prod|{start} {both} -- apply -lock-timeout=5m",
        f"prod|destroy=prod|unreviewed=prod|{start} {both} -- destroy -lock-timeout=5m",
    ]
    assert not [call for call in tool.called() if call.startswith("staging|")]


def test_destroying_one_account_leaves_the_emulator_and_the_others(tool: Tool) -> None:
    tool.run("up")
    tool.make_state("prod", "network")
    tool.calls.unlink()

    code, output = tool.run("destroy", "dev")

    assert code == 0, output
    assert "dev: nothing is left" in output
    assert tool.called() == []
    assert supervisor.running(tool.home / "live") is not None


def test_destroying_all_stops_the_emulator_and_forgets_its_accounts(tool: Tool) -> None:
    tool.run("up")
    code, output = tool.run("destroy")

    assert code == 0, output
    assert supervisor.running(tool.home / "live") is None
    assert not (tool.home / "live.env").exists()
    assert tool.run("status") == (3, "no emulator runs here\n")


def test_the_second_of_two_waits_for_the_first(tool: Tool) -> None:
    with tool.start("up", SLOW="3") as first:
        _until(lambda: bool(tool.called()))
        second = tool.run("up")
        first.communicate(timeout=120)

    assert first.returncode == 0
    assert second[0] == 0
    assert f"`up` (process {first.pid}) is at work on " in second[1]


def test_what_a_killed_one_had_begun_is_ended_before_the_next_begins(tool: Tool) -> None:
    with tool.start("up", SLOW="4") as first:
        _until(lambda: len(tool.called()) >= 3)
        first.kill()
    before = time.monotonic()
    code, output = tool.run("up")

    assert code == 0, output
    assert "waiting for it to end" in output
    assert time.monotonic() - before > 1
    assert "3 accounts stand after" in output


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_what_was_begun_and_begins_nothing_more(
    tool: Tool, sign: signal.Signals
) -> None:
    with tool.start("up", SLOW="3") as process:
        _until(lambda: len(tool.called()) >= 3)
        process.send_signal(sign)
        output, _ = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "interrupted; it ends what it began" in output
    assert len(tool.called()) == 3


def test_a_missing_tool_is_named(tool: Tool) -> None:
    code, output = tool.run("up", PATH="/nowhere")

    assert code == 2
    assert "not on PATH: terraform, terragrunt" in output
    assert "mise install" in output


def test_help_tells_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.live_local", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0
    for command in ("up", "status", "env", "destroy", "down"):
        assert f"\n    {command} " in done.stdout


def test_operators_of_the_tree_are_there_before_anything_is_applied(tool: Tool) -> None:
    tool.run("up")
    for profile in tree.PROFILES:
        iam = tool.accounts.session(profile).client("iam")
        assert tree.operators(profile)
        for path, name in tree.operators(profile):
            assert iam.get_role(RoleName=name)["Role"]["Path"] == path


def test_an_operator_s_role_may_have_a_path(tmp_path: Path) -> None:
    """As those of IAM Identity Center have."""
    (tmp_path / "dev").mkdir()
    arn = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-central-1/AWSReserved"
    (tmp_path / "dev/account.hcl").write_text(f'locals {{\n  operators = ["{arn}"]\n}}\n')
    path = "/aws-reserved/sso.amazonaws.com/eu-central-1/"
    assert tree.operators("dev", tmp_path) == [(path, "AWSReserved")]


# --- workers ------------------------------------------------------------------------------------


def shell(script: str) -> Command:
    return Command(["sh", "-c", script], ROOT, dict(os.environ))


def test_commands_of_a_name_run_in_turn_and_stop_at_a_failure(tmp_path: Path) -> None:
    said: list[str] = []
    work = {
        "good": [shell("echo one"), shell("echo two")],
        "bad": [shell("echo three; exit 1"), shell("echo never")],
    }
    with (tmp_path / "lock").open("w") as lock:
        failed = workers.run(work, tmp_path, lock.fileno(), said.append, lambda line: line)

    assert failed == ["bad"]
    assert [line.split("  ")[-1] for line in said if "good" in line] == ["one", "two"]
    assert not [line for line in said if "never" in line]
    assert (tmp_path / "good.log").read_text() == "one\ntwo\n"


def test_a_worker_holds_the_lock(tmp_path: Path) -> None:
    script = f"flock -n {tmp_path}/lock echo free || echo held"
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        workers.run(
            {"w": [shell(script)]}, tmp_path, lock.fileno(), lambda _: None, lambda line: None
        )

    assert (tmp_path / "w.log").read_text() == "held\n"


def test_a_directory_of_ones_own(tmp_path: Path) -> None:
    made = Operations(tmp_path)

    assert made.home == tmp_path / "live"
    assert made.env_file == tmp_path / "live.env"


def _until(holds: Callable[[], bool], seconds: float = 90) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.05)
