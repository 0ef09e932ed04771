"""A server that answers whatever bytes a script says, and a log of what it was told.

It may know a true receiver: then a script can let the truth pass, or twist it.
Nothing here parses what it sends: that is the point.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

from poster_resume.testing import Receiver


class Then(enum.Enum):
    """What a script may do besides talking and waiting."""

    STAY = "read the next request from this connection"
    RESET = "break the connection off"


Said: TypeAlias = "bytes | float | Then"


@dataclass(frozen=True)
class Asked:
    """One request as it came in; *number* counts those of the server, from 0."""

    number: int
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    content: bytes
    head: bytes
    truth: Callable[[], bytes] = field(repr=False)


Script: TypeAlias = Callable[[Asked], Iterable[Said]]


class Hostile:
    """A server on loopback that follows *script*; *receiver* knows the truth.

    A script yields bytes to say, seconds to wait, or what else to do. At its
    end the connection is closed. *early* runs it before the content is read.
    """

    def __init__(
        self,
        script: Script,
        receiver: Receiver | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        early: bool = False,
    ) -> None:
        self.script, self._receiver, self._tls = script, receiver, tls
        self._early = early
        self.asked: list[Asked] = []
        self.connections = 0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self._accepting.join()
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def told(self) -> str:
        """Return everything that was ever said to this server but content."""
        return "\n".join(asked.head.decode("latin-1") for asked in self.asked)

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._closing.is_set():
                sock.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        with contextlib.suppress(OSError):
            sock.settimeout(30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with self._lock:
                self._sockets.append(sock)
            rest = b""
            while (heard := self._heard(sock, connection, rest)) is not None:
                asked, rest = heard
                if not self._answered(sock, self.script(asked)):
                    break
        sock.close()

    def _heard(
        self, sock: socket.socket, connection: int, data: bytes
    ) -> tuple[Asked, bytes] | None:
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return None
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(data) < length and not self._early:
            more = sock.recv(65536)
            if not more:
                break
            data += more
        content, rest = data[:length], data[length:]

        def truth() -> bytes:
            return self._truth(head, content)

        with self._lock:
            number = len(self.asked)
            asked = Asked(
                number, connection, method, path, headers, content, head, truth
            )
            self.asked.append(asked)
        return asked, rest

    def _truth(self, head: bytes, content: bytes) -> bytes:
        assert self._receiver is not None
        first, _, fields = head.partition(b"\r\n")
        with socket.create_connection(("127.0.0.1", self._receiver.port)) as sock:
            sock.sendall(b"%b\r\nConnection: close\r\n%b\r\n\r\n" % (first, fields))
            sock.sendall(content)
            answer = bytearray()
            while more := sock.recv(65536):
                answer += more
        return bytes(answer)

    def _answered(self, sock: socket.socket, saying: Iterable[Said]) -> bool:
        """Say it; return whether the connection stays."""
        for said in saying:
            if self._closing.is_set():
                return False
            if said is Then.STAY:
                return True
            if said is Then.RESET:
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )
                return False
            if isinstance(said, float):
                self._closing.wait(said)
            elif isinstance(said, bytes):
                sock.sendall(said)
        return False


def answer(
    status: int, *fields: str, content: bytes = b"", length: bool = True
) -> bytes:
    """Spell an answer; *fields* are header lines."""
    lines = [f"HTTP/1.1 {status} said", *fields]
    if length:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content
