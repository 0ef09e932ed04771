"""``poster demo``: it ends with what was sent, whatever happens in between."""

from __future__ import annotations

import json
import signal
import sys
import time

import pytest

from .command import Done, Poster


def _shown(done: Done) -> dict[str, object]:
    assert done.code == 0, done.err
    last = done.objects[-1]
    assert last["event"] == "demo"
    assert last["match"] is True
    assert last["sha256_sent"] == last["sha256_received"]
    return last


@pytest.mark.parametrize("protocol", ["rufh", "tus"])
def test_the_form_gets_through_and_nothing_is_left(
    poster: Poster, protocol: str
) -> None:
    words = ("--size", "3MiB", "--cut-every", "512KiB", "--protocol", protocol)
    shown = _shown(poster("demo", *words, "--json"))
    assert isinstance(shown["cuts"], int)
    assert shown["cuts"] >= 3
    assert shown["runs"] == 1
    assert not (poster.state / "demo").exists()
    assert poster("list").out == ""


def test_the_same_seed_sends_the_same_file(poster: Poster) -> None:
    words = ("demo", "--size", "100000", "--json")
    first, second = (_shown(poster(*words, "--seed", "7")) for _ in range(2))
    other = _shown(poster(*words, "--seed", "8"))
    assert first["sha256_sent"] == second["sha256_sent"] != other["sha256_sent"]


def test_it_ends_with_a_table_for_people(poster: Poster) -> None:
    done = poster("demo", "--size", "1MiB", "--cut-every", "300k")
    assert done.code == 0
    for row in ("bytes", "requests", "cuts survived", "bytes sent twice", "they match"):
        assert row in done.out


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_a_second_run_goes_on_where_the_first_one_stopped(
    poster: Poster, how: signal.Signals
) -> None:
    words = ("demo", "--size", "24MiB", "--cut-every", "512KiB", "--json")
    with poster.started(*words) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "resumed" and event["offset"] > 1024 * 1024:
                break
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert b"go on with: poster demo" in err
    # Without options it is the one that was begun.
    done = poster("demo", "--json")
    (found, *_) = [each for each in done.objects if each["event"] == "found"]
    assert isinstance(found["offset"], int)
    assert found["offset"] > 0
    shown = _shown(done)
    assert shown["runs"] == 2
    assert not (poster.state / "demo").exists()


def test_a_byte_that_arrived_wrong_is_found(poster: Poster) -> None:
    words = ("demo", "--size", "24MiB", "--cut-every", "512KiB", "--json")
    with poster.started(*words) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "resumed" and event["offset"] > 1024 * 1024:
                break
        process.kill()
        process.communicate()
    (received,) = (poster.state / "demo" / "received").glob("*.content")
    with received.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    done = poster("demo", "--json")
    assert done.code == 1
    assert done.objects[-1]["match"] is False
    assert "not the one that was sent" in done.err


def test_other_options_begin_anew(poster: Poster) -> None:
    with poster.started("demo", "--size", "48MiB", "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.communicate()
    done = poster("demo", "--size", "1MiB")
    assert done.code == 0
    assert "beginning anew" in done.err


def test_a_size_that_does_not_fit_is_refused(poster: Poster) -> None:
    done = poster("demo", "--size", "100PiB")
    assert done.code == 2
    assert "smaller" in done.err


def test_two_demos_at_once_do_not_disturb_each_other(poster: Poster) -> None:
    with poster.started("demo", "--size", "64MiB", "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        second = poster("demo")
        process.kill()
        process.communicate()
    assert second.code == 2
    assert "another demo" in second.err


def test_it_is_quick(poster: Poster) -> None:
    began = time.monotonic()
    assert poster("demo", "--quiet").code == 0
    assert time.monotonic() - began < 30
