"""F: starlette with a fixed body, which reads the request and looks at nothing in it but whether it streams."""

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from upstream import EVENTS, PLAIN

STREAM = b"".join(EVENTS)


async def fixed(request):
    if b'"stream": true' in await request.body():
        return Response(STREAM, media_type="text/event-stream")
    return Response(PLAIN, media_type="application/json")


async def count(request):
    return Response(b"0")


app = Starlette(routes=[Route("/v1/chat/completions", fixed, methods=["POST"]), Route("/count", count)])
