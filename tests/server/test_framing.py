"""Heads and chunks taken apart; what becomes of each on a connection is in `tests/server`."""

from __future__ import annotations

import pytest

from app.problems import BadRequest, HeadersTooLarge
from app.server.framing import Chunks, Head, parse_head


def parsed(line: str, *fields: str) -> Head:
    return parse_head("\r\n".join([line, *fields]).encode())


def test_names_are_put_in_lower_case_and_values_trimmed() -> None:
    head = parsed("GET /a?b HTTP/1.1", "HOST: a", "X-Y:\t b c \t")
    assert (head.method, head.target, head.version) == ("GET", "/a?b", "1.1")
    assert head.headers == [("host", "a"), ("x-y", "b c")]
    fields = head.fields
    assert (fields.length, fields.keep_alive, fields.expects_continue) == (0, True, False)


@pytest.mark.parametrize(
    ("method", "target", "path", "host"),
    [
        ("GET", "http://b/c?d", "/c?d", "b"),
        ("GET", "HTTPS://B:1", "/", "B:1"),
        ("GET", "http://b?c", "/?c", "b"),
        ("OPTIONS", "http://b", "*", "b"),
        ("OPTIONS", "http://b/", "/", "b"),
        ("CONNECT", "b:1", "*", "b:1"),
    ],
)
def test_the_authority_of_the_target_counts(method: str, target: str, path: str, host: str) -> None:
    """RFC 9112, 3.2.2."""
    head = parsed(f"{method} {target} HTTP/1.1", "Host: a", "X: y")
    assert head.target == path
    assert [value for name, value in head.headers if name == "host"] == [host]
    assert ("x", "y") in head.headers


def test_a_name_is_judged_before_it_is_put_in_lower_case() -> None:
    """The Kelvin sign's lower case is a k, so `Keep-Alive` could be spelled with it."""
    with pytest.raises(BadRequest):
        parsed("GET / HTTP/1.1", "Host: a", "\u212aeep-Alive: 1")


@pytest.mark.parametrize(
    ("version", "fields", "stays"),
    [
        ("1.1", (), True),
        ("1.1", ("Connection: x", "Connection: Close"), False),
        ("1.1", ("Connection: keep-alive, close",), False),
        ("1.0", (), False),
        ("1.0", ("Connection: x, Keep-Alive",), True),
        ("1.0", ("Connection: keep-alive", "Connection: close"), False),
    ],
)
def test_several_connection_lines_are_one_list(
    version: str, fields: tuple[str, ...], stays: bool
) -> None:
    assert parsed(f"GET / HTTP/{version}", "Host: a", *fields).fields.keep_alive == stays


def taken(data: bytes, step: int) -> tuple[list[bytes], bytes, Chunks]:
    """The pieces of data, what is left behind the body, and the reader; `step` bytes at a time."""
    chunks, buffer, found = Chunks(), bytearray(), []
    for start in range(0, len(data), step):
        buffer += data[start : start + step]
        while piece := chunks.take(buffer):
            found.append(piece)
        if piece is None:
            return found, bytes(buffer) + data[start + step :], chunks
    raise AssertionError("the body did not end")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_chunks_are_taken_whole_however_they_come(step: int) -> None:
    body = b'3\r\nabc\r\n0A ; x = "y;z"\r\n0123456789\r\n000;q\r\nA: b\r\nC:\r\n\r\n'
    pieces, rest, chunks = taken(body + b"GET /", step)
    assert b"".join(pieces) == b"abc0123456789"
    assert rest == b"GET /"
    assert chunks.overhead == len(body) - 13  # all that is no data is no progress


def test_a_bad_chunk_stays_bad() -> None:
    chunks, buffer = Chunks(), bytearray(b"0x3\r\nabc\r\n0\r\n\r\n")
    for _ in range(3):
        with pytest.raises(BadRequest):
            chunks.take(buffer)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"3;" + b"a" * 4096, BadRequest),
        (b"0\r\nA: " + b"a" * 4095, BadRequest),
        (b"0\r\n" + b"A: b\r\n" * 3000, HeadersTooLarge),
    ],
)
def test_lines_and_trailers_are_bounded(data: bytes, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        Chunks().take(bytearray(data))


def test_fields_that_come_again_are_not_parsed_again() -> None:
    first = parse_head(b"GET /a HTTP/1.1\r\nHost: a\r\nX: 1").fields
    again = parse_head(b"GET /b HTTP/1.1\r\nHost: a\r\nX: 1", first)
    assert again.fields is first
    assert again.target == "/b"
    other = parse_head(b"GET /b HTTP/1.1\r\nHost: a\r\nX: 2", first)
    assert other.headers == [("host", "a"), ("x", "2")]


def test_the_same_fields_mean_something_else_in_another_version() -> None:
    first = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked").fields
    with pytest.raises(BadRequest, match=r"HTTP/1\.0"):
        parse_head(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", first)


@pytest.mark.parametrize("line", ["GET /\n HTTP/1.1", "GET /\0 HTTP/1.1", "G\rET / HTTP/1.1"])
def test_the_line_is_checked_though_the_fields_are_known(line: str) -> None:
    first = parse_head(b"GET / HTTP/1.1\r\nHost: a").fields
    with pytest.raises(BadRequest):
        parse_head(f"{line}\r\nHost: a".encode(), first)


def test_an_authority_in_the_target_leaves_what_is_remembered_alone() -> None:
    first = parse_head(b"GET / HTTP/1.1\r\nHost: a").fields
    assert parse_head(b"GET http://b/ HTTP/1.1\r\nHost: a", first).headers == [("host", "b")]
    assert parse_head(b"GET / HTTP/1.1\r\nHost: a", first).headers == [("host", "a")]
