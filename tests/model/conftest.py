"""The figures of the model's runs, in pytest's summary."""

from __future__ import annotations

import pytest

_lines: list[str] = []


def report(line: str) -> None:
    _lines.append(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _lines:
        terminalreporter.write_line(line)
