"""Kept connections: what is used again, and what is never sent twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import pytest

from poster_resume.errors import TransportError
from poster_resume.flow import Request
from poster_resume.plan import Plan
from poster_resume.ranges import ByteRange
from poster_resume.transport import client, segment_request

from .peers import Peer, serving
from .test_bridge import Heads, fields
from .ways import Way

ways = pytest.mark.parametrize(
    "way", [Way(driver) for driver in ("blocking", "asyncio", "trio")], ids=str
)


def answers_once_then(
    breaks: Callable[[Peer], None], counts: list[int]
) -> Callable[[Peer], None]:
    """Answer one request; when the next one's head is here, break."""

    def script(peer: Peer) -> None:
        counts.append(1)
        peer.content(int(fields(peer.head()).get("content-length", "0")))
        peer.answer(200)
        peer.head()
        counts.append(2)
        breaks(peer)

    return script


@ways
@pytest.mark.parametrize("reset", [False, True])
def test_an_idempotent_request_is_sent_again_when_a_kept_connection_is_dead(
    way: Way, reset: bool
) -> None:
    counts: list[int] = []
    breaks = answers_once_then(Peer.reset if reset else lambda peer: None, counts)
    script = Heads(b"second")
    with way.serving(breaks, script) as server:
        put = Request("PUT", server.url, {}, b"hello")
        first, second = way.send(put, put)
    assert first.status == 200
    assert second.content == b"second"
    assert script.contents == [b"hello"]
    assert counts == [1, 2]


@ways
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_creations_and_appends_are_never_sent_again(way: Way, method: str) -> None:
    """The server may have read them; some take an append at any offset it names."""
    script = Heads(b"second")
    with way.serving(answers_once_then(Peer.reset, []), script) as server:
        request = Request(method, server.url, {"upload-offset": "0"}, b"hello")
        with pytest.raises(TransportError):
            way.send(request, request)
    assert script.heads == []


@ways
def test_once_an_answer_began_nothing_is_sent_again(way: Way) -> None:
    def breaks(peer: Peer) -> None:
        peer.interim(104, "Upload-Offset: 5")

    script = Heads()
    with way.serving(answers_once_then(breaks, []), script) as server:
        put = Request("PUT", server.url, {}, b"hello")
        with pytest.raises(TransportError):
            way.send(put, put)
    assert script.heads == []


def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    closed = threading.Event()

    def closes(peer: Peer) -> None:
        peer.content(int(fields(peer.head())["content-length"]))
        peer.answer(200)
        peer.sock.close()
        closed.set()

    script = Heads()
    with serving(closes, script) as server, client() as ours:
        for _ in range(2):
            request = segment_request(ours, "POST", server.url, b"hello")
            assert ours.send(request).status_code == 200
            assert closed.wait(10)
    assert len(script.heads) == 1


@ways
def test_each_request_begins_afresh(way: Way, large_plan: Plan) -> None:
    """Neither counts nor interim responses leak from one request to the next."""
    moved: list[int] = []
    seen: list[int] = []

    def script(peer: Peer) -> None:
        for status in (103, 104):
            length = int(fields(peer.head())["content-length"])
            peer.interim(status)
            peer.content(length)
            peer.answer(200)

    with way.serving(script) as server:
        requests = [
            Request(
                "POST",
                server.url,
                {},
                ByteRange(0, length),
                on_interim=lambda interim: seen.append(interim.status),
            )
            for length in (100_000, 50_000)
        ]
        answers = way.send(*requests, plan=large_plan, on_progress=moved.append)
    assert [answer.sent for answer in answers] == [100_000, 50_000]
    assert seen == [103, 104]
    assert sum(moved) == 150_000


@pytest.mark.parametrize("said", ["Connection: close", ""])
def test_a_connection_is_kept_as_the_server_says(said: str) -> None:
    connections: list[int] = []

    def script(peer: Peer) -> None:
        connections.append(1)
        Heads(b"", *([said] if said else []))(peer)

    with serving(script) as server, client() as ours:
        for _ in range(3):
            ours.send(segment_request(ours, "POST", server.url, b"x"))
    assert len(connections) == (3 if said else 1)


def test_idle_connections_are_bounded_by_the_limits() -> None:
    ends: list[float] = []
    opened = threading.Barrier(3)

    def script(peer: Peer) -> None:
        peer.content(int(fields(peer.head())["content-length"]))
        opened.wait(10)
        peer.answer(200)
        peer.rest()
        ends.append(time.monotonic())

    limits = httpx.Limits(max_keepalive_connections=1)
    with serving(script) as server, client(limits=limits) as ours:

        def work() -> None:
            ours.send(segment_request(ours, "POST", server.url, b"x"))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until = time.monotonic() + 10
        while len(ends) < 2 and time.monotonic() < until:
            threading.Event().wait(0.005)
        assert len(ends) == 2
    assert len(ends) <= 3


def ending(ends: list[str], name: str) -> Callable[[Peer], None]:
    """Answer once, and note when the client has closed."""

    def script(peer: Peer) -> None:
        peer.content(int(fields(peer.head())["content-length"]))
        peer.answer(200)
        peer.rest()
        ends.append(name)

    return script


def come_to(count: int, ends: list[str]) -> bool:
    until = time.monotonic() + 10
    while len(ends) < count and time.monotonic() < until:
        threading.Event().wait(0.005)
    return len(ends) == count


def test_idle_connections_make_room_for_those_to_other_origins() -> None:
    ends: list[str] = []
    limits = httpx.Limits(max_connections=2)
    with (
        serving(ending(ends, "one")) as one,
        serving(ending(ends, "other")) as other,
        client(limits=limits) as ours,
    ):

        def opened(url: str) -> httpx.Response:
            return ours.send(segment_request(ours, "POST", url, b"x"), stream=True)

        held = [opened(one.url), opened(one.url)]
        for response in held:
            response.read()
        held = [opened(other.url)]
        assert come_to(1, ends)
        held.append(opened(other.url))
        assert come_to(2, ends)
        for response in held:
            response.read()
        assert ends == ["one", "one"]


def test_what_is_read_after_the_client_is_closed_leaves_no_connection() -> None:
    ends: list[str] = []
    with serving(ending(ends, "")) as server:
        with client() as ours:
            request = segment_request(ours, "POST", server.url, b"x")
            response = ours.send(request, stream=True)
        response.read()
        assert come_to(1, ends)


def test_early_answers_do_not_poison_the_next_request(large_plan: Plan) -> None:
    def early(peer: Peer) -> None:
        peer.head()
        peer.answer(413)
        peer.rest()

    script = Heads(b"fine")
    with serving(early, script) as server, client() as ours:
        refused = segment_request(ours, "POST", server.url, large_plan)
        assert ours.send(refused).status_code == 413
        accepted = segment_request(ours, "POST", server.url, large_plan)
        assert ours.send(accepted).text == "fine"
    assert len(script.contents[0]) == large_plan.length
