"""What a release and a promotion commit, where it is pushed, and what a pull request is told."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from scripts import entries
from tests.deploy.pipeline import PATH, ROOT, need, run

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ENVIRONMENTS = ("dev", "staging", "prod")
SCRIPTS = (
    *("promote", "commit-promotion", "commit-change", "environments", "rendered-diff"),
    "entries.py",
)
AUTHOR = {
    f"GIT_{who}_{what}": f"{what.lower()}@localhost"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


@dataclass
class Clone:
    """A checkout of a bare repository that stands for GitHub's."""

    root: Path

    def git(self, *arguments: str) -> str:
        done = run("git", "-C", self.root, *arguments, **AUTHOR)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def script(self, name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run(self.root / "scripts" / name, *arguments, **AUTHOR, **more)

    def write(self, environment: str, digest: str) -> None:
        assert self.script("promote", "set-digest", environment, digest).returncode == 0

    def digest_on(self, branch: str, environment: str) -> str:
        self.git("fetch", "--quiet", "origin")
        text = self.git("show", f"origin/{branch}:deploy/chart/values-{environment}.yaml")
        return text.partition('digest: "')[2].partition('"')[0]


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    seed = Clone(tmp_path / "seed")
    (seed.root / "scripts").mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy(ROOT / "scripts" / name, seed.root / "scripts")
    shutil.copytree(ROOT / "deploy", seed.root / "deploy")
    for environment in ENVIRONMENTS:
        (seed.root / "live" / environment).mkdir(parents=True)
        (seed.root / "live" / environment / "account.hcl").touch()
        seed.write(environment, OLD)
    seed.git("init", "--quiet", "--initial-branch=main")
    seed.git("add", "-A")
    seed.git("commit", "--quiet", "-m", "first")
    bare = tmp_path / "origin.git"
    seed.git("clone", "--quiet", "--bare", str(seed.root), str(bare))
    return bare


def cloned(origin: Path, name: str, *options: str) -> Clone:
    into = origin.parent / name
    done = run("git", "clone", "--quiet", *options, f"file://{origin}", into)
    assert done.returncode == 0, done.stderr
    return Clone(into)


@pytest.fixture
def clone(origin: Path) -> Clone:
    return cloned(origin, "clone")


def provenance(clone: Clone, digest: str) -> Path:
    file = clone.root / "deploy" / "provenance" / f"{digest.replace(':', '-')}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    return file


# --- commit ---


def test_a_release_commits_the_digest_with_its_provenance_and_nothing_else(clone: Clone) -> None:
    clone.write("dev", NEW)
    mine = provenance(clone, NEW)
    provenance(clone, "sha256:" + "c" * 64)
    (clone.root / "scripts" / "promote").write_text("# not asked for\n")
    clone.git("checkout", "scripts/promote")
    (clone.root / "LICENSE").write_text("not asked for")
    done = clone.script("commit-promotion", "dev")
    assert done.returncode == 0, done.stderr
    assert clone.digest_on("main", "dev") == NEW
    changed = clone.git("show", "--name-only", "--format=", "origin/main").split()
    assert changed == ["deploy/chart/values-dev.yaml", str(mine.relative_to(clone.root))]
    assert clone.git("log", "-1", "--format=%s", "origin/main") == f"dev runs {NEW[:19]}"


def test_a_promotion_commits_the_verdict_that_it_was_given(clone: Clone) -> None:
    clone.write("prod", NEW)
    file = clone.root / "deploy" / "verdicts" / f"{NEW.replace(':', '-')}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("strongroom-load:v1:x.y\n")
    assert clone.script("commit-promotion", "prod", "--branch").returncode == 0
    changed = clone.git("show", "--name-only", "--format=", "HEAD").split()
    assert changed == ["deploy/chart/values-prod.yaml", str(file.relative_to(clone.root))]


# --- in a workflow: as the App ---

APP = {"GITHUB_ACTIONS": "true", "GH_TOKEN": "the-app-s", "APP_SLUG": "strongroom-bot"}


def test_a_workflow_commits_as_the_app(clone: Clone) -> None:
    clone.write("dev", NEW)
    done = clone.script("commit-promotion", "dev", **APP)
    assert done.returncode == 0, done.stderr
    who = clone.git("log", "-1", "--format=%an %ae %cn %ce", "HEAD")
    named = "strongroom-bot[bot] strongroom-bot[bot]@users.noreply.github.com"
    assert who == f"{named} {named}"


@pytest.mark.parametrize("lacking", ["GH_TOKEN", "APP_SLUG"])
def test_a_workflow_without_the_app_pushes_nothing(clone: Clone, lacking: str) -> None:
    clone.write("dev", NEW)
    done = clone.script("commit-promotion", "dev", **APP | {lacking: ""})
    assert done.returncode == 1
    assert lacking in done.stderr
    assert clone.digest_on("main", "dev") == OLD


def test_it_is_the_app_s_token_that_git_gives_to_github(clone: Clone, tmp_path: Path) -> None:
    """A server that asks whoever comes for a password, and keeps what it is told."""
    asked: list[str | None] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        clone.git("remote", "set-url", "origin", f"http://127.0.0.1:{server.server_port}/x.git")
        clone.write("staging", NEW)
        environment = APP | {"GIT_TERMINAL_PROMPT": "0", "NO_PROXY": "127.0.0.1"}
        done = clone.script("commit-promotion", "staging", "--branch", **environment)
    finally:
        server.shutdown()
    assert done.returncode != 0
    told = base64.b64encode(b"x-access-token:the-app-s").decode()
    assert {entry for entry in asked if entry} == {f"Basic {told}"}


def _gh(tmp_path: Path, open_already: str) -> dict[str, str]:
    folder = tmp_path / "gh"
    folder.mkdir()
    (folder / "gh").write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\n[ "$2" != list ] || printf "{open_already}"\n'
    )
    (folder / "gh").chmod(0o755)
    return {"PATH": f"{folder}:{PATH}"}


