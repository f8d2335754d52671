"""A provider that costs next to nothing: it sleeps as many milliseconds as its model's name ends with."""

import asyncio
import json

TEXT = "Air scatters blue light more than red light. " * 27
BASE = {"id": "chatcmpl-1", "created": 1, "model": "bench"}


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {**BASE, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


SIZE = -(-len(TEXT) // 22)
EVENTS = [chunk({"content": TEXT[at : at + SIZE]}) for at in range(0, len(TEXT), SIZE)]
EVENTS += [chunk({}, "stop"), b"data: [DONE]\n\n"]
MESSAGE = {"role": "assistant", "content": TEXT}
USAGE = {"prompt_tokens": 200, "completion_tokens": 240, "total_tokens": 440}
CHOICE = {"index": 0, "message": MESSAGE, "finish_reason": "stop"}
PLAIN = json.dumps({**BASE, "object": "chat.completion", "choices": [CHOICE], "usage": USAGE}).encode()
count = 0


async def app(scope, receive, send):
    global count
    if scope["type"] != "http":
        return
    if scope["path"] == "/count":
        await respond(send, b"application/json", [b"%d" % count])
        return
    count += 1
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    request = json.loads(body)
    if delay := int(request["model"].rpartition("-")[2]):
        await asyncio.sleep(delay / 1000)
    if request.get("stream"):
        await respond(send, b"text/event-stream", EVENTS)
    else:
        await respond(send, b"application/json", [PLAIN])


async def respond(send, kind, parts):
    headers = [(b"content-type", kind)]
    if len(parts) == 1:
        headers.append((b"content-length", b"%d" % len(parts[0])))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1]})
