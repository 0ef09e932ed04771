"""What a failure means to whoever sits at the command line.

One sentence, what to do about it, and an exit code. The library's messages
name its parameters; here they get the names of the options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..errors import (
    InvalidParameter,
    NotResumable,
    OutcomeUnknown,
    RedirectRefused,
    SourceChanged,
    SourceError,
    StoreError,
    TransportRefused,
    Unauthorized,
    UploadBusy,
    UploadError,
    UploadPaused,
    UploadRejected,
)

DONE, FAILED, USAGE, REJECTED, UNKNOWN = 0, 1, 2, 3, 4
#: As sysexits.h has it: a temporary failure, try again later.
RESUMABLE = 75
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as it is told: a sentence, remedies, and the exit code.

    *resume* is the command that goes on with the upload, if there is one.
    """

    code: int
    message: str
    remedies: tuple[str, ...] = ()
    resume: str | None = None
    kind: str = "Mistake"
    upload_id: str | None = None


def explained(
    error: UploadError,
    *,
    go_on: str = "poster resume {id}",
    unfinished: bool = False,
) -> Failure:
    """Return what *error* comes to; *go_on* is the command, with ``{id}`` in it.

    *unfinished* says that the upload is kept and has no final answer.
    """
    code = _code(error)
    resume = None
    kept = error.upload_id is not None
    if code in (RESUMABLE, UNKNOWN, INTERRUPTED) and kept:
        resume = go_on.format(id=error.upload_id)
    return Failure(
        code,
        in_options(str(error)),
        (
            *_remedies(error, resume, unfinished),
            *_ways_out(error, code, go_on, unfinished),
        ),
        resume,
        type(error).__name__,
        error.upload_id,
    )


def in_options(message: str) -> str:
    """Return *message* with the names of options for those of parameters."""
    for pattern, replacement in _SPOKEN:
        message = pattern.sub(replacement, message)
    return message


def _code(error: UploadError) -> int:
    match error:
        case InvalidParameter():
            return USAGE
        case UploadRejected():
            return REJECTED
        case OutcomeUnknown():
            return UNKNOWN
        case UploadPaused():
            return INTERRUPTED
        case NotResumable() | SourceChanged() | TransportRefused():
            # A changed file stays changed, and a certificate bad: a script that
            # tries again on 75 would try for ever.
            return FAILED
        case StoreError() | SourceError() if error.upload_id is None:
            return FAILED
        case _ if error.resumable:
            return RESUMABLE
        case _:
            return FAILED


def _remedies(error: UploadError, resume: str | None, unfinished: bool) -> list[str]:
    match error:
        case OutcomeUnknown() if resume:
            return [
                "look on the server whether it is there, then",
                f"{resume} --assume complete   (it is there)",
                f"{resume} --assume lost       (it is not: send it anew)",
            ]
        case UploadBusy():
            return []
        case Unauthorized(status=407):
            again = f": {resume} -x ..." if resume else ""
            return [
                "the proxy wants credentials: give them in its URL, "
                f"-x http://NAME:PASSWORD@HOST:PORT{again}"
            ]
        case Unauthorized():
            again = f": {resume} -H @FILE" if resume else ""
            return [
                "give credentials that the server accepts, "
                f"by -H @FILE or --user{again}"
            ]
        case UploadRejected() if error.response.status_code in (401, 403):
            return ["if it wants credentials: -H @FILE or --user"]
        case UploadRejected() if not unfinished and _no_such_place(error):
            return ["is the URL right? `poster probe URL` shows what is there"]
        case TransportRefused() if "certificate" in str(error):
            return ["if you know whose it is, trust it by --cacert FILE"]
        case TransportRefused():
            return []
        case RedirectRefused():
            again = f"; as it is: {resume}" if resume else ""
            return [f"send to the address that it leads to, if you trust it{again}"]
        case _ if resume:
            return [f"go on with: {resume}"]
        case UploadPaused():
            return ["nothing is lost: run the same command again"]
        case _ if error.resumable and _code(error) == RESUMABLE:
            return ["nothing was sent yet; run the same command again later"]
        case _:
            return []


def _no_such_place(error: UploadRejected) -> bool:
    return error.response.status_code in (404, 405)


def _ways_out(error: UploadError, code: int, go_on: str, unfinished: bool) -> list[str]:
    """Return how to be rid of what is kept, or use it, where nothing else helps."""
    if error.upload_id is None or code not in (FAILED, REJECTED):
        return []
    if not go_on.startswith("poster resume "):
        return []
    command = go_on.format(id=error.upload_id)
    give_up = f"to give it up: {command.replace(' resume ', ' cancel ', 1)}"
    if isinstance(error, SourceChanged):
        return [give_up]
    if not unfinished:
        return []
    if isinstance(error, TransportRefused):
        return [f"then go on with: {command}"]
    return [give_up]


def _word(pattern: str, replacement: str) -> tuple[re.Pattern[str], str]:
    return re.compile(pattern), replacement


_SPOKEN: Final = (
    _word(r"[;:] call send\(\)( again)?( to go on| then)?", ""),
    _word(
        r"(; look on the server,)? (then )?send again with "
        r'assume="complete" or assume="lost"',
        "",
    ),
    _word(r"; (the upload is kept: )?renew credentials", ""),
    _word(r'Tus\(form="(\w+)"\)', r"--tus-form \1"),
    _word(r'\breplay="(\w+)"', r"--replay \1"),
    _word(r'\bon_change="(\w+)"', r"--on-change \1"),
    _word(r"\bpass wait= in seconds\b", "give --wait SECONDS"),
    _word(r"\bstore=None\b", "--no-state"),
    _word(r"\bstore=(?!\w)", "--state"),
    _word(r"\brequire_resumable\b", "--require-resumable"),
    _word(r"^params: (?=')", "-F "),
    _word(r"^params: ", "-F: "),
    _word(r"^target: ", "URL: "),
    _word(r"^headers: ", "-H: "),
    _word(r"^upload_id: ", ""),
    _word(
        r"^(content|content_type|chunk_size|checksum|deadline|wait|protocol"
        r"|trusted_origins|key|metadata|method): ",
        r"--\1: ",
    ),
    _word(
        r"\bUNEXPECTED_EOF_WHILE_READING\b",
        "the server broke off the TLS handshake; does it speak https?",
    ),
    _word(
        r"\b(WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE)\b",
        "the server answered without TLS; does it speak https?",
    ),
    _word(r"^--content_type", "--content-type"),
    _word(r"^--chunk_size", "--chunk-size"),
    _word(r"^--trusted_origins", "--trusted-origin"),
)
