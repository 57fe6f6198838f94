"""`make dev`: an emulator of AWS, a table, a bucket, keys, and the service on top of them."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from app import bootstrap
from app.embedded.emulator import Emulator, EmulatorError
from app.embedded.leader import leader_gone
from app.keys import service as keys
from app.maintenance.provision import ProvisionError, provision
from app.server import server
from app.settings import Settings, load_settings
from app.web import logs
from app.web.logs import wants_colour

TABLE = "strongroom-dev"
BUCKET = "strongroom-dev"
DEFAULT_PORT = 8000
# Of the items in the table: docs/data-model.md.
FORMAT = 1

# Variable in the env file: tenant, scopes.
_KEYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "STRONGROOM_API_KEY": ("acme", keys.SCOPES),
    "STRONGROOM_API_KEY_READ": ("acme", ("documents:read",)),
    "STRONGROOM_API_KEY_2": ("globex", keys.SCOPES),
}


class DevError(Exception):
    """What keeps it from starting, in a line that says what to do."""


def run(directory: str, host: str | None, port: int | None) -> int:
    """Run until SIGINT or SIGTERM; the exit code."""
    home = Path(directory).absolute()
    try:
        with _locked(home):
            return _run(home, host, port)
    except (DevError, EmulatorError, ProvisionError) as error:
        print(f"strongroom: {error}", file=sys.stderr)
        return 2


def _run(home: Path, host: str | None, port: int | None) -> int:
    listener, address = _listen(host, port)
    _forget(home / "env")
    _move_aside(home)
    _say("starting the emulator of DynamoDB and S3 …")
    emulator = Emulator(home / "state")
    try:
        emulator.start()
        _point_aws_at(emulator.url)
        settings = _settings(address, listener.getsockname()[1])
        logs.configure(settings.log_format, settings.log_level)
        provision(settings.dynamodb_table, settings.s3_bucket, _say)
        uvloop.run(_serve(settings, listener, home, address))
    finally:
        listener.close()
        _say("stopping the emulator …")
        emulator.stop()
    _say("stopped; the data is kept in " + _relative(home))
    return 0


async def _serve(settings: Settings, listener: socket.socket, home: Path, address: str) -> None:
    secrets = await _keys(settings, home / "keys.json")
    port = listener.getsockname()[1]
    shown = f"[{address}]" if ":" in address else address
    url = f"http://{shown}:{port}"

    async def ready() -> None:
        _write_private(home / "aws.env", _aws_env_file(settings))
        _write_private(home / "env", _env_file(url, secrets))
        _banner(url, secrets["STRONGROOM_API_KEY"], home)

    async def when_make_is_interrupted(stop: Callable[[], None]) -> None:
        await leader_gone()
        stop()

    await bootstrap.serve(settings, listener, ready, when_make_is_interrupted)


# --- the parts ------------------------------------------------------------------------------


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One at a time per directory: two emulators would overwrite each other's state."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DevError(
                f"another one is running on {_relative(home)}: stop it, or use another "
                "--directory (make dev ARGS='--directory .dev2' PORT=8001)"
            ) from error
        yield


def _listen(host: str | None, port: int | None) -> tuple[socket.socket, str]:
    address = host or os.environ.get("HOST") or "127.0.0.1"
    wanted = os.environ.get("PORT") or str(DEFAULT_PORT) if port is None else str(port)
    try:
        number = int(wanted)
        listener = server.bind(address, number)
        listener.listen()
    except (ValueError, OverflowError) as error:
        raise DevError(f"PORT is {wanted!r}: it must be a number from 0 to 65535") from error
    except OSError as error:
        raise DevError(
            f"cannot listen on {address}:{wanted}: {error.strerror}. "
            "Choose another port: make dev PORT=8001"
        ) from error
    return listener, "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104


def _point_aws_at(url: str) -> None:
    """Whatever AWS account this shell is set up for must not be reached from here."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _settings(host: str, port: int) -> Settings:
    given: dict[str, Any] = {
        "dynamodb_table": TABLE,
        "s3_bucket": BUCKET,
        "host": host,
        "port": port,
    }
    defaults = {"APP_ENV": "dev", "LOG_FORMAT": "text", "DRAIN_SECONDS": "5"}
    defaults["SHUTDOWN_GRACE_SECONDS"] = "0"  # nobody balances load before it
    given |= {k.lower(): v for k, v in defaults.items() if not os.environ.get(k)}
    return load_settings(**given)


