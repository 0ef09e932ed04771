"""Ctrl-C, and the polite ways to end a process: an upload pauses, state is kept.

The first signal pauses the upload that is being sent; the second one ends the
process at once. What must survive is on disk at any time, so that is safe.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Interruption:
    """Handles signals while it is entered; main thread only.

    *signum* is the first signal that came, None as long as none did.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.signum: int | None = None
        self._quiet = quiet
        self._pause: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in _NAMES:
            number = getattr(signal, name, None)
            # Who ignores a signal for us, as nohup does, has reasons.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def code(self) -> int:
        """The exit code of an interrupted process: 128 and the signal's number."""
        return 128 + (signal.SIGINT if self.signum is None else self.signum)

    def sending(self, pause: Callable[[], None]) -> None:
        """From now on a signal calls *pause*; it raises no ``KeyboardInterrupt``."""
        self._pause = pause

    def idle(self) -> None:
        """Nothing is being sent: a signal raises ``KeyboardInterrupt``."""
        self._pause = None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            # Not even flushing: the main thread may be stuck in it.
            if sys.stderr.isatty():
                _write("\x1b[?25h\n")  # a live bar hides the cursor
            os._exit(self.code)
        self.signum = signum
        if self._pause is None:
            raise KeyboardInterrupt
        if signum == signal.SIGINT and not self._quiet:
            _write("\npausing; press Ctrl-C again to stop at once\n")
        self._pause()


def _write(text: str) -> None:
    """Write to standard error in a signal handler: print() is not reentrant."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode("ascii"))
