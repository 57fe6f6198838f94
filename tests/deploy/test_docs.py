"""What the pages on delivery tell people to type is there to be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *("docs/cluster-local.md", "docs/pipelines.md", "deploy/chart/README.md", "docs/platform.md"),
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs/runbooks").glob("*.md"))),
]
_BLOCK = re.compile(r"```(?:sh|console)\n(.*?)```", re.DOTALL)
_TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(page: str) -> Iterator[str]:
    """Of its blocks, a line each; and what stands in the text between backticks."""
    text = (ROOT / page).read_text()
    for block in _BLOCK.findall(text):
        joined = block.replace("\\\n", " ")
        yield from (line.strip().removeprefix("$ ") for line in joined.splitlines())
    plain = _BLOCK.sub("", text)
    yield from re.findall(r"`((?:make|scripts/|python -m) ?[^`\n]*)`", plain)


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_there(page: str) -> None:
    for command in commands(page):
        for found in re.findall(r"\bmake ((?:[A-Z]+=\S+ )*[a-z][a-z-]*)", command):
            target = found.split()[-1]
            assert target in _TARGETS, f"{page}: {command}"
        for script in re.findall(r"(?<![\w/.])(scripts/[a-z][\w-]*)", command):
            path = ROOT / script
            assert path.exists() or path.with_suffix(".py").exists(), f"{page}: {command}"
        for module in re.findall(r"python -m (app|load|scripts\.[\w.]+)", command):
            assert _is_module(module), f"{page}: {command}"


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def local() -> list[str]:
    """Calls of scripts.cluster_local, with their options."""
    found = [
        command.partition("scripts.cluster_local")[2].split("`")[0]
        for page in PAGES
        for command in commands(page)
        if "-m scripts.cluster_local " in command
    ]
    return sorted({call.strip() for call in found})


@pytest.mark.parametrize("call", local())
def test_the_local_cluster_takes_these_options(call: str) -> None:
    words = shlex.split(call.split("#")[0])
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cluster_local", *words, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"scripts.cluster_local {words[0]}" in done.stdout
