"""A server under load over HTTP, by the Open Inference Protocol with tensors as bytes.

Requests live in a thread of their own: whoever says when is never held up by them.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, final
from urllib.parse import quote, unquote, urlsplit

from trimtab.errors import (
    DataError,
    LinkError,
    MissingExtraError,
    OverloadedError,
    TrimtabError,
    UsageError,
)
from trimtab.runtime.tokens import Token
from trimtab.serve.live.arena import Field
from trimtab.serve.live.load import Drawn, Told

__all__ = ["Served", "fields_of"]

_DTYPES: Final = {
    "BOOL": "bool", "UINT8": "uint8", "INT8": "int8", "INT16": "int16",
    "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32",
    "FP64": "float64",
}  # fmt: skip
_CONNECTIONS: Final = 512
_IDLE_S: Final = 2.0  # less than servers wait (uvicorn 5 s): none closes what is asked
_MOST_BYTES: Final = 2**20  # of metadata
_META_S: Final = 10.0
_MOST_ANSWER: Final = 2**28  # bytes
_HEADER: Final = "Inference-Header-Content-Length"


def fields_of(metadata: Any) -> tuple[list[Field], int]:
    """Return the inputs that metadata of a model tell of, and most items of a query.

    Args:
        metadata: JSON, as it came.

    Raises:
        DataError: they are none, or the model has no free batch axis.

    Example:
        >>> ids = {"name": "ids", "datatype": "INT64", "shape": [-1, 3],
        ...        "parameters": {"bounds": [50]}}
        >>> found, most = fields_of({"inputs": [ids], "parameters": {"most_items": 8}})
        >>> found[0].shape, found[0].bounds, most
        ((3,), (50,), 8)
    """
    try:
        found = []
        for each in metadata["inputs"]:
            first, *shape = each["shape"]
            bounds = each.get("parameters", {}).get("bounds")
            numbers = [*shape, *(bounds or [])]
            if not all(type(size) is int and 0 < size < 2**40 for size in numbers):
                raise ValueError(f"shape {shape} or bounds {bounds} of {each['name']}")
            if first != -1:
                raise ValueError(f"input {each['name']} has no free batch axis")
            found.append(
                Field(
                    name=str(each["name"]),
                    dtype=_DTYPES[each["datatype"]],
                    shape=tuple(shape),
                    bounds=None if bounds is None else tuple(bounds),
                )
            )
        most = metadata.get("parameters", {}).get("most_items", 1024)
        if not found or type(most) is not int or not 1 <= most <= 65_536:
            raise ValueError(f"{len(found)} inputs of at most {most!r} items")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "metadata of a model", rule=str(error)[:200] or "they are incomplete",
            where="trimtab load", remedy="ask a server that trimtab serve started",
        ) from None  # fmt: skip
    return found, most


@final
class Served:
    """A server that is asked over HTTP, while the block lasts.

    Args:
        url: of its root, or of one of its models: ``.../v2/models/NAME``.
        timeout_s: after which a request has failed.
        seed: of the inputs.
        token: that the server asks for.
        tls: context of a client for a server that was started with --tls, or None.
        server_name: that the certificate of such a server has.

    Attributes:
        name: of the model.
        most_items: of a query.

    Raises:
        MissingExtraError: the package aiohttp is not installed.
        UsageError: no such address.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 30.0,
        seed: int = 0,
        token: Token | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        try:
            import aiohttp
        except ImportError:
            raise MissingExtraError(
                "load over HTTP",
                rule="the package aiohttp is not installed",
                where="trimtab load",
                remedy="install the extra: pip install 'trimtab[serve]'",
            ) from None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"server {url!r}",
                rule="it is asked over HTTP",
                where="trimtab load",
                remedy="give http://127.0.0.1:8080",
            )
        self._aiohttp: Any = aiohttp
        self._root, _, self._model = url.rstrip("/").partition("/v2/models/")
        self._timeout_s, self._seed = timeout_s, seed
        self._tls, self._server_name = tls, server_name
        self._headers = {} if token is None else {"Authorization": token.header}
        self.name, self.most_items = "", 0
        self._drawn: Drawn | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="load", daemon=True
        )

    def __enter__(self) -> Served:
        """Look at the model.

        Raises:
            LinkError: nobody answers.
            DataError: what answers is no such server.
        """
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up what is open, and end."""
        self._end()

    def _end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._session = self._aiohttp.ClientSession(
            connector=self._aiohttp.TCPConnector(
                limit=_CONNECTIONS, keepalive_timeout=_IDLE_S, ssl=self._tls or True
            ),
            timeout=self._aiohttp.ClientTimeout(total=self._timeout_s),
            headers=self._headers,
        )
        self._model = self._model or quote(await self._first(), safe="")
        fields, self.most_items = fields_of(
            await self._json(f"/v2/models/{self._model}")
        )
        self._path = f"{self._root}/v2/models/{self._model}/infer"
        self.name = unquote(self._model)
        self._inputs: Sequence[Field] = fields
        self._drawn = Drawn(fields, most_items=self.most_items, seed=self._seed)

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_session"):
            await self._session.close()

    async def _first(self) -> str:
        """Return the name of the model that a server has."""
        found = await self._json("/v2")
        models = found.get("models") if isinstance(found, dict) else None
        if not isinstance(models, list) or len(models) != 1:
            raise DataError(
                f"server {self._root}",
                rule="it does not say which model it has",
                where="trimtab load",
                remedy=f"give {self._root}/v2/models/NAME",
            )
        return str(models[0])

    async def _json(self, path: str) -> Any:
        where = f"{self._root}{path}"
        try:
            # Whom a redirect names has no business with the token.
            async with (
                asyncio.timeout(_META_S),
                self._session.get(
                    where, allow_redirects=False, server_hostname=self._server_name
                ) as response,
            ):
                content = b""
                async for part in response.content.iter_chunked(65_536):
                    content += part
                    if len(content) > _MOST_BYTES:
                        raise ValueError(f"it says more than {_MOST_BYTES} bytes")
                if response.status == 401:
                    raise UsageError(
                        f"server {where}",
                        rule="it does not answer without its token",
                        where="trimtab load",
                        remedy="give --token-file, or set TRIMTAB_TOKEN",
                    )
                if response.status != 200:
                    raise ValueError(f"it answers with status {response.status}")
                return json.loads(content)
        except (OSError, self._aiohttp.ClientError) as error:
            raise LinkError(
                f"server {where}",
                rule=getattr(error, "strerror", None) or "it does not answer",
                where="trimtab load",
                remedy="start it: trimtab serve start zoo:wnd-small",
            ) from None  # fmt: skip
        except UsageError:
            raise
        except ValueError as error:
            raise DataError(
                f"server {where}", rule=str(error)[:200], where="trimtab load",
                remedy="ask a server of the Open Inference Protocol",
            ) from None  # fmt: skip

    def prepare(self, items: int, number: int) -> tuple[bytes, int]:
        """Return the body of a query, and the bytes of its JSON."""
        assert self._drawn is not None
        rows = self._drawn.draw(items, number)
        known = {dtype: name for name, dtype in _DTYPES.items()}
        said = {
            "inputs": [
                {
                    "name": name,
                    "shape": list(value.shape),
                    "datatype": known[str(value.dtype)],
                    "parameters": {"binary_data_size": value.nbytes},
                }
                for name, value in rows.items()
            ],
            "parameters": {"binary_data_output": True},
        }
        head = json.dumps(said, separators=(",", ":")).encode()
        return b"".join([head, *(each.tobytes() for each in rows.values())]), len(head)

    def send(self, query: tuple[bytes, int], scheduled_ns: int, done: Told) -> None:
        """Ask; it returns at once."""
        del scheduled_ns  # the server has another clock
        self._loop.call_soon_threadsafe(self._begin, query, done)

    def _begin(self, query: tuple[bytes, int], done: Told) -> None:
        task = self._loop.create_task(self._asked(query, done))
        self._tasks.add(task)  # or nobody holds it
        task.add_done_callback(self._tasks.discard)

    async def _asked(self, query: tuple[bytes, int], done: Told) -> None:
        body, head = query
        headers = {"Content-Type": "application/octet-stream", _HEADER: str(head)}
        error: TrimtabError | None
        try:
            async with self._session.post(
                self._path,
                data=body,
                headers=headers,
                allow_redirects=False,
                server_hostname=self._server_name,
            ) as response:
                said, size = b"", 0
                async for part in response.content.iter_any():
                    said = said or part  # what an error says is in the first
                    size += len(part)
                    if size > _MOST_ANSWER:
                        raise self._aiohttp.ClientPayloadError(
                            f"it answers with more than {_MOST_ANSWER} bytes"
                        )
            error = None if response.status == 200 else _of(response.status, said)
        except (OSError, self._aiohttp.ClientError) as wrong:  # also TimeoutError
            error = _failed(type(wrong).__name__ + (f": {wrong}" if str(wrong) else ""))
        done(error)


def _of(status: int, said: bytes) -> TrimtabError:
    text = said[:300].decode("utf-8", "replace")
    if status in (429, 503):
        return OverloadedError(
            "a query", rule=text, where="the server", remedy="ask less"
        )
    return _failed(f"status {status}: {text}")


def _failed(rule: str) -> TrimtabError:
    return LinkError(
        "a query", rule=rule[:400], where="the server", remedy="see what it says"
    )
