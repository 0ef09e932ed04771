"""The async transport: our own connections, driven by asyncio or trio.

Both natively: a generic wait for one of two events costs a task group each
time. An asyncio loop that cannot watch sockets (Windows' default one) leaves
all requests to the inner transport.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import anyio
import httpx

from .connection import Connection, Origin, SocketOption, connecting
from .direct import DirectTransport, target_of
from .exchange import next_data
from .family import FamilyName
from .kernel import Kernel
from .steps import Await, Failed, InThread, Step, Steps, Wait
from .threads import in_thread

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

#: Whether a set of sockets can be waited for like a socket (Linux).
HAS_EPOLL: Final = hasattr(select, "epoll")


class _AsyncioWaits:
    """Performs waits on asyncio, from one to the next without waking a task.

    The generator is advanced where the loop says that the socket is ready; a
    task is woken only for what is not a wait. A wait so costs one call of
    epoll_wait: the socket stays watched, and one timer serves many waits.
    """

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        # Watched by number: when a socket is closed, or wrapped for TLS, it has
        # none any more, and not every loop knows it by anything else.
        self._fd = -1
        self._reading = self._writing = False
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._future: asyncio.Future[Step | _Done] | None = None

    async def perform(self, step: Wait) -> Step | _Done:
        """Perform *step* and all waits that follow; return what comes then."""
        self._future = future = self._loop.create_future()
        self._arm(step)
        try:
            outcome: Step | _Done = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                _discard(future.result())
            raise
        finally:
            self._future = None
            self._rest()
        return outcome

    def _arm(self, step: Wait) -> None:
        loop, sock = self._loop, step.sock
        if sock is not self._sock:
            self._unwatch()
            self._sock, self._fd = sock, sock.fileno()
        if step.readable is not self._reading:
            if step.readable:
                loop.add_reader(self._fd, self._advance, True, False)
            else:
                loop.remove_reader(self._fd)
            self._reading = step.readable
        if step.writable is not self._writing:
            if step.writable:
                loop.add_writer(self._fd, self._advance, False, True)
            else:
                loop.remove_writer(self._fd)
            self._writing = step.writable
        self._until = None if step.seconds is None else loop.time() + step.seconds
        if self._until is None:
            return
        if self._timer is not None:
            if self._timer.when() <= self._until:
                return
            self._timer.cancel()
        self._timer = loop.call_at(self._until, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._until is None or self._future is None:
            return
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._tick)
            return
        self._advance(False, False)

    def _advance(self, readable: bool, writable: bool) -> None:
        future = self._future
        if future is None or future.done():
            return
        outcome: Step | _Done
        try:
            outcome = self._steps.send((readable, writable))
        except StopIteration as stop:
            outcome = _Done(stop.value)
        except Exception as exc:  # noqa: BLE001 (raised in the task that waits)
            if not future.done():
                future.set_exception(exc)
            self._rest()
            return
        if future.done():  # a callback of the caller's has cancelled the task
            _discard(outcome)
        elif isinstance(outcome, Wait):
            self._arm(outcome)
            return
        else:
            future.set_result(outcome)
        # Else a socket that stays ready would come again before the task does.
        self._rest()

    def _unwatch(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._fd)
        if self._writing:
            self._loop.remove_writer(self._fd)
        self._reading = self._writing = False
        self._sock = None

    def _rest(self) -> None:
        self._unwatch()
        self._until = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _TrioWaits:
    """Performs waits on trio, which waits for one event at a time.

    Where there is epoll, a set of our own holds the socket, and becomes readable
    itself when any of its events has come: one wait instead of a nursery.
    """

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self._set: select.epoll | None = None
        self._sock: socket.socket | None = None

    async def perform(self, step: Wait) -> Step | _Done:
        """Perform *step* and all waits that follow; return what comes then."""
        following: Step = step
        try:
            while isinstance(following, Wait):
                ready = await self._ready(following)
                try:
                    following = self._steps.send(ready)
                except StopIteration as stop:
                    return _Done(stop.value)
            return following
        finally:
            self._rest()

    async def _ready(self, step: Wait) -> tuple[bool, bool]:
        import trio

        seconds = float("inf") if step.seconds is None else step.seconds
        got = [False, False]
        with trio.move_on_after(seconds):
            if not step.writable:
                await trio.lowlevel.wait_readable(step.sock)
                got[0] = True
            elif not step.readable:
                await trio.lowlevel.wait_writable(step.sock)
                got[1] = True
            elif HAS_EPOLL:
                await self._any_of_set(step.sock, got)
            else:
                await self._either(step.sock, got)
        return got[0], got[1]

    async def _any_of_set(self, sock: socket.socket, got: list[bool]) -> None:
        import trio

        if sock is not self._sock:
            self._rest()
            self._set, self._sock = select.epoll(), sock
            self._set.register(sock, select.EPOLLIN | select.EPOLLOUT)
        assert self._set is not None
        while not any(got):
            await trio.lowlevel.wait_readable(self._set.fileno())
            for _, events in self._set.poll(0):
                broken = events & (select.EPOLLERR | select.EPOLLHUP)
                got[0] = bool(events & select.EPOLLIN or broken)
                got[1] = bool(events & select.EPOLLOUT or broken)

    async def _either(self, sock: socket.socket, got: list[bool]) -> None:
        import trio

        async def writable() -> None:
            await trio.lowlevel.wait_writable(sock)
            got[1] = True
            nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writable)
                await trio.lowlevel.wait_readable(sock)
                got[0] = True
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if group.subgroup(KeyboardInterrupt) is not None:
                raise KeyboardInterrupt from None  # as it came
            raise

    def _rest(self) -> None:
        if self._set is not None:
            self._set.close()
        self._set = self._sock = None


class _Done(NamedTuple):
    """A generator's result."""

    result: Any


