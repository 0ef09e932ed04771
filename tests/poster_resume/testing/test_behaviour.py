"""Each thing that real servers were seen to do, done on demand."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator

import pytest

from poster_resume.testing import (
    Answer,
    Behaviour,
    Head,
    Receiver,
    Rule,
    busy,
    drop_final_answer,
    refuse,
)

from .raw import Client, Reply

CONTENT = random.Random(3).randbytes(200_000)
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


def create(client: Client, **more: object) -> str:
    headers = CORE | {"upload-length": len(CONTENT)} | more
    created = client.ask("POST", "/tus", headers=headers)
    assert created.status == 201
    return created.headers["location"]


def append(client: Client, path: str, offset: int, content: bytes) -> Reply:
    headers = CORE | TYPED | {"upload-offset": offset}
    return client.ask("PATCH", path, content, headers)


def ask_offset(client: Client, path: str) -> Reply:
    return client.ask("HEAD", path, headers=CORE)


def offset_of(client: Client, path: str) -> int:
    return int(ask_offset(client, path).headers["upload-offset"])


def test_success_is_claimed_and_nothing_stored(
    receiver: Receiver, client: Client
) -> None:
    receiver.script(Rule(method="PATCH", keep=0))
    path = create(client)
    reply = append(client, path, 0, CONTENT)
    assert (reply.status, reply.headers["upload-offset"]) == (204, "0")
    assert append(client, path, 0, CONTENT).headers["upload-offset"] == "200000"


def test_success_is_claimed_without_an_offset(
    receiver: Receiver, client: Client
) -> None:
    receiver.script(Rule(method="PATCH", keep=0, without=("Upload-Offset",)))
    reply = append(client, create(client), 0, CONTENT)
    assert reply.status == 204
    assert "upload-offset" not in reply.headers


@pytest.mark.parametrize("status", [400, 412, 413, 415, 422, 500])
@pytest.mark.parametrize(("keep", "kept"), [(1.0, 200_000), (0.5, 100_000), (0.0, 0)])
def test_an_error_is_answered_and_content_kept_all_the_same(
    receiver: Receiver, client: Client, status: int, keep: float, kept: int
) -> None:
    receiver.script(Rule(method="PATCH", status=status, keep=keep))
    path = create(client)
    assert append(client, path, 0, CONTENT).status == status
    assert offset_of(client, path) == kept
    assert receiver.uploads[0].file.read_bytes() == CONTENT[:kept]


@pytest.mark.parametrize(
    ("how", "stored"), [("hole", b"ab\0\0\0cd"), ("append", b"abcd")]
)
def test_another_offset_is_taken_for_good(
    receiver: Receiver, client: Client, how: str, stored: bytes
) -> None:
    assert how in ("hole", "append")
    behaviour = Behaviour(wrong_offset="hole" if how == "hole" else "append")
    receiver.behaviour = behaviour
    path = create(client)
    append(client, path, 0, b"ab")
    assert append(client, path, 5, b"cd").status == 204
    assert receiver.uploads[0].file.read_bytes() == stored


def test_kept_bytes_show_late(receiver: Receiver) -> None:
    receiver.behaviour = Behaviour(late=0.2)
    with Client(receiver.port) as client:
        path = create(client)
        client.head("PATCH", path, CORE | TYPED | {"upload-offset": 0}, len(CONTENT))
        client.socket.sendall(CONTENT[:500])
    with Client(receiver.port) as client:
        assert offset_of(client, path) == 0
        until = time.monotonic() + 10
        while (offset := offset_of(client, path)) == 0 and time.monotonic() < until:
            pass
        assert offset == 500


def test_a_buffering_server_loses_what_breaks(receiver: Receiver) -> None:
    receiver.behaviour = Behaviour(buffering=True)
    with Client(receiver.port) as client:
        path = create(client)
        assert append(client, path, 0, b"ab").headers["upload-offset"] == "2"
        client.head("PATCH", path, CORE | TYPED | {"upload-offset": 2}, 1000)
        client.socket.sendall(CONTENT[:500])
    with Client(receiver.port) as client:
        assert offset_of(client, path) == 2
    assert receiver.received == 502


def test_two_appends_at_once_are_silently_accepted(receiver: Receiver) -> None:
    receiver.behaviour = Behaviour(concurrency="share", wrong_offset="append")
    with Client(receiver.port) as older, Client(receiver.port) as newer:
        path = create(newer)
        older.head("PATCH", path, CORE | TYPED | {"upload-offset": 0}, 4)
        older.socket.sendall(b"ab")
        receiver.wait(lambda r: r.received == 2)
        assert append(newer, path, 0, b"x").status == 204
        older.socket.sendall(b"cd")
        assert older.reply().status == 204


def test_a_finished_upload_is_not_found(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(completed="gone")
    path = create(client)
    assert append(client, path, 0, CONTENT).status == 204
    assert ask_offset(client, path).status == 404


def test_rufh_may_keep_the_answer_when_the_offset_is_gone(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(completed="head-gone", final_status=202)
    headers = {"upload-complete": "?1"}
    final = client.ask("POST", "/rufh", CONTENT, headers)
    path = client.interims[0].headers["location"]
    assert client.ask("HEAD", path).status == 404
    assert client.ask("GET", path).content == final.content
    receiver.behaviour = Behaviour(completed="gone")
    assert client.ask("GET", path).status == 404


def test_head_needs_metadata_and_lists_come_spaced(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(
        require_metadata=("filename", "filetype"), spaced=True
    )
    assert ask_offset(client, create(client)).status == 400
    metadata = "filename YQ==,filetype YQ=="
    path = create(client, **{"upload-metadata": metadata})
    head = ask_offset(client, path)
    assert head.headers["upload-metadata"] == metadata.replace(",", ", ")


def test_the_last_append_is_answered_200_with_a_body(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(final_status=200, final_content=b"thanks")
    path = create(client)
    assert append(client, path, 0, CONTENT[:9]).status == 204
    last = append(client, path, 9, CONTENT[9:])
    assert (last.status, last.content) == (200, b"thanks")


def test_head_is_answered_204_or_with_a_length(
    receiver: Receiver, client: Client
) -> None:
    path = create(client)
    receiver.behaviour = Behaviour(head_status=204)
    assert ask_offset(client, path).status == 204
    receiver.behaviour = Behaviour(head_length=True)
    assert ask_offset(client, path).headers["content-length"] == str(len(CONTENT))


def test_an_upload_grows_past_its_length(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(grow=True)
    assert append(client, create(client), 0, CONTENT + b"x").status == 204
    assert receiver.delivery().length == len(CONTENT) + 1


def test_a_checksum_that_is_not_advertised_is_ignored(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(extensions=("creation",))
    headers = CORE | TYPED | {"upload-offset": 0, "upload-checksum": "sha1 AAAA"}
    assert client.ask("PATCH", create(client), b"a", headers).status == 204
    assert client.ask("DELETE", create(client), headers=CORE).status == 405


def test_a_server_does_not_say_its_version(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(tus_version=False)
    assert "tus-version" not in client.ask("OPTIONS", "/tus").headers
    reply = append(client, create(client), 0, CONTENT)
    assert "tus-resumable" not in reply.headers


def test_an_answer_is_no_http(receiver: Receiver, client: Client) -> None:
    receiver.script(Rule(method="OPTIONS", raw=b"nonsense\r\n\r\n"))
    client.head("OPTIONS", "/tus", {}, 0)
    assert client.socket.recv(100) == b"nonsense\r\n\r\n"
    assert client.at_end()


def test_the_location_gives_up_tls(receiver: Receiver, client: Client) -> None:
    receiver.behaviour = Behaviour(location="http://{host}")
    assert create(client).startswith("http://receiver.test/uploads/")


def test_a_wrong_offset_is_told_once(receiver: Receiver, client: Client) -> None:
    receiver.script(Rule(method="HEAD", headers={"Upload-Offset": "5"}))
    path = create(client)
    assert [offset_of(client, path) for _ in range(2)] == [5, 0]


@pytest.mark.parametrize(
    "value", ["3", "Fri, 31 Dec 1999 23:59:59 GMT"], ids=["seconds", "date"]
)
def test_a_busy_server_says_when_to_come_back(
    receiver: Receiver, client: Client, value: str
) -> None:
    receiver.script(busy(3 if value == "3" else value, status=429, times=2))
    replies = [client.ask("POST", "/form", b"a") for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    assert replies[0].headers["retry-after"] == value
    assert len(receiver.deliveries) == 1


def test_a_rule_can_let_requests_pass_first(receiver: Receiver, client: Client) -> None:
    receiver.script(Rule(path="/form", status=500, skip=1))
    statuses = [client.ask("POST", "/form", b"a").status for _ in range(3)]
    assert statuses == [200, 500, 200]


def test_an_upload_is_forgotten(receiver: Receiver, client: Client) -> None:
    receiver.script(Rule(method="HEAD", forget=True))
    assert ask_offset(client, create(client)).status == 404
    path = create(client)
    receiver.forget()
    assert ask_offset(client, path).status == 404


@pytest.mark.parametrize("path", ["/form", "/rufh"])
def test_the_final_answer_is_dropped(
    receiver: Receiver, client: Client, path: str
) -> None:
    receiver.script(drop_final_answer())
    with pytest.raises(ConnectionResetError):
        client.ask("POST", path, CONTENT, {"upload-complete": "?1"})
    assert receiver.delivery().read() == CONTENT
    assert [request.sent for request in receiver.requests] == [False]


def test_an_early_answer_comes_after_so_many_bytes_and_the_rest_is_drained(
    receiver: Receiver, client: Client
) -> None:
    receiver.script(refuse(413, after=1000, method="PATCH"))
    path = create(client)
    client.head("PATCH", path, CORE | TYPED | {"upload-offset": 0}, len(CONTENT))
    client.socket.sendall(CONTENT[:1000])
    assert client.reply().status == 413
    assert receiver.requests[-1].received == 1000
    client.socket.sendall(CONTENT[1000:])
    assert offset_of(client, path) == 0


def test_an_early_answer_may_close(receiver: Receiver, client: Client) -> None:
    receiver.script(refuse(413, after=1000, ending="close"))
    client.head("POST", "/form", {}, len(CONTENT))
    client.socket.sendall(CONTENT[:1000])
    reply = client.reply()
    assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert client.at_end()


def test_an_early_answer_may_reset(receiver: Receiver, client: Client) -> None:
    receiver.script(refuse(413, after=1000, ending="reset"))
    client.head("POST", "/form", {}, len(CONTENT))
    client.socket.sendall(CONTENT[:1000])
    receiver.wait(lambda r: len(r.requests) == 1)
    with pytest.raises(ConnectionError):  # noqa: PT012 - whichever notices first
        assert client.reply().status == 413
        client.at_end()


def test_an_early_answer_may_be_the_last_thing_that_is_done(
    receiver: Receiver, client: Client
) -> None:
    receiver.script(refuse(413, after=1000, ending="stop"))
    length = 1 << 30
    client.head("POST", "/form", {}, length)
    client.socket.sendall(CONTENT[:1000])
    assert client.reply().status == 413
    # Nobody reads: what fits into the kernel's buffers goes, then nothing.
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):  # noqa: PT012 - as often as it takes
        while True:
            client.socket.sendall(CONTENT)
    assert receiver.requests[-1].received == 1000


def test_a_token_is_asked_for_and_runs_out_in_the_middle(
    receiver: Receiver, client: Client
) -> None:
    receiver.behaviour = Behaviour(tokens=("one", "two"), token_bytes=150_000)
    assert client.ask("OPTIONS", "/tus").status == 401
    one, two = ({"authorization": f"Bearer {token}"} for token in ("one", "two"))
    headers = CORE | one | {"upload-length": len(CONTENT)}
    path = client.ask("POST", "/tus", headers=headers).headers["location"]
    patch = CORE | TYPED | one | {"upload-offset": 0}
    client.head("PATCH", path, patch, len(CONTENT))
    client.socket.sendall(CONTENT[:150_000])
    assert client.reply().status == 401
    with Client(receiver.port) as again:
        assert again.ask("HEAD", path, headers=CORE | one).status == 401
        head = again.ask("HEAD", path, headers=CORE | two)
        assert head.headers["upload-offset"] == "150000"


def test_a_hook_answers_what_it_likes() -> None:
    def on_request(head: Head) -> Answer | None:
        if head.path == "/form/there":
            return None
        return Answer(307, {"location": "/form/there"})

    with Receiver(on_request=on_request) as receiver, Client(receiver.port) as client:
        assert client.ask("POST", "/form/here", CONTENT).status == 307
        assert client.ask("POST", "/form/there", CONTENT).status == 200
        assert receiver.delivery().path == "/form/there"


def test_a_late_answer_does_not_keep_the_receiver_from_closing(
    receiver: Receiver, client: Client
) -> None:
    receiver.script(Rule(delay=600))
    client.head("GET", "/form", {}, 0)
    receiver.close()
    with pytest.raises(OSError, match=r"."):
        socket.create_connection(("127.0.0.1", receiver.port), timeout=5)
