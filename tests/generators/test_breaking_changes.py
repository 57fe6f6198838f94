"""What breaks a client of the API is refused unless the changelog names it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts import openapi
from tests.generators import tools

Change = Callable[[Any], object]
BEFORE = (openapi.ROOT / openapi.FILE).read_text()


def _remove_parameter(document: Any) -> None:
    document["paths"]["/v1/documents"]["get"]["parameters"].pop(0)


def _require_field(document: Any) -> None:
    document["components"]["schemas"]["DocumentPatch"]["required"] = ["name"]


def _remove_operation(document: Any) -> None:
    del document["paths"]["/v1/documents/{id}/restore"]


def _remove_answered_field(document: Any) -> None:
    schema = document["components"]["schemas"]["DocumentModel"]
    schema["required"].remove("size")
    del schema["properties"]["size"]


def _add_optional(document: Any) -> None:
    added = {"name": "order", "in": "query", "required": False, "schema": {"type": "string"}}
    document["paths"]["/v1/documents"]["get"]["parameters"].append(added)
    document["components"]["schemas"]["DocumentPatch"]["properties"]["note"] = {"type": "string"}


def _word(document: Any) -> None:
    document["info"]["description"] = "In other words."


BREAKING: dict[str, tuple[Change, str]] = {
    "a parameter removed": (_remove_parameter, "listDocuments"),
    "a field required": (_require_field, "patchDocument"),
    "an operation removed": (_remove_operation, "restoreDocument"),
    "an answered field removed": (_remove_answered_field, "readDocument"),
}
HARMLESS: dict[str, Change] = {"an optional one added": _add_optional, "words": _word}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit with the document as it is."""
    tools.there(tools.OASDIFF)
    (tmp_path / "docs").mkdir()
    (tmp_path / openapi.FILE).write_text(BEFORE)
    _changelog(tmp_path, "")
    _git(tmp_path, "init", "-q")
    _commit(tmp_path)
    return tmp_path


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(("git", "-C", folder, *identity, *arguments), check=True, capture_output=True)


def _commit(folder: Path) -> None:
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "commit")


def _changelog(folder: Path, unreleased: str, released: str = "") -> None:
    told = f"# Changelog\n\n## Unreleased\n\n{unreleased}\n\n## 0.1.0\n\n{released}\n"
    (folder / "CHANGELOG.md").write_text(told)


def _change(folder: Path, change: Change) -> None:
    document = json.loads(BEFORE)
    change(document)
    (folder / openapi.FILE).write_text(openapi.text(document))


@pytest.mark.parametrize("name", BREAKING)
def test_what_breaks_is_refused_until_the_changelog_names_it(repository: Path, name: str) -> None:
    change, operation = BREAKING[name]
    _change(repository, change)
    refused = openapi.breaking(None, repository)
    assert any(line.startswith(f"`{operation}` (") for line in refused)
    # Committing it does not make it good.
    _commit(repository)
    assert openapi.breaking(None, repository) == refused
    # Nor does a name in what was released before, or of another operation.
    _changelog(repository, "- `deleteDocument` is gone.", released=f"- `{operation}` changed.")
    assert openapi.breaking(None, repository) == refused
    named = " ".join(line.partition(" ")[0] for line in refused)
    _changelog(repository, f"### Changed\n\n- {named}: see there.")
    assert openapi.breaking(None, repository) == []


@pytest.mark.parametrize("name", HARMLESS)
def test_what_breaks_nobody_passes(repository: Path, name: str) -> None:
    _change(repository, HARMLESS[name])
    assert openapi.breaking(None, repository) == []


def test_a_release_is_what_the_next_is_compared_with(repository: Path) -> None:
    _change(repository, _remove_parameter)
    _commit(repository)
    _git(repository, "tag", "v0.2.0")
    assert openapi.breaking(None, repository) == []
    assert openapi.breaking("HEAD~1", repository) != []


def test_where_there_was_no_document_nothing_breaks(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _git(repository, "rm", "-q", "--cached", str(openapi.FILE))
    _git(repository, "commit", "-q", "--amend", "-m", "without it")
    assert openapi.breaking(None, repository) == []
    assert openapi.breaking("HEAD", repository) == []
    assert "nothing that could be broken" in capsys.readouterr().out


def test_a_base_that_is_no_commit_is_refused(repository: Path) -> None:
    with pytest.raises(openapi.OpenApiError, match="v9 is no commit here"):
        openapi.breaking("v9", repository)


def test_a_document_that_cannot_be_read_is_refused(repository: Path) -> None:
    (repository / openapi.FILE).write_text("{")
    with pytest.raises(openapi.OpenApiError, match="oasdiff could not compare"):
        openapi.breaking(None, repository)
