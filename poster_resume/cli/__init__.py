"""The command ``poster``. Here is only what must work without the extra ``cli``.

Exit codes: 0 done, 1 failed, 2 usage, 3 rejected by the server, 4 outcome
unknown, 75 failed but resumable, 130 interrupted (143 by SIGTERM, 129 by
SIGHUP).
"""

from __future__ import annotations

import io
import os
import signal
import sys

#: What the extra installs; nothing of it is imported before it is needed.
_EXTRA = frozenset({"typer", "rich", "click"})
_REMEDY = (
    "poster: the command needs typer and rich; "
    "install them with: pip install 'poster-resume[cli]'\n"
)


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C before a command has begun, or after it, needs no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prepare_standard_streams()
    try:
        from .commands import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(_REMEDY)
        sys.exit(2)
    sys.exit(run())


def _prepare_standard_streams() -> None:
    """Make standard streams fit for use: open, and able to show any text.

    The null device takes the place of one that was closed (``>&-``).
    Otherwise the next file to be opened, such as the database, would get its
    descriptor, and messages would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free descriptor is what one gets, so this very number.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be spellable where they are shown.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
