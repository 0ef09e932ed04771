from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from poster_resume.testing import Behaviour, Receiver

from .raw import Client, Reply

CONTENT = random.Random(1).randbytes(100_000)
V9 = {"upload-draft-interop-version": 9}
PARTIAL = {"content-type": "application/partial-upload"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def client(receiver: Receiver) -> Iterator[Client]:
    with Client(receiver.port) as client:
        yield client


def create(
    client: Client, length: int = len(CONTENT), media_type: str = "text/x"
) -> str:
    headers = V9 | {"upload-complete": "?0", "upload-length": length}
    headers |= {"content-type": media_type}
    created = client.ask("POST", "/rufh/a", headers=headers)
    assert created.status == 201
    return created.headers["location"]


def append(
    client: Client, path: str, offset: int, content: bytes, complete: str = "?0"
) -> Reply:
    headers = V9 | PARTIAL | {"upload-offset": offset, "upload-complete": complete}
    return client.ask("PATCH", path, content, headers)


def test_an_optimistic_creation_learns_the_resource_before_its_content_is_read(
    receiver: Receiver, client: Client
) -> None:
    headers = V9 | {"upload-complete": "?1", "content-type": "text/x"}
    client.head("POST", "/rufh/a", headers, len(CONTENT))
    while b"\r\n\r\n" not in (data := client.socket.recv(65536)):
        pass
    assert data.startswith(b"HTTP/1.1 104 ")
    assert b"location: /uploads/" in data
    assert b"upload-draft-interop-version: 9" in data
    client.socket.sendall(CONTENT)
    final = client.reply()
    assert (final.status, final.headers["upload-complete"]) == (201, "?1")
    assert json.loads(final.content) == {
        "length": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "content_type": "text/x",
    }
    assert receiver.delivery().read() == CONTENT
    assert receiver.delivery().path == "/rufh/a"


@pytest.mark.parametrize("dialect", ["5", "6", "7", "8", "9", "10"])
def test_a_104_carries_the_version_of_the_request(
    receiver: Receiver, client: Client, dialect: str
) -> None:
    headers = {"upload-draft-interop-version": dialect, "upload-complete": "?1"}
    assert client.ask("POST", "/rufh", CONTENT, headers).status == 201
    assert client.interims[0].status == 104
    assert client.interims[0].headers["upload-draft-interop-version"] == dialect


def test_without_a_version_a_104_carries_none(client: Client) -> None:
    client.ask("POST", "/rufh", CONTENT, {"upload-complete": "?1"})
    assert "upload-draft-interop-version" not in client.interims[0].headers


@pytest.mark.parametrize("headers", [{}, {"upload-draft-interop-version": 99}])
def test_a_draft_server_sends_no_104_to_versions_it_does_not_speak(
    receiver: Receiver, client: Client, headers: dict[str, object]
) -> None:
    receiver.behaviour = Behaviour(dialects=("9", "10"))
    final = client.ask("POST", "/rufh", CONTENT, headers | {"upload-complete": "?1"})
    assert (final.status, client.interims) == (201, [])


def test_interop_3_says_incomplete(client: Client) -> None:
    version = {"upload-draft-interop-version": 3}
    created = client.ask("POST", "/rufh", b"ab", version | {"upload-incomplete": "?1"})
    assert created.headers["upload-incomplete"] == "?1"
    path = created.headers["location"]
    headers = version | {"upload-offset": 2, "upload-incomplete": "?0"}
    final = client.ask("PATCH", path, b"c", headers)
    assert (final.status, final.headers["upload-incomplete"]) == (201, "?0")


def test_progress_is_told_while_content_comes(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(progress_every=30_000)
    client.ask("POST", "/rufh", CONTENT, V9 | {"upload-complete": "?1"})
    offsets = [int(i.headers.get("upload-offset", 0)) for i in client.interims]
    assert offsets[0] == 0
    assert offsets[1:]
    assert offsets == sorted(offsets)
    assert offsets[-1] <= len(CONTENT)


def test_a_careful_upload_goes_in_pieces(receiver: Receiver, client: Client) -> None:
    path = create(client, media_type="image/x")
    middle = append(client, path, 0, CONTENT[:7])
    assert (middle.status, middle.headers["upload-complete"]) == (204, "?0")
    assert middle.headers["upload-offset"] == "7"
    head = client.ask("HEAD", path, headers=V9)
    assert head.status in (200, 204)
    assert head.headers["upload-offset"] == "7"
    assert head.headers["upload-complete"] == "?0"
    assert head.headers["upload-length"] == str(len(CONTENT))
    assert head.headers["cache-control"] == "no-store"
    final = append(client, path, 7, CONTENT[7:], "?1")
    assert (final.status, final.headers["upload-complete"]) == (201, "?1")
    assert receiver.delivery().read() == CONTENT
    assert receiver.delivery().content_type == "image/x"


def test_only_upload_complete_ends_an_upload(
    receiver: Receiver, client: Client
) -> None:
    path = create(client)
    assert append(client, path, 0, CONTENT).status == 204
    assert receiver.deliveries == []
    assert append(client, path, len(CONTENT), b"", "?1").status == 201
    assert receiver.delivery().read() == CONTENT


@pytest.mark.parametrize("how", ["get", "patch"])
def test_the_final_answer_is_given_again(
    receiver: Receiver, client: Client, how: str
) -> None:
    path = create(client)
    final = append(client, path, 0, CONTENT, "?1")
    if how == "get":
        again = client.ask("GET", path, headers=V9)
    else:
        again = append(client, path, len(CONTENT), b"", "?1")
    assert (again.status, again.content) == (final.status, final.content)
    assert again.headers["upload-complete"] == "?1"
    head = client.ask("HEAD", path, headers=V9)
    assert head.headers["upload-complete"] == "?1"
    assert len(receiver.deliveries) == 1


def test_another_offset_is_a_problem_that_names_the_right_one(client: Client) -> None:
    path = create(client)
    append(client, path, 0, b"abc")
    refused = append(client, path, 2, b"c")
    assert refused.status == 409
    assert refused.headers["upload-offset"] == "3"
    assert refused.headers["upload-complete"] == "?0"
    problem = json.loads(refused.content)
    assert problem["type"].endswith("#mismatching-upload-offset")
    assert (problem["expected-offset"], problem["provided-offset"]) == (3, 2)


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"upload-complete": "?1", "upload-offset": 0}, CONTENT[:-1]),
        ({"upload-complete": "?0", "upload-offset": 0}, CONTENT + b"x"),
        ({"upload-complete": "?0", "upload-offset": 0, "upload-length": 7}, b"abc"),
    ],
)
def test_lengths_that_contradict_each_other_are_a_problem(
    client: Client, headers: dict[str, object], content: bytes
) -> None:
    path = create(client)
    refused = client.ask("PATCH", path, content, V9 | PARTIAL | headers)
    assert refused.status == 400
    problem = json.loads(refused.content)
    assert problem["type"].endswith("#inconsistent-upload-length")
    assert client.ask("HEAD", path, headers=V9).headers["upload-offset"] == "0"


