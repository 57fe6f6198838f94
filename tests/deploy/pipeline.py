"""For the tests of the release's scripts: scripts as modules, an image, a registry, a key."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.engines import free_port, missing

ROOT = Path(__file__).parents[2]
PATH = f"{os.environ['PATH']}{os.pathsep}{ROOT / '.tools' / 'bin'}"


def script(name: str) -> ModuleType:
    """A script of scripts/ as a module."""
    module = f"script_{name.replace('-', '_')}"
    loader = SourceFileLoader(module, str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(module, loader)
    assert spec is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    loader.exec_module(loaded)
    return loaded


def need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool, path=PATH) is None:
            missing(f"{tool} is not on the PATH: `mise install`, or scripts/go-tools")


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PATH": PATH, "COSIGN_PASSWORD": ""} | environment,
    )


def image(
    file: Path,
    labels: Mapping[str, str] | None = None,
    *layers: Mapping[str, bytes],
) -> str:
    """Writes an image as `docker load` takes it, and returns its id."""
    contents = [_tar(layer) for layer in layers or ({"x": b"x"},)]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(labels or {})},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in contents],
            },
        }
    ).encode()
    digest = hashlib.sha256(config).hexdigest()
    names = [f"{number}.tar" for number in range(len(contents))]
    manifest = json.dumps(
        [{"Config": f"{digest}.json", "RepoTags": ["localhost/x:latest"], "Layers": names}]
    ).encode()
    files = {f"{digest}.json": config, "manifest.json": manifest}
    file.write_bytes(_tar(files | dict(zip(names, contents, strict=True))))
    return f"sha256:{digest}"


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@contextlib.contextmanager
def registry(blobs: Path) -> Iterator[str]:
    """A registry on loopback: host and port. Beside the blobs, `requests` has what it is asked."""
    need("crane")
    address = f"127.0.0.1:{free_port()}"
    blobs.mkdir()
    with (blobs.parent / "requests").open("w") as log:
        process = subprocess.Popen(
            ["crane", "registry", "serve", "--address", address, "--disk", str(blobs)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PATH": PATH},
        )
    try:
        _await(address)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _await(address: str) -> None:
    host, _, port = address.partition(":")
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.05)
    pytest.fail("the registry did not start")


def key(folder: Path) -> Path:
    """A private key; its public half lies beside it."""
    need("cosign")
    folder.mkdir(exist_ok=True)
    done = run("cosign", "generate-key-pair", "--output-key-prefix", folder / "k")
    assert done.returncode == 0, done.stderr
    return folder / "k.key"
