"""What a tenant holds, as clients see it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.usage.service import DAYS

Count = Annotated[int, Field(json_schema_extra={"format": "int64"})]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class QuotaModel(_Model):
    """The most that the tenant may hold; null: no limit."""

    bytes: Count | None = Field(ge=0)
    documents: Count | None = Field(ge=0)


class DayModel(_Model):
    """What the tenant held when a day (UTC) had ended, or holds today."""

    date: str = Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"})
    bytes: Count
    documents: Count


_EXAMPLE: dict[str, Any] = {
    "bytes": 5,
    "documents": 1,
    "versions": 1,
    "uploads_open": 0,
    "quota": {"bytes": 1_000_000_000, "documents": None},
    "by_day": [{"date": "2026-03-01", "bytes": 5, "documents": 1}],
}


class UsageModel(_Model):
    """What the tenant holds: deleted documents count until they are purged, and so does every
    version."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    bytes: Count = Field(description="of all versions; those that two of them share, once")
    documents: Count
    versions: Count
    uploads_open: Count = Field(description="begun, and neither completed nor given up")
    quota: QuotaModel
    by_day: list[DayModel] = Field(
        max_length=DAYS,
        description=f"the last {DAYS} days, the oldest first, today's as it is now. The days "
        "before the first one that is known are left out",
    )
