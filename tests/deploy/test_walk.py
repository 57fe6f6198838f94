"""The newcomer's walk names files and functions that are there."""

from __future__ import annotations

import re

import pytest

from tests.support.service import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text()
WALK = PAGE.partition("## A newcomer's walk")[2].partition("\n## ")[0]
STEPS = re.findall(r"^[0-9]\. (.*?)(?=^[0-9]\. |\n\n|\Z)", WALK, re.M | re.S)


def test_the_walk_has_two_ways_through_the_house() -> None:
    assert len(STEPS) == 14


@pytest.mark.parametrize("step", STEPS, ids=[step.split("`")[1] for step in STEPS])
def test_each_step_names_what_is_there(step: str) -> None:
    named = re.findall(r"`([^`]+)`", step)
    files = [name for name in named if name.endswith(".py")]
    folder = (ROOT / files[0]).parent
    sources = ""
    for name in files:
        path = ROOT / name if "/" in name else folder / name
        assert path.is_file(), name
        sources += path.read_text()
    for name in named:
        if name.endswith("()"):
            assert f"def {name[:-2]}(" in sources, name
