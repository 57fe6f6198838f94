"""Keys of the table: no two things share one, whatever clients put into tags."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from app.documents import items
from app.idempotency.dynamodb import claim_key
from app.records import Tenant
from app.usage.dynamodb import usage_key

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
