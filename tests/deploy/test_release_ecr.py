"""`scripts/release wait`, asking ECR in emulated accounts: every region, the right account."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.live_local.accounts import EmulatedAccounts, without_foreign
from tests.deploy.pipeline import ROOT, need, run
from tests.support.engines import missing


@dataclass
class Prod:
    """A tree in which prod is to run an image, and prod's registries in two regions."""

    root: Path
    accounts: EmulatedAccounts

    def wait(self, profile: str, minutes: float = 0) -> subprocess.CompletedProcess[str]:
        environment = {
            **without_foreign(os.environ),
            **self.accounts.environment(profile),
        }
        command = [sys.executable, str(self.root / "scripts/release"), "--root", str(self.root)]
        return subprocess.run(
            [*command, "wait", "prod", "--minutes", str(minutes)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
        )

    def ecr(self, region: str) -> Any:
        return self.accounts.session("prod", region).client("ecr", region_name=region)

    def put(self, region: str, tag: str) -> str:
        """An image of ECR's API: a manifest, and its digest."""
        manifest = json.dumps({"schemaVersion": 2, "config": {"digest": tag}, "layers": []})
        answer = self.ecr(region).put_image(
            repositoryName="strongroom", imageManifest=manifest, imageTag=tag
        )
        return str(answer["image"]["imageId"]["imageDigest"])


@pytest.fixture(scope="module")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prod]:
    if importlib.util.find_spec("ministack") is None:
        missing("ministack is not installed: make install-test")
    need("terragrunt", "helm")
    root = tmp_path_factory.mktemp("tree")
    for folder in ("live", "scripts", "deploy"):
        ignored = shutil.ignore_patterns("__pycache__", ".terragrunt-cache")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    with EmulatedAccounts(tmp_path_factory.mktemp("accounts")) as accounts:
        made = Prod(root, accounts)
        for region in ("eu-central-1", "eu-west-1"):
            made.ecr(region).create_repository(repositoryName="strongroom")
        yield made


def test_an_image_counts_when_the_last_region_has_it(prod: Prod) -> None:
    digest = prod.put("eu-central-1", "first")
    assert run(prod.root / "scripts/promote", "set-digest", "prod", digest).returncode == 0
    waited = prod.wait("prod")
    assert waited.returncode == 1, waited.stdout
    assert "still missing after 0 minutes in: 333344445555 in eu-west-1." in waited.stderr
    assert prod.put("eu-west-1", "first") == digest
    waited = prod.wait("prod")
    assert waited.returncode == 0, waited.stderr
    assert digest in waited.stdout


def test_another_account_s_registry_is_no_answer(prod: Prod) -> None:
    digest = "sha256:" + "d" * 64
    assert run(prod.root / "scripts/promote", "set-digest", "prod", digest).returncode == 0
    waited = prod.wait("staging")
    assert waited.returncode == 1
    assert "this session is of account 222233334444" in waited.stderr


def test_a_region_waits_for_the_image_that_it_alone_is_to_run(prod: Prod) -> None:
    digest = prod.put("eu-central-1", "second")
    assert prod.put("eu-west-1", "second") == digest
    assert run(prod.root / "scripts/promote", "set-digest", "prod", digest).returncode == 0
    file = prod.root / "deploy/chart/values-prod-eu-west-1.yaml"
    good = file.read_text()
    try:
        other = "sha256:" + "e" * 64
        file.write_text(good.replace("image:\n", f'image:\n  digest: "{other}"\n'))
        waited = prod.wait("prod")
        assert waited.returncode == 1
        assert other in waited.stderr
    finally:
        file.write_text(good)
    assert prod.wait("prod").returncode == 0
