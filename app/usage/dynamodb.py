"""The counters of what each tenant holds, kept on DynamoDB, and what they said at a day's end."""

from __future__ import annotations

import zlib
from contextlib import suppress
from datetime import UTC, datetime

from app.aws.attributes import Item, due_bucket, number, text
from app.aws.dynamodb import ConditionFailed
from app.aws.table import Table
from app.clock import now_ms
from app.maintenance.ports import ItemKind
from app.records import Tenant
from app.usage.models import Day, Held, Usage, total

USAGE_COUNTERS = 16
# A day's item is kept for longer than it is shown: a tenant that rests has none of the last month.
DAY_KEPT_DAYS = 400
_FORMAT = 1
_DAY_MS = 24 * 3600 * 1000
_COUNTED = ("bytes", "documents", "versions", "uploads")
_NAMES = {f"#{name}": name for name in (*_COUNTED, "changes", "format")}


class DynamoUsage(Table):
    """A tenant's counters in DynamoDB."""

    async def usage(self, tenant: Tenant) -> list[Usage]:
        return [usage(tenant, item) for item in await self._counters(tenant)]

    async def _counters(self, tenant: Tenant) -> list[Item]:
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "PK = :partition AND begins_with(SK, :usage)",
            "ExpressionAttributeValues": {
                ":partition": text("T#" + tenant.id),
                ":usage": text("USAGE#"),
            },
        }
        return await self._all("Query", query)

    async def correct_usage(self, before: Usage, after: Usage) -> bool:
        # Absolute, so that a repetition after a lost answer adds nothing: it is refused. Counters
        # of a release that did not count versions lack what was not counted.
        update = {
            "TableName": self._table,
            "Key": usage_key(before.tenant, before.counter),
            "UpdateExpression": "SET #format = :format, #changes = :changes, "
            + ", ".join(f"#{name} = :{name}" for name in _COUNTED),
            "ConditionExpression": "attribute_not_exists(PK) OR "
            "(#bytes = :old_bytes AND #documents = :old_documents"
            " AND (attribute_not_exists(#changes) OR #changes = :old_changes))",
            "ExpressionAttributeNames": _NAMES,
            "ExpressionAttributeValues": {
                ":format": number(_FORMAT),
                ":changes": number(before.changes + 1),
                **{f":{name}": number(getattr(after, name)) for name in _COUNTED},
                ":old_bytes": number(before.bytes),
                ":old_documents": number(before.documents),
                ":old_changes": number(before.changes),
            },
        }
        try:
            await self._client.call("UpdateItem", update)
        except ConditionFailed:
            found = await self.usage(before.tenant)
            return any(
                counter.counter == before.counter
                and (counter.changes, counter.held) == (before.changes + 1, after.held)
                for counter in found
            )
        return True

    # --- by day -----------------------------------------------------------------------------

    async def days(self, tenant: Tenant, before: str, limit: int) -> list[Day]:
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "ScanIndexForward": False,
            "Limit": limit,
            "KeyConditionExpression": "PK = :partition AND SK BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":partition": text("T#" + tenant.id),
                ":low": text("DAY#"),
                ":high": text(f"DAY#{before}"),
            },
        }
        answer = await self._client.call("Query", query)
        found = [day(item) for item in answer["Items"]]
        return [one for one in found if one.date < before]

    async def close_day(self, tenant: Tenant, now: int) -> bool:
        """Record what the tenant held when the day before `now` ended, if one of its counters has
        been changed since a day was last recorded; False if none has.

        The first one to record a day is right: the later, the more of the next day is in it.
        """
        counters = await self._counters(tenant)
        due = [item for item in counters if "due_at" in item and int(item["due_at"]["N"]) <= now]
        if not due:
            return False
        held = total([usage(tenant, item) for item in counters])
        with suppress(ConditionFailed):
            await self._client.call(
                "PutItem",
                {
                    "TableName": self._table,
                    "Item": day_item(tenant, Day(_date(now - _DAY_MS), held), now),
                    "ConditionExpression": "attribute_not_exists(PK)",
                },
            )
        for item in due:
            await self._rest(tenant, item, now)
        return True

    async def _rest(self, tenant: Tenant, item: Item, now: int) -> None:
        """Nothing is due of a counter until it is changed again. Has it been since it was read,
        that belongs to the day that goes on."""
        key = {"TableName": self._table, "Key": {"PK": item["PK"], "SK": item["SK"]}}
        seen = {":due": item["due_at"], ":changes": item["changes"]}
        try:
            await self._client.call(
                "UpdateItem",
                {
                    **key,
                    "UpdateExpression": "REMOVE due_at, due_bucket",
                    "ConditionExpression": "due_at = :due AND #changes = :changes",
                    "ExpressionAttributeNames": {"#changes": "changes"},
                    "ExpressionAttributeValues": seen,
                },
            )
        except ConditionFailed:
            with suppress(ConditionFailed):  # or another sweeper has seen to it
                await self._client.call(
                    "UpdateItem",
                    {
                        **key,
                        "UpdateExpression": "SET due_at = :next",
                        "ConditionExpression": "due_at = :due",
                        "ExpressionAttributeValues": {
                            ":due": item["due_at"],
                            ":next": number(_midnight_after(now)),
                        },
                    },
                )


