"""`scripts/release`: what is pushed and signed, and that nothing else is taken for ours."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import pipeline
from tests.deploy.pipeline import ROOT, run

BASE = "python:3.13-slim@sha256:" + "b" * 64
LABELS = "org.opencontainers.image."


@dataclass
class Tree:
    """A small repository with an image that was built of its commit, and a registry."""

    root: Path
    registry: str
    key: Path

    @property
    def repository(self) -> str:
        return f"{self.registry}/strongroom"

    @property
    def commit(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def image(self) -> Path:
        return self.root / "build" / "image.tar"

    def git(self, *arguments: str) -> str:
        done = run("git", "-C", self.root, "-c", "user.name=T", "-c", "user.email=t@x", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def build(self, content: bytes = b"x", labels: Mapping[str, str] | None = None) -> None:
        (self.root / "build").mkdir(exist_ok=True)
        told = {"revision": self.commit, "base.name": BASE, "version": "0.1.0"}
        told |= labels or {}
        identity = pipeline.image(
            self.image, {LABELS + name: value for name, value in told.items()}, {"f": content}
        )
        sbom = {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"properties": [{"name": "strongroom:image:id", "value": identity}]},
            "components": [],
        }
        (self.root / "build" / "sbom.cdx.json").write_text(json.dumps(sbom))

    def release(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        script = self.root / "scripts" / "release"
        return run(script, "--root", self.root, *arguments, ACTIONS_ID_TOKEN_REQUEST_URL="")

    def push(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.release("push", self.repository, "--key", self.key, *arguments)

    def pushed(self) -> str:
        """The digest of a push that went well, with its provenance where a release commits it."""
        done = self.push()
        assert done.returncode == 0, done.stderr
        shutil.copytree(
            self.root / "build/provenance", self.root / "deploy/provenance", dirs_exist_ok=True
        )
        return done.stdout.strip().removeprefix("digest=")

    def runs(self, environment: str, digest: str) -> None:
        done = run(self.root / "scripts/promote", "set-digest", environment, digest)
        assert done.returncode == 0, done.stderr

    def change(self, file: str, old: str, new: str) -> None:
        """In deploy/, where the text is once."""
        path = self.root / "deploy" / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def verify(self, environment: str = "dev") -> subprocess.CompletedProcess[str]:
        return self.release("verify", environment, "--key", self.key.with_suffix(".pub"))

    def there(self) -> list[str]:
        done = run("crane", "ls", self.repository)
        return sorted(done.stdout.split()) if done.returncode == 0 else []

    def provenance(self, digest: str) -> Path:
        return self.root / "deploy" / "provenance" / f"{digest.replace(':', '-')}.json"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipeline.key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def tree(tmp_path: Path, key: Path) -> Iterator[Tree]:
    root = tmp_path / "tree"
    for part in ("chart", "argocd"):
        shutil.copytree(ROOT / "deploy" / part, root / "deploy" / part)
    (root / "scripts").mkdir()
    for name in ("release", "promote", "entries.py", "virtual_environment.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    for environment in ("dev", "staging", "prod"):
        file = root / "deploy" / "chart" / f"values-{environment}.yaml"
        file.write_text(re.sub(r'digest: "[^"]*"', 'digest: ""', file.read_text()))
        (root / "live" / environment).mkdir(parents=True)
        (root / "live" / environment / "account.hcl").touch()
    shutil.copy(ROOT / "live/project.hcl", root / "live")
    (root / ".gitignore").write_text("build/\n")
    with pipeline.registry(tmp_path / "blobs") as registry:
        made = Tree(root, registry, key)
        made.git("init", "--quiet", "--initial-branch=main")
        made.git("add", "-A")
        made.git("commit", "--quiet", "-m", "first")
        made.build()
        yield made


def _refused(done: subprocess.CompletedProcess[str], told: str) -> None:
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# --- push ---


def test_a_push_tells_the_workflow_the_digest_and_nothing_else(tree: Tree) -> None:
    done = tree.push()
    assert done.returncode == 0, done.stderr
    digest = run("crane", "digest", f"{tree.repository}:{tree.commit}").stdout.strip()
    assert done.stdout == f"digest={digest}\n"


def test_the_image_and_its_sbom_are_signed_in_the_registry(tree: Tree) -> None:
    digest = tree.pushed()
    stem = digest.replace(":", "-")
    assert tree.there() == sorted([tree.commit, f"{stem}.att", f"{stem}.sig"])
    public = ("--key", tree.key.with_suffix(".pub"), "--insecure-ignore-tlog")
    reference = f"{tree.repository}@{digest}"
    assert run("cosign", "verify", *public, "--allow-http-registry", reference).returncode == 0
    attested = run(
        *("cosign", "verify-attestation", *public, "--allow-http-registry"),
        *("--type", "cyclonedx", reference),
    )
    assert attested.returncode == 0, attested.stderr


def test_a_push_that_was_cut_off_can_be_done_again(tree: Tree) -> None:
    first = tree.push()
    before = tree.there()
    again = tree.push()
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert tree.there() == before
    assert "there already" in again.stderr


def test_a_tag_never_moves(tree: Tree) -> None:
    digest = tree.pushed()
    tree.build(b"another")
    _refused(tree.push(), "tags do not move")
    assert run("crane", "digest", f"{tree.repository}:{tree.commit}").stdout.strip() == digest


def test_a_push_reads_no_layer(tree: Tree, tmp_path: Path) -> None:
    """modules/ci-identity gives the push role no right to download one."""
    assert tree.push().returncode == 0
    asked = (tmp_path / "requests").read_text()
    assert "PUT /v2/strongroom/manifests/" in asked
    assert "GET /v2/strongroom/blobs/" not in asked
    (tmp_path / "requests").write_text("")
    assert tree.push().returncode == 0
    assert "/blobs/" not in (tmp_path / "requests").read_text()


@pytest.mark.parametrize("tag", ["latest", "main", "v1.2.3", "abc123", "A" * 40])
def test_a_tag_that_could_move_is_refused(tree: Tree, tag: str) -> None:
    _refused(tree.push("--tag", tag), "is no commit")
    assert tree.there() == []


@pytest.mark.parametrize("more", [":latest", "@sha256:" + "a" * 64])
def test_the_tag_is_not_the_caller_s_to_choose(tree: Tree, more: str) -> None:
    _refused(
        tree.release("push", tree.repository + more, "--key", tree.key), "without a tag or a digest"
    )


@pytest.mark.parametrize("revision", ["", "unknown", "0" * 40])
def test_an_image_of_another_commit_is_refused(tree: Tree, revision: str) -> None:
    tree.build(labels={"revision": revision})
    _refused(tree.push(), "was built of")
    assert tree.there() == []


def test_an_image_of_files_that_nobody_committed_is_refused(tree: Tree) -> None:
    tree.build(labels={"revision": f"{tree.commit}-dirty"})
    _refused(tree.push(), "was built of")


def test_a_base_that_moves_is_refused_but_in_a_rehearsal(tree: Tree) -> None:
    tree.build(labels={"base.name": "python:3.13-slim"})
    _refused(tree.push(), "pin the base")
    assert tree.there() == []
    assert tree.push("--unpinned-base").returncode == 0


def test_the_sbom_of_another_image_is_refused(tree: Tree) -> None:
    sbom = tree.root / "build" / "sbom.cdx.json"
    other = sbom.read_text()
    tree.build(b"another")
    sbom.write_text(other)
    _refused(tree.push(), "scripts/sbom make")
    sbom.unlink()
    _refused(tree.push(), "scripts/sbom make")
    assert tree.there() == []


def test_nobody_pushes_unsigned(tree: Tree) -> None:
    _refused(tree.release("push", tree.repository), "no workflow's identity")
    assert tree.there() == []


def test_a_registry_that_does_not_answer_is_told(tree: Tree) -> None:
    nowhere = "127.0.0.1:1/strongroom"
    _refused(tree.release("push", nowhere, "--key", tree.key), nowhere)


def test_the_provenance_says_what_it_was_built_of(tree: Tree) -> None:
    digest = tree.pushed()
    bundle = json.loads(tree.provenance(digest).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"][0]["digest"] == {"sha256": digest.removeprefix("sha256:")}
    source, base = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": tree.commit}
    assert source["uri"] == "git+https://github.com/example-org/strongroom@refs/heads/main"
    assert base["digest"] == {"sha256": "b" * 64}


# --- verify ---


def test_what_the_release_signed_is_ours_wherever_it_is_promoted(tree: Tree) -> None:
    digest = tree.pushed()
    for environment in ("dev", "staging", "prod"):
        tree.runs(environment, digest)
        done = tree.verify(environment)
        assert done.returncode == 0, done.stderr
        assert digest in done.stdout
        assert tree.commit in done.stdout


def test_an_unsigned_image_is_refused(tree: Tree) -> None:
    tree.pushed()
    tree.runs("dev", "sha256:" + "c" * 64)
    _refused(tree.verify(), "is not signed")


def test_the_signature_of_another_image_is_refused(tree: Tree) -> None:
    mine = tree.pushed()
    other = "sha256:" + "c" * 64
    shutil.copy(tree.provenance(mine), tree.provenance(other))
    tree.runs("dev", other)
    _refused(tree.verify(), "is not ours")


def test_somebody_else_s_signature_is_refused(tree: Tree, tmp_path: Path) -> None:
    mine, tree.key = tree.key, pipeline.key(tmp_path / "stranger")
    tree.runs("dev", tree.pushed())
    tree.key = mine
    _refused(tree.verify(), "is not ours")


def _altered(bundle: dict[str, Any]) -> None:
    payload = bundle["dsseEnvelope"]["payload"]
    bundle["dsseEnvelope"]["payload"] = payload[:-8] + "AAAAAAA="


@pytest.mark.parametrize("spoilt", ["altered", "no signature", "no file's content"])
def test_a_provenance_that_was_touched_is_refused(tree: Tree, spoilt: str) -> None:
    digest = tree.pushed()
    tree.runs("dev", digest)
    file = tree.provenance(digest)
    bundle = json.loads(file.read_text())
    if spoilt == "altered":
        _altered(bundle)
    elif spoilt == "no signature":
        bundle["dsseEnvelope"]["signatures"] = []
    else:
        bundle = {}
    file.write_text(json.dumps(bundle))
    _refused(tree.verify(), "is not ours")


def test_an_environment_that_runs_nothing_yet_is_refused(tree: Tree) -> None:
    _refused(tree.verify("prod"), "names no digest")


# --- verify, whichever file names the image ---

STRANGE = "sha256:" + "c" * 64
WEST = "chart/values-prod-eu-west-1.yaml"
WEST_REPOSITORY = "  repository: 333344445555.dkr.ecr.eu-west-1.amazonaws.com/strongroom\n"


def test_the_image_of_one_region_alone_is_verified_too(tree: Tree) -> None:
    """Its values come on top of prod's, and nothing keeps them from naming another one."""
    tree.runs("prod", tree.pushed())
    assert tree.verify("prod").returncode == 0
    tree.change(WEST, WEST_REPOSITORY, f'{WEST_REPOSITORY}  digest: "{STRANGE}"\n')
    _refused_naming(tree.verify("prod"), STRANGE, "is not signed")
    _refused_naming(
        tree.release("wait", "prod", "--repository", tree.repository, "--minutes", "0"),
        STRANGE,
        "still missing",
    )


