"""ministack's own process: ends, saving its state, when its parent does.

Run as `python -m scripts.live_local.ministack` with a pipe as standard input that the parent holds
open: a parent that is killed cannot stop its child, but the pipe closes all the same.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import hypercorn.config
import ministack.app

from scripts.live_local import additions


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through `sys.stdin`, whose lock would break the interpreter's end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _one_port_only(*_: object) -> bool:
    """It would listen on 443, too: one more port, which somebody else may want."""
    return False


if __name__ == "__main__":
    ministack.app._port_is_bindable = _one_port_only
    # HTTP/2 in pure Python costs it more than the connections that it saves.
    hypercorn.config.Config.alpn_protocols = ["http/1.1"]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    additions.install()
    sys.argv[1:] = []
    ministack.app.main()
