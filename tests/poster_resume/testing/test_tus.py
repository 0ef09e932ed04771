from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Iterator

import pytest

from poster_resume.testing import Behaviour, Receiver

from .raw import Client, Reply

CONTENT = random.Random(2).randbytes(50_000)
CORE = {"tus-resumable": "1.0.0"}
TYPED = {"content-type": "application/offset+octet-stream"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def client(receiver: Receiver) -> Iterator[Client]:
    with Client(receiver.port) as client:
        yield client


def create(client: Client, length: object = len(CONTENT), **more: object) -> str:
    created = client.ask(
        "POST", "/tus", headers=CORE | {"upload-length": length} | more
    )
    assert created.status == 201
    return created.headers["location"]


def append(
    client: Client, path: str, offset: int, content: bytes, **more: object
) -> Reply:
    headers = CORE | TYPED | {"upload-offset": offset} | more
    return client.ask("PATCH", path, content, headers)


def offset_of(client: Client, path: str) -> int:
    return int(client.ask("HEAD", path, headers=CORE).headers["upload-offset"])


def test_options_says_what_is_spoken_without_being_asked_in_tus(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(max_size=99)
    options = client.ask("OPTIONS", "/tus")
    assert options.headers["tus-version"] == "1.0.0"
    assert "creation-with-upload" in options.headers["tus-extension"].split(",")
    assert options.headers["tus-max-size"] == "99"
    algorithms = options.headers["tus-checksum-algorithm"]
    assert algorithms == "sha1,md5,sha256,crc32"


def test_an_upload_goes_in_pieces(receiver: Receiver, client: Client) -> None:
    metadata = "filename YS50eHQ=,filetype dGV4dC94,secret"
    path = create(client, **{"upload-metadata": metadata})
    head = client.ask("HEAD", path, headers=CORE)
    assert head.status == 200
    assert head.headers["upload-offset"] == "0"
    assert head.headers["upload-length"] == str(len(CONTENT))
    assert head.headers["upload-metadata"] == metadata
    assert head.headers["cache-control"] == "no-store"
    first = append(client, path, 0, CONTENT[:10])
    assert (first.status, first.headers["upload-offset"]) == (204, "10")
    assert first.headers["tus-resumable"] == "1.0.0"
    assert receiver.deliveries == []
    last = append(client, path, 10, CONTENT[10:])
    assert (last.status, last.headers["upload-offset"]) == (204, str(len(CONTENT)))
    delivery = receiver.delivery()
    assert delivery.read() == CONTENT
    assert delivery.content_type == "text/x"
    assert delivery.metadata == metadata


@pytest.mark.parametrize("headers", [{}, {"tus-resumable": "0.2.2"}])
def test_another_version_is_told_ours_and_not_processed(
    receiver: Receiver, client: Client, headers: dict[str, object]
) -> None:
    refused = client.ask("POST", "/tus", headers=headers | {"upload-length": 3})
    assert (refused.status, refused.headers["tus-version"]) == (412, "1.0.0")
    assert receiver.uploads == []


def test_creation_may_carry_content(receiver: Receiver, client: Client) -> None:
    headers = CORE | TYPED | {"upload-length": len(CONTENT)}
    created = client.ask("POST", "/tus", CONTENT[:99], headers)
    assert (created.status, created.headers["upload-offset"]) == (201, "99")
    path = created.headers["location"]
    assert append(client, path, 99, CONTENT[99:]).status == 204
    assert receiver.delivery().read() == CONTENT


def test_an_empty_upload_is_complete_at_once(
    receiver: Receiver, client: Client
) -> None:
    create(client, 0)
    assert receiver.delivery().length == 0


def test_the_length_may_come_later(receiver: Receiver, client: Client) -> None:
    headers = CORE | {"upload-defer-length": 1}
    path = client.ask("POST", "/tus", headers=headers).headers["location"]
    assert append(client, path, 0, b"abc").status == 204
    head = client.ask("HEAD", path, headers=CORE)
    assert head.headers["upload-defer-length"] == "1"
    assert append(client, path, 3, b"d", **{"upload-length": 4}).status == 204
    assert receiver.delivery().read() == b"abcd"


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "crc32"])
def test_an_append_whose_checksum_is_wrong_leaves_no_trace(
    receiver: Receiver, client: Client, algorithm: str
) -> None:
    if algorithm == "crc32":
        digest = zlib.crc32(CONTENT).to_bytes(4, "big")
    else:
        digest = hashlib.new(algorithm, CONTENT).digest()
    spelled = f"{algorithm} {base64.b64encode(digest).decode()}"
    path = create(client)
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    assert append(client, path, 0, wrong, **{"upload-checksum": spelled}).status == 460
    assert offset_of(client, path) == 0
    assert (
        append(client, path, 0, CONTENT, **{"upload-checksum": spelled}).status == 204
    )
    assert receiver.delivery().read() == CONTENT