def test_an_image_of_another_registry_is_refused(tree: Tree) -> None:
    """Even by a digest that we signed."""
    tree.runs("prod", tree.pushed())
    for place in ("333344445555.dkr.ecr.eu-central-1.amazonaws.com", "evil.example"):
        other = f"  repository: {place}/strongroom\n"
        tree.change(WEST, WEST_REPOSITORY, other)
        _refused_naming(tree.verify("prod"), f"{place}/strongroom@", "not of its own registry")
        tree.change(WEST, other, WEST_REPOSITORY)
    assert tree.verify("prod").returncode == 0


@pytest.mark.parametrize(
    "container",
    [
        f'- {{name: more, "image": "333344445555.dkr.ecr.eu-west-1.amazonaws.com/x@{STRANGE}"}}',
        f"- name: more\n      command: [run, {STRANGE}]",
        "- name: more\n      image: evil.example/strongroom:latest",
    ],
    ids=["in one line", "a digest anywhere", "by tag"],
)
def test_an_image_that_a_template_names_is_looked_at(tree: Tree, container: str) -> None:
    tree.runs("prod", tree.pushed())
    tree.change(
        "chart/templates/_pod.tpl",
        "  containers:\n    - name: service",
        f"  containers:\n    {container}\n    - name: service",
    )
    _refused_naming(tree.verify("prod"), "prod-eu-central-1", "")


