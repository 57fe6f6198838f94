"""The generators and linters, as `.ci/run` installs them into `.tools`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.engines import missing
from tests.support.service import ROOT

PYTHON_CLIENT = ROOT / ".tools/openapi-python-client/bin"
_GENERATORS = ROOT / ".tools/generators"
OAPI_CODEGEN = _GENERATORS / "bin/oapi-codegen"
OASDIFF = _GENERATORS / "bin/oasdiff"
MODULES = _GENERATORS / "node_modules"
# The first build of a Go program compiles what it uses of Go's library, too.
_SECONDS = 300


def openapi_generator() -> Path:
    return there(next(_GENERATORS.glob("openapi-generator-cli-*.jar"), _GENERATORS / "the jar"))


def node(name: str) -> Path:
    """A command of an npm package."""
    return there(MODULES / ".bin" / name)


def there(tool: Path) -> Path:
    if not tool.exists():
        missing(f"{tool} is not there: .ci/run installs it")
    return tool


def run(
    *command: str | Path, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a command prints, all of it; fails the test if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
