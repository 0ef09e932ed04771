"""What a bridge settles, whichever client it is given."""

from __future__ import annotations

import gzip
import logging
import socket
import ssl
import threading
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from poster_resume.errors import (
    ConnectError,
    DeadlineExceeded,
    InvalidParameter,
    ProtocolError,
    TransportError,
    TransportRefused,
    UploadPaused,
)
from poster_resume.flow import Abort, Interim, Report, Request, Response, Timeouts
from poster_resume.plan import Plan
from poster_resume.progress import Event
from poster_resume.ranges import ByteRange
from poster_resume.responses import READ_LIMIT
from poster_resume.transport import Bridge, Kernel, Waker, check_auth, shows_interims
from poster_resume.transport.family import HttpClient
from poster_resume.transport.mapping import translated

from .peers import Peer, serving
from .ways import Driver, Way

WAYS = [
    Way("blocking"),
    Way("asyncio"),
    Way("trio"),
    Way("blocking", foreign=True),
    Way("asyncio", foreign=True),
    Way("blocking", family="httpx2"),
    Way("asyncio", family="httpx2", tls=True),
    Way("blocking", family="httpx2", foreign=True),
]
OURS = [way for way in WAYS if not way.foreign]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way}-{way.family}")
ours = pytest.mark.parametrize("way", OURS, ids=lambda way: f"{way}-{way.family}")


def fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


class Heads:
    """Answers every request, and remembers heads and contents."""

    def __init__(self, answer: bytes = b"", *said: str, status: int = 200) -> None:
        self.heads: list[bytes] = []
        self.contents: list[bytes] = []
        self._answer, self._said, self._status = answer, said, status

    def __call__(self, peer: Peer) -> None:
        while True:
            head = peer.head()
            self.heads.append(head)
            length = int(fields(head).get("content-length", "0"))
            self.contents.append(peer.content(length))
            peer.answer(self._status, self._answer, *self._said)


@ways
def test_the_clients_own_settings_hold_and_the_query_stays(way: Way) -> None:
    script = Heads(b"hello", "X-A: 1", "x-a: 2")
    options = {
        "headers": {"X-Client": "1", "User-Agent": "mine"},
        "params": {"replaces": "everything"},
        "cookies": {"session": "c00kie"},
        "base_url": "https://elsewhere.test/",
    }
    configured = Way(way.driver, way.tls, None, way.family, way.foreign, options)
    with way.serving(script) as server:
        request = Request(
            "POST", server.url, {"content-type": "a/b"}, b"content", credentials=True
        )
        (response,) = configured.send(request, headers={"Authorization": "t0ken"})
    line, _, _ = script.heads[0].partition(b"\r\n")
    said = fields(script.heads[0])
    assert line == b"POST /up?sig=s3cret HTTP/1.1"
    assert said["authorization"] == "t0ken"
    assert said["x-client"] == "1"
    assert said["cookie"] == "session=c00kie"
    assert said["content-type"] == "a/b"
    assert said["content-length"] == "7"
    assert script.contents == [b"content"]
    assert (response.status, response.content) == (200, b"hello")
    assert response.headers["x-a"] == "1, 2"
    assert response.sent == 7
    assert response.monotonic == pytest.approx(time.monotonic(), abs=60)
    assert response.wall == pytest.approx(time.time(), abs=60)


@ways
def test_another_origin_sees_no_credentials_and_no_header_of_the_client(
    way: Way,
) -> None:
    script = Heads()
    options = {
        "headers": {"X-Client": "1", "User-Agent": "mine", "Authorization": "t0ken"},
        "cookies": {"session": "c00kie"},
        "auth": ("user", "passw0rd"),
    }
    configured = Way(way.driver, way.tls, None, way.family, way.foreign, options)
    with way.serving(script) as server:
        request = Request("PATCH", server.url, {"upload-offset": "0"}, b"x")
        configured.send(request, headers={"X-User": "1"}, auth=("user", "passw0rd"))
    assert set(fields(script.heads[0])) == {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "upload-offset",
        "content-length",
    }
    assert fields(script.heads[0])["user-agent"] == "mine"


@ways
def test_redirects_are_answers_like_any_other(way: Way) -> None:
    script = Heads(b"", "Location: /elsewhere", status=307)
    configured = Way(
        way.driver, way.tls, None, way.family, way.foreign, {"follow_redirects": True}
    )
    with way.serving(script) as server:
        (response,) = configured.send(Request("POST", server.url, {}, b"x"))
    assert (response.status, response.headers["location"]) == (307, "/elsewhere")


