from __future__ import annotations

import random
import socket
import ssl

import pytest
import trustme

from poster_resume.testing import Cut, Link, Receiver

from .raw import Client

CONTENT = random.Random(5).randbytes(2_000_000)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_uploads_come_over_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with Receiver(tls=contexts[0]) as receiver:
        assert receiver.url == f"https://127.0.0.1:{receiver.port}"
        with Client(receiver.port, contexts[1]) as client:
            final = client.ask("POST", "/rufh", CONTENT, {"upload-complete": "?1"})
            assert (final.status, client.interims[0].status) == (201, 104)
            assert client.ask("POST", "/form", b"abc").status == 200
        assert receiver.deliveries[0].read() == CONTENT


def test_what_came_over_tls_before_a_cut_is_kept(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with (
        Receiver(tls=contexts[0]) as receiver,
        Link(receiver.port, [Cut(1_000_000)]) as link,
    ):
        with Client(link.port, contexts[1]) as client, pytest.raises(ConnectionError):
            client.ask("POST", "/rufh", CONTENT, {"upload-complete": "?1"})
        path = receiver.uploads[0].path
        with Client(link.port, contexts[1]) as client:
            head = client.ask("HEAD", path)
            offset = int(head.headers["upload-offset"])
            # All but the heads, the handshake and the record that was cut.
            assert 900_000 < offset < 1_000_000
            headers = {
                "upload-offset": offset,
                "upload-complete": "?1",
                "content-type": "application/partial-upload",
            }
            assert client.ask("PATCH", path, CONTENT[offset:], headers).status == 201
        assert receiver.delivery().read() == CONTENT


def test_a_receiver_ends_while_clients_hang_in_the_middle_of_anything(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with Receiver(tls=contexts[0]) as receiver:
        silent = socket.create_connection(("127.0.0.1", receiver.port))
        idle = Client(receiver.port, contexts[1])
        busy = Client(receiver.port, contexts[1])
        busy.head("POST", "/form", {}, 1000)
        busy.socket.sendall(b"x")
        receiver.wait(lambda r: r.received == 1)
    silent.close()
    idle.socket.close()
    busy.socket.close()
