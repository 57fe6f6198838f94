"""/docs in a real browser: calls are tried for real, and nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import missing
from tests.support.service import ROOT, Service

PYTHON = ROOT / ".tools" / "browser" / "bin" / "python"
WIDTH = 3


def png(width: int) -> bytes:
    """A grey picture of one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def found(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a reader has done and seen: see reader.py."""
    chromium = shutil.which("chromium") or ""
    if not chromium or not PYTHON.exists():
        missing("chromium, or playwright in .tools: `.ci/run full browser` installs both")
    picture = tmp_path_factory.mktemp("picture") / "a 'picture'.png"
    picture.write_bytes(png(WIDTH))
    done = subprocess.run(
        [
            PYTHON,
            Path(__file__).with_name("reader.py"),
            chromium,
            service.url,
            service.key,
            picture,
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_a_document_is_stored_and_read_from_the_page(
    service: Service, found: dict[str, Any]
) -> None:
    calls = found["calls"]
    document = service.read(calls["created"]["id"]).json()
    assert document == calls["created"]
    assert (document["name"], document["content_type"]) == ("a 'picture'.png", "image/png")
    assert document["tags"] == ["from-a-browser"]
    content = service.request("GET", f"/v1/documents/{document['id']}/content")
    assert content.body == png(WIDTH)
    assert calls["statuses"] == ["200", "200"]
    assert bytes.fromhex(calls["downloaded"]) == content.body
    assert calls["image_width"] == WIDTH


def test_the_policy_is_never_violated_and_nobody_else_is_asked(found: dict[str, Any]) -> None:
    assert found["calls"]["console"] == []
    assert found["calls"]["elsewhere"] == []


def test_the_key_goes_to_the_api_alone_and_is_not_kept(
    service: Service, found: dict[str, Any]
) -> None:
    calls = found["calls"]
    assert (calls["kept"], calls["still_authorised"]) == ([0, 0, ""], 0)
    assert len(calls["with_key"]) == 4
    assert all(url.startswith(f"{service.url}/v1/documents") for url in calls["with_key"])


def test_a_tag_can_be_filtered_for(found: dict[str, Any]) -> None:
    assert found["calls"]["filtered_tags"] == 1


def test_it_is_dark_for_those_who_prefer_so(found: dict[str, Any]) -> None:
    light, dark = (sum(_rgb(found["colours"][scheme])) for scheme in ("light", "dark"))
    assert light < 300 < 500 < dark  # of the text


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(", ")]


def test_it_fits_on_a_phone(found: dict[str, Any]) -> None:
    assert found["phone"]["page"] <= 360
    assert found["phone"]["field"] > 220


def test_without_script_the_calls_are_listed(found: dict[str, Any]) -> None:
    assert "POST /v1/documents\nStore bytes as a new document" in found["without_script"]
    assert "curl " in found["without_script"]
