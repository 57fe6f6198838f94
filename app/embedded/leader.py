"""Noticing that `make` was interrupted.

Ctrl-C at a terminal reaches every process of the group. A SIGINT sent to make alone does not: GNU
make passes SIGTERM on to its children, but of SIGINT it assumes that they have had it, and waits
for them. So the child looks: make catches SIGINT from its start, and gives that up first thing in
its handler of fatal signals.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

_POLL_SECONDS = 0.3
_MAKES = frozenset({"make", "gmake"})
_INTERRUPT = 1 << (signal.SIGINT - 1)


async def leader_gone() -> None:
    """Return once the make that runs us is being interrupted, or is gone.

    Never returns if our parent is no make, or where /proc does not tell (not on Linux).
    """
    make = os.getppid()
    if not _is_make(make) or not _catches_interrupt(make):
        await asyncio.Event().wait()
    while os.getppid() == make and _catches_interrupt(make):
        await asyncio.sleep(_POLL_SECONDS)


def _is_make(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in _MAKES
    except OSError:
        return False


def _catches_interrupt(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & _INTERRUPT)
    return False