async def _keys(settings: Settings, file: Path) -> dict[str, str]:
    """The keys of an earlier run, as far as they still hold; new ones for the rest."""
    known = _read_keys(file)
    async with bootstrap.connect(settings) as backends:
        for variable, (tenant, scopes) in _KEYS.items():
            key = known.get(variable, "")
            if not await _holds(backends, key, scopes):
                now = time.time_ns() // 1_000_000
                record, key = keys.new_key(
                    keys.tenant(tenant), frozenset(scopes), "make dev", None, now
                )
                await backends.keys.write_key(record)
            known[variable] = key
    _write_private(file, json.dumps(known, indent=2) + "\n")
    return known


async def _holds(backends: bootstrap.Backends, key: str, scopes: tuple[str, ...]) -> bool:
    """Whether a key of an earlier run still is what this release gives: it may have more scopes."""
    parts = key.split("_", 2)
    stored = await backends.keys.read_key(parts[1]) if len(parts) == 3 else None
    if stored is None or stored.scopes != frozenset(scopes):
        return False
    return stored.valid(time.time_ns() // 1_000_000)


def _read_keys(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {k: str(v) for k, v in found.items() if k in _KEYS} if isinstance(found, dict) else {}


def _env_file(url: str, secrets: dict[str, str]) -> str:
    """Readable by a shell's `.`, and line by line as NAME=value."""
    return _assignments({"STRONGROOM_URL": url, **secrets})


def _aws_env_file(settings: Settings) -> str:
    """What other commands (sweep, verify, keys) need to reach the same table and bucket."""
    aws = {name: value for name, value in sorted(os.environ.items()) if name.startswith("AWS_")}
    names = {"DYNAMODB_TABLE": settings.dynamodb_table, "S3_BUCKET": settings.s3_bucket}
    return _assignments(names | aws)


def _assignments(values: dict[str, str]) -> str:
    lines = [f"{name}={value}" for name, value in values.items()]
    return "\n".join([*lines, "export " + " ".join(values), ""])


def _write_private(file: Path, content: str) -> None:
    """Whole or not at all, and for the owner's eyes only."""
    draft = file.with_name(file.name + ".new")
    draft.touch(mode=0o600)
    draft.write_text(content)
    draft.replace(file)


def _move_aside(home: Path) -> None:
    """Data of a format that this release does not read is kept, beside what is begun now."""
    state, file = home / "state", home / "format"
    known = file.read_text().strip() if file.exists() else "none"
    if state.exists() and known != str(FORMAT):
        aside = home / f"state.format-{known}-{time.strftime('%Y%m%dT%H%M%S')}"
        state.rename(aside)
        (home / "keys.json").unlink(missing_ok=True)  # of the tenants' keys in that data
        _say(
            "the data of an earlier release is in a format that this one does not read: it is kept "
            f"in {_relative(aside)}, and new data is begun"
        )
    file.write_text(f"{FORMAT}\n")


def _forget(file: Path) -> None:
    # Scripts wait for this file: an old one would send them to a service that is not there.
    file.unlink(missing_ok=True)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _say(text: str) -> None:
    print(text, flush=True)


def _banner(url: str, key: str, home: Path) -> None:
    bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if wants_colour(sys.stdout) else ("",) * 3
    authorization = f"-H 'Authorization: Bearer {key}'"
    described = (
        "-H 'Content-Type: text/markdown' "
        "-H 'Content-Disposition: attachment; filename=\"README.md\"'"
    )
    newest = f"curl -sS '{url}/v1/documents?limit=1' {authorization}"
    an_id = 'sed \'s/.*"id":"\\([^"]*\\)".*/\\1/\''
    store = f"curl -sS {url}/v1/documents {authorization} {described} --data-binary @README.md"
    listing = f"curl -sS '{url}/v1/documents?limit=5' {authorization}"
    fetch = (
        f"curl -sS {authorization} -o README.copy.md "
        f"{url}/v1/documents/$({newest} | {an_id})/content"
    )
    _say(
        f"""
{bold}Strongroom is at {url}{plain}    {dim}the API: {url}/docs{plain}
API key: {bold}{key}{plain}
For scripts: . {_relative(home / "env")}

{dim}# store a file, list what is there, fetch the newest one as README.copy.md{plain}
{store}
{listing}
{fetch}

Stop with Ctrl-C. The data stays in {_relative(home)}.
"""
    )
