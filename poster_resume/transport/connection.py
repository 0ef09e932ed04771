"""One connection to an origin: a non-blocking socket, and what HTTP/1.1 it is in."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import anyio
import h11

from .kernel import MORE, Kernel, tune
from .steps import Await, Failed, Steps, Wait

#: Bytes read at once.
RECEIVE: Final = 64 * 1024
#: Bytes of the buffer that file ranges go through where the kernel can't send
#: them itself: 16 records of TLS.
BUFFER: Final = 256 * 1024
#: Bytes of an answer's head at most.
HEAD_LIMIT: Final = 64 * 1024

SocketOption: TypeAlias = (
    tuple[int, int, int] | tuple[int, int, bytes] | tuple[int, int, None, int]
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads; connections of equal origins are alike."""

    scheme: str
    host: str
    port: int
    server_name: str


class Connection:
    """A connection that is open."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        #: The process that made it: to any other one it is of no use.
        self.process = os.getpid()
        self.tls = isinstance(sock, ssl.SSLSocket)
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self.idle_since = 0.0
        #: Seconds that the kernel was told to bear silence.
        self.silence: float | None = None
        self._buffer: memoryview | None = None

    @property
    def buffer(self) -> memoryview:
        """A writable buffer of ``BUFFER`` bytes that begins where a page does.

        Reading into memory a few bytes past a page's start costs five times
        as much on some processors, and large bytearrays start there.
        """
        if self._buffer is None:
            self._buffer = memoryview(mmap.mmap(-1, BUFFER))
        return self._buffer

    def read(self) -> bytes | None:
        """Return what has come in, b"" at the end, None when there is nothing.

        Raises:
            OSError: the connection is broken.
        """
        try:
            return self.sock.recv(RECEIVE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def write(self, data: memoryview, *, more: bool) -> int | None:
        """Hand over the beginning of *data*; None when nothing is taken now.

        After None, TLS must be given the same bytes again.

        Raises:
            OSError: the connection is broken.
        """
        if self.tls:
            return self._encrypt(data) or None
        try:
            return self.sock.send(data, MORE if more else 0)
        except BlockingIOError:
            return None

    def _encrypt(self, data: memoryview) -> int:
        """Send *data* record by record, as far as there is room for them.

        One record goes out per call: whatever else is done after each is done
        65,536 times per GiB.
        """
        send, taken, length = self.sock.send, 0, len(data)
        try:
            while taken < length:
                taken += send(data[taken:])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError:
            # What has left must be counted; the next call says the same again.
            if not taken:
                raise
        return taken

    @property
    def reusable(self) -> bool:
        """Whether another request may follow.

        Not if more than the answer came: it would pass for the next one's.
        """
        http = self.http
        done = http.our_state is h11.DONE and http.their_state is h11.DONE
        return done and not http.trailing_data[0]

    def stale(self, kernel: Kernel) -> bool:
        """Whether the peer has said something since: only its end can that be."""
        return any(kernel.wait(self.sock, readable=True, writable=False, seconds=0))

    def close(self) -> None:
        """Close it; content that is under way ends here, incomplete."""
        with contextlib.suppress(OSError):
            self.sock.close()


def connecting(
    origin: Origin,
    context: ssl.SSLContext | None,
    *,
    seconds: float | None,
    asynchronous: bool,
    local_address: str | None = None,
    options: Iterable[SocketOption] = (),
) -> Steps[Connection]:
    """Connect to *origin*, and do the TLS handshake if there is a *context*.

    Raises:
        Failed: no connection, or not in time.
    """
    until = None if seconds is None else time.monotonic() + seconds
    try:
        addresses: list[Any]
        if asynchronous:
            addresses = yield Await(
                anyio.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            )
        else:
            addresses = socket.getaddrinfo(
                origin.host, origin.port, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError) as exc:
        raise Failed("ConnectError", "the host name is not known") from exc
    failure: OSError | None = None
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        # Each address gets its share, so that a dead one doesn't use up all.
        share = _share(until, len(addresses) - index)
        try:
            # Names may have addresses of kinds that this machine cannot do.
            sock = socket.socket(family, kind, protocol)
        except OSError as exc:
            failure = exc
            continue
        try:
            for option in options:
                sock.setsockopt(*option)
            if local_address is not None:
                sock.bind((local_address, 0))
            tune(sock)
            yield from _connected(sock, address, share)
            if context is None:
                return Connection(sock)
            # An end without a closure alert may be anybody's doing: what has no
            # length of its own is not complete then (RFC 9112, section 9.8).
            wrapped = context.wrap_socket(
                sock,
                server_hostname=origin.server_name,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            sock = wrapped
            yield from _shaken(wrapped, until)
            return Connection(wrapped)
        except OSError as exc:  # TLS failures too
            sock.close()
            failure = exc
            if isinstance(exc, ssl.SSLCertVerificationError):
                break
        except BaseException:
            sock.close()
            raise
    if isinstance(failure, TimeoutError):
        raise Failed("ConnectTimeout", "no connection in time") from failure
    raise Failed("ConnectError", "no connection") from failure


def _share(until: float | None, ways: int) -> float | None:
    if until is None:
        return None
    now = time.monotonic()
    return now + max(0.0, until - now) / ways


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _connected(sock: socket.socket, address: Any, until: float | None) -> Steps[None]:
    try:
        sock.connect(address)
    except (BlockingIOError, InterruptedError):
        pass
    else:
        return
    _, writable = yield Wait(sock, False, True, _left(until))
    if not writable:
        raise TimeoutError("no connection in time")
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, "connect")


def _shaken(sock: ssl.SSLSocket, until: float | None) -> Steps[None]:
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            wait = Wait(sock, True, False, _left(until))
        except ssl.SSLWantWriteError:
            wait = Wait(sock, False, True, _left(until))
        else:
            return
        if not any((yield wait)):
            raise TimeoutError("no TLS handshake in time")
