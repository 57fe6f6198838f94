"""A small tree beside the real one's root: its own units, the same rules.

`live/root.hcl`, `here.hcl` and the accounts are the real ones, so what they refuse is refused here,
too; units are few and quick. Each tree is a project of its own name, so it has its own buckets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.live_local import provider
from scripts.live_local.accounts import EmulatedAccounts, without_foreign
from tests.support.engines import missing

ROOT = Path(__file__).parents[2]

_VERSIONS = """\
terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = { source = "hashicorp/aws", version = "= 6.34.0" }
  }
}
"""

_UNIT = """\
include "root" {
  path = find_in_parent_folders("root.hcl")
}

locals {
  here = read_terragrunt_config("${dirname(find_in_parent_folders("root.hcl"))}/here.hcl").locals
}

terraform {
  source = "${get_repo_root()}/modules/NAME"
}
"""

IDENTITY = """\
variable "name" { type = string }
resource "aws_iam_policy" "boundary" {
  name = "${var.name}-boundary"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "s3:GetObject", Resource = "arn:aws:s3:::x/*" }]
  })
}
output "permissions_boundary_arn" { value = aws_iam_policy.boundary.arn }
"""

VAULT = """\
variable "name" { type = string }
variable "disposable" { type = bool }
variable "boundary" { type = string }
resource "aws_dynamodb_table" "this" {
  name                        = var.name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "PK"
  deletion_protection_enabled = !var.disposable
  attribute {
    name = "PK"
    type = "S"
  }
  tags = { Boundary = var.boundary }
}
output "table_arn" { value = aws_dynamodb_table.this.arn }
"""

# Queues take Terraform half a minute, in AWS as here: time for somebody else to come by.
QUEUE = """\
variable "name" { type = string }
resource "aws_sqs_queue" "this" { name = "${var.name}-queue" }
output "queue" { value = aws_sqs_queue.this.id }
"""

_NAMED = "inputs = { name = local.here.name }\n"

_VAULT_UNIT = """\
dependency "identity" {
  config_path  = "../identity"
  mock_outputs = { permissions_boundary_arn = "arn:aws:iam::1:policy/mock-boundary" }
  mock_outputs_allowed_terraform_commands = local.here.mocks_allowed
}

inputs = {
  name       = local.here.name
  disposable = local.here.disposable
  boundary   = dependency.identity.outputs.permissions_boundary_arn
}
"""

# Alone in its wave.
_QUEUE_UNIT = """\
dependencies {
  paths = ["../identity"]
}

inputs = { name = local.here.name }
"""

MODULES = {"identity": IDENTITY, "vault": VAULT, "queue": QUEUE}
_UNITS = {"identity": _NAMED, "vault": _VAULT_UNIT, "queue": _QUEUE_UNIT}


@dataclass
class LiveTree:
    root: Path
    accounts: EmulatedAccounts
    project: str

    @classmethod
    def make(
        cls,
        root: Path,
        accounts: EmulatedAccounts,
        project: str,
        units: tuple[str, ...] = ("identity", "vault"),
    ) -> LiveTree:
        for tool in ("terraform", "terragrunt", "git"):
            if shutil.which(tool) is None:
                missing(f"{tool} is not on the PATH: mise install")
        tree = cls(root, accounts, project)
        for file in ("root.hcl", "here.hcl", "project.hcl"):
            tree.write(f"live/{file}", (ROOT / "live" / file).read_text())
        tree.edit("live/project.hcl", 'name = "strongroom"', f'name = "{project}"')
        for name in units:
            tree.write(f"modules/{name}/main.tf", MODULES[name])
            tree.write(f"modules/{name}/versions.tf", _VERSIONS)
        for account in ROOT.glob("live/*/account.hcl"):
            environment = account.parent.name
            tree.write(f"live/{environment}/account.hcl", account.read_text())
            region = f"live/{environment}/eu-central-1"
            tree.write(f"{region}/region.hcl", (ROOT / region / "region.hcl").read_text())
            for name in units:
                unit = _UNIT.replace("NAME", name) + _UNITS[name]
                tree.write(f"{region}/{name}/terragrunt.hcl", unit)
        tree.write(".gitignore", ".dev/\n.terragrunt-cache/\nscripts\n")
        (root / "scripts").symlink_to(ROOT / "scripts")
        tree.git("init", "-q", "-b", "main")
        tree.commit("as it was")
        return tree

    # --- files ------------------------------------------------------------------------------

    def write(self, name: str, content: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(content)

    def edit(self, name: str, old: str, new: str) -> None:
        content = (self.root / name).read_text()
        assert old in content, f"{name} has no {old!r}"
        (self.root / name).write_text(content.replace(old, new))

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
        call = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    # --- commands ---------------------------------------------------------------------------

    def environ(self, profile: str | None, **more: str) -> dict[str, str]:
        """The shell of somebody who is signed in to that account, or who names none."""
        return {
            **{k: v for k, v in without_foreign(os.environ).items() if k != "AWS_PROFILE"},
            **self.accounts.environment(profile),
            **provider.environment(),
            **more,
        }

    def platform(
        self, *arguments: str, profile: str | None = "dev", **more: str
    ) -> subprocess.CompletedProcess[str]:
        return self._run(self.platform_call(*arguments), self.environ(profile, **more))

    def platform_call(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "scripts.platform", *arguments]

    def terragrunt(
        self, *arguments: str, profile: str | None = "dev", **more: str
    ) -> subprocess.CompletedProcess[str]:
        call = ["terragrunt", "--non-interactive", "--no-color", *arguments]
        return self._run(call, self.environ(profile, **more))

    def _run(self, call: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            call, cwd=self.root, env=environ, capture_output=True, text=True, timeout=300
        )

    def states(self, environment: str) -> dict[str, bytes]:
        """Every unit's state, byte for byte."""
        s3 = self.accounts.session(environment).client("s3")
        bucket = self.state_bucket(environment)
        found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        keys = [entry["Key"] for entry in found if entry["Key"].endswith(".tfstate")]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def state_bucket(self, environment: str) -> str:
        return f"{self.project}-{environment}-{self.accounts.account_ids[environment]}-tfstate"
