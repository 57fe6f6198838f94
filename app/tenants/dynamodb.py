"""`TenantRegistry` kept on DynamoDB: the items of tenants, and the calls on them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from app.aws.attributes import Item, moment, number, text
from app.aws.dynamodb import ConditionFailed
from app.aws.table import Table
from app.maintenance.ports import ItemKind
from app.records import Tenant
from app.tenants.models import STATES, State, TenantRecord
from app.tenants.ports import BeingPurged

_FORMAT = 1
_STATE = {"#state": "state", "#format": "format"}


class DynamoTenants(Table):
    """`TenantRegistry` in DynamoDB."""

    async def read_tenant(self, tenant: Tenant) -> TenantRecord:
        item = await self._get(tenant_key(tenant))
        return tenant_record(item) if item else TenantRecord(tenant=tenant)

    async def change_tenant(
        self, tenant: Tenant, changes: Mapping[str, float | None]
    ) -> TenantRecord:
        # Absolute, so that a repetition after a lost answer changes nothing more.
        sets = {name: value for name, value in changes.items() if value is not None}
        removes = [name for name, value in changes.items() if value is None]
        update = "SET #format = :format" + "".join(f", #{name} = :{name}" for name in sets)
        if removes:
            update += " REMOVE " + ", ".join(f"#{name}" for name in removes)
        values = {f":{name}": {"N": f"{value:.17g}"} for name, value in sets.items()}
        return await self._update(
            tenant,
            update,
            {f"#{name}": name for name in changes},
            values,
            "attribute_not_exists(#state) OR #state <> :purging",
        )

    async def set_state(self, tenant: Tenant, state: State, now: int) -> TenantRecord:
        current = await self.read_tenant(tenant)
        if current.state == state:
            return current
        return await self._update(
            tenant,
            "SET #format = :format, #state = :state, #since = :since",
            {"#since": "since"},
            {":state": text(state), ":since": number(now)},
            "attribute_not_exists(#state) OR #state <> :purging OR #state = :state",
        )

    async def _update(
        self, tenant: Tenant, update: str, names: Item, values: Item, condition: str
    ) -> TenantRecord:
        try:
            answer = await self._client.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": tenant_key(tenant),
                    "UpdateExpression": update,
                    "ConditionExpression": condition,
                    "ExpressionAttributeNames": {**_STATE, **names},
                    "ExpressionAttributeValues": {
                        ":format": number(_FORMAT),
                        ":purging": text("purging"),
                        **values,
                    },
                    "ReturnValues": "ALL_NEW",
                },
            )
        except ConditionFailed as refusal:
            raise BeingPurged(f"{tenant.id} is being purged") from refusal
        return tenant_record({**tenant_key(tenant), **answer["Attributes"]})

    async def forget_tenant(self, tenant: Tenant) -> None:
        with suppress(ConditionFailed):  # gone, by another run of the same purge
            await self._client.call(
                "DeleteItem",
                {
                    "TableName": self._table,
                    "Key": tenant_key(tenant),
                    "ConditionExpression": "#state = :purging",
                    "ExpressionAttributeNames": {"#state": "state"},
                    "ExpressionAttributeValues": {":purging": text("purging")},
                },
            )

    async def list_tenants(self) -> list[TenantRecord]:
        # A tenant has a record only if something was set for it; all have keys or counters.
        scan = {
            "TableName": self._table,
            "ConsistentRead": True,
            "FilterExpression": "begins_with(PK, :tenant) AND (SK = :record "
            "OR begins_with(SK, :key) OR begins_with(SK, :usage))",
            "ExpressionAttributeValues": {
                ":tenant": text("T#"),
                ":record": text("TENANT"),
                ":key": text("KEY#"),
                ":usage": text("USAGE#"),
            },
        }
        found: dict[str, TenantRecord] = {}
        for item in await self._all("Scan", scan):
            tenant = Tenant(item["PK"]["S"][2:])
            if item["SK"]["S"] == "TENANT":
                found[tenant.id] = tenant_record(item)
            else:
                found.setdefault(tenant.id, TenantRecord(tenant=tenant))
        return [found[name] for name in sorted(found)]


# --- items ----------------------------------------------------------------------------------


def tenant_key(tenant: Tenant) -> Item:
    return {"PK": text("T#" + tenant.id), "SK": text("TENANT")}


def tenant_record(item: Item) -> TenantRecord:
    rate = item.get("rate_per_second")
    given = item.get("state", {"S": "active"})["S"]
    [state] = [one for one in STATES if one == given]
    return TenantRecord(
        tenant=Tenant(item["PK"]["S"].removeprefix("T#")),
        state=state,
        since=moment(item, "since") or 0,
        quota_bytes=moment(item, "quota_bytes"),
        quota_documents=moment(item, "quota_documents"),
        rate_per_second=float(rate["N"]) if rate else None,
        uploads=moment(item, "uploads"),
        waiting=moment(item, "waiting"),
    )


def _checked(item: Item) -> None:
    """A record stands for itself alone; what makes no sense raises."""
    tenant_record(item)


KINDS = (ItemKind("T#", "TENANT", _checked),)
