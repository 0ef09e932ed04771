"""What is shown while an upload goes on."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster_resume.console import (
    Console,
    Watcher,
    bar,
    line,
    printable,
    spell_seconds,
    spell_size,
)
from poster_resume.errors import ServerBusy, TransportError
from poster_resume.progress import Event, Progress

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (24 * MIB + MIB // 10, "24.1 MiB"),
        (3 * 1024**3, "3.0 GiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_sizes_are_spelled_for_people(count: int, text: str) -> None:
    assert spell_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.9, "1:00 min"),
        (187, "3:07 min"),
        (7500, "2:05 h"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_are_spelled_for_people(seconds: float, text: str) -> None:
    assert spell_seconds(seconds) == text


@given(
    st.integers(0, 2**44),
    st.integers(0, 2**44) | st.none(),
    st.floats(0, 1e12) | st.none(),
    st.floats(0, 1e7) | st.none(),
    st.integers(0, 10**6),
    st.integers(1, 200),
    st.booleans(),
)
def test_a_bar_fits_any_width(
    sent: int,
    length: int | None,
    rate: float | None,
    remaining: float | None,
    cuts: int,
    width: int,
    ascii_only: bool,
) -> None:
    drawn = bar(sent, length, rate, remaining, cuts, width, ascii_only=ascii_only)
    assert len(drawn) <= width
    assert drawn.isascii() or not ascii_only


def test_a_bar_shows_rate_time_and_cuts_where_there_is_room() -> None:
    drawn = bar(16 * MIB, 64 * MIB, 8.0 * MIB, 6, 3, 120)
    for piece in ("25 %", "16.0 MiB of 64.0 MiB", "8.0 MiB/s", "6 s left"):
        assert piece in drawn
    assert "3 cuts survived" in drawn
    assert drawn.count("\u2501") == 10


def test_a_bar_says_100_only_of_everything() -> None:
    assert "99 %" in bar(999, 1000, None, None, 0, 80)
    assert "100 %" in bar(1000, 1000, None, None, 0, 80)
    assert "100 %" in bar(0, 0, None, None, 0, 80)


def test_a_line_says_how_far_it_is() -> None:
    assert line(MIB, 4 * MIB, MIB, 3) == " 25 % 1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3 s left"
    assert line(MIB, None, None, None) == "1.0 MiB sent"


@given(st.text())
def test_nothing_printed_can_steer_a_terminal(text: str) -> None:
    shown = printable(text)
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert printable(text, ascii_only=True).isascii()


def test_text_in_any_script_stays_as_it_is() -> None:
    assert printable("Müller \u4e2d\u6587") == "Müller \u4e2d\u6587"


def test_people_are_told_of_interruptions_but_not_of_hundreds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watcher = Watcher(Console())
    for _ in range(100):
        error = TransportError("the link broke")
        watcher.on_event(Event("interrupted", str(error), wait=1.5, error=error))
    assert watcher.cuts == 100
    assert capsys.readouterr().err == "interrupted: the link broke; again in 1.5 s\n"


def test_no_time_of_waiting_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    error = TransportError("the link broke")
    Watcher(Console()).on_event(Event("interrupted", str(error), wait=0.02))
    assert capsys.readouterr().err == "interrupted: the link broke\n"


@pytest.mark.parametrize(("ascii_only", "end"), [(True, "..."), (False, "\u2026")])
def test_a_reason_that_is_cut_off_says_so(ascii_only: bool, end: str) -> None:
    watcher = Watcher(Console())
    watcher.on_event(Event("interrupted", "the link broke " * 9, wait=30))
    for width in (1, 2, 3, 40):
        *_, note = watcher.drawn(width, ascii_only=ascii_only).splitlines()
        assert len(note) <= width
        assert note.endswith(end[:width])


def test_a_busy_server_is_no_cut() -> None:
    watcher = Watcher(Console())
    error = ServerBusy("come back later")
    watcher.on_event(Event("interrupted", str(error), wait=5, error=error))
    assert watcher.cuts == 0


def test_quiet_says_nothing_but_failures(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    Watcher(console).on_event(Event("restarted", "starting over"))
    console.say("hello")
    console.fail("it failed")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "poster: it failed\n"


def test_programs_get_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher(Console(as_json=True))
    error = TransportError("the link broke")
    watcher.on_event(Event("interrupted", "it broke", 7, wait=1.5, error=error))
    for sent in range(50):
        watcher.on_progress(Progress(sent, 0, 100, None, None))
    captured = capsys.readouterr()
    assert captured.err == ""
    first, second = (json.loads(each) for each in captured.out.splitlines())
    assert first == {
        "event": "interrupted",
        "offset": 7,
        "message": "it broke",
        "wait": 1.5,
        "error": "TransportError",
    }
    assert second["event"] == "progress"
    assert second["length"] == 100


def test_a_bar_names_the_reason_of_a_long_wait() -> None:
    watcher = Watcher(Console())
    watcher.on_progress(Progress(10, 0, 100, None, None))
    error = TransportError("the link broke\x1b[2J")
    watcher.on_event(Event("interrupted", str(error), wait=30, error=error))
    drawn = watcher.drawn(80, ascii_only=True)
    assert "waiting 30 s: the link broke\\x1b[2J" in drawn
    assert all(len(each) <= 80 for each in drawn.splitlines())
    watcher.on_event(Event("resumed", offset=10))
    assert "waiting" not in watcher.drawn(80, ascii_only=True)


def test_names_in_tables_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(("NAME",), [("[red]x[/red]",), ("\x1b[31mz",)])
    assert capsys.readouterr().out == "NAME\n[red]x[/red]\n\\x1b[31mz\n"


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_row_that_does_not_fit_a_terminal_becomes_a_paragraph(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    Console().records(("ID", "TARGET", "LAST"), [("x\x1b1", "http://a.test/b", "1 s")])
    told = terminal.getvalue().splitlines()
    if columns == 20:
        told_below = ["  target http://a.test/b", "  last   1 s"]
        assert told == ["x\\x1b1", *told_below]
    else:
        assert len(told) == 2
        assert "http://a.test/b" in told[1]


def test_a_standard_error_that_cannot_be_written_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    Console().fail("it failed")
