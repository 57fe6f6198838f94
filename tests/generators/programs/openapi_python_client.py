"""What a user writes with the client that openapi-python-client generates: run by its test, with
the address and a key of a service."""

import sys
from io import BytesIO

from strongroom_client import AuthenticatedClient
from strongroom_client.api.documents import (
    create_document,
    delete_document,
    list_documents,
    patch_document,
    read_content,
    read_document,
    replace_content,
    restore_document,
)
from strongroom_client.models import DocumentPatch, Problem
from strongroom_client.types import File

url, key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True)

created = create_document.sync(
    client=client,
    body=File(payload=BytesIO(b"first")),
    content_disposition='attachment; filename="report.txt"',
    document_tags="generated",
)
assert (created.name, created.size, created.tags) == ("report.txt", 5, ["generated"]), created
found = list_documents.sync(client=client, tag="generated")
assert created.id in [document.id for document in found.items], found
assert read_content.sync(created.id, client=client).payload.read() == b"first"
replaced = replace_content.sync(
    created.id, client=client, body=File(payload=BytesIO(b"second")), if_match=created.content_etag
)
assert (replaced.version, replaced.size) == (2, 6), replaced
patched = patch_document.sync(created.id, client=client, body=DocumentPatch(name="renamed.txt"))
assert patched.name == "renamed.txt", patched
assert delete_document.sync_detailed(created.id, client=client).status_code == 204
gone = read_document.sync(created.id, client=client)
assert isinstance(gone, Problem), gone
assert (gone.type_, gone.status) == ("/problems#not-found", 404), gone
restored = restore_document.sync(created.id, client=client)
assert restored.deleted_at is None, restored
print("all calls answered as documented")
