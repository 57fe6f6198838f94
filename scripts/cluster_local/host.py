"""What this machine must have for a real node, and what a node leaves behind on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.shell import run

NODE = "sr-node"  # the interface that carries the node's address
_SETTINGS = ("net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet")
# Program: Debian's package.
_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "redis-server": "redis-server",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "ip": "iproute2",
    "git": "git",
}
_TOOLS = ("kubectl", "helm")
# Chains of the kubelet, which it never takes away.
_CHAINS = ("KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT")
# The longest name that a socket may have is 107 characters; the kubelet makes this one.
_LONGEST_SOCKET = "plane/kubelet/device-plugins/kubelet.sock"


def check(home: Path) -> None:
    """Raises `ClusterError` with all that is missing, and how to get it."""
    missing = []
    if shutil.which("control-plane") is None:
        missing.append(
            "control-plane: the script that starts a real control plane and node on loopback. "
            "Where the toolchain is checked out beside this repository: "
            ". ../shared/toolchain/activate"
        )
    if absent := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        missing.append(f"{' '.join(absent)}: mise install")
    if packages := [package for tool, package in _PACKAGES.items() if shutil.which(tool) is None]:
        missing.append(f"packages of Debian's: apt-get install {' '.join(packages)}")
    if os.geteuid() != 0:
        missing.append("root: a node makes interfaces, mounts and cgroups")
    if len(str(home / _LONGEST_SOCKET)) > 107:
        missing.append(
            f"a shorter path than {home}: the sockets below it would have names beyond "
            "107 characters (--directory)"
        )
    if missing:
        raise ClusterError("\n  - ".join(["a real node cannot run here; it needs", *missing]))


def has_node() -> bool:
    return Path("/sys/class/net", NODE).exists()


class Host:
    """How this machine was before the node came, so that it can be so again."""

    def __init__(self, home: Path) -> None:
        self._file = home / "host.json"

    def remember(self) -> None:
        if self._file.exists():
            return
        if has_node():
            raise ClusterError(
                f"a real node runs on this machine already, and not from {self._file.parent}; "
                "there can be one"
            )
        settings = {name: Path("/proc/sys", name).read_text().strip() for name in _SETTINGS}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(settings))

    def restore(self) -> None:
        """Take away what a node leaves, if it was ours."""
        if not self._file.exists():
            return
        if has_node():
            run("ip", "link", "del", NODE)
        for family in ("iptables", "ip6tables"):
            if shutil.which(family):
                _remove_chains(family)
        for cgroup in Path("/sys/fs/cgroup").glob("**/kubepods"):
            _remove_cgroup(cgroup)
        for name, value in json.loads(self._file.read_text()).items():
            with suppress(OSError):
                Path("/proc/sys", name).write_text(value)
        self._file.unlink()


def _remove_chains(family: str) -> None:
    def quietly(*arguments: str) -> None:
        subprocess.run([family, "-w", *arguments], capture_output=True)

    for table in ("filter", "nat", "mangle"):
        for chain in ("INPUT", "OUTPUT"):
            quietly("-t", table, "-D", chain, "-j", _CHAINS[0])
        for chain in _CHAINS:
            quietly("-t", table, "-F", chain)
            quietly("-t", table, "-X", chain)


def _remove_cgroup(top: Path) -> None:
    folders = [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
