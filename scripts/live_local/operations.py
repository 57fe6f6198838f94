"""What the commands do: bring the tree up in the emulated accounts, tell of it, take it down."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from botocore.exceptions import ClientError

from scripts.live_local import inventory, provider, tree, workers
from scripts.live_local.accounts import (
    FOREIGN,
    AccountsError,
    EmulatedAccounts,
    without_foreign,
)
from scripts.live_local.certificates import write_private
from scripts.live_local.workers import Command

# For one command, and for these accounts alone: see live/here.hcl and docs/live-local.md.
DESTROY = "STRONGROOM_DESTROY"
UNREVIEWED = "STRONGROOM_UNREVIEWED"

_FIRST_UNIT = "ci-identity"
_LOCK_TIMEOUT = "5m"
# Of Terraform's and Terragrunt's output, what tells how far a run is, and what went wrong.
_PREFIX = re.compile(r"^(\d\d:\d\d:\d\d\.\d+ +\w+ +)?(?:\[(\S+)\] )?(?:terraform: )?")
# Each resource by itself would be hundreds of lines; one that takes long is told now and then.
_WORTH = re.compile(
    r"((Apply|Destroy) complete!|rror: |^(wave|planning|applying|making)\b"
    r"|Still (creating|modifying|destroying)\.\.\. \[.*(\b30|m00)s elapsed)"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def say(text: str) -> None:
    print(text, flush=True)


class Operations:
    def __init__(self, directory: Path) -> None:
        self.home = directory.absolute() / "live"
        self.env_file = directory.absolute() / "live.env"
        self.accounts = EmulatedAccounts(self.home, say=say)

    # --- commands -------------------------------------------------------------------------------

    def up(self) -> int:
        started = time.monotonic()
        _need("terraform", "terragrunt")
        with self._locked("up") as lock:
            self._start()
            environment = self._environment()
            work = {name: self._bring_up(name, environment) for name in self._environments()}
            failed = workers.run(work, self.home / "logs", lock.fileno(), say, _shown)
        seconds = time.monotonic() - started
        say("")
        for line in inventory.table(self.accounts):
            say(line)
        if failed:
            self._say_failed(failed)
            return 1
        say(f"{len(work)} accounts stand after {seconds:.0f} s, and the emulator runs on.")
        say(f"To work in them:  . {_relative(self.env_file)}; export AWS_PROFILE=dev")
        say("To take it down:  make live-local-destroy    (or just stop it: make live-local-down)")
        return 0

    def destroy(self, environment: str | None) -> int:
        started = time.monotonic()
        _need("terraform", "terragrunt")
        with self._locked("destroy") as lock:
            if self.accounts.pid is None and not (self.home / "state").exists():
                say("nothing is there: no emulator runs, and none has left anything")
                return 0
            self._start()
            chosen = [environment] if environment else self._environments()
            inherited = self._environment()
            there = {name: self._units_with_resources(name) for name in chosen}
            work = {
                name: self._tear_down(name, units, inherited)
                for name, units in there.items()
                if units
            }
            failed = workers.run(work, self.home / "logs", lock.fileno(), say, _shown)
            left = {name: self._units_with_resources(name) for name in chosen}
            for name, units in left.items():
                say(f"{name}: {'left are ' + ', '.join(units) if units else 'nothing is left'}")
            if failed or any(left.values()):
                self._say_failed(failed)
                return 1
            if environment is None:
                self._stop()
                for name in ("state", "objects", "credentials", "config"):
                    _remove(self.home / name)
                say("the emulator has stopped, and its accounts are gone")
        say(f"after {time.monotonic() - started:.0f} s")
        return 0

    def down(self) -> int:
        with self._locked("down"):
            if self.accounts.pid is None:
                say("no emulator runs here")
                return 0
            self._stop()
            say(f"stopped; what the accounts hold is kept in {_relative(self.home)}")
        return 0

    def status(self) -> int:
        """Exit code 0 if the emulator runs, 3 if not."""
        if not self.accounts.attach():
            kept = (self.home / "state").exists()
            say("no emulator runs here" + ("; an `up` goes on with what is kept" if kept else ""))
            return 3
        say(f"the emulated accounts run: process {self.accounts.pid}, {self.accounts.proxy}")
        say(f"for shells: . {_relative(self.env_file)}; its log: {_relative(self.accounts.log)}\n")
        for line in inventory.table(self.accounts):
            say(line)
        return 0

    def env(self) -> int:
        try:
            print(self.env_file.read_text(), end="")
        except OSError:
            print("no emulator runs here: make live-local", file=sys.stderr)
            return 3
        return 0

    # --- the emulator ---------------------------------------------------------------------------

    def _start(self) -> None:
        self.accounts.start(detached=True)
        for profile in self.accounts.profiles:
            self._see_to_operators(profile)
        write_private(self.env_file, self._env_file().encode())

    def _stop(self) -> None:
        self.env_file.unlink(missing_ok=True)
        say("stopping the emulated accounts …")
        self.accounts.stop()

    def _see_to_operators(self, profile: str) -> None:
        """The roles of people are there before the first apply: an organization makes them."""
        iam = self.accounts.session(profile).client("iam")
        principal = f"arn:aws:iam::{self.accounts.account_ids[profile]}:root"
        statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        for path, name in tree.operators(profile):
            try:
                iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=trust)
            except ClientError as error:
                if error.response["Error"]["Code"] != "EntityAlreadyExists":
                    raise

    def _env_file(self) -> str:
        """Readable by a shell's `.`, and line by line as NAME=value."""
        values = self.accounts.environment() | provider.environment(say)
        names = " ".join(values)
        lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
        return "\n".join(
            [
                "# The emulated accounts dev, staging and prod, by AWS_PROFILE. Nothing else is",
                "# reached from a shell that has sourced this.",
                *lines,
                f"export {names}",
                "# Credentials and endpoints of another account would win over these.",
                f"unset {' '.join(FOREIGN)}",
                "for name in $(env | sed -n 's/^\\(AWS_ENDPOINT[A-Z0-9_]*\\)=.*/\\1/p'); do",
                '  unset "$name"',
                "done",
                "",
            ]
        )

    def _environment(self) -> dict[str, str]:
        return (
            without_foreign(os.environ)
            | self.accounts.environment()
            | provider.environment(say)
            | {"TF_IN_AUTOMATION": "1", "TG_NON_INTERACTIVE": "true", "NO_COLOR": "1"}
        )

    # --- Terragrunt -----------------------------------------------------------------------------

    def _environments(self) -> list[str]:
        return [name for name in self.accounts.profiles if tree.units(name)]

    def _bring_up(self, name: str, environment: dict[str, str]) -> list[Command]:
        folder = tree.LIVE / name
        environment = environment | {"AWS_PROFILE": name}
        if _is_committed() and importlib.util.find_spec("scripts.platform.__main__"):
            platform = [sys.executable, "-m", "scripts.platform", "bring-up", name, "--yes"]
            command = Command([*platform, "--lock-timeout", _LOCK_TIMEOUT], tree.ROOT, environment)
            return [command]
        # What is not committed is not what the platform tool records; here it can be tried.
        say(f"{name}: live/ and modules/ differ from the commit: applied without a record")
        apply = _terragrunt("apply", f"-lock-timeout={_LOCK_TIMEOUT}")
        # By one unit, which makes the bucket for all: by several at once, they would get in each
        # other's way. It must be one that needs no other.
        first = next(unit for unit in tree.units(name) if unit.name == _FIRST_UNIT)
        bootstrap = ["terragrunt", "backend", "bootstrap", "--non-interactive"]
        unreviewed = environment | {UNREVIEWED: name}
        return [Command(bootstrap, first.folder, environment), Command(apply, folder, unreviewed)]

    def _units_with_resources(self, name: str) -> list[str]:
        return [made.unit for made in inventory.of(self.accounts, name) if made.resources]

    def _tear_down(
        self, name: str, units: Sequence[str], environment: dict[str, str]
    ) -> list[Command]:
        """Of these units alone: one that was never applied has no outputs for its dependents."""
        folder = tree.LIVE / name
        environment = environment | {"AWS_PROFILE": name}
        destroy = _terragrunt("destroy", f"-lock-timeout={_LOCK_TIMEOUT}", units=units)
        if tree.disposable(name):
            return [Command(destroy, folder, environment)]
        # Protection is a value: it is taken off first, as one more change of the account.
        overridden = environment | {DESTROY: name, UNREVIEWED: name}
        apply = _terragrunt("apply", f"-lock-timeout={_LOCK_TIMEOUT}", units=units)
        return [Command(apply, folder, overridden), Command(destroy, folder, overridden)]

    def _say_failed(self, failed: Sequence[str]) -> None:
        for name in failed:
            log = self.home / "logs" / f"{name}.log"
            tail = log.read_text(errors="replace").splitlines()[-25:]
            say("\n".join(["", f"{name} failed; the end of {_relative(log)}:", *tail]))
        say("\nRun the same command again: it goes on where it was.")

    # --- one at a time --------------------------------------------------------------------------

    @contextmanager
    def _locked(self, command: str) -> Iterator[IO[str]]:
        """Held by what we start, too, so that whoever comes after a kill waits for that."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.home / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                who = lock.read().strip() or "another command"
                say(f"{who} is at work on {_relative(self.home)}: waiting for it to end …")
                fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate(0)
            lock.write(f"`{command}` (process {os.getpid()})\n")
            lock.flush()
            yield lock


def _terragrunt(*command: str, units: Sequence[str] = ()) -> list[str]:
    filters = [word for unit in units for word in ("--filter", f"{{./{unit}}}")]
    return ["terragrunt", "run", "--all", "--non-interactive", *filters, "--", *command]


def _is_committed() -> bool:
    """Whether live/ and modules/ are as in the commit that is checked out."""
    try:
        done = subprocess.run(
            ["git", "-C", str(tree.ROOT), "status", "--porcelain", "--", "live", "modules"],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0 and not done.stdout.strip()


def _shown(line: str) -> str | None:
    plain = _COLOUR.sub("", line).strip()
    found = _PREFIX.match(plain)
    assert found is not None
    text = plain[found.end() :]
    if not _WORTH.search(text):
        return None
    return f"{found[2]}: {text}" if found[2] else text


def _need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise AccountsError(
            f"not on PATH: {', '.join(missing)}. `mise install` installs what this project needs "
            "(python -m scripts.platform doctor tells what is missing)"
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
