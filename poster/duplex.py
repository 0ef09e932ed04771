"""Sending on a connection while listening: an answer may come before the end.

A server that refuses a large body says so at once, and may then close, reset or just
stop reading. What it said is kept, and ends the sending; it is never lost in the error
that sending into a closed connection gives.
"""

import contextlib
import errno
import http.client
import io
import os
import re
import selectors
import socket
from types import TracebackType
from typing import NoReturn, Self

from poster.files import FileRange

try:
    import ssl
except ImportError:  # an interpreter without TLS
    _TLS_SOCKETS: tuple[type[socket.socket], ...] = ()
    _WANT_READ: tuple[type[OSError], ...] = ()
    _WANT_WRITE: tuple[type[OSError], ...] = ()
else:
    _TLS_SOCKETS = (ssl.SSLSocket,)
    _WANT_READ = (ssl.SSLWantReadError,)
    _WANT_WRITE = (ssl.SSLWantWriteError,)
_WOULD_BLOCK: tuple[type[OSError], ...] = (BlockingIOError, InterruptedError)
_NOT_WRITTEN = _WOULD_BLOCK + _WANT_WRITE
_NOT_READ = _WOULD_BLOCK + _WANT_READ + _WANT_WRITE

# After a failed write TLS reads nothing any more, not even an answer that has arrived.
# It is written to by single records (RFC 8446, section 5.1), so that an answer is
# almost always seen before the write that would fail.
_TLS_WRITE_SIZE = 16 * 1024
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_RECEIVE_SIZE = 64 * 1024
# An early answer beyond this waits in the kernel until the body is sent.
_ANSWER_SIZE = 1024 * 1024
# What sendfile(2) says of a pair of descriptors that it cannot work on.
_NO_SENDFILE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d\d\d)\b")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE_SIZE = len(b"HTTP/1.1 200\r")


def is_plain(sock: object) -> bool:
    """Return whether *sock* is a socket that the kernel may send on by itself."""
    return isinstance(sock, socket.socket) and not isinstance(sock, _TLS_SOCKETS)


