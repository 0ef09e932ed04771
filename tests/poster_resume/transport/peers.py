"""Servers played by hand: each connection runs a script, byte for byte."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import trustme

AUTHORITY = trustme.CA()


@functools.cache
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@functools.cache
def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    return context


class Peer:
    """The server's end of one connection."""

    def __init__(
        self,
        sock: socket.socket,
        closing: threading.Event,
        stamps: list[float] | None = None,
    ) -> None:
        self.sock, self._closing, self._stamps = sock, closing, stamps
        self._rest = b""

    def head(self) -> bytes:
        """Read a request's head; what lies behind it is kept."""
        data = self._rest
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError("the client closed before its head was whole")
            data += more
        head, _, self._rest = data.partition(b"\r\n\r\n")
        return head

    def content(self, length: int) -> bytes:
        """Read exactly so many bytes of content; fewer if the client closes."""
        data = bytearray(self._rest[:length])
        self._rest = self._rest[length:]
        while len(data) < length:
            more = self.sock.recv(min(1 << 20, length - len(data)))
            if not more:
                break
            data += more
        return bytes(data)

    def rest(self) -> int:
        """Read until the client closes or breaks; return how much came."""
        count, self._rest = len(self._rest), b""
        with contextlib.suppress(OSError):
            while data := self.sock.recv(1 << 20):
                count += len(data)
        return count

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def interim(self, status: int, *fields: str) -> None:
        self.say("\r\n".join([f"HTTP/1.1 {status} x", *fields, "", ""]).encode())

    def answer(self, status: int, content: bytes = b"", *fields: str) -> None:
        length = f"Content-Length: {len(content)}"
        head = "\r\n".join([f"HTTP/1.1 {status} x", length, *fields, "", ""])
        self.say(head.encode() + content)

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    def stamp(self) -> None:
        """Note the time, for the test to read."""
        assert self._stamps is not None
        self._stamps.append(time.monotonic())

    def hold(self) -> None:
        """Do nothing, and read nothing, until the test is over."""
        self._closing.wait(30)


@dataclass
class Server:
    """What a test sees of a server."""

    port: int
    tls: bool
    heads: list[bytes] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        return (
            f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/up?sig=s3cret"
        )


@contextlib.contextmanager
def serving(
    *scripts: Callable[[Peer], None], tls: bool | ssl.SSLContext = False
) -> Iterator[Server]:
    """Serve one connection after the other, each by the next script.

    The last script serves all that follow. A broken connection is no failure
    of a script; whatever else it raises fails the test.
    """
    context = server_context() if tls is True else tls or None
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()
    server = Server(listener.getsockname()[1], bool(tls))
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket, script: Callable[[Peer], None]) -> None:
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            script(Peer(sock, closing, server.stamps))
        except OSError:
            pass
        except BaseException as exc:  # noqa: BLE001 (shown by the test)
            server.failures.append(exc)
        finally:
            sock.close()

    def accept() -> None:
        number = 0
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if closing.is_set():
                sock.close()
                return
            script = scripts[min(number, len(scripts) - 1)]
            number += 1
            thread = threading.Thread(target=serve, args=(sock, script))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        closing.set()
        with contextlib.suppress(OSError), socket.socket() as knock:
            knock.connect(("127.0.0.1", server.port))
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()
    if server.failures:
        raise server.failures[0]
