"""A module of `modules/`, applied by Terraform in an emulated account."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.live_local import provider
from scripts.live_local.accounts import EmulatedAccounts, without_foreign
from tests.support.engines import missing

ROOT = Path(__file__).parents[2]
_SECONDS = 900


def need_terraform() -> None:
    """Skip (on CI: fail) where it is missing."""
    if shutil.which("terraform") is None:
        missing("terraform is not on PATH: mise install")


@dataclass
class Terraform:
    """A root module in `directory` that calls one module, with local state beside it."""

    accounts: EmulatedAccounts
    profile: str
    directory: Path
    outputs: dict[str, Any] = field(default_factory=dict)

    def run(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        inherited = without_foreign(os.environ)
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.directory,
            env=inherited
            | self.accounts.environment(self.profile)
            | provider.environment()
            | {"TF_IN_AUTOMATION": "1"}
            | environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"terraform {' '.join(arguments)} in {self.directory}:\n{done.stdout}{done.stderr}"
            )
        return done

    def apply(self) -> dict[str, Any]:
        self.run("init", "-input=false", "-no-color")
        self.run("apply", "-auto-approve", "-input=false", "-no-color")
        found = json.loads(self.run("output", "-json").stdout)
        self.outputs = found["all"]["value"]
        return self.outputs

    def changes(self) -> dict[str, list[str]]:
        """What a plan would do to which resource, no-ops left out: empty after an apply."""
        self.run("plan", "-input=false", "-no-color", "-out=plan.bin")
        plan = json.loads(self.run("show", "-json", "plan.bin").stdout)
        return {
            change["address"]: change["change"]["actions"]
            for change in plan.get("resource_changes", [])
            if change["change"]["actions"] not in (["no-op"], ["read"])
        }

    def destroy(self) -> None:
        self.run("destroy", "-auto-approve", "-input=false", "-no-color")


def module(
    accounts: EmulatedAccounts,
    directory: Path,
    name: str,
    variables: Mapping[str, Any],
    profile: str,
    region: str | None = None,
) -> Terraform:
    """A root module that calls `modules/<name>`; not applied yet."""
    source = ROOT / "modules" / name
    if not source.is_dir():
        raise AssertionError(f"there is no modules/{name}")
    directory.mkdir(parents=True, exist_ok=True)
    root = {
        "terraform": {
            "required_version": ">= 1.11",
            "required_providers": {"aws": {"source": "hashicorp/aws", "version": "= 6.34.0"}},
        },
        "provider": {
            "aws": {
                "region": region or accounts.region,
                "allowed_account_ids": [accounts.account_ids[profile]],
            }
        },
        "module": {"this": {"source": str(source), **_literal(dict(variables))}},
        "output": {"all": {"value": "${module.this}", "sensitive": True}},
    }
    (directory / "main.tf.json").write_text(json.dumps(root, indent=2))
    return Terraform(accounts, profile, directory)


def _literal(value: Any) -> Any:
    """As Terraform's JSON has it: a string is a template there."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, Mapping):
        return {_literal(k): _literal(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_literal(item) for item in value]
    return value
