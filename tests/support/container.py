"""The built image, run by podman as a careful platform would: nothing to write to, no rights."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.engines import missing

# No writable place at all, not even /dev/shm (`--ipc none`) or podman's tmpfs on /tmp and /run.
LOCKED = (
    *("--read-only", "--read-only-tmpfs=false", "--ipc", "none"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--network", "host"),  # the emulator is on loopback
)


def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    quiet = ["--log-level", "fatal"]  # of the systemd that it would like for health checks
    return subprocess.run(
        ["podman", *quiet, *arguments], capture_output=True, text=True, timeout=120
    )


def _told(*arguments: str) -> str:
    done = podman(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Container:
    id: str

    def inspect(self) -> Any:
        return json.loads(_told("container", "inspect", self.id))[0]

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        return podman("exec", self.id, *command)

    def log(self) -> str:
        done = podman("logs", self.id)
        return done.stdout + done.stderr


@dataclass(frozen=True)
class Image:
    id: str

    @classmethod
    def load(cls, variable: str = "STRONGROOM_IMAGE") -> Image:
        """The one that the variable names. Building it takes a minute: only if asked."""
        file = os.environ.get(variable)
        if not file:
            pytest.skip(f"{variable} names no image: make image, then scripts/image check")
        if shutil.which("podman") is None:
            missing("podman is not on the PATH")
        name = _told("load", "--quiet", "--input", file).rpartition(": ")[2]
        return cls(_told("image", "inspect", "--format", "{{.Id}}", name))

    def inspect(self) -> Any:
        return json.loads(_told("image", "inspect", self.id))[0]

    def run(
        self, *arguments: str, env: dict[str, str] | None = None, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """One command to its end, which comes within a minute."""
        options = ("--rm", "--timeout", "60", *options)
        return podman("run", *options, *LOCKED, *_set(env), self.id, *arguments)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self.run("-c", code, options=("--entrypoint", "python"))

    @contextlib.contextmanager
    def running(
        self, env: dict[str, str], *arguments: str, options: tuple[str, ...] = ()
    ) -> Iterator[Container]:
        """The image's own command, or one with these arguments, until the end of the block."""
        started = ("run", "--detach", *options, *LOCKED, *_set(env), self.id, *arguments)
        container = Container(_told(*started))
        try:
            yield container
        finally:
            podman("rm", "--force", "--time", "0", container.id)


def _set(env: dict[str, str] | None) -> Iterator[str]:
    for name, value in (env or {}).items():
        yield from ("--env", f"{name}={value}")
