"""Keys of the table: no two things share one. Records: what is written is what is read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.aws.attributes import Item, number, text
from app.documents import items
from app.documents.models import Checksum, Document, Intent
from app.idempotency import dynamodb as idempotency
from app.idempotency.dynamodb import claim_key
from app.idempotency.models import Claim, Settlement, StoredResponse
from app.keys import dynamodb as keys
from app.keys.models import ApiKey
from app.maintenance.ports import GivenAnswer, OpenIntent, Released
from app.records import Tenant
from app.usage import dynamodb as usage
from app.usage.dynamodb import usage_key
from app.usage.models import Day, Held, Usage

# Tenants' names are a-z, 0-9 and '-' (app.keys.service.tenant); ids are Crockford's base 32.
TENANTS = st.builds(Tenant, st.from_regex("[a-z0-9][a-z0-9-]{0,3}", fullmatch=True))
IDS = st.text("01AZ", min_size=2, max_size=4)
# Of the characters that part keys, and of what stands between them.
VALUES = st.lists(
    st.sampled_from(["#", "T", "TAG", "SHA", "D", "0", "a", "ab", "-", "acme", "\x00", "é"]),
    min_size=1,
    max_size=8,
).map("".join)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
ENTRIES = st.one_of(
    st.tuples(TENANTS, st.just("TAG"), VALUES, IDS), st.tuples(TENANTS, st.just("SHA"), HEX, IDS)
)


@given(ENTRIES, ENTRIES)
@example((Tenant("a"), "TAG", "x#SHA#0", "00"), (Tenant("a"), "SHA", "0", "00"))
@example((Tenant("a"), "TAG", "0" * 64, "00"), (Tenant("a"), "SHA", "0" * 64, "00"))
@example((Tenant("a"), "TAG", "0#TAG#x", "00"), (Tenant("a"), "TAG", "x", "00"))
@example((Tenant("a"), "TAG", "x", "00"), (Tenant("b"), "TAG", "x", "00"))
def test_index_entries_share_a_key_only_if_they_are_the_same(
    one: tuple[Tenant, str, str, str], other: tuple[Tenant, str, str, str]
) -> None:
    assert (items.entry_key(*one) == items.entry_key(*other)) == (one == other)
    same_partition = items.entry_key(*one)["PK"] == items.entry_key(*other)["PK"]
    assert not same_partition or one[:3] == other[:3]


@given(ENTRIES, TENANTS, IDS)
def test_an_entry_is_never_among_documents(
    entry: tuple[Tenant, str, str, str], tenant: Tenant, document_id: str
) -> None:
    partition = items.entry_key(*entry)["PK"]
    assert partition != items.document_key(tenant, document_id)["PK"]
    assert partition != usage_key(tenant, 0)["PK"]


@given(TENANTS, TENANTS, IDS, IDS, st.integers(1, 20), st.integers(1, 20))
def test_what_belongs_to_a_tenant_has_its_name_in_the_partition(
    one: Tenant, other: Tenant, first: str, second: str, n: int, m: int
) -> None:
    same = one == other
    documents = items.document_key(one, first), items.document_key(other, second)
    assert (documents[0] == documents[1]) == (same and first == second)
    versions = items.version_key(one, first, n), items.version_key(other, second, m)
    assert (versions[0] == versions[1]) == (same and first == second and n == m)
    claims = claim_key(one, first), claim_key(other, second)
    assert (claims[0] == claims[1]) == (same and first == second)
    assert (usage_key(one, n) == usage_key(other, m)) == (same and n == m)


# --- records --------------------------------------------------------------------------------

ACME = Tenant("acme")
SHA256 = "a" * 64
PLAIN = Document(
    id="0001",
    name="plain.txt",
    content_type="text/plain",
    size=11,
    sha256=SHA256,
    revision=12,
    version=13,
    content_id="content-id-00001",
    created_at=14,
    updated_at=15,
    created_by="key-1",
    recent_write_ids="write-id-0000001",
)
# All that a document may have; every value is another one, so that none can stand in for another.
FULL = dataclasses.replace(
    PLAIN,
    sha256=None,
    tags=("b", "a"),
    metadata_json='{"k":1}',
    composite=Checksum("sha256-composite", "c" * 44, 16),
    expires_at=17,
    deleted_at=18,
    purge_after=19,
    purging=True,
    key="a/b.txt",
    content_at=20,
    content_by="key-3",
    older=26,
)


def written(document: Document) -> Item:
    return {**items.document_key(ACME, document.id), **items.document_attributes(document)}


@pytest.mark.parametrize("kept", [PLAIN, FULL], ids=["plain", "full"])
def test_a_document_is_read_as_it_was_written(kept: Document) -> None:
    assert items.document(written(kept)) == kept


def test_the_full_document_sets_every_field_to_a_value_of_its_own() -> None:
    values: dict[str, Any] = {
        field.name: getattr(FULL, field.name) for field in dataclasses.fields(Document)
    }
    # sha256 is the other half of an either-or: the plain document has it.
    assert [name for name, value in values.items() if value is None] == ["sha256"]
    assert len({repr(value) for value in values.values()}) == len(values)
    for field in dataclasses.fields(Document):
        if field.default is not dataclasses.MISSING and field.name != "recent_write_ids":
            assert values[field.name] != field.default, f"set {field.name} in FULL"


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in dataclasses.fields(Document)
        if field.default is not dataclasses.MISSING
        and field.name not in ("recent_write_ids", "composite")
    ],
)
def test_a_document_keeps_each_optional_field_by_itself(name: str) -> None:
    kept = dataclasses.replace(PLAIN, **{name: getattr(FULL, name)})
    assert items.document(written(kept)) == kept


def test_a_version_is_read_as_it_was_written() -> None:
    for document in (PLAIN, FULL):
        kept = document.current
        assert items.version(items.version_item(ACME, document.id, kept)) == kept
    assert (PLAIN.current.created_at, PLAIN.current.created_by) == (
        PLAIN.created_at,
        PLAIN.created_by,
    )
    assert (FULL.current.created_at, FULL.current.created_by) == (20, "key-3")


def test_what_a_version_leaves_is_read_as_it_was_written() -> None:
    item = items.released_item(ACME, "0001", FULL.current, 25)
    kept = Released(ACME, "0001", FULL.content_id, FULL.size)
    assert items.released(item) == items.due(item) == kept
    assert item["PK"] == items.intent_key(FULL.content_id)["PK"]


def test_an_intent_is_read_as_it_was_written() -> None:
    intent = Intent("write-id-0000001", "0001", 21)
    item = items.intent_item(ACME, intent)
    assert items.open_intent(item) == OpenIntent(ACME, intent, False)
    assert items.open_intent(item | {"state": text("reaping")}) == OpenIntent(ACME, intent, True)


def test_a_claim_and_the_answer_it_was_settled_with_are_read_as_they_were_written() -> None:
    claim = Claim("key-hash", "owner-1", "fingerprint-1")
    item = idempotency.claim_item(ACME, claim, 22, 23_000)
    assert idempotency.settled(item) is None
    assert idempotency.KINDS[0].read(item) is None
    body = b'{"id":"0001","expires_at":"1970-01-01T00:00:24.000Z"}'
    outcome = Settlement(StoredResponse(201, {"etag": '"1"'}, body), "d" * 64)
    values = idempotency.settled_values(outcome)
    item |= {
        "state": values[":settled"],
        "answer": values[":answer"],
        "body_sha256": values[":body"],
    }
    assert idempotency.settled(item) == outcome
    assert idempotency.KINDS[0].read(item) == GivenAnswer(
        ACME, claim.key, claim.owner, 23_000, "0001", 24_000
    )


@pytest.mark.parametrize(
    "further",
    [
        {},
        {"expires_at": 32, "revoked_at": 33},
        {"ends_at": 34, "last_used_at": 35, "created_by": "oidc:0123456789abcdef"},
        {"key_prefix": "a/é", "rate_per_second": 0.25},
        {"rate_per_second": 7},
    ],
    ids=str,
)
def test_an_api_key_is_read_as_it_was_written(further: dict[str, Any]) -> None:
    key = ApiKey(
        id="key-1",
        tenant=ACME,
        secret_sha256="e" * 64,
        scopes=frozenset({"documents:read", "keys:admin"}),
        name="a note",
        created_at=31,
        **further,
    )
    item = keys.api_key_item(key)
    assert keys.api_key(item) == key
    assert item["format"] == number(1)


def test_an_api_key_of_an_earlier_release_has_no_limits_of_its_own() -> None:
    key = ApiKey(
        id="key-1",
        tenant=ACME,
        secret_sha256="e" * 64,
        scopes=frozenset({"documents:read"}),
        name="",
        created_at=31,
    )
    item = keys.api_key_item(key)
    del item["format"]
    assert keys.api_key(item) == key


def test_a_usage_counter_is_read_as_it_is_kept() -> None:
    item = {**usage_key(ACME, 7), "bytes": number(41), "documents": number(42)}
    assert usage.usage(ACME, item) == Usage(ACME, 7, 41, 42)  # of a release that counted no more
    item |= {"versions": number(43), "uploads": number(44), "changes": number(45)}
    assert usage.usage(ACME, item) == Usage(ACME, 7, 41, 42, 43, 44, 45)


def test_a_day_is_read_as_it_is_kept() -> None:
    day = Day("2026-03-01", Held(41, 42, 43, 44))
    assert usage.day(usage.day_item(ACME, day, 1000)) == day


@given(
    st.builds(
        Document,
        id=IDS,
        sha256=HEX,
        composite=st.none(),
        metadata_json=st.sampled_from(["{}", '{"a":[1,null]}']),
        tags=st.lists(st.text(min_size=1)).map(tuple),
    )
)
def test_any_document_is_read_as_it_was_written(document: Document) -> None:
    assert items.document(written(document)) == document
