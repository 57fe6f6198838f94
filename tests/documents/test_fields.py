"""What clients declare in headers is understood as its RFC says, or refused with `BadHeader`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.message import Message
from typing import Any
from urllib.parse import quote, unquote

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.clock import format_timestamp, timestamp
from app.documents import fields
from app.idempotency.fields import idempotency_key
from app.problems import BadHeader, InvalidDocument
from app.web.headers import single

_ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_FORBIDDEN = [
    *("\x00", "\t", "\n", "\r", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f"),
    *("\u202a", "\u202e", "\u2066", "\u2069", "\u2028", "\ud800", "\udfff"),
]
_DIRECTIONS = "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Names as people give them: no control, no direction override, and no path.
_NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\" + _DIRECTIONS),
    min_size=1,
    max_size=20,
).filter(lambda name: name.strip() not in ("", ".", ".."))


def _expected(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


# --- one value ------------------------------------------------------------------------------


class _Lines:
    """Header lines, as Sanic's multidict offers them."""

    def __init__(self, *lines: tuple[str, str]) -> None:
        self._lines = lines

    def getall(self, key: str, default: Any = None) -> Any:
        return [value for name, value in self._lines if name == key] or default


def test_the_one_value_is_trimmed() -> None:
    assert single(_Lines(("a", " \tx y\t ")), "a") == "x y"
    assert single(_Lines(("a", "naïve 😀")), "a") == "naïve 😀"
    assert single(_Lines(("a", "")), "a") == ""
    assert single(_Lines(("b", "x")), "a") is None


@pytest.mark.parametrize("lines", [("x", "y"), ("x", "x"), ("", "")])
def test_a_header_given_twice_is_refused(lines: tuple[str, str]) -> None:
    with pytest.raises(BadHeader, match="a is given more than once"):
        single(_Lines(*(("a", line) for line in lines)), "a")


@pytest.mark.parametrize("raw", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_bytes_that_are_no_utf8_are_refused(raw: bytes) -> None:
    with pytest.raises(BadHeader, match="a is not UTF-8"):
        single(_Lines(("a", raw.decode("utf-8", "surrogateescape"))), "a")


@pytest.mark.parametrize("control", ["\x00", "\n", "\r", "\x0b", "\x1f", "\x7f", "\x80", "\x9f"])
def test_a_control_character_is_refused_wherever_it_stands(control: str) -> None:
    for value in (control, control + "x", "x" + control, f"x{control}y"):
        with pytest.raises(BadHeader, match="control character"):
            single(_Lines(("a", value)), "a")


# --- media types ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", " \t"])
def test_without_a_media_type_it_is_bytes(value: str | None) -> None:
    assert fields.content_type(value) == "application/octet-stream"


@pytest.mark.parametrize(
    "value",
    [
        "text/plain",
        "TEXT/Plain; charset=UTF-8",
        "text/plain;charset=utf-8",
        'multipart/mixed; boundary="a;b\\"c"; x=y',
        "application/vnd.oasis.opendocument.text",
        "image/svg+xml",
        "*/*",
        "text/plain;",
        "text/plain ; ; a=b ;",
        "a/" + "b" * 253,
    ],
)
def test_a_media_type_is_kept_as_it_is(value: str) -> None:
    assert fields.content_type(value) == value
    assert fields.content_type(f" {value}\t") == value.strip(" \t")


@pytest.mark.parametrize(
    "value",
    [
        *("text", "text/", "/plain", "text/plain/x", "text plain", "text /plain", "te xt/plain"),
        *("text/plain, text/html", "text/plain; charset", "text/plain; =x", "text/plain; a=b c"),
        *('text/plain; a="b', 'text/plain; a="b"c', "text/plain; a = b", "text/plain\x00"),
        *("text/plain\n", "text/plain;\r\n a=b", "text/plaïn", 'text/plain; a="ï"', "text/\ud800"),
        "a/" + "b" * 254,
    ],
)
def test_what_is_no_media_type_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="Content-Type"):
        fields.content_type(value)


