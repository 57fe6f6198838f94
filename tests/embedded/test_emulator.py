"""The emulator keeps its data, and ends with its parent however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from app.embedded.emulator import Emulator, EmulatorError

ROOT = Path(__file__).parents[2]


def s3(url: str) -> object:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def test_data_survives_a_restart(tmp_path: Path) -> None:
    for step in ("write", "read"):
        emulator = Emulator(tmp_path)
        emulator.start()
        try:
            client: object = s3(emulator.url)
            if step == "write":
                client.create_bucket(Bucket="kept")  # type: ignore[attr-defined]
                client.put_object(Bucket="kept", Key="a/b", Body=b"bytes")  # type: ignore[attr-defined]
            else:
                got = client.get_object(Bucket="kept", Key="a/b")  # type: ignore[attr-defined]
                assert got["Body"].read() == b"bytes"
        finally:
            emulator.stop()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from app.embedded.emulator import Emulator;"
        "e = Emulator(pathlib.Path(sys.argv[1])); e.start(); print(e.pid, flush=True);"
        "time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}/cmdline").exists():
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the emulator outlived its parent")


def test_a_failed_start_shows_the_end_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    emulator = Emulator(tmp_path)
    with pytest.raises(EmulatorError, match="ended at once"):
        emulator.start()
