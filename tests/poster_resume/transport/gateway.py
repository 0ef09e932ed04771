"""A gateway from HTTP/2 over TLS to an HTTP/1.1 server, that breaks off on demand.

It is what stands before most upload servers: the ``h2`` library on one side,
one HTTP/1.1 connection per request on the other, and each byte handed on as it
comes in.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import h11

from .peers import AUTHORITY

#: What becomes of a stream: *reset* by RST_STREAM; *goaway* ends the connection
#: though it counts the stream as processed; *gone* ends it, too, saying that
#: nothing of the stream was processed; *refuse* answers 413 and then RST_STREAM
#: (RFC 9113, 8.1); *full* answers 413 and goes on reading.
How = Literal["reset", "goaway", "gone", "refuse", "full"]


@dataclass(frozen=True)
class Break:
    """Do so once *after* bytes of one request's content have come in."""

    how: How
    after: int


@dataclass
class Seen:
    """What a gateway saw."""

    methods: list[bytes] = field(default_factory=list)
    broken: list[How] = field(default_factory=list)


class _Upstream:
    """One request on its way to the server, and its answer on the way back."""

    def __init__(self, port: int, request: h11.Request) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.http = h11.Connection(h11.CLIENT)
        self.count = 0
        self.send(request)

    def send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        with contextlib.suppress(OSError):  # an answer may lie before the break
            self.sock.sendall(data or b"")

    def has_answer(self) -> bool:
        return bool(select.select([self.sock], [], [], 0)[0])

    def events(self) -> Iterator[h11.InformationalResponse | h11.Response | h11.Data]:
        """Yield what comes back, to its end."""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(self.sock.recv(65536))
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return
            elif isinstance(event, h11.InformationalResponse | h11.Response | h11.Data):
                yield event

    def close(self) -> None:
        self.sock.close()


class _Downstream:
    """One HTTP/2 connection of a client."""

    def __init__(
        self, sock: ssl.SSLSocket, port: int, breaks: list[Break], seen: Seen
    ) -> None:
        self._sock, self._port, self._breaks, self._seen = sock, port, breaks, seen
        config = h2.config.H2Configuration(client_side=False)
        self._http = h2.connection.H2Connection(config)
        self._upstream: dict[int, _Upstream] = {}
        self._ended = False

    def serve(self) -> None:
        http = self._http
        http.initiate_connection()
        self._flush()
        try:
            while not self._ended:
                data = self._sock.recv(65536)
                if not data:
                    return
                for event in http.receive_data(data):
                    self._on(event)
                self._flush()
        finally:
            for upstream in self._upstream.values():
                upstream.close()

    def _flush(self) -> None:
        self._sock.sendall(self._http.data_to_send())

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            # Only so does the client get room for more.
            self._http.acknowledge_received_data(
                event.flow_controlled_length, event.stream_id
            )
            upstream = self._upstream.get(event.stream_id)
            if upstream is not None:
                self._forward(event.stream_id, upstream, event.data)
        elif isinstance(event, h2.events.StreamEnded):
            upstream = self._upstream.get(event.stream_id)
            if upstream is not None:
                upstream.send(h11.EndOfMessage())
                self._answer(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._drop(event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._ended = True

    def _begin(self, event: h2.events.RequestReceived) -> None:
        said = dict(event.headers)
        self._seen.methods.append(said[b":method"])
        fields = [(b"host", said[b":authority"])]
        fields += [pair for pair in event.headers if not pair[0].startswith(b":")]
        request = h11.Request(
            method=said[b":method"], target=said[b":path"], headers=fields
        )
        self._upstream[event.stream_id] = _Upstream(self._port, request)

    def _forward(self, stream: int, upstream: _Upstream, data: bytes) -> None:
        upstream.count += len(data)
        upstream.send(h11.Data(data=data))
        if self._breaks and upstream.count >= self._breaks[0].after:
            self._break(stream, self._breaks.pop(0).how)
        elif upstream.has_answer():
            self._answer(stream, early=True)

    def _break(self, stream: int, how: How) -> None:
        http = self._http
        self._seen.broken.append(how)
        self._drop(stream)
        match how:
            case "reset":
                http.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            case "goaway" | "gone":
                http.close_connection(
                    h2.errors.ErrorCodes.INTERNAL_ERROR,
                    last_stream_id=stream if how == "goaway" else stream - 1,
                )
                self._ended = True
            case "refuse" | "full":
                http.send_headers(stream, [(":status", "413")], end_stream=True)
                if how == "refuse":
                    http.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)

    def _drop(self, stream: int) -> None:
        upstream = self._upstream.pop(stream, None)
        if upstream is not None:
            upstream.close()

    def _answer(self, stream: int, *, early: bool = False) -> None:
        """Hand the answer back; *early*: as far as it is one that doesn't end."""
        for event in self._upstream[stream].events():
            if isinstance(event, h11.Data):
                self._http.send_data(stream, bytes(event.data))
                continue
            hop = (b"connection", b"keep-alive", b"transfer-encoding")
            fields = [(name, value) for name, value in event.headers if name not in hop]
            status = (b":status", str(event.status_code).encode())
            self._http.send_headers(stream, [status, *fields])
            if early and isinstance(event, h11.InformationalResponse):
                return
        self._http.end_stream(stream)
        self._drop(stream)


@contextlib.contextmanager
def gateway(port: int, *breaks: Break) -> Iterator[tuple[str, Seen]]:
    """Stand before the server on *port*; yield the URL and what was seen.

    Each of *breaks* happens once, in this order.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()
    seen, left = Seen(), list(breaks)
    open_sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            sock,
            context.wrap_socket(sock, server_side=True) as secured,
        ):
            open_sockets.append(secured)
            _Downstream(secured, port, left, seen).serve()

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            if closing.is_set():
                sock.close()
                return
            thread = threading.Thread(target=serve, args=(sock,))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        closing.set()
        socket.create_connection(listener.getsockname()).close()
        accepting.join()
        listener.close()
        for sock in open_sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