@pytest.mark.parametrize("open_already", ["", "https://github.com/x/x/pull/7"])
def test_a_pull_request_is_opened_once(clone: Clone, tmp_path: Path, open_already: str) -> None:
    file = clone.root / "deploy" / "chart" / "values.yaml"
    file.write_text(file.read_text() + "# newer\n")
    given = ("--branch", "newer", "--pull-request", "Newer values", "deploy/chart/values.yaml")
    command = (clone.root / "scripts/commit-change", *given)
    environment = AUTHOR | APP | _gh(tmp_path, open_already)
    done = run("env", "-C", clone.root, *command, **environment)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "gh" / "asked").read_text().splitlines()
    created = [line for line in asked if line.startswith("pr create")]
    wanted = "pr create --base main --head newer --title Newer values --body "
    assert created == ([] if open_already else [wanted])


def test_a_pull_request_needs_a_branch(clone: Clone) -> None:
    done = clone.script("commit-change", "--pull-request", "x", "LICENSE")
    assert done.returncode == 2


def test_what_main_got_meanwhile_stays(origin: Path) -> None:
    """A runner's clone is shallow."""
    late = cloned(origin, "late", "--depth", "1")
    other = cloned(origin, "other")
    (other.root / "README.md").write_text("meanwhile")
    other.git("add", "README.md")
    other.git("commit", "--quiet", "-m", "meanwhile")
    other.git("push", "--quiet", "origin", "HEAD:main")
    late.write("dev", NEW)
    done = late.script("commit-promotion", "dev")
    assert done.returncode == 0, done.stderr
    assert late.digest_on("main", "dev") == NEW
    assert late.git("show", "origin/main:README.md") == "meanwhile"


def test_two_releases_at_once_do_not_undo_one_another(origin: Path) -> None:
    first, second = cloned(origin, "first"), cloned(origin, "second")
    first.write("dev", NEW)
    assert first.script("commit-promotion", "dev").returncode == 0
    second.write("dev", "sha256:" + "c" * 64)
    done = second.script("commit-promotion", "dev")
    assert done.returncode == 1
    assert "another change of these files" in done.stderr
    assert second.digest_on("main", "dev") == NEW


def test_nothing_new_is_no_failure(clone: Clone) -> None:
    before = clone.git("rev-parse", "HEAD")
    done = clone.script("commit-promotion", "dev")
    assert done.returncode == 0
    assert "nothing to commit" in done.stdout
    assert clone.git("rev-parse", "HEAD") == before


def test_a_protected_main_is_told(origin: Path, clone: Clone) -> None:
    hook = origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    clone.write("dev", NEW)
    done = clone.script("commit-promotion", "dev")
    assert done.returncode == 1
    assert "is main protected" in done.stderr


