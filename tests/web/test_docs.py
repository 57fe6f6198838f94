"""Swagger UI as its authors published it, and to whom its files are sent compressed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from app.web import docs
from app.web.publication import accepts_gzip

PUBLISHED = Path(docs.__file__).parent / "swagger-ui"


def test_the_files_of_swagger_ui_are_those_that_are_noted() -> None:
    """An edit, or line ends that a checkout has converted, would be somebody else's program."""
    noted = dict(
        re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", _readme(), flags=re.MULTILINE)
    )
    assert sorted(noted) == ["swagger-ui-bundle.js", "swagger-ui.css"]
    for name, digest in noted.items():
        assert hashlib.sha256((PUBLISHED / name).read_bytes()).hexdigest() == digest, name


def test_the_version_that_is_noted_is_that_of_the_package() -> None:
    package = json.loads((PUBLISHED / "package.json").read_text())
    assert f"`{package['name']}` {package['version']} " in _readme()
    assert package["license"] == "Apache-2.0"
    for name in ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"):
        assert (PUBLISHED / name).read_text(), name


def _readme() -> str:
    return (PUBLISHED / "README.md").read_text()


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip", True),
        ("GZip", True),
        ("br, gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("deflate,gzip;q=0.5", True),
        ("gzip ; q=0.001", True),
        ("gzip;q=1.000", True),
        ("gzip;q=0", False),
        ("gzip;Q=0.000 , *", False),
        ("*", True),
        ("*;q=0", False),
        ("*;q=0, gzip", True),
        ("gzip;q=0, *;q=1", False),
        ("gzipped", False),
        ("x;gzip", False),
        (", ,gzip,", True),
        ("é, gzip", True),
    ],
)
def test_gzip_is_for_those_who_say_that_they_take_it(
    accept_encoding: str | None, accepted: bool
) -> None:
    assert accepts_gzip(accept_encoding) is accepted
