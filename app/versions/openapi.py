"""The versions' calls as a table: paths, scopes, and their documentation."""

from __future__ import annotations

from app import problems
from app.documents.openapi import (
    BODY_PROBLEMS,
    CHANGE_PROBLEMS,
    CONTENT_TAG,
    ID,
    IDEMPOTENCY_KEY,
    PAGE_PARAMETERS,
    WRITE_CONDITIONS,
    WRITE_PROBLEMS,
    content_reads,
    document_response,
)
from app.documents.routes import READ, WRITE
from app.versions.routes import VersionRoutes
from app.versions.schemas import VersionList, VersionModel
from app.web.openapi import PRIVATE, REPLAYED, json_content, path_parameter, reference
from app.web.route import Route

SCHEMAS = (VersionModel, VersionList)
TAGS = {"versions": "What a document's bytes were before"}

_NUMBER = path_parameter(
    "n", "The version", {"type": "integer", "minimum": 1, "maximum": 9_999_999_999}
)


def routes(handlers: VersionRoutes) -> list[Route]:
    """The feature's route table."""
    path = "/v1/documents/{id}/versions"
    return [
        Route(
            name="listVersions",
            method="GET",
            path=path,
            handler=handlers.listed,
            scope=READ,
            tag="versions",
            summary="List a document's versions, newest first",
            parameters=(ID, *PAGE_PARAMETERS),
            responses={"200": json_content("A page", reference(VersionList), PRIVATE)},
            problems=(problems.NotFound, problems.BadParameter),
        ),
        *content_reads(
            path + "/{n}/content",
            handlers.content,
            (ID, _NUMBER),
            ("readVersionContent", "headVersionContent"),
            "the bytes of a version",
            tag="versions",
        ),
        Route(
            name="restoreVersion",
            method="POST",
            path=path + "/{n}/restore",
            handler=handlers.restore,
            scope=WRITE,
            tag="versions",
            summary="Make the bytes of a version the current ones",
            description=(
                "As a new version; nothing is copied, and the restored one stays. `If-Match` takes "
                "the content's ETag, and `ETag` answers with the new one. Of the current version: "
                "the document, unchanged."
            ),
            parameters=(ID, _NUMBER, *WRITE_CONDITIONS, IDEMPOTENCY_KEY),
            responses={"200": document_response("The document", CONTENT_TAG)},
            problems=(*CHANGE_PROBLEMS, *BODY_PROBLEMS),
        ),
        Route(
            name="deleteVersion",
            method="DELETE",
            path=path + "/{n}",
            handler=handlers.delete,
            scope=WRITE,
            tag="versions",
            summary="Delete a version, for good",
            description="Bytes that no other version has are removed within minutes.",
            parameters=(ID, _NUMBER, IDEMPOTENCY_KEY),
            responses={"204": {"description": "Deleted", "headers": REPLAYED}},
            problems=(
                problems.VersionCurrent,
                problems.NotFound,
                *WRITE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
        ),
    ]
