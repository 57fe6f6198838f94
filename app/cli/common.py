"""What commands share: the settings in their help, the backends, one-line errors."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from app.bootstrap import Backends
    from app.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

# The first setting of each group, in the order of app.settings; the next ones belong to it.
_GROUPS = {
    "dynamodb_table": "Where the data is",
    "app_env": "The process",
    "max_upload_bytes": "Documents",
    "max_in_flight": "Load",
    "aws_max_connections": "Backends",
    "client_head_seconds": "Clients and shutdown",
    "fault_error_ratio": "Faults on purpose",
}
_AWS = (
    "AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL_S3, "
    "AWS_CA_BUNDLE, HTTPS_PROXY, and the usual credential chain (environment, profile, web "
    "identity, container)."
)


class Command(click.Command):
    """A command whose help begins with `usage:`, in lower case."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        pieces = self.collect_usage_pieces(ctx)
        formatter.write_usage(ctx.command_path, " ".join(pieces), prefix="usage: ")


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command


class CommandWithSettings(Command):
    """A command whose help ends with every setting and its default."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from app.settings import Settings

        groups: list[tuple[str, list[tuple[str, str]]]] = []
        for name, field in Settings.model_fields.items():
            if name in _GROUPS:
                groups.append((_GROUPS[name], []))
            default = "required" if field.is_required() else f"default {field.default}"
            about = field.description or name.replace("_", " ")
            groups[-1][1].append((name.upper(), f"{about} ({default})"))
        formatter.write_paragraph()
        formatter.write_text("Settings, from the environment:")
        for title, settings in groups:
            with formatter.section(title):
                formatter.write_dl(settings)
        with formatter.section("AWS"):
            formatter.write_text(_AWS)


def where(command: F) -> F:
    """Options that override the names of the table and the bucket."""
    for name in ("--s3-bucket", "--dynamodb-table"):
        variable = name[2:].replace("-", "_").upper()
        command = click.option(name, metavar="NAME", help=f"Overrides {variable}.")(command)
    return command


def as_json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def settings_of(overrides: dict[str, Any]) -> Settings:
    """The settings; options that were given override the environment."""
    from app.settings import load_settings

    return load_settings(**{k: value for k, value in overrides.items() if value is not None})


def with_backends(
    overrides: dict[str, Any], work: Callable[[Backends], Coroutine[Any, Any, None]]
) -> int:
    from app import bootstrap
    from app.web import logs

    settings = settings_of(overrides)
    logs.configure("text", "error", sys.stderr)  # standard output is the command's result

    async def run() -> None:
        async with bootstrap.connect(settings) as backends:
            await work(backends)

    return guarded(lambda: asyncio.run(run()))


def guarded(run: Callable[[], None]) -> int:
    """Run, and turn what an operator can mend into one line."""
    from app.storage.errors import Unavailable

    try:
        run()
    except Unavailable as error:
        return fail(f"{error.detail} Check the AWS settings, then try again.", 1)
    except ValueError as error:  # a bad AWS setting
        return fail(str(error), 2)
    return 0


def fail(message: str, code: int) -> int:
    print(f"strongroom: {message}", file=sys.stderr)
    return code


def now_ms() -> int:
    return time.time_ns() // 1_000_000
