"""The page on security names tests: each of them must be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "tests").rglob("*.py")}
FUNCTIONS = {
    name
    for path in FILES.values()
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


def exists(name: str) -> bool:
    if name.endswith("/"):
        return any(file.startswith(name) for file in FILES)
    if name.endswith(".py"):
        return any(file == name or file.endswith("/" + name) for file in FILES)
    return name in FUNCTIONS


def test_every_test_that_the_page_on_security_names_is_there() -> None:
    page = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`((?:tests/|test_)[\w/.]*)`", page)
    assert len(named) > 50
    assert [name for name in named if not exists(name)] == []


def test_every_threat_at_the_edge_has_a_test() -> None:
    page = (ROOT / "docs/security.md").read_text()
    table = page.partition("## Threats at the edge")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 8
    for threat, _, tests in rows:
        assert re.search(r"`tests?[_/]", tests), threat
