"""The options that commands share, and the words that they take.

What several commands take is said here once, so that it means the same to all.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer


class ProtocolName(enum.StrEnum):
    """What ``--protocol`` takes."""

    auto = "auto"
    rufh = "rufh"
    tus = "tus"
    oneshot = "oneshot"


class TusForm(enum.StrEnum):
    """What ``--tus-form`` takes."""

    multipart = "multipart"
    file = "file"


class OnChange(enum.StrEnum):
    """What ``--on-change`` takes."""

    stop = "raise"
    restart = "restart"


class Replay(enum.StrEnum):
    """What ``--replay`` takes."""

    never = "never"
    incomplete = "incomplete"
    always = "always"


class SameFile(enum.StrEnum):
    """What ``--same-file`` takes."""

    strict = "strict"
    size_and_mtime = "size+mtime"
    sha256 = "sha256"


class Assume(enum.StrEnum):
    """What ``--assume`` takes."""

    complete = "complete"
    lost = "lost"


class DemoProtocol(enum.StrEnum):
    """What the demo's ``--protocol`` takes."""

    rufh = "rufh"
    tus = "tus"


WHAT, HOW, WHO, SHOW = "What to send", "How to send it", "Who you are", "Output"


def _directory(text: str) -> Path:
    if not text:
        # As a path it would be the current directory: an unset variable's.
        raise typer.BadParameter("the directory's name is empty")
    return Path(text)


def option(*names: str, panel: str, **rest: Any) -> Any:
    """Return an option that help shows in *panel*."""
    return typer.Option(*names, rich_help_panel=panel, **rest)


Form = Annotated[
    list[str] | None,
    option(
        "-F",
        "--form",
        panel=WHAT,
        metavar="NAME=VALUE",
        help="A field of the form: NAME=VALUE, NAME=@FILE to upload a file, NAME=<FILE "
        "for a file's content as text; then ;type=... and ;filename=... As with curl; "
        "- is standard input.",
    ),
]
FormString = Annotated[
    list[str] | None,
    option(
        "--form-string",
        panel=WHAT,
        metavar="NAME=VALUE",
        help="A text field, whatever characters it holds. Comes after those by -F.",
    ),
]
Content = Annotated[
    str | None,
    option(
        "--content",
        panel=WHAT,
        metavar="FILE",
        help="Send a file as it is, instead of a form; - is standard input.",
    ),
]
ContentType = Annotated[
    str | None,
    option("--content-type", panel=WHAT, metavar="TYPE", help="With --content."),
]
Metadata = Annotated[
    list[str] | None,
    option(
        "--metadata",
        panel=WHAT,
        metavar="NAME=VALUE",
        help="With --content: what tus servers are told of the file.",
    ),
]
Header = Annotated[
    list[str] | None,
    option(
        "-H",
        "--header",
        panel=WHO,
        metavar="'NAME: VALUE'",
        help="A header for each request; @FILE takes them from a file, one a line. "
        "Other users of this machine see the command line, not the file.",
    ),
]
User = Annotated[
    str | None,
    option(
        "-u",
        "--user",
        panel=WHO,
        metavar="NAME[:PASSWORD]",
        help="Basic authentication; without a password it is asked for.",
    ),
]
CaCert = Annotated[
    Path | None,
    option("--cacert", panel=WHO, metavar="FILE", help="Trust these certificates."),
]
Insecure = Annotated[
    bool,
    option("-k", "--insecure", panel=WHO, help="Accept any certificate. Dangerous."),
]
Proxy = Annotated[
    str | None,
    option("-x", "--proxy", panel=HOW, metavar="URL", help="Send through a proxy."),
]
Trusted = Annotated[
    list[str] | None,
    option(
        "--trusted-origin",
        panel=WHO,
        metavar="URL",
        help="Another origin that may see the credentials.",
    ),
]
State = Annotated[
    Path | None,
    option(
        "--state",
        panel=HOW,
        parser=_directory,
        metavar="DIR",
        help="Where the state of uploads is kept; default: POSTER_RESUME_STATE, or "
        "the user's state directory.",
    ),
]
RetryFor = Annotated[
    str | None,
    option(
        "--retry-for",
        panel=HOW,
        metavar="TIME",
        help="Give up after so long without progress: 90, 15m, 2h (default 1h).",
    ),
]
Deadline = Annotated[
    str | None,
    option("--deadline", panel=HOW, metavar="TIME", help="Stop after so long."),
]
Wait = Annotated[
    str | None,
    option(
        "--wait",
        panel=HOW,
        metavar="TIME",
        help="How long to wait while another process sends this upload (default 0).",
    ),
]
ChunkSize = Annotated[
    str | None,
    option(
        "--chunk-size",
        panel=HOW,
        metavar="SIZE",
        help="The most bytes in one request: 8MiB, 500k. Default: as fits the link.",
    ),
]
ConnectTimeout = Annotated[
    str | None,
    option("--connect-timeout", panel=HOW, metavar="TIME", help="Default 30."),
]
AnswerTimeout = Annotated[
    str | None,
    option(
        "--answer-timeout",
        panel=HOW,
        metavar="TIME",
        help="How long the server may think once it has everything (default 10m).",
    ),
]
Json = Annotated[
    bool, option("--json", panel=SHOW, help="JSON lines on standard output.")
]
Quiet = Annotated[
    bool, option("-q", "--quiet", panel=SHOW, help="Only errors and the answer.")
]
Verbose = Annotated[
    bool, option("-v", "--verbose", panel=SHOW, help="Tell every event.")
]
UploadId = Annotated[
    str, typer.Argument(metavar="ID", help="From `poster list`; its beginning will do.")
]
