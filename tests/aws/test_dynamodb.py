"""What the table's adapter makes of answers that no emulator gives, and of those that get lost."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from app.aws.dynamodb import DynamoDB
from app.aws.endpoints import Endpoint
from app.aws.sigv4 import Credentials
from app.aws.transport import HttpResponse, RequestNotSent, ResponseLost
from app.documents import items
from app.documents.models import Change, Document, Intent
from app.documents.ports import Conflict, Index, IntentClosed
from app.records import Tenant
from app.storage import deadline
from app.storage.errors import Contention, OutcomeUnknown, Unavailable
from tests.support.tables import EveryTable

ACME = Tenant("acme")
BEFORE = Document(
    id="01M86STV896835EJVAKZMM69G0",
    name="a",
    content_type="text/plain",
    size=1,
    sha256="ab",
    revision=5,
    version=1,
    content_id="c" * 16,
    created_at=1,
    updated_at=1,
    created_by="k",
    recent_write_ids="w" * 16,
)


class Script:
    """A transport that gives prepared answers, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def request(self, endpoint: Any, head: bytes, body: Any = b"", **_: Any) -> HttpResponse:
        self.asked.append(orjson.loads(body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, content = answer
        return HttpResponse(status, {}, orjson.dumps(content))


class Credential:
    def current(self) -> Credentials:
        return Credentials("id", "secret", None)


def table(*answers: Any, seconds: float = 5) -> tuple[EveryTable, Script]:
    script = Script(*answers)
    client = DynamoDB(script, Endpoint.parse("http://127.0.0.1:1"), "r", Credential())  # type: ignore[arg-type]
    deadline.start(seconds)
    return EveryTable(client, "t"), script


def change(write_id: str = "n" * 16, **changes: Any) -> Change:
    after = dataclasses.replace(
        BEFORE,
        revision=6,
        recent_write_ids=BEFORE.remembering(write_id),
        **(changes or {"name": "b"}),
    )
    return Change(write_id=write_id, before=BEFORE, after=after)


def an_error(name: str, status: int = 400, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"__type": f"com.amazonaws.dynamodb.v20120810#{name}", "message": "", **more}


def item_of(document: Document) -> dict[str, Any]:
    return {**items.document_key(ACME, document.id), **items.document_attributes(document)}


def cancelled(*codes: str, item: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    reasons: list[dict[str, Any]] = [{"Code": code} for code in codes]
    if item is not None:
        reasons[0]["Item"] = item
    return an_error("TransactionCanceledException", CancellationReasons=reasons)


OK = (200, dict[str, Any]())
THROTTLED = an_error("ProvisionedThroughputExceededException")


@pytest.mark.parametrize(
    "first",
    [
        RequestNotSent("x"),
        ResponseLost("x"),
        THROTTLED,
        an_error("InternalServerError", 500),
        an_error("TransactionConflictException"),
        an_error("ThrottlingException"),
    ],
)
async def test_what_may_pass_is_tried_again_with_the_same_bytes(first: Any) -> None:
    adapter, script = table(first, first, OK)
    await adapter.commit(ACME, change())
    assert len(script.asked) == 3
    assert script.asked[0] == script.asked[1] == script.asked[2]


async def test_a_lost_answer_that_had_been_a_success_is_a_success() -> None:
    mine = change()
    refused = an_error("ConditionalCheckFailedException", Item=item_of(mine.after))
    adapter, _ = table(ResponseLost("x"), refused)
    await adapter.commit(ACME, mine)


async def test_it_is_recognised_under_fifteen_writes_that_followed() -> None:
    mine = change()
    writes = (mine.after.recent_write_ids + "".join(f"{n:016d}" for n in range(15)))[-256:]
    later = dataclasses.replace(mine.after, revision=21, recent_write_ids=writes)
    refused = an_error("ConditionalCheckFailedException", Item=item_of(later))
    adapter, _ = table(ResponseLost("x"), refused)
    await adapter.commit(ACME, mine)


async def test_after_more_writes_than_are_remembered_nobody_claims_to_know() -> None:
    mine = change()
    writes = "".join(f"{n:016d}" for n in range(16))
    later = dataclasses.replace(mine.after, revision=23, recent_write_ids=writes)
    refused = an_error("ConditionalCheckFailedException", Item=item_of(later))
    adapter, _ = table(ResponseLost("x"), refused)
    with pytest.raises(OutcomeUnknown):
        await adapter.commit(ACME, mine)
    adapter, _ = table(refused)  # nothing was lost: it is a plain lost race
    with pytest.raises(Conflict):
        await adapter.commit(ACME, mine)


async def test_a_write_that_is_never_answered_is_no_refusal() -> None:
    adapter, _ = table(ResponseLost("x"), seconds=0.3)
    with pytest.raises(OutcomeUnknown):
        await adapter.commit(ACME, change())


@pytest.mark.parametrize("answer", [ResponseLost("x"), an_error("InternalServerError", 500)])
async def test_a_read_that_is_never_answered_has_no_outcome(answer: Any) -> None:
    adapter, _ = table(answer, seconds=0.3)
    with pytest.raises(Unavailable) as refused:
        await adapter.read(ACME, BEFORE.id)
    assert not isinstance(refused.value, OutcomeUnknown)
    with pytest.raises(Unavailable) as refused:
        await adapter.page(ACME, Index(), below=None, above=None, limit=1)
    assert not isinstance(refused.value, OutcomeUnknown)


async def test_a_write_that_is_never_sent_has_not_happened() -> None:
    adapter, script = table(RequestNotSent("x"), seconds=5)
    with pytest.raises(Unavailable) as refused:
        await adapter.commit(ACME, change())
    assert not isinstance(refused.value, OutcomeUnknown)
    assert len(script.asked) == 7


async def test_a_conflict_of_transactions_is_tried_again_with_another_token() -> None:
    busy = cancelled("TransactionConflict", "None")
    adapter, script = table(busy, busy, OK)
    await adapter.commit(ACME, change(tags=("t",)))
    tokens = [asked["ClientRequestToken"] for asked in script.asked]
    assert len(set(tokens)) == 3


async def test_endless_conflicts_are_contention_and_no_lost_race() -> None:
    for answer in (
        cancelled("None", "TransactionConflict"),
        an_error("TransactionConflictException"),
    ):
        adapter, _ = table(answer, seconds=0.3)
        with pytest.raises(Contention):
            await adapter.commit(ACME, change(tags=("t",)))


async def test_a_transaction_that_is_still_running_is_waited_for() -> None:
    running = an_error("TransactionInProgressException")
    adapter, script = table(ResponseLost("x"), running, OK)
    await adapter.commit(ACME, change(tags=("t",)))
    assert len({asked["ClientRequestToken"] for asked in script.asked}) == 1


async def test_a_cancelled_transaction_that_had_been_committed_is_a_success() -> None:
    mine = change(tags=("t",))
    adapter, _ = table(
        ResponseLost("x"), cancelled("ConditionalCheckFailed", "None", item=item_of(mine.after))
    )
    await adapter.commit(ACME, mine)


async def test_a_closed_intent_is_told_from_a_lost_race() -> None:
    mine = dataclasses.replace(change(version=2), intent=Intent("i" * 16, BEFORE.id, 0))
    adapter, _ = table(cancelled("None", "ConditionalCheckFailed", "None"))
    with pytest.raises(IntentClosed):
        await adapter.commit(ACME, mine)
    adapter, _ = table(
        cancelled("ConditionalCheckFailed", "ConditionalCheckFailed", item=item_of(BEFORE))
    )
    with pytest.raises(Conflict):
        await adapter.commit(ACME, mine)


@pytest.mark.parametrize(
    "answer",
    [
        an_error("ResourceNotFoundException"),
        an_error("AccessDeniedException"),
        an_error("ExpiredTokenException"),
        an_error("UnrecognizedClientException"),
    ],
)
async def test_an_operators_mistake_is_a_backend_that_is_away(answer: Any) -> None:
    adapter, script = table(answer)
    with pytest.raises(Unavailable, match="refuses"):
        await adapter.read(ACME, BEFORE.id)
    assert len(script.asked) == 1


@pytest.mark.parametrize("answer", [(403, "not an object"), (408, {}), (400, {}), (200, "<html>")])
async def test_a_gateways_word_is_not_the_tables(answer: Any) -> None:
    """It may have passed the call on: what was read is not absent, what was written unknown."""
    adapter, _ = table(answer, seconds=0.3)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await adapter.read(ACME, BEFORE.id)
    with pytest.raises(OutcomeUnknown):
        await adapter.commit(ACME, change())


async def test_keys_that_were_left_over_are_asked_for_again() -> None:
    ids = [f"01M86STV896835EJVAKZMM69G{n}" for n in "0123"]
    documents = [dataclasses.replace(BEFORE, id=i) for i in ids]
    entries = [{"SK": {"S": f"D#{i}"}} for i in ids[::-1]]
    left = {"t": {"Keys": [items.document_key(ACME, ids[0])]}}
    adapter, script = table(
        (200, {"Items": entries}),
        (200, {"Responses": {"t": [item_of(d) for d in documents[1:]]}, "UnprocessedKeys": left}),
        (200, {"Responses": {"t": [item_of(documents[0])]}}),
    )
    from app.documents.ports import Index

    page = await adapter.page(ACME, Index("tag", "x"), below=None, above=None, limit=4)
    assert list(page.documents) == documents[::-1]
    assert len(script.asked) == 3
