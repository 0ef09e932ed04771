"""The blocking transport: our own connections, driven with poll()."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from .connection import Connection, Origin, SocketOption, connecting
from .direct import DirectTransport, target_of
from .exchange import next_data
from .family import FamilyName
from .kernel import Kernel
from .steps import Await, Failed, InThread, Steps, Wait
from .stream import Segments
from .waker import Waker

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")


def drive(steps: Steps[T], kernel: Kernel, waker: Waker | None = None) -> T:
    """Perform *steps*, in this thread, and return their result.

    Raises:
        UploadPaused: *waker* woke a wait.
    """
    watched = -1 if waker is None else waker.fileno()
    outcome: Any = None
    try:
        step = next(steps)
        while True:
            match step:
                case Wait(sock, readable, writable, seconds):
                    can_read, can_write, woken = kernel.wait(
                        sock,
                        readable=readable,
                        writable=writable,
                        seconds=seconds,
                        waker=watched,
                    )
                    if woken and waker is not None:
                        waker.check()
                    step = steps.send((can_read, can_write))
                case InThread(work):
                    try:
                        outcome = work()
                    except Exception as exc:  # noqa: BLE001 (the generator's own)
                        step = steps.throw(exc)
                    else:
                        step = steps.send(outcome)
                case Await():
                    raise TypeError("a blocking transport cannot await a callback")
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


class SegmentTransport(DirectTransport, httpx.BaseTransport):
    """A transport for ``httpx.Client`` that sends segment streams by itself.

    It takes what ``httpx.HTTPTransport`` takes. *inner* gets the requests that
    are not for us; by default it is built from the same arguments.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport | None = None,
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
            "HTTPTransport",
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
        self._body_class = self._family.derive(_Body, "SyncByteStream")
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        limit = self._limits.connections
        self._slots = None if limit is None else threading.BoundedSemaphore(limit)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._pool.close()
        self._inner.__exit__(exc_type, exc_value, traceback)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*; an ``httpx.BaseTransport``'s one method."""
        if not self._ours(request):
            response: httpx.Response = self._inner.handle_request(request)
            return response
        try:
            self._checked(request)
            return self._sent(request)
        except Failed as failed:
            error = self._error(failed, request)
        raise error

    def _sent(self, request: httpx.Request) -> httpx.Response:
        stream: Any = request.stream
        stream.begin()
        origin = self._origin(request)
        timeouts = request.extensions.get("timeout", {})
        slots = self._acquired(timeouts.get("pool"))
        try:
            connection = self._pool.take(origin, repeatable=stream.repeatable)
            while True:
                kept = connection is not None
                if connection is None:
                    connection = self._connected(origin, timeouts, stream)
                exchange = self._exchange(connection, request, asynchronous=False)
                try:
                    head = drive(
                        exchange.run(
                            request.method.encode("ascii"),
                            target_of(request),
                            request.headers.raw,
                        ),
                        self._kernel,
                        stream.waker,
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
                self, origin, connection, slots, timeouts.get("read"), request, stream
            )
        except BaseException:
            self._pool.drop()
            if slots is not None:
                slots.release()
            raise
        response: httpx.Response = self._response(head, request, body)
        return response

    def _acquired(self, seconds: float | None) -> threading.BoundedSemaphore | None:
        if self._pid != os.getpid():
            self._begin()
        slots = self._slots
        if seconds is not None:
            seconds = min(seconds, threading.TIMEOUT_MAX)
        if slots is not None and not slots.acquire(timeout=seconds):
            raise Failed("PoolTimeout", "no connection of the pool came free in time")
        return slots

    def _connected(
        self, origin: Origin, timeouts: dict[str, Any], stream: Segments
    ) -> Connection:
        for attempt in range(self._retries, -1, -1):
            steps = connecting(
                origin,
                self._tls(origin),
                seconds=timeouts.get("connect"),
                asynchronous=False,
                local_address=self._local_address,
                options=self._options,
            )
            try:
                return drive(steps, self._kernel, stream.waker)
            except Failed:
                if not attempt:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close what is idle, and the inner transport."""
        self._pool.close()
        self._inner.close()


class _Body:
    """An answer's content as it comes in; closing it frees the connection."""

    def __init__(
        self,
        transport: SegmentTransport,
        origin: Origin,
        connection: Connection,
        slots: threading.BoundedSemaphore | None,
        seconds: float | None,
        request: Any,
        stream: Segments,
    ) -> None:
        self._waker = stream.waker
        self._transport, self._origin, self._slots = transport, origin, slots
        self._connection: Connection | None = connection
        self._seconds, self._request = seconds, request

    def __iter__(self) -> Iterator[bytes]:
        connection = self._connection
        assert connection is not None
        failure: Exception
        try:
            while True:
                steps = next_data(connection, self._seconds)
                data = drive(steps, self._transport._kernel, self._waker)
                if not data:
                    return
                yield data
        except Failed as failed:
            failure = self._transport._error(failed, self._request)
        raise failure

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._transport._pool.give(self._origin, connection)
        if self._slots is not None:
            self._slots.release()
