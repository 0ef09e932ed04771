"""The commands, all of them; what they do is in the modules beside this one.

Nothing heavy is imported before a command runs: ``poster --help`` is quick.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ..console import Console
from . import uploading  # noqa: F401 - its commands come first in the help
from .app import app, ended
from .ending import guarded
from .failures import DONE, INTERRUPTED
from .fields import Mistake, form_given
from .manner import Manner
from .options import (
    CaCert,
    Content,
    ContentType,
    DemoProtocol,
    Form,
    FormString,
    Header,
    Insecure,
    Json,
    Proxy,
    Quiet,
    RetryFor,
    State,
    UploadId,
    User,
    Verbose,
)
from .running import Run

__all__ = ["app", "run"]


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

    ended(console, command)


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

    ended(console, command)


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

    ended(console, command)


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

    ended(console, command)


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

        params = form_given(form, form_string)
        if (params is None) == (content is None):
            raise Mistake("give either fields by -F, or one file by --content")
        return planned(console, params, content, content_type)

    ended(console, command)


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

    ended(console, command)


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
