"""Argo CD's own controllers, and deploy/argocd as it stands but for the repository's address.

All environments side by side, on simulated nodes. What Argo CD reads is a bare repository with this
tree's deploy/ in it; all changes are commits, or hands that meddle.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import chart
from tests.deploy.test_chart_cluster import Cluster, alive, plane, until

ROOT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = ("sha256:" + digit * 64 for digit in "123")
# Name in the list: namespace.
ENTRIES = {
    entry["name"]: entry["namespace"]
    for entry in yaml.safe_load((ROOT / "deploy/argocd/values.yaml").read_text())["environments"]
}
DEV, STAGING = "dev-eu-central-1", "staging-eu-central-1"
PROD = ("prod-eu-central-1", "prod-eu-west-1")


@dataclass
class GitOps:
    cluster: Cluster
    checkout: Path
    url: str

    # --- changing -----------------------------------------------------------------------------

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.checkout), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                **{f"GIT_{who}_NAME": "tests" for who in ("AUTHOR", "COMMITTER")},
                **{f"GIT_{who}_EMAIL": "tests@localhost" for who in ("AUTHOR", "COMMITTER")},
                "GIT_CONFIG_GLOBAL": os.devnull,
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def promote(self, *arguments: str) -> None:
        script = self.checkout / "scripts" / "promote"
        subprocess.run([sys.executable, str(script), *arguments], check=True, capture_output=True)

    def values(self, file: str) -> Path:
        return self.checkout / "deploy" / "chart" / file

    def push(self, message: str) -> str:
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "origin", "main")
        self.refresh()
        return self.git("rev-parse", "HEAD").strip()

    def revert(self) -> str:
        self.git("revert", "--no-edit", "HEAD")
        self.git("push", "--quiet", "origin", "main")
        self.refresh()
        return self.git("rev-parse", "HEAD").strip()

    def refresh(self) -> None:
        """Look now, as a webhook would have Argo CD do."""
        self.cluster.kubectl(
            *("annotate", "applications", "--all", "--namespace=argocd", "--overwrite"),
            "argocd.argoproj.io/refresh=normal",
        )

    # --- looking ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self, namespace: str) -> Iterator[Callable[[], list[dict[str, str]]]]:
        """Every state that a Service is in meanwhile: its name, the chart's version, and the hash
        in its selector."""
        fields = {
            "name": "{.metadata.name}",
            "chart": r"{.metadata.labels.helm\.sh/chart}",
            "hash": "{.spec.selector.rollouts-pod-template-hash}",
        }
        path = "|".join(fields.values()) + r'{"\n"}'
        with tempfile.NamedTemporaryFile() as told:
            process = subprocess.Popen(
                [
                    *(chart.tool("kubectl"), "get", "services", f"--namespace={namespace}"),
                    *("--watch", f"--output=jsonpath={path}"),
                ],
                env=self.cluster.environment,
                stdout=told,
            )

            def seen() -> list[dict[str, str]]:
                lines = Path(told.name).read_text().splitlines(keepends=True)
                states = [line.strip().split("|") for line in lines if line.endswith("\n")]
                found = [dict(zip(fields, state, strict=True)) for state in states]
                return [{**one, "name": one["name"].removeprefix("strongroom")} for one in found]

            try:
                until(lambda: bool(seen()), 30)
                yield seen
            finally:
                process.terminate()
                process.wait(30)

    def application(self, entry: str) -> Any:
        return self.cluster.get("--namespace=argocd", "application", f"strongroom-{entry}")

    def entries(self) -> set[str]:
        listed = self.cluster.get("--namespace=argocd", "applications")["items"]
        names = {item["metadata"]["name"].removeprefix("strongroom-") for item in listed}
        return names - {"environments"}

    def synced(self, entry: str, revision: str) -> bool:
        status = self.application(entry).get("status", {})
        sync = status.get("sync", {})
        # One that was found as it should be has had no operation.
        done = status.get("operationState", {}).get("phase", "Succeeded") == "Succeeded"
        return bool(sync.get("revision") == revision and sync.get("status") == "Synced" and done)

    def await_synced(self, revision: str, *entries: str) -> None:
        def left() -> list[str]:
            return [entry for entry in entries if not self.synced(entry, revision)]

        until(lambda: not left(), 120, lambda: [self.conditions(entry) for entry in left()])

    def conditions(self, entry: str) -> str:
        status = self.application(entry).get("status", {})
        told = [condition["message"] for condition in status.get("conditions") or []]
        return "\n".join([*told, status.get("operationState", {}).get("message", "")])

    def wanted(self, namespace: str) -> str:
        """The digest that the Rollout asks for."""
        spec = self.cluster.rollout(namespace)["spec"]["template"]["spec"]
        digest: str = spec["containers"][0]["image"].partition("@")[2]
        return digest

    def running(self, namespace: str) -> set[str]:
        """The digests of pods that are ready."""
        listed = self.cluster.get(
            f"--namespace={namespace}", "pods", "--selector=app.kubernetes.io/component=service"
        )["items"]
        return {
            pod["spec"]["containers"][0]["image"].partition("@")[2]
            for pod in listed
            if "deletionTimestamp" not in pod["metadata"]
            for condition in pod.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    def trace(self, *entries: str) -> dict[str, Any]:
        """What changes if anything is rolled there."""
        found = {}
        for entry in entries:
            rollout = self.cluster.rollout(ENTRIES[entry])
            template = rollout["spec"]["template"]
            found[entry] = (rollout["metadata"]["uid"], template, rollout["status"]["stableRS"])
        return found


@pytest.fixture(scope="module")
def gitops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitOps]:
    for name in ("kubectl", "helm", "git", "redis-server"):
        chart.tool(name)
    home = tmp_path_factory.mktemp("gitops")
    with plane(home / "plane", argocd=True):
        cluster = Cluster(home / "plane" / "kubeconfig")
        cluster.apply(chart.monitoring_crds())
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        found = GitOps(cluster, home / "checkout", f"file://{home}/repository.git")
        _repository(found, home)
        with alive(cluster):
            yield found


def _repository(gitops: GitOps, home: Path) -> None:
    bare = home / "repository.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    subprocess.run(["git", "clone", "-q", str(bare), str(gitops.checkout)], check=True)
    gitops.git("checkout", "--quiet", "-B", "main")
    for part in ("deploy", "scripts/promote"):
        source, target = ROOT / part, gitops.checkout / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    for environment in ("dev", "staging", "prod"):
        gitops.promote("set-digest", environment, FIRST)
    gitops.git("add", "--all", "--force")
    gitops.git("commit", "--quiet", "--message", "As it lies here")
    gitops.git("push", "--quiet", "origin", "main")


def everywhere(gitops: GitOps, digest: str) -> Callable[[], bool]:
    return lambda: all(
        gitops.running(namespace) == {digest} and gitops.cluster.phase(namespace) == "Healthy"
        for namespace in ENTRIES.values()
    )


def through(gitops: GitOps, namespace: str, digest: str) -> bool:
    """The load balancer's old pods are there for a while yet."""
    phase = gitops.cluster.phase(namespace)
    return gitops.wanted(namespace) == digest and phase == "Healthy"


