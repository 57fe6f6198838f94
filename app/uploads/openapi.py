"""The uploads' calls as a table: paths, scopes, and their documentation."""

from __future__ import annotations

from app import problems
from app.documents.openapi import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY,
    REVISION_TAG,
    WRITE_PROBLEMS,
    document_response,
)
from app.documents.routes import WRITE
from app.uploads.models import LARGEST_SINGLE, MOST_PARTS
from app.uploads.routes import UploadRoutes
from app.uploads.schemas import (
    MOST_SIGNED,
    PARTS_EXAMPLE,
    UPLOAD_EXAMPLE,
    UPLOAD_ID_PATTERN,
    PartsRequest,
    SignedParts,
    UploadModel,
    UploadProgress,
    UploadRequest,
)
from app.web.context import JSON
from app.web.openapi import (
    REPLAYED,
    body,
    condition,
    header,
    json_content,
    matching,
    path_parameter,
    reference,
)
from app.web.route import Route

SCHEMAS = (UploadRequest, UploadModel, UploadProgress, PartsRequest, SignedParts)
TAGS = {"uploads": "Bytes that clients put into the bucket themselves"}

_ID = path_parameter(
    "upload_id", "The upload's id", matching(UPLOAD_ID_PATTERN, "q83vASNFZ4mrze8B")
)
_SECRET = {
    "Cache-Control": header("URLs are secrets", {"type": "string", "const": "no-store"}),
}
_JSON_PROBLEMS = (
    problems.MalformedJson,
    problems.InvalidDocument,
    problems.UnsupportedMediaType,
    *BODY_PROBLEMS,
)


def routes(handlers: UploadRoutes) -> list[Route]:
    """The feature's route table."""
    one = "/v1/uploads/{upload_id}"
    return [
        Route(
            name="createUpload",
            method="POST",
            path="/v1/uploads",
            handler=handlers.create,
            scope=WRITE,
            tag="uploads",
            summary="Begin to upload straight to S3",
            description=(
                f"Up to {LARGEST_SINGLE} bytes may come at once: `request` says what to send, and "
                "lives for 15 minutes at most; `GET` gives another one. More, or with a "
                f"`part_size`, come in at most {MOST_PARTS} parts. Nothing can be read before the "
                "upload is completed."
            ),
            parameters=(
                condition(
                    "If-Match",
                    "Entity tags of the content that a new version replaces, or `*`; asked here "
                    "and when it is completed: 412",
                ),
                IDEMPOTENCY_KEY,
            ),
            request_body=body(
                {JSON: {"schema": reference(UploadRequest), "example": UPLOAD_EXAMPLE}}
            ),
            responses={
                "201": json_content(
                    "The upload",
                    reference(UploadModel),
                    {
                        **_SECRET,
                        **REPLAYED,
                        "Location": header(
                            "The upload's address", {"type": "string", "format": "uri-reference"}
                        ),
                    },
                )
            },
            problems=(
                problems.NotFound,
                problems.KeyTaken,
                problems.OutsidePrefix,
                problems.QuotaExceeded,
                problems.PreconditionFailed,
                *_JSON_PROBLEMS,
                *WRITE_PROBLEMS,
            ),
        ),
        Route(
            name="readUpload",
            method="GET",
            path=one,
            handler=handlers.read,
            scope=WRITE,
            tag="uploads",
            summary="Read an upload, and what of it has arrived",
            description="Enough to go on after a crash with nothing but the id.",
            parameters=(_ID,),
            responses={"200": json_content("The upload", reference(UploadProgress), _SECRET)},
            problems=(problems.NotFound,),
        ),
        Route(
            name="abortUpload",
            method="DELETE",
            path=one,
            handler=handlers.abort,
            scope=WRITE,
            tag="uploads",
            summary="Abort an upload",
            description="Nothing of it can ever be read, whatever still arrives.",
            parameters=(_ID, IDEMPOTENCY_KEY),
            responses={"204": {"description": "Aborted", "headers": REPLAYED}},
            problems=(
                problems.NotFound,
                problems.UploadCompleted,
                *WRITE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
        ),
        Route(
            name="signParts",
            method="POST",
            path=one + "/parts",
            handler=handlers.sign_parts,
            scope=WRITE,
            tag="uploads",
            summary="Ask how to send parts",
            description=(
                f"At most {MOST_SIGNED} at once. The URLs live for 15 minutes at most, and can be "
                "asked for again; a part that is sent again replaces what was sent before."
            ),
            parameters=(_ID,),
            request_body=body(
                {JSON: {"schema": reference(PartsRequest), "example": PARTS_EXAMPLE}}
            ),
            responses={"200": json_content("How to send them", reference(SignedParts), _SECRET)},
            problems=(problems.NotFound, problems.UploadCompleted, *_JSON_PROBLEMS),
        ),
        Route(
            name="completeUpload",
            method="POST",
            path=one + "/complete",
            handler=handlers.complete,
            scope=WRITE,
            tag="uploads",
            summary="Make a document of what was uploaded",
            description=(
                "Or a new version, with 201 as well. The bytes are verified first: their size, "
                "their checksum, every part. Of a completed upload, for 24 hours: 200 and the "
                "document as it is now."
            ),
            parameters=(_ID, IDEMPOTENCY_KEY),
            responses={
                "200": document_response("Completed before", REVISION_TAG),
                "201": document_response("The document", REVISION_TAG, location=True),
            },
            problems=(
                problems.NotFound,
                problems.KeyTaken,
                problems.QuotaExceeded,
                problems.PreconditionFailed,
                problems.UploadIncomplete,
                problems.DigestMismatch,
                problems.InvalidDocument,
                *WRITE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
        ),
    ]
