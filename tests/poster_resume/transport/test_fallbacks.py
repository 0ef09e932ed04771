"""Every short cut of the kernel has a way round it, on any machine."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import hashlib
import io
import mmap
import resource
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from poster_resume.body import iter_bytes
from poster_resume.errors import SourceChanged, SourceError
from poster_resume.flow import Request
from poster_resume.plan import Plan, plan_form
from poster_resume.ranges import ByteRange
from poster_resume.transport import Kernel, Waker, async_client, segment_request
from poster_resume.transport.connection import Connection
from poster_resume.transport.kernel import tune
from poster_resume.transport.stream import Segments, SourceRange

from .peers import AUTHORITY, Peer, client_context
from .test_bridge import Heads
from .test_matrix import SOON, stop_reading, upload
from .ways import EVERY_WAY, Driver, Way

LACKING = {
    "sendfile": Kernel(sendfile=False),
    "preadv": Kernel(sendfile=False, preadv=False, nowait=False),
    "nowait": Kernel(nowait=False),
    "poll": Kernel(poll=False),
    "queue": Kernel(queue=False),
    "everything": Kernel(False, False, False, False, False),
}


def digest(plan: Plan) -> str:
    blocks = iter_bytes(plan, ByteRange(0, plan.length))
    return hashlib.sha256(b"".join(blocks)).hexdigest()


@pytest.mark.parametrize("without", LACKING)
@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_the_content_is_the_same_without(
    way: Way, without: str, large_plan: Plan
) -> None:
    if way.tls and without in ("sendfile", "queue"):
        pytest.skip("the same code runs with it")
    digests: list[str] = []

    def script(peer: Peer) -> None:
        peer.head()
        digests.append(hashlib.sha256(peer.content(large_plan.length)).hexdigest())
        peer.answer(200)

    lacking = Way(way.driver, way.tls, LACKING[without])
    with lacking.serving(script) as server:
        (response,) = lacking.send(upload(server.url, large_plan), plan=large_plan)
    assert response.sent == large_plan.length
    assert digests == [digest(large_plan)]


@pytest.mark.parametrize("without", LACKING)
@pytest.mark.parametrize("driver", ["blocking", "asyncio"])
def test_an_early_answer_is_noticed_without(
    driver: str, without: str, large_plan: Plan
) -> None:
    way = Way(driver, False, LACKING[without])  # type: ignore[arg-type] # one of them
    with way.serving(stop_reading) as server:
        began = time.monotonic()
        (response,) = way.send(upload(server.url, large_plan), plan=large_plan)
    assert time.monotonic() - began < SOON
    assert response.status == 413


def test_an_early_answer_is_noticed_on_trio_without_epoll(
    large_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poster_resume.transport.asynchronous.HAS_EPOLL", False)
    way = Way("trio")
    with way.serving(stop_reading) as server:
        began = time.monotonic()
        (response,) = way.send(upload(server.url, large_plan), plan=large_plan)
    assert time.monotonic() - began < SOON
    assert response.status == 413


def test_a_file_that_ends_early_is_noticed_without_sendfile(
    large_file: Path, large_plan: Plan
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.content(1 << 20)
        with large_file.open("r+b") as file:
            file.truncate(2 << 20)
        peer.rest()

    for without in ("sendfile", "preadv"):
        way = Way(kernel=LACKING[without])
        with way.serving(script) as server, pytest.raises(SourceChanged):
            way.send(upload(server.url, large_plan), plan=large_plan)


def test_descriptors_beyond_1023_are_waited_for(large_plan: Plan) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("not so many descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    held = [socket.socket() for _ in range(1050)]
    waker = Waker()
    waker.reset()
    try:
        with Way().serving(stop_reading) as server:
            (response,) = Way().send(
                upload(server.url, large_plan), plan=large_plan, waker=waker
            )
        waker.sleep(0.01)
    finally:
        for sock in held:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert response.status == 413


def test_the_buffer_begins_where_a_page_does() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        buffer = Connection(ours).buffer
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    assert address % mmap.PAGESIZE == 0


def test_the_send_buffers_size_is_left_to_the_kernel() -> None:
    with socket.socket() as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        tune(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


class Slow(io.BytesIO):
    """A file on a disk that answers only when it is told to."""

    name = "a slow disk"

    def __init__(self, length: int, *, fails: bool = False) -> None:
        super().__init__(bytes(length))
        self._fails = fails
        self.asked, self.ready = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.asked.set()
        assert self.ready.wait(30)
        if self._fails:
            raise OSError(errno.EIO, "input/output error")
        return super().read(size)


@pytest.mark.parametrize("length", [100, 1_000_000])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_slow_disk_does_not_hold_up_the_event_loop(backend: str, length: int) -> None:
    source = Slow(length)
    plan = plan_form({"file": source})
    script = Heads()

    async def main() -> None:
        async with async_client() as client, anyio.create_task_group() as group:
            request = segment_request(client, "POST", server.url, plan)
            group.start_soon(client.send, request)
            # In a thread of its own, so that a loop that is held up is found out.
            await anyio.to_thread.run_sync(source.asked.wait)
            source.ready.set()

    with Way().serving(script) as server, plan:
        anyio.run(main, backend=backend)
    assert len(script.contents[0]) == plan.length


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_what_a_source_raises_passes_unchanged(way: Way) -> None:
    source = Slow(1_000_000, fails=True)
    plan = plan_form({"file": source})
    source.ready.set()

    def script(peer: Peer) -> None:
        peer.head()
        assert peer.rest() < 1_000_000

    with (
        way.serving(script) as server,
        plan,
        pytest.raises(SourceError, match="cannot be read"),
    ):
        way.send(upload(server.url, plan), plan=plan)


def test_a_form_of_many_parts_leaves_in_few_blocks() -> None:
    plan = plan_form([(f"field{number}", "value") for number in range(20_000)])
    stream = Segments(plan)
    blocks = list(stream.blocks())
    assert not any(isinstance(block, SourceRange) for block in blocks)
    assert len(blocks) <= plan.length // 65536 + 1
    assert b"".join(block for block in blocks if isinstance(block, bytes | bytearray))
    assert sum(
        len(block) for block in blocks if not isinstance(block, SourceRange)
    ) == (plan.length)


def test_a_stream_can_be_sent_again_by_anybody(large_plan: Plan) -> None:
    wanted = ByteRange(5, 3_000_000)
    stream = Segments(large_plan, wanted, withhold=10)
    expected = b"".join(iter_bytes(large_plan, wanted))
    for _ in range(2):
        assert b"".join(stream) == expected
        assert stream.sent == wanted.length

    async def main() -> bytes:
        return b"".join([block async for block in stream])

    assert anyio.run(main) == expected
    with pytest.raises(IndexError):
        Segments(b"abc", ByteRange(0, 4))


def test_small_requests_need_no_thread() -> None:
    names = {thread.name for thread in threading.enumerate()}
    with Way("asyncio").serving(Heads()) as server:
        Way("asyncio").send(
            Request("POST", f"http://127.0.0.1:{server.port}/", {}, b"x")
        )
    after = {thread.name for thread in threading.enumerate()}
    assert after <= names


class Strict(asyncio.SelectorEventLoop):
    """Knows descriptors by their numbers alone, as uvloop does."""

    def remove_reader(self, fd: Any) -> bool:
        return super().remove_reader(self._number(fd))

    def remove_writer(self, fd: Any) -> bool:
        return super().remove_writer(self._number(fd))

    def _number(self, fd: Any) -> int:
        number: int = fd if isinstance(fd, int) else fd.fileno()
        if number < 0:
            raise ValueError(f"Invalid file descriptor: {number}")
        return number


@pytest.mark.parametrize("tls", [False, True])
def test_a_loop_need_not_know_sockets_that_have_lost_their_number(
    tls: bool, large_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = socket.getaddrinfo

    def refused_first(*asked: Any, **rest: Any) -> Any:
        found = usual(*asked, **rest)
        kind, *same, _ = found[0]
        return [(kind, *same, ("127.0.0.1", closed)), *found]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    monkeypatch.setattr(socket, "getaddrinfo", refused_first)
    script = Heads(b"fine")

    async def main() -> None:
        async with async_client(verify=client_context()) as client:
            request = segment_request(client, "POST", server.url, large_plan)
            assert (await client.send(request)).text == "fine"

    with (
        Way("asyncio", tls).serving(script) as server,
        asyncio.Runner(loop_factory=Strict) as runner,
    ):
        runner.run(main())
    assert len(script.contents[0]) == large_plan.length


@pytest.mark.parametrize("driver", ["blocking", "asyncio", "trio"])
def test_kernel_tls_may_be_asked_for_whether_it_is_there_or_not(
    driver: Driver, large_plan: Plan
) -> None:
    context = client_context_of_its_own()
    # OpenSSL knows the option before Python has a name for it.
    context.options |= getattr(ssl, "OP_ENABLE_KTLS", 1 << 3)
    script = Heads()
    way = Way(driver, True, options={"verify": context})
    with way.serving(script) as server:
        (response,) = way.send(upload(server.url, large_plan), plan=large_plan)
    assert response.status == 200
    expected = b"".join(iter_bytes(large_plan, ByteRange(0, large_plan.length)))
    assert script.contents == [expected]


def client_context_of_its_own() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    return context
