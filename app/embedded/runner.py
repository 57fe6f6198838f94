"""The emulator's process: ends, saving its state, when its parent does.

Run as `python -m app.embedded.runner` with a pipe as standard input that the parent holds open: a
parent that is killed cannot stop its child, but the pipe closes all the same.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from ministack.app import main


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv[1:] = []
    main()