# --- file names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "untitled"),
        ("", "untitled"),
        ("attachment", "untitled"),
        ("attachment;", "untitled"),
        ('form-data; name="file"', "untitled"),
        ("attachment; filename=a.pdf", "a.pdf"),
        ("filename=a.pdf", "a.pdf"),
        ('filename="a b.pdf"', "a b.pdf"),
        ('attachment; filename="a;b, c=d.pdf"', "a;b, c=d.pdf"),
        ('ATTACHMENT ;FileName = "a.pdf" ; ', "a.pdf"),
        ('attachment; filename="a\\"b.pdf"', 'a"b.pdf'),
        ('attachment; filename="a.pdf"; x="b"', "a.pdf"),
        ('attachment; filename="naïve 😀.txt"', "naïve 😀.txt"),
        ('attachment; filename="100%.txt"', "100%.txt"),
        ('attachment; filename="%41.txt"', "%41.txt"),
        ("attachment; filename*=UTF-8''na%C3%AFve%20%F0%9F%98%80.txt", "naïve 😀.txt"),
        ("attachment; filename*=utf-8'en'plain.txt", "plain.txt"),
        ("attachment; filename*=ISO-8859-1''%A3%20rates", "£ rates"),
        ("attachment; filename*=UTF-8''", "untitled"),
        ("attachment; filename=old.txt; filename*=UTF-8''new.txt", "new.txt"),
        ("attachment; filename*=UTF-8''new.txt; filename=old.txt", "new.txt"),
        ("attachment; filename*0=a; filename*1=b", "untitled"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\Users\\\\me\\\\a.txt"', "a.txt"),
        ("attachment; filename*=UTF-8''%2Fetc%2Fpasswd", "passwd"),
        ("attachment; filename*=UTF-8''a%5Cb%2Fc%5Cd", "d"),
        ('attachment; filename=""', "untitled"),
        ('attachment; filename="  "', "untitled"),
        ("attachment; filename=.", "untitled"),
        ("attachment; filename=..", "untitled"),
        ('attachment; filename="a/.."', "untitled"),
        ('attachment; filename="a/ . "', "untitled"),
        ('attachment; filename="a/"', "untitled"),
        ("attachment; filename=...", "..."),
        ("attachment; filename=.profile", ".profile"),
        ('attachment; filename=" a "', "a"),
        ('attachment; filename="e\u0301"', "\xe9"),
        (f'attachment; filename="{"d/" * 500}a"', "a"),
    ],
)
def test_the_file_name_is_the_last_segment_of_what_the_client_named(
    value: str | None, name: str
) -> None:
    assert fields.file_name(value) == name


@pytest.mark.parametrize(
    "value",
    [
        "attachment; filename=a b.pdf",
        "attachment filename=a",
        "attachment; filename",
        "attachment; filename=",
        "attachment; =a",
        'attachment; filename="a',
        'attachment; filename="a\\"',
        'attachment; filename="a"b',
        'attachment; filename="a"b"',
        "attachment; filename=a/b",
        "attachment; filename=naïve",
        "attachment, filename=a",
        "attachment; filename=a; filename=b",
        "attachment; filename=a; FILENAME=a",
        "attachment; filename*=UTF-8''a; filename*=UTF-8''b",
        "attachment; x=1; x=1",
        "attachment; filename*=a.txt",
        "attachment; filename*=UTF-8'a.txt",
        "attachment; filename*=''a.txt",
        "attachment; filename*=UTF-8''%zz",
        "attachment; filename*=UTF-8''%4",
        "attachment; filename*=UTF-8''%FF",
        "attachment; filename*=UTF-8''%C3",
        "attachment; filename*=UTF-8''%ED%A0%80",
        "attachment; filename*=UTF-16''a",
        "attachment; filename*=UTF-8''a'b",
        "attachment; filename=ok; filename*=UTF-8''%FF",
        'attachment\n; filename="a"',
    ],
)
def test_a_malformed_disposition_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="Content-Disposition"):
        fields.file_name(value)


