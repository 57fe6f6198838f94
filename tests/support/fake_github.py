"""GitHub's REST API, as far as `preflight` asks it, on loopback: one repository with environments;
and the `gh` of docs/runbooks/before-the-first-apply.md, which makes them.

Written after https://docs.github.com/en/rest/deployments/environments and .../actions/variables. A
call without the token is answered as GitHub does, by 404: what one may not see is not there.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "fake-token"


@dataclass
class Protection:
    """One environment. `branches` of None: jobs of any branch; of []: of every protected one."""

    reviewers: list[str] = field(default_factory=list)
    prevent_self_review: bool = True
    branches: list[str] | None = None
    admins_bypass: bool = False
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeGitHub:
    repository: str = "acme/strongroom"
    owner_id: int = 11
    id: int = 22
    default_branch: str = "main"
    environments: dict[str, Protection] = field(default_factory=dict)
    broken: int = 0  # a status that every call gets
    asked: list[str] = field(default_factory=list)
    address: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """For whoever is to ask this one."""
        return {"GITHUB_API_URL": self.address, "GH_TOKEN": TOKEN}

    def gh(self, arguments: list[str], given: str) -> str:
        """What `gh` prints, and does, for the calls of that page. Raises on any other."""
        environments = f"repos/{self.repository}/environments/"
        match arguments:
            case ["api", path, "--jq", _] if path == f"repos/{self.repository}":
                return json.dumps({"owner": self.owner_id, "repository": self.id})
            case ["api", "--method", "PUT", path, "--input", "-"] if path.startswith(environments):
                asked = json.loads(given)
                policy = asked.get("deployment_branch_policy")
                self.environments[path.removeprefix(environments)] = Protection(
                    [str(each["id"]) for each in asked.get("reviewers", [])],
                    bool(asked.get("prevent_self_review")),
                    None if policy is None else [],
                )
                return "{}"
            case ["api", "--method", "POST", path, "-f", branch] if path.startswith(environments):
                name, _, rest = path.removeprefix(environments).partition("/")
                assert rest == "deployment-branch-policies"
                branches = self.environments[name].branches
                assert branches is not None, "it is for jobs of any branch"
                branches.append(branch.removeprefix("name="))
                return "{}"
            case ["variable", "set", "--env", name, "--env-file", _]:
                pairs = [line.split("=", 1) for line in given.splitlines()]
                self.environments[name].variables |= dict(pairs)
                return ""
        raise ValueError(f"gh {' '.join(arguments)}")

    def answer(self, path: str) -> dict[str, Any] | None:
        self.asked.append(path)
        prefix = f"/repos/{self.repository}"
        if path == prefix:
            owner = {"id": self.owner_id, "login": self.repository.partition("/")[0]}
            return {"id": self.id, "owner": owner, "default_branch": self.default_branch}
        found = re.fullmatch(rf"{re.escape(prefix)}/environments/([^/]+)(/[a-z-]+)?", path)
        environment = self.environments.get(unquote(found[1])) if found else None
        if found is None or environment is None:
            return None
        return {None: _environment, "/variables": _variables}.get(found[2], _branches)(environment)


def _environment(given: Protection) -> dict[str, Any]:
    rules: list[dict[str, Any]] = []
    if given.reviewers:
        reviewers = [{"type": "Team", "reviewer": {"slug": name}} for name in given.reviewers]
        rules.append(
            {
                "type": "required_reviewers",
                "prevent_self_review": given.prevent_self_review,
                "reviewers": reviewers,
            }
        )
    policy = None
    if given.branches is not None:
        rules.append({"type": "branch_policy"})
        policy = {
            "protected_branches": not given.branches,
            "custom_branch_policies": bool(given.branches),
        }
    return {
        "protection_rules": rules,
        "deployment_branch_policy": policy,
        "can_admins_bypass": given.admins_bypass,
    }


def _branches(given: Protection) -> dict[str, Any]:
    return {"branch_policies": [{"name": name} for name in given.branches or []]}


def _variables(given: Protection) -> dict[str, Any]:
    found = [{"name": name, "value": value} for name, value in given.variables.items()]
    return {"total_count": len(found), "variables": found}


_GH = """\
#!{python}
import json, sys, urllib.error, urllib.request
if sys.argv[1:] == ["auth", "token"]:
    sys.exit(print("{token}"))
given = sys.stdin.read() if "-" in sys.argv else ""
if "--env-file" in sys.argv:
    given = open(sys.argv[-1]).read()
asked = json.dumps({{"arguments": sys.argv[1:], "given": given}}).encode()
try:
    print(urllib.request.urlopen("{address}/gh", asked).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
"""


def program(github: FakeGitHub, folder: Path) -> None:
    """A `gh` in this folder, signed in to this GitHub."""
    file = folder / "gh"
    file.write_text(_GH.format(python=sys.executable, token=TOKEN, address=github.address))
    file.chmod(0o755)


@contextmanager
def serving(github: FakeGitHub) -> Iterator[FakeGitHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            found = github.answer(urlsplit(self.path).path) if allowed else None
            status = github.broken or (404 if found is None else 200)
            content = json.dumps(found or {"message": "Not Found"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            """Of the played `gh` alone: see `program`."""
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, content = 200, github.gh(asked["arguments"], asked["given"]).encode()
            except (AssertionError, KeyError, ValueError) as error:
                status, content = 400, repr(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    github.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
