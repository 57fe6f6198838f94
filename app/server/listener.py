"""Closing the listening socket without hurting whoever has just knocked."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys

# From <asm-generic/socket.h>; the socket module does not name it.
_SO_ATTACH_FILTER = 26
# A classic BPF program: drop segments with the SYN flag (RFC 9293, 3.1: byte 13), take all others.
_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load byte 13
        (0x45, 1, 0, 0x02),  # if SYN: skip one
        (0x06, 0, 0, 0xFFFFFFFF),  # take
        (0x06, 0, 0, 0),  # drop
    )
)
_SETTLE_SECONDS = 0.1


async def stop_accepting(listener: socket.socket) -> None:
    """Let in who has knocked, and nobody else; then the socket can be closed.

    Closing it resets every connection that the kernel has established and we have not accepted.
    So the kernel is told to ignore new ones first: they are tried again a second later, find the
    port closed, and are refused, which a client may take elsewhere. Meanwhile the loop accepts
    those that are queued.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HL", len(_DROP_SYN) // 8, ctypes.addressof(program)),
        )
    except OSError:  # a sandbox without filters: a few may be reset
        return
    await asyncio.sleep(_SETTLE_SECONDS)
