"""Keeps what an auth class makes the HTTP client read within bounds.

A client reads the whole answer before it sends the request that an auth class
answers a challenge with, and decodes it. A 401 may be as long as its server
likes, so what is read of it is cut here, undecoded.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any

from ..responses import READ_LIMIT
from .reading import ERROR_LIMIT

if TYPE_CHECKING:
    from .family import Family


def careful(auth: Any, family: Family, seconds: float) -> Any:
    """Return *auth* such that no challenge costs more than *seconds* or 64 KiB.

    What an auth class wants to read itself is cut at 16 MiB. Whatever answers no
    challenge (a pair, a callable, None) is returned as it is.
    """
    if not isinstance(auth, family.lib.Auth):
        return auth
    return family.derive(_Careful, "Auth")(auth, family, seconds)


class _Careful:
    """An auth class around another one."""

    def __init__(self, auth: Any, family: Family, seconds: float) -> None:
        self._auth, self._family, self._seconds = auth, family, seconds

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        flow = self._auth.sync_auth_flow(request)
        try:
            request = next(flow)
            while True:
                response = yield request
                self._before(response)
                request = flow.send(response)
                self._cut(response, ERROR_LIMIT)
        except StopIteration:
            return
        finally:
            flow.close()

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        flow = self._auth.async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                response = yield request
                self._before(response)
                request = await flow.asend(response)
                self._cut(response, ERROR_LIMIT)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    def _before(self, response: Any) -> None:
        if getattr(self._auth, "requires_response_body", False):
            self._cut(response, READ_LIMIT)

    def _cut(self, response: Any, limit: int) -> None:
        if response.is_stream_consumed or response.is_closed:
            return
        # None was asked for, and unpacked it could be of any length.
        response.headers.pop("content-encoding", None)
        cut = self._family.derive(_Cut, "SyncByteStream", "AsyncByteStream")
        response.stream = cut(response.stream, limit, self._seconds)


class _Cut:
    """The beginning of a stream."""

    def __init__(self, stream: Any, limit: int, seconds: float) -> None:
        self._stream, self._left = stream, limit
        self._until = time.monotonic() + seconds

    def _taken(self, data: bytes) -> bytes:
        data = data[: self._left]
        self._left -= len(data)
        return data

    @property
    def _ended(self) -> bool:
        return self._left <= 0 or time.monotonic() >= self._until

    def __iter__(self) -> Iterator[bytes]:
        for data in self._stream:
            yield self._taken(data)
            if self._ended:
                return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            yield self._taken(data)
            if self._ended:
                return

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()
