"""What most would write: FastAPI on uvicorn, boto3 in a pool of threads."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import boto3
import uvicorn
from botocore.config import Config
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from load.bench.servers import shapes
from load.bench.servers.shapes import Draft, Key

THREADS = 40

dynamodb: Any = boto3.client("dynamodb", config=Config(**shapes.CLIENT))
s3: Any = boto3.client("s3", config=Config(**shapes.S3_CLIENT))
keys = shapes.Keys()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    gc.collect()
    gc.freeze()
    yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


def key_of(request: Request) -> Key:
    authorization = request.headers["authorization"]
    while (key := keys.get(authorization)) is None:
        answer = dynamodb.get_item(**keys.question(authorization))
        keys.learn(authorization, answer["Item"])
    return key


@app.get("/livez")
async def livez() -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


@app.get("/v1/documents/{document_id}")
def read(document_id: str, request: Request) -> Response:
    tenant = key_of(request).tenant
    return shapes.document_response(
        dynamodb.get_item(**shapes.get_item(tenant, document_id))["Item"]
    )


@app.get("/v1/documents")
def listed(request: Request, limit: int = 50) -> Response:
    tenant = key_of(request).tenant
    return shapes.page_response(dynamodb.query(**shapes.query(tenant, limit))["Items"], limit)


@app.get("/v1/documents/{document_id}/content")
def content(document_id: str, request: Request, delivery: str = "stream") -> Response:
    tenant = key_of(request).tenant
    item = dynamodb.get_item(**shapes.get_item(tenant, document_id))["Item"]
    if delivery == "redirect":
        url = s3.generate_presigned_url("get_object", **shapes.presign(tenant, item))
        return Response(None, 307, {"Location": url})
    answer = s3.get_object(**shapes.get_object(tenant, item))
    return shapes.content_response(item, answer["Body"].read())


@app.post("/v1/documents")
async def create(request: Request) -> Response:
    return await run_in_threadpool(_create, request, await request.body())


def _create(request: Request, body: bytes) -> Response:
    draft = Draft(key_of(request), request.headers, body)
    dynamodb.put_item(**draft.put_intent())
    s3.put_object(**draft.put_object())
    transaction, item = draft.transaction()
    dynamodb.transact_write_items(**transaction)
    return draft.response(item)


if __name__ == "__main__":
    uvicorn.run(app, **shapes.SERVER)
