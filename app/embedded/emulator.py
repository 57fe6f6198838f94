"""DynamoDB and S3 in a child process, with state that survives a restart."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class EmulatorError(Exception):
    """It did not start; the message has the end of its log."""


class Emulator:
    """ministack on a loopback port, keeping its state under `home`.

    It is a session of its own: Ctrl-C at the terminal reaches the service alone, which drains
    before its backend goes.
    """

    def __init__(self, home: Path, port: int | None = None) -> None:
        self._home = home
        self._port = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        return self._home / "emulator.log"

    def start(self) -> None:
        """Start it and wait until it answers. Raises `EmulatorError`."""
        self._home.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.embedded.runner"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                cwd=Path(__file__).parents[2],
                start_new_session=True,
            )
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it and wait until its state is saved."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with suppress(OSError):
            process.stdin.close()  # the sign to end, see `runner`
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        return kept | {
            "GATEWAY_PORT": str(self._port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "s3,dynamodb,sts,iam",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self._home / "tables"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self._home / "objects"),
            "DOCKER_HOST": "unix:///nonexistent",  # else it looks for containers
            "IOT_MTLS_ENABLED": "0",  # else it listens on a fixed port
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
        }

    def _await_answer(self) -> None:
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends:
            if self._process is None or self._process.poll() is not None:
                raise EmulatorError(f"the emulator ended at once:\n{self._log_tail()}")
            if self._answers():
                return
            time.sleep(0.1)
        raise EmulatorError(f"the emulator does not answer:\n{self._log_tail()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(f"  {line}" for line in lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
