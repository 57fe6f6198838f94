"""Random bytes for ids."""

from __future__ import annotations

import os

_DRAWN_BYTES = 4096
_drawn, _used = b"", 0


def random_bytes(size: int) -> bytes:
    """From the system's generator, which is asked for many at once: a system call for each id
    takes longer than everything else that makes one."""
    global _drawn, _used
    if _used + size > len(_drawn):
        _drawn, _used = os.urandom(_DRAWN_BYTES), 0
    _used += size
    return _drawn[_used - size : _used]


def _forget() -> None:
    global _drawn, _used
    _drawn, _used = b"", 0


os.register_at_fork(after_in_child=_forget)
