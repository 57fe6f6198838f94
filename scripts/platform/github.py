"""What GitHub keeps for the pipelines: environments, who protects them, and their variables."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.platform.errors import PlatformError

_API = "https://api.github.com"
_SECONDS = 20
_VARIABLE = re.compile(r"\bvars\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Environment:
    """An environment as GitHub keeps it."""

    name: str
    reviewers: list[str] = field(default_factory=list)  # users' logins, teams' slugs
    self_review: bool = True  # whether who started a job may approve it
    branches: list[str] | None = None  # None: jobs of any branch; [] of any protected one
    bypass: bool = False  # whether an administrator may pass by the rules
    variables: dict[str, str] = field(default_factory=dict)


class GitHub:
    """One repository, by GitHub's REST API. Needs `GH_TOKEN` or `GITHUB_TOKEN`, or `gh` signed in;
    the token must be allowed to read environments and their variables."""

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self._api = os.environ.get("GITHUB_API_URL", _API).rstrip("/")
        self._token = _token()

    def about(self) -> dict[str, Any]:
        """Ids of owner and repository, default branch. Raises if there is no such repository."""
        found = self._get("")
        if found is None:
            raise PlatformError(f"there is no repository {self.repository}, or the token sees none")
        return found

    def environment(self, name: str) -> Environment | None:
        path = f"/environments/{urllib.parse.quote(name, safe='')}"
        found = self._get(path)
        if found is None:
            return None
        rules = [rule for rule in found["protection_rules"] if rule["type"] == "required_reviewers"]
        variables = self._get(f"{path}/variables?per_page=30") or {"variables": []}
        return Environment(
            name,
            [_reviewer(each) for rule in rules for each in rule["reviewers"]],
            not any(rule.get("prevent_self_review") for rule in rules),
            self._branches(path, found["deployment_branch_policy"]),
            bool(found.get("can_admins_bypass")),
            {each["name"]: each["value"] for each in variables["variables"]},
        )

    def _branches(self, path: str, policy: dict[str, bool] | None) -> list[str] | None:
        if policy is None:
            return None
        if policy["protected_branches"]:
            return []
        found = self._get(f"{path}/deployment-branch-policies?per_page=30") or {}
        return [each["name"] for each in found.get("branch_policies", [])]

    def _get(self, path: str) -> dict[str, Any] | None:
        """None where there is no such thing."""
        address = f"{self._api}/repos/{self.repository}{path}"
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        request = urllib.request.Request(address, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise PlatformError(f"GitHub answers {error.code} to {address}") from error
        except (OSError, ValueError) as error:
            raise PlatformError(f"GitHub cannot be asked: {error}") from error


def _reviewer(given: dict[str, Any]) -> str:
    return str(given["reviewer"].get("slug") or given["reviewer"]["login"])


def _token() -> str:
    """Sent to GitHub's API alone, or to the one that the shell names."""
    token = os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN")
    if token:
        return token
    if shutil.which("gh") is None:
        raise PlatformError("needs GH_TOKEN, or `gh` signed in")
    done = subprocess.run(["gh", "auth", "token"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        raise PlatformError(f"needs GH_TOKEN, or `gh` signed in ({said[0] if said else 'gh auth'})")
    return done.stdout.strip()


def variables_read(root: Path) -> dict[str, set[str]]:
    """By what a job says of its environment, the names of the variables that such jobs read: a
    name as `release`, or `*` and `*-plan` for those that are computed."""
    found: dict[str, set[str]] = {}
    for file in sorted((root / ".github" / "workflows").glob("*.yml")):
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            environment = job.get("environment")
            name = environment.get("name") if isinstance(environment, dict) else environment
            if name:
                read = set(_VARIABLE.findall(yaml.safe_dump(job)))
                found.setdefault(_general(str(name)), set()).update(read)
    return found


def _general(name: str) -> str:
    return re.sub(r"\$\{\{.*?\}\}", "*", name)
