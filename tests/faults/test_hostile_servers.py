"""What a hostile server wants: secrets, memory, and to be believed.

Each test is one thing that it tries, named after what a user would see.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from poster_resume import (
    RUFH,
    NotResumable,
    OutcomeUnknown,
    ProtocolError,
    RedirectRefused,
    ServerBusy,
    Timeouts,
    TransportError,
    Tus,
    uploads,
)
from poster_resume.testing import Receiver
from tests.poster_resume.transport.peers import client_context, server_context

from .hostile import Asked, Hostile, Said, Then, answer
from .judging import (
    CREDENTIALS,
    SECRET,
    WAYS,
    Verdict,
    Way,
    sent,
    speaking,
    target_of,
)
from .lies import ENDLESS, Lie, bomb, endless, saying

pytestmark = pytest.mark.fault("a hostile server's tricks")

each_way = pytest.mark.parametrize("way", WAYS, ids=["-".join(way) for way in WAYS])
resumable = pytest.mark.parametrize("protocol", ["rufh", "tus"])
every = pytest.mark.parametrize("protocol", ["rufh", "tus", "oneshot"])


def lied_to(
    script: Callable[[Asked], Any],
    named: str,
    way: Way,
    **options: Any,
) -> Verdict:
    """Send to a server that follows *script*, keeping no state."""
    with Hostile(script) as liar:
        target = target_of(liar.origin, named)
        return sent(
            target, way, **{"protocol": speaking(named), "store": None, **options}
        )


# Credentials


@each_way
@every
def test_no_credential_follows_a_redirect_to_another_origin(
    protocol: str, way: Way
) -> None:
    with Receiver() as receiver, Hostile(lambda a: [a.truth()], receiver) as other:

        def elsewhere(asked: Asked) -> list[Said]:
            return [answer(307, f"Location: {target_of(other.origin, protocol)}")]

        verdict = lied_to(elsewhere, protocol, way)
        assert verdict.outcome is not None
        assert len(receiver.deliveries) == 1
        _knows_no_secret(other)


@each_way
@resumable
def test_no_credential_goes_to_an_upload_resource_on_another_origin(
    protocol: str, way: Way
) -> None:
    with Receiver() as receiver, Hostile(lambda a: [a.truth()], receiver) as other:

        def elsewhere(asked: Asked) -> Iterator[Said]:
            created = other_created(other, asked)
            yield answer(201, f"Location: {created}", "Tus-Resumable: 1.0.0")

        verdict = lied_to(elsewhere, protocol, way, auth=("user", SECRET))
        assert verdict.outcome is not None
        assert len(receiver.deliveries) == 1
        told = [asked for asked in other.asked if asked.method != "POST"]
        assert told
        _knows_no_secret(other)


def other_created(other: Hostile, asked: Asked) -> str:
    """Create the upload at *other*, as a front end does for its storage."""
    path = "rufh" if "upload-complete" in asked.headers else "tus"
    kept = ("upload-", "tus-", "content-type")
    headers = {k: v for k, v in asked.headers.items() if k.startswith(kept)}
    made = httpx.post(f"{other.origin}/{path}", headers=headers, trust_env=False)
    return f"{other.origin}{made.headers['location']}"


def _knows_no_secret(other: Hostile) -> None:
    # Its own target may be secret; what it is sent to use it may not.
    for asked in other.asked:
        fields = {k: v for k, v in asked.headers.items() if k != "host"}
        assert SECRET not in str(fields)
        for name in ("authorization", "cookie", "x-api-key", "proxy-authorization"):
            assert name not in fields


@each_way
def test_cookies_of_the_client_stay_with_their_origin(way: Way) -> None:
    with Receiver() as receiver, Hostile(lambda a: [a.truth()], receiver) as other:

        def elsewhere(asked: Asked) -> list[Said]:
            location = target_of(other.origin, "oneshot")
            return [
                answer(
                    307, f"Location: {location}", f"Set-Cookie: sid={SECRET}; Path=/"
                )
            ]

        verdict = lied_to(elsewhere, "oneshot", way, headers={})
        assert verdict.outcome is not None
        _knows_no_secret(other)


@each_way
@resumable
def test_an_upload_never_goes_on_without_tls(protocol: str, way: Way) -> None:
    with Hostile(saying(answer(500))) as plain:

        def down(asked: Asked) -> list[Said]:
            return [answer(201, f"Location: {plain.origin}/up", "Upload-Offset: 0")]

        with Hostile(down, tls=server_context()) as liar:
            verdict = sent(
                target_of(liar.origin, protocol),
                way,
                protocol=speaking(protocol),
                store=None,
                trust=client_context(),
            )
        assert isinstance(verdict.error, RedirectRefused)
        assert plain.asked == []


@each_way
@every
def test_a_redirect_that_gives_up_tls_is_refused(protocol: str, way: Way) -> None:
    with (
        Hostile(saying(answer(500))) as plain,
        Hostile(
            lambda _: [answer(308, f"Location: {plain.origin}/")], tls=server_context()
        ) as liar,
    ):
        verdict = sent(
            target_of(liar.origin, protocol),
            way,
            protocol=speaking(protocol),
            store=None,
            trust=client_context(),
        )
        assert isinstance(verdict.error, RedirectRefused)
        assert plain.asked == []


@each_way
def test_an_http_location_on_the_same_host_is_asked_by_https(way: Way) -> None:
    with Receiver() as receiver:

        def careless(asked: Asked) -> list[Said]:
            # What servers behind a TLS proxy write: their own scheme.
            truth = asked.truth()
            host = asked.headers["host"].encode()
            return [truth.replace(b": /uploads", b": http://%b/uploads" % host)]

        with Hostile(careless, receiver, tls=server_context()) as proxied:
            verdict = sent(
                target_of(proxied.origin, "tus"),
                way,
                protocol=Tus(),
                store=None,
                trust=client_context(),
            )
        assert verdict.outcome is not None
        assert len(receiver.deliveries) == 1


@each_way
def test_a_server_without_a_trusted_certificate_gets_not_a_byte(way: Way) -> None:
    with Hostile(saying(answer(201)), tls=server_context()) as stranger:
        verdict = sent(
            target_of(stranger.origin, "oneshot"),
            way,
            protocol="oneshot",
            store=None,
        )
        assert isinstance(verdict.error, TransportError)
        assert "certificate" in str(verdict.error)
        assert stranger.asked == []


def test_credentials_in_the_target_are_sent_and_never_shown(tmp_path: Path) -> None:
    with Hostile(saying(answer(503))) as busy:
        with_user = busy.origin.replace("://", f"://user:{SECRET}@")
        verdict = sent(
            f"{with_user}/form",
            ("blocking", "ours"),
            protocol="oneshot",
            store=tmp_path,
            headers={},
        )
        assert isinstance(verdict.error, ServerBusy)
        assert all("authorization" in asked.headers for asked in busy.asked)
    assert SECRET not in verdict.shown
    (kept,) = uploads(tmp_path)
    assert "@" not in kept.target
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes()


# Answers


@each_way
@every
def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_one(
    protocol: str, way: Way
) -> None:
    if way[1] == "httpx":
        pytest.skip("httpx itself keeps such a connection")
    forged = answer(201, "Location: /forged", "Upload-Complete: ?1", "X-Forged: yes")

    def smuggled(asked: Asked) -> list[Said]:
        return [answer(503, "Retry-After: 0") + forged, Then.STAY]

    verdict = lied_to(smuggled, protocol, way)
    assert isinstance(verdict.error, ServerBusy)


@each_way
def test_a_plain_server_that_answers_success_early_has_not_got_it_all(
    way: Way, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    early = answer(200, "Connection: close")
    with Hostile(lambda _: [early, 1.0], early=True) as liar:
        verdict = sent(
            f"{liar.origin}/form",
            way,
            content=large,
            protocol="oneshot",
            store=tmp_path / "state",
        )
    # Where the client is not ours, the break may hide the answer.
    assert isinstance(verdict.error, ProtocolError | TransportError)
    assert not isinstance(verdict.error, OutcomeUnknown)
    if way[1] == "ours":
        assert "calls the upload complete" in str(verdict.error)


@each_way
def test_an_upload_that_broke_midway_is_not_complete_because_the_server_says_so(
    way: Way, tmp_path: Path
) -> None:
    with Receiver() as receiver:

        def finished(asked: Asked) -> Iterator[Said]:
            if asked.method == "HEAD":
                yield answer(204, "Upload-Offset: 1000", "Upload-Complete: ?1")
            elif asked.method == "PATCH":
                yield Then.RESET
            else:
                yield asked.truth()

        with Hostile(finished, receiver) as liar:
            verdict = sent(
                target_of(liar.origin, "rufh"),
                way,
                chunk_size=1000,
                protocol=RUFH(),
                store=tmp_path,
            )
    # A foreign client may lose the answer that would have told, with the reset.
    assert isinstance(verdict.error, ProtocolError | TransportError)
    if isinstance(verdict.error, ProtocolError):
        assert "cancel this upload" in str(verdict.error)


@each_way
def test_what_a_server_says_cannot_drive_a_terminal(way: Way) -> None:
    for lie in (
        answer(412, "Tus-Version: \x1b]0;gone\x07, \x1b[31m9.9"),
        answer(204, "Tus-Checksum-Algorithm: \x1b[2J, " + "x" * 5000),
        answer(200, "Upload-Offset: \x1b[2J"),
    ):
        for protocol in (Tus(), Tus(checksum="sha256")):
            verdict = lied_to(saying(lie), "tus", way, protocol=protocol)
            assert isinstance(verdict.error, NotResumable | ProtocolError)
            assert "\x1b" not in str(verdict.error)
            assert len(str(verdict.error)) < 300


@each_way
def test_neither_an_outcome_nor_an_upload_shows_where_it_went(way: Way) -> None:
    content = SECRET.encode() * 1000
    taken = answer(201, f"X-Where: {SECRET}", content=content)
    verdict = lied_to(saying(taken), "oneshot", way)
    assert verdict.outcome is not None
    assert verdict.outcome.response.content == content
    assert SECRET not in repr(verdict.outcome)
    assert len(repr(verdict.outcome)) < 500


@each_way
def test_a_wait_of_years_is_an_error_that_says_so(way: Way) -> None:
    verdict = lied_to(
        saying(answer(503, "Retry-After: 99999999999999999999")), "tus", way
    )
    assert isinstance(verdict.error, ServerBusy)
    assert "come back in" in str(verdict.error)
    assert verdict.error.resumable


@each_way
def test_json_nested_without_end_is_no_problem(way: Way) -> None:
    deep = answer(409, "Content-Type: application/problem+json", content=b"[" * 60000)

    def script(asked: Asked) -> list[Said]:
        return [answer(201, "Location: /up") if asked.method == "POST" else deep]

    verdict = lied_to(script, "rufh", way)
    assert verdict.error is not None


# Memory


#: Lies that would fill memory.
FILLING: dict[str, Lie] = {
    **ENDLESS,
    "a gzip bomb": saying(answer(500, "Content-Encoding: gzip", content=bomb())),
    "a gzip bomb in a success": saying(
        answer(200, "Content-Encoding: gzip", content=bomb())
    ),
    "a gzip bomb in a challenge": saying(
        answer(
            401,
            'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"',
            "Content-Encoding: gzip",
            content=bomb(),
        )
    ),
    "a bomb of two layers": saying(
        answer(500, "Content-Encoding: gzip, gzip", content=bomb(2))
    ),
    "a deflate bomb": saying(
        answer(400, "Content-Encoding: deflate", content=zlib.compress(bytes(1 << 28)))
    ),
    "brotli": saying(answer(400, "Content-Encoding: br", content=bytes(1 << 20))),
    "gzip with a gigabyte behind its end": endless(
        b"HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x"),
        again=bytes(65536),
    ),
    "a gigabyte, as announced": saying(
        b"HTTP/1.1 500 x\r\nContent-Length: 1073741824\r\n\r\n",
        *[bytes(1 << 20)] * 1024,
    ),
}


#: MiB by which a client may grow while it is told all of these lies: the 16 MiB
#: of a success that are read at most, a copy, and what allocators keep.
GROWTH = 64


@each_way
def test_no_answer_fills_the_memory(way: Way) -> None:
    names = [
        name
        for name in FILLING
        # httpx itself waits there, in no more memory: for ever, or for long.
        if way[1] == "ours" or not name.startswith(("interim", "104"))
    ]

    def script(asked: Asked) -> Any:
        index = int(asked.path.rpartition("/")[2])
        return FILLING[names[index]](asked)

    with Hostile(script) as liar:
        told = [sys.executable, "-m", "tests.faults.growing", liar.origin]
        done = subprocess.run(
            [*told, json.dumps(way), str(len(names))],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            timeout=100,
            check=True,
        )
    before, after, ends = json.loads(done.stdout.splitlines()[-1])
    assert len(ends) == len(names)
    assert (after - before) / 1024 < GROWTH, dict(zip(names, ends, strict=True))


# Headers of ours


@pytest.mark.parametrize("evil", ["a\r\nX: y", "a\nX: y", "a\0b", "\x1b[2J", "é", " a"])
def test_no_parameter_can_add_a_header(evil: str) -> None:
    from poster_resume import InvalidParameter, ResumableUpload

    target = "http://127.0.0.1:9/form"
    for wrong in (
        {"headers": {"X-A": evil}},
        {"headers": {evil: "a"}},
        {"content_type": evil},
        {"method": evil},
    ):
        given: dict[str, Any] = {"content": b"x", "store": None, **wrong}
        with pytest.raises(InvalidParameter, match=next(iter(wrong))):
            ResumableUpload(target, **given)


def test_metadata_cannot_add_a_header() -> None:
    with Hostile(saying(answer(500))) as server:
        verdict = sent(
            f"{server.origin}/tus",
            ("blocking", "ours"),
            store=None,
            protocol=Tus(),
            metadata={"name": "a\r\nX-Evil: yes"},
        )
        assert verdict.error is not None
        assert "x-evil" not in server.told().lower()
        refused = sent(
            f"{server.origin}/tus",
            ("blocking", "ours"),
            store=None,
            protocol=Tus(),
            metadata={"a\r\nX-Evil: yes": "name"},
        )
        assert "metadata" in str(refused.error)
        assert "x-evil" not in server.told().lower()


def test_credentials_are_never_stored(tmp_path: Path) -> None:
    with Hostile(saying(answer(503))) as busy:
        sent(
            f"{busy.origin}/form",
            ("blocking", "ours"),
            protocol="oneshot",
            store=tmp_path,
            headers=CREDENTIALS,
            auth=("user", SECRET),
        )
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        # The target's own path and query are kept: they say where to go on.
        kept = file.read_bytes().replace(f"/form/{SECRET}".encode(), b"")
        assert SECRET.encode() not in kept


def test_the_time_of_interim_answers_is_bounded() -> None:
    patient = Timeouts(connect=2, progress=0.1, answer=0.1, probe=0.1)
    slowly = ENDLESS["interim answers without end"]
    verdict = lied_to(slowly, "rufh", ("blocking", "ours"), timeouts=patient)
    assert isinstance(verdict.error, TransportError)
