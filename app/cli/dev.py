"""dev: the service on an embedded emulator."""

from __future__ import annotations

import click

from app.cli.common import Command, fail


@click.command(cls=Command, short_help="Run the service on an embedded emulator.")
@click.option(
    "--directory", default=".dev", show_default=True, help="Where data and keys are kept."
)
@click.option("--host", help="Address to listen on (HOST, or 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (PORT, or 8000).")
def dev(directory: str, host: str | None, port: int | None) -> int:
    """Run the service with an emulator of DynamoDB and S3 in a child process: no AWS, no Docker.

    Data is kept in --directory and survives a restart. API keys are made, three curl lines
    printed, and --directory/env written for scripts. Stop it with Ctrl-C.
    """
    try:
        from app.embedded import dev
    except ImportError as error:
        return fail(f"{error}. 'dev' needs the development dependencies: use 'make dev'.", 2)
    return dev.run(directory, host, port)
