"""What the model's clients ask, over HTTP; and what they are told, in the model's words."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from app.problems import REGISTRY
from tests.model.model import (
    MOMENTS,
    Act,
    Create,
    Delete,
    List,
    Patch,
    Read,
    ReadContent,
    Replace,
    Request,
    Restore,
    RestoreVersion,
    Said,
)
from tests.support.service import Answer, Service

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RETRIED = (409, 429, 503)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def moment_text(moment: int) -> str:
    text = (_EPOCH + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def moment_of(text: str | None) -> int | None:
    if text is None:
        return None
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def ask(service: Service, secret: str, request: Request, identifier: str) -> Said:
    """Sends the request with this X-Request-Id. Raises AssertionError for an answer that no
    world could explain."""
    started = now_ms()
    if isinstance(request.act, List):
        told = _walk(service, secret, request.act, identifier)
    else:
        told = _ask_once(service, secret, request, identifier)
    return Said(started=started, ended=now_ms(), **told)


def _ask_once(service: Service, secret: str, request: Request, identifier: str) -> dict[str, Any]:
    act = request.act
    method, path, body, headers = _http(act)
    headers["X-Request-Id"] = identifier
    if request.key is not None:
        headers["Idempotency-Key"] = request.key
    try:
        answer = service.request(method, path, body, headers, key=secret)
    except (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionResetError):
        return {"word": "broken"}
    if answer.status >= 400:
        return {"word": problem(answer)}
    if answer.status == 304:
        return {"word": "not-modified"}
    return {"word": "ok", **_success(act, answer)}


def problem(answer: Answer) -> str:
    """The name of a problem, whose answer must be in form."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    name: str = answer.json()["type"].removeprefix("/problems#")
    assert REGISTRY[name].status == answer.status != 500, answer
    wait = answer.status in _RETRIED and name != "key-taken"
    assert not wait or int(answer.headers["retry-after"]) >= 1, answer
    return name


# --- asking ---------------------------------------------------------------------------------


def _http(act: Act) -> tuple[str, str, bytes | None, dict[str, str]]:
    """Method, path, body and headers."""
    if isinstance(act, Create):
        return "POST", "/v1/documents", act.content, _create_headers(act)
    assert not isinstance(act, List)
    path = f"/v1/documents/{act.id}"
    if isinstance(act, Replace):
        headers = {"Content-Type": act.content_type, "If-Match": act.if_match}
        return "PUT", path + "/content", act.content, _given(headers) | _digest(act)
    if isinstance(act, Patch):
        headers = {"Content-Type": "application/merge-patch+json", "If-Match": act.if_match}
        return "PATCH", path, json.dumps(_patch(act.fields)).encode(), _given(headers)
    if isinstance(act, Delete):
        return "DELETE", path, None, _given({"If-Match": act.if_match})
    if isinstance(act, RestoreVersion):
        restored = f"{path}/versions/{act.version}/restore"
        return "POST", restored, None, _given({"If-Match": act.if_match})
    if isinstance(act, Restore):
        return "POST", path + "/restore", None, _given({"If-Match": act.if_match})
    headers = {"If-None-Match": act.if_none_match}
    if isinstance(act, Read):
        return "GET", path, None, _given(headers)
    return "GET", path + "/content", None, _given({**headers, "Range": _range(act)})


def _given(headers: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value is not None}


def _create_headers(act: Create) -> dict[str, str]:
    named = act.name and f"attachment; filename*=UTF-8''{quote(act.name, safe='')}"
    headers = {
        "Content-Type": act.content_type,
        "Content-Disposition": named,
        "Document-Key": act.key and quote(act.key),
        "Document-Tags": ",".join(quote(tag, safe="") for tag in act.tags) or None,
        "Document-Metadata": json.dumps(act.metadata) if act.metadata else None,
        "Document-Expires": None if act.expires_at is None else moment_text(act.expires_at),
    }
    return _given(headers) | _digest(act)


def _digest(act: Create | Replace) -> dict[str, str]:
    if act.digest == "none":
        return {}
    content = act.content if act.digest == "right" else act.content + b"!"
    value = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"Content-Digest": f"sha-256=:{value}:"}


def _patch(fields: Mapping[str, Any]) -> dict[str, Any]:
    moment = fields.get("expires_at")
    return {**fields, "expires_at": moment_text(moment)} if moment is not None else {**fields}


def _range(act: ReadContent) -> str | None:
    if act.first is None and act.last is None:
        return None
    first, last = ("" if number is None else number for number in (act.first, act.last))
    return f"bytes={first}-{last}"


# --- being told -----------------------------------------------------------------------------


def _success(act: Act, answer: Answer) -> dict[str, Any]:
    replayed = answer.headers.get("idempotency-replayed") == "true"
    if isinstance(act, Delete):
        assert (answer.status, answer.body) == (204, b""), answer
        return {"replayed": replayed}
    if isinstance(act, ReadContent):
        return _content(act, answer)
    shown = answer.json()
    assert answer.status == (201 if isinstance(act, Create) else 200), answer
    if isinstance(act, Create):
        assert answer.headers["location"] == f"/v1/documents/{shown['id']}", answer
    etag = (
        shown["content_etag"]
        if isinstance(act, Replace | RestoreVersion)
        else f'"{shown["revision"]}"'
    )
    assert answer.etag == etag, answer
    return {"document": _shown(shown), "etag": answer.etag, "replayed": replayed}


def _content(act: ReadContent, answer: Answer) -> dict[str, Any]:
    part = _range(act) is not None
    assert answer.status == (206 if part else 200), answer.status
    if not part:
        digest = base64.b64encode(hashlib.sha256(answer.body).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:", answer.headers
    return {"content": answer.body, "etag": answer.etag}


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document's JSON with its moments as numbers."""
    return {**document, **{name: moment_of(document[name]) for name in MOMENTS}}


def _walk(service: Service, secret: str, act: List, identifier: str) -> dict[str, Any]:
    """A list, page by page to its end."""
    query: dict[str, Any] = {
        "tag": act.tag,
        "sha256": act.sha256,
        "name_prefix": act.name_prefix,
        "content_type": act.content_type,
        "include_deleted": "true" if act.include_deleted else None,
        "limit": act.limit,
    }
    if act.metadata is not None:
        query[f"metadata.{act.metadata[0]}"] = act.metadata[1]
    query = {name: value for name, value in query.items() if value is not None}
    found: list[dict[str, Any]] = []
    while True:
        path = "/v1/documents?" + urlencode(query)
        answer = service.request("GET", path, headers={"X-Request-Id": identifier}, key=secret)
        if answer.status >= 400:
            return {"word": problem(answer)}
        page = answer.json()
        assert answer.status == 200, answer
        assert len(page["items"]) <= act.limit, answer
        found += [_shown(document) for document in page["items"]]
        if page["next_cursor"] is None:
            return {"word": "ok", "documents": found}
        query["cursor"] = page["next_cursor"]