def test_an_unknown_checksum_is_refused(client: Client) -> None:
    path = create(client)
    assert append(client, path, 0, b"a", **{"upload-checksum": "x YQ=="}).status == 400


def test_a_checked_append_that_breaks_is_lost_whole(receiver: Receiver) -> None:
    with Client(receiver.port) as client:
        path = create(client)
        headers = CORE | TYPED | {"upload-offset": 0, "upload-checksum": "sha1 YQ=="}
        client.head("PATCH", path, headers, len(CONTENT))
        client.socket.sendall(CONTENT[:1000])
    with Client(receiver.port) as client:
        assert offset_of(client, path) == 0


@pytest.mark.parametrize(
    ("offset", "content", "more", "status"),
    [
        (7, b"a", {}, 409),
        (0, CONTENT + b"x", {}, 400),
        (0, b"a", {"content-type": "text/plain"}, 415),
        (0, b"a", {"upload-offset": "-1"}, 400),
        (0, b"a", {"upload-length": 3}, 400),
    ],
)
def test_an_append_that_cannot_be_leaves_no_trace(
    client: Client, offset: int, content: bytes, more: dict[str, object], status: int
) -> None:
    path = create(client)
    assert append(client, path, offset, content, **more).status == status
    assert offset_of(client, path) == 0


@pytest.mark.parametrize(
    "more",
    [
        {"upload-length": "x"},
        {"upload-length": 3, "upload-defer-length": 1},
        {"upload-length": 3, "upload-metadata": "a YQ==,a YQ=="},
        {"upload-length": 3, "upload-metadata": "a ???"},
    ],
)
def test_a_creation_that_makes_no_sense_is_refused(
    client: Client, more: dict[str, object]
) -> None:
    assert client.ask("POST", "/tus", headers=CORE | more).status == 400


def test_too_long_an_upload_is_refused(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(max_size=9)
    headers = CORE | {"upload-length": 10}
    assert client.ask("POST", "/tus", headers=headers).status == 413


def test_methods_may_be_overridden(receiver: Receiver, client: Client) -> None:
    path = create(client, 3)
    headers = CORE | TYPED | {"upload-offset": 0, "x-http-method-override": "PATCH"}
    assert client.ask("POST", path, b"abc", headers).status == 204
    assert receiver.delivery().read() == b"abc"
    delete = CORE | {"x-http-method-override": "DELETE"}
    assert client.ask("POST", path, headers=delete).status == 204
    assert client.ask("HEAD", path, headers=CORE).status == 404


def test_an_upload_expires_when_it_said(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(max_age=3600)
    path = create(client)
    head = client.ask("HEAD", path, headers=CORE)
    assert head.headers["upload-expires"].endswith(" GMT")
    receiver.behaviour = Behaviour(max_age=0, gone_status=410)
    gone = client.ask("HEAD", create(client), headers=CORE)
    assert gone.status == 410
    assert "upload-offset" not in gone.headers


def test_an_older_request_is_cut_off_waited_for_or_in_the_way(
    receiver: Receiver,
) -> None:
    receiver.behaviour = Behaviour(concurrency="refuse")
    with Client(receiver.port) as older, Client(receiver.port) as newer:
        path = create(newer)
        older.head("PATCH", path, CORE | TYPED | {"upload-offset": 0}, len(CONTENT))
        older.socket.sendall(CONTENT[:10])
        receiver.wait(lambda r: r.received == 10)
        assert client_status(newer, path) == 423
        receiver.behaviour = Behaviour(concurrency="wait")
        newer.head("HEAD", path, CORE, 0)
        older.socket.sendall(CONTENT[10:])
        assert newer.reply().headers["upload-offset"] == str(len(CONTENT))
        assert older.reply().status == 204


def client_status(client: Client, path: str) -> int:
    return client.ask("HEAD", path, headers=CORE).status
