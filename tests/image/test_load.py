"""The image of the load tests, run as the chart's Jobs run it: a master and a worker."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.deploy import chart
from tests.support.container import Image
from tests.support.engines import Engine, free_port
from tests.support.service import Service, running

WRITABLE = ("--tmpfs", "/tmp")  # as the chart has it


@pytest.fixture(scope="module")
def image() -> Image:
    return Image.load("STRONGROOM_LOAD_IMAGE")


def arguments(role: str, service: Service, port: int) -> list[str]:
    """What the chart's Job gives its container, but for the addresses of the cluster."""
    jobs = chart.kinds(chart.render("dev", chart.LOAD), "Job")
    (job,) = [job for job in jobs if f"-load-{role}-" in job["metadata"]["name"]]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "load"]
    here = {
        "--url": f"http://127.0.0.1:{service.port}",
        "--expect-workers": "1",
        "--bind": "127.0.0.1",
        "--port": str(port),
        "--wait": "60",
        "--master-host": "127.0.0.1",
        "--master-port": str(port),
        "--allow-host": "127.0.0.1",
        "--profile": "smoke",
    }
    found = []
    for argument in container["args"]:
        name, _, value = argument.partition("=")
        found.append(f"{name}={here.get(name, value)}" if value else argument)
    return found


def test_a_master_and_a_worker_hold_the_gate(
    image: Image, ministack: Engine, tmp_path: Path
) -> None:
    with (
        running(ministack, "load-image", tmp_path / "log") as service,
        contextlib.ExitStack() as end,
    ):
        port, key = free_port(), {"STRONGROOM_API_KEY": service.key}
        master = end.enter_context(
            image.running(key, *arguments("master", service, port), options=WRITABLE)
        )
        worker = end.enter_context(
            image.running(key, *arguments("worker", service, port), options=WRITABLE)
        )
        ends = time.monotonic() + 240
        while master.inspect()["State"]["Running"] and time.monotonic() < ends:
            time.sleep(1)
        told = master.log() + worker.log()
        assert master.inspect()["State"]["ExitCode"] == 0, told[-4000:]
        assert "threshold" in told


def test_a_target_off_the_list_is_refused(image: Image) -> None:
    done = image.run("run", "--url=http://203.0.113.1", options=WRITABLE)
    assert done.returncode == 3, done.stderr


def test_it_holds_no_service_and_no_tests(image: Image) -> None:
    listed = image.python("import os; print(sorted(os.listdir()), os.getuid())")
    assert listed.stdout.strip() == "['load'] 10001"
