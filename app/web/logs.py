"""Structured logs: one JSON object a line, or coloured text for a person at a terminal.

They hold ids, templates, statuses and times; never keys, queries, names or contents.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from asyncio import get_running_loop
from contextvars import ContextVar
from typing import IO, Any

import orjson

from app.clock import format_timestamp

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LATE_SECONDS = 0.1
_PLAIN = re.compile(r"[A-Za-z0-9/._~-]{0,256}")
_COLOURS = {"debug": "2", "info": "36", "warning": "33", "error": "31", "critical": "1;31"}


# What a line says: see `_line`. All but the path are known words, or such that nothing in them has
# to be escaped. By position: each request makes one.
Entry = tuple[float, str, str, str, str, int, float, str | None, str | None, str | None]

# The request on whose behalf the running task works, so that what it logs can be found.
current_request: ContextVar[str | None] = ContextVar("current_request", default=None)


def configure(log_format: str, level: str, stream: IO[str] | None = None) -> None:
    """Send all logs to the stream, standard output if none is given, in this format."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("strongroom").setLevel(level.upper())
    for name in ("sanic", "sanic.root", "sanic.error", "sanic.access", "sanic.server"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if (request_id := current_request.get()) is not None:
        extra.setdefault("request_id", request_id)
    return extra


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": format_timestamp(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """Colours only where a person looks: at a terminal, unless NO_COLOR is set."""

    def __init__(self) -> None:
        super().__init__()
        self._coloured = wants_colour(sys.stdout)

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        extra = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {self._paint(level)} {record.getMessage()} {extra}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def _paint(self, level: str) -> str:
        word = f"{level:<7}"
        return f"\033[{_COLOURS.get(level, '0')}m{word}\033[0m" if self._coloured else word


def wants_colour(stream: IO[str]) -> bool:
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and not os.environ.get("NO_COLOR")


class AccessLog:
    """One line a request. Past the logging machinery, which costs several times as much.

    JSON lines are made and go out together, a tenth of a second later at most: a write of each
    would be a system call for each. A person at a terminal sees each at once.
    """

    def __init__(self, log_format: str, level: str) -> None:
        self._json = log_format == "json"
        self._enabled = level in ("debug", "info")
        self._coloured = wants_colour(sys.stdout)
        self._entries: list[Entry] = []

    def write(self, entry: Entry) -> None:
        if not self._enabled:
            return
        if not self._json:
            sys.stdout.write(self._text(entry) + "\n")
            sys.stdout.flush()
            return
        if not self._entries:
            get_running_loop().call_later(_LATE_SECONDS, self.flush)
        self._entries.append(entry)

    def flush(self) -> None:
        """Write what has not been written."""
        entries, self._entries = self._entries, []
        if entries:
            sys.stdout.write("".join([_line(*entry) for entry in entries]))
            sys.stdout.flush()

    def _text(self, entry: Entry) -> str:
        now, _, method, _, path, status, seconds, _, _, problem = entry
        colour = "31" if status >= 500 else "33" if status >= 400 else "32"
        painted = f"\033[{colour}m{status}\033[0m" if self._coloured else str(status)
        clock = time.strftime("%H:%M:%S", time.localtime(now))
        said = f"{clock} {painted} {method:<6} {path[:256]} {_ms(seconds)} ms {problem or ''}"
        return said.rstrip()


def _line(
    now: float,
    request_id: str,
    method: str,
    route: str,
    path: str,
    status: int,
    seconds: float,
    tenant: str | None,
    key: str | None,
    problem: str | None,
) -> str:
    shown = f'"{path}"' if _PLAIN.fullmatch(path) else orjson.dumps(path[:256]).decode()
    return (
        f'{{"time":"{format_timestamp(int(now * 1000))}","level":"info","event":"request",'
        f'"request_id":"{request_id}","method":"{method}","route":"{route}","path":{shown},'
        f'"status":{status},"ms":{_ms(seconds)},"tenant":{_quoted(tenant)},"key":{_quoted(key)},'
        f'"problem":{_quoted(problem)}}}\n'
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _quoted(word: str | None) -> str:
    return "null" if word is None else f'"{word}"'


def event(name: str, **fields: object) -> None:
    """One line about the service's life."""
    logging.getLogger("strongroom").info(name, extra=fields)
