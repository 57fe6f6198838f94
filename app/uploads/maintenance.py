"""What only the sweeper, the verifier and a restore do with uploads: to them each is an intent."""

from __future__ import annotations

from app.aws.attributes import Item, text
from app.aws.dynamodb import ConditionFailed
from app.documents.items import upload_key
from app.documents.maintenance import DocumentMaintenance
from app.documents.models import Intent
from app.maintenance.ports import OpenIntent
from app.records import Tenant
from app.uploads.dynamodb import DynamoUploads, as_intent
from app.uploads.models import Upload


class UploadMaintenance(DocumentMaintenance):
    """Intents, with uploads among them."""

    @property
    def _uploads(self) -> DynamoUploads:
        return DynamoUploads(self._client, self._table)

    async def read_intent(self, write_id: str) -> OpenIntent | None:
        found = await super().read_intent(write_id)
        if found is not None:
            return found
        upload = await self._uploads.read(write_id)
        return as_intent(upload) if upload else None

    async def reap_lapsed(self, write_id: str, now: int) -> OpenIntent | None:
        found = await super().reap_lapsed(write_id, now)
        if found is not None:
            return found
        upload = await self._uploads.read(write_id)
        if upload is None or upload.due_at is None or upload.due_at > now:
            return None
        if upload.state == "open" and not await self._uploads.reap(upload, now, lapsed=True):
            return None
        opened = as_intent(upload)
        return OpenIntent(opened.tenant, opened.intent, True) if opened else None

    async def reap_intent(self, tenant: Tenant, intent: Intent) -> bool:
        upload = await self._uploads.read(intent.write_id)
        if upload is None:
            return await super().reap_intent(tenant, intent)
        return await self._uploads.reap(upload, upload.urls_until)

    async def drop_intent(self, tenant: Tenant, intent: Intent, now: int = 0) -> None:
        upload = await self._uploads.read(intent.write_id)
        if upload is None:
            await super().drop_intent(tenant, intent)
        elif upload.state == "completed":
            values = {":completed": text("completed")}
            update = "REMOVE due_at, due_bucket"
            await self._if_so("UpdateItem", upload, "#state = :completed", values, update)
        elif upload.settled_at > now:
            await self._uploads.swept(upload)
        else:
            values = {":reaping": text("reaping")}
            await self._if_so("DeleteItem", upload, "#state = :reaping", values)

    async def _if_so(
        self, operation: str, upload: Upload, condition: str, values: Item, update: str = ""
    ) -> bool:
        """False if it is not so any more."""
        call = {
            "TableName": self._table,
            "Key": upload_key(upload.id),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": values,
        }
        try:
            await self._client.call(
                operation, {**call, **({"UpdateExpression": update} if update else {})}
            )
        except ConditionFailed:
            return False
        return True