@ways
def test_requests_without_content_say_no_length(way: Way) -> None:
    script = Heads()
    with way.serving(script) as server:
        requests = [Request(each, server.url) for each in ("HEAD", "GET", "POST")]
        way.send(*requests)
    lengths = [fields(head).get("content-length") for head in script.heads]
    assert lengths == [None, None, "0"]


@ways
def test_a_range_of_the_plan_is_sent_and_nothing_else(
    way: Way, large_plan: Plan
) -> None:
    script = Heads()
    wanted = ByteRange(10, 150_000)
    with way.serving(script) as server:
        way.send(Request("PATCH", server.url, {}, wanted), plan=large_plan)
    from poster_resume.body import iter_bytes

    assert script.contents == [b"".join(iter_bytes(large_plan, wanted))]


@ways
def test_at_most_sixteen_mebibytes_of_an_answer_are_kept(way: Way) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.answer(200, bytes(READ_LIMIT + 1))

    with way.serving(script) as server:
        (response,) = way.send(Request("GET", server.url))
    assert response.truncated
    assert len(response.content) == READ_LIMIT


@ways
def test_at_most_64_kibibytes_of_an_errors_content_are_kept(way: Way) -> None:
    script = Heads(bytes(65537), status=500)
    with way.serving(script) as server:
        (response,) = way.send(Request("GET", server.url))
    assert response.truncated
    assert len(response.content) == 65536


