"""Uploads to servers nobody here wrote, over links that break.

Judged by the SHA-256 of what the server kept: exactly once, exactly the bytes.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poster_resume import (
    RUFH,
    ResumableUpload,
    RetryPolicy,
    TransportError,
    Tus,
    UploadProtocol,
)
from poster_resume.testing import Cut, DropAnswer, Faults, Link, Stall, Throttle
from tests.servers import launch, parsers
from tests.servers.client import Call, Result, again, made, started
from tests.servers.launch import RealServer

tenacity = pytest.importorskip("tenacity")

SIZE = 3 * 1024 * 1024 + 17
FORM = {"title": "Urlaub ☃", "note": 'a "quoted"\r\nline'}

#: Where connections are cut: in the first head, in a content, near its end.
CUTS: list[Faults] = [Cut(100), Cut(200_000), Cut(1 << 20, how="fin"), Cut(1_500_000)]


@pytest.fixture
def film(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / "film.bin"
    file.write_bytes(random.Random(request.node.name).randbytes(SIZE))
    return file


@pytest.fixture(params=["peregrine", "tus_node", "resumable_upload"])
def server(request: pytest.FixtureRequest) -> RealServer:
    found: RealServer = request.getfixturevalue(request.param)
    return found


def protocol_of(server: RealServer) -> str:
    return "rufh" if server.name == "peregrine" else "tus"


@pytest.fixture
def call(film: Path, tmp_path: Path) -> Callable[..., Call]:
    def described(server: RealServer, port: int | None = None, **options: Any) -> Call:
        return Call(
            **{
                "target": server.url(port=port),
                "file": str(film),
                "store": str(tmp_path / "state"),
                "protocol": protocol_of(server),
                **options,
            }
        )

    return described


def arrived(server: RealServer, call: Call) -> None:
    """Check that *server* kept what *call* sends, once, and nothing else."""
    [kept] = server.kept()
    wanted = _sha256(Path(call.file))
    multipart = call.form is not None and call.options.get("form") != "file"
    if not multipart:
        assert (kept.sha256, kept.length) == (wanted, SIZE)
        return
    content = kept.file.read_bytes()
    content_type = kept.content_type or _content_type(content)
    fields = parsers.multipart(content_type, content)
    assert call.form is not None
    assert {f.name: f.content.decode() for f in fields[:-1]} == call.form
    assert (fields[-1].name, fields[-1].filename) == ("file", "film.bin")
    assert hashlib.sha256(fields[-1].content).hexdigest() == wanted


def until_done(call: Call, *, most: int) -> Result:
    """Make *call* in one new process after the other, until one succeeds."""
    for _ in range(most):
        result = again(call)
        if not result.error:
            return result
        assert result.resumable, result
    raise AssertionError(f"not done after {most} processes: {result}")


#: Server, what is special about the call, and the cuts; many in the long run.
WAYS: dict[str, tuple[str, dict[str, Any], list[Faults]]] = {
    "form": ("peregrine", {"form": FORM}, CUTS[1:3]),
    "trio": ("peregrine", {"driver": "trio"}, CUTS),
    "asyncio": ("tus_node", {"driver": "asyncio"}, CUTS[1:2]),
    "file": ("tus_node", {"form": FORM, "options": {"form": "file"}}, CUTS),
    "wrapping": (
        "tus_node",
        {"form": FORM, "options": {"form": "multipart"}, "driver": "trio"},
        CUTS,
    ),
    "content": ("resumable_upload", {}, CUTS),
    "checksum": (
        "resumable_upload",
        {"options": {"checksum": "sha256"}, "chunk_size": 1 << 19},
        CUTS[1:3],
    ),
}


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=[pytest.mark.long] if cuts is CUTS else [])
        for way, (_, _, cuts) in WAYS.items()
    ],
)
def test_each_cut_is_survived_by_a_new_process(
    way: str, request: pytest.FixtureRequest, call: Callable[..., Call]
) -> None:
    name, options, cuts = WAYS[way]
    server: RealServer = request.getfixturevalue(name)
    with Link(server.port, cuts) as link:
        what = call(server, link.port, attempts=1, **options)
        result = until_done(what, most=len(cuts) + 1)
        assert link.cuts == len(cuts)
    assert result.status in (200, 201, 204)
    arrived(server, what)


@pytest.mark.parametrize("driver", ["blocking", "asyncio", "trio"])
def test_one_call_survives_every_cut(
    server: RealServer, driver: str, call: Callable[..., Call]
) -> None:
    with Link(server.port, CUTS) as link:
        what = call(server, link.port, driver=driver)
        result = made(what)
        assert link.cuts == len(CUTS)
    assert not result.error, result
    arrived(server, what)


def test_a_killed_process_is_resumed_by_the_next(
    server: RealServer, call: Callable[..., Call]
) -> None:
    with Link(server.port, [Stall(1_500_000)]) as link:
        what = call(server, link.port, form=FORM)
        what = replace(what, options={"form": "file"} if what.protocol == "tus" else {})
        with started(what) as process:
            _wait_for(lambda: link.up >= 1_500_000, process)
            process.kill()
        assert server.kept() == []
        result = again(what)
    assert not result.error, result
    assert "found" in result.events
    assert "restarted" not in result.events
    arrived(server, what)


@pytest.mark.parametrize("driver", ["blocking", "asyncio", "trio"])
def test_optimistic_creation_goes_on_where_a_104_was_seen(
    peregrine: RealServer, driver: str, call: Callable[..., Call]
) -> None:
    # Slow enough for the 104 to be here first; and a polite end, so that the
    # server reads all that was sent before it.
    faults = (Throttle(5_000_000, "up"), Cut(1 << 20, how="fin"))
    with Link(peregrine.port, [faults]) as link:
        what = call(
            peregrine,
            link.port,
            form=FORM,
            options={"creation": "optimistic"},
            driver=driver,
        )
        result = made(what)
        total = link.up
    assert not result.error, result
    assert "restarted" not in result.events
    assert total < SIZE + 200_000
    arrived(peregrine, what)


def test_a_killed_optimistic_creation_goes_on_in_the_next_process(
    peregrine: RealServer, call: Callable[..., Call]
) -> None:
    # Slow enough for the 104 to be here long before the end.
    with Link(peregrine.port, [Throttle(5_000_000, "up")]) as link:
        what = call(peregrine, link.port, options={"creation": "optimistic"})
        with started(what) as process:
            _wait_for(lambda: link.up >= 1_500_000, process)
            process.kill()
        result = again(what)
        total = link.up
    assert not result.error, result
    assert total < SIZE + 300_000
    arrived(peregrine, what)


def test_the_lost_answer_to_an_optimistic_creation_is_replayed(
    peregrine: RealServer, call: Callable[..., Call]
) -> None:
    with Link(peregrine.port, [DropAnswer()]) as link:
        what = call(peregrine, link.port, options={"creation": "optimistic"})
        result = made(what)
        assert link.cuts == 1
    assert result.status == 201
    assert _sha256(Path(what.file)) in result.content
    arrived(peregrine, what)


def test_a_lost_final_answer_is_made_up_for(
    server: RealServer, call: Callable[..., Call], tmp_path: Path
) -> None:
    # A first upload measures what all of one conversation takes.
    with Link(server.port) as link:
        rehearsal = replace(call(server, link.port), store=str(tmp_path / "other"))
        assert not made(rehearsal).error
        [conversation] = link.connections
    server.mark()
    # The answer lacks its last byte; progress reports make its place uncertain,
    # so there the link ends politely as soon as everything has left.
    lost = Cut(conversation.down - 1, "down")
    if server.name == "peregrine":
        lost = Cut(conversation.up, how="fin")
    with Link(server.port, [lost]) as link:
        what = call(server, link.port)
        result = made(what)
    assert not result.error, result
    assert "interrupted" in result.events
    assert "resumed" not in result.events  # there was nothing left to send
    arrived(server, what)


@pytest.mark.parametrize("client", ["httpx", "httpx2"])
@pytest.mark.parametrize("driver", ["blocking", "asyncio", "trio"])
@pytest.mark.parametrize("name", ["peregrine", "tus_node"])
def test_a_client_of_the_callers_own_serves_too(
    name: str,
    driver: str,
    client: str,
    request: pytest.FixtureRequest,
    call: Callable[..., Call],
) -> None:
    server: RealServer = request.getfixturevalue(name)
    with Link(server.port, [Cut(1_000_000)]) as link:
        what = call(server, link.port, driver=driver, client=client)
        result = made(what)
        assert link.cuts == 1
    assert not result.error, result
    arrived(server, what)


def test_auto_finds_the_protocol_of_each_server(
    server: RealServer, call: Callable[..., Call]
) -> None:
    what = call(server, protocol="auto")
    result = made(what)
    assert (result.protocol, result.verified) == (protocol_of(server), "length")
    arrived(server, what)


def test_auto_sends_a_form_to_peregrine_resumably(
    peregrine: RealServer, call: Callable[..., Call]
) -> None:
    what = call(peregrine, protocol="auto", form=FORM)
    result = made(what)
    assert result.protocol == "rufh"
    arrived(peregrine, what)


def test_auto_never_stores_a_forms_wrapping_on_a_tus_server(
    tus_node: RealServer, call: Callable[..., Call]
) -> None:
    result = made(call(tus_node, protocol="auto", form=FORM))
    assert (result.error, result.status) == ("UploadRejected", 412)
    assert "not_resumable" in result.events
    assert tus_node.kept() == []


def test_a_plain_form_reaches_a_server_without_resumption(
    peregrine: RealServer, call: Callable[..., Call]
) -> None:
    what = call(peregrine, protocol="oneshot", form=FORM)
    result = made(what)
    assert (result.status, result.verified) == (201, "none")
    arrived(peregrine, what)


def test_the_answer_of_the_target_resource_is_final_if_it_refuses(
    peregrine: RealServer, call: Callable[..., Call]
) -> None:
    what = call(peregrine)
    result = made(replace(what, target=peregrine.url("/picky")))
    assert (result.error, result.status) == ("UploadRejected", 422)
    assert result.content == "not a film"


def test_limits_of_the_server_are_kept(
    peregrine: RealServer, call: Callable[..., Call]
) -> None:
    what = replace(call(peregrine), target=peregrine.url("/small"))
    assert made(what).status == 201
    arrived(peregrine, what)


def test_limits_are_learned_from_a_refusal_too(
    peregrine: RealServer, call: Callable[..., Call]
) -> None:
    what = call(peregrine, options={"creation": "optimistic"})
    what = replace(what, target=peregrine.url("/small"))
    assert made(what).status == 201
    arrived(peregrine, what)


def test_creation_with_upload_saves_a_round_trip(
    tus_node: RealServer, call: Callable[..., Call]
) -> None:
    what = call(tus_node, options={"with_upload": True})
    assert made(what).status == 201
    arrived(tus_node, what)


def test_metadata_reaches_a_tus_server(
    tus_node: RealServer, call: Callable[..., Call]
) -> None:
    what = call(tus_node, form=FORM, options={"form": "file"})
    assert not made(what).error
    [kept] = tus_node.kept()
    assert kept.metadata["title"] == FORM["title"]
    assert kept.metadata["filename"] == "film.bin"


def test_a_checksum_counts_as_proof(
    resumable_upload: RealServer, call: Callable[..., Call]
) -> None:
    what = call(resumable_upload, options={"checksum": "sha1"}, chunk_size=1 << 20)
    assert made(what).verified == "digest"
    arrived(resumable_upload, what)


def test_a_checksum_that_the_server_does_not_offer_is_refused(
    tus_node: RealServer, call: Callable[..., Call]
) -> None:
    result = made(call(tus_node, options={"checksum": "sha1"}))
    assert result.error == "NotResumable"
    assert tus_node.kept() == []


def test_a_cancelled_upload_leaves_the_server(
    server: RealServer, film: Path, tmp_path: Path
) -> None:
    protocol: UploadProtocol = RUFH() if server.name == "peregrine" else Tus()
    impatient = RetryPolicy(stop=tenacity.stop_after_attempt(1))
    before = server.unfinished()
    with Link(server.port, [Cut(1_500_000, how="fin")]) as link:
        upload = ResumableUpload(
            server.url(port=link.port),
            content=film,
            protocol=protocol,
            store=tmp_path / "state",
            retry=impatient,
        )
        with pytest.raises(TransportError):
            upload.send()
        # What the server keeps shows up late; that there is something does not.
        assert upload.state is not None
        assert upload.state.resource is not None
        upload.cancel()
    assert server.unfinished() == before
    assert server.kept() == []


@pytest.fixture
def expiring(tmp_path: Path) -> Iterator[RealServer]:
    with launch.resumable_upload(tmp_path / "expiring", EXPIRY="3600") as server:
        yield server


def test_the_servers_expiry_is_kept(
    expiring: RealServer, film: Path, tmp_path: Path
) -> None:
    impatient = RetryPolicy(stop=tenacity.stop_after_attempt(1))
    with Link(expiring.port, [Cut(1_500_000, how="fin")]) as link:
        upload = ResumableUpload(
            expiring.url(port=link.port),
            content=film,
            protocol=Tus(),
            store=tmp_path / "state",
            retry=impatient,
        )
        with pytest.raises(TransportError):
            upload.send()
        upload.send()
    assert upload.state is not None
    assert upload.state.expires == pytest.approx(time.time() + 3600, abs=60)
    assert [kept.sha256 for kept in expiring.kept()] == [_sha256(film)]


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + launch.PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError("the client ended too early")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _content_type(content: bytes) -> str:
    """Return the type of a form that a tus server has no type for."""
    boundary = content.partition(b"\r\n")[0].removeprefix(b"--").decode()
    return f'multipart/form-data; boundary="{boundary}"'
