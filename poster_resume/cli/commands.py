"""The commands and their options; what they do is in the modules beside this one.

Nothing heavy is imported before a command runs: ``poster --help`` is quick.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import Console
from .ending import guarded
from .failures import DONE, INTERRUPTED
from .fields import Mistake
from .interruption import Interruption
from .manner import Manner
from .running import Run

if TYPE_CHECKING:
    from ..protocols import UploadProtocol

app = typer.Typer(
    help="Huge uploads through bad links, byte for byte. Run it again and it resumes.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 rejected by the server, 4 outcome "
    "unknown, 75 failed but resumable, 130 interrupted.",
)


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


_WHAT, _HOW, _WHO, _SHOW = "What to send", "How to send it", "Who you are", "Output"


def _option(*names: str, panel: str, **rest: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, **rest)


Form = Annotated[
    list[str] | None,
    _option(
        "-F",
        "--form",
        panel=_WHAT,
        metavar="NAME=VALUE",
        help="A field of the form: NAME=VALUE, NAME=@FILE to upload a file, NAME=<FILE "
        "for a file's content as text; then ;type=... and ;filename=... As with curl; "
        "- is standard input.",
    ),
]
FormString = Annotated[
    list[str] | None,
    _option(
        "--form-string",
        panel=_WHAT,
        metavar="NAME=VALUE",
        help="A text field, whatever characters it holds. Comes after those by -F.",
    ),
]
Content = Annotated[
    str | None,
    _option(
        "--content",
        panel=_WHAT,
        metavar="FILE",
        help="Send a file as it is, instead of a form; - is standard input.",
    ),
]
ContentType = Annotated[
    str | None,
    _option("--content-type", panel=_WHAT, metavar="TYPE", help="With --content."),
]
Metadata = Annotated[
    list[str] | None,
    _option(
        "--metadata",
        panel=_WHAT,
        metavar="NAME=VALUE",
        help="With --content: what tus servers are told of the file.",
    ),
]
Header = Annotated[
    list[str] | None,
    _option(
        "-H",
        "--header",
        panel=_WHO,
        metavar="'NAME: VALUE'",
        help="A header for each request; @FILE takes them from a file, one a line. "
        "Other users of this machine see the command line, not the file.",
    ),
]
User = Annotated[
    str | None,
    _option(
        "-u",
        "--user",
        panel=_WHO,
        metavar="NAME[:PASSWORD]",
        help="Basic authentication; without a password it is asked for.",
    ),
]
CaCert = Annotated[
    Path | None,
    _option("--cacert", panel=_WHO, metavar="FILE", help="Trust these certificates."),
]
Insecure = Annotated[
    bool,
    _option("-k", "--insecure", panel=_WHO, help="Accept any certificate. Dangerous."),
]
Proxy = Annotated[
    str | None,
    _option("-x", "--proxy", panel=_HOW, metavar="URL", help="Send through a proxy."),
]
Trusted = Annotated[
    list[str] | None,
    _option(
        "--trusted-origin",
        panel=_WHO,
        metavar="URL",
        help="Another origin that may see the credentials.",
    ),
]
State = Annotated[
    Path | None,
    _option(
        "--state",
        panel=_HOW,
        metavar="DIR",
        help="Where the state of uploads is kept; default: POSTER_RESUME_STATE, or "
        "the user's state directory.",
    ),
]
RetryFor = Annotated[
    str | None,
    _option(
        "--retry-for",
        panel=_HOW,
        metavar="TIME",
        help="Give up after so long without progress: 90, 15m, 2h (default 1h).",
    ),
]
Deadline = Annotated[
    str | None,
    _option("--deadline", panel=_HOW, metavar="TIME", help="Stop after so long."),
]
Wait = Annotated[
    str | None,
    _option(
        "--wait",
        panel=_HOW,
        metavar="TIME",
        help="How long to wait while another process sends this upload.",
    ),
]
ChunkSize = Annotated[
    str | None,
    _option(
        "--chunk-size",
        panel=_HOW,
        metavar="SIZE",
        help="The most bytes in one request: 8MiB, 500k. Default: as fits the link.",
    ),
]
ConnectTimeout = Annotated[
    str | None,
    _option("--connect-timeout", panel=_HOW, metavar="TIME", help="Default 30."),
]
AnswerTimeout = Annotated[
    str | None,
    _option(
        "--answer-timeout",
        panel=_HOW,
        metavar="TIME",
        help="How long the server may think once it has everything (default 10m).",
    ),
]
Json = Annotated[
    bool, _option("--json", panel=_SHOW, help="JSON lines on standard output.")
]
Quiet = Annotated[bool, _option("-q", "--quiet", panel=_SHOW, help="Only errors.")]
Verbose = Annotated[
    bool, _option("-v", "--verbose", panel=_SHOW, help="Tell every event.")
]
UploadId = Annotated[
    str, typer.Argument(metavar="ID", help="From `poster list`; its beginning will do.")
]


@app.command()
def send(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to send it.")],
    form: Form = None,
    form_string: FormString = None,
    content: Content = None,
    content_type: ContentType = None,
    metadata: Metadata = None,
    method: Annotated[
        str, _option("-X", "--method", panel=_HOW, help="Of the request.")
    ] = "POST",
    protocol: Annotated[
        ProtocolName,
        _option("--protocol", panel=_HOW, help="auto asks the server what it speaks."),
    ] = ProtocolName.auto,
    tus_form: Annotated[
        TusForm | None,
        _option(
            "--tus-form",
            panel=_HOW,
            help="What a tus server stores of a form: the encoded form, or its one "
            "file with the text fields as metadata. Implies --protocol tus.",
        ),
    ] = None,
    checksum: Annotated[
        str | None,
        _option(
            "--checksum",
            panel=_HOW,
            metavar="NAME",
            help="Have a tus server verify each append: sha1, sha256, ... "
            "Implies --protocol tus.",
        ),
    ] = None,
    require_resumable: Annotated[
        bool,
        _option("--require-resumable", panel=_HOW, help="Refuse any other server."),
    ] = False,
    key: Annotated[
        str | None,
        _option(
            "--key",
            panel=_HOW,
            help="A name for this upload: with it, another URL or other text is the "
            "same upload still.",
        ),
    ] = None,
    on_change: Annotated[
        OnChange,
        _option("--on-change", panel=_HOW, help="If a half-sent file has changed."),
    ] = OnChange.stop,
    replay: Annotated[
        Replay,
        _option(
            "--replay",
            panel=_HOW,
            help="Whether a plain request that broke may be started over.",
        ),
    ] = Replay.never,
    same_file: Annotated[
        SameFile,
        _option("--same-file", panel=_HOW, help="What tells that a file is the same."),
    ] = SameFile.strict,
    header: Header = None,
    user: User = None,
    cacert: CaCert = None,
    insecure: Insecure = False,
    trusted_origin: Trusted = None,
    proxy: Proxy = None,
    chunk_size: ChunkSize = None,
    retry_for: RetryFor = None,
    deadline: Deadline = None,
    wait: Wait = None,
    connect_timeout: ConnectTimeout = None,
    answer_timeout: AnswerTimeout = None,
    state: State = None,
    no_state: Annotated[
        bool, _option("--no-state", panel=_HOW, help="Keep nothing; not resumable.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Send a form, or a file. The same command again goes on where it stopped.

    The server's answer goes to standard output.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose)
    manner = Manner(
        headers=tuple(header or ()),
        user=user,
        cacert=cacert,
        insecure=insecure,
        proxy=proxy,
        state=state,
        no_state=no_state,
        retry_for=retry_for,
        deadline=deadline,
        wait=wait,
        chunk_size=chunk_size,
        connect_timeout=connect_timeout,
        answer_timeout=answer_timeout,
        trusted=tuple(trusted_origin or ()),
    )

    def command(run: Run) -> int:
        from ..sender import ResumableUpload
        from .fields import content_of, parse_pairs

        params = _form(form, form_string)
        if (params is None) == (content is None):
            raise Mistake("give either fields by -F, or one file by --content")
        if params is not None and (content_type or metadata):
            raise Mistake("--content-type and --metadata go with --content, not -F")
        chosen = _protocol(protocol, tus_form, checksum, replay)
        if protocol is ProtocolName.tus and params is not None and tus_form is None:
            raise Mistake(
                "--protocol tus: the server would store the encoded form as one file; "
                "choose --tus-form file to send the form's file alone, or "
                "--tus-form multipart to store the encoded form"
            )

        def make(given: dict[str, Any]) -> ResumableUpload:
            return ResumableUpload(
                url,
                params,
                content=None if content is None else content_of(content),
                content_type=content_type,
                metadata=parse_pairs("--metadata", metadata) if metadata else None,
                method=method,
                protocol=chosen,
                require_resumable=require_resumable,
                key=key,
                on_change=on_change.value,
                replay=replay.value,
                same_file=same_file.value,
                **given,
            )

        return run.send(make, manner)

    _exit(console, command)


@app.command()
def resume(
    upload_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="From `poster list`; its beginning will do."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every upload that is not done.")
    ] = False,
    assume: Annotated[
        Assume | None,
        typer.Option(
            help="Settle an unknown outcome: complete believes that the server has "
            "it, lost sends it anew.",
        ),
    ] = None,
    header: Header = None,
    user: User = None,
    cacert: CaCert = None,
    insecure: Insecure = False,
    trusted_origin: Trusted = None,
    proxy: Proxy = None,
    chunk_size: ChunkSize = None,
    retry_for: RetryFor = None,
    deadline: Deadline = None,
    wait: Wait = None,
    connect_timeout: ConnectTimeout = None,
    answer_timeout: AnswerTimeout = None,
    state: State = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Go on with an upload, or with all that are not done.

    Credentials are never stored: give them anew.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose)
    manner = Manner(
        headers=tuple(header or ()),
        user=user,
        cacert=cacert,
        insecure=insecure,
        proxy=proxy,
        state=state,
        retry_for=retry_for,
        deadline=deadline,
        wait=wait,
        chunk_size=chunk_size,
        connect_timeout=connect_timeout,
        answer_timeout=answer_timeout,
        trusted=tuple(trusted_origin or ()),
    )

    def command(run: Run) -> int:
        from .keeping import found, resumed

        if everything == (upload_id is not None):
            raise Mistake("give the ID of an upload, from `poster list`, or --all")
        if everything and assume is not None:
            raise Mistake("--assume settles one upload: give its ID instead of --all")
        wanted = None if upload_id is None else found(upload_id, manner.store)
        return resumed(
            run, manner, wanted, assume=None if assume is None else assume.value
        )

    _exit(console, command)


@app.command(name="list")
def list_uploads(
    state: State = None,
    json: Json = False,
) -> None:
    """List the uploads that are kept."""
    console = Console(as_json=json)

    def command(run: Run) -> int:
        from .keeping import listed

        return listed(console, Manner(state=state).store)

    _exit(console, command)


@app.command()
def cancel(
    upload_id: UploadId,
    header: Header = None,
    user: User = None,
    cacert: CaCert = None,
    insecure: Insecure = False,
    proxy: Proxy = None,
    retry_for: RetryFor = "30s",
    state: State = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove an upload from the server, and forget it."""
    console = Console(as_json=json, quiet=quiet)
    manner = Manner(
        headers=tuple(header or ()),
        user=user,
        cacert=cacert,
        insecure=insecure,
        proxy=proxy,
        retry_for=retry_for,
        state=state,
    )

    def command(run: Run) -> int:
        from .keeping import cancelled

        return cancelled(run, manner, upload_id)

    _exit(console, command)


