#!/usr/bin/env python3
"""Run a module, and end it when the parent is gone: python load/leash.py MODULE [ARGUMENT ...]

The parent holds a pipe open as our standard input: one that is killed cannot stop its child, but
the pipe closes all the same. The module is the one of the working directory, which may be another
checkout than this file's.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv[:] = sys.argv[1:]
    sys.path[0] = os.getcwd()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
