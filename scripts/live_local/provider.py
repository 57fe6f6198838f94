"""Terraform's provider, fetched once and kept: nothing is fetched through the emulator's proxy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from scripts.live_local import tree
from scripts.live_local.accounts import AccountsError
from scripts.live_local.certificates import write_private

_PINNED = "6.34.0"
_VERSION = re.compile(r'source\s*=\s*"hashicorp/aws"\s*version\s*=\s*"=\s*([0-9.]+)"')
_SECONDS = 900


def environment(say: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """What makes Terraform take the provider from here. Fetches it, by the shell's own settings."""
    home = _home()
    configuration = home / "terraform.rc"
    version = pinned()
    if not _held(home, version):
        say(f"fetching Terraform's AWS provider {version}, once …")
        _fetch(home, version)
        write_private(configuration, _configuration(home).encode())
    return {"TF_CLI_CONFIG_FILE": str(configuration)}


def pinned(modules: Path = tree.ROOT / "modules") -> str:
    """The one version that all modules pin."""
    found: set[str] = set()
    for file in modules.glob("*/versions.tf"):
        found.update(_VERSION.findall(file.read_text()))
    if len(found) > 1:
        raise AccountsError(f"modules pin several AWS providers: {', '.join(sorted(found))}")
    return found.pop() if found else _PINNED


def _home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache).absolute() / "strongroom" / "terraform"


def _held(home: Path, version: str) -> bool:
    builds = home.glob(f"providers/registry.terraform.io/hashicorp/aws/{version}/*/*")
    return (home / "terraform.rc").exists() and any(build.exists() for build in builds)


def _fetch(home: Path, version: str) -> None:
    """`terraform init` lays a provider out just as a mirror has it."""
    if shutil.which("terraform") is None:
        raise AccountsError("terraform is not on PATH: `mise install` installs it")
    home.mkdir(parents=True, exist_ok=True)
    scratch = home / f"fetch-{os.getpid()}"
    scratch.mkdir(exist_ok=True)
    try:
        (scratch / "versions.tf").write_text(
            "terraform {\n  required_providers {\n"
            f'    aws = {{ source = "hashicorp/aws", version = "= {version}" }}\n  }}\n}}\n'
        )
        done = subprocess.run(
            ["terraform", "init", "-input=false", "-no-color", "-backend=false"],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        if done.returncode != 0:
            raise AccountsError(f"the AWS provider cannot be had:\n{done.stdout}{done.stderr}")
        _move(scratch / ".terraform" / "providers", home / "providers", version)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move(fetched: Path, kept: Path, version: str) -> None:
    place = Path("registry.terraform.io/hashicorp/aws") / version
    (kept / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept / place, ignore_errors=True)
    (fetched / place).rename(kept / place)


def _configuration(home: Path) -> str:
    return (
        "provider_installation {\n  filesystem_mirror {\n"
        f'    path    = "{home / "providers"}"\n'
        '    include = ["registry.terraform.io/hashicorp/aws"]\n  }\n}\n'
    )