@app.command()
def forget(
    upload_id: UploadId,
    state: State = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Forget an upload here; the server is not told."""
    console = Console(as_json=json, quiet=quiet)

    def command(run: Run) -> int:
        from .keeping import forgotten

        return forgotten(run, Manner(state=state), upload_id)

    _exit(console, command)


@app.command()
def probe(
    url: Annotated[str, typer.Argument(metavar="URL", help="What to ask.")],
    header: Header = None,
    user: User = None,
    cacert: CaCert = None,
    insecure: Insecure = False,
    proxy: Proxy = None,
    retry_for: RetryFor = "10s",
    state: State = None,
    json: Json = False,
) -> None:
    """Ask a server which protocols it speaks, and its limits; nothing is created."""
    console = Console(as_json=json)
    manner = Manner(
        headers=tuple(header or ()),
        user=user,
        cacert=cacert,
        insecure=insecure,
        proxy=proxy,
        retry_for=retry_for,
        state=state,
    )

    def command(run: Run) -> int:
        from .showing import probed

        return probed(console, manner, url)

    _exit(console, command)


@app.command()
def plan(
    form: Form = None,
    form_string: FormString = None,
    content: Content = None,
    content_type: ContentType = None,
    json: Json = False,
) -> None:
    """Show what would be sent, piece by piece: offset, length, what."""
    console = Console(as_json=json)

    def command(run: Run) -> int:
        from .showing import planned

        params = _form(form, form_string)
        if (params is None) == (content is None):
            raise Mistake("give either fields by -F, or one file by --content")
        return planned(console, params, content, content_type)

    _exit(console, command)


@app.command()
def demo(
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the file (default 64MiB).")
    ] = None,
    cut_every: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Cut the link after about so much (default 4MiB)."
        ),
    ] = None,
    protocol: Annotated[
        DemoProtocol | None, typer.Option(help="What the receiver speaks (rufh).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the file's content and of the cuts (0).")
    ] = None,
    state: State = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Watch a large form go through a link that is cut again and again.

    Everything stays on this machine. Kill it in the middle and run it again: it
    goes on where it stopped.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose)

    def command(run: Run) -> int:
        from .demo import demonstrated
        from .manner import size as parsed

        return demonstrated(
            run,
            state,
            size=parsed("--size", size),
            cut_every=parsed("--cut-every", cut_every),
            protocol=None if protocol is None else protocol.value,
            seed=seed,
        )

    _exit(console, command)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"poster-resume {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Huge uploads through bad links, byte for byte. Run it again and it resumes."""


def run() -> int:
    """Run the command with the arguments of this process; return its exit code."""

    def command() -> int:
        try:
            app(prog_name="poster")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else DONE
        return DONE

    try:
        return guarded(Console(), command)  # help is output, too
    except KeyboardInterrupt:
        return INTERRUPTED


def _exit(console: Console, command: Callable[[Run], int]) -> None:
    """Run *command* with signals handled, and leave with its exit code."""
    with Interruption(quiet=console.quiet) as interruption:
        run = Run(console, interruption)
        try:
            code = guarded(console, lambda: command(run))
        except KeyboardInterrupt:
            console.say("interrupted")
            code = interruption.code
    raise typer.Exit(code)


def _form(
    fields: list[str] | None, strings: list[str] | None
) -> list[tuple[str, object]] | None:
    from .fields import form_of, parse_field, parse_string

    if not fields and not strings:
        return None
    given = [each for text in fields or () for each in parse_field(text)]
    return form_of([*given, *(parse_string(text) for text in strings or ())])


def _protocol(
    name: ProtocolName, tus_form: TusForm | None, checksum: str | None, replay: Replay
) -> str | UploadProtocol:
    """Return what ``protocol=`` takes."""
    if tus_form is None and checksum is None:
        return name.value
    if name not in (ProtocolName.auto, ProtocolName.tus):
        raise Mistake(f"--tus-form and --checksum go with tus, not {name.value}")
    from ..protocols import Tus

    return Tus(form=None if tus_form is None else tus_form.value, checksum=checksum)