@ways
def test_compressed_content_is_decoded_within_limits(way: Way) -> None:
    bomb = gzip.compress(bytes(READ_LIMIT * 2), compresslevel=1)
    for packed, size, truncated in (
        (gzip.compress(b"hello"), 5, False),
        (bomb, READ_LIMIT, True),
        (bomb[: len(bomb) // 8], None, True),
        (b"not gzip", 0, True),
    ):
        script = Heads(packed, "Content-Encoding: gzip")
        with way.serving(script) as server:
            (response,) = way.send(Request("GET", server.url))
        assert response.truncated is truncated
        assert size is None or len(response.content) == size
        assert fields(script.heads[0])["accept-encoding"] == "identity"


@ways
def test_content_in_an_unknown_coding_is_left_out(way: Way) -> None:
    script = Heads(b"xyz", "Content-Encoding: br")
    with way.serving(script) as server:
        (response,) = way.send(Request("GET", server.url))
    assert (response.content, response.truncated) == (b"", True)


@ways
def test_a_final_status_counts_even_if_its_content_breaks_off(way: Way) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 201 x\r\nContent-Length: 100\r\n\r\npart")

    with way.serving(script) as server:
        (response,) = way.send(Request("POST", server.url))
    assert (response.status, response.truncated) == (201, True)


@pytest.mark.parametrize("driver", ["blocking", "asyncio", "trio"])
@pytest.mark.parametrize("whole", [False, True])
def test_content_without_a_length_is_whole_only_if_tls_was_closed(
    driver: Driver, whole: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\nas far as it came")
        assert isinstance(peer.sock, ssl.SSLSocket)
        if whole:
            peer.sock.unwrap()

    way = Way(driver, True)
    with way.serving(script) as server:
        (response,) = way.send(Request("GET", server.url, {}))
    assert response.content == b"as far as it came"
    assert response.truncated is not whole


@ways
def test_a_hook_that_raises_for_the_status_is_answered_with_the_response(
    way: Way,
) -> None:
    async def hook_async(response: Any) -> None:
        await response.aread()
        response.raise_for_status()

    def hook(response: Any) -> None:
        response.read()
        response.raise_for_status()

    script = Heads(b"why", status=404)
    hooks = {"response": [hook if way.driver == "blocking" else hook_async]}
    configured = Way(
        way.driver, way.tls, None, way.family, way.foreign, {"event_hooks": hooks}
    )
    with way.serving(script) as server:
        (response,) = configured.send(Request("GET", server.url))
    assert (response.status, response.content) == (404, b"why")


@ways
def test_digest_auth_sends_the_content_again_with_the_challenge_met(
    way: Way, large_plan: Plan
) -> None:
    got: list[int] = []

    def challenge(peer: Peer) -> None:
        peer.head()
        peer.answer(401, b"", 'WWW-Authenticate: Digest realm="r", nonce="n"')
        if not way.foreign:  # a foreign client sends everything first
            return
        peer.rest()

    def accept(peer: Peer) -> None:
        assert "authorization" in fields(peer.head())
        got.append(len(peer.content(large_plan.length)))
        peer.answer(200)

    from poster_resume.transport.family import family

    auth = family(way.family).lib.DigestAuth("user", "passw0rd")
    if way.foreign:
        pytest.skip("httpx itself notices an early 401 only when it is reset")
    moved: list[int] = []
    content = ByteRange(0, large_plan.length)
    with way.serving(challenge, accept) as server:
        request = Request("POST", server.url, {}, content, credentials=True)
        (response,) = way.send(
            request, plan=large_plan, auth=auth, on_progress=moved.append
        )
    assert response.status == 200
    assert got == [large_plan.length]
    # Bytes that leave twice are reported once.
    assert sum(moved) == large_plan.length


class Signing(httpx.Auth):
    requires_request_body = True

    def auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        yield request


def test_auth_that_signs_the_whole_content_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="auth: Signing"):
        check_auth(Signing())
    with pytest.raises(InvalidParameter, match="auth: Signing"):
        Way(options={"auth": Signing()}).send()
    check_auth(("user", "password"))
    check_auth(None)


def test_a_client_of_no_known_family_is_refused() -> None:
    class Client:
        headers: Any = None

        def build_request(self, method: str, url: str) -> Any:
            return None

        def send(self, request: Any, *, stream: bool = False) -> Any:
            return None

    client: HttpClient = Client()
    with pytest.raises(InvalidParameter, match="neither an httpx nor an httpx2"):
        Bridge(
            client,
            None,
            headers_for=lambda request: {},
            auth=None,
            on_progress=None,
            perform=lambda effect: None,
            waker=None,
        )
    assert not shows_interims(client)


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@ways
def test_no_connection_is_told_apart_from_a_broken_one(way: Way) -> None:
    with pytest.raises(ConnectError, match="refused") as caught:
        way.send(Request("POST", f"http://127.0.0.1:{refused_port()}/", {}, b"x"))
    assert caught.value.sent == 0
    # Nothing chains the client's own error, which knows the whole URL.
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert caught.value.__context__ is None
    with pytest.raises(ConnectError):
        way.send(Request("POST", "http://nowhere.invalid/", {}, b"x"))


@ways
def test_a_certificate_that_is_not_trusted_is_fatal(way: Way) -> None:
    strict = Way(
        way.driver,
        True,
        None,
        way.family,
        way.foreign,
        {"verify": ssl.create_default_context()},
    )
    with (
        strict.serving(Heads()) as server,
        pytest.raises(TransportRefused, match="certificate") as caught,
    ):
        strict.send(Request("POST", server.url, {}, b"x"))
    assert "s3cret" not in repr(caught.value)


@ways
@pytest.mark.parametrize("url", ["ftp://example.org/x", "http://[::1/x"])
def test_a_url_that_cannot_work_is_fatal(way: Way, url: str) -> None:
    with pytest.raises(TransportRefused):
        way.send(Request("POST", url, {}, b"x"))


@ways
def test_a_server_that_closes_without_an_answer_broke_the_connection(way: Way) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.content(5)

    with way.serving(script) as server, pytest.raises(TransportError) as caught:
        way.send(Request("POST", server.url, {}, b"hello"))
    assert type(caught.value) is TransportError
    assert caught.value.sent == 5


@ways
def test_a_silent_server_ends_by_the_answer_or_the_probe_timeout(way: Way) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.hold()

    with way.serving(script) as server:
        for content, timeouts in (
            (b"x", Timeouts(answer=0.2)),
            (b"", Timeouts(probe=0.2)),
        ):
            began = time.monotonic()
            with pytest.raises(TransportError, match="answer"):
                way.send(Request("POST", server.url, {}, content, timeouts=timeouts))
            assert 0.2 <= time.monotonic() - began < 5


@ways
def test_the_deadline_bounds_everything(way: Way, large_plan: Plan) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.hold()

    content = ByteRange(0, large_plan.length)
    with way.serving(script) as server:
        for each in (content, b""):
            began = time.monotonic()
            request = Request("POST", server.url, {}, each, deadline=began + 0.3)
            with pytest.raises(DeadlineExceeded):
                way.send(request, plan=large_plan)
            assert time.monotonic() - began < 5
        late = Request("POST", server.url, {}, content, deadline=time.monotonic() - 1)
        with pytest.raises(DeadlineExceeded):
            way.send(late, plan=large_plan)


@ours
def test_a_pause_ends_the_wait_for_an_answer(way: Way) -> None:
    waker = Waker()
    waker.reset()

    def script(peer: Peer) -> None:
        peer.head()
        waker.wake()
        peer.hold()

    with way.serving(script) as server, pytest.raises(UploadPaused):
        way.send(Request("POST", server.url, {}, b"x"), waker=waker)


@ours
@pytest.mark.parametrize("how", ["pause", "deadline"])
def test_a_final_status_counts_even_if_we_do_not_wait_for_its_content(
    way: Way, how: str
) -> None:
    waker = Waker()
    waker.reset()

    def script(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 201 x\r\nContent-Length: 10\r\n\r\nhello")
        if how == "pause":
            threading.Event().wait(0.2)
            waker.wake()
        peer.hold()

    deadline = time.monotonic() + 0.5 if how == "deadline" else None
    with way.serving(script) as server:
        request = Request("POST", server.url, {}, b"x", deadline=deadline)
        (response,) = way.send(request, waker=waker)
    assert (response.status, response.content) == (201, b"hello")
    assert response.truncated


@ours
def test_what_an_interim_response_aborts_is_cut_and_raised(
    way: Way, large_plan: Plan
) -> None:
    rest: list[int] = []

    def script(peer: Peer) -> None:
        peer.head()
        peer.interim(104, "Upload-Offset: 9")
        rest.append(peer.rest())

    mine = ProtocolError("not this")
    content = ByteRange(0, large_plan.length)
    with way.serving(script) as server:
        request = Request(
            "POST", server.url, {}, content, on_interim=lambda interim: Abort(mine)
        )
        with pytest.raises(ProtocolError) as caught:
            way.send(request, plan=large_plan)
    assert caught.value is mine
    assert rest[0] < large_plan.length


@ours
def test_an_exception_in_what_an_interim_asked_for_passes_unchanged(
    way: Way, large_plan: Plan
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.interim(104)
        peer.rest()

    def perform(effect: object) -> None:
        raise ZeroDivisionError("mine")

    content = ByteRange(0, large_plan.length)
    with way.serving(script) as server:
        request = Request(
            "POST", server.url, {}, content, on_interim=lambda i: Report(Event("found"))
        )
        with pytest.raises(ZeroDivisionError, match="mine"):
            way.send(request, plan=large_plan, perform=perform)


@ours
def test_interim_responses_without_end_are_an_error(way: Way) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        for _ in range(2000):
            peer.interim(102)
        peer.hold()

    seen: list[Interim] = []
    with way.serving(script) as server, pytest.raises(TransportError):
        way.send(Request("POST", server.url, {}, b"x", on_interim=seen.append))
    assert len(seen) <= 1000


@ours
@pytest.mark.parametrize("status", [100, 104])
def test_the_content_waits_for_permission(way: Way, status: int) -> None:
    order: list[str] = []

    def script(peer: Peer) -> None:
        assert fields(peer.head())["expect"] == "100-continue"
        peer.sock.settimeout(0.1)
        try:
            peer.content(1)
            order.append("too early")
        except TimeoutError:
            order.append("waited")
        peer.sock.settimeout(None)
        peer.interim(status)
        order.append(peer.content(5).decode())
        peer.answer(200)

    with way.serving(script) as server:
        request = Request("POST", server.url, {}, b"hello", expect_continue=True)
        (response,) = way.send(request)
    assert response.status == 200
    assert order == ["waited", "hello"]


@ours
def test_the_content_goes_after_a_second_without_100(way: Way) -> None:
    script = Heads()
    with way.serving(script) as server:
        began = time.monotonic()
        request = Request("POST", server.url, {}, b"hello", expect_continue=True)
        way.send(request)
    assert 0.9 < time.monotonic() - began < 5
    assert script.contents == [b"hello"]


@ours
def test_an_early_answer_to_an_expectation_saves_the_content(way: Way) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.answer(413)
        assert peer.rest() == 0

    with way.serving(script) as server:
        request = Request("POST", server.url, {}, b"hello", expect_continue=True)
        (response,) = way.send(request)
    assert (response.status, response.sent) == (413, 0)


@ours
def test_417_is_asked_again_without_the_expectation(way: Way) -> None:
    def refuse(peer: Peer) -> None:
        peer.head()
        peer.answer(417)

    script = Heads()
    with way.serving(refuse, script) as server:
        request = Request("POST", server.url, {}, b"hello", expect_continue=True)
        (response,) = way.send(request)
    assert response.status == 200
    assert "expect" not in fields(script.heads[0])
    assert script.contents == [b"hello"]


@ours
def test_417_is_asked_again_by_an_upload_that_can_be_paused(way: Way) -> None:
    def refuse(peer: Peer) -> None:
        peer.head()
        peer.answer(417)

    script = Heads()
    waker = Waker()
    waker.reset()
    with way.serving(refuse, script) as server:
        request = Request("POST", server.url, {}, b"hello", expect_continue=True)
        (response,) = way.send(request, waker=waker)
    assert response.status == 200
    assert script.contents == [b"hello"]


@ways
@pytest.mark.parametrize("queue", [True, False])
def test_the_withheld_bytes_leave_when_all_others_have(
    way: Way, large_plan: Plan, queue: bool
) -> None:
    """A break before then is known to have left the content incomplete."""
    withhold = 100

    def breaks(peer: Peer) -> None:
        peer.head()
        peer.content(large_plan.length // 2)
        peer.reset()

    def reads(peer: Peer) -> None:
        peer.head()
        got.append(len(peer.content(large_plan.length)))
        peer.answer(200)

    got: list[int] = []
    if not way.foreign:
        way = Way(way.driver, way.tls, Kernel(queue=queue), way.family)
    content = ByteRange(0, large_plan.length)
    with way.serving(breaks, reads) as server:
        request = Request("POST", server.url, {}, content, withhold=withhold)
        with pytest.raises(TransportError) as caught:
            way.send(request, plan=large_plan)
        assert caught.value.sent is not None
        assert caught.value.sent <= large_plan.length - withhold
        (response,) = way.send(request, plan=large_plan)
    assert response.sent == large_plan.length
    assert got == [large_plan.length]


@pytest.mark.parametrize("tls", [False, True])
def test_withheld_bytes_stay_here_while_the_server_reads_nothing(
    tls: bool, large_plan: Plan
) -> None:
    """Even if everything else fits into the buffers of the network."""
    content = ByteRange(large_plan.length - 300_000, large_plan.length)
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.head()
        arrived.wait(1.0)
        peer.reset()

    moved: list[int] = []
    way = Way("blocking", tls)
    with way.serving(script) as server:
        request = Request("POST", server.url, {}, content, withhold=60)
        with pytest.raises(TransportError) as caught:
            way.send(request, plan=large_plan, on_progress=moved.append)
        arrived.set()
    assert caught.value.sent is not None
    assert caught.value.sent <= content.length - 60


@ways
def test_no_log_shows_the_url_of_an_upload(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = Heads(b"", "Location: /up/s3cret")
    with way.serving(script) as server:
        way.send(Request("POST", server.url, {}, b"x"))
        other = Way(way.driver, way.tls, None, way.family, way.foreign)
        assert not any("s3cret" in record.getMessage() for record in caplog.records)
        assert any(server.url[:16] in each.getMessage() for each in caplog.records)
        if other.driver == "blocking":
            # Requests that are none of ours are logged as they were.
            with other.client() as client:
                client.get(server.url)
            assert any("s3cret" in record.getMessage() for record in caplog.records)


def test_one_upload_after_the_other_reuses_the_connection() -> None:
    connections: list[int] = []
    script = Heads()

    def counted(peer: Peer) -> None:
        connections.append(1)
        script(peer)

    with serving(counted) as server:
        requests = [Request("POST", server.url, {}, b"x")] * 5
        answers: list[Response] = Way().send(*requests)
    assert len(answers) == 5
    assert connections == [1]


def test_a_message_says_what_tls_says_or_nothing() -> None:
    for error in (ssl.SSLEOFError(8, "x"), ssl.SSLError(1, "x")):
        found = translated(error, "https://example.test/up?sig=s3cret", 5)
        assert found is not None
        assert "None" not in str(found)
        assert "s3cret" not in str(found)
