"""Bodies in the hands of other people's clients, byte for byte, also after a rewind."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import aiohttp
import h11
import httpx
import httpx2
import pytest
import requests
import requests.auth
import urllib3

from poster_resume.body import Blocks, Body, iter_bytes
from poster_resume.plan import Plan, plan_form
from poster_resume.ranges import ByteRange


class Handler(http.server.BaseHTTPRequestHandler):
    """Takes bodies; redirects from /moved, and asks for credentials at /secret."""

    protocol_version = "HTTP/1.1"
    timeout = 10  # a client that sends too little fails soon
    server: Server

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        body = self._chunked() if length is None else self.rfile.read(int(length))
        self.server.received.append((self.path, dict(self.headers), body))
        status, extra = 200, {}
        if self.path == "/moved":
            status, extra = 307, {"Location": "/here"}
        elif self.path == "/secret" and "Authorization" not in self.headers:
            challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
            status, extra = 401, {"WWW-Authenticate": challenge}
        elif self.path == "/busy" and len(self.server.received) == 1:
            status, extra = 503, {"Retry-After": "0"}
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Server(http.server.ThreadingHTTPServer):
    """A server on loopback that remembers what it got."""

    daemon_threads = False
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    (tmp_path / "f").write_bytes(os.urandom(300_000))
    with plan_form({"a": "text", "f": tmp_path / "f", "b": ["x"] * 100}) as plan:
        yield plan


def headers(plan: Plan) -> dict[str, str]:
    return {"Content-Type": plan.content_type, "Content-Length": str(plan.length)}


def with_httpx(url: str, plan: Plan) -> int:
    with httpx.Client() as client:
        response = client.post(url, content=Body(plan), headers=headers(plan))
    return response.status_code


def with_httpx2(url: str, plan: Plan) -> int:
    with httpx2.Client() as client:
        response = client.post(url, content=Body(plan), headers=headers(plan))
    return response.status_code


def with_requests(url: str, plan: Plan) -> int:
    auth = requests.auth.HTTPDigestAuth("user", "password")
    type_only = {"Content-Type": plan.content_type}
    with requests.Session() as session:
        response = session.post(url, data=Body(plan), headers=type_only, auth=auth)
    assert "Content-Length" in response.request.headers
    return response.status_code


def with_urllib3(url: str, plan: Plan) -> int:
    # Of urllib3 it is the pool of one host that rewinds; its manager doesn't.
    retries = urllib3.Retry(5, allowed_methods=None, status_forcelist=[503])
    host, path = url.removeprefix("http://").split("/", 1)
    with urllib3.connection_from_url(f"http://{host}", retries=retries) as pool:
        response = pool.request(
            "POST", f"/{path}", body=Body(plan), headers=headers(plan)
        )
    return response.status


def with_aiohttp(url: str, plan: Plan) -> int:
    async def post() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=Body(plan), headers=headers(plan)) as response,
        ):
            return response.status

    return asyncio.run(post())


def with_http_client(url: str, plan: Plan) -> int:
    host, path = url.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(host)
    try:
        connection.request("POST", f"/{path}", body=Body(plan), headers=headers(plan))
        return connection.getresponse().status
    finally:
        connection.close()


def with_urllib(url: str, plan: Plan) -> int:
    request = urllib.request.Request(url, data=Body(plan), headers=headers(plan))
    with urllib.request.urlopen(request) as response:
        return int(response.status)


CLIENTS = [
    with_httpx,
    with_httpx2,
    with_requests,
    with_urllib3,
    with_aiohttp,
    with_http_client,
    with_urllib,
]
Client = Callable[[str, Plan], int]


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_send_a_body_byte_for_byte(
    server: Server, plan: Plan, client: Client
) -> None:
    assert client(f"{server.url}/here", plan) == 200
    ((_, sent, received),) = server.received
    assert received == b"".join(iter_bytes(plan, ByteRange(0, plan.length)))
    assert sent["Content-Length"] == str(plan.length)
    assert sent["Content-Type"] == plan.content_type
    assert "Content-Disposition" not in sent
    assert "Transfer-Encoding" not in sent


@pytest.mark.parametrize("client", [with_requests, with_urllib3, with_aiohttp])
def test_clients_that_rewind_send_it_again_after_a_redirect(
    server: Server, plan: Plan, client: Client
) -> None:
    assert client(f"{server.url}/moved", plan) == 200
    expected = b"".join(iter_bytes(plan, ByteRange(0, plan.length)))
    assert [(path, body) for path, _, body in server.received] == [
        ("/moved", expected),
        ("/here", expected),
    ]


def test_requests_sends_it_again_with_credentials(server: Server, plan: Plan) -> None:
    assert with_requests(f"{server.url}/secret", plan) == 200
    first, second = server.received
    assert first[2] == second[2]
    assert len(second[2]) == plan.length
    assert "Authorization" in second[1]


def test_urllib3_sends_it_again_to_a_server_that_was_busy(
    server: Server, plan: Plan
) -> None:
    assert with_urllib3(f"{server.url}/busy", plan) == 200
    first, second = server.received
    assert first[2] == second[2]
    assert len(second[2]) == plan.length


@pytest.mark.parametrize("path", ["here", "moved", "secret"])
@pytest.mark.parametrize("family", [httpx, httpx2])
def test_httpx_sends_blocks_as_often_as_need_be(
    server: Server, plan: Plan, family: ModuleType, path: str
) -> None:
    auth = family.DigestAuth("user", "password")
    with family.Client(auth=auth, follow_redirects=True) as client:
        url = f"{server.url}/{path}"
        response = client.post(url, content=Blocks(plan), headers=headers(plan))
    assert response.status_code == 200
    expected = b"".join(Blocks(plan))
    assert len(expected) == Blocks(plan).length == plan.length
    assert len(server.received) == (1 if path == "here" else 2)
    assert {body for _, _, body in server.received} == {expected}


def test_httpx_does_not_rewind_a_body_but_says_so(server: Server, plan: Plan) -> None:
    with (
        httpx.Client(follow_redirects=True) as client,
        pytest.raises(
            (httpx.LocalProtocolError, h11.LocalProtocolError), match="Too little data"
        ),
    ):
        client.post(f"{server.url}/moved", content=Body(plan), headers=headers(plan))


def test_blocks_may_have_a_window_too(plan: Plan) -> None:
    window = ByteRange(100, plan.length - 7)
    assert b"".join(Blocks(plan, window)) == Body(plan, window).read()
    empty = ByteRange(0, 0)
    assert list(Blocks(plan, empty)) == []
    with pytest.raises(IndexError):
        Blocks(plan, ByteRange(0, plan.length + 1))


def test_a_window_of_a_body_is_all_that_is_sent(server: Server, plan: Plan) -> None:
    window = ByteRange(100, plan.length - 7)
    with requests.Session() as session:
        session.post(f"{server.url}/moved", data=Body(plan, window))
    expected = b"".join(iter_bytes(plan, window))
    assert [body for _, _, body in server.received] == [expected, expected]
