from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from poster_resume.testing import Behaviour, Receiver, parse_form

from .raw import Client

FORM = (
    b'--b0\r\nContent-Disposition: form-data; name="a \\"b\\""\r\n\r\none\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="f"; filename="\xc3\xa4.txt"\r\n'
    b"Content-Type: text/x\r\n\r\n\r\n--b\r\n\r\n--b0--\r\n"
)
TYPE = {"content-type": "multipart/form-data; boundary=b0"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def client(receiver: Receiver) -> Iterator[Client]:
    with Client(receiver.port) as client:
        yield client


def test_a_form_is_told_back(receiver: Receiver, client: Client) -> None:
    final = client.ask("POST", "/form/x", FORM, TYPE)
    assert final.status == 200
    assert json.loads(final.content) == {
        "length": len(FORM),
        "sha256": hashlib.sha256(FORM).hexdigest(),
        "content_type": TYPE["content-type"],
        "fields": [
            {"name": 'a "b"', "filename": None, "content_type": None, "length": 3},
            {"name": "f", "filename": "ä.txt", "content_type": "text/x", "length": 7},
        ],
    }
    first, second = receiver.delivery().parts
    assert (first.read(), second.read()) == (b"one", b"\r\n--b\r\n")
    assert first.sha256 == hashlib.sha256(b"one").hexdigest()


@pytest.mark.parametrize(
    "content",
    [b"", b"x" + FORM, FORM[:-4], FORM[:40], b"--b0\r\nA: b\r\n\r\nx\r\n--b0--\r\n"],
)
def test_what_is_no_form_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "form"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        list(parse_form(file, TYPE["content-type"]))


def test_an_empty_form_has_no_parts(tmp_path: Path) -> None:
    file = tmp_path / "form"
    file.write_bytes(b"--b0--\r\n")
    assert list(parse_form(file, TYPE["content-type"])) == []
    assert list(parse_form(file, "text/plain")) == []


def test_a_plain_target_knows_nothing_of_resuming(client: Client) -> None:
    options = client.ask("OPTIONS", "/form")
    assert options.status == 204
    assert not [name for name in options.headers if name.startswith(("upload", "tus"))]
    assert client.ask("GET", "/form").status == 405
    assert client.ask("POST", "/elsewhere", b"a").status == 404


def test_content_that_breaks_off_is_forgotten(receiver: Receiver) -> None:
    with Client(receiver.port) as client:
        client.head("POST", "/form", {}, 100)
        client.socket.sendall(b"x" * 60)
    receiver.wait(lambda r: len(r.requests) == 1)
    (request,) = receiver.requests
    assert (request.status, request.received) == (None, 60)
    assert receiver.deliveries == []
    assert list(receiver.directory.iterdir()) == []


def test_the_same_thing_twice_is_counted(receiver: Receiver, client: Client) -> None:
    for _ in range(2):
        client.ask("POST", "/form", b"abc")
    assert [d.count for d in receiver.deliveries] == [1, 2]
    with pytest.raises(AssertionError, match="2 deliveries"):
        receiver.delivery()


def test_a_known_idempotency_key_is_not_taken_in_again(
    receiver: Receiver, client: Client
) -> None:
    headers = {"idempotency-key": "k"}
    first = client.ask("POST", "/form", b"abc", headers)
    assert client.ask("POST", "/form", b"abc", headers) == first
    assert len(receiver.deliveries) == 1


def test_a_client_that_waits_for_a_100_gets_one(client: Client) -> None:
    client.head("POST", "/form", {"expect": "100-continue"}, 3)
    assert client.socket.recv(65536).startswith(b"HTTP/1.1 100 ")
    client.socket.sendall(b"abc")
    assert client.reply().status == 200


def test_a_client_that_waits_for_a_100_may_get_an_error(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(max_size=2)
    client.head("POST", "/form", {"expect": "100-continue"}, 3)
    refused = client.reply()
    assert (refused.status, client.interims) == (413, [])
    assert client.at_end()
