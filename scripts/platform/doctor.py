"""Which of the tools in mise.toml are here, and how to get those that are not."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.platform.errors import PlatformError

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")

# Those that do not answer to --version.
_ASK = {
    "helm": ["version", "--short"],
    "kubectl": ["version", "--client"],
    "kubeconform": ["-v"],
    "actionlint": ["-version"],
    "go": ["version"],
}


@dataclass(frozen=True)
class Tool:
    name: str  # as mise knows it
    wanted: str
    found: str | None

    @property
    def binary(self) -> str:
        return binary(self.name)

    @property
    def good(self) -> bool:
        return self.found is not None and f"{self.found}.".startswith(f"{self.wanted}.")

    def tell(self) -> str:
        if self.good:
            return f"ok       {self.binary} {self.found}"
        here = f"is {self.found}" if self.found else "is not on the PATH"
        return f"missing  {self.binary} {self.wanted}: {here}. mise install {self.name}"


def tools(root: Path) -> Iterator[Tool]:
    file = root / "mise.toml"
    if not file.is_file():
        raise PlatformError(f"{file} is not there: it says which tools are wanted")
    for name, wanted in tomllib.loads(file.read_text()).get("tools", {}).items():
        version = wanted["version"] if isinstance(wanted, dict) else wanted
        yield Tool(name, str(version), _found(binary(name)))


def binary(name: str) -> str:
    """`aqua:gruntwork-io/terragrunt` and `pipx:checkov` are called by their last part."""
    return re.split(r"[:/]", name)[-1]


def _found(program: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *_ASK.get(program, ["--version"])], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = _VERSION.search(done.stdout + done.stderr)
    return version[0] if version else None
