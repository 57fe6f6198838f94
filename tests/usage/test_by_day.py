"""The days of `GET /v1/usage`."""

from __future__ import annotations

from datetime import date

from app.usage.models import Day, Held
from app.usage.service import DAYS, by_day

TODAY = date(2026, 3, 1)
NOW = Held(bytes=9, documents=9)


def days(*recorded: tuple[str, int]) -> list[tuple[str, int]]:
    known = [Day(name, Held(bytes=size, documents=size)) for name, size in recorded]
    return [(day.date, day.held.bytes) for day in by_day(TODAY, known, NOW)]


def test_without_a_record_there_is_today() -> None:
    assert days() == [("2026-03-01", 9)]


def test_a_day_without_a_record_is_as_the_one_before_and_none_is_made_up() -> None:
    found = days(("2026-02-26", 4), ("2026-02-24", 2))
    assert found == [
        ("2026-02-24", 2),
        ("2026-02-25", 2),
        ("2026-02-26", 4),
        ("2026-02-27", 4),
        ("2026-02-28", 4),
        ("2026-03-01", 9),
    ]


def test_there_are_thirty_days_and_one_before_them_tells_how_they_begin() -> None:
    found = days(("2025-11-02", 7), ("2025-10-02", 6), ("2026-02-28", 8))
    assert len(found) == DAYS == 30
    assert (found[0], found[-3:]) == (
        ("2026-01-31", 7),
        [("2026-02-27", 7), ("2026-02-28", 8), ("2026-03-01", 9)],
    )