def test_a_promotion_is_a_branch_and_the_link_to_its_pull_request(
    origin: Path, clone: Clone
) -> None:
    clone.write("staging", NEW)
    pushed = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{origin}.pushInsteadOf"}
    clone.git("remote", "set-url", "origin", "git@github.com:example-org/strongroom.git")
    pushed["GIT_CONFIG_VALUE_0"] = "git@github.com:example-org/strongroom.git"
    done = clone.script("commit-promotion", "staging", "--branch", **pushed)
    assert done.returncode == 0, done.stderr
    link = "https://github.com/example-org/strongroom/compare/main...promotion/staging?expand=1"
    assert link in done.stdout
    clone.git("remote", "set-url", "origin", f"file://{origin}")
    assert clone.digest_on("promotion/staging", "staging") == NEW
    assert clone.digest_on("main", "staging") == OLD


def test_a_newer_proposal_takes_the_place_of_the_one_before(origin: Path) -> None:
    for number, digest in enumerate((NEW, "sha256:" + "c" * 64)):
        clone = cloned(origin, f"clone{number}")
        clone.write("staging", digest)
        assert clone.script("commit-promotion", "staging", "--branch").returncode == 0
        assert clone.digest_on("promotion/staging", "staging") == digest


@pytest.mark.parametrize("arguments", [[], ["--force", "dev"]])
def test_a_wrong_command_line_changes_nothing(clone: Clone, arguments: list[str]) -> None:
    before = clone.git("rev-parse", "HEAD")
    assert clone.script("commit-promotion", *arguments).returncode == 2
    assert clone.script("commit-promotion", "production").returncode == 1
    assert clone.git("rev-parse", "HEAD") == before


# --- what a pull request changes ---


