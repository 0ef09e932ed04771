"""A client that hides nothing: it sees interim answers and sends what it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import h11


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    content: bytes = b""


class Client:
    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.interims: list[Reply] = []
        self._method = "GET"
        self._parser = h11.Connection(h11.CLIENT)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def head(
        self, method: str, path: str, headers: Mapping[str, object], length: int | None
    ) -> None:
        fields = {"host": "receiver.test"} | {k: str(v) for k, v in headers.items()}
        if length is None:
            fields["transfer-encoding"] = "chunked"
        elif length or method in ("POST", "PATCH"):
            fields["content-length"] = str(length)
        self._parser = h11.Connection(h11.CLIENT)
        data = self._parser.send(
            h11.Request(method=method, target=path, headers=list(fields.items()))
        )
        assert data is not None
        self.socket.sendall(data)

    def ask(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, object] | None = None,
        *,
        length: int | None = -1,
    ) -> Reply:
        """Send a request and return the final answer; *length* other than it has."""
        self.head(method, path, headers or {}, len(content) if length == -1 else length)
        if length is None:
            content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        with contextlib.suppress(OSError):  # an early answer may be there
            self.socket.sendall(content)
        return self.reply()

    def reply(self) -> Reply:
        """Return the final answer; what comes before it goes to *interims*."""
        final: Reply | None = None
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                data = self.socket.recv(65536)
                if not data:
                    raise ConnectionError("no answer")
                self._parser.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                self.interims.append(Reply(event.status_code, _headers(event)))
            elif isinstance(event, h11.Response):
                final = Reply(event.status_code, _headers(event))
            elif isinstance(event, h11.Data):
                assert final is not None
                final = Reply(
                    final.status, final.headers, final.content + bytes(event.data)
                )
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert final is not None
                return final

    def at_end(self) -> bool:
        """Whether the server has closed in order; a reset raises."""
        return self.socket.recv(1) == b""


def _headers(event: h11.Response | h11.InformationalResponse) -> dict[str, str]:
    return {k.decode(): v.decode("latin-1") for k, v in event.headers}
