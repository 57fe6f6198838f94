"""The git repository that Argo CD syncs from: this one, and a commit of what differs here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from scripts.cluster_local import aws, prometheus
from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.shell import run

ROOT = Path(__file__).parents[2]
ENVIRONMENT, ENTRY, NAMESPACE = "dev", "dev-eu-central-1", "strongroom-dev"
IMAGE = "localhost/strongroom"
NODE_PORT = 30800
LOCAL_VALUES = "values-local.yaml"
_AUTHOR = {
    "GIT_AUTHOR_NAME": "cluster-local",
    "GIT_AUTHOR_EMAIL": "cluster-local@localhost",
    "GIT_COMMITTER_NAME": "cluster-local",
    "GIT_COMMITTER_EMAIL": "cluster-local@localhost",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Repository:
    """`bare` is what Argo CD reads; `checkout` is where commits are made."""

    def __init__(self, home: Path) -> None:
        self.bare = home / "repository.git"
        self.checkout = home / "checkout"

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    def git(self, *arguments: str | Path) -> str:
        return run("git", "-C", self.checkout, *arguments, environment=_AUTHOR)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def make(self, digest: str) -> bool:
        """Bring it to what this repository is now, with dev running this image; whether that
        changed anything. History goes on: what was committed there before can be reverted."""
        if not (self.bare / "made").exists():
            self._clone()
        self.git("fetch", "--quiet", "--force", ROOT, "HEAD:refs/here")
        self.git("checkout", "--quiet", "--force", "main")
        self.git("read-tree", "--reset", "-u", "refs/here")
        self._overlay()
        self.promote(digest)
        self.git("add", "--all", "--force", "deploy")
        return self.push("What differs on this machine")

    def promote(self, digest: str) -> None:
        """As a release does it, by the script of that commit."""
        script = self.checkout / "scripts" / "promote"
        run(script, "set-digest", ENVIRONMENT, digest)

    def digest(self) -> str:
        """What dev is to run, by what is committed."""
        values = yaml.safe_load(self.git("show", f"HEAD:deploy/chart/values-{ENVIRONMENT}.yaml"))
        return str(values["image"]["digest"])

    def push(self, message: str) -> bool:
        """Commit all that is changed in the checkout, and give it to Argo CD."""
        changed = bool(self.git("status", "--porcelain"))
        if changed:
            self.git("commit", "--quiet", "--all", "--message", message)
        self.git("push", "--quiet", "origin", "main")
        return changed

    def remove(self) -> None:
        for folder in (self.bare, self.checkout):
            shutil.rmtree(folder, ignore_errors=True)

    def _clone(self) -> None:
        self.remove()
        if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode:
            raise ClusterError(f"{ROOT} is no git repository, and Argo CD syncs from one")
        run("git", "init", "--quiet", "--bare", "--initial-branch=main", self.bare)
        run("git", "-C", ROOT, "push", "--quiet", self.bare, "HEAD:refs/heads/main")
        run("git", "clone", "--quiet", self.bare, self.checkout, environment=_AUTHOR)
        (self.bare / "made").touch()

    def _overlay(self) -> None:
        """The folder deploy/ as it lies here, committed or not, and what is of this machine."""
        shutil.rmtree(self.checkout / "deploy")
        shutil.copytree(ROOT / "deploy", self.checkout / "deploy")
        file = self.checkout / "deploy" / "argocd" / "values.yaml"
        values = yaml.safe_load(file.read_text())
        [entry] = [entry for entry in values["environments"] if entry["name"] == ENTRY]
        entry["values"] = [*entry["values"], LOCAL_VALUES]
        entry["registry"] = IMAGE.partition("/")[0]
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        local = self.checkout / "deploy" / "chart" / LOCAL_VALUES
        local.write_text(yaml.safe_dump(local_values(), sort_keys=False))


def local_values() -> dict[str, Any]:
    """What dev is given here beside its own values; nothing of how it starts, stops and rolls."""
    return {
        "image": {"repository": IMAGE},
        "aws": {"endpoints": {"all": aws.URL}},
        "serviceAccount": {"roleArn": ""},  # a user's key instead, from a Secret
        "extraEnvFrom": [{"secretRef": {"name": "strongroom-aws"}}],
        "service": {"type": "NodePort", "nodePort": NODE_PORT},
        "autoscaling": {"minReplicas": 2, "maxReplicas": 4},
        "resources": {"requests": {"cpu": "250m"}},
        # Off, as in dev. Who turns it on is not to wait long.
        "analysis": {
            "prometheus": {"address": prometheus.URL},
            "windowSeconds": 60,
            "delaySeconds": 3 * prometheus.SCRAPE_SECONDS,
            "intervalSeconds": 5,
            "count": 2,
            # Two of a hundred requests are soon slow on a machine that does all of this at once.
            "maxSlowRatio": 0.1,
            "maxSlowRatioAboveStable": 0.1,
            "smoke": {"seconds": 15, "apiKeySecret": {"name": "strongroom-smoke"}},
        },
        "metrics": {"serviceMonitor": {"intervalSeconds": prometheus.SCRAPE_SECONDS}},
        "networkPolicy": {
            "egress": {"extra": [{"cidr": f"{aws.ADDRESS}/32", "ports": [aws.PORT]}]}
        },
    }
