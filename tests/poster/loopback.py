"""Servers of a few lines on the loopback interface, scripted by the test that uses one.

A script plays one connection from its first byte to its last; what it raises fails the
test when the server is closed.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser

PATIENCE = 20.0


@dataclass
class Request:
    """What arrived: *complete* if the body is as long as was announced."""

    method: str
    path: str
    headers: Message
    body: bytes
    complete: bool


@dataclass
class Wire:
    """One accepted connection, with the words that scripts need."""

    sock: socket.socket
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = self.sock.makefile("rb")

    def read_head(self) -> Request | None:
        """Read a request up to its body; None if the peer is gone."""
        line = self.reader.readline()
        if not line.strip():
            return None
        method, path, _ = line.decode("latin-1").split()
        head = b""
        while (line := self.reader.readline()) not in (b"\r\n", b"\n", b""):
            head += line
        request = Request(method, path, BytesParser().parsebytes(head), b"", False)
        self.requests.append(request)
        return request

    def read_body(self, request: Request) -> Request:
        if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.reader.readline(), 16):
                request.body += self.reader.read(size)
                assert self.reader.readline() == b"\r\n"
            assert self.reader.readline() == b"\r\n"
            request.complete = True
            return request
        length = int(request.headers.get("Content-Length", "0"))
        with contextlib.suppress(ConnectionError):
            request.body = self.reader.read(length)
        request.complete = len(request.body) == length
        return request

    def read(self) -> Request | None:
        request = self.read_head()
        return request and self.read_body(request)

    def say(self, status: str, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def reset(self) -> None:
        """Close so that the peer sees a reset connection."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.close()

    def close(self) -> None:
        self.reader.close()
        self.sock.close()


Script = Callable[[Wire], None]


class Server:
    """Accepts connections and plays *script* on each."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.failures: list[BaseException] = []
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._last: object = None
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.port: int = self._listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://{self.host}"

    def _accept(self) -> None:
        while True:
            sock, peer = self._listener.accept()
            if peer == self._last:
                sock.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._play, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _play(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            wire = Wire(sock, self.requests)
            try:
                self._script(wire)
            finally:
                wire.close()
        except (ConnectionError, ssl.SSLError):
            pass  # the client hung up: what it saw is the test's business
        except BaseException as exc:  # noqa: BLE001 - told to the test, see close()
            self.failures.append(exc)
        finally:
            sock.close()

    def close(self) -> None:
        # One connection behind all others, so that none of them goes unanswered.
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._last = last.getsockname()
            last.connect(("127.0.0.1", self.port))
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()
        if self.failures:
            raise self.failures[0]


@contextlib.contextmanager
def serving(script: Script, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(script, context)
    try:
        yield server
    finally:
        server.close()


def accepting(wire: Wire) -> None:
    """Say 200 to every request of a connection, with the length of its body."""
    while (request := wire.read()) is not None:
        wire.say("200 OK", str(len(request.body)).encode())
        if request.headers.get("Connection") == "close":
            return
