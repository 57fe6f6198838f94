"""Linters have nothing to say of the OpenAPI document."""

from __future__ import annotations

from pathlib import Path

from tests.generators import tools
from tests.generators.tools import run

RULES = Path(__file__).with_name("spectral.yaml")


def test_spectral(document: Path) -> None:
    told = run(tools.node("spectral"), "lint", "--fail-severity=hint", "-r", RULES, document)
    assert "No results" in told


def test_redocly(document: Path, tmp_path: Path) -> None:
    environment = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    redocly = tools.node("redocly")
    options = ("--extends=recommended-strict", "--format=json")
    # Where no configuration of another project can be found.
    told = run(redocly, "lint", *options, document, folder=tmp_path, environment=environment)
    assert '"totals": {\n    "errors": 0,\n    "warnings": 0,' in told
