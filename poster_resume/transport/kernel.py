"""What the operating system can do for us, and what to do where it can't.

Every short cut can be switched off, so that the way round it is tested on
machines that have it.

Kernel TLS is the caller's choice: with ``ssl.OP_ENABLE_KTLS`` (Python 3.12) in
the options of a context given as ``verify=``, OpenSSL probes the kernel and
hands its records over, or goes on by itself; ``SSLSocket.send`` is the same.
It is not switched on here, because it saves a copy only with ``SSL_sendfile``,
which Python's ``ssl`` does not offer, and sending on the bare socket beneath it
would rest on what OpenSSL keeps to itself. An aligned buffer is what remains.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Final

#: Flag of ``send()``: more follows at once, so don't send a short segment.
MORE: Final[int] = getattr(socket, "MSG_MORE", 0)

#: What ``sendfile`` says of a file or socket that it can't do.
UNSENDABLE: Final = frozenset(
    {
        errno.EINVAL,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOTSOCK,
        errno.EOVERFLOW,
    }
)
#: What is a file's fault, where file and socket meet in one call.
OF_THE_SOURCE: Final = frozenset(
    {errno.EIO, errno.EISDIR, errno.EBADF, getattr(errno, "ESTALE", errno.EIO)}
)

# Seconds of silence until the first probe, between two, and how many: a dead
# peer is noticed after 45 s while nothing of ours is on its way.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 6))
# Seconds of one wait at most: poll() counts milliseconds in a C int.
_LONGEST: Final = 2_000_000.0
_INT: Final = struct.Struct("i")


@dataclass(frozen=True, slots=True)
class Kernel:
    """Which short cuts are taken: by default all that this platform has.

    *sendfile*: the kernel sends file ranges. *preadv*: files are read into a
    buffer of ours. *nowait*: a read says when it would wait for the disk.
    *poll*: waits may use descriptors from 1024 on. *queue*: the kernel tells
    how many bytes the peer has not acknowledged.
    """

    sendfile: bool = hasattr(os, "sendfile")
    preadv: bool = hasattr(os, "preadv")
    nowait: bool = hasattr(os, "preadv") and hasattr(os, "RWF_NOWAIT")
    poll: bool = hasattr(select, "poll")
    queue: bool = sys.platform == "linux"

    def unsent(self, sock: socket.socket) -> int | None:
        """Return how many bytes the peer has not acknowledged; None: unknown."""
        if not self.queue or sys.platform == "win32":
            return None
        import fcntl
        import termios

        try:
            # SIOCOUTQ of tcp(7) has the number of the terminals' TIOCOUTQ.
            said = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, _INT.pack(0))
        except OSError:
            return None
        return int(_INT.unpack(said)[0])

    def wait(
        self,
        sock: socket.socket,
        *,
        readable: bool,
        writable: bool,
        seconds: float | None,
        waker: int = -1,
    ) -> tuple[bool, bool, bool]:
        """Wait for *sock*; return whether it is readable, writable, and we woken."""
        if seconds is not None:
            seconds = min(seconds, _LONGEST)
        if self.poll:
            return _polled(sock.fileno(), readable, writable, seconds, waker)
        return _selected(sock.fileno(), readable, writable, seconds, waker)


def _polled(
    fd: int, readable: bool, writable: bool, seconds: float | None, waker: int
) -> tuple[bool, bool, bool]:
    poller = select.poll()
    mask = (select.POLLIN if readable else 0) | (select.POLLOUT if writable else 0)
    poller.register(fd, mask)
    if waker >= 0:
        poller.register(waker, select.POLLIN)
    # Rounded up: waking a little early would make a loop of empty waits.
    milliseconds = None if seconds is None else max(0, int(seconds * 1000) + 1)
    events = dict(poller.poll(0 if seconds == 0 else milliseconds))
    mine = events.get(fd, 0)
    broken = bool(mine & (select.POLLHUP | select.POLLERR))
    return (
        readable and (broken or bool(mine & select.POLLIN)),
        writable and (broken or bool(mine & select.POLLOUT)),
        waker in events,
    )


def _selected(
    fd: int, readable: bool, writable: bool, seconds: float | None, waker: int
) -> tuple[bool, bool, bool]:
    mask = selectors.EVENT_READ if readable else 0
    mask |= selectors.EVENT_WRITE if writable else 0
    with selectors.DefaultSelector() as selector:
        selector.register(fd, mask)
        if waker >= 0:
            selector.register(waker, selectors.EVENT_READ)
        events = {key.fd: got for key, got in selector.select(seconds)}
    mine = events.get(fd, 0)
    return (
        bool(mine & selectors.EVENT_READ),
        bool(mine & selectors.EVENT_WRITE),
        waker in events,
    )


def tune(sock: socket.socket) -> None:
    """Set up a new connection's socket.

    The send buffer's size is left alone: setting it turns its tuning off.
    """
    sock.setblocking(False)
    # What belongs together is put together by MSG_MORE.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        number = getattr(socket, name, None)
        if number is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, number, value)


def limit_silence(sock: socket.socket, seconds: float) -> None:
    """Have the kernel give up when the peer acknowledges nothing for so long.

    RFC 5482's user timeout. One second more than ours, which says it better.
    """
    number = getattr(socket, "TCP_USER_TIMEOUT", None)
    if number is not None:
        # 0 leaves it to the system's own patience.
        limit = int(seconds * 1000) + 1000 if seconds < 1_000_000 else 0
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, number, limit)
