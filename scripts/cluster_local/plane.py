"""The control plane, the node and Argo CD: `control-plane`, started, looked at and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.host import Host
from scripts.cluster_local.shell import Say, run

_START_SECONDS = 300.0
_TRIES = 3
_KUBECTL_WAIT = Path(__file__).resolve().parents[1] / "kubectl-wait"  # see the script in it
_PARTS = (
    *("etcd", "apiserver", "controller-manager", "scheduler", "rollouts"),
    *("containerd", "kubelet", "kube-proxy", "coredns", "metrics-server"),
    *("argocd-redis", "argocd-repo-server", "argocd-application-controller"),
    "argocd-applicationset-controller",
)


class Plane:
    def __init__(self, home: Path, say: Say) -> None:
        self.folder = home / "plane"
        self._host = Host(home)
        self._starting = home / "plane.starting"
        self._log = home / "plane.log"
        self._say = say

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def up(self) -> None:
        """Start all of it. What is there but for a part is taken down first."""
        self._await_the_last_one()
        lacking = self.lacking()
        if not lacking:
            self._say("the cluster runs already")
            return
        if self.folder.exists():
            self._say(f"the cluster lacks {', '.join(lacking)}: beginning anew …")
            self.down()
        for left in reversed(range(_TRIES)):
            self._say("starting a control plane, a node and Argo CD …")
            if self._start():
                break
            failed = self._log.read_text(errors="replace").strip()
            self.down()
            if not left:
                raise ClusterError(f"control-plane failed:\n{failed}")
            self._say(f"  {failed.splitlines()[-1] if failed else 'it failed'}: once more …")
        if lacking := self.lacking():
            raise ClusterError(f"{', '.join(lacking)} ended at once; see {self.folder}/*.log")

    def _start(self) -> bool:
        self._host.remember()
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for us, and a half-started node is worse than one.
            process = subprocess.Popen(
                ["control-plane", "up", str(self.folder)],
                env={
                    **os.environ,
                    "NODE": "1",
                    "ARGOCD": "1",
                    "PATH": f"{_KUBECTL_WAIT}{os.pathsep}{os.environ['PATH']}",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._starting.write_text(f"{process.pid}\n")
        code = process.wait(_START_SECONDS)
        self._starting.unlink()
        return code == 0

    def down(self) -> None:
        self._await_the_last_one()
        if self.folder.exists():
            run("control-plane", "down", self.folder, seconds=600)
            _remove(self.folder)
        self._host.restore()

    def load(self, archive: Path, name: str) -> str:
        """Put an image on the node; the digest by which pods may name it."""
        said = run("control-plane", "load", self.folder, archive, name)
        for line in said.splitlines():
            before, found, rest = line.partition(f"unpacking {name}@")
            if found and not before:
                return rest.split(" ")[0]
        raise ClusterError(f"no digest in what control-plane load said:\n{said}")

    def has_image(self, name: str, digest: str) -> bool:
        listed = self.containerd("images", "ls", "-q")
        return f"{name}@{digest}" in listed.split()

    def containerd(self, *arguments: str) -> str:
        return run("ctr", "-a", self.folder / "containerd.sock", "-n", "k8s.io", *arguments)

    def lacking(self) -> list[str]:
        """The parts that do not run; one word if none has ever."""
        if not self.kubeconfig.exists():
            return ["everything"]
        gone = [part for part in _PARTS if not _runs(self.folder / f"{part}.pid")]
        if gone:
            return gone
        try:
            self.kubectl("get", "--raw", "/readyz", seconds=20)
        except ClusterError:
            return ["an API server that answers"]
        return []

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        environment = {"KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "127.0.0.1"}
        return run("kubectl", *arguments, stdin=stdin, environment=environment, seconds=seconds)

    def _await_the_last_one(self) -> None:
        """A `control-plane up` whose caller was killed goes on to its end."""
        try:
            pid = int(self._starting.read_text())
        except (OSError, ValueError):
            return
        ends = time.monotonic() + _START_SECONDS
        while b"control-plane" in _command_line(pid):
            if time.monotonic() > ends:
                os.killpg(pid, signal.SIGKILL)
                break
            time.sleep(0.2)
        self._starting.unlink(missing_ok=True)


def _runs(pid_file: Path) -> bool:
    with suppress(OSError, ValueError):
        return bool(_command_line(int(pid_file.read_text())))
    return False


def _command_line(pid: int) -> bytes:
    """Empty for one that has ended, even if nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _remove(folder: Path) -> None:
    if any(line.split(" ")[1].startswith(f"{folder}/") for line in _mounts()):
        raise ClusterError(f"something is still mounted below {folder}; down again may help")
    shutil.rmtree(folder)


def _mounts() -> list[str]:
    return Path("/proc/mounts").read_text().splitlines()
