"""What the receiver and the link need of sockets, on every platform.

Everything binds to loopback and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable

LOOPBACK = "127.0.0.1"

#: ``struct linger``: on, zero seconds. Windows spells it in shorts.
_ABORT = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

_UNKNOWN = -1


def listen(port: int = 0, backlog: int = 512) -> socket.socket:
    """Return a non-blocking listener on loopback; *port* 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # On Windows the option would let two programs share the port.
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def reset(sock: socket.socket) -> None:
    """Close *sock* by RST: what neither side has sent or read yet is lost."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    sock.close()


def wake(sock: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    """Shut *sock* down from another thread, so that a blocked call returns.

    An ``SSLSocket`` would forget its TLS state on its own ``shutdown`` and
    hand out ciphertext to the thread that is reading.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, how)


def no_delay(sock: socket.socket) -> None:
    """Have small answers sent at once."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def unsent(sock: socket.socket) -> int:
    """Return how many bytes the kernel still holds for the peer; -1 if unknown."""
    try:
        return _unsent(sock)
    except OSError as exc:
        # A dead peer takes nothing any more.
        return 0 if exc.errno in (errno.EINVAL, errno.ENOTCONN) else _UNKNOWN


def _unsent_on_linux(sock: socket.socket) -> int:
    import fcntl
    import termios

    answer: bytes = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])


def _unsent_on_macos(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, 0x1024)  # SO_NWRITE


def _unsent_unknown(sock: socket.socket) -> int:
    return _UNKNOWN


def _choose() -> Callable[[socket.socket], int]:
    if sys.platform.startswith("linux"):
        return _unsent_on_linux
    if sys.platform == "darwin":
        return _unsent_on_macos
    return _unsent_unknown


_unsent = _choose()
