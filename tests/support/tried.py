"""How much was tried, told in pytest's summary: a green run alone does not say it."""

from __future__ import annotations

lines: list[str] = []


def tried(line: str) -> None:
    lines.append(line)