# --- in the order of a cluster's life -------------------------------------------------------------


def test_one_step_by_hand_brings_all_environments(gitops: GitOps) -> None:
    rendered = subprocess.run(
        [
            *("helm", "template", "strongroom-environments"),
            *(str(gitops.checkout / "deploy" / "argocd"), "--set", f"repository={gitops.url}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    gitops.cluster.kubectl("apply", "--namespace=argocd", "--filename=-", stdin=rendered)
    until(lambda: gitops.entries() == set(ENTRIES), 60, gitops.entries)
    gitops.await_synced(gitops.git("rev-parse", "HEAD").strip(), *ENTRIES)
    until(everywhere(gitops, FIRST), 120, lambda: gitops.cluster.kubectl("get", "pods", "-A"))
    for namespace in ENTRIES.values():
        labels = gitops.cluster.get("namespace", namespace)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        assert labels["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"
    until(lambda: gitops.synced("environments", gitops.git("rev-parse", "HEAD").strip()), 60)


def test_a_digest_rolls_in_its_environment_alone(gitops: GitOps) -> None:
    others = (STAGING, *PROD)
    before = gitops.trace(*others)
    gitops.promote("set-digest", "dev", SECOND)
    head = gitops.push("Dev runs the second image")
    gitops.await_synced(head, *ENTRIES)
    until(lambda: gitops.running(ENTRIES[DEV]) == {SECOND}, 90)
    assert gitops.trace(*others) == before


def test_a_sync_leaves_each_service_the_version_that_it_leads_to(gitops: GitOps) -> None:
    """Argo CD applies them with every sync. Without the hash they would lead to all versions."""
    led = gitops.cluster.selected(ENTRIES[STAGING])
    assert led["-canary"]
    assert led["-ping"] or led["-pong"]
    chart_file = gitops.checkout / "deploy" / "chart" / "Chart.yaml"
    chart_file.write_text(re.sub(r"(?m)^version: .*$", "version: 0.9.0", chart_file.read_text()))
    with gitops.watching(ENTRIES[STAGING]) as seen:

        def applied() -> set[str]:
            return {service["name"] for service in seen() if "0.9.0" in service["chart"]}

        gitops.await_synced(gitops.push("Another version of the chart"), STAGING)
        until(lambda: applied() == set(led), 30, applied)
        assert {(service["name"], service["hash"]) for service in seen()} == set(led.items())
    assert gitops.cluster.labels_selected(ENTRIES[STAGING]) == {"service"}


def test_what_dev_runs_is_promoted_as_a_canary(gitops: GitOps) -> None:
    """That of staging is judged by a Prometheus, which is not there: so it begins, no more."""
    before = gitops.trace(DEV, *PROD)
    gitops.promote("copy", "dev", "staging")
    gitops.push("Staging runs what dev runs")
    until(lambda: gitops.running(ENTRIES[STAGING]) == {FIRST, SECOND}, 90)
    assert gitops.trace(DEV, *PROD) == before


def test_a_revert_rolls_back_in_the_midst_of_it(gitops: GitOps) -> None:
    gitops.revert()
    until(lambda: through(gitops, ENTRIES[STAGING], FIRST), 60)
    assert gitops.running(ENTRIES[DEV]) == {SECOND}


def test_prod_rolls_in_both_regions(gitops: GitOps) -> None:
    before = gitops.trace(DEV, STAGING)
    gitops.promote("set-digest", "prod", THIRD)
    gitops.push("Prod runs the third image")
    until(lambda: all(THIRD in gitops.running(ENTRIES[entry]) for entry in PROD), 90)
    assert gitops.trace(DEV, STAGING) == before
    gitops.revert()
    until(lambda: all(through(gitops, ENTRIES[entry], FIRST) for entry in PROD), 60)


def test_drift_heals_but_for_the_number_of_pods(gitops: GitOps) -> None:
    namespace = ENTRIES[DEV]
    here = f"--namespace={namespace}"
    cluster = gitops.cluster
    uid = cluster.rollout(namespace)["metadata"]["uid"]
    cluster.kubectl("scale", "rollout", "strongroom", "--replicas=3", here)
    foreign = (
        f'{{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"x@{THIRD}"}}'
    )
    cluster.kubectl("patch", "rollout", "strongroom", here, "--type=json", f"-p=[{foreign}]")
    until(lambda: gitops.wanted(namespace) == SECOND, 60)
    cluster.kubectl("delete", "poddisruptionbudget", "strongroom", here)
    cluster.kubectl("delete", "service", "strongroom", here)
    until(lambda: "strongroom" in _names(cluster, namespace, "poddisruptionbudget"), 60)
    until(lambda: "strongroom" in _names(cluster, namespace, "service"), 60)
    rollout = cluster.rollout(namespace)
    assert rollout["metadata"]["uid"] == uid
    assert rollout["spec"]["replicas"] == 3
    cluster.kubectl("delete", "rollout", "strongroom", here)
    until(lambda: "strongroom" in _names(cluster, namespace, "rollout"), 60)
    until(lambda: gitops.running(namespace) == {SECOND}, 90)


def test_load_comes_once_when_the_release_is_through_and_does_not_heal(gitops: GitOps) -> None:
    namespace = ENTRIES[DEV]
    here = f"--namespace={namespace}"
    cluster = gitops.cluster
    before = gitops.running(namespace)

    def events(reason: str, kind: str) -> dict[str, str]:
        """When, by the name of what it was about."""
        return {
            event["involvedObject"]["name"]: event["metadata"]["creationTimestamp"]
            for event in cluster.get(here, "events")["items"]
            if (event["reason"], event["involvedObject"]["kind"]) == (reason, kind)
        }

    file = gitops.values("values-dev.yaml")
    load = f'  enabled: true\n  apiKeySecret: {{name: load}}\n  image:\n    digest: "{FIRST}"\n'
    text = file.read_text()
    assert text.count("loadTest:\n  image:\n") == 1
    file.write_text(text.replace("loadTest:\n  image:\n", f"loadTest:\n{load}"))
    gitops.promote("set-digest", "dev", THIRD)
    head = gitops.push("Dev runs the third image, and is loaded")
    gitops.await_synced(head, DEV)
    through = max(events("RolloutCompleted", "Rollout").values())
    jobs = events("SuccessfulCreate", "Job")
    made = {name: when for name, when in jobs.items() if "-load-" in name}
    assert {name.split("-")[2] for name in made} == {"master", "worker"}
    assert len(made) == 2
    assert min(made.values()) >= through
    assert gitops.running(namespace) == {THIRD}
    until(lambda: not [name for name in _names(cluster, namespace, "job") if "-load-" in name], 60)
    cluster.kubectl("delete", "service", "strongroom-load", here)
    until(lambda: "strongroom-load" in _names(cluster, namespace, "service"), 60)
    gitops.await_synced(head, DEV)
    assert not [name for name in _names(cluster, namespace, "job") if "-load-" in name]
    assert {name for name in events("Completed", "Job") if "-load-" in name} == set(made)
    gitops.await_synced(gitops.revert(), DEV)
    until(lambda: gitops.running(namespace) == before, 90)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("image: [\n", "error converting YAML to JSON"),
        ("imagee: {}\n", "additional properties 'imagee' not allowed"),
        ("timing: {longestRequestSeconds: many}\n", "got string, want integer"),
    ],
    ids=["no YAML", "an unknown value", "a wrong value"],
)
def test_a_broken_values_file_is_refused_and_touches_nothing(
    gitops: GitOps, what: str, told: str
) -> None:
    """Nor does it keep another environment from its release."""
    before = gitops.trace(STAGING)
    file = gitops.values("values-staging.yaml")
    good = file.read_text()
    file.write_text(good + what)
    digest = THIRD if gitops.wanted(ENTRIES[DEV]) == SECOND else SECOND
    gitops.promote("set-digest", "dev", digest)
    head = gitops.push("Staging is broken, dev is released")
    gitops.await_synced(head, DEV)
    until(lambda: told in gitops.conditions(STAGING), 60, lambda: gitops.conditions(STAGING))
    until(lambda: gitops.running(ENTRIES[DEV]) == {digest}, 90)
    assert gitops.trace(STAGING) == before
    file.write_text(good)
    gitops.await_synced(gitops.push("Mended"), STAGING)
    assert gitops.trace(STAGING) == before


def test_the_list_is_kept_by_git_alone(gitops: GitOps) -> None:
    """An entry more comes up. One that names a file that is not there is refused; one that is taken
    out goes on running, and is taken back as it is."""
    file = gitops.checkout / "deploy" / "argocd" / "values.yaml"
    listed = yaml.safe_load(file.read_text())
    [dev] = [entry for entry in listed["environments"] if entry["name"] == DEV]
    trial = {**dev, "name": "trial", "namespace": "strongroom-trial"}
    kept = gitops.trace(STAGING)
    without = [entry for entry in listed["environments"] if entry["name"] != STAGING]

    def write(environments: list[Any], message: str) -> str:
        file.write_text(yaml.safe_dump({**listed, "environments": environments}))
        return gitops.push(message)

    head = write([*without, trial], "Trial instead of staging")
    until(lambda: gitops.entries() == {*ENTRIES, "trial"} - {STAGING}, 90, gitops.entries)
    gitops.await_synced(head, "trial")
    until(lambda: len(gitops.running("strongroom-trial")) == 1, 90)
    time.sleep(5)
    assert gitops.trace(STAGING) == kept

    nowhere = {**trial, "values": ["values-dev.yaml", "values-nowhere.yaml"]}
    write([*listed["environments"], nowhere], "A file that is not there; staging is back")
    until(
        lambda: "values-nowhere.yaml" in gitops.conditions("trial"),
        90,
        lambda: gitops.conditions("trial"),
    )
    assert len(gitops.running("strongroom-trial")) == 1
    until(lambda: STAGING in gitops.entries(), 60)
    gitops.await_synced(gitops.git("rev-parse", "HEAD").strip(), STAGING)
    assert gitops.trace(STAGING) == kept


ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "rude"},
    "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rude"}, "data": {"a": "b"}}