def _discard(step: Step | _Done) -> None:
    """Close what came in the very moment when its task was cancelled."""
    match step:
        case _Done(Connection() as connection):
            connection.close()
        case Await(awaitable) if asyncio.iscoroutine(awaitable):
            awaitable.close()


def _on_trio() -> bool:
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def _can_watch() -> bool:
    """Whether the running event loop can wait for sockets of ours."""
    if _on_trio():
        return True
    loop = asyncio.get_running_loop()
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


async def drive(steps: Steps[T]) -> T:
    """Perform *steps* on the running event loop and return their result."""
    waits = _TrioWaits(steps) if _on_trio() else _AsyncioWaits(steps)
    try:
        step: Step | _Done = next(steps)
        while True:
            match step:
                case Wait():
                    step = await waits.perform(step)
                case InThread(work):
                    try:
                        outcome = await in_thread(work)
                    except Exception as exc:  # noqa: BLE001 (the generator's own)
                        step = steps.throw(exc)
                    else:
                        step = steps.send(outcome)
                case Await(awaitable):
                    try:
                        outcome = await awaitable
                    except Exception as exc:  # noqa: BLE001 (the generator's own)
                        step = steps.throw(exc)
                    else:
                        step = steps.send(outcome)
                case _Done(result):
                    returned: T = result
                    return returned
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        steps.close()


