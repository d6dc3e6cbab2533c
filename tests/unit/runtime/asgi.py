"""Asks an application without a socket."""

import asyncio
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(app, method, path, body=b"", headers=(), *, chunks=None):
    """Return the answer to a request; `chunks` come instead of `body`.

    A chunk of None never comes; one of False is the end of the connection; a number
    is of seconds until the next comes.
    """

    async def run():
        coming = list(chunks if chunks is not None else [body])
        sent = []

        async def receive():
            if not coming:
                return {"type": "http.disconnect"}
            chunk = coming.pop(0)
            if isinstance(chunk, float):
                await asyncio.sleep(chunk)
                chunk = coming.pop(0)
            if chunk is None:
                await asyncio.Event().wait()
            if chunk is False:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunk, "more_body": bool(coming)}

        async def send(message):
            sent.append(message)

        await app(scope(method, path, headers), receive, send)
        return answer(sent)

    return asyncio.run(run())


def scope(method, path, headers=()):
    named = {"host": "localhost", **dict(headers)}
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1",
        "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
        "scheme": "http", "query_string": b"", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "headers": [(key.lower().encode(), value.encode("latin-1"))
                    for key, value in named.items()],
    }  # fmt: skip


def answer(sent):
    start = sent[0]
    assert start["type"] == "http.response.start"
    return Answer(
        start["status"],
        {key.decode(): value.decode() for key, value in start["headers"]},
        b"".join(each.get("body", b"") for each in sent[1:]),
    )