def test_an_append_needs_its_media_type_from_interop_6_on(client: Client) -> None:
    path = create(client)
    headers = {"upload-offset": 0, "upload-complete": "?0"}
    assert client.ask("PATCH", path, b"a", V9 | headers).status == 415
    v5 = {"upload-draft-interop-version": 5}
    assert client.ask("PATCH", path, b"a", v5 | headers).status == 204


def test_a_completed_upload_is_a_problem_to_older_drafts(client: Client) -> None:
    path = create(client)
    append(client, path, 0, CONTENT, "?1")
    headers = PARTIAL | {"upload-offset": len(CONTENT), "upload-complete": "?0"}
    v6 = {"upload-draft-interop-version": 6}
    refused = client.ask("PATCH", path, b"x", v6 | headers)
    assert json.loads(refused.content)["type"].endswith("#completed-upload")


def test_limits_are_announced_and_enforced(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(
        max_size=10, min_size=2, max_append_size=4, min_append_size=2, max_age=60
    )
    options = client.ask("OPTIONS", "/rufh", headers=V9)
    expected = "min-size=2, max-size=10, min-append-size=2, max-append-size=4"
    assert options.headers["upload-limit"] == f"{expected}, max-age=60"
    for length, status in ((1, 400), (11, 413)):
        headers = V9 | {"upload-complete": "?0", "upload-length": length}
        assert client.ask("POST", "/rufh", headers=headers).status == status
    path = create(client, 9)
    assert append(client, path, 0, b"12345").status == 413
    assert append(client, path, 0, b"1").status == 400
    assert append(client, path, 0, b"1234").status == 204
    assert append(client, path, 4, b"5678").status == 204
    assert append(client, path, 8, b"9", "?1").status == 201
    assert receiver.delivery().read() == b"123456789"


def test_interop_6_calls_the_age_expires(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(max_age=60)
    v6 = {"upload-draft-interop-version": 6}
    limits = client.ask("OPTIONS", "/rufh", headers=v6).headers["upload-limit"]
    assert limits == "expires=60"


def test_a_deleted_and_an_expired_upload_are_gone(
    receiver: Receiver, client: Client
) -> None:
    path = create(client)
    assert client.ask("DELETE", path, headers=V9).status == 204
    assert client.ask("HEAD", path, headers=V9).status == 404
    receiver.behaviour = Behaviour(max_age=0, gone_status=410)
    assert client.ask("HEAD", create(client), headers=V9).status == 410
    assert all(upload.gone for upload in receiver.uploads)


def test_a_plain_request_is_a_plain_upload(receiver: Receiver, client: Client) -> None:
    final = client.ask("PUT", "/rufh/b", b"abc")
    assert (final.status, client.interims) == (200, [])
    assert receiver.delivery().protocol == "oneshot"


def test_content_of_unknown_length_is_taken_in(
    receiver: Receiver, client: Client
) -> None:
    headers = V9 | {"upload-complete": "?1"}
    final = client.ask("POST", "/rufh", CONTENT, headers, length=None)
    assert final.status == 201
    assert receiver.delivery().read() == CONTENT
    # The connection goes on where the chunks ended.
    assert client.ask("OPTIONS", "/rufh").status == 200


@pytest.mark.parametrize("kept", [1, 4096, 99_999])
def test_a_broken_append_is_kept_to_the_byte(receiver: Receiver, kept: int) -> None:
    with Client(receiver.port) as client:
        path = create(client)
        headers = V9 | PARTIAL | {"upload-offset": 0, "upload-complete": "?1"}
        client.head("PATCH", path, headers, len(CONTENT))
        client.socket.sendall(CONTENT[:kept])
    with Client(receiver.port) as client:
        head = client.ask("HEAD", path, headers=V9)
        assert head.headers["upload-offset"] == str(kept)
        assert append(client, path, kept, CONTENT[kept:], "?1").status == 201
    assert receiver.delivery().read() == CONTENT
    assert receiver.uploads[0].sent_twice == 0


def test_a_newer_request_ends_an_older_one_on_the_same_upload(
    receiver: Receiver,
) -> None:
    with Client(receiver.port) as older, Client(receiver.port) as newer:
        path = create(newer)
        headers = V9 | PARTIAL | {"upload-offset": 0, "upload-complete": "?1"}
        older.head("PATCH", path, headers, len(CONTENT))
        older.socket.sendall(CONTENT[:1000])
        receiver.wait(lambda r: r.received == 1000)
        head = newer.ask("HEAD", path, headers=V9)
        assert head.headers["upload-offset"] == "1000"
        with pytest.raises(ConnectionError):
            older.reply()
        assert append(newer, path, 1000, CONTENT[1000:], "?1").status == 201
    assert receiver.delivery().read() == CONTENT


def test_a_newer_request_may_be_refused_instead(receiver: Receiver) -> None:
    receiver.behaviour = Behaviour(concurrency="refuse")
    with Client(receiver.port) as older, Client(receiver.port) as newer:
        path = create(newer)
        headers = V9 | PARTIAL | {"upload-offset": 0, "upload-complete": "?1"}
        older.head("PATCH", path, headers, len(CONTENT))
        older.socket.sendall(CONTENT[:1000])
        receiver.wait(lambda r: r.received == 1000)
        assert newer.ask("HEAD", path, headers=V9).status == 503
        assert append(newer, path, 1000, b"x").status == 409
        older.socket.sendall(CONTENT[1000:])
        assert older.reply().status == 201


def test_a_new_receiver_over_the_directory_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    with Receiver(directory) as receiver, Client(receiver.port) as client:
        path = create(client)
        append(client, path, 0, CONTENT[:500])
        port = receiver.port
    with Receiver(directory, port=port) as receiver, Client(port) as client:
        head = client.ask("HEAD", path, headers=V9)
        assert head.headers["upload-offset"] == "500"
        final = append(client, path, 500, CONTENT[500:], "?1")
    with Receiver(directory) as receiver, Client(receiver.port) as client:
        assert client.ask("GET", path, headers=V9).content == final.content
        delivery = receiver.delivery()
        assert delivery.read() == CONTENT
        assert delivery.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_whoever_sends_what_was_acknowledged_is_seen(
    receiver: Receiver, client: Client
) -> None:
    path = create(client)
    append(client, path, 0, CONTENT[:500])
    assert receiver.uploads[0].lowest_resent is None
    append(client, path, 200, CONTENT[200:300])
    assert receiver.uploads[0].lowest_resent == 200
    assert receiver.uploads[0].acknowledged == 500
