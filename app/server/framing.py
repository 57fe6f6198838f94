"""Strict HTTP/1.1 framing (RFC 9112): what a request's head says, and where its body ends.

Whatever stands before the service, a proxy or a load balancer, must see the same requests in the
same bytes. So what two parsers could read in two ways is refused here, and the connection closes.
Nothing here reads or writes: `head` takes bytes, `Chunks` takes a buffer.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from app.problems import BadRequest, ExpectationFailed, HeadersTooLarge

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_token = re.compile(_NAME)
# RFC 3986, 3.2.2: a name or IPv4 address, or an IP literal; RFC 9110, 7.2: not empty for http.
_host = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?"
)
_absolute = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
# RFC 9110, 5.5: no field value holds these, tabs apart. CR and LF end lines, and nothing else.
_CONTROLS = bytes([*range(9), *range(10, 32), 127])
_MOST_DIGITS = 4000  # of what Python makes a number of
_MOST_KNOWN = 1000
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VERSIONS = {"HTTP/1.1": True, "HTTP/1.0": False}
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_DECISIVE = _FRAMING | {"host", "connection", "expect"}
# Names and hosts that were found to be valid. Clients send few, and checking takes longer.
_known_names: dict[str, str] = {}
_known_hosts: set[str] = set()


class Fields(NamedTuple):
    """What a head's fields say: `block` is their bytes, with the line end before each.

    Header names are in lower case. `length` is the body's in bytes; None for a chunked one.
    """

    block: bytes
    current: bool  # HTTP/1.1
    headers: list[tuple[str, str]]
    host: str | None
    length: int | None
    keep_alive: bool
    expects_continue: bool


class Head(NamedTuple):
    """A request's head. `target` begins with `/`, or is `*`."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    fields: Fields


def parse_head(data: bytes, last: Fields | None = None) -> Head:
    """A head, without the empty line that ends it. Raises `BadRequest`, `ExpectationFailed`.

    `last` are the fields of the connection's request before, which a client mostly sends again as
    they were: then they are not parsed again.
    """
    end = data.find(b"\r\n")
    line, block = (data, b"") if end < 0 else (data[:end], data[end:])
    known = last is not None and last.block == block
    checked = line if known else data
    lines = 0 if known else block.count(b"\r\n")
    if len(checked) - len(checked.translate(None, _CONTROLS)) != 2 * lines:
        raise BadRequest("The head of the request holds a control character.")
    parts = line.decode(errors="surrogateescape").split(" ")
    if len(parts) != 3:
        raise BadRequest("The request line is not: method, target, version.")
    method, target, version = parts
    if method not in _METHODS and not _token.fullmatch(method):
        raise BadRequest("The method is no token.")
    current = _VERSIONS.get(version)
    if current is None:
        raise BadRequest("The version is neither HTTP/1.1 nor HTTP/1.0.")
    if last is not None and known and last.current is current:
        fields = last
    else:
        fields = _parse_fields(block, current)
    headers = fields.headers
    if target[:1] != "/" or "#" in target or not target.isascii():
        target, authority = _other_target(method, target)
        if authority is not None and authority != fields.host:
            # RFC 9112, 3.2.2: the target's authority counts, whatever Host says.
            headers = [(n, v) for n, v in headers if n != "host"] + [("host", authority)]
    return Head(method, target, version[5:], headers, fields)


def _parse_fields(block: bytes, current: bool) -> Fields:
    headers = []
    decisive: dict[str, list[str]] = {}
    for field in block.decode(errors="surrogateescape").split("\r\n")[1:]:
        name, colon, value = field.partition(":")
        known = _known_names.get(name) if colon else None
        if known is None:
            known = _check_name(name, colon)
        value = value.strip(" \t")
        if known in _DECISIVE:
            if known in decisive:
                decisive[known].append(value)
            else:
                decisive[known] = [value]
        headers.append((known, value))
    hosts = decisive.get("host", ())
    if len(hosts) != 1 and (hosts or current):
        raise BadRequest("The request must have one Host header.")
    host = hosts[0] if hosts else None
    if host is not None and host not in _known_hosts:
        _check_host(host)
        if len(_known_hosts) < _MOST_KNOWN:
            _known_hosts.add(host)
    options = _options(decisive["connection"]) if "connection" in decisive else ()
    length = _length(decisive, current) if not _FRAMING.isdisjoint(decisive) else 0
    return Fields(
        block,
        current,
        headers,
        host,
        length,
        "close" not in options and (current or "keep-alive" in options),
        "expect" in decisive and _expects_continue(decisive["expect"], current) and length != 0,
    )


def _check_name(name: str, colon: str) -> str:
    """The name in lower case, after it was found to be one: the Kelvin sign's lower case is k."""
    if not colon:
        raise BadRequest("A header has no colon.")
    if not _token.fullmatch(name):
        raise BadRequest("A header's name holds a character that no name may hold.")
    if len(_known_names) < _MOST_KNOWN:
        _known_names[name] = name.lower()
    return name.lower()


def _check_host(host: str) -> bool:
    """Whether it has a port. Raises `BadRequest`."""
    found = _host.fullmatch(host)
    if found is None or int(found[1] or 0) > 65535:
        raise BadRequest("The host is not a name or address with, if any, a port.")
    return bool(found[1])


