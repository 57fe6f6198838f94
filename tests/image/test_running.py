"""The service in its container, which may write nowhere and has no privilege."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path

from tests.image.conftest import Contained, contained
from tests.support.container import Image, podman
from tests.support.engines import Engine, free_port

_WRITE_EVERYWHERE = """
import json, os
results = {}
for folder, folders, _ in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys")]
    try:
        os.close(os.open(os.path.join(folder, "x"), os.O_CREAT | os.O_WRONLY))
        results[folder] = "written"
    except OSError as error:
        results[folder] = error.strerror
print(json.dumps(results))
"""


def test_a_document_comes_back_byte_for_byte(running: Contained) -> None:
    body = os.urandom(19 * 1024 * 1024 + 1)  # in several parts
    document = running.service.create(body)
    answer = running.service.request("GET", f"/v1/documents/{document['id']}/content")
    assert answer.body == body


def test_the_page_to_learn_the_api_from_is_whole(running: Contained) -> None:
    page = running.service.request("GET", "/docs", key=None).body.decode()
    assets = re.findall(r'(?:src|href)="(/docs/[^"]+)"', page)
    assert len(assets) == 4
    for path in assets:
        answer = running.service.request("GET", path, key=None)
        assert (answer.status, answer.body != b"") == (200, True), path


def test_the_process_has_no_privilege(running: Contained) -> None:
    pid = running.container.inspect()["State"]["Pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert status["Uid"] == status["Gid"] == ["10001"] * 4
    assert status["NSpid"][-1] == "1"
    assert status["NoNewPrivs"] == ["1"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind][0], 16) == 0, kind


def test_nothing_can_be_written(running: Contained) -> None:
    done = running.container.exec("python", "-c", _WRITE_EVERYWHERE)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    written = [folder for folder, result in results.items() if result == "written"]
    assert written == ["/dev/mqueue"]  # holds messages, not files
    assert results["/tmp"] == results["/opt/strongroom"] == "Read-only file system"


def test_its_health_check_is_the_service_s_own_probe(running: Contained) -> None:
    assert podman("healthcheck", "run", running.container.id).returncode == 0
    config = running.container.inspect()["Config"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "app", "probe"]


def test_the_health_check_fails_where_nothing_answers(running: Contained) -> None:
    elsewhere = running.container.exec("env", f"PORT={free_port()}", "python", "-m", "app", "probe")
    assert elsewhere.returncode == 1


def test_a_stop_lets_an_upload_finish_and_ends_with_zero(image: Image, ministack: Engine) -> None:
    with contained(image, ministack, "image-stop", DRAIN_SECONDS="20") as running:
        service, container = running.service, running.container
        with service.socket() as upload:
            head = service.head("POST", "/v1/documents", "Content-Length: 10")
            upload.sendall(head + b"01234")
            time.sleep(0.3)
            stopping = threading.Thread(target=podman, args=("stop", "--time", "30", container.id))
            started = time.monotonic()
            stopping.start()
            time.sleep(1)
            upload.sendall(b"56789")
            assert upload.recv(100).startswith(b"HTTP/1.1 201 ")
        stopping.join()
        assert time.monotonic() - started < 20
        assert container.inspect()["State"]["ExitCode"] == 0, container.log()


def test_an_idle_service_stops_at_once(image: Image, ministack: Engine) -> None:
    with contained(image, ministack, "image-idle") as running:
        started = time.monotonic()
        podman("stop", "--time", "30", running.container.id)
        assert time.monotonic() - started < 5
        assert running.container.inspect()["State"]["ExitCode"] == 0


def test_a_missing_setting_is_one_message(image: Image) -> None:
    done = image.run()
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for name in ("DYNAMODB_TABLE", "S3_BUCKET"):
        assert f"  {name}: is required but not set" in done.stderr


def test_dev_says_that_it_is_not_here(image: Image) -> None:
    done = image.run("dev")
    assert done.returncode == 2
    [message] = done.stderr.splitlines()
    assert "use 'make dev'" in message
