"""The cluster of `python -m scripts.cluster_local`, as tests change it and look at it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from scripts.cluster_local import image
from scripts.cluster_local.operations import Operations
from scripts.cluster_local.releases import APPLICATION
from scripts.cluster_local.repository import IMAGE, LOCAL_VALUES, NAMESPACE, local_values
from tests.support import tried

NAME = "strongroom"


@dataclass
class Cluster:
    operations: Operations
    scratch: Path
    environment: dict[str, str]
    _digests: dict[str, str] = field(default_factory=dict)
    _unobserved: tuple[str, int, float] = ("", 0, 0.0)

    @property
    def url(self) -> str:
        return self.environment["STRONGROOM_URL"]

    @property
    def released(self) -> str:
        """The digest of the image itself, which `up` has released."""
        digest: str = json.loads((self.operations.plane.folder / "loaded.json").read_text())[1]
        return digest

    # --- looking --------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        return self.operations.plane.kubectl(*arguments, stdin=stdin, seconds=seconds)

    def get(self, *arguments: str, namespace: str = NAMESPACE) -> Any:
        return json.loads(self.kubectl("get", "-ojson", f"--namespace={namespace}", *arguments))

    def rollout(self, namespace: str = NAMESPACE) -> Any:
        return self.get("rollout", NAME, namespace=namespace)

    def phase(self, namespace: str = NAMESPACE) -> str:
        """Healthy, Progressing, Paused or Degraded, of the generation that is asked for."""
        rollout = self.rollout(namespace)
        status = rollout.get("status", {})
        if str(status.get("observedGeneration")) != str(rollout["metadata"]["generation"]):
            self._nudge(rollout["metadata"])
            return "Unobserved"
        return f"{status.get('phase')} {status.get('message', '')}".strip()

    def _nudge(self, metadata: Any) -> None:
        """Argo Rollouts may overlook a change that comes while it writes: argo-rollouts#4073. As
        docs/runbooks/release.md says, any other change makes it look again."""
        key = (metadata["namespace"], metadata["generation"])
        if self._unobserved[:2] != key:
            self._unobserved = (*key, time.monotonic())
        elif time.monotonic() - self._unobserved[2] > 10:
            tried.lines.append("Argo Rollouts overlooked a change, and was nudged")
            self.kubectl(
                *("annotate", "rollout", NAME, f"--namespace={metadata['namespace']}"),
                *("--overwrite", f"nudged={time.time():.0f}"),
            )
            self._unobserved = ("", 0, 0.0)

    def pods(self, namespace: str = NAMESPACE, *, going: bool = False) -> list[Any]:
        """The service's, but for those that are going."""
        selected = "--selector=app.kubernetes.io/component=service"
        found = self.get("pods", selected, namespace=namespace)["items"]
        return [pod for pod in found if going or "deletionTimestamp" not in pod["metadata"]]

    def images(self, namespace: str = NAMESPACE, *, going: bool = False) -> set[str]:
        """The digests of the pods, but for those that are going."""
        pods = self.pods(namespace, going=going)
        return {pod["spec"]["containers"][0]["image"].partition("@")[2] for pod in pods}

    def process(self, pod: Any) -> int:
        """The id, on this machine, of the process that a pod runs."""
        container = pod["status"]["containerStatuses"][0]["containerID"].partition("//")[2]
        tasks = self.operations.plane.containerd("tasks", "ls").splitlines()
        [pid] = [line.split()[1] for line in tasks if line.startswith(container)]
        return int(pid)

    def application(self, name: str = APPLICATION) -> Any:
        return self.get("application", name, namespace="argocd")

    def refresh(self, name: str = APPLICATION) -> None:
        """Look now, as a webhook would have Argo CD do."""
        self.kubectl(
            *("annotate", "application", name, "--namespace=argocd", "--overwrite"),
            "argocd.argoproj.io/refresh=normal",
        )

    # --- changing -------------------------------------------------------------------------------

    def commit(
        self,
        values: Mapping[str, object] | None = None,
        digest: str | None = None,
        *,
        message: str = "A test's",
        wait: bool = True,
    ) -> str:
        """Commit values on top of what `up` gives dev, and a digest; wait until it is synced."""
        repository = self.operations.repository
        written = merged(local_values(), values or {})
        file = repository.checkout / "deploy" / "chart" / LOCAL_VALUES
        file.write_text(yaml.safe_dump(written, sort_keys=False))
        repository.promote(digest or self.released)
        repository.push(message)
        head = repository.head
        if wait:
            self.synced(head)
        return head

    def revert(self) -> str:
        """Undo the last commit, as a rollback does it."""
        repository = self.operations.repository
        repository.git("revert", "--no-edit", "HEAD")
        repository.push("")
        self.synced(repository.head)
        return repository.head

    def synced(self, revision: str, seconds: float = 90) -> None:
        self.refresh()

        def so() -> bool:
            status = self.application()["status"]
            sync = status.get("sync", {})
            done = status.get("operationState", {}).get("phase") == "Succeeded"
            return bool(
                sync.get("revision") == revision and sync.get("status") == "Synced" and done
            )

        until(so, seconds, lambda: json.dumps(self.application()["status"].get("conditions")))

    def patch(self, body: Mapping[str, object], *, status: bool = False) -> None:
        self.kubectl(
            *("patch", "rollout", NAME, f"--namespace={NAMESPACE}", "--type=merge"),
            *(["--subresource=status"] if status else []),
            f"--patch={json.dumps(body)}",
        )

    def healthy(self, digest: str, seconds: float = 180) -> None:
        """Wait until that image runs, alone."""

        def so() -> bool:
            return self.phase() == "Healthy" and self.images() == {digest}

        until(so, seconds, lambda: f"{self.phase()}, {self.images()}")

    def settle(self) -> None:
        """As `up` leaves it."""
        self.commit(message="As it was")
        self.healthy(self.released)

    def variant(self, name: str, **changes: Any) -> str:
        """An image of another digest on the node; its digest."""
        if name not in self._digests:
            archive = self.scratch / f"{name}.tar"
            labels = {"variant": name, **changes.pop("labels", {})}
            image.variant(image.FILE, archive, labels=labels, **changes)
            self._digests[name] = self.operations.plane.load(archive, IMAGE)
            archive.unlink()
        return self._digests[name]


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` has paths with dots as keys: {"autoscaling.minReplicas": 3}."""
    found: dict[str, Any] = json.loads(json.dumps(base))
    for path, value in more.items():
        *parents, leaf = path.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return found


def until(
    what: Callable[[], bool], seconds: float = 120, told: Callable[[], object] = lambda: ""
) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, f"it did not become so in {seconds:g} s: {told()}"
        time.sleep(0.5)


def moment(text: str) -> float:
    """Of Kubernetes's way to write a time, as Unix has it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def environment_of(file: Path) -> dict[str, str]:
    """What a shell would have after sourcing cluster.env."""
    lines = [line for line in file.read_text().splitlines() if re.match(r"[A-Z0-9_]+=", line)]
    return dict(line.split("=", 1) for line in lines)


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | more.pop("env", {}),
        **more,
    )  # fmt: skip
