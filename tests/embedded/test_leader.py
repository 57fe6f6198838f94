"""A make that is interrupted alone still ends what it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_CHILD = """
import asyncio, signal, sys
from app.embedded.leader import leader_gone

async def main():
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print("up", flush=True)
    waiting = [asyncio.ensure_future(w) for w in (leader_gone(), stop.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    print("ended", flush=True)
    for task in waiting:
        task.cancel()

asyncio.run(main())
"""


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux has /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_make_alone_ends_its_child(tmp_path: Path, number: signal.Signals) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    (tmp_path / "child.py").write_text(_CHILD)
    (tmp_path / "Makefile").write_text(f"run:\n\t@{sys.executable} child.py\n")
    # The tests themselves may run under a make, whose flags are not for this one.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    process = subprocess.Popen(
        ["make", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env=inherited | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        # As at a terminal: what runs in the background of a script has SIGINT ignored, for good.
        preexec_fn=_heed_interrupts,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.5)
        assert process.poll() is None
        os.kill(process.pid, number)
        assert process.stdout.read() == "ended\n"
        process.wait(10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
