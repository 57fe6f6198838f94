"""With the client that openapi-generator generates for Python: create, find, read, replace, patch,
delete and restore a document. Takes the service's address and an API key."""

import json
import sys

from strongroom import ApiClient, Configuration, DocumentPatch, DocumentsApi
from strongroom.exceptions import NotFoundException

url, key = sys.argv[1:]
with ApiClient(Configuration(host=url, access_token=key)) as client:
    documents = DocumentsApi(client)

    created = documents.create_document(
        body=b"first",
        content_disposition='attachment; filename="report.txt"',
        document_tags="generated",
        document_metadata=json.dumps({"project": "alpha"}),
    )
    tags, project = ",".join(created.tags), created.metadata["project"]
    print(f"created {created.name}: {created.size} bytes, tags {tags}, project {project}")

    page = documents.list_documents(tag="generated")
    print("found", *(document.name for document in page.items if document.id == created.id))
    print("read", documents.read_content(created.id).decode())

    replaced = documents.replace_content(created.id, body=b"second", if_match=created.content_etag)
    print(f"replaced: version {replaced.version}, {replaced.size} bytes")

    patched = documents.patch_document(created.id, DocumentPatch(name="renamed.txt"))
    print("renamed to", patched.name)

    deleted = documents.delete_document_with_http_info(created.id)
    try:
        documents.read_document(created.id)
    except NotFoundException as error:
        gone = error.data
        print(f"deleted ({deleted.status_code}), then {gone.status} {gone.type}")

    restored = documents.restore_document(created.id)
    content = documents.read_content(created.id).decode()
    state = "there again" if restored.deleted_at is None else "still deleted"
    print(f"{restored.name} is {state}: {content}")
