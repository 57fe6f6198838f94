"""Prod runs nothing that was not judged under load in staging: a signed line says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from load.verdict import NoVerdict, opened, private_key, signed
from tests.deploy.pipeline import ROOT

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
URL = "https://strongroom.staging.example.com"
KEY = Ed25519PrivateKey.generate()


def line(
    digest: str = DIGEST, profile: str = "steady", *, held: bool = True, key: object = KEY
) -> str:
    assert isinstance(key, Ed25519PrivateKey)
    missed = [] if held else ["read p95: wanted <= 300 ms, measured 999 ms"]
    return signed(key, digest, profile, URL, missed, held=held)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree whose prod is to run DIGEST, with the key's public half."""
    chart, verdicts = tmp_path / "deploy" / "chart", tmp_path / "deploy" / "verdicts"
    chart.mkdir(parents=True)
    verdicts.mkdir()
    for name, digest in (("dev", OTHER), ("staging", DIGEST), ("prod", DIGEST)):
        (chart / f"values-{name}.yaml").write_text(f'image:\n  digest: "{digest}"\n')
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (verdicts / "staging.pub").write_bytes(pem)
    return tmp_path


def call(root: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts/load-verdict", "--root", root, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_verdict_lets_the_image_pass_that_it_is_of(root: Path) -> None:
    assert call(root, "check", "prod").returncode == 1
    done = call(root, "take", "prod", line())
    assert done.returncode == 0, done.stderr
    done = call(root, "check", "prod")
    assert done.returncode == 0, done.stderr
    assert f"{DIGEST} held steady in staging at 20" in done.stdout


def test_a_log_has_it_somewhere(root: Path) -> None:
    log = f"read p50 …\nall 34 thresholds held\n{line()}\n"
    assert call(root, "take", "prod", stdin=log).returncode == 0
    assert call(root, "check", "prod").returncode == 0
    [file] = (root / "deploy/verdicts").glob("*.txt")
    assert file.name == f"{DIGEST.replace(':', '-')}.txt"
    assert len(file.read_text().splitlines()) == 1


WRONG = {
    "of another image": (line(OTHER), f"the verdict is of {OTHER}"),
    "of another profile": (line(profile="smoke"), "the verdict is of smoke, and steady"),
    "of a run that missed": (line(held=False), "did not hold steady: read p95: wanted <= 300 ms"),
    "by another key": (line(key=Ed25519PrivateKey.generate()), "is not signed by the key"),
    "changed": (
        line().partition(".")[0] + "." + line(OTHER).partition(".")[2],
        "is not signed by the key",
    ),
    "no verdict": ("the run was fine", "there is no verdict in it"),
    "nothing": ("", "there is no verdict in it"),
    "cut off": (line()[:-9], "is broken"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_good_verdict_is_refused(root: Path, name: str) -> None:
    """By the one who takes it, and by the check of what somebody has put there."""
    text, told = WRONG[name]
    done = call(root, "take", "prod", text)
    assert done.returncode == 1
    assert told in done.stderr
    assert list((root / "deploy/verdicts").glob("*.txt")) == []
    (root / "deploy/verdicts" / f"{DIGEST.replace(':', '-')}.txt").write_text(text)
    done = call(root, "check", "prod")
    assert done.returncode == 1
    assert told in done.stderr


def test_a_region_that_runs_another_image_is_asked_about_too(root: Path) -> None:
    assert call(root, "take", "prod", line()).returncode == 0
    region = root / "deploy/chart/values-prod-eu-west-1.yaml"
    region.write_text(f"image:\n  digest: {OTHER}\n")
    done = call(root, "check", "prod")
    assert done.returncode == 1
    assert f"{OTHER}, which prod is to run, was not judged under load in staging" in done.stderr
    assert "more than one image" in call(root, "take", "prod", line()).stderr


def test_without_a_key_or_a_digest_nothing_passes(root: Path) -> None:
    assert call(root, "take", "prod", line()).returncode == 0
    (root / "deploy/verdicts/staging.pub").unlink()
    assert "staging.pub is missing" in call(root, "check", "prod").stderr
    (root / "deploy/chart/values-prod.yaml").write_text('image:\n  digest: ""\n')
    assert "names a digest" in call(root, "check", "prod").stderr


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_only_prod_asks(root: Path, environment: str) -> None:
    assert call(root, "check", environment).returncode == 0
    assert call(root, "take", environment, line()).returncode == 1


def test_the_key_that_is_made_is_the_one_that_is_asked_for(root: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", root / "deploy/verdicts/staging.pub"
    done = call(root, "key", str(private))
    assert done.returncode == 1
    assert "is there already" in done.stderr
    public.unlink()
    assert call(root, "key", str(private)).returncode == 0
    assert private.stat().st_mode & 0o777 == 0o600
    said = opened(line(key=private_key(private.read_bytes())), public.read_bytes())
    assert (said["digest"], said["profile"], said["held"], said["url"]) == (
        DIGEST, "steady", True, URL
    )  # fmt: skip


def test_a_key_of_another_kind_is_told() -> None:
    other = generate_private_key(65537, 2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(NoVerdict, match="none of Ed25519"):
        private_key(pem)
    with pytest.raises(NoVerdict, match="no private key in PEM"):
        private_key(b"x")
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(NoVerdict, match="none of Ed25519"):
        opened(line(), public)
    with pytest.raises(NoVerdict, match="is no digest"):
        line("latest")
