"""What becomes of a key whose request has failed. How keys work is in tests/api."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.documents.models import Document
from app.idempotency.models import Claim, IdempotentRequest, StoredResponse
from app.idempotency.service import Idempotency
from app.problems import NotFound
from app.records import Tenant
from app.storage.errors import OutcomeUnknown, Unavailable
from app.tasks import Tasks


class Table:
    """Of the table, only the giving back of keys, which fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.asked = 0

    async def release_claim(self, tenant: Tenant, claim: Claim) -> None:
        self.asked += 1
        raise self._error


@pytest.mark.parametrize("error", [Unavailable("away"), OutcomeUnknown("no answer")])
async def test_a_refusal_stays_what_it_is_when_the_key_cannot_be_given_back(
    error: Exception,
) -> None:
    async def action(attempt: IdempotentRequest[Document] | None) -> Document:
        raise NotFound("There is no such document.")

    table = Table(error)
    context: Any = SimpleNamespace(caller=SimpleNamespace(tenant=Tenant("acme")))
    attempt: IdempotentRequest[Document] = IdempotentRequest(
        Claim("key", "owner", "fingerprint"), lambda _: StoredResponse(204, {}, b"")
    )
    idempotency = Idempotency(table, Tasks(), 0)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        await idempotency._first(context, attempt, action)
    assert table.asked == 1
