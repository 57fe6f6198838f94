"""The OpenAPI document in the tree, and what a change of it breaks.

  python -m scripts.openapi write             write docs/openapi.json, as the service serves it
  python -m scripts.openapi breaking [BASE]   refuse what breaks a client and CHANGELOG.md does not
                                              name under Unreleased

BASE is a commit; without it the last tag v*, or, before the first, the commit that added the
document. A change is named by its operation's id in backquotes, such as `createDocument`, or by its
path. oasdiff says what breaks; it is taken from the PATH or from .tools/generators/bin.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = Path("docs/openapi.json")
_CHANGELOG = Path("CHANGELOG.md")
_SECONDS = 120


class OpenApiError(Exception):
    """What kept the command from its work, in words that say what to do."""


def text(document: Any) -> str:
    """The document as it is written: sorted and indented, so that a diff shows what changed."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def current() -> Any:
    """The document of a service with its default settings. Asks nothing of AWS."""
    # Else a search for credentials would begin, and ask the network.
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    from app import bootstrap
    from app.settings import Settings
    from app.web.metrics import Metrics

    settings = Settings(dynamodb_table="none", s3_bucket="none", metrics_port=None)

    async def build() -> Any:
        async with bootstrap.connect(settings) as backends:
            return bootstrap.build(settings, backends, Metrics()).document

    return asyncio.run(build())


# --- what breaks --------------------------------------------------------------------------------


def breaking(base: str | None, root: Path = ROOT) -> list[str]:
    """Each change since `base` that breaks a client and that the changelog does not name, as a
    line. Raises OpenApiError where nothing can be compared."""
    commit = _commit(base, root)
    before = _git(root, "show", f"{commit}:{FILE}", may_fail=True)
    if commit is None or before is None:
        print(f"no {FILE} at {commit or 'any commit'}: nothing that could be broken")
        return []
    unreleased = _unreleased((root / _CHANGELOG).read_text())
    changes = _oasdiff(before, root / FILE)
    left = [change for change in changes if not _is_named(change, unreleased)]
    print(f"since {commit}: {len(changes)} breaking, of which CHANGELOG.md names", end=" ")
    print(len(changes) - len(left))
    return [_line(change) for change in left]


def _commit(base: str | None, root: Path) -> str | None:
    if base is not None:
        if _git(root, "rev-parse", "--verify", f"{base}^{{commit}}", may_fail=True) is None:
            raise OpenApiError(f"{base} is no commit here: fetch it, or name another")
        return base
    tag = _git(root, "describe", "--tags", "--match", "v*", "--abbrev=0", may_fail=True)
    if tag:
        return tag.strip()
    added = _git(root, "log", "--diff-filter=A", "--format=%H", "--", str(FILE)) or ""
    return added.split()[-1] if added.split() else None


def _unreleased(changelog: str) -> str:
    found = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def _is_named(change: dict[str, Any], text: str) -> bool:
    names = (change.get("operationId"), change.get("path"))
    return any(f"`{name}`" in text for name in names if name)


def _line(change: dict[str, Any]) -> str:
    operation = change.get("operationId") or change.get("section", "")
    where = " ".join(filter(None, (change.get("operation"), change.get("path"))))
    return f"`{operation}` ({where}): {change['text']} [{change['id']}]"


def _oasdiff(before: str, after: Path) -> list[dict[str, Any]]:
    """What oasdiff finds, warnings too: a removed parameter is one."""
    place = os.pathsep.join((os.environ.get("PATH", ""), str(ROOT / ".tools/generators/bin")))
    oasdiff = shutil.which("oasdiff", path=place)
    if oasdiff is None:
        raise OpenApiError("oasdiff is not on the PATH: `.ci/run full generators` builds it")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as base:
        base.write(before)
        base.flush()
        command = (oasdiff, "breaking", "--format", "json", base.name, str(after))
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise OpenApiError(f"oasdiff could not compare: {done.stderr.strip()}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _git(root: Path, *arguments: str, may_fail: bool = False) -> str | None:
    done = subprocess.run(
        ("git", "-C", str(root), *arguments), capture_output=True, text=True, timeout=_SECONDS
    )
    if done.returncode and not may_fail:
        raise OpenApiError(f"git {arguments[0]}: {done.stderr.strip()}")
    return None if done.returncode else done.stdout


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["write"]:
            (ROOT / FILE).write_text(text(current()))
            return 0
        case ["breaking", *base] if len(base) <= 1:
            try:
                left = breaking(base[0] if base else None)
            except OpenApiError as error:
                print(f"openapi: {error}", file=sys.stderr)
                return 2
            if left:
                print("These break a client, and CHANGELOG.md names them not under Unreleased:")
                print("\n".join(left))
            return 1 if left else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
