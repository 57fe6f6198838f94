"""What a release has come to: through, refused, or still under way."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.plane import Plane
from scripts.cluster_local.repository import ENTRY, NAMESPACE, Repository
from scripts.cluster_local.shell import Say

APPLICATION = f"strongroom-{ENTRY}"
_SECONDS = 900.0
_REFUSED_SECONDS = 45.0
_OVERLOOKED_SECONDS = 15.0


class Releases:
    def __init__(self, plane: Plane, repository: Repository, say: Say) -> None:
        self._plane = plane
        self._repository = repository
        self._say = say

    def wait(self) -> int:
        """Until what is committed runs alone: 0; 1 if it was refused, and why is told."""
        head, digest = self._repository.head, self._repository.digest()
        self._refresh()
        started = time.monotonic()
        told, since = "", started
        while (now := time.monotonic()) < started + _SECONDS:
            rollout = self._get("rollout", "strongroom", NAMESPACE)
            state = self._state(rollout, head, digest)
            if state == "through":
                self._say(f"{digest[:19]}… runs alone, after {now - started:.0f} s")
                return 0
            if state.startswith("aborted"):
                self._say(f"refused, after {now - started:.0f} s: {state}")
                self._tell_measured(rollout)
                return 1
            if state != told:
                self._say(f"  {state} …")
                told, since = state, now
            if state.startswith("refused") and now - since > _REFUSED_SECONDS:
                raise ClusterError(
                    f"Argo CD does not take that commit; what runs is untouched.\n{state}"
                )
            if state.startswith("overlooked") and now - since > _OVERLOOKED_SECONDS:
                self._nudge()
                since = now
            time.sleep(1)
        raise ClusterError(f"after {_SECONDS:g} s: {told}")

    def _state(self, rollout: Any, head: str, digest: str) -> str:
        application = self._get("application", APPLICATION, "argocd")
        status = application.get("status", {})
        if conditions := [c["message"] for c in status.get("conditions") or []]:
            return "refused: " + "\n  ".join(conditions)
        sync = status.get("sync", {})
        if sync.get("revision") != head or sync.get("status") != "Synced":
            return "Argo CD is syncing"
        status = rollout.get("status", {})
        if str(status.get("observedGeneration")) != str(rollout["metadata"]["generation"]):
            return "overlooked, or not seen yet, by Argo Rollouts"
        phase, message = status.get("phase", "unknown"), status.get("message", "")
        if status.get("abort"):
            return f"aborted: {message}"
        running = self._running()
        if phase == "Healthy" and running == {digest}:
            return "through"
        step = status.get("currentStepIndex")
        steps = rollout["spec"]["strategy"].get("canary", {}).get("steps", [])
        at = (
            f", step {min(step + 1, len(steps))} of {len(steps)}"
            if steps and step is not None
            else ""
        )
        return f"{phase}{at}{f': {message}' if message else ''}"

    def _running(self) -> set[str]:
        listed = json.loads(
            self._plane.kubectl(
                *("get", "pods", f"--namespace={NAMESPACE}", "-ojson"),
                "--selector=app.kubernetes.io/component=service",
            )
        )
        return {
            pod["spec"]["containers"][0]["image"].partition("@")[2]
            for pod in listed["items"]
            if "deletionTimestamp" not in pod["metadata"]
        }

    def _tell_measured(self, rollout: Any) -> None:
        version = rollout["status"].get("currentPodHash", "")
        listed = json.loads(
            self._plane.kubectl(
                *("get", "analysisruns", f"--namespace={NAMESPACE}", "-ojson"),
                f"--selector=rollouts-pod-template-hash={version}",
            )
        )
        for run in listed["items"]:
            for result in run.get("status", {}).get("metricResults", []):
                values = [m.get("value", m.get("phase")) for m in result.get("measurements", [])]
                self._say(f"  {result['name']}: {result['phase']} {' '.join(values)}")

    def _refresh(self) -> None:
        """Look now, as a webhook would have Argo CD do."""
        self._plane.kubectl(
            *("annotate", "application", APPLICATION, "--namespace=argocd", "--overwrite"),
            "argocd.argoproj.io/refresh=normal",
        )

    def _nudge(self) -> None:
        """Argo Rollouts may overlook a change that comes while it writes: argo-rollouts#4073."""
        self._say("  overlooked: nudging …")
        self._plane.kubectl(
            *("annotate", "rollout", "strongroom", f"--namespace={NAMESPACE}", "--overwrite"),
            f"nudged={time.time():.0f}",
        )

    def _get(self, kind: str, name: str, namespace: str) -> Any:
        found = self._plane.kubectl(
            *("get", kind, name, f"--namespace={namespace}", "--ignore-not-found", "-ojson")
        )
        if not found.strip():
            raise ClusterError(f"there is no {kind} {name}: make cluster-local")
        return json.loads(found)


def ratio(text: str) -> str:
    """Of faults, as FAULT_ERROR_RATIO takes it. Raises `ValueError`."""
    if not re.fullmatch(r"0?\.\d+|1(\.0+)?|0", text):
        raise ValueError(text)
    return str(float(text))
