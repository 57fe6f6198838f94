"""serve, and probe, which asks a running service how it is."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from app.cli.common import Command, CommandWithSettings, fail, guarded, settings_of, where


@click.command(cls=CommandWithSettings, short_help="Run the service.")
@click.option("--host", help="Overrides HOST.")
@click.option("--port", type=int, help="Overrides PORT.")
@click.option("--metrics-port", type=int, help="Overrides METRICS_PORT.")
@where
def serve(**overrides: Any) -> int:
    """Run the service until SIGTERM."""
    import signal

    # Until the service handles it: a container's first process ignores it without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    import uvloop

    from app import bootstrap
    from app.server import server
    from app.web import logs

    settings = settings_of(overrides)
    logs.configure(settings.log_format, settings.log_level)
    try:
        listener = server.bind(settings.host, settings.port)
    except OSError as error:
        return fail(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Set PORT to a free port.",
            2,
        )

    async def ready() -> None:
        host, port = listener.getsockname()[:2]
        logs.event("serving", host=host, port=port, table=settings.dynamodb_table)

    try:
        return guarded(lambda: uvloop.run(bootstrap.serve(settings, listener, ready)))
    except bootstrap.PortTaken as error:
        return fail(str(error), 2)


@click.command(cls=Command, short_help="Ask a running service how it is.")
@click.argument("url", required=False)
@click.option("--timeout", type=float, default=3.0, show_default=True, help="Seconds to wait.")
def probe(url: str | None, timeout: float) -> int:
    """Exit code 0 if URL answers with success; for a container's health check.

    URL is http://127.0.0.1:8000/readyz if not given, with PORT in place of 8000 where it is set.
    """
    import http.client
    from urllib.parse import urlsplit

    url = url or f"http://127.0.0.1:{os.environ.get('PORT') or 8000}/readyz"
    try:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(
            address.hostname or "127.0.0.1", address.port or 80, timeout=timeout
        )
        query = f"?{address.query}" if address.query else ""
        connection.request("GET", (address.path or "/readyz") + query)
        response = connection.getresponse()
        body = response.read(2000).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return fail(f"{url}: {error}", 1)
    print(f"{response.status} {body}")
    return 0 if 200 <= response.status < 300 else 1
