"""A Prometheus on this machine that scrapes the service's pods, as the operator would have it.

The chart's ServiceMonitor is for the Prometheus operator, which makes of it the configuration that
is made here. Debian's Prometheus is built without Kubernetes's discovery, so the same targets, with
the same labels, come from a file that `python -m scripts.cluster_local.prometheus` keeps.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.shell import Say

ROOT = Path(__file__).parents[2]
PORT = 29090
URL = f"http://127.0.0.1:{PORT}"
SCRAPE_SECONDS = 2
_LOOK_SECONDS = 1.0
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class Prometheus:
    def __init__(self, home: Path, kubeconfig: Path, namespace: str, say: Say) -> None:
        self.folder = home / "prometheus"
        self._pid_file = self.folder / "pid"
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._say = say

    @property
    def runs(self) -> bool:
        with suppress(OSError, ValueError):
            command = Path(f"/proc/{int(self._pid_file.read_text())}/cmdline").read_bytes()
            return str(self.folder).encode() in command
        return False

    def up(self) -> None:
        """Without the program, only say so."""
        if shutil.which("prometheus") is None:
            self._say(
                "no Prometheus on the PATH: no release can be judged by metrics here "
                "(apt-get install prometheus)"
            )
            return
        if self.runs and _ready():
            return
        self.down()
        self._say("starting Prometheus …")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "prometheus.yml").write_text(
            yaml.safe_dump(configuration(self.folder, self._namespace), sort_keys=False)
        )
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "scripts.cluster_local.prometheus"),
                    *(self.folder, self._kubeconfig, self._namespace),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )
        self._pid_file.write_text(str(process.pid))
        ends = time.monotonic() + _START_SECONDS
        while not _ready():
            if process.poll() is not None or time.monotonic() > ends:
                tail = (self.folder / "log").read_text(errors="replace").splitlines()[-8:]
                raise ClusterError("\n  ".join(["Prometheus did not start:", *tail]))
            time.sleep(0.1)

    def down(self) -> None:
        """Stop it, and forget what it held."""
        if self.runs:
            pid = int(self._pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            ends = time.monotonic() + _STOP_SECONDS
            while self.runs:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                if time.monotonic() > ends:
                    os.killpg(pid, signal.SIGKILL)
                time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)


def configuration(folder: Path, namespace: str) -> dict[str, Any]:
    """Source: prometheus-operator, pkg/prometheus/promcfg.go, for deploy/chart's ServiceMonitor."""

    def keep(source: str, value: str) -> dict[str, Any]:
        names = [f"__meta_kubernetes_{source}"]
        return {"action": "keep", "source_labels": names, "regex": value}

    def label(source: str, target: str) -> dict[str, Any]:
        return {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}

    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"},
        "scrape_configs": [
            {
                "job_name": f"serviceMonitor/{namespace}/strongroom/0",
                "file_sd_configs": [{"files": [str(folder / "targets.json")]}],
                "relabel_configs": [
                    keep("service_label_app_kubernetes_io_name", "strongroom"),
                    keep("service_label_app_kubernetes_io_instance", "strongroom"),
                    keep("service_label_app_kubernetes_io_component", "metrics"),
                    keep("endpointslice_port_name", "metrics"),
                    label("namespace", "namespace"),
                    label("service_name", "service"),
                    label("pod_name", "pod"),
                    label("pod_container_name", "container"),
                    label("service_label_app_kubernetes_io_instance", "job"),
                    label("pod_label_rollouts_pod_template_hash", "rollouts_pod_template_hash"),
                ],
            }
        ],
    }


def _ready() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# --- the process --------------------------------------------------------------------------------


class Api:
    """Kubernetes's, by the kubeconfig of `control-plane`: a token, and a certificate of its own."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._server = config["clusters"][0]["cluster"]["server"]
        self._token = config["users"][0]["user"]["token"]
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def items(self, path: str) -> list[Any]:
        request = urllib.request.Request(
            self._server + path, headers={"Authorization": f"Bearer {self._token}"}
        )
        with self._opener.open(request, timeout=10) as answer:
            found: list[Any] = json.load(answer)["items"]
        return found


def targets(api: Api, namespace: str) -> Iterator[dict[str, Any]]:
    """Of the role `endpointslice`, as `file_sd_configs` wants them."""
    core = f"/api/v1/namespaces/{namespace}"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    services = {item["metadata"]["name"]: item for item in api.items(f"{core}/services")}
    pods = {item["metadata"]["name"]: item for item in api.items(f"{core}/pods")}
    for piece in api.items(slices):
        service = services.get(piece["metadata"]["labels"].get("kubernetes.io/service-name", ""))
        for endpoint in piece.get("endpoints") or []:
            pod = pods.get(endpoint.get("targetRef", {}).get("name", ""))
            if service is None or pod is None:
                continue
            for port in piece["ports"]:
                meta = {
                    "namespace": namespace,
                    "service_name": service["metadata"]["name"],
                    "endpointslice_port_name": port["name"],
                    "pod_name": pod["metadata"]["name"],
                    "pod_container_name": pod["spec"]["containers"][0]["name"],
                    **_labels("service_label_", service),
                    **_labels("pod_label_", pod),
                }
                yield {
                    "targets": [f"{address}:{port['port']}" for address in endpoint["addresses"]],
                    "labels": {f"__meta_kubernetes_{name}": text for name, text in meta.items()},
                }


def _labels(prefix: str, thing: Any) -> dict[str, str]:
    labels = thing["metadata"].get("labels", {})
    allowed = str.maketrans("./-", "___")
    return {f"{prefix}{name.translate(allowed)}": value for name, value in labels.items()}


def _main(folder: Path, kubeconfig: Path, namespace: str) -> int:
    process = subprocess.Popen(
        [
            *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=6h"),
            f"--web.listen-address=127.0.0.1:{PORT}",
        ],
        env={**os.environ, "NO_PROXY": "*"},
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    was = ""
    while process.poll() is None:
        try:
            found = json.dumps(list(targets(Api(kubeconfig), namespace)), indent=1)
        except (OSError, ValueError, KeyError) as error:
            print(f"the API server: {error!r}", flush=True)  # it may be going, or coming back
        else:
            if found != was:
                draft = folder / "targets.json.new"
                draft.write_text(found)
                draft.replace(folder / "targets.json")
                was = found
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
    return process.returncode


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
