"""With the client that openapi-python-client generates: create, find, read, replace, patch, delete
and restore a document. Takes the service's address and an API key."""

import json
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
    document_metadata=json.dumps({"project": "alpha"}),
)
tags, project = ",".join(created.tags), created.metadata["project"]
print(f"created {created.name}: {created.size} bytes, tags {tags}, project {project}")

page = list_documents.sync(client=client, tag="generated")
print("found", *(document.name for document in page.items if document.id == created.id))
print("read", read_content.sync(created.id, client=client).payload.read().decode())

replaced = replace_content.sync(
    created.id, client=client, body=File(payload=BytesIO(b"second")), if_match=created.content_etag
)
print(f"replaced: version {replaced.version}, {replaced.size} bytes")

patched = patch_document.sync(created.id, client=client, body=DocumentPatch(name="renamed.txt"))
print("renamed to", patched.name)

deleted = delete_document.sync_detailed(created.id, client=client)
gone = read_document.sync(created.id, client=client)
assert isinstance(gone, Problem)
print(f"deleted ({deleted.status_code}), then {gone.status} {gone.type_}")

restored = restore_document.sync(created.id, client=client)
content = read_content.sync(created.id, client=client).payload.read().decode()
state = "there again" if restored.deleted_at is None else "still deleted"
print(f"{restored.name} is {state}: {content}")
