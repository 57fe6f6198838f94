"""What is committed of that which a plan is made from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.platform.errors import PlatformError

# A plan is made from these; an edited page of the documentation changes none.
_SOURCES = ("live", "modules")


def commit(root: Path) -> str:
    return _git(root, "rev-parse", "HEAD").strip()


def uncommitted(root: Path) -> list[str]:
    """Files of live/ and modules/ that are not as committed."""
    return _git(root, "status", "--porcelain", "--", *_SOURCES).splitlines()


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except FileNotFoundError as error:
        raise PlatformError("git is not on the PATH") from error
    except subprocess.CalledProcessError as error:
        raise PlatformError(f"git {' '.join(arguments)}: {error.stderr.strip()}") from error
    return done.stdout
