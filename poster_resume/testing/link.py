"""A TCP link on loopback between a client and a server, that breaks on demand.

Every connection to the link becomes one to the server, with the faults of its
own: by script, by seed, or from outside while it runs.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from selectors import EVENT_READ
from types import TracebackType
from typing import Self, TypeVar

from .faults import Fault, Faults, How, Pass
from .loop import Loop
from .relay import Relay
from .sockets import LOOPBACK, listen, no_delay

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ConnectionSeen:
    """One connection, at one moment.

    *up* and *down* are the bytes that went to the server and to the client.
    *ended* is None while it is open, then one of: *closed* by both sides,
    *reset* by one of them, *cut* or *refused* by a fault, *failed* for want of
    a server, *stopped* with the link.
    """

    number: int
    up: int
    down: int
    ended: str | None
    faults: tuple[Fault, ...]


class Link:
    """A forwarder from a port of its own to *target*, up while it is entered.

    *target* is a port on loopback, or a host and a port. *faults* has one item
    for each connection; when it ends, everything passes. *port* 0 takes a free
    one.

    Raises:
        OSError: on entering, the port is taken.
    """

    def __init__(
        self,
        target: int | tuple[str, int],
        faults: Iterable[Faults] = (),
        *,
        port: int = 0,
    ) -> None:
        self._target = (LOOPBACK, target) if isinstance(target, int) else target
        self._faults: Iterator[Faults] = iter(faults)
        self._wanted_port = port
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._commands: deque[Callable[[], None]] = deque()
        self._numbers = itertools.count()
        self._open: dict[int, Relay] = {}
        self._ended: list[ConnectionSeen] = []
        self._stopping = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to listen; what entering does."""
        self._listener = listen(self._wanted_port)
        self._port: int = self._listener.getsockname()[1]
        self._waking, self._waker = socket.socketpair()
        self._waking.setblocking(False)
        self._loop = Loop()
        self._loop.watch(self._waking, EVENT_READ, self._on_command)
        self._loop.watch(self._listener, EVENT_READ, self._on_client)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="link")
        self._thread.start()

    def close(self) -> None:
        """Reset every connection and stop; what leaving does."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._commands.append(self._stop)
        with contextlib.suppress(OSError):  # it has failed and gone
            self._waker.send(b"x")
        thread.join()
        self._waker.close()

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        self._entered()
        return self._port

    @property
    def url(self) -> str:
        """Its address for http, without a path."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def target(self) -> tuple[str, int]:
        """The server's address; new connections go to what it is set to."""
        return self._target

    @target.setter
    def target(self, target: int | tuple[str, int]) -> None:
        self._target = (LOOPBACK, target) if isinstance(target, int) else target

    @property
    def faults(self) -> Iterator[Faults]:
        """What is left of the faults; set it to have others from now on."""
        return self._faults

    @faults.setter
    def faults(self, faults: Iterable[Faults]) -> None:
        self._faults = iter(faults)

    def cut_now(self, how: How = "rst") -> int:
        """Cut every open connection, and return how many there were."""

        def cut() -> int:
            relays = list(self._open.values())
            for relay in relays:
                relay.cut(how)
            return len(relays)

        return self._call(cut)

    def hold(self) -> None:
        """Let nothing through, and keep every connection open."""
        self._call(lambda: self._hold(True))

    def release(self) -> None:
        """Go on after ``hold``."""
        self._call(lambda: self._hold(False))

    def stop_accepting(self) -> None:
        """Refuse new connections; open ones stay."""

        def stop() -> None:
            listener, self._listener = self._listener, None
            if listener is not None:
                self._loop.watch(listener, 0, self._on_client)
                listener.close()

        self._call(stop)

    def accept_again(self) -> None:
        """Take connections again, on the same port.

        Raises:
            OSError: another program has taken the port in between.
        """

        def accept() -> None:
            if self._listener is None:
                self._listener = listen(self._port)
                self._loop.watch(self._listener, EVENT_READ, self._on_client)

        self._call(accept)

    @property
    def connections(self) -> list[ConnectionSeen]:
        """Every connection so far, in the order in which they came."""

        def look() -> list[ConnectionSeen]:
            seen = self._ended + [_seen(relay) for relay in self._open.values()]
            return sorted(seen, key=lambda connection: connection.number)

        return look() if self._thread is None else self._call(look)

    @property
    def cuts(self) -> int:
        """How many connections were cut or refused."""
        ended = [c for c in self.connections if c.ended in ("cut", "refused")]
        return len(ended)

    @property
    def up(self) -> int:
        """All bytes that went to the server."""
        return sum(connection.up for connection in self.connections)

    @property
    def down(self) -> int:
        """All bytes that went to clients."""
        return sum(connection.down for connection in self.connections)

    def _entered(self) -> threading.Thread:
        if self._thread is None:
            raise RuntimeError("the link is not up: enter it by with, or start() it")
        return self._thread

    def _call(self, action: Callable[[], _T]) -> _T:
        """Have the link's thread do something, and wait for what comes of it."""
        if threading.current_thread() is self._entered():
            return action()
        outcome: Future[_T] = Future()

        def perform() -> None:
            try:
                outcome.set_result(action())
            except OSError as exc:
                outcome.set_exception(exc)

        self._commands.append(perform)
        self._waker.send(b"x")
        while True:
            try:
                return outcome.result(timeout=1)
            except FutureTimeout:
                if not self._entered().is_alive():
                    raise RuntimeError("the link has failed") from None

    def _stop(self) -> None:
        self._stopping = True

    def _hold(self, held: bool) -> None:
        self._loop.held = held
        for relay in list(self._open.values()):
            relay.go_on()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._loop.turn()
        finally:
            for relay in list(self._open.values()):
                relay.stop()
            if self._listener is not None:
                self._listener.close()
            self._waking.close()
            self._loop.selector.close()

    def _on_command(self, events: int) -> None:
        self._waking.recv(4096)
        while self._commands:
            self._commands.popleft()()

    def _on_client(self, events: int) -> None:
        if self._listener is None:
            return
        try:
            client, _ = self._listener.accept()
        except OSError:  # it is gone already
            return
        client.setblocking(False)
        no_delay(client)
        faults = next(self._faults, Pass())
        relay = Relay(
            self._loop,
            next(self._numbers),
            client,
            faults if isinstance(faults, tuple) else (faults,),
            self._over,
        )
        self._open[relay.number] = relay
        relay.start(self._target)

    def _over(self, relay: Relay) -> None:
        del self._open[relay.number]
        self._ended.append(_seen(relay))


def _seen(relay: Relay) -> ConnectionSeen:
    return ConnectionSeen(relay.number, relay.up, relay.down, relay.ended, relay.faults)
