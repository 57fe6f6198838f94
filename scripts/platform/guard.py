"""What Terragrunt itself asks before it changes anything: the hook in live/root.hcl.

Whoever calls plain `terragrunt` comes by here too. In an account that is not disposable only files
that `plan` has recorded are applied; everywhere, none with stand-ins or that loses data.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from scripts.platform import changes, planfiles, verdicts

# Names the account by hand, for one command: docs/runbooks/break-glass.md.
UNREVIEWED = "STRONGROOM_UNREVIEWED"


def reasons(
    environment: str, unit: str, *, disposable: bool, arguments: Collection[str]
) -> Iterator[str]:
    """Why this command must not run; nothing if it may."""
    yield from verdicts.unlocked(os.environ, arguments)
    yield from _backend(Path("backend.tf"))
    if "apply" not in arguments:
        return
    plan = _plan_file(arguments)
    recorded = plan is not None and planfiles.checksum(plan) in _recorded()
    if recorded:
        return  # it was looked at when it was recorded, and before it was handed on
    if not disposable and os.environ.get(UNREVIEWED) != environment:
        yield (
            f"{environment} takes plans that were reviewed, and no other: "
            f"python -m scripts.platform plan {environment}, then apply. "
            "In an emergency: docs/runbooks/break-glass.md"
        )
    if plan is not None:
        yield from verdicts.blast(unit, changes.read(_shown(plan)))


def _backend(generated: Path) -> Iterator[str]:
    """The hook runs where Terraform does, beside the backend that root.hcl generated."""
    if not re.search(r"^\s*use_lockfile\s*=\s*true\s*$", generated.read_text(), re.MULTILINE):
        yield "the state is not locked: remote_state in live/root.hcl must say use_lockfile = true"


def _plan_file(arguments: Collection[str]) -> Path | None:
    """Terraform takes the only word that is no option for the plan's file."""
    words = [word for word in list(arguments)[1:] if not word.startswith("-")]
    return Path(words[-1]) if words else None


def _recorded() -> set[str]:
    """The checksums of those that `python -m scripts.platform apply` has checked."""
    record = os.environ.get("STRONGROOM_RECORD")
    if not record:
        return set()
    return {unit["plan_sha256"] for unit in json.loads(Path(record).read_text())["units"]}


def _shown(plan: Path) -> dict[str, object]:
    terraform = os.environ.get("TG_CTX_TF_PATH", "terraform")
    done = subprocess.run(
        [terraform, "show", "-json", str(plan)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))
