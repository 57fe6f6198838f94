"""A profile that makes no sense is told so before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from load.profile import Profile, ProfileError, known, load_profile

_GOOD = """
about = "a test"
users = 4
stages = [{seconds = 10, rate = 10}]
mix = {read = 1, redirect = 1}
sizes = [{share = 1, least_bytes = 1, most_bytes = 100}]
gate = {min_requests = 50}
[thresholds.every]
p50_ms = 100
"""


def written(folder: Path, text: str) -> str:
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


@pytest.mark.parametrize("name", known())
def test_our_own_are_good(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert Profile.model_validate(profile.model_dump()) == profile  # as workers get it


def test_those_that_the_design_names_are_there() -> None:
    assert {"smoke", "steady", "stress", "spike", "soak"} <= set(known())


def test_smoke_sheds_and_errs_nowhere() -> None:
    for limits in load_profile("smoke").thresholds.values():
        assert (limits.error_ratio, limits.shed_ratio) == (0, 0)


def test_what_holds_for_every_endpoint_can_be_said_once(tmp_path: Path) -> None:
    text = _GOOD + "[thresholds.fetch]\np50_ms = 7\n"
    limits = load_profile(written(tmp_path, text)).thresholds
    assert {name: one.p50_ms for name, one in limits.items()} == {
        "read": 100,
        "redirect": 100,
        "fetch": 7,
    }


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("users = 4", "users = 0", "users: Input should be greater than or equal to 1"),
        ("users = 4", "usres = 4", "usres: Extra inputs are not permitted"),
        ("rate = 10", "start = 10", "stages.0.end: Field required"),
        ("rate = 10", "rate = 10, end = 3", "either 'rate', or 'start' and 'end'"),
        ("seconds = 10", "seconds = 50000", "stages.0.seconds"),
        ("rate = 10", "rate = -1", "stages.0.start"),
        ("read = 1,", "raed = 1,", "there is no 'raed'; known are create, read"),
        ("read = 1,", "read = 0,", "mix.read: Input should be greater than 0"),
        ("least_bytes = 1,", "least_bytes = 101,", "least_bytes is above most_bytes"),
        ("min_requests = 50", "min_requests = 500", "have only 100 arrivals"),
        ("p50_ms = 100", "p99_ms = 100", "p99_ms needs 100 requests, but only 50 are expected"),
        ("[thresholds.every]", "[thresholds.read]", "fetch, redirect: wanted is exactly"),
        ("[thresholds.every]", "[thresholds.reed]", "reed"),
        ("p50_ms = 100", "p50_ms = 0", "thresholds.read.p50_ms"),
        ("p50_ms = 100", "error_ratio = 2", "thresholds.read.error_ratio"),
        ("users = 4", "users = ", "Invalid value"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in _GOOD
    with pytest.raises(ProfileError) as error:
        load_profile(written(tmp_path, _GOOD.replace(old, new)))
    assert told in str(error.value)
    assert "mine.toml" in str(error.value)


def test_an_unknown_one_names_those_that_are_known() -> None:
    with pytest.raises(ProfileError, match=r"there is no profile 'smok'; known are .*smoke"):
        load_profile("smok")