def test_the_load_tests_image_is_verified_too(tree: Tree) -> None:
    tree.runs("staging", tree.pushed())
    assert tree.verify("staging").returncode == 0
    load = "loadTest:\n  enabled: true\n  apiKeySecret: {name: load}\n"
    tree.change("chart/values-staging.yaml", "loadTest:\n", load)
    named = "/strongroom-load\n"
    tree.change("chart/values-staging.yaml", named, f'{named}    digest: "{STRANGE}"\n')
    _refused_naming(tree.verify("staging"), STRANGE, "is not signed")


def test_what_cannot_be_rendered_is_not_verified(tree: Tree) -> None:
    tree.runs("prod", tree.pushed())
    tree.change(WEST, "sweeper:\n", "sweeperr:\n")
    _refused_naming(tree.verify("prod"), "'sweeperr' not allowed", "")


def test_an_environment_without_an_entry_is_not_verified(tree: Tree) -> None:
    tree.runs("staging", tree.pushed())
    tree.change("argocd/values.yaml", "environment: staging", "environment: stage")
    _refused(tree.verify("staging"), "deploy/argocd has no entry of staging")


def _refused_naming(done: subprocess.CompletedProcess[str], *told: str) -> None:
    for part in told:
        _refused(done, part)


@pytest.mark.parametrize("environment", ["production", "../dev", ""])
def test_an_unknown_environment_is_refused(tree: Tree, environment: str) -> None:
    _refused(tree.verify(environment), "there are dev, prod, staging")