def count(
    table: str,
    tenant: Tenant,
    token: str,
    *,
    bytes: int = 0,
    documents: int = 0,
    versions: int = 0,
    uploads: int = 0,
) -> Item:
    """What a commit adds to what is held, or takes from it: one write of its transaction.

    It goes to one of several counters, so that writers rarely meet; drawn from the token, since
    the same token must go with the same payload. The first change of a day makes the counter due
    for the sweeper when the day has ended.
    """
    counter = zlib.crc32(token.encode()) % USAGE_COUNTERS
    added = {"bytes": bytes, "documents": documents, "versions": versions, "uploads": uploads}
    return {
        "Update": {
            "TableName": table,
            "Key": usage_key(tenant, counter),
            "UpdateExpression": "SET #format = :format, "
            "due_at = if_not_exists(due_at, :due_at), "
            "due_bucket = if_not_exists(due_bucket, :due_bucket) "
            "ADD #changes :one, " + ", ".join(f"#{name} :{name}" for name in added),
            "ExpressionAttributeNames": _NAMES,
            "ExpressionAttributeValues": {
                ":format": number(_FORMAT),
                ":one": number(1),
                ":due_at": number(_midnight_after(now_ms())),
                ":due_bucket": due_bucket(tenant.id),
                **{f":{name}": number(value) for name, value in added.items()},
            },
        }
    }


def _midnight_after(moment: int) -> int:
    return (moment // _DAY_MS + 1) * _DAY_MS


def _date(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).date().isoformat()


# --- items ----------------------------------------------------------------------------------


def usage_key(tenant: Tenant, counter: int) -> Item:
    return {"PK": text("T#" + tenant.id), "SK": text(f"USAGE#{counter:02d}")}


def usage(tenant: Tenant, item: Item) -> Usage:
    return Usage(
        tenant,
        int(item["SK"]["S"].removeprefix("USAGE#")),
        int(item["bytes"]["N"]),
        int(item["documents"]["N"]),
        _counted(item, "versions"),
        _counted(item, "uploads"),
        _counted(item, "changes"),
    )


def _counted(item: Item, name: str) -> int:
    """0 in a counter of a release that did not count it."""
    value = item.get(name)
    return int(value["N"]) if value else 0


def day_item(tenant: Tenant, day: Day, now: int) -> Item:
    return {
        "PK": text("T#" + tenant.id),
        "SK": text("DAY#" + day.date),
        "format": number(_FORMAT),
        **{name: number(getattr(day.held, name)) for name in _COUNTED},
        "ttl": number(now // 1000 + DAY_KEPT_DAYS * 24 * 3600),
    }


def day(item: Item) -> Day:
    held = Held(**{name: int(item[name]["N"]) for name in _COUNTED})
    return Day(item["SK"]["S"].removeprefix("DAY#"), held)


def _read(item: Item) -> Usage:
    return usage(Tenant(item["PK"]["S"].removeprefix("T#")), item)


def _checked(item: Item) -> None:
    """A day says nothing of what is there now; what makes no sense raises."""
    day(item)


KINDS = (ItemKind("T#", "USAGE#", _read), ItemKind("T#", "DAY#", _checked))
