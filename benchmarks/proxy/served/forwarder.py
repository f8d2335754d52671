"""The least proxy that people write: starlette, and httpx to the provider."""

import os
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PASSED = ("content-type", "authorization")


@asynccontextmanager
async def lifespan(app):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=os.environ["UPSTREAM"], limits=limits, timeout=60) as client:
        app.state.client = client
        yield


async def forward(request):
    client = request.app.state.client
    headers = {name: request.headers[name] for name in PASSED if name in request.headers}
    sent = client.build_request("POST", request.url.path, content=await request.body(), headers=headers)
    reply = await client.send(sent, stream=True)
    kind = reply.headers["content-type"]
    if kind.startswith("text/event-stream"):
        return StreamingResponse(reply.aiter_raw(), media_type=kind, background=BackgroundTask(reply.aclose))
    content = await reply.aread()
    return Response(content, reply.status_code, media_type=kind)


async def count(request):
    return Response(b"0")


routes = [Route("/v1/chat/completions", forward, methods=["POST"]), Route("/count", count)]
app = Starlette(routes=routes, lifespan=lifespan)
