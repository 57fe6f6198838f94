"""The service's image: the one that lies in build/, or a new one, and variants of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.shell import Say

ROOT = Path(__file__).parents[2]
FILE = ROOT / "build" / "image.tar"
# Whatever an image is made of.
_SOURCES = ("Dockerfile", ".dockerignore", "LICENSE", "app", "poetry.lock", "scripts/bootstrap")
_REVISION = "org.opencontainers.image.revision"


def ensure(home: Path, say: Say, *, debian: bool) -> Path:
    """The image of these files, built if need be."""
    stamp = home / "image.json"
    sources = _sources()
    if FILE.exists() and (_stamped(stamp) == [sources, _id()] or _of_this_commit()):
        say("the image in build/ is of these files")
    else:
        _build(home, say, debian=debian)
    home.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps([sources, _id()]))
    return FILE


def variant(
    source: Path,
    target: Path,
    *,
    environment: Mapping[str, str] | None = None,
    entrypoint: list[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """The same image with other settings of its own, and so of another digest."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        [manifest] = json.loads(_read(old, "manifest.json"))
        config: dict[str, Any] = json.loads(_read(old, manifest["Config"]))
        inner = config["config"]
        inner["Env"] = [
            *inner.get("Env", []),
            *(f"{name}={value}" for name, value in (environment or {}).items()),
        ]
        inner["Labels"] = {**(inner.get("Labels") or {}), **(labels or {})}
        if entrypoint is not None:
            inner["Entrypoint"] = entrypoint
        written = json.dumps(config).encode()
        name = f"{hashlib.sha256(written).hexdigest()}.json"
        for layer in manifest["Layers"]:
            member = old.getmember(layer)
            while member.issym() or member.islnk():
                member = old.getmember(str(Path(layer).parent.joinpath(member.linkname)))
            content = old.extractfile(member)
            assert content is not None
            told = tarfile.TarInfo(layer)
            told.size = member.size
            new.addfile(told, content)
        listed = json.dumps([{"Config": name, "RepoTags": None, "Layers": manifest["Layers"]}])
        for file, content_of in ((name, written), ("manifest.json", listed.encode())):
            told = tarfile.TarInfo(file)
            told.size = len(content_of)
            new.addfile(told, io.BytesIO(content_of))


def _build(home: Path, say: Say, *, debian: bool) -> None:
    """On the usual base; on Debian's own where that cannot be had, or where it is asked for."""
    home.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if not Path("/run/systemd/system").exists():  # podman then needs other settings
        environment.setdefault("CONTAINERS_CONF", str(ROOT / ".ci" / "containers.conf"))
    log = home / "image.log"
    for on_debian in [True] if debian else [False, True]:
        say("building the image …" if not on_debian else "building the image on Debian …")
        command = [sys.executable, str(ROOT / "scripts" / "image"), "build"]
        with log.open("wb") as output:
            done = subprocess.run(
                [*command, *(["--debian"] if on_debian else [])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        if done.returncode == 0:
            return
    tail = log.read_text(errors="replace").splitlines()[-12:]
    raise ClusterError("\n  ".join([f"the image could not be built ({log}):", *tail]))


def _sources() -> str:
    found = hashlib.sha256()
    for source in _SOURCES:
        path = ROOT / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                found.update(f"{file.relative_to(ROOT)} {content}\n".encode())
    return found.hexdigest()


def _of_this_commit() -> bool:
    """Whether it says of itself to be of a commit from which these files do not differ."""
    revision = _config()["config"].get("Labels", {}).get(_REVISION, "")
    if not revision or revision.endswith("-dirty"):
        return False
    git = ["git", "-C", str(ROOT)]
    same = subprocess.run(
        [*git, "diff", "--quiet", revision, "--", *_SOURCES], stderr=subprocess.DEVNULL
    )
    others = subprocess.run(
        [*git, "ls-files", "--others", "--exclude-standard", "--", *_SOURCES],
        capture_output=True,
        text=True,
    )
    return same.returncode == 0 and not others.stdout.strip()


def _stamped(stamp: Path) -> list[str] | None:
    try:
        found = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, list) else None


def _id() -> str:
    with tarfile.open(FILE) as archive:
        [manifest] = json.loads(_read(archive, "manifest.json"))
    return str(manifest["Config"])


def _config() -> dict[str, Any]:
    with tarfile.open(FILE) as archive:
        [manifest] = json.loads(_read(archive, "manifest.json"))
        config: dict[str, Any] = json.loads(_read(archive, manifest["Config"]))
    return config


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None, name
    return member.read()
