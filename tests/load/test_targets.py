"""Load goes where it may, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from load.targets import FILE, TargetRefused, allowed


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000/", "http://127.9.9.9"]
)
def test_this_machine_is_allowed(url: str) -> None:
    allowed([]).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8000",
        "https://strongroom.example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
        "http://0.0.0.0:8000",
        "http://localhost.example.com",
        "ftp://127.0.0.1",
        "127.0.0.1:8000",
        "http://127.0.0.1:port",
        "http://",
    ],
)
def test_what_is_not_named_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused, match=r"load/targets.toml or by --allow-host"):
        allowed([]).check(url)


def test_a_file_or_a_flag_names_more(tmp_path: Path) -> None:
    file = tmp_path / "targets.toml"
    file.write_text('hosts = ["Dev.Example.com"]')
    listed = allowed(["other.example.com"], file)
    for host in ("dev.example.com", "other.example.com"):
        listed.check(f"https://{host}")
    assert listed.refusal("https://example.com")
    assert listed.refusal("https://sub.dev.example.com")


def test_production_is_never_allowed_by_a_file(tmp_path: Path) -> None:
    file = tmp_path / "targets.toml"
    file.write_text('hosts = ["strongroom.Prod.example.com"]')
    with pytest.raises(TargetRefused):
        allowed([], file).check("https://strongroom.prod.example.com")
    allowed(["strongroom.prod.example.com"], file).check("https://strongroom.prod.example.com")


@pytest.mark.parametrize("text", ["hosts = 1", "hosts = [1]", "host = []", "hosts ="])
def test_a_malformed_file_allows_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "targets.toml"
    file.write_text(text)
    with pytest.raises(TargetRefused, match="hosts"):
        allowed([], file)


def test_our_file_names_none() -> None:
    assert allowed([], FILE).hosts == frozenset()
