"""A link between an httpx client and a model server that misbehaves on cue."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx

from .models import Answer, Model


@dataclass(frozen=True)
class Cut:
    """The connection breaks when so many bytes of content have arrived."""

    after: int


@dataclass(frozen=True)
class LoseAnswer:
    """Everything arrives; the answer does not."""


@dataclass(frozen=True)
class Refuse:
    """No connection at all."""


@dataclass(frozen=True)
class Busy:
    """The server answers *status*, having kept *after* bytes of the content."""

    status: int = 503
    after: int = 0
    retry_after: str | None = None


@dataclass(frozen=True)
class Forget:
    """The server loses the upload before this request."""


Fault = Cut | LoseAnswer | Refuse | Busy | Forget


class Wire(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Hands requests to *model*, with one fault of *script* per request."""

    def __init__(self, model: Model, script: Iterable[Fault | None] = ()) -> None:
        self.model, self._script = model, deque(script)
        #: What went over the wire: (method, path, content arrived, status or fault).
        self.trace: list[tuple[str, str, int, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(self, request, self._next())
        stream = request.stream
        assert isinstance(stream, httpx.SyncByteStream)
        for block in exchange.wanted(iter(stream)):
            exchange.arrived(block)
        return exchange.answered()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(self, request, self._next())
        stream = request.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        if not exchange.decided:
            iterator = aiter(stream)
            while not exchange.full:
                try:
                    exchange.arrived(await anext(iterator))
                except StopAsyncIteration:
                    exchange.ended()
                    break
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
        return exchange.answered()

    def _next(self) -> Fault | None:
        return self._script.popleft() if self._script else None


class _Exchange:
    def __init__(self, wire: Wire, request: httpx.Request, fault: Fault | None) -> None:
        self._wire, self._request, self._fault = wire, request, fault
        if isinstance(fault, Refuse):
            self._note("refused")
            raise httpx.ConnectError("refused")
        if isinstance(fault, Forget):
            wire.model.forget()
        self._content = bytearray()
        self._whole = False
        url = str(request.url)
        headers = {k.lower(): v for k, v in request.headers.items()}
        self._length = int(headers.get("content-length", "0"))
        self._answer = wire.model.begin(request.method, url, headers)

    @property
    def decided(self) -> bool:
        return self._answer is not None

    @property
    def full(self) -> bool:
        limit = self._limit
        return limit is not None and len(self._content) >= limit

    @property
    def _limit(self) -> int | None:
        if isinstance(self._fault, (Cut, Busy)):
            return self._fault.after
        return None

    def wanted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        if self.decided:
            return
        while not self.full:
            try:
                yield next(blocks)
            except StopIteration:
                self.ended()
                return

    def arrived(self, block: bytes) -> None:
        self._content += block

    def ended(self) -> None:
        self._whole = True
        assert len(self._content) == self._length

    def answered(self) -> httpx.Response:
        answer = self._answer
        limit = self._limit
        if answer is None:
            content = bytes(self._content if limit is None else self._content[:limit])
            cut = limit is not None and (not self._whole or limit < self._length)
            if isinstance(self._fault, Busy):
                cut = True
            answer = self._wire.model.take(content, whole=not cut)
        match self._fault:
            case Cut():
                if answer is None or not self.decided:
                    self._note("cut")
                    raise httpx.WriteError("cut")
                self._note("cut")
                raise httpx.ReadError("cut")
            case LoseAnswer():
                self._note("lost")
                raise httpx.ReadError("lost")
            case Busy(status, _, retry_after):
                extra = {} if retry_after is None else {"retry-after": retry_after}
                answer = Answer(status, extra)
            case Refuse() | Forget() | None:
                pass
        assert answer is not None
        self._note(str(answer.status))
        return httpx.Response(
            answer.status,
            headers=dict(answer.headers),
            content=answer.content,
            request=self._request,
        )

    def _note(self, what: str) -> None:
        request = self._request
        arrived = len(getattr(self, "_content", b""))
        self._wire.trace.append((request.method, request.url.path, arrived, what))


def random_script(seed: int, length: int, *, size: int) -> list[Fault | None]:
    """Return a reproducible script of faults for an upload of *size* bytes."""
    rng = random.Random(seed)
    faults: list[Fault | None] = []
    for _ in range(length):
        faults.append(
            rng.choice(
                [
                    None,
                    None,
                    Cut(rng.randrange(size + 200)),
                    Cut(rng.randrange(size + 200)),
                    LoseAnswer(),
                    Refuse(),
                    Busy(rng.choice([429, 500, 502, 503, 504])),
                    Busy(503, after=rng.randrange(size + 1)),
                    Busy(503, retry_after="0"),
                ]
            )
        )
    return faults
