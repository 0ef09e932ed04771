"""One request and its answer over one connection, reading while it sends.

The kernel is asked first and waited for only when it has no room; every such
wait is for *readable or writable*, so that an interim response is seen while
the content goes out, and a final one ends it within milliseconds.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import h11

from ..errors import unreadable
from .connection import BUFFER, Connection
from .kernel import OF_THE_SOURCE, UNSENDABLE, Kernel, limit_silence
from .steps import Await, Failed, InThread, Steps, Wait
from .stream import Block, Segments, SourceRange

#: Bytes per call of sendfile at most: progress is told after each.
CHUNK: Final = 16 * 1024 * 1024
#: Bytes sent without a wait after which we look for an answer all the same.
GLANCE: Final = 1024 * 1024
#: Interim responses in a row, without any content leaving, that are borne.
INTERIM_LIMIT: Final = 1000
#: How many times as long as without them interim responses may make us wait.
INTERIM_PATIENCE: Final = 10

# Seconds between two looks at the send queue: quickly first, as what is held
# back waits for it; then rarely.
_LOOK, _LOOK_MAX = 0.001, 0.05
# Looks at the send queue while a wait for room lasts as long as it may.
_LOOKS: Final = 8
# Seconds until an answer is late enough to ask whether all has left.
_QUIET: Final = 0.25


class _Answered(Exception):
    """The final response is here."""


class _Length:
    """Stands for content that goes out without h11: an object with a length."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


