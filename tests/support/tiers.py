"""Which tests a tier of CI must have run, by tests/tiers.toml, and whether it did.

Every pytest session adds what became of its tests to the file that STRONGROOM_RAN names;
`python -m tests.support.tiers quick FILE` compares that with the tests that there are in the
source. It reads the source, not pytest's collection, so that a test that nobody collects is seen.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FULL_ONLY = "belongs to the full tier: STRONGROOM_FULL=1 runs it"


@dataclass(frozen=True)
class Tiers:
    """A name is a folder, a file, or `file::test`."""

    only: Sequence[str]
    also: Sequence[str]
    allowed: frozenset[str]

    @classmethod
    def read(cls, root: Path = ROOT) -> Tiers:
        told = tomllib.loads((root / "tests/tiers.toml").read_text())
        full = told["full"]
        return cls(full["only"], full["also"], frozenset(told["skips"]["allowed"]))

    def is_full_only(self, test: str) -> bool:
        return any(_within(test, name) for name in self.only)

    def required(self, tier: str, tests: Sequence[str]) -> list[str]:
        if tier == "quick":
            return [test for test in tests if not self.is_full_only(test)]
        names = [*self.only, *self.also]
        return [test for test in tests if any(_within(test, name) for name in names)]


def every_test(root: Path = ROOT) -> list[str]:
    """Every test that the source has, as `file::test` or `file::Class::test`."""
    return [
        f"{file.relative_to(root).as_posix()}::{name}"
        for file in sorted((root / "tests").rglob("test_*.py"))
        for name in _names(ast.parse(file.read_text()).body)
    ]


def complaints(tier: str, ran: str, tiers: Tiers, tests: Sequence[str]) -> Iterator[str]:
    """What keeps a tier from being green, given the lines that its sessions have recorded."""
    for name in (*tiers.only, *tiers.also):
        if not any(_within(test, name) for test in tests):
            yield f"tests/tiers.toml names what there is not: {name}"
    passed: set[str] = set()
    skipped: dict[str, str] = {}
    for line in ran.splitlines():
        outcome, quoted, reason = line.split("\t", 2)
        case = ast.literal_eval(quoted)
        if outcome == "passed":
            passed.add(case)
        elif outcome == "skipped":
            skipped[case] = reason
    # A case that one session skips, as it lacks the image, another may have run.
    required = set(tiers.required(tier, tests))
    for case, reason in sorted(skipped.items()):
        known = reason in tiers.allowed
        if case not in passed and function(case) in required and not known:
            yield f"skipped: {case}: {reason}"
    told = {function(case) for case in skipped if skipped[case] not in tiers.allowed}
    for test in sorted(required - {function(case) for case in passed} - told):
        yield f"did not run: {test}"


def function(case: str) -> str:
    """The test of a parametrised case."""
    return case.partition("[")[0]


def record(path: str, outcome: str, case: str, reason: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{outcome}\t{case!r}\t{' '.join(reason.split())}\n")


def _within(test: str, name: str) -> bool:
    return test == name or test.startswith((f"{name}/", f"{name}::"))


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            fixture = any("fixture" in ast.unparse(mark) for mark in node.decorator_list)
            if node.name.startswith("test") and not fixture:
                yield node.name
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from (f"{node.name}::{name}" for name in _names(node.body))


def main(tier: str, file: str) -> int:
    tests = every_test()
    tiers = Tiers.read()
    found = list(complaints(tier, Path(file).read_text(), tiers, tests))
    print("\n".join(found) or f"all {len(tiers.required(tier, tests))} tests of {tier} have run")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
