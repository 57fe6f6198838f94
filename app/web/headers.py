"""Header fields that every route reads."""

from __future__ import annotations

import re
from typing import Any, Protocol

from app.problems import BadHeader

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's token
# RFC 8941: a key, and a bare item: string, bytes, boolean, number or token.
STRUCTURED_KEY = r"[a-z*][a-z0-9_.*-]*"
STRUCTURED_ITEM = (
    r'(?:"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"|:[A-Za-z0-9+/=]*:|\?[01]'
    r"|-?[0-9]{1,15}(?:\.[0-9]{1,3})?|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*)"
)


_HEADER_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class Headers(Protocol):
    """A multi-valued mapping, as Sanic's."""

    def getall(self, key: str, default: None) -> list[Any] | None: ...


def single(headers: Headers, name: str) -> str | None:
    """The one value of a header; None if it is not there. Raises `BadHeader` if it is there
    twice, is not UTF-8, or holds a control character."""
    values = headers.getall(name, None)
    if not values:
        return None
    if len(values) > 1:
        raise BadHeader(f"{name} is given more than once.")
    value = str(values[0])
    if not value.isascii():
        try:
            value.encode("utf-8")  # what was no UTF-8 has become surrogates
        except UnicodeEncodeError as error:
            raise BadHeader(f"{name} is not UTF-8.") from error
    if _HEADER_CONTROL.search(value):
        raise BadHeader(f"{name} holds a control character.")
    return value.strip(" \t")