class Exchange:
    """The state of one exchange; made anew for every request.

    *progress* and *answer* are seconds: without a byte in either direction
    while content goes out, and until the answer from when the kernel has sent
    everything. ``math.inf`` waits for ever.
    """

    def __init__(
        self,
        connection: Connection,
        stream: Segments,
        *,
        progress: float,
        answer: float,
        kernel: Kernel,
        asynchronous: bool,
    ) -> None:
        self._connection, self._stream, self._kernel = connection, stream, kernel
        self._progress, self._answer = progress, answer
        self._asynchronous = asynchronous
        #: Whether any byte of an answer came in.
        self.received = False
        #: Whether the kernel took any byte of the request.
        self.left = False
        self._final: h11.Response | None = None
        self._head = 0  # bytes of the head that are still here
        self._glanced = 0  # bytes out since we last looked for an answer
        self._interims = 0
        self._continue = False
        self._since = self._moved = 0.0
        self._queued: int | None = None  # bytes that waited for room, at a look
        self._stride = CHUNK // 4
        self._warm = 0  # the offset up to which a file is in memory

    def run(
        self, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]
    ) -> Steps[h11.Response]:
        """Send the request and return the head of its final response.

        Raises:
            Failed: there is none.
            UploadError: from sources and callbacks, unchanged.
        """
        connection, stream = self._connection, self._stream
        stream.begin()
        self._bear(self._progress)
        try:
            parts = connection.http.send_with_data_passthrough(
                h11.Request(method=method, target=target, headers=headers)
            )
        except h11.LocalProtocolError as exc:
            raise Failed("LocalProtocolError", str(exc)) from exc
        head = b"".join(parts or ())
        self._head = len(head)
        self._since = self._moved = time.monotonic()
        try:
            try:
                yield from self._send(head)
                yield from self._answered()
            except OSError as exc:
                broke = yield from self._last_words(exc)
                kind = "WriteError" if self._incomplete else "ReadError"
                raise Failed(kind, "the connection broke") from broke
        except _Answered:
            pass
        assert self._final is not None
        if not self._incomplete:
            self._end()
        return self._final

    def _bear(self, silence: float) -> None:
        """Have the kernel wait so many seconds for acknowledgements, not more."""
        connection = self._connection
        if connection.silence != silence:
            limit_silence(connection.sock, silence)
            connection.silence = silence

    def _last_words(self, broke: OSError) -> Steps[OSError]:
        """Read what lies before the break; return the error that says why it is.

        Many servers answer and then hang up on a client that is still sending.
        And many tell by an alert what is wrong with a certificate: only that
        they do is known to who writes on.
        """
        try:
            yield from self._input()
        except ssl.SSLError as alert:
            return alert
        except (OSError, Failed):
            pass
        return broke

    @property
    def _incomplete(self) -> bool:
        return self._head > 0 or self._stream.sent < self._stream.length

    def _end(self) -> None:
        """Tell h11 that the content is out; it learns of it in one go."""
        http, length = self._connection.http, self._stream.length
        if http.our_state is not h11.SEND_BODY:
            return  # the server closed or erred: no request will follow
        if length:
            http.send_with_data_passthrough(h11.Data(data=_Length(length)))  # type: ignore[arg-type] # documented: whatever has a length
        http.send(h11.EndOfMessage())

    # Sending

    def _send(self, head: bytes) -> Steps[None]:
        stream = self._stream
        if stream.expect and stream.length:
            yield from self._write(head, more=False)
            head = b""
            yield from self._permission()
        upto = stream.length - stream.withhold
        head = yield from self._blocks(stream.blocks(), head, upto)
        if head:
            yield from self._write(head, more=False)
        if stream.withhold:
            yield from self._drained()
            yield from self._blocks(stream.withheld(), b"", stream.length)

    def _blocks(self, blocks: Iterator[Block], head: bytes, upto: int) -> Steps[bytes]:
        """Send *blocks*, the first together with *head*; return an unsent head."""
        stream = self._stream
        while True:
            block: Block | None
            if stream.in_memory:
                block = next(blocks, None)
            else:
                block = yield from self._call(functools.partial(next, blocks, None))
            if block is None:
                return head
            if isinstance(block, SourceRange):
                if head:
                    yield from self._write(head, more=True)
                yield from self._range(block)
            else:
                more = stream.sent + len(block) < upto
                yield from self._write(head + block if head else block, more=more)
            head = b""

    def _write(
        self, data: bytes | bytearray | memoryview, *, more: bool
    ) -> Steps[None]:
        view = memoryview(data)
        while view:
            taken = self._connection.write(view, more=more)
            if taken is not None:
                self._out(taken)
                view = view[taken:]
                if not view:
                    break
            yield from self._room()
        if self._glanced >= GLANCE:
            yield from self._glance()

    def _range(self, piece: SourceRange) -> Steps[None]:
        lent = piece.source.descriptor()
        if lent is None:
            yield from self._copied(piece, None, 0)
            return
        with contextlib.ExitStack() as stack:
            # Opening may wait for a disk or a file server.
            fd = yield from self._call(functools.partial(stack.enter_context, lent))
            done = 0
            if self._kernel.sendfile and not self._connection.tls and fd is not None:
                done = yield from self._by_kernel(piece, fd)
            if done < piece.length:
                yield from self._copied(piece, fd, done)

    def _by_kernel(self, piece: SourceRange, fd: int) -> Steps[int]:
        """Have the kernel send *piece*; return how many bytes it was willing to."""
        start = offset = piece.source.base + piece.offset
        stop = offset + piece.length
        sock = self._connection.sock.fileno()
        self._warm = 0
        while offset < stop:
            size = min(CHUNK, stop - offset)
            try:
                if self._asynchronous and self._cold(fd, offset, size):
                    sending = functools.partial(os.sendfile, sock, fd, offset, size)
                    taken: int = yield InThread(sending)
                else:
                    taken = os.sendfile(sock, fd, offset, size)
            except BlockingIOError:
                yield from self._room()
                continue
            except OSError as exc:
                if exc.errno in UNSENDABLE:
                    break
                if exc.errno in OF_THE_SOURCE:
                    raise unreadable(piece.source.name, exc) from exc
                raise
            if not taken:
                raise piece.truncated(offset - piece.source.base)
            offset += taken
            self._stride = max(taken, GLANCE)
            self._out(taken)
            if taken < size:
                yield from self._room()
            elif self._glanced >= GLANCE:
                yield from self._glance()
        return offset - start

    def _cold(self, fd: int, offset: int, size: int) -> bool:
        """Whether sending from *offset* would probably wait for the disk.

        Files are read and forgotten in stretches, so the end of a chunk speaks
        for all of it; asking about every page would cost more than it saves.
        """
        if not self._kernel.nowait:
            return True
        if offset + min(size, self._stride) <= self._warm:
            return False
        for probe in (offset, offset + size - 1):
            try:
                os.preadv(fd, [bytearray(1)], probe, os.RWF_NOWAIT)
            except OSError:  # not there, or the file system cannot tell
                return True
        self._warm = offset + size
        return False

    def _copied(self, piece: SourceRange, fd: int | None, done: int) -> Steps[None]:
        """Send *piece* from byte *done* on through a buffer."""
        while done < piece.length:
            size = min(BUFFER, piece.length - done)
            try:
                data = yield from self._read(piece, fd, piece.offset + done, size)
            except OSError as exc:
                raise unreadable(piece.source.name, exc) from exc
            if not data:
                raise piece.truncated(piece.offset + done)
            done += len(data)
            more = self._stream.sent + len(data) < self._stream.length
            yield from self._write(data, more=more and done < piece.length)

    def _read(
        self, piece: SourceRange, fd: int | None, offset: int, size: int
    ) -> Steps[bytes | memoryview]:
        if fd is None or not self._kernel.preadv:
            reading = functools.partial(piece.source.read_at, offset, size)
            data: bytes = yield from self._call(reading)
            return data
        room = self._connection.buffer[:size]
        at = piece.source.base + offset
        if self._asynchronous and self._kernel.nowait:
            try:
                return room[: os.preadv(fd, [room], at, os.RWF_NOWAIT)]
            except OSError:  # not there, or the file system cannot tell
                pass
        count = yield from self._call(functools.partial(os.preadv, fd, [room], at))
        return room[:count]

    def _call(self, work: Callable[[], Any]) -> Steps[Any]:
        """Do what may wait for a disk: in async, away from the event loop."""
        if self._asynchronous:
            return (yield InThread(work))
        return work()

    def _out(self, count: int) -> None:
        """Note that the kernel took *count* more bytes."""
        self.left = True
        self._since = self._moved = time.monotonic()
        self._glanced += count
        if self._head:
            of_head = min(count, self._head)
            self._head -= of_head
            count -= of_head
        if count:
            self._interims = 0
            self._stream.moved(count)

    # Receiving

    def _room(self) -> Steps[None]:
        """Wait for room in the kernel, and look at what comes in meanwhile.

        There is room again only once a good part of what waits is acknowledged,
        and on a line that was fast and is slow now, megabytes wait. So whatever
        the peer acknowledges is a sign of life, too.
        """
        until = self._since + self._progress
        look = time.monotonic() + self._progress / _LOOKS
        readable, writable = yield self._until(min(until, look), writable=True)
        self._glanced = 0
        if readable:
            yield from self._input()
        if writable:
            self._queued = None
            return
        self._stream.check()
        now, before = time.monotonic(), self._queued
        self._queued = queued = self._kernel.unsent(self._connection.sock)
        if before is not None and queued is not None and queued < before:
            self._since = now
        elif now >= self._since + self._progress:
            raise Failed("WriteTimeout", "the server takes no more content")

    def _glance(self) -> Steps[None]:
        """Look at what came in, without waiting."""
        self._glanced = 0
        self._stream.check()
        yield from self._input()

    def _permission(self) -> Steps[None]:
        """Wait for 100 Continue, or long enough (RFC 9110, 10.1.1)."""
        until = time.monotonic() + self._stream.expect
        while not self._continue and time.monotonic() < until:
            readable, _ = yield self._until(until)
            if readable:
                yield from self._input()
            self._stream.check()

    def _drained(self) -> Steps[None]:
        """Wait until the peer has acknowledged everything that was sent."""
        queued, look = -1, _LOOK
        since = time.monotonic()
        while True:
            now, before = time.monotonic(), queued
            queued = self._kernel.unsent(self._connection.sock) or 0
            if not queued:
                return
            if queued != before:
                since = now
            elif now >= since + self._progress:
                raise Failed("WriteTimeout", "the server takes no more content")
            readable, _ = yield self._until(now + look)
            if readable:
                yield from self._input()
            self._stream.check()
            look = min(look * 2, _LOOK_MAX)

    def _answered(self) -> Steps[None]:
        """Wait for the answer; its time begins when everything has left."""
        queued = -1
        since = self._since
        until: float | None = None
        latest = math.inf
        while True:
            interims = self._interims
            wait = time.monotonic() + min(_QUIET, self._answer)
            readable, _ = yield self._until(wait if until is None else until)
            now = time.monotonic()
            # Bytes alone are no sign of life: somebody may drip them for ever.
            if readable:
                yield from self._input()
            self._stream.check()
            if until is not None:
                if self._interims != interims:
                    until = min(now + self._answer, latest)
                if now >= until:
                    raise Failed("ReadTimeout", "the server does not answer")
                continue
            before, queued = queued, self._kernel.unsent(self._connection.sock) or 0
            if not queued:
                until = now + self._answer
                latest = now + self._answer * INTERIM_PATIENCE
            elif queued != before:
                since = now
            elif now >= since + self._progress:
                raise Failed("WriteTimeout", "the server takes no more content")

    def _until(self, until: float, *, writable: bool = False) -> Wait:
        if self._stream.deadline is not None:
            until = min(until, self._stream.deadline)
        seconds = None if until == math.inf else max(0.0, until - time.monotonic())
        return Wait(self._connection.sock, True, writable, seconds)

    def _input(self) -> Steps[None]:
        """Take in everything that has arrived.

        Raises:
            _Answered: the final response is among it.
            Failed: the server closed, or it is not HTTP.
        """
        http = self._connection.http
        while True:
            data = self._connection.read()
            if data is None:
                return
            self.received = self.received or bool(data)
            try:
                http.receive_data(data)
                yield from self._events()
            except h11.RemoteProtocolError as exc:
                what = (
                    "the answer is not HTTP" if data else "the server closed, unasked"
                )
                raise Failed("RemoteProtocolError", what) from exc

    def _events(self) -> Steps[None]:
        http, stream = self._connection.http, self._stream
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.InformationalResponse):
                status = event.status_code
                self._interims += 1
                if self._interims > INTERIM_LIMIT:
                    raise Failed("RemoteProtocolError", "interim responses without end")
                # They show that the server lives, but not for ever.
                latest = self._moved + self._progress * INTERIM_PATIENCE
                self._since = max(self._since, min(time.monotonic(), latest))
                if self._since > self._moved + self._progress / 2:
                    self._bear(self._progress * INTERIM_PATIENCE)
                if status in (100, 104):
                    self._continue = True
                if status != 100 and stream.on_informational is not None:
                    headers = event.headers.raw_items()
                    waiting = stream.on_informational(status, headers)
                    if waiting is not None:
                        yield Await(waiting)
            elif isinstance(event, h11.Response):
                self._final = event
                raise _Answered
            elif isinstance(event, h11.ConnectionClosed):
                raise Failed("RemoteProtocolError", "the server closed, unasked")


def next_data(connection: Connection, seconds: float | None) -> Steps[bytes]:
    """Return more of an answer's content; b"" at its end.

    Raises:
        Failed: the connection broke, or no content came for so many seconds.
    """
    http = connection.http
    until = math.inf if seconds is None else time.monotonic() + seconds
    while True:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as exc:
            raise Failed("RemoteProtocolError", "the answer broke off") from exc
        if isinstance(event, h11.Data):
            if event.data:
                return bytes(event.data)
        elif event is h11.NEED_DATA:
            try:
                data = connection.read()
            except OSError as exc:
                raise Failed("ReadError", "the connection broke") from exc
            if data is not None:
                http.receive_data(data)
                continue
            left = None if seconds is None else max(0.0, until - time.monotonic())
            if not any((yield Wait(connection.sock, True, False, left))):
                raise Failed("ReadTimeout", "the answer's content stalls")
        else:
            return b""
