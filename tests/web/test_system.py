"""Who may see the metrics on the port that clients use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.problems import NotFound
from app.web.metrics import Metrics
from app.web.readiness import Readiness
from app.web.system import SystemRoutes


async def metrics_for(peer: tuple[Any, ...] | None) -> bytes:
    transport = SimpleNamespace(get_extra_info=lambda name: peer if name == "peername" else None)
    context: Any = SimpleNamespace(request=SimpleNamespace(transport=transport))
    unused: Any = None
    system = SystemRoutes(unused, Metrics(), Readiness({}), {}, unused, metrics_here=True)
    return (await system.metrics(context)).body or b""


@pytest.mark.parametrize(
    "peer",
    [("127.0.0.1", 1), ("127.8.8.8", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0)],
)
async def test_a_peer_on_this_host_sees_the_metrics(peer: tuple[Any, ...]) -> None:
    assert b"strongroom_" in await metrics_for(peer)


@pytest.mark.parametrize(
    "peer",
    [
        ("10.0.0.7", 1),
        ("fe80::1%eth0", 1, 0, 2),
        ("::ffff:10.0.0.7", 1, 0, 0),
        ("2001:db8::1", 1, 0, 0),
        None,
    ],
)
async def test_to_another_peer_there_are_none(peer: tuple[Any, ...] | None) -> None:
    with pytest.raises(NotFound):
        await metrics_for(peer)