@pytest.mark.parametrize("character", _FORBIDDEN)
@pytest.mark.parametrize("template", ["a{}b", "{}a", "a{}", "{}", "{}/a", "a/{}/b", "a\\{}"])
def test_a_forbidden_character_is_refused_even_in_what_is_cut_off(
    character: str, template: str
) -> None:
    name = template.format(character)
    with pytest.raises(InvalidDocument):
        fields.validate_name(name)
    quoted = name.replace("\\", "\\\\")
    with pytest.raises(BadHeader):
        fields.file_name(f'attachment; filename="{quoted}"')
    encoded = quote(name.encode("utf-8", "surrogatepass"), safe="")
    with pytest.raises(BadHeader):
        fields.file_name(f"attachment; filename*=UTF-8''{encoded}")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a" * 255, True),
        ("a" * 256, False),
        ("é" * 255, True),
        ("😀" * 255, True),  # 1,020 bytes
        ("😀" * 256, False),
        ("dir/" * 100 + "a" * 255, True),
        ("e\u0301" * 255, True),  # measured once composed
        ("\u0958" * 127, True),  # NFC writes these as two characters
        ("\u0958" * 128, False),
    ],
)
def test_a_name_has_at_most_255_characters(name: str, fits: bool) -> None:
    value = f'attachment; filename="{name}"'
    if fits:
        assert fields.file_name(value) == fields.validate_name(name)
        return
    with pytest.raises(BadHeader, match="255 characters and 1024 bytes"):
        fields.file_name(value)
    with pytest.raises(InvalidDocument, match="255 characters and 1024 bytes"):
        fields.validate_name(name)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "/", "a/", "a\\", "a/..", "a/ ", "\u00a0"])
def test_a_patch_must_name_something(name: str) -> None:
    with pytest.raises(InvalidDocument):
        fields.validate_name(name)


@given(_NAMES, st.sampled_from(["", "/", "a/b/", "\\\\host\\", "../"]))
def test_a_name_is_cut_and_composed_once(name: str, path: str) -> None:
    cleaned = fields.validate_name(path + name)
    assert cleaned == _expected(name)
    assert fields.validate_name(cleaned) == cleaned


@given(_NAMES)
def test_a_name_survives_either_spelling(name: str) -> None:
    expected = _expected(name)
    quoted = name.replace('"', '\\"')
    assert fields.file_name(f'attachment; filename="{quoted}"') == expected
    assert fields.file_name(f"attachment; filename*=UTF-8''{quote(name, safe='')}") == expected


@given(_NAMES, st.sampled_from(["attachment", "inline"]))
@example('a"b', "attachment")
@example("100%", "inline")
def test_what_we_announce_is_read_back_by_us_and_others(name: str, disposition: Any) -> None:
    name = fields.validate_name(name)
    value = fields.content_disposition(disposition, name)
    assert fields.file_name(value) == name
    plain, _, extended = value.partition("; filename*=UTF-8''")
    message = Message()
    message["Content-Disposition"] = plain
    assert message.get_content_disposition() == disposition
    assert (unquote(extended) or message.get_filename()) == name


@given(st.text(max_size=20))
@example('a\r\nSet-Cookie: x=y"; filename=b')
@example("\ud800")
def test_no_name_whatever_breaks_out_of_the_header(name: str) -> None:
    value = fields.content_disposition("attachment", name)
    assert value.isascii()
    assert value.isprintable()
    plain, _, extended = value.removeprefix('attachment; filename="').partition('"')
    assert "\\" not in plain
    assert extended == "" or extended.startswith("; filename*=UTF-8''")
    assert '"' not in extended
    assert ";" not in extended[1:]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a b.pdf", 'attachment; filename="a b.pdf"'),
        ("naïve.txt", "attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ('a"b\\c%', "attachment; filename=\"a_b_c_\"; filename*=UTF-8''a%22b%5Cc%25"),
        ("é'(1)*", "attachment; filename=\"_'(1)*\"; filename*=UTF-8''%C3%A9%27%281%29%2A"),
    ],
)
def test_the_extended_name_is_there_only_when_the_plain_one_differs(name: str, value: str) -> None:
    assert fields.content_disposition("attachment", name) == value


@pytest.mark.parametrize(
    ("media_type", "safe"),
    [
        ("image/png", True),
        ("IMAGE/JPEG", True),
        ("image/gif", True),
        ("image/webp", True),
        ("application/pdf", True),
        ("text/plain; charset=utf-8", True),
        ("text/plain ;x=y", True),
        ("text/html", False),
        ("image/svg+xml", False),
        ("application/xhtml+xml", False),
        ("text/xml", False),
        ("text/javascript", False),
        ("application/octet-stream", False),
        ("text/plainx", False),
        ("x-image/png", False),
        ("text/html; x=image/png", False),
        ("", False),
    ],
)
def test_only_types_that_run_nothing_are_shown_inline(media_type: str, safe: bool) -> None:
    assert fields.safe_inline(media_type) is safe