def test_without_a_key_only_the_release_workflow_on_main_is_believed(
    tree: Tree, tmp_path: Path
) -> None:
    """Sigstore cannot be reached here: cosign is asked what it was asked."""
    tree.runs("dev", tree.pushed())
    asked = tmp_path / "asked"
    cosign = tmp_path / "bin" / "cosign"
    cosign.parent.mkdir()
    cosign.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {asked}\n')
    cosign.chmod(0o755)
    command = (tree.root / "scripts/release", "--root", tree.root, "verify", "dev")
    assert run(*command, PATH=f"{cosign.parent}:{pipeline.PATH}").returncode == 0
    words = asked.read_text().splitlines()
    identity = words[words.index("--certificate-identity") + 1]
    assert identity == (
        "https://github.com/example-org/strongroom/.github/workflows/release.yml@refs/heads/main"
    )
    issuer = words[words.index("--certificate-oidc-issuer") + 1]
    assert issuer == "https://token.actions.githubusercontent.com"
    assert not [word for word in words if "insecure" in word or "regexp" in word or word == "--key"]


# --- wait ---


def test_what_is_everywhere_is_not_waited_for(tree: Tree) -> None:
    tree.runs("prod", tree.pushed())
    done = tree.release("wait", "prod", "--repository", tree.repository)
    assert done.returncode == 0, done.stderr
    assert "every registry of prod" in done.stdout


def test_it_waits_until_the_last_registry_has_it_and_says_which_is_missing(
    tree: Tree, tmp_path: Path
) -> None:
    digest = tree.pushed()
    tree.runs("prod", digest)
    with pipeline.registry(tmp_path / "second") as second:

        def replicate() -> None:
            time.sleep(2)
            copied = f"{second}/strongroom:{tree.commit}"
            assert run("crane", "copy", f"{tree.repository}@{digest}", copied).returncode == 0

        later = threading.Thread(target=replicate)
        later.start()
        done = tree.release(
            *("wait", "prod", "--repository", tree.repository),
            *("--repository", f"{second}/strongroom", "--minutes", "1"),
        )
        later.join()
        assert done.returncode == 0, done.stderr
        assert f"not yet in: {second}/strongroom\n" in done.stderr


def test_it_does_not_wait_for_ever(tree: Tree) -> None:
    tree.pushed()
    tree.runs("prod", "sha256:" + "c" * 64)
    started = time.monotonic()
    done = tree.release("wait", "prod", "--repository", tree.repository, "--minutes", "0.02")
    assert time.monotonic() - started < 15
    _refused(done, f"still missing after 0.02 minutes in: {tree.repository}")


# --- the base's pin ---


def test_the_base_is_pinned_to_what_its_tag_names_now(tree: Tree, tmp_path: Path) -> None:
    digest = tree.pushed()
    name = f"{tree.repository}:{tree.commit}"
    file = tmp_path / "Dockerfile"
    for line in (f"ARG BASE_IMAGE={name}", f"ARG BASE_IMAGE={name}@sha256:{'0' * 64}"):
        file.write_text(f"# a comment\n{line}\n\nFROM ${{BASE_IMAGE}} AS build\nARG BASE_IMAGE\n")
        done = run(ROOT / "scripts/image", "pin", "--dockerfile", file)
        assert done.returncode == 0, done.stderr
        pinned = f"ARG BASE_IMAGE={name}@{digest}"
        assert file.read_text() == (
            f"# a comment\n{pinned}\n\nFROM ${{BASE_IMAGE}} AS build\nARG BASE_IMAGE\n"
        )
    assert "still" in run(ROOT / "scripts/image", "pin", "--dockerfile", file).stdout


def test_a_base_that_is_not_there_leaves_the_dockerfile_alone(tree: Tree, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    for text in (f"ARG BASE_IMAGE={tree.registry}/none:1\n", "FROM scratch\n"):
        file.write_text(text)
        assert run(ROOT / "scripts/image", "pin", "--dockerfile", file).returncode != 0
        assert file.read_text() == text