class AsyncSegmentTransport(DirectTransport, httpx.AsyncBaseTransport):
    """A transport for ``httpx.AsyncClient`` that sends segment streams by itself.

    It takes what ``httpx.AsyncHTTPTransport`` takes. *inner* gets the requests
    that are not for us; by default it is built from the same arguments.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        verify: ssl.SSLContext | str | bool = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits | None = None,
        proxy: Any = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
        socket_options: Iterable[SocketOption] | None = None,
        family: FamilyName = "httpx",
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__(
            inner,
            "AsyncHTTPTransport",
            verify=verify,
            cert=cert,
            trust_env=trust_env,
            http1=http1,
            http2=http2,
            limits=limits,
            proxy=proxy,
            uds=uds,
            local_address=local_address,
            retries=retries,
            socket_options=socket_options,
            family_name=family,
            kernel=kernel,
        )
        self._body_class = self._family.derive(_AsyncBody, "AsyncByteStream")
        self._pid = 0
        self._slots: anyio.Semaphore | None = None

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._pool.close()
        await self._inner.__aexit__(exc_type, exc_value, traceback)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*; an ``httpx.AsyncBaseTransport``'s one method."""
        if not self._ours(request) or not _can_watch():
            response: httpx.Response = await self._inner.handle_async_request(request)
            return response
        try:
            self._checked(request)
            return await self._sent(request)
        except Failed as failed:
            error = self._error(failed, request)
        raise error

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        stream: Any = request.stream
        stream.begin()
        origin = self._origin(request)
        timeouts = request.extensions.get("timeout", {})
        slots = await self._acquired(timeouts.get("pool"))
        try:
            connection = self._pool.take(origin, repeatable=stream.repeatable)
            while True:
                kept = connection is not None
                if connection is None:
                    connection = await self._connected(origin, timeouts)
                exchange = self._exchange(connection, request, asynchronous=True)
                try:
                    head = await drive(
                        exchange.run(
                            request.method.encode("ascii"),
                            target_of(request),
                            request.headers.raw,
                        )
                    )
                    break
                except Failed as failed:
                    connection.close()
                    if not kept or not self._may_repeat(exchange, stream, failed):
                        raise
                    connection = None
                except BaseException:
                    connection.close()
                    raise
            body = self._body_class(
                self, origin, connection, slots, timeouts.get("read"), request
            )
        except BaseException:
            self._pool.drop()
            if slots is not None:
                slots.release()
            raise
        response: httpx.Response = self._response(head, request, body)
        return response

    async def _acquired(self, seconds: float | None) -> anyio.Semaphore | None:
        limit = self._limits.connections
        if limit is None:
            return None
        if self._slots is None or self._pid != os.getpid():
            self._slots, self._pid = anyio.Semaphore(limit), os.getpid()
        slots = self._slots
        try:
            slots.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(seconds) as scope:
                await slots.acquire()
            if scope.cancelled_caught:
                raise Failed(
                    "PoolTimeout", "no connection of the pool came free in time"
                ) from None
        return slots

    async def _connected(self, origin: Origin, timeouts: dict[str, Any]) -> Connection:
        seconds = timeouts.get("connect")
        for attempt in range(self._retries, -1, -1):
            steps = connecting(
                origin,
                self._tls(origin),
                seconds=seconds,
                asynchronous=True,
                local_address=self._local_address,
                options=self._options,
            )
            try:
                with anyio.fail_after(seconds):  # bounds the name's look-up, too
                    return await drive(steps)
            except TimeoutError as exc:
                if not attempt:
                    raise Failed("ConnectTimeout", "no connection in time") from exc
            except Failed:
                if not attempt:
                    raise
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """Close what is idle, and the inner transport."""
        self._pool.close()
        await self._inner.aclose()


class _AsyncBody:
    """An answer's content as it comes in; closing it frees the connection."""

    def __init__(
        self,
        transport: AsyncSegmentTransport,
        origin: Origin,
        connection: Connection,
        slots: anyio.Semaphore | None,
        seconds: float | None,
        request: Any,
    ) -> None:
        self._transport, self._origin, self._slots = transport, origin, slots
        self._connection: Connection | None = connection
        self._seconds, self._request = seconds, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        failure: Exception
        try:
            while (connection := self._connection) is not None:
                data = await drive(next_data(connection, self._seconds))
                if not data:
                    return
                yield data
            return
        except Failed as failed:
            failure = self._transport._error(failed, self._request)
        raise failure

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._transport._pool.give(self._origin, connection)
        if self._slots is not None:
            self._slots.release()
