"""What the commands do. Each may be interrupted or killed, and run again."""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.records import SCOPES
from scripts.cluster_local import host, image, prometheus
from scripts.cluster_local.aws import ADDRESS, Aws
from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.plane import Plane
from scripts.cluster_local.prometheus import Prometheus
from scripts.cluster_local.releases import APPLICATION, Releases
from scripts.cluster_local.repository import (
    ENTRY,
    IMAGE,
    NAMESPACE,
    NODE_PORT,
    Repository,
)
from scripts.cluster_local.shell import run, until

WORKLOAD = "rollout/strongroom"
URL = f"http://127.0.0.1:{NODE_PORT}"
_REFUSED_SECONDS = 45.0
# Variable in the env file: tenant, scopes.
_KEYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "STRONGROOM_API_KEY": ("acme", SCOPES),
    "STRONGROOM_API_KEY_READ": ("acme", ("documents:read",)),
    "STRONGROOM_API_KEY_2": ("globex", SCOPES),
}
# Of the load that releases are judged by: a tenant of its own, and not in the env file.
_SMOKE = "smoke"
_SMOKE_KEY = ("smoke", ("documents:read", "documents:write"))


def say(text: str) -> None:
    print(text, flush=True)


class Operations:
    def __init__(self, directory: Path) -> None:
        self.home = directory.absolute() / "cluster"
        self.env_file = directory.absolute() / "cluster.env"
        self.plane = Plane(self.home, say)
        self.aws = Aws(self.home, say)
        self.repository = Repository(self.home)
        self.prometheus = Prometheus(self.home, self.plane.kubeconfig, NAMESPACE, say)

    # --- commands -------------------------------------------------------------------------------

    def up(self, *, debian: bool = False) -> int:
        started = time.monotonic()
        host.check(self.home)
        with self._locked("up"):
            archive = image.ensure(self.home, say, debian=debian)
            self.plane.up()
            digest = self._load(archive)
            self.aws.up()
            say("committing what differs on this machine, for Argo CD …")
            self.repository.make(digest)
            self._apply_environments()
            self._secrets()
            self._await_synced(digest)
            keys = self._keys()
            self._secret("strongroom-smoke", {"api-key": keys.pop(_SMOKE)})
            self.prometheus.up()
            self._write_env(keys)
        self._tell(time.monotonic() - started)
        return 0

    def release(self, *, debian: bool = False, fault_error_ratio: str = "") -> int:
        """0 if it is through, 1 if it was refused."""
        self._must_run()
        with self._locked("release"):
            archive = image.ensure(self.home, say, debian=debian)
            message = "Dev runs what lies in the working tree"
            if fault_error_ratio:
                archive = self._failing(archive, fault_error_ratio)
                message += f", failing {fault_error_ratio} of its answers"
                digest = self.plane.load(archive, IMAGE)
                archive.unlink()
            else:
                digest = self._load(archive)
            self.repository.promote(digest)
            if not self.repository.push(message):
                say("dev is to run that image already: nothing to release")
            return self._releases.wait()

    def wait(self) -> int:
        """Until what is committed runs: 0; 1 if it was refused."""
        self._must_run()
        return self._releases.wait()

    def down(self) -> int:
        started = time.monotonic()
        if not self.home.exists():
            say("nothing is there")
            return 0
        with self._locked("down"):
            self.env_file.unlink(missing_ok=True)
            say("stopping the emulated AWS …")
            self.aws.down()
            say("stopping the cluster …")
            self.prometheus.down()
            self.plane.down()
            self.repository.remove()
            for file in self.home.iterdir():
                if file.name != "lock":
                    file.unlink()
            (self.home / "lock").unlink()
            self.home.rmdir()
        say(f"all gone, after {time.monotonic() - started:.0f} s; build/image.tar is kept")
        return 0

    def status(self) -> int:
        """Exit code 0 if the service answers, 3 if not."""
        if not self.home.exists():
            say("no cluster is here: make cluster-local")
            return 3
        if lacking := self.plane.lacking():
            say(f"the cluster lacks {', '.join(lacking)}: make cluster-local")
            return 3
        say(f"the cluster runs, and the emulated AWS {'too' if self.aws.pid else 'does NOT'}")
        say(f"Prometheus: {prometheus.URL if self.prometheus.runs else 'does not run'}")
        say(self.plane.kubectl("get", "applications", "--namespace=argocd"))
        say(self.plane.kubectl("get", "rollouts,pods,hpa,pdb", f"--namespace={NAMESPACE}"))
        answered = _status("/readyz")
        say(f"{URL}/readyz: {answered or 'no answer'}")
        say(f"for shells: . {_relative(self.env_file)}")
        return 0 if answered == 200 else 3

    @property
    def _releases(self) -> Releases:
        return Releases(self.plane, self.repository, say)

    def _must_run(self) -> None:
        if not self.home.exists() or self.plane.lacking():
            raise ClusterError("no cluster runs here: make cluster-local")

    def _failing(self, archive: Path, ratio: str) -> Path:
        target = self.home / "failing.tar"
        image.variant(archive, target, environment={"FAULT_ERROR_RATIO": ratio})
        return target

    # --- steps of `up` --------------------------------------------------------------------------

    def _load(self, archive: Path) -> str:
        loaded = self.plane.folder / "loaded.json"
        of = json.loads((self.home / "image.json").read_text())
        if loaded.exists():
            was, digest = json.loads(loaded.read_text())
            if was == of and self.plane.has_image(IMAGE, digest):
                return str(digest)
        say("putting the image on the node …")
        digest = self.plane.load(archive, IMAGE)
        loaded.write_text(json.dumps([of, digest]))
        return digest

    def _apply_environments(self) -> None:
        """The one step by hand: after it, Argo CD keeps this, too."""
        rendered = run(
            *("helm", "template", "strongroom-environments"),
            self.repository.checkout / "deploy" / "argocd",
            *("--set", f"repository={self.repository.url}", "--set", f"only={ENTRY}"),
        )
        self.plane.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--namespace=argocd"),
            "--filename=-",
            stdin=rendered,
        )

    def _secrets(self) -> None:
        say("waiting for Argo CD to make the namespace …")

        def absent() -> str:
            found = self.plane.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found")
            return "" if found else f"no namespace {NAMESPACE} yet{self._conditions()}"

        until(absent, "Argo CD has not synced", 120, say)
        key = self.aws.service_key(self._secret_of("strongroom-aws"))
        self._secret("strongroom-aws", key)

    def _await_synced(self, digest: str) -> None:
        say("waiting for Argo CD to sync the chart, and for the pods …")
        head = self.repository.head
        refused_since: float | None = None

        def left() -> str:
            nonlocal refused_since
            # What it cannot render it never will; but its first answer may be of the commit before.
            refused_since = (refused_since or time.monotonic()) if self._conditions() else None
            if refused_since and time.monotonic() - refused_since > _REFUSED_SECONDS:
                raise ClusterError(f"Argo CD refuses {APPLICATION}:{self._conditions()}")
            application = self._get(NAMESPACE_ARGOCD, "application", APPLICATION)
            status = application.get("status", {})
            sync = status.get("sync", {})
            if sync.get("revision") != head or sync.get("status") != "Synced":
                return f"{APPLICATION}: {sync.get('status', 'unknown')}{self._conditions()}"
            health = status.get("health", {}).get("status", "unknown")
            if health != "Healthy":
                return f"{APPLICATION}: synced, {health}"
            rollout = self._get(NAMESPACE, "rollout", "strongroom")
            container = rollout["spec"]["template"]["spec"]["containers"][0]
            if not container["image"].endswith(digest):
                return f"the rollout has {container['image']}"
            phase = rollout.get("status", {}).get("phase", "unknown")
            if phase != "Healthy":
                return f"the rollout is {phase}"
            return "" if _status("/readyz") == 200 else f"{URL} does not answer"

        until(left, "the service is not there", 300, say, self._pods)

    def _keys(self) -> dict[str, str]:
        file = self.home / "keys.json"
        try:
            known = dict(json.loads(file.read_text()))
        except (OSError, ValueError):
            known = {}
        for variable, (tenant, scopes) in {**_KEYS, _SMOKE: _SMOKE_KEY}.items():
            key = known.get(variable, "")
            if not key or _status("/v1/documents?limit=1", key) != 200:
                known[variable] = self.aws.new_key(tenant, scopes)
        _write_private(file, json.dumps(known))
        return known

    def _write_env(self, keys: dict[str, str]) -> None:
        values = {
            "KUBECONFIG": str(self.plane.kubeconfig),
            "STRONGROOM_URL": URL,
            **keys,
            "NAMESPACE": NAMESPACE,
            "WORKLOAD": WORKLOAD,
        }
        lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
        _write_private(self.env_file, "\n".join([*lines, f"export {' '.join(values)}", ""]))

    def _tell(self, seconds: float) -> None:
        env, checkout = _relative(self.env_file), _relative(self.repository.checkout)
        say(f"\nStrongroom runs on a cluster of its own, after {seconds:.0f} s: {URL}")
        say(f"In a shell:          . {env}")
        say("What runs:           kubectl get rollouts,pods -n $NAMESPACE")
        say(f"What Argo CD syncs:  {checkout} (commit there, and git push)")
        if self.prometheus.runs:
            say(f"What is measured:    {prometheus.URL}")
        say(f"To load it:          python -m load run --url {URL} --allow-host {ADDRESS}")
        say("To take it down:     make cluster-local-destroy")

    # --- the cluster ----------------------------------------------------------------------------

    def _get(self, namespace: str, kind: str, name: str) -> Any:
        found = self.plane.kubectl(
            *("get", kind, name, f"--namespace={namespace}", "--ignore-not-found", "-ojson")
        )
        return json.loads(found) if found.strip() else {}

    def _secret(self, name: str, values: dict[str, str]) -> None:
        metadata = {"name": name, "namespace": NAMESPACE}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
        self.plane.kubectl("apply", "--filename=-", stdin=json.dumps(secret))

    def _secret_of(self, name: str) -> dict[str, str]:
        data = self._get(NAMESPACE, "secret", name).get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def _conditions(self) -> str:
        """What Argo CD has against it."""
        status = self._get(NAMESPACE_ARGOCD, "application", APPLICATION).get("status", {})
        told = [condition["message"] for condition in status.get("conditions", [])]
        operation = status.get("operationState", {})
        if operation.get("phase") in ("Failed", "Error"):
            told.append(operation.get("message", ""))
        return "".join(f"\n  {text}" for text in told)

    def _pods(self) -> str:
        listed = self.plane.kubectl("get", "pods", f"--namespace={NAMESPACE}")
        return f"\n{listed.rstrip()}"

    @contextmanager
    def _locked(self, command: str) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.home / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                who = lock.read().strip() or "another command"
                raise ClusterError(f"{who} is at work on {_relative(self.home)}") from error
            lock.truncate(0)
            lock.write(f"`{command}` (process {os.getpid()})")
            lock.flush()
            yield


NAMESPACE_ARGOCD = "argocd"


def _status(path: str, key: str = "") -> int:
    """Of the service's answer; 0 if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", NODE_PORT, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _write_private(file: Path, content: str) -> None:
    """Whole or not at all, and for the owner's eyes only."""
    draft = file.with_name(file.name + ".new")
    draft.touch(mode=0o600)
    draft.write_text(content)
    draft.replace(file)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
