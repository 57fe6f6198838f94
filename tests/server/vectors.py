"""Requests as bytes, and what becomes of each: what is answered, and whether the connection lives.

A piece is sent at once; a number between pieces is a pause in seconds, `END` closes the sending
side. `{key}` is replaced by an API key.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

OPEN, CLOSED = True, False
END = "end"
PROBE_ID = "edge-probe"
PROBE = f"GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: {PROBE_ID}\r\n\r\n".encode()
_SECONDS = 5.0

Piece = bytes | float | str


@dataclass(frozen=True)
class Vector:
    """`statuses` are those of all responses, interim ones included; none: closed without one."""

    name: str
    pieces: tuple[Piece, ...]
    statuses: tuple[int, ...]
    open: bool


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Outcome:
    responses: list[Response] = field(default_factory=list)
    open: bool = False
    failure: str = ""
    seconds: float = 0.0


def request(line: str, *headers: str, body: bytes = b"", host: str | None = "Host: a") -> bytes:
    lines = [line, *([host] if host is not None else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def get(*headers: str, target: str = "/livez", version: str = "1.1") -> bytes:
    return request(f"GET {target} HTTP/{version}", *headers)


def post(*headers: str, body: bytes = b"", target: str = "/v1/documents") -> bytes:
    return request(f"POST {target} HTTP/1.1", "Authorization: Bearer {key}", *headers, body=body)


def chunked(body: bytes, *headers: str) -> bytes:
    return post("Transfer-Encoding: chunked", *headers, body=body)


def _heads() -> Iterator[Vector]:
    """The request line and the fields."""

    def refused(name: str, data: bytes, status: int = 400) -> Vector:
        return Vector(name, (data,), (status,), CLOSED)

    def answered(name: str, data: bytes, status: int = 200) -> Vector:
        return Vector(name, (data,), (status,), OPEN)

    yield answered("a plain request", get())
    yield Vector("two requests at once", (get() + get(),), (200, 200), OPEN)
    yield Vector(
        "a request in pieces", (get()[:9], 0.05, get()[9:30], 0.05, get()[30:]), (200,), OPEN
    )
    yield Vector("a request byte by byte", tuple(bytes([b]) for b in get()), (200,), OPEN)
    yield Vector(
        "half a head, then the end", (b"GET /livez HTTP/1.1\r\nHost: a", END), (400,), CLOSED
    )
    yield Vector("half a line, then the end", (b"GET", END), (400,), CLOSED)
    yield Vector("nothing, then the end", (END,), (), CLOSED)
    yield Vector("a request, then the end", (get(), END), (200,), CLOSED)

    # --- empty lines before a request (RFC 9112, 2.2)
    yield answered("a leading CRLF", b"\r\n" + get())
    yield answered("two leading CRLFs", b"\r\n\r\n" + get())
    yield Vector("a leading CRLF of its own", (b"\r\n", 0.05, get()), (200,), OPEN)
    yield Vector("a leading CRLF in two pieces", (b"\r", 0.05, b"\n" + get()), (200,), OPEN)
    yield Vector("a CRLF between requests", (get() + b"\r\n" + get(),), (200, 200), OPEN)
    yield Vector("a CRLF alone, then the end", (b"\r\n", END), (), CLOSED)
    yield refused("leading CRLFs without end", b"\r\n" * 50 + get())
    yield refused("a leading LF", b"\n" + get())
    yield refused("a leading CR", b"\r" + get())
    yield refused("a leading space", b" " + get())

    # --- the request line
    for name, line in {
        "no version": "GET /livez",
        "nothing but a method": "GET",
        "an unknown version": "GET /livez HTTP/9.9",
        "HTTP/2.0": "GET /livez HTTP/2.0",
        "HTTP/0.9 in words": "GET /livez HTTP/0.9",
        "a version in lower case": "GET /livez http/1.1",
        "a version with a blank": "GET /livez HTTP /1.1",
        "a version of two digits": "GET /livez HTTP/1.10",
        "a version without a dot": "GET /livez HTTP/11",
        "another protocol": "GET /livez ICY/1.1",
        "two blanks before the target": "GET  /livez HTTP/1.1",
        "two blanks before the version": "GET /livez  HTTP/1.1",
        "a blank after the version": "GET /livez HTTP/1.1 ",
        "a tab for a blank": "GET\t/livez HTTP/1.1",
        "a blank in the target": "GET /li vez HTTP/1.1",
        "no method": " /livez HTTP/1.1",
        "a method with a colon": "GE:T /livez HTTP/1.1",
        "a method with a bracket": "GET( /livez HTTP/1.1",
        "a method of other bytes": "\xff\xfe /livez HTTP/1.1",
        "a method with an accent": "G\xc9T /livez HTTP/1.1",
        "a method with a NUL": "G\0ET /livez HTTP/1.1",
        "a target with a NUL": "GET /livez\0 HTTP/1.1",
        "a target with a DEL": "GET /livez\x7f HTTP/1.1",
        "a target with a CR": "GET /livez\r HTTP/1.1",
        "a target with an LF": "GET /li\nvez HTTP/1.1",
        "a target with other bytes": "GET /\xff HTTP/1.1",
        "a target with a fragment": "GET /livez#top HTTP/1.1",
        "a fragment after a query": "GET /livez?a#top HTTP/1.1",
        "no target": "GET  HTTP/1.1",
        "a target without a slash": "GET livez HTTP/1.1",
        "a target of a query alone": "GET ?a=b HTTP/1.1",
        "an authority as a target": "GET a:80 HTTP/1.1",
        "CONNECT without a port": "CONNECT a HTTP/1.1",
        "CONNECT to a path": "CONNECT /livez#a HTTP/1.1",
        "an address of another scheme": "GET ftp://a/livez HTTP/1.1",
        "an address without an authority": "GET http:///livez HTTP/1.1",
        "an address with user and password": "GET http://u:p@a/livez HTTP/1.1",
        "an address with a bad port": "GET http://a:x/livez HTTP/1.1",
        "an address with a backslash": "GET http://a\\b/livez HTTP/1.1",
        "an address with a fragment": "GET http://a/livez#top HTTP/1.1",
    }.items():
        yield refused(name, request(line))
    for name, line, status in [
        ("an absolute target", "GET http://a/livez HTTP/1.1", 200),
        ("an absolute target with a port", "GET http://a:8000/livez HTTP/1.1", 200),
        ("an absolute target over https", "GET https://a/livez HTTP/1.1", 200),
        ("an absolute target in capitals", "GET HTTP://A/livez HTTP/1.1", 200),
        ("an absolute target of IPv6", "GET http://[::1]:80/livez HTTP/1.1", 200),
        ("an absolute target with a query", "GET http://a/livez?b=c HTTP/1.1", 200),
        ("an absolute target without a path", "GET http://evil HTTP/1.1", 404),
        ("an absolute target of a query alone", "GET http://evil?a=b HTTP/1.1", 404),
        ("a path with two slashes", "GET //a/livez HTTP/1.1", 404),
        ("an asterisk for GET", "GET * HTTP/1.1", 404),
        ("an unknown path", "GET /nothing HTTP/1.1", 404),
        ("a path that is not UTF-8", "GET /%ff HTTP/1.1", 404),
        ("an unknown method", "BREW /livez HTTP/1.1", 405),
        ("a method in lower case", "get /livez HTTP/1.1", 405),
        ("a method of odd characters", "!#$%&'*+.^_`|~ /livez HTTP/1.1", 405),
        ("CONNECT", "CONNECT a:80 HTTP/1.1", 405),
        ("TRACE", "TRACE /livez HTTP/1.1", 405),
    ]:
        yield answered(name, request(line), status)
    yield answered("a target of 15,000 bytes", get(target="/" + "x" * 15_000), 404)
    yield refused("a target of 20,000 bytes", get(target="/" + "x" * 20_000), 431)
    yield refused("a method of 20,000 bytes", request("X" * 20_000 + " / HTTP/1.1"), 431)
    yield refused("20,000 bytes without a line", b"x" * 20_000, 431)

    # --- OPTIONS and HEAD
    for path in ("/livez", "/v1/documents", "/v1/documents/x", "/v1/documents/x/restore", "*"):
        yield answered(f"OPTIONS {path}", request(f"OPTIONS {path} HTTP/1.1"), 204)
    yield answered("OPTIONS of an authority", request("OPTIONS http://a HTTP/1.1"), 204)
    yield answered("OPTIONS of an unknown path", request("OPTIONS /nothing HTTP/1.1"), 404)
    for path in ("/livez", "/readyz", "/openapi.json", "/docs", "/problems", "/metrics"):
        yield answered(f"HEAD {path}", request(f"HEAD {path} HTTP/1.1"))
    authorized = "Authorization: Bearer {key}"
    for path in ("/v1/documents", "/v1/limits"):
        yield answered(f"HEAD {path}", request(f"HEAD {path} HTTP/1.1", authorized))
        yield answered(f"HEAD {path} without a key", request(f"HEAD {path} HTTP/1.1"), 401)
    yield answered("HEAD of an unknown path", request("HEAD /nothing HTTP/1.1"), 404)
    yield refused("HEAD without Host", request("HEAD /livez HTTP/1.1", host=None))
    yield refused(
        "HEAD with a refused body",
        request("HEAD /nothing HTTP/1.1", "Content-Length: 100000", body=bytes(70_000)),
        404,
    )

    # --- Host (RFC 9112, 3.2)
    for name, host in {
        "no Host": None,
        "two Hosts": "Host: a\r\nHost: b",
        "the same Host twice": "Host: a\r\nHost: a",
        "an empty Host": "Host:",
        "a Host with a blank": "Host: a b",
        "a Host with a path": "Host: a/b",
        "a Host with a user": "Host: u@a",
        "a Host with a comma and a blank": "Host: a, b",
        "a Host with a bad port": "Host: a:b",
        "a Host with a port too high": "Host: a:65536",
        "a Host with two ports": "Host: a:1:2",
        "a Host with half an address": "Host: [::1",
        "a Host with other bytes": "Host: \xe4",
        "a Host with a bad escape": "Host: a%zz",
        "a Host that is an address": "Host: http://a/",
        "a Host with a question mark": "Host: a?b",
        "a Host with quotes": 'Host: "a"',
        "a Host with a backslash": "Host: a\\b",
        "a Host of a port alone": "Host: :80",
    }.items():
        yield refused(name, request("GET /livez HTTP/1.1", host=host))
        if host is not None:
            absolute = request("GET http://a/livez HTTP/1.1", host=host)
            yield refused(f"{name} beside an absolute target", absolute)
    for host in (
        "a:80",
        "a:",
        "127.0.0.1:8000",
        "[::1]:8000",
        "a_b.example",
        "A.EXAMPLE.",
        "a%20b",
    ):
        yield answered(f"Host: {host}", request("GET /livez HTTP/1.1", host=f"Host: {host}"))
    yield answered("another Host than the target's", request("GET http://b/livez HTTP/1.1"))
    yield answered("a host in another case", request("GET /livez HTTP/1.1", host="hOST: \t a \t"))

    # --- fields (RFC 9112, 5)
    for name, lines in {
        "a name with a blank": "Content-Length : 3",
        "a name with a tab": "A\t: b",
        "a name that is empty": ": b",
        "a name of a blank": " : b",
        "a line without a colon": "nothing",
        "a name with a bracket": "A(b): c",
        "a name with other bytes": "A\xe4: b",
        "a name with the Kelvin sign": "\xe2\x84\xaaeep-Alive: b",
        "a name with a NUL": "A\0b: c",
        "a folded value": "A: b\r\n c",
        "a value folded by a tab": "A: b\r\n\tc",
        "a first field that is folded": " A: b",
        "a value with a NUL": "A: b\0c",
        "a value with a CR": "A: b\rc",
        "a value with an LF": "A: b\nc",
        "a value with an LF and a field": "A: b\nTransfer-Encoding: chunked",
        "a value that ends in a CR": "A: b\r",
        "a value with an escape character": "A: b\x1bc",
        "a value with a DEL": "A: b\x7fc",
    }.items():
        yield refused(name, get(lines))
    yield refused("a folded value of Host", request("GET /livez HTTP/1.1", host="Host: a\r\n b"))
    yield refused("lines that end in LF", get().replace(b"\r\n", b"\n"))
    yield refused("a last line that ends in LF", get()[:-2] + b"\n")
    yield refused("a TLS hello", bytes.fromhex("1603010200010001fc0303") + bytes(100))
    for name, lines in {
        "a value that is empty": "A:",
        "a value with tabs": "A: \tb\tc\t",
        "a value with other bytes": "A: b\xff\xe4",
        "a name of odd characters": "!#$%&'*+.^_`|~-09: b",
        "a hundred fields": "\r\n".join(f"A{n}: b" for n in range(100)),
        "a field twice": "A: b\r\nA: c",
    }.items():
        yield answered(name, get(lines))
    yield refused("fields of 20,000 bytes", get("A: " + "x" * 20_000), 431)
    yield refused("4,000 fields", get(*["A: b"] * 4000), 431)

    # --- Connection (RFC 9112, 9.3) and HTTP/1.0
    for lines in ("close", "CLOSE", "keep-alive, close", "x,close ,y", "x\r\nConnection: close"):
        yield Vector(f"Connection: {lines!r}", (get(f"Connection: {lines}"),), (200,), CLOSED)
    for lines in ("keep-alive", "Keep-Alive", "upgrade", "x, y", "closed", "", ", ,"):
        yield answered(f"Connection: {lines!r}", get(f"Connection: {lines}"))
    yield answered("an upgrade that is not taken", get("Connection: upgrade", "Upgrade: h2c"))
    old = request("GET /livez HTTP/1.0", host=None)
    yield Vector("HTTP/1.0", (old,), (200,), CLOSED)
    yield Vector("HTTP/1.0 with Host", (get(version="1.0"),), (200,), CLOSED)
    yield answered("HTTP/1.0 that stays", get("Connection: Keep-Alive", version="1.0"))
    yield Vector(
        "HTTP/1.0 that stays and goes",
        (get("Connection: keep-alive", "Connection: close", version="1.0"),),
        (200,),
        CLOSED,
    )
    yield refused("HTTP/1.0 with two Hosts", get("Host: b", version="1.0"))
    yield refused("HTTP/1.0 with a bad Host", request("GET / HTTP/1.0", host="Host: a b"))


def _bodies() -> Iterator[Vector]:
    """Content-Length, Transfer-Encoding, chunks, Expect, early responses."""

    def refused(name: str, data: bytes, status: int = 400) -> Vector:
        return Vector(name, (data,), (status,), CLOSED)

    def stored(name: str, data: bytes) -> Vector:
        return Vector(name, (data,), (201,), OPEN)

    # --- lengths and codings (RFC 9112, 6)
    for value in (
        "x",
        "-1",
        "+3",
        "3.0",
        "0x3",
        "3 3",
        "3,3",
        "3, 3",
        "3;",
        "\xb2",
        "3_0",
        "",
        "1e1",
    ):
        yield refused(f"Content-Length: {value!r}", post(f"Content-Length: {value}", body=b"abc"))
    yield refused("Content-Length in Arabic digits", post("Content-Length: \xd9\xa3", body=b"abc"))
    yield refused("two lengths", post("Content-Length: 3", "Content-Length: 4", body=b"abcd"))
    yield refused("a length twice", post("Content-Length: 3", "Content-Length: 3", body=b"abc"))
    both = ("Content-Length: 3", "Transfer-Encoding: chunked")
    end = b"0\r\n\r\n"
    yield refused("a length and a coding", post(*both, body=end))
    yield refused("a coding and a length", post(*both[::-1], body=end))
    for value in (
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "xchunked",
        "",
        "identity",
        "chunked;a=b",
        "\x0bchunked",
        '"chunked"',
        ", chunked",
    ):
        yield refused(
            f"Transfer-Encoding: {value!r}", post(f"Transfer-Encoding: {value}", body=end)
        )
    yield refused(
        "two codings", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=end)
    )
    yield refused(
        "a coding in HTTP/1.0",
        request("GET /livez HTTP/1.0", "Transfer-Encoding: chunked", body=end),
    )
    yield stored("a body of known length", post("Content-Length: 3", body=b"abc"))
    yield stored("a length with zeros", post("Content-Length: 0003", body=b"abc"))
    yield stored("no length", post())
    yield stored("a length of nothing", post("Content-Length: 0"))
    yield Vector("a GET with a length of nothing", (get("Content-Length: 0"),), (200,), OPEN)
    yield Vector("a GET with a body", (get("Content-Length: 3") + b"abc",), (200,), OPEN)
    yield Vector("a GET with no chunks", (get("Transfer-Encoding: chunked") + end,), (200,), OPEN)
    yield Vector("a body cut short", (post("Content-Length: 9", body=b"abc"), END), (400,), CLOSED)

    # --- chunks (RFC 9112, 7.1)
    yield stored("no chunks", chunked(b"0\r\n\r\n"))
    yield stored("chunks", chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
    yield stored(
        "a coding in capitals", post("tRANSFER-eNCODING: CHUNKED", body=b"1\r\na\r\n" + end)
    )
    yield stored("a size in capitals", chunked(b"A\r\n0123456789\r\n" + end))
    yield stored("a size with zeros", chunked(b"0000000000000003\r\nabc\r\n000\r\n\r\n"))
    yield Vector(
        "chunks byte by byte",
        (chunked(b""), *(bytes([b]) for b in b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n")),
        (201,),
        OPEN,
    )
    for extension in (
        b";a",
        b";a=b",
        b" ; a = b",
        b"\t;\ta",
        b';a="b"',
        b';a="\\"b;c"',
        b";a=b;c=d",
        b";a=" + b"x" * 4000,
    ):
        yield stored(
            f"an extension {extension[:20]!r}",
            chunked(b"3%b\r\nabc\r\n0%b\r\n\r\n" % (extension, extension)),
        )
    yield stored("a trailer", chunked(b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"))
    yield stored("two trailers", chunked(b"3\r\nabc\r\n0\r\nA: b\r\nExpires: c\r\n\r\n"))
    yield stored(
        "a trailer that would frame", chunked(b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n")
    )
    for size in (
        b"0x3",
        b" 3",
        b"\n3",
        b"3 ",
        b"+3",
        b"-3",
        b"3_0",
        b"",
        b"g",
        b"3.0",
        b"\xd9\xa3",
        b"\t3",
        b"\0",
        b"3\0",
        b"\r3",
        b"0" * 17,
        b"F" * 17,
        b"3\r",
        b"3h",
    ):
        yield refused(f"a chunk size {size!r}", chunked(b"%b\r\nabc\r\n0\r\n\r\n" % size))
    yield refused("a chunk beyond any limit", chunked(b"F" * 16 + b"\r\nabc"), 201)
    for extension in (
        b";",
        b";=b",
        b";a=",
        b";a b",
        b';a="b',
        b';a=b"',
        b";a=b ",
        b";a\0",
        b";a\nb",
        b";a\rb",
        b";\xe4",
        b"; ",
        b";a=b=c",
        b",a",
        b';a="b c"',
        b";a\x7f",
        b" a",
        b";a=" + b"x" * 5000,
    ):
        yield refused(
            f"a bad extension {extension[:20]!r}", chunked(b"3%b\r\nabc\r\n0\r\n\r\n" % extension)
        )
        yield refused(
            f"a bad last extension {extension[:20]!r}", chunked(b"0%b\r\n\r\n" % extension)
        )
    yield refused("a chunk that goes on", chunked(b"3\r\nabcX\r\n0\r\n\r\n"))
    yield refused("a chunk that ends at once", chunked(b"3\r\nabc0\r\n\r\n"))
    yield refused("a chunk that ends in LF", chunked(b"3\r\nabc\n0\r\n\r\n"))
    yield refused("a chunk that ends in CR", chunked(b"3\r\nabc\r0\r\n\r\n"))
    yield refused("a size that ends in LF", chunked(b"3\nabc\r\n0\r\n\r\n"))
    yield refused("a size without end", chunked(b"3" * 5000))
    yield refused("a last chunk that ends in LF", chunked(b"0\n\r\n"))
    yield refused("trailers that end in LF", chunked(b"0\r\n\n"))
    yield refused("a request in the trailers", chunked(b"0\r\n" + get()))
    yield refused("a trailer with a bad name", chunked(b"0\r\nA : b\r\n\r\n"))
    yield refused("a trailer with a NUL", chunked(b"0\r\nA: \0\r\n\r\n"))
    yield refused("a folded trailer", chunked(b"0\r\nA: b\r\n c\r\n\r\n"))
    yield refused("a trailer without end", chunked(b"0\r\nA: " + b"x" * 5000))
    yield refused("trailers without end", chunked(b"0\r\n" + b"A: b\r\n" * 4000), 431)
    yield Vector("chunks cut short", (chunked(b"3\r\nab"), END), (400,), CLOSED)
    yield Vector("chunks without an end", (chunked(b"3\r\nabc\r\n"), END), (400,), CLOSED)

    # --- Expect (RFC 9110, 10.1.1)
    expect = "Expect: 100-continue"
    yield Vector("Expect", (post(expect, "Content-Length: 3"), 0.2, b"abc"), (100, 201), OPEN)
    yield Vector(
        "Expect in capitals",
        (post("EXPECT: 100-CONTINUE", "Content-Length: 3"), 0.2, b"abc"),
        (100, 201),
        OPEN,
    )
    yield Vector(
        "Expect with chunks", (chunked(b"", expect), 0.2, b"1\r\na\r\n" + end), (100, 201), OPEN
    )
    yield Vector("Expect without a body", (get(expect),), (200,), OPEN)
    yield Vector(
        "Expect in HTTP/1.0",
        (request("GET /livez HTTP/1.0", expect, "Content-Length: 1", body=b"a"),),
        (200,),
        CLOSED,
    )
    for lines in ("100", "200-ok", "100-continue, x", "100-continue\r\nExpect: x"):
        yield refused(f"Expect: {lines!r}", post(f"Expect: {lines}", "Content-Length: 3"), 417)
    length = "Content-Length: 3"
    early = {
        "an unknown path": ("POST /nothing HTTP/1.1", 404),
        "another method": ("DELETE /v1/documents HTTP/1.1", 405),
        "no key": ("POST /v1/documents HTTP/1.1", 401),
        "a read": ("GET /livez HTTP/1.1", 200),
        "OPTIONS": ("OPTIONS /livez HTTP/1.1", 204),
    }
    for name, (line, status) in early.items():
        yield refused(f"{name}: Expect", request(line, length, expect), status)
        yield refused(
            f"{name}: Expect, and the body at once",
            request(line, length, expect, body=b"abc"),
            status,
        )
        yield refused(f"{name}: a withheld body", request(line, length), status)
        yield refused(f"{name}: half a body", request(line, length, body=b"ab"), status)
        yield refused(
            f"{name}: withheld chunks", request(line, "Transfer-Encoding: chunked"), status
        )
        yield refused(
            f"{name}: half of its chunks",
            request(line, "Transfer-Encoding: chunked", body=b"1\r\na\r\n"),
            status,
        )
        yield refused(
            f"{name}: bad chunks",
            request(line, "Transfer-Encoding: chunked", body=b"0x1\r\na\r\n" + end),
            status,
        )
        yield Vector(
            f"{name}: a body that is here", (request(line, length, body=b"abc"),), (status,), OPEN
        )
        yield Vector(
            f"{name}: chunks that are here",
            (request(line, "Transfer-Encoding: chunked", body=b"1\r\na\r\n" + end),),
            (status,),
            OPEN,
        )
    large = bytes(3 * 1024 * 1024)
    large_length = f"Content-Length: {len(large)}"
    yield refused(
        "a large body to an unknown path", post(large_length, body=large, target="/nothing"), 404
    )
    yield refused(
        "a large body with a bad tag", post(large_length, "Document-Tags: a,,", body=large), 400
    )
    yield refused(
        "a large body without a key",
        request("POST /v1/documents HTTP/1.1", large_length, body=large),
        401,
    )
    yield refused("a body beyond any limit", post(f"Content-Length: {'9' * 20}", body=large), 413)
    smuggled = get("X-Request-Id: smuggled")
    yield refused(
        "a body that looks like a request",
        request("POST /nothing HTTP/1.1", f"Content-Length: {len(smuggled) + 9}", body=smuggled),
        404,
    )


def _by_name() -> dict[str, Vector]:
    found = [*_heads(), *_bodies()]
    named = {vector.name: vector for vector in found}
    assert len(named) == len(found), "two vectors have one name"
    # The size says more than any client may send: the limit decides, once so much has come.
    beyond = "a chunk beyond any limit"
    named[beyond] = Vector(beyond, (*named[beyond].pieces, END), (400,), CLOSED)
    return named


VECTORS = _by_name()


class Reader:
    """Reads responses off a socket, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.ended = False

    def _more(self) -> bool:
        part = self._connection.recv(1 << 16)
        self._buffer += part
        self.ended = not part
        return bool(part)

    def response(self, *, to_head: bool = False) -> Response | None:
        """The next one; None if the connection ends first."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 ([0-9]{3}) [ -~]*", line)
        assert match, line
        headers = dict(self._field(line) for line in lines)
        assert len(headers) == len(lines), lines
        status = int(match[1])
        if to_head or status < 200 or status in (204, 304):
            return Response(status, headers, b"")
        length = int(headers["content-length"])
        while len(self._buffer) < length:
            assert self._more(), "the response was cut short"
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Response(status, headers, body)

    def _field(self, line: str) -> tuple[str, str]:
        name, _, value = line.partition(": ")
        return name.lower(), value


def run(vector: Vector, port: int, key: str) -> Outcome:
    """What the service at that port makes of it."""
    outcome = Outcome()
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(connection)
        try:
            _converse(vector, connection, reader, outcome, key)
        except ConnectionError:
            # Whoever asked for the end, and goes on sending all the same, may be reset.
            if len(outcome.responses) < len(vector.statuses):
                outcome.failure = "reset before the response was read"
        except (TimeoutError, AssertionError) as error:
            outcome.failure = f"{error}"
    outcome.seconds = time.monotonic() - started
    return outcome


def _converse(
    vector: Vector, connection: socket.socket, reader: Reader, outcome: Outcome, key: str
) -> None:
    to_head = any(isinstance(p, bytes) and p.startswith(b"HEAD ") for p in vector.pieces)
    for piece in vector.pieces:
        if isinstance(piece, float):
            time.sleep(piece)
        elif isinstance(piece, bytes):
            connection.sendall(piece.replace(b"{key}", key.encode()))
        else:
            connection.shutdown(socket.SHUT_WR)
    for _ in vector.statuses:
        if (response := reader.response(to_head=to_head)) is None:
            return
        outcome.responses.append(response)
    # If it lives it answers this next, and nothing else before.
    with contextlib.suppress(OSError):
        connection.sendall(PROBE)
    while (response := reader.response()) is not None:
        if response.headers.get("x-request-id") == PROBE_ID:
            outcome.open = True
            return
        outcome.responses.append(response)