# --- digests --------------------------------------------------------------------------------

_DIGEST = hashlib.sha256(b"").digest()
_B64 = base64.b64encode(_DIGEST).decode()


@given(st.binary(min_size=32, max_size=32))
def test_a_sha256_is_read(digest: bytes) -> None:
    encoded = base64.b64encode(digest).decode()
    assert fields.content_digest(f"sha-256=:{encoded}:") == digest
    assert fields.content_digest(f"sha-256=:{encoded.rstrip('=')}:") == digest


@pytest.mark.parametrize(
    "value",
    [
        f" sha-256=:{_B64}: ",
        f"sha-512=:AAAA:, sha-256=:{_B64}:",
        f"sha-256=:{_B64}:\t,\tmd5=:AAAA:",
        f"md5=::,sha-256=:{_B64}:",
        f"unixsum=:not+base64:,sha-256=:{_B64}:",
        f'sha-256=:{_B64}:;a;b=1;c=-1.5; d="x, y;\\"z";e=?0;f=:AA==:;g=tok/en',
        f'sha-512=:AA==:; note="a,b", sha-256=:{_B64}:',
        f"sha-256=:AAAA:, sha-256=:{_B64}:",  # the last counts
    ],
)
def test_other_algorithms_and_parameters_are_passed_over(value: str) -> None:
    assert fields.content_digest(value) == _DIGEST


@pytest.mark.parametrize("value", ["sha-512=:AAAA:", "md5=:AAAA:, sha=:AAAA:", ""])
def test_a_digest_that_would_not_be_checked_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="no other algorithm is checked"):
        fields.content_digest(value)


@pytest.mark.parametrize(
    "value",
    [
        f"sha-256={_B64}",
        f"SHA-256=:{_B64}:",
        f"sha-256=:{_DIGEST.hex()}:",
        f"sha-256=:{_B64[:-4]}:",
        f"sha-256=:{_B64}AAAA:",
        f"sha-256=:{_B64}=:",
        f"sha-256=:{_B64[:20]}={_B64[20:]}:",
        f"sha-256=:{_B64.replace('/', '_').replace('+', '-')[:-2]}-=:",
        f"sha-256=: {_B64}:",
        f"sha-256=:{_B64}",
        f"sha-256 =:{_B64}:",
        f"sha-256=:{_B64}:,",
        f"sha-256=:{_B64}: , ",
        f",sha-256=:{_B64}:",
        f"sha-256=:{_B64}: sha-512=:AAAA:",
        f"sha-256=:{_B64}:;",
        f"sha-256=:{_B64}:;A=1",
        f"sha-256=:{_B64}: ;a=1",
        f"sha-256=:{_B64}:;a=",
        f"sha-256=:{_B64}:;a=é",
        f"sha-256=:{_B64}:, sha-256=:AAAA:",
        f"sha-256=:{_B64}:, sha-512=AAAA",
        "sha-256=::",
        "sha-256",
        ",",
        "=:AAAA:",
    ],
)
def test_a_malformed_digest_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="Content-Digest"):
        fields.content_digest(value)


def test_without_the_header_there_is_no_digest() -> None:
    assert fields.content_digest(None) is None


# --- tags -----------------------------------------------------------------------------------

_TAGS = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=_DIRECTIONS),
        min_size=1,
        max_size=8,
    ),
    max_size=25,
)


@given(_TAGS, st.sampled_from([",", ", ", "\t,  "]))
def test_tags_come_back_in_order_and_once(tags: list[str], comma: str) -> None:
    folded = tuple(dict.fromkeys(tags))
    assume(len(folded) <= 20)
    assert fields.tags(comma.join(quote(tag, safe="") for tag in tags)) == folded
    assert fields.validate_tags(tags) == folded


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (None, ()),
        ("", ()),
        (" \t", ()),
        ("a", ("a",)),
        (" a , b ", ("a", "b")),
        ("a,A,a", ("a", "A")),
        ("a%2Cb,c%20d,%20", ("a,b", "c d", " ")),
        ("a b,c+d;e=f", ("a b", "c+d;e=f")),
        ("%c3%a9,%C3%A9", ("é",)),
        ("e%CC%81,%C3%A9", ("e\u0301", "é")),
        ("a%25", ("a%",)),
        ("a" * 128, ("a" * 128,)),
        ("%F0%9F%98%80" * 32, ("😀" * 32,)),
        (",".join(["a", "b"] * 30), ("a", "b")),
    ],
)
def test_tags_are_percent_encoded_text(value: str | None, tags: tuple[str, ...]) -> None:
    assert fields.tags(value) == tags


