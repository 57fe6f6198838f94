"""What a careful team would write: FastAPI on uvicorn, aiobotocore on the loop."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from fastapi import FastAPI, Request, Response

from load.bench.servers import shapes
from load.bench.servers.shapes import Draft, Key

dynamodb: Any = None
s3: Any = None
keys = shapes.Keys()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    global dynamodb, s3
    session = get_session()
    async with (
        session.create_client("dynamodb", config=AioConfig(**shapes.CLIENT)) as dynamodb,
        session.create_client("s3", config=AioConfig(**shapes.S3_CLIENT)) as s3,
    ):
        gc.collect()
        gc.freeze()
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


async def key_of(request: Request) -> Key:
    authorization = request.headers["authorization"]
    while (key := keys.get(authorization)) is None:
        answer = await dynamodb.get_item(**keys.question(authorization))
        keys.learn(authorization, answer["Item"])
    return key


async def find(tenant: str, document_id: str) -> dict[str, Any]:
    answer = await dynamodb.get_item(**shapes.get_item(tenant, document_id))
    item: dict[str, Any] = answer["Item"]
    return item


@app.get("/livez")
async def livez() -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


@app.get("/v1/documents/{document_id}")
async def read(document_id: str, request: Request) -> Response:
    return shapes.document_response(await find((await key_of(request)).tenant, document_id))


@app.get("/v1/documents")
async def listed(request: Request, limit: int = 50) -> Response:
    tenant = (await key_of(request)).tenant
    answer = await dynamodb.query(**shapes.query(tenant, limit))
    return shapes.page_response(answer["Items"], limit)


@app.get("/v1/documents/{document_id}/content")
async def content(document_id: str, request: Request, delivery: str = "stream") -> Response:
    tenant = (await key_of(request)).tenant
    item = await find(tenant, document_id)
    if delivery == "redirect":
        url = await s3.generate_presigned_url("get_object", **shapes.presign(tenant, item))
        return Response(None, 307, {"Location": url})
    answer = await s3.get_object(**shapes.get_object(tenant, item))
    async with answer["Body"] as body:
        return shapes.content_response(item, await body.read())


@app.post("/v1/documents")
async def create(request: Request) -> Response:
    draft = Draft(await key_of(request), request.headers, await request.body())
    await dynamodb.put_item(**draft.put_intent())
    await s3.put_object(**draft.put_object())
    transaction, item = draft.transaction()
    await dynamodb.transact_write_items(**transaction)
    return draft.response(item)


if __name__ == "__main__":
    uvicorn.run(app, **shapes.SERVER)
