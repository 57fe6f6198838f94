"""The clock, and RFC 3339 times as epoch milliseconds."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


_TWO = [f"{number:02d}" for number in range(60)]
_THREE = [f"{number:03d}" for number in range(1000)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400
_MAX_SECOND = 253_402_300_799  # the end of the year 9999
_MIN_SECOND = -62_135_596_800  # the beginning of the year 1


def timestamp(value: str) -> int:
    """An RFC 3339 time of the years 1 to 9999 as epoch milliseconds, finer fractions cut.

    A leap second is the first second of the next day, as POSIX clocks have it. ValueError says
    what is wrong.
    """
    match = _TIMESTAMP.fullmatch(value)
    if match is None:
        raise ValueError("write it as 2026-03-01T12:00:00Z")
    seconds = _epoch_second(match)
    if not _MIN_SECOND <= seconds <= _MAX_SECOND:
        raise ValueError("the year must be from 0001 to 9999 in UTC")
    return seconds * 1000 + int((match[7] or "")[:3].ljust(3, "0"))


def _epoch_second(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=_zone(match))
    except ValueError as error:
        raise ValueError(f"there is no such time ({error})") from error
    elapsed = moment - _EPOCH
    # RFC 3339, 5.7: leap seconds are added at the end of a day in UTC.
    if leap and elapsed.seconds != _DAY - 1:
        raise ValueError("a second 60 is possible only at 23:59:60 UTC")
    return elapsed.days * _DAY + elapsed.seconds + leap


def _zone(match: re.Match[str]) -> timezone:
    if match[8] is None:
        return UTC
    hours, minutes = int(match[9]), int(match[10])
    if hours > 23 or minutes > 59:
        raise ValueError("the offset is out of bounds")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if match[8] == "-" else offset)


def format_timestamp(moment: int) -> str:
    """Epoch milliseconds as `2026-03-01T12:00:00.000Z`."""
    # A list of documents holds hundreds: a quarter of the time of `gmtime`.
    minute, rest = divmod(moment, 60_000)
    return f"{_formatted_minute(minute)}{_TWO[rest // 1000]}.{_THREE[rest % 1000]}Z"


@lru_cache(maxsize=4096)
def _formatted_minute(minute: int) -> str:
    day, minute = divmod(minute, 24 * 60)
    date = (_EPOCH + timedelta(days=day)).date().isoformat()
    return f"{date}T{_TWO[minute // 60]}:{_TWO[minute % 60]}:"


def now_ms() -> int:
    """Now, as epoch milliseconds."""
    return time.time_ns() // 1_000_000