@pytest.mark.parametrize(
    "value",
    [
        *(",", "a,", ",a", "a,,b", "a, ,b", "%", "%4", "%zz", "a%2", "100%", "% 41"),
        *("%FF", "%C3", "%C3%28", "%ED%A0%80", "é", "\udce9", "%00", "a%0A", "%7F", "%C2%85"),
        *("%E2%80%AE", "\x00", "a" * 129, "%F0%9F%98%80" * 33, "\xa0"),
        ",".join(map(str, range(21))),
    ],
)
def test_bad_tags_are_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="Document-Tags"):
        fields.tags(value)


@pytest.mark.parametrize(
    "tags",
    [[""], [1], [None], [["a"]], [True], ["a" * 129], ["é" * 65], [str(n) for n in range(21)]]
    + [[f"a{character}b"] for character in _FORBIDDEN],
)
def test_bad_tags_of_a_patch_are_an_invalid_document(tags: list[Any]) -> None:
    with pytest.raises(InvalidDocument):
        fields.validate_tags(tags)


# --- metadata -------------------------------------------------------------------------------

_KEYS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=_DIRECTIONS),
    min_size=1,
    max_size=6,
)
_METADATA = st.dictionaries(
    _KEYS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | _ANY,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ANY, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(_METADATA)
def test_metadata_comes_back(metadata: dict[str, Any]) -> None:
    value = json.dumps(metadata)
    assume(len(value) <= 4096)
    assert json.loads(fields.metadata(value)) == metadata
    assert json.loads(fields.validate_metadata(metadata)) == metadata


@pytest.mark.parametrize("value", [None, "", " "])
def test_without_metadata_it_is_empty(value: str | None) -> None:
    assert fields.metadata(value) == "{}"


def _nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    "value",
    [
        *("[]", "1", "null", '"a"', "{", "{}x", "{'a':1}", '{"a":}', "a=b", '{"a":1,}'),
        *('{"a":"é"}', '{"a":"\udce9"}', '{"a":1,"a":2}', '{"a":{"b":1,"\\u0062":2}}'),
        *('{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":1e400}', '{"a":"\\ud800"}'),
        *('{"\\udfff":1}', '{"a":18446744073709551616}', '{"a":-9223372036854775809}'),
        *('{"":1}', '{"a\\n":1}', '{"\\u0000":1}', '{"\\u202e":1}', '{"a":"\n"}'),
        json.dumps({"k" * 129: 1}),
        json.dumps({"é" * 65: 1}),
        _nested(17),
        _nested(500),
        '{"a":' + "[" * 4000,
        json.dumps({"a": "x" * 4096}),
        json.dumps({"a": ""}) + " " * 4096 + "x",
    ],
)
def test_bad_metadata_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="Document-Metadata"):
        fields.metadata(value)


def test_metadata_of_exactly_4_kib_fits_and_one_byte_more_does_not() -> None:
    value = json.dumps({"a": "x" * 4088}, separators=(",", ":"))
    assert len(value) == 4096
    assert len(json.loads(fields.metadata(value))["a"]) == 4088
    with pytest.raises(BadHeader, match="4096"):
        fields.metadata(value.replace("x", "xx", 1))
    with pytest.raises(InvalidDocument, match="it has 4097"):
        fields.validate_metadata({"a": "x" * 4089})


def test_text_is_measured_as_utf8_so_that_escapes_of_the_header_cost_no_room_later() -> None:
    value = json.dumps({"a": "é" * 680})
    assert len(value) > 4080
    assert json.loads(fields.metadata(value)) == {"a": "é" * 680}
    assert fields.validate_metadata({"a": "é" * 2044})
    with pytest.raises(InvalidDocument):
        fields.validate_metadata({"a": "é" * 2045})


