"""Packages for scripts that a bare Python begins."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path


class Missing(Exception):
    """Why there is no environment with the package, for the one who typed the command."""


def enter(root: Path, package: str) -> None:
    """Return if the package can be imported; else begin this command anew in `root`'s .venv, which
    is made if need be. Raises `Missing`."""
    # A script's own folder comes first, and its `platform` is not the one that packages mean.
    sys.path[0] = str(root)
    if importlib.util.find_spec(package) is not None:
        return
    python = root / ".venv" / "bin" / "python"
    if Path(sys.executable) == python:
        raise Missing(f"{package} is not in .venv: make install-dev")
    bootstrap = [sys.executable, str(root / "scripts" / "bootstrap"), "dev"]
    if subprocess.run(bootstrap, stdout=sys.stderr).returncode != 0:
        raise Missing("scripts/bootstrap could not make .venv")
    os.execv(python, [str(python), *sys.argv])
