"""What a server, a link or a caller may do while content goes out, in every way."""

from __future__ import annotations

import hashlib
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from poster_resume.body import iter_bytes
from poster_resume.errors import (
    SourceChanged,
    TransportError,
    TransportRefused,
    UploadPaused,
)
from poster_resume.flow import Interim, Report, Request, Response, Timeouts
from poster_resume.plan import Plan
from poster_resume.progress import Event
from poster_resume.ranges import ByteRange
from poster_resume.transport import Waker

from .conftest import Figure
from .peers import Peer, serving
from .ways import EVERY_WAY, Driver, Way

ways = pytest.mark.parametrize("way", EVERY_WAY, ids=str)

#: Seconds within which an early answer must be back. The longest timeout is
#: 60 s; a loaded machine gets a generous share.
SOON = 5.0


def upload(url: str, plan: Plan, **given: object) -> Request:
    content = ByteRange(0, plan.length)
    return Request("POST", url, {"content-type": "a/b"}, content, **given)  # type: ignore[arg-type] # passed through


def whole(plan: Plan) -> str:
    digest = hashlib.sha256()
    for block in iter_bytes(plan, ByteRange(0, plan.length)):
        digest.update(block)
    return digest.hexdigest()


class Told:
    """Collects interim responses and asks for a report of each."""

    def __init__(self) -> None:
        self.interims: list[Interim] = []
        self.performed: list[str] = []
        self.any = threading.Event()

    def __call__(self, interim: Interim) -> Report:
        self.interims.append(interim)
        return Report(Event("acknowledged", interim.headers.get("upload-offset", "")))

    def perform(self, effect: object) -> None:
        assert isinstance(effect, Report)
        self.performed.append(effect.event.message)
        self.any.set()


@ways
def test_an_early_104_is_told_before_the_content_is_out(
    way: Way, large_plan: Plan, figure: Figure
) -> None:
    told = Told()
    digests: list[str] = []

    def script(peer: Peer) -> None:
        peer.head()
        peer.interim(
            104, "Location: /uploads/1", "Upload-Limit: a=1", "upload-limit: b"
        )
        # Nothing is read before the client has acted on it: an upload
        # resource that was only noticed at the end would end in a timeout.
        began = time.monotonic()
        assert told.any.wait(SOON)
        figure("from the 104 to its performance", time.monotonic() - began)
        content = peer.content(large_plan.length)
        digests.append(hashlib.sha256(content).hexdigest())
        peer.answer(201, b"done", "Upload-Complete: ?1")

    with way.serving(script) as server:
        request = upload(server.url, large_plan, on_interim=told)
        (response,) = way.send(request, plan=large_plan, perform=told.perform)
    (interim,) = told.interims
    assert interim.status == 104
    assert interim.headers == {"location": "/uploads/1", "upload-limit": "a=1, b"}
    assert interim.wall == pytest.approx(time.time(), abs=60)
    assert (response.status, response.content) == (201, b"done")
    assert response.headers["upload-complete"] == "?1"
    assert response.sent == large_plan.length
    assert digests == [whole(large_plan)]


@ways
def test_progress_104s_are_told_in_order_while_content_goes_out(
    way: Way, large_plan: Plan
) -> None:
    told = Told()
    step = large_plan.length // 4

    def script(peer: Peer) -> None:
        peer.head()
        for offset in range(step, 3 * step + 1, step):
            peer.content(step)
            peer.interim(104, f"Upload-Offset: {offset}")
        peer.content(large_plan.length - 3 * step)
        peer.answer(200)

    moved: list[int] = []
    with way.serving(script) as server:
        request = upload(server.url, large_plan, on_interim=told)
        way.send(
            request, plan=large_plan, perform=told.perform, on_progress=moved.append
        )
    assert told.performed == [str(step), str(2 * step), str(3 * step)]
    assert sum(moved) == large_plan.length


def stop_reading(peer: Peer) -> None:
    peer.head()
    peer.content(1 << 20)
    peer.stamp()
    peer.answer(413, b"too large")
    peer.hold()


