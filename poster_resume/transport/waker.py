"""What wakes a wait from outside: a pair of connected sockets.

Writing one byte is all that ``wake()`` does, so it is safe in a signal handler
and from any thread; every wait of this package also waits for the other end.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
import weakref

import anyio

from ..errors import UploadPaused


class Waker:
    """Interrupts the waits of one upload. ``reset()`` before each send."""

    def __init__(self) -> None:
        self._woken = False
        self._pid = 0
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def reset(self) -> None:
        """Forget earlier calls of ``wake()``, and be ready for one."""
        if self._pair is None or self._pid != os.getpid():
            # After a fork the old pair still wakes the parent: make another.
            ours, theirs = socket.socketpair()
            for end in (ours, theirs):
                end.setblocking(False)
            self._pair, self._pid = (ours, theirs), os.getpid()
            weakref.finalize(self, _close, ours, theirs)
        with contextlib.suppress(BlockingIOError):
            while self._pair[0].recv(64):
                pass
        self._woken = False

    def wake(self) -> None:
        """Make the wait that runs, and all until ``reset()``, end at once."""
        if self._pair is None or self._pid != os.getpid():
            return  # nothing is being sent here
        self._woken = True
        with contextlib.suppress(OSError):  # full: it wakes already
            self._pair[1].send(b"\0")

    def check(self) -> None:
        """Raise ``UploadPaused`` if ``wake()`` was called."""
        if self._woken:
            raise UploadPaused("the upload was paused; call send() to go on")

    def fileno(self) -> int:
        """Return what becomes readable when ``wake()`` is called; -1: nothing does."""
        return -1 if self._pair is None else self._pair[0].fileno()

    def sleep(self, seconds: float) -> None:
        """Sleep for so long.

        Raises:
            UploadPaused: ``wake()`` was called, before or meanwhile.
        """
        self.check()
        if self._pair is None:
            time.sleep(seconds)
            return
        until = time.monotonic() + seconds
        # One readability at a time is what select() does well everywhere, but
        # not beyond descriptor 1023 (FD_SETSIZE).
        while (left := until - time.monotonic()) > 0:
            _readable(self._pair[0], left)
            self.check()

    async def sleep_async(self, seconds: float) -> None:
        """Sleep for so long; see ``sleep()``."""
        self.check()
        if self._pair is None:
            await anyio.sleep(seconds)
            return
        with anyio.move_on_after(seconds):
            await self.woken()
        self.check()

    async def woken(self) -> None:
        """Return when ``wake()`` is called. Only one task may wait at a time."""
        assert self._pair is not None
        await anyio.wait_readable(self._pair[0])


def _readable(sock: socket.socket, seconds: float) -> None:
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        poller.poll(seconds * 1000)
        return
    select.select([sock], [], [], seconds)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        end.close()