@pytest.mark.parametrize(
    ("changed", "manifest", "told"),
    [
        ({"namespace": "strongroom-prod"}, CONFIG, "do not match any of the allowed destinations"),
        ({"namespace": "argocd"}, CONFIG, "do not match any of the allowed destinations"),
        ({"server": "https://10.0.0.1"}, CONFIG, "10.0.0.1"),
        ({"repoURL": "file:///elsewhere"}, CONFIG, "is not permitted in project"),
        ({}, ROLE, "is not permitted in project"),
        (
            {},
            {**CONFIG, "metadata": {"name": "rude", "namespace": "strongroom-prod"}},
            "is not permitted in project",
        ),
        ({}, {**ROLE, "kind": "ClusterRole"}, "is not permitted in project"),
    ],
    ids=[
        *("another namespace", "Argo CD's namespace", "another cluster", "another repository"),
        *("a kind", "a manifest for elsewhere", "a kind of the cluster's own"),
    ],
)
def test_a_project_is_confined(
    gitops: GitOps, changed: dict[str, str], manifest: dict[str, Any], told: str
) -> None:
    folder = gitops.checkout / "rude"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    if gitops.git("status", "--porcelain"):
        gitops.push("Rude")
    destination = {
        "server": changed.get("server", "https://kubernetes.default.svc"),
        "namespace": changed.get("namespace", ENTRIES[DEV]),
    }
    application = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "strongroom-rude", "namespace": "argocd"},
        "spec": {
            "project": f"strongroom-{DEV}",
            "source": {
                "repoURL": changed.get("repoURL", gitops.url),
                "targetRevision": "main",
                "path": "rude",
            },
            "destination": destination,
            "syncPolicy": {"automated": {}},
        },
    }
    gitops.cluster.kubectl("apply", "--filename=-", stdin=json.dumps(application))
    try:

        def said() -> str:
            status = gitops.application("rude").get("status", {})
            results = status.get("operationState", {}).get("syncResult", {}).get("resources", [])
            return "\n".join(
                [gitops.conditions("rude"), *(result.get("message", "") for result in results)]
            )

        until(lambda: told in said(), 60, said)
        for kind in ("configmap", "role", "clusterrole"):
            listed = gitops.cluster.get(kind, "--all-namespaces")["items"]
            assert "rude" not in {item["metadata"]["name"] for item in listed}
    finally:
        gitops.cluster.kubectl("delete", "application", "strongroom-rude", "--namespace=argocd")


def _names(cluster: Cluster, namespace: str, kind: str) -> set[str]:
    return {
        item["metadata"]["name"] for item in cluster.get(f"--namespace={namespace}", kind)["items"]
    }
