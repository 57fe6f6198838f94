"""docs/runbooks/before-the-first-apply.md, walked through on an emulated account, line by line: no
step asks for what a later one gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.live_local.accounts import EmulatedAccounts
from tests.support import fake_github
from tests.support.engines import missing
from tests.support.fake_github import FakeGitHub, serving
from tests.support.live_tree import ROOT, LiveTree

PAGE = ROOT / "docs/runbooks/before-the-first-apply.md"
# What the page is about is here already, or is another's: tools, and who somebody is.
ELSEWHERE = ("mise install", "aws sts get-caller-identity", "export AWS_PROFILE")
UNITS = ("ci-identity", "registry")  # the others are made by the same two commands


def commands() -> list[str]:
    """Every command of the page in its order, with what is given to it."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for block in blocks:
        for line in (line.strip() for line in block.splitlines()):
            open_ = bool(found) and "<<'JSON'" in found[-1] and not found[-1].endswith("\nJSON")
            if open_:
                found[-1] += f"\n{line}"
            else:
                found.append(line)
    return [command for command in found if not command.startswith(ELSEWHERE)]


@pytest.fixture
def tree(accounts: EmulatedAccounts, tmp_path: Path) -> Iterator[LiveTree]:
    """The tree as it is published, of a project of its own: dev, with two of its units."""
    if shutil.which("terragrunt") is None:
        missing("terragrunt is not on the PATH: mise install")
    root = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".terragrunt-cache", ".terraform")
    for part in ("live", "modules", ".github/workflows"):
        shutil.copytree(ROOT / part, root / part, ignore=ignored)
    (root / "scripts").symlink_to(ROOT / "scripts")
    (root / ".dev").mkdir()
    for unit in (root / "live/dev/eu-central-1").glob("*/terragrunt.hcl"):
        if unit.parent.name not in UNITS:
            shutil.rmtree(unit.parent)
    tree = LiveTree(root, accounts, "walk")
    tree.write(".gitignore", ".dev/\n.terragrunt-cache/\nscripts\n")
    tree.edit("live/project.hcl", 'name = "strongroom"', 'name = "walk"')
    tree.git("init", "-q", "-b", "main")
    tree.commit("as it is published")
    # The values of step 1.
    for published, ours in (("example-org", "acme"), ("1000001", "11"), ("2000002", "22")):
        tree.edit("live/project.hcl", f'"{published}"', f'"{ours}"')
    iam = accounts.root("dev").client("iam")
    if "platform-operator" not in [role["RoleName"] for role in iam.list_roles()["Roles"]]:
        trust = '{"Version": "2012-10-17", "Statement": []}'
        iam.create_role(RoleName="platform-operator", AssumeRolePolicyDocument=trust)
    yield tree
    # An account has one provider of an issuer: another test may want its own.
    destroy = ["run", "--all", "--working-dir", "live/dev", "--", "destroy", "-auto-approve"]
    done = tree.terragrunt(*destroy)
    assert done.returncode == 0, done.stderr


def test_the_page_runs_through_once(tree: LiveTree, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    identity = {
        f"GIT_{who}_{what}": f"walker{'@example.org' if what == 'EMAIL' else ''}"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    looks = []
    with serving(FakeGitHub()) as github:
        fake_github.program(github, programs)
        environ = tree.environ("dev", GITHUB_API_URL=github.address, **identity)
        environ["PATH"] = f"{programs}:{os.environ['PATH']}"
        for command in commands():
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=tree.root,
                env=environ,
                input="dev\n" * 9,  # to whoever asks whether the wave is to be applied
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            if "preflight" in command:
                looks.append(done.stdout)
    before, after = looks
    assert "its variables come after bring-up" in before
    assert "state bucket walk-dev-111122223333-tfstate is not there yet" in before
    for name in ("dev", "dev-plan", "release"):
        assert f"GitHub environment {name} of acme/strongroom has its variables" in after
    for look in looks:
        assert "GitHub environment dev of acme/strongroom is protected" in look
        assert not [line for line in look.splitlines() if line.startswith("wrong")]
        unknown = [line for line in look.splitlines() if line.startswith("unknown")]
        assert all("quota" in line for line in unknown), unknown  # which the emulator has not


def test_the_commands_of_the_page_are_found() -> None:
    found = commands()
    assert [command.count("<<'JSON'") for command in found].count(1) == 3
    assert sum("preflight" in command for command in found) == 2
    assert sum("bring-up" in command for command in found) == 1
