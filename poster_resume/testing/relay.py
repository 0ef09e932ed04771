"""One connection through a link: two pumps, and the faults that befall them.

A pump reads no more than it can pass on, and never past the next fault, so
that exactly the bytes before it get through. Everything runs in one thread.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import assert_never

from .faults import (
    Cut,
    Delay,
    Direction,
    DropAnswer,
    Fault,
    How,
    Pass,
    Refuse,
    Stall,
    Throttle,
)
from .loop import BLOCK, Loop
from .sockets import reset, settled

#: Bytes that a delay may hold back.
_DELAYED = 4 * 1024 * 1024

#: Seconds for which a cut waits until what went before it has got out.
_SETTLING = 1.0
#: Seconds after which a cut by FIN closes, if the two sides do not.
_LINGER = 2.0
#: A throttled pump passes on as much at once as goes in so many seconds.
_GRAIN = 0.01

#: Windows has a code of its own for a connection that is being made.
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, 10035)


class Pump:
    """Carries bytes from one socket to another."""

    def __init__(self, loop: Loop, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.count = 0
        self.rate: float | None = None
        self.delay = 0.0
        self.stops: list[tuple[int, Cut | Stall]] = []
        self.drop: DropAnswer | None = None
        self.ended = False  # the source has ended
        self.closed = False  # and the sink knows
        self._loop = loop
        self._queue: deque[tuple[float, bytes | memoryview]] = deque()
        self._queued = 0
        self._not_before = 0.0
        self._answer = b""

    @property
    def waiting(self) -> bool:
        """Whether bytes wait that the sink could not take."""
        return bool(self._queue) and self._queue[0][0] <= time.monotonic()

    def room(self) -> int:
        """Return how many bytes may be read now."""
        if self.ended or (self._queue and not self.delay):
            return 0
        room = _DELAYED - self._queued if self.delay else BLOCK
        if self.rate is not None:
            if time.monotonic() < self._not_before:
                return 0
            room = min(room, max(1, int(self.rate * _GRAIN)))
        if self.stops:
            room = min(room, self.stops[0][0] - self.count - self._queued)
        return room

    @property
    def awaits_first(self) -> bool:
        """Whether the next fault waits for the first byte."""
        return not self.ended and self._stops_at_first

    @property
    def _stops_at_first(self) -> bool:
        if self.drop is not None or not self.stops:
            return False
        return self.stops[0][0] == 0 and self.count == 0

    def comes_first(self) -> bool:
        """Whether the first byte is there, for which the next fault waits.

        Raises:
            OSError: the source has failed.
        """
        if not self.awaits_first:
            return False
        try:
            self.ended = not self.source.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        return not self.ended

    def read(self, wake: Callable[[], None]) -> Cut | Stall | None:
        """Read what there is room for, and pass it on.

        Raises:
            OSError: one of the two sockets has failed.
        """
        room = self.room()
        if room <= 0:
            return self.write()
        try:
            size = self.source.recv_into(self._loop.block, min(room, BLOCK))
        except (BlockingIOError, InterruptedError):
            return None
        if size == 0:
            self.ended = True
            return self.write()
        data: bytes | memoryview = self._loop.block[:size]
        if self.rate is not None:
            now = time.monotonic()
            wait = size / self.rate
            self._not_before = max(now, self._not_before) + wait
            self._loop.later(self._not_before - now, wake)
        if self.drop is not None:
            data, cut = self._interims(bytes(data))
            if cut is not None:
                self.stops = [(self.count + self._queued + len(data), cut)]
        if self.delay:
            due = time.monotonic() + self.delay
            self._loop.later(self.delay, wake)
            data = bytes(data)
        else:
            due = 0.0
        if len(data):
            self._queue.append((due, data))
            self._queued += len(data)
        fault = self.write()
        if self._queue and isinstance(self._queue[-1][1], memoryview):
            # The block is everybody's: what the sink did not take is kept apart.
            due, left = self._queue.pop()
            self._queue.append((due, bytes(left)))
        return fault

    def write(self) -> Cut | Stall | None:
        """Pass on what is due; return the fault that this brings about.

        Raises:
            OSError: the sink has failed.
        """
        while self.waiting:
            due, data = self._queue.popleft()
            try:
                size = self.sink.send(data)
            except (BlockingIOError, InterruptedError):
                self._queue.appendleft((due, data))
                return None
            self.count += size
            self._queued -= size
            if size < len(data):
                self._queue.appendleft((due, memoryview(data)[size:]))
        reached = self.stops and self.count >= self.stops[0][0]
        if reached and not self._queue and not self._stops_at_first:
            return self.pop()
        if self.ended and not self._queue and not self.closed:
            self.closed = True
            self.sink.shutdown(socket.SHUT_WR)
        return None

    def pop(self) -> Cut | Stall:
        """Take the next fault."""
        return self.stops.pop(0)[1]

    def _interims(self, data: bytes) -> tuple[bytes, Cut | None]:
        """Split off what may pass of an answer: the interim heads."""
        assert self.drop is not None
        passing = b""
        self._answer += data
        while len(self._answer) >= 12:
            end = self._answer.find(b"\r\n\r\n")
            if not self._answer.startswith(b"HTTP/1.1 1"):
                return passing, Cut(0, "down", self.drop.how)
            if end < 0:
                break
            passing += self._answer[: end + 4]
            self._answer = self._answer[end + 4 :]
        return passing, None


class Relay:
    """One client's connection, and ours to the server.

    *ended* is None while it is open, then how it ended: *closed* by the two
    sides, *reset* by one of them, *cut* or *refused* by a fault, *failed* if
    there is no server, *stopped* with the link.
    """

    def __init__(
        self,
        loop: Loop,
        number: int,
        client: socket.socket,
        faults: tuple[Fault, ...],
        over: Callable[[Relay], None],
    ) -> None:
        self.number, self.faults = number, faults
        self.ended: str | None = None
        self._loop, self._over = loop, over
        self._client = client
        self._server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._server.setblocking(False)
        self._up = Pump(loop, client, self._server)
        self._down = Pump(loop, self._server, client)
        self._connected = False
        self._stalled = False
        self._cutting: Cut | None = None
        for fault in faults:
            self._suffer(fault)
        for pump in (self._up, self._down):
            pump.stops.sort(key=lambda stop: stop[0])

    @property
    def up(self) -> int:
        """Bytes that went to the server."""
        return self._up.count

    @property
    def down(self) -> int:
        """Bytes that went to the client."""
        return self._down.count

    def start(self, target: tuple[str, int]) -> None:
        """Connect to the server, and begin."""
        if Refuse() in self.faults:
            self._end("refused")
            return
        try:
            self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self._server.connect_ex(target)
        except OSError:  # no such host
            code = errno.EHOSTUNREACH
        if code not in _UNDER_WAY:
            self._end("failed")
            return
        self._loop.watch(self._server, selectors.EVENT_WRITE, self._on_connected)

    def refresh(self) -> None:
        """Wait for what can be done now, after something has changed."""
        if self.ended is not None or not self._connected or self._cutting is not None:
            return
        if self._stalled or self._loop.held:
            self._loop.watch(self._client, 0, self._on_client)
            self._loop.watch(self._server, 0, self._on_server)
            return
        self._loop.watch(self._client, _events(self._up, self._down), self._on_client)
        self._loop.watch(self._server, _events(self._down, self._up), self._on_server)

    def go_on(self) -> None:
        """Pass on what has waited, if nothing holds it back any more."""
        self._on_time()
        self.refresh()

    def cut(self, how: How) -> None:
        """Cut it now."""
        if self.ended is not None:
            return
        if how == "rst":
            self._end("cut")
        else:
            self._cut(Cut(how="fin"))

    def stop(self) -> None:
        """End it with the link."""
        if self.ended is None:
            self._end("stopped")

    def _suffer(self, fault: Fault) -> None:
        match fault:
            case Pass() | Refuse():
                pass
            case Cut() | Stall():
                self._pump(fault.direction).stops.append((fault.after, fault))
            case Throttle():
                for pump in self._pumps(fault.direction):
                    pump.rate = fault.rate
            case Delay():
                for pump in self._pumps(fault.direction):
                    pump.delay = fault.seconds
            case DropAnswer():
                self._down.drop = fault
            case _:
                assert_never(fault)

    def _pump(self, direction: Direction) -> Pump:
        return self._up if direction == "up" else self._down

    def _pumps(self, direction: Direction | None) -> tuple[Pump, ...]:
        if direction is None:
            return self._up, self._down
        return (self._pump(direction),)

    def _on_connected(self, events: int) -> None:
        if self.ended is not None:
            return
        self._loop.watch(self._server, 0, self._on_connected)
        if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end("failed")
            return
        self._connected = True
        self.refresh()

    def _on_client(self, events: int) -> None:
        self._on_ready(events, self._up, self._down)

    def _on_server(self, events: int) -> None:
        self._on_ready(events, self._down, self._up)

    def _on_ready(self, events: int, reading: Pump, writing: Pump) -> None:
        if self.ended is not None or self._stalled or self._cutting is not None:
            return
        fault: Cut | Stall | None = None
        try:
            if events & selectors.EVENT_WRITE:
                fault = writing.write()
            if fault is None and events & selectors.EVENT_READ:
                if reading.comes_first():
                    fault = reading.pop()
                else:
                    fault = reading.read(self._on_time)
        except OSError:
            self._end("reset")
            return
        self._after(fault)

    def _on_time(self) -> None:
        """Pass on what has become due."""
        if self.ended is not None or self._stalled or self._loop.held:
            return
        if self._cutting is not None:
            return
        try:
            fault = self._up.write() or self._down.write()
        except OSError:
            self._end("reset")
            return
        self._after(fault)

    def _after(self, fault: Cut | Stall | None) -> None:
        match fault:
            case Cut():
                self._cut(fault)
            case Stall():
                self._stalled = True
                if fault.seconds is not None:
                    self._loop.later(fault.seconds, self._end_stall)
                self.refresh()
            case None:
                if self._up.closed and self._down.closed:
                    self._end("closed")
                else:
                    self.refresh()

    def _end_stall(self) -> None:
        self._stalled = False
        self.go_on()

    def _cut(self, fault: Cut) -> None:
        self._cutting = fault
        self._loop.watch(self._client, 0, self._on_client)
        self._loop.watch(self._server, 0, self._on_server)
        if fault.how == "rst":
            self._settle(time.monotonic())
            return
        for sock in (self._client, self._server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            self._loop.watch(sock, selectors.EVENT_READ, self._on_rest)
        self._loop.later(_LINGER, lambda: self._end("cut"))

    def _settle(self, began: float) -> None:
        """Reset once the bytes before the cut have got out, or never will."""
        if self.ended is not None:
            return
        elapsed = time.monotonic() - began
        both = (self._client, self._server)
        if elapsed > _SETTLING or all(settled(sock, elapsed) for sock in both):
            self._end("cut")
        else:
            self._loop.later(0.001, lambda: self._settle(began))

    def _on_rest(self, events: int) -> None:
        """Take what still comes after a cut by FIN, until both sides have ended."""
        if self.ended is not None:
            return
        watched = 0
        for sock in (self._client, self._server):
            if sock not in self._loop.selector.get_map():
                continue
            try:
                more = bool(sock.recv_into(self._loop.block))
            except (BlockingIOError, InterruptedError):
                more = True
            except OSError:
                more = False
            if more:
                watched += 1
            else:
                self._loop.watch(sock, 0, self._on_rest)
        if not watched:
            self._end("cut")

    def _end(self, how: str) -> None:
        if self.ended is not None:
            return
        self.ended = how
        for sock in (self._client, self._server):
            self._loop.watch(sock, 0, self._on_client)
            if how == "closed" or (self._cutting and self._cutting.how == "fin"):
                sock.close()
            else:
                reset(sock)
        self._over(self)


def _events(reading: Pump, writing: Pump) -> int:
    """Return what to wait for on the socket that the one reads, the other writes."""
    events = 0
    if reading.room() > 0 or reading.awaits_first:
        events |= selectors.EVENT_READ
    if writing.waiting:
        events |= selectors.EVENT_WRITE
    return events
