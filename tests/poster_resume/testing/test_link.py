from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest

from poster_resume.testing import (
    Cut,
    Delay,
    DropAnswer,
    Faults,
    Link,
    Pass,
    Receiver,
    Refuse,
    Stall,
    Throttle,
    every,
    random_faults,
    sockets,
)

from .raw import Client

DATA = random.Random(4).randbytes(300)


class Peer:
    """A server that notes the bytes of each connection, and how it ended.

    It sends *answer* once it has got as many bytes as *after*.
    """

    def __init__(self, answer: bytes = b"", after: int = len(DATA)) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._answer, self._after = answer, after
        self.seen: list[tuple[bytes, str]] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    _closing = False

    def ended(self, count: int) -> list[tuple[bytes, str]]:
        """Return what was seen, once *count* connections have ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, 20)
            return self.seen[:]

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._closing:
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        with sock:
            try:
                while block := sock.recv(65536):
                    data += block
                    if len(data) == self._after:
                        sock.sendall(self._answer)
                how = "fin"
            except ConnectionResetError:
                how = "rst"
            except OSError:
                how = "error"
        with self._changed:
            self.seen.append((data, how))
            self._changed.notify_all()


def connect(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=20)


def read_all(sock: socket.socket) -> tuple[bytes, str]:
    """Return what comes, and how it ends."""
    data = b""
    try:
        while block := sock.recv(65536):
            data += block
    except ConnectionResetError:
        return data, "rst"
    return data, "fin"


def send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it may have been cut already
        sock.sendall(data)


def test_without_faults_everything_passes_and_ends_in_order() -> None:
    with Peer(b"answer") as peer, Link(peer.port) as link:
        with connect(link) as sock:
            sock.sendall(DATA)
            assert sock.recv(100) == b"answer"
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == (b"", "fin")
        assert peer.ended(1) == [(DATA, "fin")]
        (connection,) = link.connections
        assert (connection.up, connection.down) == (len(DATA), 6)
        assert (connection.ended, link.cuts) == ("closed", 0)


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_cut_lets_exactly_the_bytes_before_it_through(how: str) -> None:
    cuts = [Cut(n, how="rst" if how == "rst" else "fin") for n in range(len(DATA) + 1)]
    with Peer() as peer, Link(peer.port, cuts) as link:
        for number in range(len(cuts)):
            with connect(link) as sock:
                send(sock, DATA)
                assert read_all(sock) == (b"", how)
            assert peer.ended(number + 1)[-1] == (DATA[:number], how)
        assert [c.up for c in link.connections] == list(range(len(cuts)))
        assert link.cuts == len(cuts)


def test_a_cut_is_exact_where_the_kernel_does_not_say_what_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "_unsent", None)
    with Peer() as peer, Link(peer.port, [Cut(100)]) as link:
        with connect(link) as sock:
            send(sock, DATA)
            assert read_all(sock) == (b"", "rst")
        assert peer.ended(1) == [(DATA[:100], "rst")]


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_an_answer_is_cut_to_the_byte(how: str) -> None:
    answer = bytes(range(64))
    cuts = [Cut(n, "down", "rst" if how == "rst" else "fin") for n in range(65)]
    with Peer(answer) as peer, Link(peer.port, cuts) as link:
        for number in range(len(cuts)):
            with connect(link) as sock:
                send(sock, DATA)
                assert read_all(sock) == (answer[:number], how)
        assert {data for data, _ in peer.ended(len(cuts))} == {DATA}


def test_a_cut_of_much_is_exact_too() -> None:
    cut = 5_000_001
    with Peer() as peer, Link(peer.port, [Cut(cut)]) as link:
        with connect(link) as sock:
            send(sock, bytes(8_000_000))
            read_all(sock)
        assert [len(data) for data, _ in peer.ended(1)] == [cut]
        assert link.up == cut


def test_a_cut_waits_for_a_first_byte_that_may_never_come() -> None:
    with Peer() as peer, Link(peer.port, [Cut(0)]) as link:
        with connect(link) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == (b"", "fin")
        assert peer.ended(1) == [(b"", "fin")]
        assert link.cuts == 0


def test_an_answer_is_dropped_when_the_request_has_passed() -> None:
    with Receiver() as receiver, Link(receiver.port, [DropAnswer()]) as link:
        with Client(link.port) as client, pytest.raises(ConnectionError):
            client.ask("POST", "/rufh", DATA, {"upload-complete": "?1"})
        # The interim answer passes: it is not the answer.
        assert [i.status for i in client.interims] == [104]
        assert receiver.delivery().read() == DATA
        with Client(link.port) as client:
            assert client.ask("POST", "/form", DATA).status == 200


def test_a_refused_connection_is_reset() -> None:
    with Peer() as peer, Link(peer.port, [Refuse()]) as link:
        # It may be noticed as early as on connecting.
        with pytest.raises(ConnectionResetError), connect(link) as sock:
            sock.recv(1)
        assert [c.ended for c in link.connections] == ["refused"]
        assert peer.seen == []


def test_a_stalled_connection_stays_open_and_silent() -> None:
    with Peer(b"answer", 10) as peer, Link(peer.port, [Stall(10)]) as link:
        with connect(link) as sock:
            sock.sendall(DATA)
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            assert [(c.up, c.down, c.ended) for c in link.connections] == [
                (10, 0, None)
            ]
            assert link.cut_now() == 1
            assert read_all(sock) == (b"", "rst")
        assert peer.ended(1) == [(DATA[:10], "rst")]


def test_a_stall_may_end() -> None:
    faults = [Stall(10, seconds=0.01)]
    with (
        Peer(b"answer") as peer,
        Link(peer.port, faults) as link,
        connect(link) as sock,
    ):
        sock.sendall(DATA)
        assert sock.recv(100) == b"answer"


def test_faults_hold_together() -> None:
    faults: list[Faults] = [(Stall(10, seconds=0.01), Cut(20), Delay(0.001))]
    with Peer() as peer, Link(peer.port, faults) as link:
        with connect(link) as sock:
            sock.sendall(DATA)
            assert read_all(sock) == (b"", "rst")
        assert peer.ended(1) == [(DATA[:20], "rst")]


def test_a_throttle_keeps_its_rate() -> None:
    rate = 1_000_000
    with (
        Peer(b"x", 200_000) as peer,
        Link(peer.port, [Throttle(rate, "up")]) as link,
        connect(link) as sock,
    ):
        began = time.monotonic()
        sock.sendall(bytes(200_000))
        sock.recv(1)
        elapsed = time.monotonic() - began
    # The first grain goes at once; a busy machine may be slower, never faster.
    assert elapsed > 0.15


def test_a_delay_is_added_in_each_direction() -> None:
    with (
        Peer(b"x") as peer,
        Link(peer.port, [Delay(0.05)]) as link,
        connect(link) as sock,
    ):
        began = time.monotonic()
        sock.sendall(DATA)
        sock.recv(1)
        assert time.monotonic() - began >= 0.1


def test_a_link_that_is_held_lets_nothing_through_until_it_is_released() -> None:
    with Peer(b"x") as peer, Link(peer.port) as link, connect(link) as sock:
        link.hold()
        sock.sendall(DATA)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(20)
        link.release()
        assert sock.recv(1) == b"x"


def test_a_link_can_stop_accepting_and_begin_again() -> None:
    with Peer(b"x") as peer, Link(peer.port) as link:
        link.stop_accepting()
        with pytest.raises(ConnectionRefusedError):
            connect(link)
        link.accept_again()
        with connect(link) as sock:
            sock.sendall(DATA)
            assert sock.recv(1) == b"x"


def test_faults_can_be_changed_while_it_runs() -> None:
    with Peer(b"x") as peer, Link(peer.port, itertools.repeat(Refuse())) as link:
        with pytest.raises(ConnectionResetError), connect(link) as sock:
            sock.recv(1)
        link.faults = iter([Pass()])
        with connect(link) as sock:
            sock.sendall(DATA)
            assert sock.recv(1) == b"x"


def test_a_server_that_is_not_there_looks_like_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with Link(port) as link:
        with pytest.raises(ConnectionResetError), connect(link) as sock:
            sock.recv(1)
        assert [c.ended for c in link.connections] == ["failed"]
        with Peer(b"x") as peer:
            link.target = ("127.0.0.1", peer.port)
            with connect(link) as sock:
                sock.sendall(DATA)
                assert sock.recv(1) == b"x"


def test_what_the_server_does_not_read_is_not_taken_from_the_client() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Link(server.getsockname()[1]) as link,
        connect(link) as sock,
    ):
        sock.settimeout(0.2)
        sent = 0
        with pytest.raises(TimeoutError):  # noqa: PT012 - as often as it takes
            while True:
                sent += sock.send(bytes(1_000_000))
        # What the kernel's buffers take on two connections, and no more.
        assert sent < 64_000_000


def test_it_ends_with_connections_in_every_state() -> None:
    faults: list[Faults] = [
        Stall(0),
        Stall(5),
        Throttle(1),
        Delay(600),
        Cut(5, how="fin"),
    ]
    with Peer() as peer:
        with Link(peer.port, faults) as link:
            socks = [connect(link) for _ in range(len(faults) + 1)]
            for sock in socks:
                send(sock, DATA)
            while len(link.connections) < len(socks):
                pass
        for sock in socks:
            with contextlib.suppress(OSError):
                read_all(sock)
            sock.close()
        assert len(link.connections) == len(socks)


def test_the_same_seed_brings_the_same_faults() -> None:
    faults = list(random_faults(7, largest=1000))
    assert faults == list(random_faults(7, largest=1000))
    assert faults != list(random_faults(8, largest=1000))
    assert len(faults) == 50
    many = [f for seed in range(40) for f in random_faults(seed, largest=1000)]
    assert {type(f) for f in many} == {Pass, Refuse, Cut, Stall, Delay, DropAnswer}
    afters = [f.after for f in many if isinstance(f, Cut)]
    assert (min(afters), max(afters) <= 1000) == (0, True)
    assert not [f for f in many if isinstance(f, Stall) and f.seconds is None]


def test_every_cuts_every_connection_after_about_as_much() -> None:
    assert list(itertools.islice(every(9), 3)) == [Cut(9)] * 3
    about = list(itertools.islice(every(1000, seed=1), 100))
    afters = [cut.after for cut in about if isinstance(cut, Cut)]
    assert 500 <= min(afters) < max(afters) <= 1500
    assert about == list(itertools.islice(every(1000, seed=1), 100))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cut(-1),
        lambda: Stall(-1),
        lambda: Throttle(0),
        lambda: Delay(-0.1),
    ],
)
def test_faults_that_cannot_be_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"(negative|positive)$"):
        make()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_an_upload_survives_a_cut_at_every_byte_of_its_append(
    receiver: Receiver,
) -> None:
    """What the server keeps is what was forwarded, for every place of the cut."""
    content = bytes(range(64))
    partial = {"content-type": "application/partial-upload", "upload-complete": "?1"}
    with Link(receiver.port) as link:
        for number in itertools.count(1):
            headers = {"upload-complete": "?0", "upload-length": 64}
            with Client(receiver.port) as client:
                path = client.ask("POST", "/rufh", headers=headers).headers["location"]
            link.faults = iter([Cut(number)])
            with Client(link.port) as client:
                with contextlib.suppress(OSError):
                    client.head("PATCH", path, partial | {"upload-offset": 0}, 64)
                    client.socket.sendall(content)
                read_all(client.socket)
            with Client(receiver.port) as client:
                head = client.ask("HEAD", path)
                offset = int(head.headers["upload-offset"])
                if head.headers["upload-complete"] == "?0":
                    more = partial | {"upload-offset": offset}
                    client.ask("PATCH", path, content[offset:], more)
            sent = receiver.requests[-3].received if offset else 0
            assert receiver.deliveries[-1].read() == content
            assert receiver.uploads[-1].sent_twice == 0
            if offset == 64:
                break
            assert sent in (0, offset)
    assert len(receiver.deliveries) == number
    offsets = [u.offset for u in receiver.uploads]
    assert offsets == [64] * number
