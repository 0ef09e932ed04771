"""One server's side of an HTTP/1.1 connection, made for large content.

h11 reads heads and chunked content and spells the answers. Content of a
stated length goes from the socket into one block, past h11: what is counted is
what arrived, to the byte, also when the connection breaks in the middle.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Literal

import h11

from .sockets import reset, wake

#: Bytes that one read asks the kernel for.
BLOCK = 512 * 1024
_HEAD_BLOCK = 64 * 1024

#: Seconds in which a request that is being cut off may still hand in what it sent.
_LAST_WORDS = 0.25
#: Seconds for which a connection that is closing goes on taking what comes.
_LINGER = 2.0

#: What becomes of the connection after an answer. *drain*: the rest of the
#: content is read and thrown away, the connection stays. *close*: FIN at once,
#: then a short drain. *reset*: RST at once. *stop*: it stays open and nothing
#: more is read. *drop*: not even the answer is sent, RST.
Ending = Literal["drain", "close", "reset", "stop", "drop"]


class ConnectionLost(Exception):
    """The peer went away, or broke the rules of HTTP, before its request ended."""


class EarlyAnswer(Exception):
    """The script wants the answer now, in the middle of the content."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One final response; *headers* have lower-case names.

    *raw* is sent as it is, in place of everything else, and the connection
    closed: for what h11 would refuse to spell.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    ending: Ending = "drain"
    raw: bytes | None = None


@dataclass(frozen=True)
class Head:
    """The head of one request. *path* includes the query, if there is one."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Fields by lower-case name; repeated ones joined by ``, ``."""
        joined: dict[str, str] = {}
        for name, value in self.fields:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @property
    def content_length(self) -> int | None:
        """The bytes of content announced; None for chunked content."""
        if "transfer-encoding" in self.headers:
            return None
        # h11 has checked that it is a number.
        return int(self.headers.get("content-length", "0").split(",")[0])


class Connection:
    """One accepted connection, served by one thread; *number* counts from 0."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.stopped = threading.Event()
        #: Whether what has come so far is being worked on, so that a newer
        #: connection had better wait for it.
        self.busy = False
        #: Whether content is being read, or is left to lie.
        self.reading = False
        self._socket = sock
        self._left = b""
        self._block: memoryview | None = None

    def exchanges(self) -> Iterator[Exchange]:
        """Yield the requests of this connection, one after the other.

        Each must have been answered or broken off before the next is asked for.
        """
        while not self.stopped.is_set():
            self.busy = self.reading = False
            exchange = self._next()
            if exchange is None:
                return
            yield exchange
            if not exchange.reusable:
                return

    def handshake(self) -> bool:
        """Make TLS ready, if there is TLS; whether the connection can be used."""
        if isinstance(self._socket, ssl.SSLSocket):
            try:
                self._socket.do_handshake()
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Close the socket; by the thread that serves the connection."""
        self._socket.close()

    def stop(self) -> None:
        """Have the serving thread come to an end; callable from any thread."""
        self.stopped.set()
        wake(self._socket)

    def _next(self) -> Exchange | None:
        parser = h11.Connection(h11.SERVER)
        if self._left:
            self.busy = True
            parser.receive_data(self._left)
            self._left = b""
        while True:
            try:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    self._await()
                    parser.receive_data(self._receive())
                    continue
            except (h11.RemoteProtocolError, ConnectionLost):
                return None
            if not isinstance(event, h11.Request):
                return None
            fields = tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in event.headers
            )
            head = Head(
                event.method.decode("ascii"), event.target.decode("latin-1"), fields
            )
            return Exchange(self, parser, head)

    def behind(self) -> bool:
        """Whether something has come that nobody has looked at; from any thread."""
        if self.busy:
            return True
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                # A thread in the middle of content has looked at it all the same.
                return bool(selector.select(0)) and not self.reading
        except (OSError, ValueError):  # it has just been closed
            return False

    def _await(self) -> None:
        """Wait until something comes, and be busy before it is taken."""
        sock = self._socket
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return
        self.busy = False
        try:
            socket.socket.recv(sock, 1, socket.MSG_PEEK)
        except OSError as exc:
            raise ConnectionLost from exc
        self.busy = True

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_HEAD_BLOCK)
        except OSError as exc:
            raise ConnectionLost from exc

    def _receive_into(self, size: int) -> memoryview:
        if self._block is None:
            self._block = memoryview(bytearray(BLOCK))
        try:
            count = self._socket.recv_into(self._block, min(size, BLOCK))
        except OSError as exc:
            raise ConnectionLost from exc
        if count == 0:
            raise ConnectionLost
        return self._block[:count]