def test_numbers_are_measured_as_they_are_stored() -> None:
    value = '{"a":[' + ",".join(["1e15"] * 300) + "]}"
    with pytest.raises(BadHeader, match="at most 4096 bytes as compact JSON"):
        fields.metadata(value)


def test_metadata_may_be_nested_16_deep() -> None:
    assert json.loads(fields.metadata(_nested(16))) == json.loads(_nested(16))
    with pytest.raises(InvalidDocument, match="16 deep"):
        fields.validate_metadata({"a": json.loads("[" * 16 + "]" * 16)})
    assert fields.validate_metadata({"a": json.loads("[" * 15 + "]" * 15)})


@pytest.mark.parametrize(
    "value",
    [{"": 1}, {"a\x00": 1}, {"k" * 129: 1}, {"a": "\ud800"}, {"\ud800": 1}, {"a": 2**64}],
)
def test_bad_metadata_of_a_patch_is_an_invalid_document(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument):
        fields.validate_metadata(value)


def test_keys_of_128_bytes_fit() -> None:
    assert fields.validate_metadata({"k" * 128: 1, "é" * 64: 2})


# --- times ----------------------------------------------------------------------------------

_FIRST = -62_135_596_800_000
_LAST = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(_FIRST, _LAST))
@example(_FIRST)
@example(_LAST)
@example(-1)
@example(0)
def test_a_time_survives_and_is_written_as_the_library_would(moment: int) -> None:
    written = format_timestamp(moment)
    expected = (_EPOCH + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds")
    assert written == expected.replace("+00:00", "Z")
    assert timestamp(written) == moment


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30, 23, 59, 59, 999999)),
    st.integers(-1439, 1439),
    st.text("0123456789", max_size=40),
    st.sampled_from("Tt"),
)
def test_any_offset_and_fraction_is_the_librarys_time_cut_to_milliseconds(
    local: datetime, offset: int, finer: str, separator: str
) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset)))
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text = local.isoformat(separator, timespec="microseconds") + finer
    text += f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    assert timestamp(text) == (moment - _EPOCH) // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T01:00:00.5+01:00", 500),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("1970-01-01T00:00:00." + "9" * 5000 + "Z", 999),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31T23:59:60.25Z", 1_483_228_800_250),
        ("2017-01-01T05:29:60+05:30", 1_483_228_800_000),
        ("0001-01-01T00:00:00Z", _FIRST),
        ("0001-01-01T23:59:00+23:59", _FIRST),
        ("9999-12-31T23:59:59.999Z", _LAST),
        ("9999-12-31T00:00:59.999-23:59", _LAST),
    ],
)
def test_times_of_rfc_3339(value: str, moment: int) -> None:
    assert timestamp(value) == moment


@pytest.mark.parametrize(
    "value",
    [
        *("", "now", "1767225600", "2026-03-01", "2026-03-01T", "12:00:00Z", "2026-03-01T12:00Z"),
        *("2026-03-01T12:00:00", "2026-03-01 12:00:00Z", "2026-03-01T12:00:00 Z"),
        *("2026-03-01T12:00:00+0100", "2026-03-01T12:00:00+01", "2026-03-01T12:00:00+01:00Z"),
        *("2026-03-01T12:00:00.Z", "2026-03-01T12:00:00,5Z", "20260301T120000Z", "26-03-01T00:00Z"),
        *(" 2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z\n", "2026-3-1T12:00:00Z"),
        *("2026-00-01T12:00:00Z", "2026-13-01T12:00:00Z", "2026-02-29T12:00:00Z"),
        *("2026-03-00T12:00:00Z", "2026-03-32T12:00:00Z", "2026-03-01T24:00:00Z"),
        *("2026-03-01T12:60:00Z", "2026-03-01T12:00:61Z", "2026-03-01T12:00:99Z"),
        *("2026-03-01T12:00:60Z", "2016-12-31T23:59:60+01:00", "9999-12-31T23:59:60Z"),
        *("2026-03-01T12:00:00+24:00", "2026-03-01T12:00:00+01:60", "2026-W09-7T12:00:00Z"),
        *("0000-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z"),
        *("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"),
        *("\uff12026-03-01T12:00:00Z", "2026-03-01T12:00:00\uff3a", "2026\u221203\u221201T12:00Z"),
    ],
)
def test_what_is_no_rfc_3339_time_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"write it as|no such time|the year|second 60|offset"):
        timestamp(value)


