"""Data of an earlier release is told of and moved aside, never broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.embedded import dev


def begun(home: Path) -> None:
    (home / "state").mkdir(parents=True)
    (home / "state" / "tables").write_text("data")
    (home / "keys.json").write_text("{}")


def test_data_without_a_format_is_kept_beside_what_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(tmp_path)
    dev._move_aside(tmp_path)
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "keys.json").exists()
    [aside] = tmp_path.glob("state.format-none-*")
    assert (aside / "tables").read_text() == "data"
    assert str(aside.name) in capsys.readouterr().out


def test_data_of_this_format_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev._move_aside(tmp_path)  # the first start
    begun(tmp_path)
    dev._move_aside(tmp_path)
    assert (tmp_path / "state" / "tables").read_text() == "data"
    assert (tmp_path / "keys.json").exists()
    assert capsys.readouterr().out == ""


def test_data_of_another_format_is_kept_under_its_name(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "format").write_text("2\n")
    dev._move_aside(tmp_path)
    assert len(list(tmp_path.glob("state.format-2-*"))) == 1
    assert (tmp_path / "format").read_text() == "1\n"
