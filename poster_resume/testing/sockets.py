"""What the receiver and the link need of sockets, on every platform.

Everything binds to loopback and nothing else.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Callable

LOOPBACK = "127.0.0.1"

#: ``struct linger``: on, zero seconds. Windows spells it in shorts.
_ABORT = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


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


def settled(sock: socket.socket, elapsed: float) -> bool:
    """Whether what was written to *sock* has got out of this kernel's hands.

    *elapsed* seconds have passed since it was written. Bytes that a reset
    would still take back count as held.
    """
    if _unsent is None:
        return elapsed >= _BLIND
    try:
        return _unsent(sock, elapsed) == 0
    except OSError:  # the peer is gone
        return True


#: Seconds to wait where the kernel does not say what it still holds.
_BLIND = 0.02

#: Seconds for which an acknowledgement may reasonably be on its way. A peer may
#: put one off for longer; its kernel has the bytes all the same.
_ACKNOWLEDGED = 0.005


def _unsent_on_linux(sock: socket.socket, elapsed: float) -> int:
    import fcntl

    # SIOCOUTQ counts what is not acknowledged, SIOCOUTQNSD what is not sent.
    request = 0x5411 if elapsed < _ACKNOWLEDGED else 0x894B
    answer: bytes = fcntl.ioctl(sock.fileno(), request, bytes(4))
    return int(struct.unpack("i", answer)[0])


def _unsent_on_macos(sock: socket.socket, elapsed: float) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, 0x1024)  # SO_NWRITE


def _choose() -> Callable[[socket.socket, float], int] | None:
    if sys.platform.startswith("linux"):
        return _unsent_on_linux
    if sys.platform == "darwin":
        return _unsent_on_macos
    return None


_unsent = _choose()
