"""Where load may be sent. This machine; other hosts only if somebody has named them."""

from __future__ import annotations

import ipaddress
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

FILE = Path(__file__).parent / "targets.toml"


class TargetRefused(Exception):
    """Why, and what to do about it."""


@dataclass(frozen=True)
class Allowed:
    """Host names that may be loaded beside this machine."""

    hosts: frozenset[str] = frozenset()

    def check(self, url: str) -> None:
        """Raises `TargetRefused`."""
        refusal = self.refusal(url)
        if refusal:
            raise TargetRefused(
                f"refused: {refusal}. Load goes to this machine, and to hosts that are named in "
                "load/targets.toml or by --allow-host."
            )

    def refusal(self, url: str) -> str:
        """Why not; an empty string if it may be."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            return f"{url!r} is no address: {error}"
        if parts.scheme not in ("http", "https") or not host:
            return f"{url!r} is no address; it begins with http:// or https://"
        if host in self.hosts or _is_this_machine(host):
            return ""
        return f"{host} is not on the list"


def allowed(named: list[str], file: Path = FILE) -> Allowed:
    """The hosts of the file, and those named on the command line. Raises `TargetRefused`.

    A name with "prod" in it counts only on the command line: nobody is to load production because
    of a line in a file.
    """
    try:
        listed = tomllib.loads(file.read_text())["hosts"] if file.exists() else []
        if not all(isinstance(host, str) for host in listed):
            raise TypeError("hosts must be strings")
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TargetRefused(f"{file}: {error}: it has one list, hosts = [...]") from error
    return Allowed(
        frozenset(host.lower() for host in listed if "prod" not in host.lower())
        | frozenset(host.lower() for host in named)
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    if host != "localhost":  # a name may lead elsewhere tomorrow
        return False
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)