class Answer:
    """What the server has said to the request that is being sent.

    `final` is the status of its final response once that is known: interim ones (RFC
    9110, section 15.2) are dropped. 0 stands for something that is no response.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.final: int | None = None
        self.closed = False

    @property
    def refuses(self) -> bool:
        """Whether the rest of the body is in vain.

        A success is not: the server may be answering while it reads.
        """
        return self.final is not None and not 200 <= self.final < 300

    def feed(self, data: bytes) -> None:
        """Take *data* that was received; empty means that the server closed."""
        self.data += data
        self.closed = not data
        while self.final is None and len(self.data) >= _STATUS_LINE_SIZE:
            status = _STATUS_LINE.match(self.data)
            code = int(status[1]) if status is not None else 0
            # 101 is the last response in HTTP on this connection.
            if not 100 <= code < 200 or code == 101:
                self.final = code
                return
            end = _END_OF_HEAD.search(self.data)
            if end is None:
                if len(self.data) > _ANSWER_SIZE:
                    self.final = 0
                return
            del self.data[: end.end()]


class AnswerReader(io.RawIOBase):
    """A connection as a file to read the final response from, its early bytes first."""

    def __init__(self, answer: Answer, raw: io.RawIOBase) -> None:
        self._answer = answer
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int | None:  # type: ignore[override]
        answer = self._answer
        while answer.final is None and not answer.closed:
            data = self._raw.read(_RECEIVE_SIZE)
            if data is None:
                return None
            answer.feed(data)
        if not answer.data:
            return self._raw.readinto(buffer)
        size = min(len(buffer), len(answer.data))
        buffer[:size] = answer.data[:size]
        del answer.data[:size]
        return size

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()


class Refused(Exception):
    """The server answered, and will not read what is left of the body."""


class Duplex:
    """A socket that is sent to without waiting and listened to all the while.

    Between `with` and its end the socket does not block. Its timeout bounds each wait
    for progress, in seconds, not the whole.

    All that send raise:
        Refused: the server answered with anything but success, or answered and closed.
        TimeoutError: nothing could be sent for as long as the socket's timeout.
        OSError: the connection is broken and there is no answer.
    """

    def __init__(self, sock: socket.socket, answer: Answer) -> None:
        self._sock = sock
        self._answer = answer
        self._timeout = sock.gettimeout()
        self._plain = is_plain(sock)

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._interest = _READ | _WRITE
        self._listening = True
        self._selector.register(self._sock, self._interest)
        self._sock.settimeout(0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A callback may have closed the connection.
        self._selector.close()
        if self._sock.fileno() >= 0:
            self._sock.settimeout(self._timeout)

    def send(self, data: bytes | memoryview | FileRange) -> None:
        """Send all of *data*; a range of a file by the kernel alone, if it can.

        Raises:
            LengthMismatch: the file has become shorter.
        """
        if isinstance(data, FileRange):
            self._send_range(data)
            return
        left = memoryview(data)
        while left:
            sent = self._send_some(left if self._plain else left[:_TLS_WRITE_SIZE])
            left = left[sent:]

    def _send_range(self, content: FileRange) -> None:
        sent = 0
        while sent < content.length:
            count = self._sendfile(content, sent)
            if count is None:
                break
            sent += count
        while sent < content.length:
            block = content.read(sent, _RECEIVE_SIZE * 4)
            self.send(block)
            sent += len(block)

    def _send_some(self, left: memoryview) -> int:
        wanted = _WRITE
        while True:
            self._wait(wanted)
            try:
                return self._sock.send(left)
            except _NOT_WRITTEN:
                # TLS has to be given the same bytes again, and is.
                wanted = _WRITE
            except _WANT_READ:
                wanted = _READ
            except OSError as exc:
                self._broken(exc)

    def _sendfile(self, content: FileRange, start: int) -> int | None:
        """Send some of *content* and return how much; None if the kernel can't."""
        sendfile = getattr(os, "sendfile", None)
        if sendfile is None or not self._plain:
            return None
        target, source = self._sock.fileno(), content.file.fileno()
        while True:
            self._wait(_WRITE)
            try:
                count: int = sendfile(
                    target, source, content.offset + start, content.length - start
                )
            except _WOULD_BLOCK:
                continue
            except OSError as exc:
                if exc.errno in _NO_SENDFILE:
                    return None
                self._broken(exc)
            if not count:
                raise content.cut(start)
            return count

    def _wait(self, wanted: int) -> None:
        """Wait until the socket is ready for *wanted*, and listen meanwhile."""
        while True:
            if self._sock.fileno() < 0:
                # Selectors wait for ever for a descriptor that is gone.
                raise OSError(errno.EBADF, "closed while the body was being sent")
            interest = wanted | _READ if self._listening else wanted
            if interest != self._interest:
                self._selector.modify(self._sock, interest)
                self._interest = interest
            ready = self._selector.select(self._timeout)
            if not ready:
                raise TimeoutError("timed out while sending the body")
            events = ready[0][1]
            if events & _READ and self._listening:
                self._listen()
                if self._answer.refuses:
                    raise Refused
            if events & wanted:
                return

    def _listen(self) -> None:
        """Receive what has come, as far as it is wanted before the body is sent."""
        answer = self._answer
        try:
            self._receive()
        except _NOT_READ:
            return
        except OSError as exc:
            self._broken(exc)
        if answer.closed and answer.final is None:
            raise http.client.RemoteDisconnected(
                "the server closed the connection without an answer while the body "
                "was being sent"
            )
        self._listening = False

    def _receive(self) -> None:
        answer = self._answer
        while not answer.closed and len(answer.data) < _ANSWER_SIZE:
            answer.feed(self._sock.recv(_RECEIVE_SIZE))

    def _broken(self, exc: OSError) -> NoReturn:
        """Raise for a connection that *exc* ended: what the server said goes first."""
        with contextlib.suppress(OSError):
            self._receive()
        if self._answer.final is not None:
            raise Refused from exc
        raise exc
