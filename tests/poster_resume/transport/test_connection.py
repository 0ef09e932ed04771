"""One connection, and what it hands over at a time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
import trustme

from poster_resume.transport.connection import Connection

RECORD = 16 * 1024


def shaken(sock: ssl.SSLSocket) -> bool:
    try:
        sock.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


@pytest.fixture
def ends() -> Iterator[tuple[Connection, ssl.SSLSocket]]:
    """A connection of ours by TLS, and the other end, neither of which waits."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.create_default_context()
    authority.issue_cert("peer.test").configure_cert(server)
    authority.configure_trust(client)
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with (
        client.wrap_socket(
            near, server_hostname="peer.test", do_handshake_on_connect=False
        ) as ours,
        server.wrap_socket(
            far, server_side=True, do_handshake_on_connect=False
        ) as theirs,
    ):
        while not all([shaken(ours), shaken(theirs)]):
            pass
        yield Connection(ours), theirs


def arrived_at(sock: ssl.SSLSocket) -> bytes:
    """Take what has come in."""
    data = b""
    try:
        while True:
            data += sock.recv(RECORD)
    except ssl.SSLWantReadError:
        return data


def test_as_many_records_leave_in_one_call_as_there_is_room_for(
    ends: tuple[Connection, ssl.SSLSocket],
) -> None:
    ours, theirs = ends
    data = memoryview(bytes(range(256)) * 256)
    assert ours.write(data, more=False) == len(data) > RECORD
    assert arrived_at(theirs) == data


def test_what_finds_no_room_leaves_later_and_once(
    ends: tuple[Connection, ssl.SSLSocket],
) -> None:
    ours, theirs = ends
    data = memoryview(bytes(range(251)) * 40_000)
    taken, arrived = 0, b""
    while len(arrived) < len(data):
        while taken < len(data) and (count := ours.write(data[taken:], more=False)):
            taken += count
        arrived += arrived_at(theirs)
    assert arrived == data


def test_what_left_before_a_break_is_counted_before_the_break_is_told(
    ends: tuple[Connection, ssl.SSLSocket],
) -> None:
    ours, theirs = ends
    data = memoryview(bytes(RECORD * 4))
    room = 2 * RECORD

    class Breaking:
        """A socket that breaks when so much has left."""

        def __init__(self) -> None:
            self.left = 0

        def send(self, data: memoryview) -> int:
            if self.left == room:
                theirs.close()
            count = ours_socket.send(data[:RECORD])
            self.left += count
            return count

    ours_socket = ours.sock
    ours.sock = Breaking()  # type: ignore[assignment]
    assert ours.write(data, more=False) == room
    with pytest.raises((BrokenPipeError, ssl.SSLEOFError)):
        ours.write(data[room:], more=False)
