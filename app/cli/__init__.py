"""The command line: a file for each group of commands, imported when a command of it is called."""

from __future__ import annotations

import os
from importlib import import_module

import click

from app.cli.common import Group

PROGRAM = "python -m app"
# scripts/strongroom is the name that a shell completes.
COMPLETED_PROGRAM, COMPLETION_VARIABLE = "strongroom", "_STRONGROOM_COMPLETE"

_COMMANDS = {
    "serve": "serve",
    "dev": "dev",
    "provision": "maintenance",
    "sweep": "maintenance",
    "verify": "maintenance",
    "restore": "maintenance",
    "keys": "keys",
    "tenants": "tenants",
    "usage": "usage",
    "probe": "serve",
}


class _Root(Group):
    """Imports the file of the command that is called, and no other: a container's health check
    starts `probe` every ten seconds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"app.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        return command


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """Strongroom: a document store API over DynamoDB and S3."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    completing = COMPLETION_VARIABLE in os.environ
    try:
        code: int | None = root.main(
            arguments,
            prog_name=COMPLETED_PROGRAM if completing else PROGRAM,
            complete_var=COMPLETION_VARIABLE,
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C
        return 130
    return code or 0
