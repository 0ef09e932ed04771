"""The ways to send: blocking, asyncio and trio, over plain HTTP and TLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import anyio.to_thread

from poster_resume.flow import Report, Request, Response, Save
from poster_resume.plan import Plan
from poster_resume.transport import (
    AsyncBridge,
    AsyncSegmentTransport,
    Bridge,
    Kernel,
    SegmentTransport,
    Waker,
    async_client,
    client,
)
from poster_resume.transport.family import FamilyName, family

from .peers import Peer, Server, client_context, serving

Driver = Literal["blocking", "asyncio", "trio"]


@dataclass(frozen=True)
class Way:
    """How to send. *foreign*: with a client that is not ours."""

    driver: Driver = "blocking"
    tls: bool = False
    kernel: Kernel | None = None
    family: FamilyName = "httpx"
    foreign: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        name = f"{self.driver}-{'tls' if self.tls else 'plain'}"
        return f"{name}{'-foreign' if self.foreign else ''}"

    def serving(
        self, *scripts: Callable[[Peer], None]
    ) -> AbstractContextManager[Server]:
        return serving(*scripts, tls=self.tls)

    def client(self) -> Any:
        """Return a new client of this way."""
        given: dict[str, Any] = dict(self.options)
        given.setdefault("verify", client_context())
        lib = family(self.family).lib
        blocking = self.driver == "blocking"
        if self.foreign:
            return (lib.Client if blocking else lib.AsyncClient)(**given)
        if self.kernel is None:
            return (client if blocking else async_client)(family=self.family, **given)
        verify = given.pop("verify")
        if blocking:
            blocked = SegmentTransport(
                verify=verify, family=self.family, kernel=self.kernel
            )
            return lib.Client(transport=blocked, **given)
        transport = AsyncSegmentTransport(
            verify=verify, family=self.family, kernel=self.kernel
        )
        return lib.AsyncClient(transport=transport, **given)

    def send(
        self,
        *requests: Request,
        plan: Plan | None = None,
        headers: Mapping[str, str] | None = None,
        auth: object = None,
        on_progress: Callable[[int], None] | None = None,
        perform: Callable[[Save | Report], None] | None = None,
        waker: Waker | None = None,
        cancel_after: float | None = None,
    ) -> list[Response]:
        """Send *requests* one after the other with one client."""

        def performed(effect: Save | Report) -> None:
            if perform is not None:
                perform(effect)

        if self.driver == "blocking":
            with self.client() as blocking_client:
                bridge = Bridge(
                    blocking_client,
                    plan,
                    headers_for=lambda request: headers or {},
                    auth=auth,
                    on_progress=on_progress,
                    perform=performed,
                    waker=waker,
                )
                return [bridge.send(request) for request in requests]

        async def headers_for(request: Request) -> Mapping[str, str]:
            return headers or {}

        async def perform_async(effect: Save | Report) -> None:
            await anyio.to_thread.run_sync(performed, effect)

        async def main() -> list[Response]:
            async with self.client() as async_client:
                bridge = AsyncBridge(
                    async_client,
                    plan,
                    headers_for=headers_for,
                    auth=auth,
                    on_progress=on_progress,
                    perform=perform_async,
                    waker=waker,
                )
                if cancel_after is None:
                    return [await bridge.send(request) for request in requests]
                with anyio.move_on_after(cancel_after):
                    return [await bridge.send(request) for request in requests]
                return []

        return anyio.run(main, backend=self.driver)


EVERY_WAY = [
    Way(driver, tls)
    for tls in (False, True)
    for driver in ("blocking", "asyncio", "trio")
]
