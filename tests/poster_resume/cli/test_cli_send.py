"""``poster send`` and its like, as processes against a real receiver."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from poster_resume.cli import commands
from poster_resume.testing import (
    Behaviour,
    Link,
    Receiver,
    Rule,
    drop_final_answer,
    every,
)

from .command import Poster

MIB = 1024 * 1024


def test_a_form_arrives_and_the_answer_goes_to_standard_output(
    poster: Poster, receiver: Receiver
) -> None:
    (poster.directory / "a.txt").write_bytes(b"hello")
    done = poster(
        *("send", f"{receiver.url}/rufh", "-F", "title=Holiday"),
        *("-F", "f=@a.txt;type=text/x;filename=b.txt", "-F", "g=<a.txt"),
        *("--form-string", "s=@;"),
    )
    assert done.code == 0
    assert json.loads(done.out)["length"] == receiver.delivery().length
    assert "done:" in done.err
    told = [
        (p.name, p.filename, p.content_type, p.read())
        for p in receiver.delivery().parts
    ]
    assert told == [
        ("title", None, None, b"Holiday"),
        ("f", "b.txt", "text/x", b"hello"),
        ("g", None, None, b"hello"),
        ("s", None, None, b"@;"),
    ]


def test_a_raw_file_and_a_forms_file_go_to_a_tus_server(
    poster: Poster, receiver: Receiver
) -> None:
    (poster.directory / "a.bin").write_bytes(b"x" * 1000)
    url = f"{receiver.url}/tus"
    assert poster("send", url, "--content", "a.bin").code == 0
    form = ("-F", "f=@a.bin", "-F", "title=T")
    done = poster("send", url, *form, "--tus-form", "file", "--checksum", "sha1")
    assert done.code == 0
    assert [d.read() for d in receiver.deliveries] == [b"x" * 1000] * 2


def test_standard_input_is_sent_and_named(poster: Poster, receiver: Receiver) -> None:
    done = poster("send", f"{receiver.url}/rufh", "-F", "f=@-", stdin=b"from a pipe")
    assert done.code == 0
    (part,) = receiver.delivery().parts
    assert (part.filename, part.read()) == ("-", b"from a pipe")


def test_a_file_name_that_is_not_utf_8_is_sent_and_shown(
    poster: Poster, receiver: Receiver
) -> None:
    name = b"caf\xe9.txt"
    Path(os.fsdecode(os.fsencode(poster.directory) + b"/" + name)).write_bytes(b"x")
    field = b"f=@" + name
    shown = poster("plan", "-F", field, encoding="ascii")
    assert shown.code == 0
    assert "caf\\xe9.txt" in shown.out
    assert poster("send", f"{receiver.url}/form", "-F", field).code == 0
    assert b'filename="caf\xe9.txt"' in receiver.delivery().read()


def test_a_plan_shows_every_byte(poster: Poster) -> None:
    (poster.directory / "a.bin").write_bytes(b"x" * 1000)
    words = ("plan", "-F", "t=1", "-F", "f=@a.bin")
    *rows, total = poster(*words, "--json").objects
    offset = 0
    for row in rows:
        assert row["offset"] == offset
        assert isinstance(row["length"], int)
        offset += row["length"]
    assert total["length"] == offset
    table = poster(*words)
    assert "content of" in table.out
    assert f"{offset:,} bytes" in table.err


def test_probe_says_what_a_server_speaks(poster: Poster, receiver: Receiver) -> None:
    receiver.behaviour = Behaviour(max_size=5 * MIB)
    told = poster("probe", f"{receiver.url}/rufh")
    assert told.code == 0
    assert "rufh" in told.out
    assert "5.0 MiB" in told.out
    (tus,) = poster("probe", f"{receiver.url}/tus", "--json").objects
    assert tus["protocols"] == ["tus"]
    assert "nothing resumable" in poster("probe", f"{receiver.url}/form").out
    assert receiver.uploads == []


@pytest.mark.parametrize(
    "words",
    [
        ("send", "{url}"),
        ("send", "{url}", "-F", "a"),
        ("send", "{url}", "-F", "a=@nope"),
        ("send", "{url}", "-F", "a=1", "--content", "x"),
        ("send", "{url}", "-F", "a=1", "--chunk-size", "lots"),
        ("send", "{url}", "-F", "a=1", "--retry-for", "ever"),
        ("send", "{url}", "-F", "a=1", "--protocol", "ftp"),
        ("send", "{url}", "-F", "a=1", "--protocol", "tus"),
        ("send", "{url}", "-F", "a=1", "--protocol", "rufh", "--tus-form", "file"),
        ("send", "{url}", "-F", "a=1", "-H", "Content-Length: 3"),
        ("send", "{url}", "-F", "a=1", "--cacert", "nope"),
        ("send", "{url}", "-F", "a=1", "--proxy", "gopher://u:secret@x"),
        ("send", "{url}", "-F", "a=1", "--key", ""),
        ("send", "{url}", "-F", "a=1", "--state", ""),
        ("send", "example.org", "-F", "a=1"),
        ("send", "http://u:secret@[", "-F", "a=1"),
        ("resume",),
        ("resume", "abc"),
        ("resume", "--all", "--assume", "lost"),
        ("cancel", "abc"),
        ("forget", ""),
        ("demo", "--size", "0"),
        ("explode",),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_a_usage_error(
    words: tuple[str, ...],
    tmp_path: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [word.format(url=f"{receiver.url}/rufh") for word in words]
    monkeypatch.setattr(sys, "argv", ["poster", *given])
    monkeypatch.setenv("POSTER_RESUME_STATE", str(tmp_path))
    assert commands.run() == 2
    told = capsys.readouterr().err
    assert told
    assert "secret" not in told
    assert receiver.uploads == []


def test_a_rejection_shows_the_servers_answer(
    poster: Poster, receiver: Receiver
) -> None:
    receiver.behaviour = Behaviour(final_status=422, final_content=b"no such film\n")
    done = poster("send", f"{receiver.url}/rufh", "-F", "a=1")
    assert (done.code, done.out) == (3, "no such film\n")
    assert "422" in done.err


def test_an_unknown_outcome_is_settled_by_its_id(
    poster: Poster, receiver: Receiver
) -> None:
    receiver.script(drop_final_answer())
    done = poster("send", f"{receiver.url}/form", "-F", "a=1", "--json")
    assert done.code == 4
    last = done.objects[-1]
    assert (last["event"], last["error"]) == ("failed", "OutcomeUnknown")
    upload_id = str(last["id"])
    assert f"poster resume {upload_id} --assume complete" in done.err
    assert poster("resume", upload_id[:8]).code == 4
    assert poster("resume", upload_id, "--assume", "complete").code == 0
    assert len(receiver.deliveries) == 1


def test_a_refused_connection_is_temporary(poster: Poster, receiver: Receiver) -> None:
    url = f"{receiver.url}/rufh?signature=secret"
    receiver.close()
    done = poster("send", url, "-F", "a=1", "--retry-for", "0")
    assert done.code == 75
    assert "refused" in done.err
    assert "secret" not in done.err


def test_a_broken_upload_says_how_to_go_on_and_does(
    poster: Poster, receiver: Receiver
) -> None:
    content = os.urandom(3 * MIB)
    (poster.directory / "film.bin").write_bytes(content)
    words = ("-F", "film=@film.bin", "--retry-for", "0")
    with Link(receiver.port, every(MIB)) as link:
        url = f"{link.url}/rufh?signature=secret"
        state = str(poster.directory / "my state")
        done = poster("send", url, *words, "--state", state)
        assert done.code == 75
        (go_on,) = [x for x in done.err.splitlines() if "go on with: " in x]
        assert "--state '" in go_on
        listed = poster("list", "--state", state)
        assert "3.0 MiB" in listed.out
        assert "secret" not in done.err + listed.out
        (kept,) = poster("list", "--state", state, "--json").objects
        link.faults = ()
        again = poster("resume", "--all", "--state", state)
        assert again.code == 0
        assert poster("resume", "--all", "--state", state).code == 0
    (part,) = receiver.delivery().parts
    assert part.sha256 == hashlib.sha256(content).hexdigest()
    assert str(kept["id"]) in go_on


def test_what_the_server_may_have_is_not_called_nothing(
    poster: Poster, receiver: Receiver
) -> None:
    (poster.directory / "film.bin").write_bytes(os.urandom(2 * MIB))
    with Link(receiver.port, every(MIB)) as link:
        words = ("--content", "film.bin", "--protocol", "tus", "--retry-for", "0")
        assert poster("send", f"{link.url}/tus", *words).code == 75
        # A tus server acknowledges an append as a whole, or not at all.
        listed = poster("list").out
        assert "not said" in listed
        assert " 0 %" not in listed
        (kept,) = poster("list", "--json").objects
        receiver.script(Rule(method="HEAD", times=1), Rule(method="PATCH", status=503))
        assert poster("resume", str(kept["id"]), "--retry-for", "0").code == 75
        assert ">= " in poster("list").out


def test_a_refused_upload_is_not_listed_as_done(
    poster: Poster, receiver: Receiver
) -> None:
    assert poster("send", f"{receiver.url}/nowhere", "-F", "a=1").code == 3
    listed = poster("list").out
    assert "rejected, 404" in listed
    assert "100 %" not in listed


def test_a_tus_server_that_tells_no_offset_is_said_to_be_in_the_way(
    poster: Poster, receiver: Receiver
) -> None:
    receiver.script(Rule(method="HEAD", status=405, times=None))
    (poster.directory / "film.bin").write_bytes(os.urandom(2 * MIB))
    with Link(receiver.port, every(MIB)) as link:
        words = ("send", f"{link.url}/tus", "--content", "film.bin")
        for _ in range(2):
            done = poster(*words)
            assert done.code == 3
            assert "cannot go on" in done.err
            assert "poster probe" not in done.err
        (kept,) = poster("list", "--json").objects
        assert f"poster cancel {kept['id']}" in done.err
        assert poster("cancel", str(kept["id"])).code == 0


def test_a_refused_connection_names_the_proxy_and_not_its_password(
    poster: Poster, receiver: Receiver
) -> None:
    with Receiver() as gone:
        proxy = f"http://joe:secret@127.0.0.1:{gone.port}"
    words = ("-F", "a=1", "--retry-for", "0", "--proxy", proxy)
    done = poster("send", f"{receiver.url}/rufh", *words)
    assert done.code == 75
    assert f"the proxy that is not there: http://127.0.0.1:{gone.port}/" in done.err
    assert "secret" not in done.err


def test_a_proxy_of_the_environment_is_named_too(
    poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as gone:
        monkeypatch.setenv("http_proxy", f"http://joe:secret@127.0.0.1:{gone.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
    done = poster("send", "http://a.test/", "-F", "a=1", "--retry-for", "0")
    assert done.code == 75
    assert f"the proxy that is not there: http://127.0.0.1:{gone.port}/" in done.err
    assert "secret" not in done.err


def test_what_was_complete_already_has_no_offset_to_go_on_from(
    poster: Poster, receiver: Receiver
) -> None:
    words = ("send", f"{receiver.url}/rufh", "-F", "a=1", "--key", "k")
    assert poster(*words).code == 0
    again = poster(*words)
    assert "it was complete already\n" in again.err


def test_a_changed_file_is_named_and_can_be_sent_anew(
    poster: Poster, receiver: Receiver
) -> None:
    film = poster.directory / "film.bin"
    film.write_bytes(os.urandom(2 * MIB))
    with Link(receiver.port, every(MIB)) as link:
        words = ("send", f"{link.url}/rufh", "-F", "f=@film.bin", "--retry-for", "0")
        assert poster(*words).code == 75
        link.faults = ()
        film.write_bytes(b"another")
        changed = poster(*words)
        assert changed.code == 1
        assert "film.bin" in changed.err
        assert "--on-change restart" in changed.err
        assert poster(*words, "--on-change", "restart").code == 0
    assert receiver.delivery().parts[0].read() == b"another"


def test_credentials_come_from_a_file_and_are_given_anew(
    poster: Poster, receiver: Receiver
) -> None:
    receiver.behaviour = Behaviour(tokens=("secret",))
    refused = poster("send", f"{receiver.url}/rufh", "-F", "a=1", "--protocol", "rufh")
    assert refused.code == 75
    assert "-H" in refused.err
    (poster.directory / "token").write_text("Authorization: Bearer secret\n")
    done = poster("resume", "--all", "-H", "@token")
    assert done.code == 0
    assert "secret" not in done.err + done.out
    state = b"".join(f.read_bytes() for f in poster.state.rglob("*") if f.is_file())
    assert b"secret" not in state


def test_credentials_do_not_go_to_every_server(
    poster: Poster, receiver: Receiver
) -> None:
    receiver.script(Rule(method="POST", status=503, times=None))
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        words = ("-F", "a=1", "--protocol", "rufh", "--retry-for", "0")
        assert poster("send", f"{url}/rufh", *words).code == 75
    done = poster("resume", "--all", "-H", "Authorization: Bearer x")
    assert done.code == 2
    assert "one by one" in done.err


def test_a_password_is_not_asked_for_without_a_terminal(
    poster: Poster, receiver: Receiver
) -> None:
    if os.path.exists("/dev/tty"):
        try:
            os.close(os.open("/dev/tty", os.O_RDWR))
        except OSError:
            pass
        else:
            pytest.skip("there is a terminal to ask at")
    done = poster("probe", receiver.url, "--user", "joe")
    assert done.code == 2
    assert "-H @FILE" in done.err


def test_uploads_are_cancelled_and_forgotten(
    poster: Poster, receiver: Receiver
) -> None:
    (poster.directory / "film.bin").write_bytes(os.urandom(2 * MIB))
    with Link(receiver.port, every(MIB)) as link:
        for path in ("rufh", "tus"):
            words = ("--content", "film.bin", "--protocol", path, "--retry-for", "0")
            assert poster("send", f"{link.url}/{path}", *words).code == 75
        link.faults = ()
        first, second = (str(each["id"]) for each in poster("list", "--json").objects)
        assert poster("cancel", first).code == 0
        assert poster("forget", second).code == 0
    assert poster("list").out == ""
    assert [upload.gone for upload in receiver.uploads] == [True, False]


def test_a_state_directory_that_cannot_be_used_is_a_sentence(
    poster: Poster, receiver: Receiver
) -> None:
    (poster.directory / "file").touch()
    state = str(poster.directory / "file" / "state")
    for words in (("send", f"{receiver.url}/rufh", "-F", "a=1"), ("list",), ("demo",)):
        done = poster(*words, "--state", state)
        assert done.code == 1
        assert "--state" in done.err
    assert receiver.uploads == []


def test_nothing_is_kept_without_state(poster: Poster, receiver: Receiver) -> None:
    receiver.script(Rule(method="POST", status=503, times=None))
    words = ("-F", "a=1", "--no-state", "--retry-for", "0", "--protocol", "rufh")
    done = poster("send", f"{receiver.url}/rufh", *words)
    assert done.code == 75
    assert "poster resume" not in done.err
    assert not poster.state.exists()


def test_json_is_all_that_programs_see(poster: Poster, receiver: Receiver) -> None:
    done = poster("send", f"{receiver.url}/rufh", "-F", "a=1", "--json")
    *events, last = done.objects
    assert "created" in [event["event"] for event in events]
    assert (last["event"], last["status"], last["verified"]) == ("done", 201, "length")
    assert isinstance(last["body"], str)
    assert done.err == ""
    quiet = poster("send", f"{receiver.url}/rufh", "-F", "a=2", "--json", "--quiet")
    assert [each["event"] for each in quiet.objects] == ["done"]