def drain(peer: Peer) -> None:
    peer.head()
    peer.content(1 << 20)
    peer.stamp()
    peer.answer(413, b"too large")
    peer.rest()


def close(peer: Peer) -> None:
    peer.head()
    peer.content(1 << 20)
    peer.stamp()
    peer.answer(413, b"too large", "Connection: close")


def reset(peer: Peer) -> None:
    peer.head()
    peer.content(1 << 20)
    peer.stamp()
    peer.answer(413, b"too large", "Connection: close")
    peer.reset()


@ways
@pytest.mark.parametrize("server_then", [stop_reading, drain, close, reset])
def test_an_early_413_ends_the_sending_whatever_the_server_does_then(
    way: Way, large_plan: Plan, server_then: Callable[[Peer], None], figure: Figure
) -> None:
    with way.serving(server_then) as server:
        (response,) = way.send(upload(server.url, large_plan), plan=large_plan)
        seconds = time.monotonic() - server.stamps[0]
    figure("from the 413 to its return", seconds)
    assert seconds < SOON
    assert (response.status, response.content) == (413, b"too large")
    assert response.sent is not None
    assert response.sent < large_plan.length


@pytest.mark.parametrize("status", [401, 403, 411, 413, 417, 429, 500, 503, 507])
def test_every_early_error_status_ends_the_sending(
    status: int, large_plan: Plan
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.answer(status)
        peer.hold()

    with Way().serving(script) as server:
        (response,) = Way().send(upload(server.url, large_plan), plan=large_plan)
    assert response.status == status
    assert response.sent is not None
    assert response.sent < large_plan.length


@ways
def test_after_an_early_401_the_next_request_brings_everything(
    way: Way, large_plan: Plan
) -> None:
    heads: list[bytes] = []
    digests: list[str] = []

    def refuse(peer: Peer) -> None:
        heads.append(peer.head())
        peer.answer(401, b"", "WWW-Authenticate: Bearer")
        peer.rest()

    def accept(peer: Peer) -> None:
        heads.append(peer.head())
        content = peer.content(large_plan.length)
        digests.append(hashlib.sha256(content).hexdigest())
        peer.answer(200)

    with way.serving(refuse, accept) as server:
        request = upload(server.url, large_plan, credentials=True)
        answers = way.send(
            request, request, plan=large_plan, headers={"Authorization": "Bearer t"}
        )
    assert [answer.status for answer in answers] == [401, 200]
    assert all(b"authorization: bearer t" in head.lower() for head in heads)
    assert digests == [whole(large_plan)]


@ways
def test_a_stall_ends_by_the_progress_timeout(way: Way, large_plan: Plan) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.content(1 << 20)
        peer.hold()

    timeouts = Timeouts(progress=0.3, answer=30)
    with way.serving(script) as server:
        request = upload(server.url, large_plan, timeouts=timeouts)
        began = time.monotonic()
        with pytest.raises(TransportError, match=r"takes no more|in time") as caught:
            way.send(request, plan=large_plan)
    assert 0.3 <= time.monotonic() - began < SOON
    assert caught.value.sent is not None
    assert caught.value.sent < large_plan.length


def test_interims_keep_a_stalled_request_alive_in_the_kernel_too(
    large_plan: Plan,
) -> None:
    progress = 0.3

    def script(peer: Peer) -> None:
        peer.head()
        # Longer than the kernel waits by itself, which is a second more.
        for _ in range(17):
            peer.interim(104, "Upload-Offset: 0")
            threading.Event().wait(0.1)
        peer.content(large_plan.length)
        peer.answer(200)

    way = Way()
    with way.serving(script) as server:
        request = upload(server.url, large_plan, timeouts=Timeouts(progress=progress))
        (response,) = way.send(request, plan=large_plan)
    assert response.status == 200


@pytest.mark.parametrize("driver", ["blocking", "asyncio", "trio"])
def test_a_server_that_wants_a_certificate_is_not_asked_again(
    driver: Driver, large_plan: Plan
) -> None:
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("elsewhere").configure_cert(demanding)
    demanding.verify_mode = ssl.CERT_REQUIRED
    lenient = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lenient.check_hostname, lenient.verify_mode = False, ssl.CERT_NONE
    way = Way(driver, True, options={"verify": lenient})
    # With TLS 1.3 the client hears of it when it has long begun to send.
    with (
        serving(Peer.hold, tls=demanding) as server,
        pytest.raises(TransportRefused, match="certificate"),
    ):
        way.send(upload(server.url, large_plan), plan=large_plan)


@ways
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_cut_says_how_much_had_left(
    way: Way, large_plan: Plan, how: str, figure: Figure
) -> None:
    got: list[int] = []

    def script(peer: Peer) -> None:
        peer.head()
        got.append(len(peer.content(4 << 20)))
        peer.stamp()
        if how == "rst":
            peer.reset()

    with way.serving(script) as server:
        with pytest.raises(TransportError) as caught:
            way.send(upload(server.url, large_plan), plan=large_plan)
        figure("from the cut to its error", time.monotonic() - server.stamps[0])
    assert caught.value.sent is not None
    assert got[0] <= caught.value.sent < large_plan.length
    shown = f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
    assert "s3cret" not in shown
    assert "/up" not in shown


@ways
def test_a_truncated_file_is_an_error_and_nothing_is_padded(
    way: Way, large_file: Path, large_plan: Plan
) -> None:
    got: list[int] = []
    shorter = large_file.stat().st_size // 2

    def script(peer: Peer) -> None:
        peer.head()
        got.append(len(peer.content(1 << 20)))
        os.truncate(large_file, shorter)
        got.append(peer.rest())

    with (
        way.serving(script) as server,
        pytest.raises(SourceChanged, match=r"large\.bin") as caught,
    ):
        way.send(upload(server.url, large_plan), plan=large_plan)
    assert sum(got) < large_plan.length
    assert caught.value.sent is not None
    assert caught.value.sent < large_plan.length


@ways
def test_a_pause_leaves_the_content_incomplete(
    way: Way, large_plan: Plan, figure: Figure
) -> None:
    waker = Waker()
    waker.reset()
    got: list[int] = []

    def script(peer: Peer) -> None:
        peer.head()
        peer.content(1 << 20)
        peer.stamp()
        waker.wake()
        got.append(peer.rest())

    with way.serving(script) as server:
        with pytest.raises(UploadPaused):
            way.send(upload(server.url, large_plan), plan=large_plan, waker=waker)
        seconds = time.monotonic() - server.stamps[0]
        figure("from the pause to its return", seconds)
        assert seconds < SOON
    assert got[0] + (1 << 20) < large_plan.length


@ways
def test_an_interrupt_from_the_keyboard_comes_out_as_it_is(
    way: Way, large_plan: Plan
) -> None:
    got: list[int] = []

    def script(peer: Peer) -> None:
        peer.head()
        peer.content(1 << 20)
        signal.raise_signal(signal.SIGINT)
        got.append(peer.rest())

    with way.serving(script) as server, pytest.raises(KeyboardInterrupt):
        way.send(upload(server.url, large_plan), plan=large_plan)
    assert got[0] + (1 << 20) < large_plan.length


@pytest.mark.parametrize("driver", ["asyncio", "trio"])
@pytest.mark.parametrize("tls", [False, True])
def test_a_cancelled_task_closes_its_connection(
    driver: str, tls: bool, large_plan: Plan
) -> None:
    got: list[int] = []
    cancelled = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.content(1 << 20)
        assert cancelled.wait(30)
        got.append(peer.rest())

    way = Way(driver, tls)  # type: ignore[arg-type] # one of them
    with way.serving(script) as server:
        answers: list[Response] = way.send(
            upload(server.url, large_plan), plan=large_plan, cancel_after=0.2
        )
        cancelled.set()
    assert answers == []
    assert got[0] < large_plan.length
