"""Which tests a tier of CI must have run, by tests/tiers.toml, and whether it did.

Every pytest session adds what became of its tests to the file that STRONGROOM_RAN names;
`python -m tests.support.tiers quick FILE [STEP...]` compares that with the tests that there are in
the source; given steps of the tier, with their tests alone. It reads the source, not pytest's
collection, so that a test that nobody collects is seen.

A step may be spread over several machines: with STRONGROOM_PART=2/5, a session runs the second of
five parts of each step's files, and that part is all that is asked for. On GitHub's runners, which
lack some tools, the tests that tiers.toml names for it are left out.
"""

from __future__ import annotations

import ast
import itertools
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FULL_ONLY = "belongs to the full tier: STRONGROOM_FULL=1 runs it"


@dataclass(frozen=True)
class Tiers:
    """A name is a folder, a file, or `file::test`."""

    only: Sequence[str]
    also: Sequence[str]
    allowed: frozenset[str]
    steps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    absent: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path = ROOT) -> Tiers:
        told = tomllib.loads((root / "tests/tiers.toml").read_text())
        full = told["full"]
        return cls(
            full["only"],
            full["also"],
            frozenset(told["skips"]["allowed"]),
            told["steps"],
            told["seconds"],
            {name: entry["tests"] for name, entry in told["absent-on-github"].items()},
        )

    def is_full_only(self, test: str) -> bool:
        return _among(test, self.only)

    def required(
        self, tier: str, tests: Sequence[str], steps: Sequence[str] = (), part: str = ""
    ) -> list[str]:
        """What must have passed, on this machine: of these steps alone, if any are named."""
        if tier == "quick":
            found = [test for test in tests if not self.is_full_only(test)]
        else:
            names = [*self.only, *self.also]
            found = [test for test in tests if _among(test, names)]
        if steps:
            found = [test for test in found if self.of(test) & {*steps}]
        if on_github():
            found = [test for test in found if self.absent_tool(test) is None]
        mine = self.part(part, tests)
        return [test for test in found if test.partition("::")[0] in mine]

    def of(self, test: str) -> set[str]:
        """The steps that run it. Whatever the table does not name is for `test`."""
        return {step for step, names in self.steps.items() if _among(test, names)} or {"test"}

    def absent_tool(self, test: str) -> str | None:
        """What it needs and GitHub's runners lack, if anything."""
        return next((tool for tool, names in self.absent.items() if _among(test, names)), None)

    def part(self, part: str, tests: Sequence[str]) -> set[str]:
        """The files of a part such as `2/5`, of every step; all of them if it is empty.

        The slowest file is dealt first, each to the part that has the least by then. Raises
        ValueError for anything that is no part.
        """
        files = sorted({test.partition("::")[0] for test in tests})
        if not part:
            return {*files}
        number, _, count = part.partition("/")
        if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
            raise ValueError(f"STRONGROOM_PART is {part!r}, and not such as 2/5")
        loads: dict[tuple[str, ...], list[float]] = {}
        mine = set()
        for file in sorted(files, key=lambda file: (-self._seconds(file), file)):
            load = loads.setdefault(tuple(sorted(self.of(file))), [0.0] * int(count))
            least = load.index(min(load))
            load[least] += self._seconds(file)
            if least == int(number) - 1:
                mine.add(file)
        return mine

    def _seconds(self, file: str) -> float:
        skipped = on_github() and self.absent_tool(file) is not None
        return 0 if skipped else self.seconds.get(file, 1)


def on_github() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def every_test(root: Path = ROOT) -> list[str]:
    """Every test that the source has, as `file::test` or `file::Class::test`."""
    return [
        f"{file.relative_to(root).as_posix()}::{name}"
        for file in sorted((root / "tests").rglob("test_*.py"))
        for name in _names(ast.parse(file.read_text()).body)
    ]


def complaints(
    tier: str,
    ran: str,
    tiers: Tiers,
    tests: Sequence[str],
    steps: Sequence[str] = (),
    part: str = "",
) -> Iterator[str]:
    """What keeps a tier from being green, given the lines that its sessions have recorded."""
    named = itertools.chain.from_iterable((*tiers.steps.values(), *tiers.absent.values()))
    for name in (*tiers.only, *tiers.also, *named, *tiers.seconds):
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
    required = set(tiers.required(tier, tests, steps, part))
    for case, reason in sorted(skipped.items()):
        known = reason in tiers.allowed
        if case not in passed and function(case) in required and not known:
            yield f"skipped: {case}: {reason}"
    told = {function(case) for case in skipped if skipped[case] not in tiers.allowed}
    done = {function(case) for case in passed}
    for test in sorted(required - done - told):
        yield f"did not run: {test}"
    if on_github():
        for test in sorted(done):
            if tool := tiers.absent_tool(test):
                yield f"ran, though tests/tiers.toml says that GitHub has no {tool}: {test}"


def function(case: str) -> str:
    """The test of a parametrised case."""
    return case.partition("[")[0]


def record(path: str, outcome: str, case: str, reason: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{outcome}\t{case!r}\t{' '.join(reason.split())}\n")


def _among(test: str, names: Sequence[str]) -> bool:
    return any(_within(test, name) for name in names)


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


def main(tier: str, file: str, *steps: str) -> int:
    tests = every_test()
    tiers = Tiers.read()
    part = os.environ.get("STRONGROOM_PART", "")
    found = list(complaints(tier, Path(file).read_text(), tiers, tests, steps, part))
    told = f"all {len(tiers.required(tier, tests, steps, part))} tests"
    where = f" of part {part}" if part else ""
    print("\n".join(found) or f"{told} of {' '.join((tier, *steps))}{where} have run")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
