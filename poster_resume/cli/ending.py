"""How a command ends: what is told of a failure, and the exit code.

Whatever a user can cause ends in a sentence, never in a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable

from ..console import Console
from ..errors import UploadError
from .failures import DONE, FAILED, USAGE, Failure, explained
from .fields import Mistake


def told(console: Console, failure: Failure, *, said: str | None = None) -> int:
    """Tell people and programs about *failure*; return its exit code.

    *said* replaces the message where nothing is wrong.
    """
    if said is None:
        console.fail(failure.message)
    else:
        console.say(said)
    if said is None or not console.quiet:
        for remedy in failure.remedies:
            console.hint(remedy)
    if console.as_json:
        console.emit(
            {
                "event": "failed" if said is None else "paused",
                "code": failure.code,
                "error": failure.kind,
                "message": failure.message,
                "id": failure.upload_id,
                "resume": failure.resume,
            }
        )
    return failure.code


def guarded(console: Console, command: Callable[[], int]) -> int:
    """Run *command*; whatever a user can cause becomes a sentence and a code."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except Mistake as mistake:
        return told(console, Failure(USAGE, str(mistake)))
    except UploadError as error:
        return told(console, explained(error))
    except BrokenPipeError:
        # Whoever read standard output has enough. At exit Python would flush it
        # once more, and complain.
        _abandon_stdout()
        return DONE
    except OSError as error:
        _abandon_stdout()
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF):
            console.fail(f"the output cannot be written: {error.strerror}")
        else:
            console.fail(f"{error.strerror or error}")
        return FAILED


def _abandon_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
