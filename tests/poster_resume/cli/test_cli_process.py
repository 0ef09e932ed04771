"""The command among other processes: signals, closed streams, missing packages."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

import pytest

from poster_resume.testing import Link, Receiver, Stall

from .command import IMPORTABLE, Poster

MIB = 1024 * 1024
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and streams")


@posix
@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda each: str(each),
)
def test_a_signal_pauses_and_says_how_to_go_on(
    poster: Poster, receiver: Receiver, signum: signal.Signals, code: int
) -> None:
    content = os.urandom(8 * MIB)
    (poster.directory / "film.bin").write_bytes(content)
    with Link(receiver.port, itertools.repeat(Stall(MIB))) as link:
        words = ("send", f"{link.url}/rufh", "-F", "film=@film.bin")
        with poster.started(*words) as process:
            receiver.wait(lambda r: r.received > 0)
            process.send_signal(signum)
            _, err = process.communicate(timeout=30)
        assert process.returncode == code
        assert b"Traceback" not in err
        (go_on,) = [x for x in err.decode().splitlines() if "go on with: " in x]
        link.faults = ()
        assert poster(*go_on.partition("go on with: poster ")[2].split()).code == 0
    assert receiver.delivery().parts[0].read() == content


@posix
def test_a_second_signal_ends_it_at_once(poster: Poster, receiver: Receiver) -> None:
    with poster.started("send", f"{receiver.url}/rufh", "-F", "f=@-") as process:
        # It waits for its standard input: nothing is being sent, nothing to pause.
        assert process.stdin is not None
        process.stdin.write(b"x" * MIB)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in err
    assert receiver.uploads == []


@posix
def test_the_same_command_goes_on_after_a_kill(
    poster: Poster, receiver: Receiver
) -> None:
    content = os.urandom(8 * MIB)
    (poster.directory / "film.bin").write_bytes(content)
    with Link(receiver.port, itertools.repeat(Stall(2 * MIB))) as link:
        words = ("send", f"{link.url}/rufh", "-F", "film=@film.bin")
        with poster.started(*words) as process:
            receiver.wait(lambda r: r.received > MIB)
            process.kill()
            process.communicate()
        link.faults = ()
        done = poster(*words)
    assert done.code == 0
    assert "going on with" in done.err
    assert receiver.delivery().parts[0].read() == content


@posix
def test_who_stops_reading_ends_nothing(poster: Poster, receiver: Receiver) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = ("send", f"{receiver.url}/rufh", "-F", "a=1")
    with poster.started(*words, stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err
    assert receiver.delivery().count == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["--help", "list --json", "plan -F a=1"])
def test_a_full_disk_under_standard_output_is_a_sentence(
    poster: Poster, receiver: Receiver, words: str
) -> None:
    poster("send", f"{receiver.url}/form", "-F", "a=1")
    with (
        open("/dev/full", "wb") as full,
        poster.started(*words.split(), stdout=full.fileno()) as process,
    ):
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"No space left" in err
    assert b"Traceback" not in err


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_not_mistaken_for_the_database(
    poster: Poster, receiver: Receiver, closed: str
) -> None:
    command = [sys.executable, "-m", "poster_resume"]
    command += ["send", f"{receiver.url}/rufh", "-F", "a=1"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command],
        env=os.environ | IMPORTABLE | {"POSTER_RESUME_STATE": str(poster.state)},
        timeout=60,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0
    assert receiver.delivery().count == 1
    assert "complete" in poster("list").out


def test_without_the_extra_the_remedy_is_named(poster: Poster) -> None:
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('typer', 'rich', 'click'):\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from poster_resume.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | IMPORTABLE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'poster-resume[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_shown(poster: Poster) -> None:
    from poster_resume import __version__

    done = poster("--version")
    assert (done.code, done.out) == (0, f"poster-resume {__version__}\n")
