"""What is in the image, and what is not."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import IO

import botocore

from tests.support.container import Image, podman

ROOT = Path(__file__).parents[2]

_LOOK_AROUND = """
import importlib.util, json, os, sys
import app.__main__, app.bootstrap, app.maintenance.provision, uvloop
def compiled(module):
    try:
        with open(module.__cached__, "rb") as file:
            return file.read(8)[4] == 1  # unchecked: good whatever the times of the files
    except OSError:
        return False
print(json.dumps({
    "ours": sorted(os.listdir()),
    "app": sorted(os.listdir("app")),
    "absent": [n for n in ("pip", "setuptools", "ensurepip") if not importlib.util.find_spec(n)],
    "programs": sorted(os.listdir("/opt/venv/bin")),
    "secrets": os.path.exists("/run/secrets"),
    "uncompiled": [
        name for name, module in sys.modules.items()
        if getattr(module, "__cached__", None) and name != "__main__" and not compiled(module)
    ],
}))
"""


def test_only_what_the_service_needs_is_in_the_image(image: Image) -> None:
    done = image.python(_LOOK_AROUND)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ours"] == ["LICENSE", "app"]
    assert "bootstrap.py" in found["app"]
    assert "embedded" not in found["app"]
    assert found["absent"] == ["pip", "setuptools", "ensurepip"]
    assert all(name.startswith("python") for name in found["programs"])
    assert not found["secrets"]


def test_nothing_has_to_be_compiled_at_the_start(image: Image) -> None:
    done = image.python(_LOOK_AROUND)
    assert json.loads(done.stdout)["uncompiled"] == []


def test_the_image_says_what_it_is(image: Image) -> None:
    labels = image.inspect()["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == "Strongroom"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", labels[f"{prefix}version"])
    assert labels[f"{prefix}revision"]
    assert labels[f"{prefix}description"]


def test_another_checkout_gives_the_same_layers(image: Image, tmp_path: Path) -> None:
    """Other times, other modes, and files that must not get in."""
    copy = tmp_path / "elsewhere"
    left_out = shutil.ignore_patterns(".*", "build", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    shutil.copy(ROOT / ".dockerignore", copy)
    for secret in (".env", "app/.env", "app/embedded/secret", "scripts/secret"):
        (copy / secret).write_text("AWS_SECRET_ACCESS_KEY=x")
    for path in copy.rglob("*"):
        path.chmod(0o700 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    base = image.inspect()["Labels"]["org.opencontainers.image.base.name"]
    tag, rebuilt = f"localhost/strongroom-{os.getpid()}", tmp_path / "image.tar"
    done = subprocess.run(
        [sys.executable, "scripts/image", "build", "--tag", tag, "--file", rebuilt],
        cwd=copy,
        env=os.environ | {"BASE_IMAGE": base},
        capture_output=True,
        text=True,
    )
    podman("image", "rm", tag)
    assert done.returncode == 0, done.stderr[-3000:]
    assert _layers(rebuilt) == _layers(Path(os.environ["STRONGROOM_IMAGE"]))


def test_no_clock_is_in_the_layers(image: Image) -> None:
    """Whatever the time is when it is built: every file that the build adds is of one time."""
    with tarfile.open(os.environ["STRONGROOM_IMAGE"]) as archive:
        [manifest] = json.load(_member(archive, "manifest.json"))
        config = json.load(_member(archive, manifest["Config"]))
        epoch = datetime.datetime.fromisoformat(config["created"]).timestamp()
        _, *ours = manifest["Layers"]  # the first is the base's
        assert len(ours) >= 3
        for name in ours:
            with tarfile.open(fileobj=_member(archive, name)) as layer:
                other = {f"{file.name}: {file.mtime}" for file in layer if file.mtime != epoch}
            assert other == set()


def _layers(archive: Path) -> list[str]:
    with tarfile.open(archive) as file:
        [manifest] = json.load(_member(file, "manifest.json"))
        config = json.load(_member(file, manifest["Config"]))
    layers: list[str] = config["rootfs"]["diff_ids"]
    return layers


def _member(file: tarfile.TarFile, name: str) -> IO[bytes]:
    member = file.extractfile(name)
    assert member is not None
    return member


def test_the_descriptions_of_all_called_aws_services_are_kept() -> None:
    """A later botocore may ask another service for credentials; the image would lack it."""
    installed = Path(botocore.__file__).parent
    sources = [installed / "credentials.py", installed / "tokens.py", *ROOT.glob("app/**/*.py")]
    call = re.compile(r"""client\w*\(\s*(?:self\._session,\s*)?["']([a-z0-9-]+)["']""")
    called = {name for source in sources for name in call.findall(source.read_text())}
    assert {"sts", "sso", "sso-oidc", "dynamodb", "s3"} <= called
    kept = set(re.findall(r"! -name ([a-z0-9-]+)", (ROOT / "Dockerfile").read_text()))
    assert called <= kept