def _other_target(method: str, target: str) -> tuple[str, str | None]:
    """What is not a path from the root: the target as one, and the authority it names."""
    if "#" in target or not target.isascii():
        raise BadRequest("The target holds a fragment, or a character that must be encoded.")
    if target == "*":
        return target, None
    if method == "CONNECT":  # RFC 9112, 3.2.3: a host and a port; there is no path to look for
        if not _check_host(target):
            raise BadRequest("The target of CONNECT is not a host and a port.")
        return "*", target
    found = _absolute.fullmatch(target)
    if found is None:
        raise BadRequest("The target is neither a path from the root nor an http address.")
    authority, path = found.groups()
    _check_host(authority)
    if not path and method == "OPTIONS":
        return "*", authority  # RFC 9112, 3.2.4
    return path if path[:1] == "/" else "/" + path, authority


def _options(lines: list[str]) -> set[str]:
    """The members of a list that may come in several lines, in lower case."""
    return {member.strip(" \t").lower() for line in lines for member in line.split(",")}


def _length(decisive: dict[str, list[str]], current: bool) -> int | None:
    lengths, codings = decisive.get("content-length"), decisive.get("transfer-encoding")
    if codings is not None:
        if not current or lengths is not None:
            raise BadRequest("Transfer-Encoding has no place in HTTP/1.0 or with Content-Length.")
        if len(codings) > 1 or codings[0].lower() != "chunked":
            raise BadRequest("The only Transfer-Encoding that is understood is chunked.")
        return None
    if lengths is None:
        return 0
    [length, *others] = lengths
    if others or not (length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS):
        raise BadRequest("Content-Length is not one whole number.")
    return int(length)


def _expects_continue(lines: list[str], current: bool) -> bool:
    if not current:  # RFC 9110, 10.1.1
        return False
    if _options(lines) - {""} != {"100-continue"}:
        raise ExpectationFailed("Expect knows 100-continue only.")
    return True


def check_beginning(data: bytes | bytearray) -> None:
    """Refuse what can be no head's beginning, without waiting for its end: bare line feeds, TLS."""
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls != 2 * data.count(b"\r\n") + data.endswith(b"\r"):
        raise BadRequest("The head of the request holds a control character.")


# --- chunks ---------------------------------------------------------------------------------

_MOST_LINE_BYTES = 4096
_MOST_TRAILER_BYTES = 16_384
_CHUNK_SIZE = r"[0-9A-Fa-f]{1,16}"
_chunk_size = re.compile(_CHUNK_SIZE)
_QUOTED = r'"(?:[!#-\[\]-~]|\\[!-~])*"'  # no blanks: they stand around ; and = alone
_chunk_line = re.compile(
    rf"({_CHUNK_SIZE})(?:[ \t]*;[ \t]*{_NAME}(?:[ \t]*=[ \t]*(?:{_NAME}|{_QUOTED}))?)*"
)


class Chunks:
    """Takes a chunked body (RFC 9112, 7.1) off a buffer, piece by piece."""

    __slots__ = ("_in_chunk", "_in_trailers", "_left", "_trailer_bytes", "overhead")

    def __init__(self) -> None:
        self._left = 0  # bytes of the current chunk's data
        self._in_chunk = False  # or its CRLF is still to come
        self._in_trailers = False
        self._trailer_bytes = 0
        self.overhead = 0  # bytes taken so far that are no data

    def take(self, buffer: bytearray) -> bytes | None:
        """The data that has come, at most one chunk's; empty if there must come more first; None
        at the body's end. Raises `BadRequest`, and does so again: no chunk follows a bad one."""
        if self._left:
            data = bytes(buffer[: self._left])
            del buffer[: len(data)]
            self._left -= len(data)
            return data
        if self._in_chunk and not self._ended(buffer):
            return b""
        if not self._in_trailers:
            line = self._line(buffer)
            if line is None:
                return b""
            self._left = _size(line)
            del buffer[: len(line) + 2]
            self._in_chunk = self._left > 0
            if self._in_chunk:
                return self.take(buffer)
            self._in_trailers = True
        return self._trailers(buffer)

    def _ended(self, buffer: bytearray) -> bool:
        """Take the CRLF after a chunk's data."""
        if not b"\r\n".startswith(buffer[:2]):
            raise BadRequest("A chunk is longer than it says.")
        if len(buffer) < 2:
            return False
        del buffer[:2]
        self.overhead += 2
        self._in_chunk = False
        return True

    def _trailers(self, buffer: bytearray) -> bytes | None:
        """Read and drop the fields after the last chunk."""
        while (line := self._line(buffer)) is not None:
            self._trailer_bytes += len(line) + 2
            if self._trailer_bytes > _MOST_TRAILER_BYTES:
                raise HeadersTooLarge("The trailers are too large.")
            if line:
                name, colon, _ = line.partition(":")
                _check_name(name, colon)
            del buffer[: len(line) + 2]
            if not line:
                return None
        return b""

    def _line(self, buffer: bytearray) -> str | None:
        """The line that the buffer begins with, once it is whole."""
        end = buffer.find(b"\n", 0, _MOST_LINE_BYTES + 2)
        if end < 0:
            if len(buffer) > _MOST_LINE_BYTES + 1:
                raise BadRequest("A line of the chunked body is too long.")
            return None
        line = buffer[: end - 1] if end else b"\n"
        if buffer[end - 1 : end] != b"\r" or len(line.translate(None, _CONTROLS)) != len(line):
            raise BadRequest("A line of the chunked body holds a control character.")
        self.overhead += len(line) + 2
        return line.decode(errors="surrogateescape")


def _size(line: str) -> int:
    if _chunk_size.fullmatch(line):
        return int(line, 16)
    found = _chunk_line.fullmatch(line)
    if found is None:
        raise BadRequest("A chunk's size or extension is malformed.")
    return int(found[1], 16)
