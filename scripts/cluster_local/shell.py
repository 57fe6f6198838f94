"""Commands of others, run for their output, and waiting for what they bring about."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.cluster_local.errors import ClusterError

_TAIL = 15

Say = Callable[[str], None]


def run(
    *command: str | Path,
    stdin: str | None = None,
    environment: Mapping[str, str | None] | None = None,
    folder: Path | None = None,
    seconds: float = 300,
) -> str:
    """What it prints; a variable that is None is taken away. Raises `ClusterError` with the end of
    what it said if it fails."""
    variables = {**os.environ, **(environment or {})}
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            env={name: value for name, value in variables.items() if value is not None},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not on the PATH") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words[:4])} took longer than {seconds:g} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-_TAIL:]
        raise ClusterError("\n  ".join([f"{' '.join(words[:4])} failed:", *said]))
    return done.stdout


def until(
    what: Callable[[], str],
    name: str,
    seconds: float,
    say: Say,
    hint: Callable[[], str] = lambda: "",
) -> None:
    """Wait until `what` has nothing left to say against it; tell what it says meanwhile."""
    ends = time.monotonic() + seconds
    told = ""
    while reason := what():
        if time.monotonic() > ends:
            raise ClusterError(f"{name} after {seconds:g} s: {reason}{hint()}")
        if reason != told:
            say(f"  {reason} …")
            told = reason
        time.sleep(0.5)
