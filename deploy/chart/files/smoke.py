"""A little load on one version of the service: does it work at all?

Creates, reads, lists, changes and deletes documents at a steady rate, checks every answer, and ends
with exit code 1 if too many were wrong or too few were sent. Standard library only: it runs in the
service's own image. Each round takes a new connection, so that all pods get some.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

READY_SECONDS = 60
TIMEOUT_SECONDS = 15


class Wrong(Exception):
    """An answer that is not what was asked for."""


class Client:
    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=TIMEOUT_SECONDS
        )
        self._key = key

    def ask(
        self,
        method: str,
        path: str,
        expected: int,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        sent = {"Authorization": f"Bearer {self._key}", **(headers or {})}
        try:
            self._connection.request(method, path, body, sent)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Wrong(f"{method} {_template(path)}: {type(error).__name__}") from error
        if answer.status != expected:
            raise Wrong(f"{method} {_template(path)}: {answer.status}")
        return content

    def close(self) -> None:
        self._connection.close()


def _template(path: str) -> str:
    parts = path.partition("?")[0].split("/")
    return "/".join(["{id}" if index == 3 else part for index, part in enumerate(parts)])


def writing(client: Client, number: int) -> Iterator[None]:
    """One document's life; a request before each `yield`."""
    body = hashlib.sha256(str(number).encode()).digest() * 32
    digest = hashlib.sha256(body).hexdigest()
    expires = datetime.now(UTC) + timedelta(minutes=15)  # should this end before it deletes
    headers = {
        "Content-Type": "application/octet-stream",
        "Document-Expires": expires.isoformat().replace("+00:00", "Z"),
        "Document-Tags": "smoke",
    }
    document: dict[str, Any] = json.loads(client.ask("POST", "/v1/documents", 201, body, headers))
    path = f"/v1/documents/{document['id']}"
    yield
    if json.loads(client.ask("GET", path, 200)).get("sha256") != digest:
        raise Wrong("GET /v1/documents/{id}: another digest")
    yield
    if client.ask("GET", f"{path}/content", 200) != body:
        raise Wrong("GET /v1/documents/{id}/content: other bytes")
    yield
    if not json.loads(client.ask("GET", "/v1/documents?tag=smoke&limit=5", 200)).get("items"):
        raise Wrong("GET /v1/documents: what was created is not there")
    yield
    patch = {"Content-Type": "application/merge-patch+json"}
    client.ask("PATCH", path, 200, json.dumps({"name": f"smoke-{number}"}).encode(), patch)
    yield
    client.ask("DELETE", path, 204)
    yield


def reading(client: Client, number: int) -> Iterator[None]:
    """For a region that only reads."""
    client.ask("GET", "/v1/documents?limit=5", 200)
    yield
    client.ask("GET", "/v1/limits", 200)
    yield
    client.ask("GET", f"/v1/documents/00000000-0000-7000-8000-{number:012d}", 404)
    yield


def await_ready(address: str) -> bool:
    """The Service may just have been pointed at the new version."""
    parts = urlsplit(address)
    ends = time.monotonic() + READY_SECONDS
    while time.monotonic() < ends:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(1)
    return False


def main() -> int:
    options = _options()
    key = Path(options.key_file).read_text().strip()
    if not await_ready(options.url):
        print(f"{options.url} did not become ready within {READY_SECONDS} s")
        return 1
    rounds = reading if options.read_only else writing
    started = time.monotonic()
    sent, number = 0, 0
    wrong: Counter[str] = Counter()
    while time.monotonic() - started < options.seconds:
        number += 1
        client = Client(options.url, key)
        steps = rounds(client, number)
        while True:
            # Behind the schedule it catches up. How slow the service is, the metrics tell.
            time.sleep(max(0.0, started + sent / options.rate - time.monotonic()))
            sent += 1
            try:
                next(steps)
            except StopIteration:
                sent -= 1
                break
            except (Wrong, ValueError, KeyError) as error:
                wrong[str(error) or type(error).__name__] += 1
                break  # the rest of a round needs what came before
        client.close()
    return _judge(options, sent, wrong)


def _judge(options: argparse.Namespace, sent: int, wrong: Counter[str]) -> int:
    count, planned = wrong.total(), options.seconds * options.rate
    print(f"{sent} requests of {planned:g} planned, {count} answered wrongly")
    for what, times in wrong.most_common(10):
        print(f"  {times} x {what}")
    if sent < planned / 10:
        print("FAILED: too slow to send even a tenth of what was planned")
        return 1
    if count > sent * options.max_error_ratio:
        print(f"FAILED: more than {options.max_error_ratio:.1%} are wrong")
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--max-error-ratio", type=float, required=True)
    parser.add_argument("--key-file", required=True)
    parser.add_argument("--read-only", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