class Exchange:
    """One request and its answer."""

    def __init__(self, connection: Connection, parser: h11.Connection, head: Head):
        self.connection, self.head = connection, head
        self.received = 0
        self.interims = 0
        self.answered: int | None = None
        #: The request may not take in more content than this before it is
        #: answered by ``EarlyAnswer``; None: all of it.
        self.stop_at: int | None = None
        self.reusable = False
        #: Told of the length of each block that came.
        self.came: Callable[[int], None] | None = None
        #: The upload that the request is about, for the log.
        self.upload: str | None = None
        self._parser = parser
        length = head.content_length
        self._whole = length == 0
        self._ahead = memoryview(b"")
        if length is not None:
            # What came along with the head: content, then the next request.
            left = parser.trailing_data[0]
            self._ahead = memoryview(left)[:length]
            connection._left = left[len(self._ahead) :]
        self._killed: float | None = None
        self._expecting = parser.they_are_waiting_for_100_continue

    def kill(self) -> None:
        """Have the content end here, for another request's sake; from any thread."""
        self._killed = time.monotonic() + _LAST_WORDS
        wake(self.connection._socket, socket.SHUT_RD)

    def interim(self, status: int, headers: Mapping[str, str]) -> None:
        """Send an interim answer; a peer that is gone is noticed on reading."""
        message = h11.InformationalResponse(
            status_code=status,
            headers=list(headers.items()),
            reason=_reason(status),
        )
        if self._send(self._parser.send(message) or b""):
            self.interims += 1

    def blocks(self) -> Iterator[memoryview]:
        """Yield the content as it comes; each block is valid until the next.

        Raises:
            ConnectionLost: it ended early.
            EarlyAnswer: *stop_at* bytes have been yielded.
        """
        connection = self.connection
        connection.reading, connection.busy = True, False
        try:
            self._check_stop()
            if self._expecting and not self._whole:
                self._expecting = False
                self.interim(100, {})
            length = self.head.content_length
            source = self._chunked() if length is None else self._sized(length)
            for block in source:
                if self._killed is not None and time.monotonic() > self._killed:
                    raise ConnectionLost
                self.received += len(block)
                if self.came is not None:
                    self.came(len(block))
                yield block
                self._check_stop()
        finally:
            connection.reading, connection.busy = False, True

    def discard(self) -> None:
        """Read the content to its end and forget it."""
        for _ in self.blocks():
            pass

    def answer(self, answer: Answer) -> None:
        """Send the final answer, and end the exchange as it says."""
        connection = self.connection
        self.answered = answer.status
        if answer.ending == "drop":
            reset(connection._socket)
            return
        if answer.raw is not None:
            self._send(answer.raw)
            self._linger()
            return
        # Whoever waits for a 100 and gets an answer may or may not send on.
        ending = answer.ending
        unsettled = self._expecting and not self._whole
        if unsettled and ending == "drain":
            ending = "close"
        if not self._send(self._spelled(answer, close=ending != "drain")):
            return
        match ending:
            case "drain":
                self._drain()
            case "close":
                self._linger()
            case "reset":
                reset(connection._socket)
            case "stop":
                connection.reading, connection.busy = True, False
                connection.stopped.wait()

    def _check_stop(self) -> None:
        if self.stop_at is not None and self.received >= self.stop_at:
            self.stop_at = None
            raise EarlyAnswer

    def _sized(self, length: int) -> Iterator[memoryview]:
        while len(self._ahead):
            size = self._allowed(len(self._ahead))
            block, self._ahead = self._ahead[:size], self._ahead[size:]
            yield block
        while self.received < length:
            yield self.connection._receive_into(self._allowed(length - self.received))
        self._whole = True

    def _chunked(self) -> Iterator[memoryview]:
        while not self._whole:
            try:
                event = self._parser.next_event()
                if event is h11.NEED_DATA:
                    self._parser.receive_data(self.connection._receive())
                    continue
            except h11.RemoteProtocolError as exc:
                raise ConnectionLost from exc
            if isinstance(event, h11.Data):
                yield memoryview(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.connection._left = self._parser.trailing_data[0]
                self._whole = True
            else:
                raise ConnectionLost

    def _allowed(self, size: int) -> int:
        if self.stop_at is None:
            return size
        return min(size, self.stop_at - self.received)

    def _spelled(self, answer: Answer, *, close: bool) -> bytes:
        headers = dict(answer.headers)
        bodiless = answer.status in (204, 304) or self.head.method == "HEAD"
        if answer.status not in (204, 304) or answer.content:
            headers.setdefault("content-length", str(len(answer.content)))
        if close:
            headers["connection"] = "close"
        fields = [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, value in headers.items()
        ]
        response = h11.Response(
            status_code=answer.status, headers=fields, reason=_reason(answer.status)
        )
        data = self._parser.send(response) or b""
        if not bodiless:
            data += self._parser.send(h11.Data(data=answer.content)) or b""
        data += self._parser.send(h11.EndOfMessage()) or b""
        return data

    def _send(self, data: bytes) -> bool:
        try:
            self.connection._socket.sendall(data)
        except OSError:
            return False
        return True

    def _drain(self) -> None:
        if self._parser.our_state is not h11.DONE:  # the client wants to close
            self._linger()
            return
        self.stop_at = None
        with contextlib.suppress(ConnectionLost):
            self.discard()
            self.reusable = True

    def _linger(self) -> None:
        # A close with unread content is an RST, which may take the answer along.
        sock = self.connection._socket
        wake(sock, socket.SHUT_WR)
        until = time.monotonic() + _LINGER
        with contextlib.suppress(ConnectionLost, OSError):
            while (left := until - time.monotonic()) > 0:
                sock.settimeout(left)
                self.connection._receive_into(BLOCK)


def _reason(status: int) -> bytes:
    if status == 104:
        return b"Upload Resumption Supported"
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
