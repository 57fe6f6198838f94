"""mise.toml pins every tool, and nothing else in the repository asks for another version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from scripts.platform import doctor

ROOT = Path(__file__).parents[2]
TOOLS: dict[str, str] = tomllib.loads((ROOT / "mise.toml").read_text())["tools"]
BY_BINARY = {doctor.binary(name): version for name, version in TOOLS.items()}

EVERY = {
    *("python", "poetry", "terraform", "terragrunt", "helm", "kubectl", "kubeconform"),
    *("actionlint", "checkov", "hadolint", "shellcheck", "tflint", "zizmor"),
}


def test_every_tool_is_pinned() -> None:
    assert set(BY_BINARY) >= EVERY


@pytest.mark.parametrize("tool", sorted(BY_BINARY))
def test_a_tool_is_pinned_to_one_version(tool: str) -> None:
    pattern = r"\d+\.\d+" if tool == "python" else r"\d+\.\d+\.\d+"
    assert re.fullmatch(pattern, BY_BINARY[tool]), BY_BINARY[tool]


def test_python_is_one_that_the_service_runs_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = re.match(r">=3\.(\d+)", project["requires-python"])
    assert least
    assert int(BY_BINARY["python"].split(".")[1]) >= int(least[1])


def test_terraform_is_one_that_the_modules_take() -> None:
    pinned = tuple(int(part) for part in BY_BINARY["terraform"].split("."))
    for file in (ROOT / "modules").glob("*/versions.tf"):
        least = re.search(r'required_version\s*=\s*">= (\d+)\.(\d+)"', file.read_text())
        assert least, file
        assert (int(least[1]), int(least[2]), 0) <= pinned, file


def test_every_cluster_is_within_a_minor_version_of_kubectl() -> None:
    """One is the most that kubectl is made for, and there are several clusters: those of the
    accounts, each of its own version, and the one on this machine, of 1.34."""
    files = sorted((ROOT / "live").glob("*/account.hcl"))
    said = [re.search(r'kubernetes_version\s*=\s*"1\.(\d+)"', file.read_text()) for file in files]
    assert len(said) > 2
    minors = [34, *(int(found[1]) for found in said if found)]
    assert len(minors) == len(files) + 1
    kubectl = int(BY_BINARY["kubectl"].split(".")[1])
    assert max(abs(kubectl - minor) for minor in minors) <= 1


def test_ci_installs_no_other_version() -> None:
    """Where .ci/run names a version of a tool that is pinned here, it is this one."""
    script = (ROOT / ".ci" / "run").read_text()
    for tool, version in BY_BINARY.items():
        for named in re.findall(rf"{tool}(?:==|@v)([\d.]+)", script):
            assert named == version, tool
