"""What people and programs are told while an upload goes on.

Answers go to standard output, everything else to standard error: a live bar on
a terminal, plain lines elsewhere, JSON lines on standard output for programs.
Whatever came from outside is made printable before it is shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .errors import TransportError
from .progress import Event, Progress

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

Mode: TypeAlias = Literal["live", "lines", "json", "quiet"]

#: Seconds between two lines of progress, and between two progress objects.
LINE_INTERVAL, JSON_INTERVAL = 5.0, 1.0
#: Seconds between two lines about interruptions: a bad link has hundreds.
_INTERRUPTION_INTERVAL = 2.0
#: Seconds of waiting that are told, with the reason.
_WORTH_TELLING = 0.5
#: Seconds without a byte after which a bar says so.
_SILENCE = 3.0

#: Events that people want to hear of at any rate, in the words of their messages.
_TOLD: Final = frozenset({"found", "restarted", "not_resumable", "went_back"})


class Console:
    """Where one command's words go.

    *as_json* says that standard output is for JSON objects alone, *quiet* that
    only errors are told, *verbose* that every event is.
    """

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._above: RichConsole | None = None

    @property
    def mode(self) -> Mode:
        """How progress is shown."""
        if self.quiet:
            return "quiet"
        if self.as_json:
            return "json"
        return "live" if _animated() else "lines"

    def say(self, text: str) -> None:
        """Tell people something on standard error, unless they want quiet."""
        if not self.quiet and not self.as_json:
            self._error_line(text)

    def fail(self, text: str) -> None:
        """Tell people, in any mode, that something is wrong."""
        self._error_line(f"poster: {text}")

    def hint(self, text: str) -> None:
        """Tell people, in any mode, what to do about it."""
        self._error_line(f"  {text}")

    def emit(self, record: Mapping[str, object]) -> None:
        """Write *record* to standard output as one line of JSON."""
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()

    def answer(self, content: bytes) -> None:
        """Write the server's answer to standard output, as it is."""
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        if content and not content.endswith(b"\n") and sys.stdout.isatty():
            sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        title: str | None = None,
        right: Sequence[str] = (),
    ) -> None:
        """Write a table to standard output; columns named in *right* align right."""
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        # Where nobody sees how wide it is, nothing is cut off: a program reads it.
        width = None if sys.stdout.isatty() else 500
        console = RichConsole(file=sys.stdout, width=width, highlight=False)
        table = Table(
            title=title,
            title_justify="left",
            box=None,
            pad_edge=False,
            show_header=any(columns),
        )
        for name in columns:
            table.add_column(
                name,
                justify="right" if name in right else "left",
                overflow="fold",
                no_wrap=name in right,
            )
        for row in rows:
            table.add_row(*(Text(printable(str(cell))) for cell in row))
        with console.capture() as captured:
            console.print(table)
        for each in captured.get().splitlines():
            sys.stdout.write(each.rstrip() + "\n")
        sys.stdout.flush()

    def records(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        right: Sequence[str] = (),
    ) -> None:
        """Write a table; on a terminal too narrow for it, a paragraph for each row.

        A paragraph begins with the first cell; the others follow under their names.
        """
        texts = [[printable(str(cell)) for cell in row] for row in rows]
        widths = [max(map(len, cells)) for cells in zip(columns, *texts, strict=True)]
        needed = sum(widths) + 2 * (len(widths) - 1)
        if not sys.stdout.isatty() or needed <= shutil.get_terminal_size().columns:
            self.table(columns, rows, right=right)
            return
        margin = max(map(len, columns[1:])) + 1
        for first, *rest in texts:
            sys.stdout.write(first + "\n")
            for name, cell in zip(columns[1:], rest, strict=True):
                sys.stdout.write(f"  {name.lower():{margin}}{cell}\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watcher]:
        """Show one upload while this is entered."""
        watcher = Watcher(self)
        if self.mode != "live":
            yield watcher
            return
        from rich.console import Console as RichConsole
        from rich.live import Live
        from rich.text import Text

        console = RichConsole(file=sys.stderr, highlight=False)
        with Live(
            console=console,
            get_renderable=lambda: Text(
                watcher.drawn(console.width - 1, ascii_only=_ascii()), overflow="crop"
            ),
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            self._above = console
            try:
                yield watcher
            finally:
                self._above = None

    def _error_line(self, text: str) -> None:
        shown = printable(text)
        if self._above is not None:
            self._above.print(shown, markup=False, soft_wrap=True)
            return
        # Who closed standard error does not want to know; a full disk cannot.
        with contextlib.suppress(OSError):
            sys.stderr.write(shown + "\n")
            sys.stderr.flush()


@dataclass
class _View:
    """What is known of one upload."""

    sent: int = 0
    length: int | None = None
    rate: float | None = None
    remaining: float | None = None
    cuts: int = 0
    note: str = ""
    note_until: float = 0.0
    moved: float = 0.0


class Watcher:
    """The observer of one upload: give its methods as ``on_event``, ``on_progress``."""

    def __init__(self, console: Console) -> None:
        self._console, self._mode = console, console.mode
        self._view = _View(moved=time.monotonic())
        self._line_due = time.monotonic() + LINE_INTERVAL
        self._json_due = self._interruption_due = 0.0

    @property
    def cuts(self) -> int:
        """How many times the connection broke and the upload went on."""
        return self._view.cuts

    @property
    def sent(self) -> int:
        """The position up to which bytes are out."""
        return self._view.sent

    def on_event(self, event: Event) -> None:
        """Show *event*, as far as it is worth it."""
        view, moment = self._view, time.monotonic()
        if event.kind == "interrupted":
            view.cuts += isinstance(event.error, TransportError)
            if event.wait is not None and event.wait >= _WORTH_TELLING:
                view.note, view.note_until = event.message, moment + event.wait
        elif event.kind in ("resumed", "acknowledged", "created"):
            view.note_until = 0.0
        if event.kind in ("resumed", "found"):
            view.sent = event.offset
        if self._mode == "json":
            self._emit_event(event)
        else:
            self._tell(event, moment)

    def on_progress(self, progress: Progress) -> None:
        """Show how far it is."""
        view, moment = self._view, time.monotonic()
        if progress.sent != view.sent:
            view.moved, view.note_until = moment, 0.0
        view.sent, view.length = progress.sent, progress.length
        view.rate, view.remaining = progress.rate, progress.remaining
        if self._mode == "json" and moment >= self._json_due:
            self._json_due = moment + JSON_INTERVAL
            self._console.emit({"event": "progress", **asdict(progress)})
        if self._mode == "lines" and moment >= self._line_due:
            self._line_due = moment + LINE_INTERVAL
            self._console.say(line(view.sent, view.length, view.rate, view.remaining))

    def drawn(self, width: int, *, ascii_only: bool) -> str:
        """Return the bar as it stands now, in at most *width* columns."""
        view, moment = self._view, time.monotonic()
        note = ""
        if moment < view.note_until:
            note = f"waiting {spell_seconds(view.note_until - moment)}: {view.note}"
        elif moment - view.moved > _SILENCE:
            note = f"nothing moves for {spell_seconds(moment - view.moved)}"
        drawn = bar(
            view.sent,
            view.length,
            view.rate if not note else None,
            view.remaining if not note else None,
            view.cuts,
            width,
            ascii_only=ascii_only,
        )
        if view.length is None:
            drawn = "nothing sent yet"
        note = printable(note, ascii_only=ascii_only)
        if len(note) > width:
            end = "..." if ascii_only else "\u2026"
            note = note[: max(0, width - len(end))] + end[:width]
        return f"{drawn}\n{note}" if note else drawn

    def _tell(self, event: Event, moment: float) -> None:
        console = self._console
        if event.kind == "interrupted":
            if self._mode == "live" and not console.verbose:
                return
            if moment < self._interruption_due and not console.verbose:
                return
            self._interruption_due = moment + _INTERRUPTION_INTERVAL
            again = ""
            if event.wait is not None and event.wait >= _WORTH_TELLING:
                again = f"; again in {event.wait:.1f} s"
            console.say(f"interrupted: {event.message}{again}")
        elif event.kind in _TOLD or console.verbose:
            said = event.message or event.kind.replace("_", " ")
            if console.verbose and event.message:
                said = f"{event.kind.replace('_', ' ')}: {event.message}"
            if event.offset and event.kind == "acknowledged":
                said = f"{said} up to {spell_size(event.offset)}"
            elif event.offset and "complete" not in said:
                said = f"{said}, from {spell_size(event.offset)} on"
            console.say(said)

    def _emit_event(self, event: Event) -> None:
        record: dict[str, object] = {"event": event.kind, "offset": event.offset}
        if event.message:
            record["message"] = event.message
        if event.wait is not None:
            record["wait"] = event.wait
        if event.error is not None:
            record["error"] = type(event.error).__name__
        self._console.emit(record)


def line(
    sent: int, length: int | None, rate: float | None, remaining: float | None
) -> str:
    """Return progress as a line of text."""
    if length is None:
        return f"{spell_size(sent)} sent"
    said = f"{_percent(sent, length)} {spell_size(sent)} of {spell_size(length)}"
    if rate:
        said += f", {spell_size(int(rate))}/s"
    if remaining is not None:
        said += f", {spell_seconds(remaining)} left"
    return said


def bar(
    sent: int,
    length: int | None,
    rate: float | None,
    remaining: float | None,
    cuts: int,
    width: int,
    *,
    ascii_only: bool = False,
) -> str:
    """Return progress as one line of at most *width* columns, most important first."""
    if length is None:
        return spell_size(sent)[:width]
    pieces = [_percent(sent, length), f"{spell_size(sent)} of {spell_size(length)}"]
    if rate:
        pieces.append(f"{spell_size(int(rate))}/s")
    if remaining is not None:
        pieces.append(f"{spell_seconds(remaining)} left")
    if cuts:
        pieces.append(f"{counted(cuts, 'cut')} survived")
    while len(pieces) > 1 and len("  ".join(pieces)) > width:
        pieces.pop(1)
    room = min(40, width - len("  ".join(pieces)) - 2)
    if room >= 8:
        full, empty = ("#", ".") if ascii_only else ("\u2501", "\u2500")
        done = room if not length else min(room, room * sent // length)
        pieces.insert(1, full * done + empty * (room - done))
    return "  ".join(pieces)[:width]


def printable(text: str, *, ascii_only: bool = False) -> str:
    """Return *text* with everything escaped that a terminal might obey or refuse."""
    shown = "".join(
        char if char.isprintable() or char == "\n" else _escaped(char) for char in text
    )
    if ascii_only:
        shown = shown.replace("\u2026", "...")
        shown = shown.encode("ascii", "backslashreplace").decode("ascii")
    return shown


def spell_size(count: int) -> str:
    """Return *count* bytes as text: ``512 B``, ``23.1 MiB``."""
    if abs(count) < 1024:
        return f"{count} B"
    value = count / 1024
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1023.95:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} PiB"


def spell_seconds(seconds: float) -> str:
    """Return a duration as text: ``7 s``, ``3:07 min``, ``2:05 h``, ``3 d 4 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 86400:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def counted(count: int, what: str) -> str:
    """Return *count* with its noun: ``1 cut``, ``1,200 cuts``."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def _percent(sent: int, length: int) -> str:
    # 100 % only when it is all of it.
    return f"{100 if sent >= length else 100 * sent // length:3} %"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _animated() -> bool:
    """Whether standard error is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _ascii() -> bool:
    return not (sys.stderr.encoding or "").lower().replace("-", "").startswith("utf")