def listed(clone: Clone, *arguments: str) -> str:
    done = clone.script("environments", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_environment_is_listed(clone: Clone) -> None:
    assert listed(clone) == 'environments=["dev", "prod", "staging"]'


def test_those_whose_image_is_another_one(clone: Clone) -> None:
    need("helm")
    since = ("--image-changed-since", "origin/main")
    assert listed(clone, *since) == "environments=[]"
    file = clone.root / "deploy" / "chart" / "values-prod.yaml"
    file.write_text(file.read_text().replace("maxReplicas: 24", "maxReplicas: 25"))
    assert listed(clone, *since) == "environments=[]"
    clone.write("staging", NEW)
    assert listed(clone, *since) == 'environments=["staging"]'


SINCE_MAIN = ("--image-changed-since", "origin/main")


def test_an_image_that_one_region_alone_names_is_a_change(clone: Clone) -> None:
    need("helm")
    file = clone.root / "deploy" / "chart" / "values-prod-eu-west-1.yaml"
    file.write_text(file.read_text().replace("image:\n", f'image:\n  digest: "{NEW}"\n'))
    assert listed(clone, *SINCE_MAIN) == 'environments=["prod"]'


def test_an_image_that_a_template_or_the_list_brings_is_a_change(clone: Clone) -> None:
    need("helm")
    file = clone.root / "deploy" / "argocd" / "values.yaml"
    good = file.read_text()
    (clone.root / "deploy" / "chart" / "values-more.yaml").write_text(
        f'image: {{digest: "{NEW}"}}\n'
    )
    assert listed(clone, *SINCE_MAIN) == "environments=[]"
    file.write_text(
        good.replace("[values-staging.yaml]", "[values-staging.yaml, values-more.yaml]")
    )
    assert listed(clone, *SINCE_MAIN) == 'environments=["staging"]'
    file.write_text(good)
    file = clone.root / "deploy" / "chart" / "templates" / "_pod.tpl"
    file.write_text(
        file.read_text().replace("name: service\n", "name: service\n      env: [x@" + NEW + "]\n")
    )
    assert listed(clone, *SINCE_MAIN) == 'environments=["dev", "prod", "staging"]'


def test_what_cannot_be_rendered_is_no_answer(clone: Clone) -> None:
    need("helm")
    file = clone.root / "deploy" / "chart" / "values-prod-eu-west-1.yaml"
    file.write_text(file.read_text() + "bogus: 1\n")
    done = clone.script("environments", *SINCE_MAIN)
    assert (done.returncode, done.stdout) == (1, "")
    assert "prod-eu-west-1 cannot be rendered" in done.stderr
    assert "'bogus' not allowed" in done.stderr


def test_an_environment_that_was_never_released_has_no_image(clone: Clone) -> None:
    need("helm")
    file = clone.root / "deploy" / "chart" / "values-staging.yaml"
    file.write_text(file.read_text().replace(OLD, ""))
    assert listed(clone, *SINCE_MAIN) == "environments=[]"


def test_to_compare_it_needs_helm_and_says_so(clone: Clone, tmp_path: Path) -> None:
    for name in ("git", "tar"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    script = clone.root / "scripts" / "environments"
    done = run(sys.executable, script, *SINCE_MAIN, PATH=str(tmp_path / "bin"))
    assert done.returncode == 1
    assert "helm is not on the PATH" in done.stderr


def test_what_main_got_meanwhile_is_not_this_branch_s_change(origin: Path, clone: Clone) -> None:
    need("helm")
    other = cloned(origin, "other")
    other.write("prod", NEW)
    assert other.script("commit-promotion", "prod").returncode == 0
    clone.git("fetch", "--quiet")
    assert listed(clone, "--image-changed-since", "origin/main") == "environments=[]"


def test_a_branch_that_was_not_fetched_is_told(clone: Clone) -> None:
    done = clone.script("environments", "--image-changed-since", "origin/none")
    assert done.returncode == 1
    assert "git fetch" in done.stderr


# --- what it comes to, rendered ---


def test_the_scripts_render_what_argo_cd_renders() -> None:
    """An image that the ApplicationSet gave would come on top of the values files, unseen."""
    need("helm")
    done = run("helm", "template", "environments", ROOT / "deploy" / "argocd")
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    [made] = [m["spec"] for m in manifests if m["kind"] == "ApplicationSet"]
    source = made["template"]["spec"]["source"]
    assert set(source) == {"repoURL", "targetRevision", "path", "helm"}
    assert source["path"] == str(entries.CHART)
    assert source["helm"] == {
        "releaseName": "strongroom",
        "valuesObject": {"workload": {"kind": "Rollout"}},
    }
    assert entries.ALWAYS == ("--set", "workload.kind=Rollout")
    patched = yaml.safe_load(made["templatePatch"].replace("{{ toJson .values }}", "[values]"))
    assert patched == {"spec": {"source": {"helm": {"valueFiles": ["values"]}}}}
    listed = [vars(entry) | {"values": list(entry.values)} for entry in entries.entries(ROOT)]
    assert listed == made["generators"][0]["list"]["elements"]


def _diff(clone: Clone) -> subprocess.CompletedProcess[str]:
    need("helm")
    return clone.script("rendered-diff", "origin/main")


def test_the_diff_names_the_clusters_that_change_and_those_that_do_not(clone: Clone) -> None:
    file = clone.root / "deploy" / "chart" / "values-prod.yaml"
    file.write_text(file.read_text().replace("maxReplicas: 24", "maxReplicas: 25"))
    done = _diff(clone)
    assert done.returncode == 0, done.stderr
    for cluster in ("prod-eu-central-1", "prod-eu-west-1"):
        assert f"### {cluster}: +1 −1" in done.stdout
    assert "-  maxReplicas: 24\n+  maxReplicas: 25" in done.stdout
    assert "Nothing changes in dev-eu-central-1, staging-eu-central-1." in done.stdout


def test_a_promotion_is_one_line_of_its_own_environment(clone: Clone) -> None:
    clone.write("staging", NEW)
    done = _diff(clone)
    assert done.returncode == 0, done.stderr
    assert NEW in done.stdout
    assert "Nothing changes in dev-eu-central-1, prod-eu-central-1, prod-eu-west-1." in done.stdout


def test_an_environment_that_was_never_released_is_compared_all_the_same(clone: Clone) -> None:
    for environment in ENVIRONMENTS:
        file = clone.root / "deploy" / "chart" / f"values-{environment}.yaml"
        file.write_text(file.read_text().replace(OLD, ""))
    assert _diff(clone).returncode == 0


def test_what_cannot_be_rendered_fails_and_the_rest_is_shown(clone: Clone) -> None:
    file = clone.root / "deploy" / "chart" / "values-dev.yaml"
    file.write_text(file.read_text() + "bogus: 1\n")
    done = _diff(clone)
    assert done.returncode == 1
    assert "### dev-eu-central-1: cannot be rendered" in done.stdout
    assert "'bogus' not allowed" in done.stdout
    assert "Nothing changes in prod-eu-central-1" in done.stdout


def test_the_diff_needs_helm_and_says_so(clone: Clone, tmp_path: Path) -> None:
    script = clone.root / "scripts" / "rendered-diff"
    done = run(sys.executable, script, "origin/main", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "helm is not on the PATH" in done.stderr