def test_an_expiry_lies_in_the_future() -> None:
    assert fields.expires("1970-01-01T00:00:01Z") == 1000
    for now in (1000, 1001):
        with pytest.raises(BadHeader, match="in the future"):
            fields.require_future(fields.expires("1970-01-01T00:00:01Z"), now)
    for value in ("", "tomorrow", "1970-01-32T00:00:00Z"):
        with pytest.raises(BadHeader, match="Document-Expires must be an RFC 3339 time"):
            fields.expires(value)


# --- idempotency keys -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (None, None),
        ("a", "a"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"', '"'),
        ('"a', '"a'),
        ('""a""', '"a"'),
        ("!~", "!~"),
        ("k" * 255, "k" * 255),
        ('"' + "k" * 255 + '"', "k" * 255),
    ],
)
def test_an_idempotency_key_is_taken_with_or_without_quotes(
    value: str | None, key: str | None
) -> None:
    assert idempotency_key(value) == key


@pytest.mark.parametrize(
    "value", ["", '""', " ", "a b", "a\tb", "a\n", "é", "\x7f", "\x00", "\ud800", "k" * 256]
)
def test_a_bad_idempotency_key_is_refused(value: str) -> None:
    with pytest.raises(BadHeader, match="Idempotency-Key"):
        idempotency_key(value)


# --- any input ------------------------------------------------------------------------------

_PARSERS: list[Callable[[str], object]] = [
    fields.content_type,
    fields.content_digest,
    fields.tags,
    fields.metadata,
    fields.file_name,
    idempotency_key,
    lambda value: fields.expires(value),
    lambda value: single(_Lines(("a", value)), "a"),
]
_PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "attachment",
                ";",
                "filename",
                "*",
                "=",
                '"',
                "\\",
                "/",
                "UTF-8''",
                "%41",
                "%FF",
                "%",
            ),
            *("sha-256=:", _B64, ":", ",", " ", "\t", "\n", "\x00", "é", "\udcff", "\u202e", "."),
            *("{", "}", "[", "]", '"a":', "1", "1e999", "NaN", "\\ud800", "text/plain", "a"),
            *("2026-03-01", "T12:00:00", "Z", "+01:00", "-", "0"),
        ]
    ),
    max_size=12,
).map("".join)


@given(st.text(max_size=40) | _PIECES)
def test_any_text_is_understood_or_refused_with_a_detail_that_can_be_sent(value: str) -> None:
    for parse in _PARSERS:
        try:
            parse(value)
        except BadHeader as problem:
            orjson.dumps(problem.detail)


@given(st.text(max_size=40) | _PIECES)
def test_any_text_of_a_patch_is_taken_or_is_an_invalid_document(value: str) -> None:
    for validate in (
        lambda: fields.validate_name(value),
        lambda: fields.validate_tags([value]),
        lambda: fields.validate_metadata({"a": value}),
        lambda: fields.validate_metadata({value: 1}),
    ):
        try:
            kept = validate()
        except InvalidDocument as problem:
            orjson.dumps(problem.detail)
        else:
            orjson.dumps(kept)


@pytest.mark.parametrize(
    "value",
    [
        "a/b" + "; " * 28 + "(",  # enough to tell an exponential search, which would end, though
        "a/b" + ";  " * 16 + "(",
        "a" + ";" * 64_000 + "(",
        "a" + "; " * 32_000 + "(",
        "a;" + " " * 64_000 + "(",
        " " * 64_000 + "(",
        'a; filename="' + "\\a" * 32_000,
        'a; filename="' + "\\" * 64_001,
        "a; filename*=UTF-8''" + "%41" * 20_000 + "%",
        f"sha-256=:{_B64}:" + "; a" * 20_000 + ";",
        f"sha-256=:{_B64}:, " * 1_300 + "(",
        "sha-256=:" + "=" * 64_000,
        "%" * 64_000,
        "," * 64_000,
        "2026-03-01T12:00:00." + "0" * 64_000 + "x",
    ],
)
def test_long_odd_input_takes_no_long_time(value: str) -> None:
    begun = time.process_time()
    for parse in _PARSERS:
        with contextlib.suppress(BadHeader):
            parse(value)
    assert time.process_time() - begun < 2
