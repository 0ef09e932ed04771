"""The application that commands belong to, and how each of them ends.

Nothing heavy is imported before a command runs: ``poster --help`` is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ..console import Console
from .ending import guarded
from .interruption import Interruption
from .running import Run

app = typer.Typer(
    help="Huge uploads through bad links, byte for byte. Run it again and it resumes.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 rejected by the server, 4 outcome "
    "unknown, 75 failed but resumable, 130 interrupted.",
)


def ended(console: Console, command: Callable[[Run], int]) -> None:
    """Run *command* with signals handled, and leave with its exit code."""
    with Interruption(quiet=console.quiet) as interruption:
        run = Run(console, interruption)
        try:
            code = guarded(console, lambda: command(run))
        except KeyboardInterrupt:
            console.say("interrupted")
            code = interruption.code
    raise typer.Exit(code)


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


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"poster-resume {__version__}")
        raise typer.Exit
