"""Our clients take what httpx's take, to the same effect."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from poster_resume.errors import InvalidParameter
from poster_resume.plan import Plan, plan_content
from poster_resume.transport import (
    AsyncSegmentTransport,
    SegmentTransport,
    async_client,
    client,
    segment_request,
    shared_client,
    shows_interims,
)
from poster_resume.transport.proxies import environment_proxies

from .peers import Peer, client_context, server_context, serving
from .test_bridge import Heads, fields

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def small_plan(tmp_path: Path) -> Iterator[Plan]:
    path = tmp_path / "small.bin"
    path.write_bytes(bytes(range(256)) * 1024)
    with plan_content(path) as plan:
        yield plan


def test_a_response_is_an_ordinary_one(small_plan: Plan) -> None:
    packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcbH\xcd\xc9\xc9\x07\x00"
    packed += b"\x86\xa6\x106\x05\x00\x00\x00"
    script = Heads(packed, "Content-Encoding: gzip", "Content-Type: text/plain")
    with serving(script) as server, client() as ours:
        response = ours.send(segment_request(ours, "POST", server.url, small_plan))
        assert response.text == "hello"
        assert response.elapsed.total_seconds() > 0
        assert response.http_version == "HTTP/1.1"
        assert response.reason_phrase == "x"
        assert response.request.method == "POST"
        streamed = ours.send(
            segment_request(ours, "POST", server.url, small_plan), stream=True
        )
        assert b"".join(streamed.iter_raw()) == packed
        streamed.close()
    said = fields(script.heads[0])
    assert said["content-type"] == "application/octet-stream"
    assert script.contents == [bytes(range(256)) * 1024] * 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_response_is_an_ordinary_one(small_plan: Plan, backend: str) -> None:
    async def main() -> None:
        async with async_client() as ours:
            request = segment_request(ours, "POST", server.url, small_plan)
            response = await ours.send(request)
            assert response.text == "hello"
            assert response.elapsed.total_seconds() > 0
            request = segment_request(ours, "POST", server.url, small_plan)
            streamed = await ours.send(request, stream=True)
            assert b"".join([data async for data in streamed.aiter_raw()]) == b"hello"
            await streamed.aclose()

    with serving(Heads(b"hello")) as server:
        anyio.run(main, backend=backend)


def test_direct_users_see_interim_responses_and_progress(small_plan: Plan) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.interim(103, "Link: </x>")
        peer.content(small_plan.length)
        peer.answer(200)

    seen: list[tuple[int, list[tuple[bytes, bytes]]]] = []
    moved: list[int] = []
    with serving(script) as server, client() as ours:
        request = segment_request(
            ours,
            "POST",
            server.url,
            small_plan,
            on_informational=lambda status, headers: seen.append((status, headers)),
            on_progress=moved.append,
        )
        ours.send(request).raise_for_status()
    assert seen == [(103, [(b"Link", b"</x>")])]
    assert sum(moved) == small_plan.length


def test_ordinary_requests_work_as_ever() -> None:
    script = Heads(b"[1]")
    with serving(script) as server, client(base_url=server.url) as ours:
        assert ours.get(server.url).json() == [1]
        ours.post(server.url, data={"a": "b"})
        ours.post(server.url, files={"f": b"content"})
        assert script.contents[1] == b"a=b"
        assert b"content" in script.contents[2]


def test_base_url_params_cookies_and_hooks_hold(small_plan: Plan) -> None:
    calls: list[str] = []
    script = Heads(b"", "Set-Cookie: a=b")
    with (
        serving(script) as server,
        client(
            base_url=f"http://127.0.0.1:{server.port}/base/",
            params={"q": "1"},
            auth=("user", "password"),
            event_hooks={
                "request": [lambda request: calls.append(request.method)],
                "response": [lambda response: calls.append(response.reason_phrase)],
            },
        ) as ours,
    ):
        for _ in range(2):
            ours.send(segment_request(ours, "PUT", "up", small_plan))
    assert script.heads[0].startswith(b"PUT /base/up?q=1 HTTP/1.1")
    assert fields(script.heads[1])["cookie"] == "a=b"
    assert fields(script.heads[0])["authorization"].startswith("Basic ")
    assert calls == ["PUT", "x"] * 2


def test_verify_and_cert_hold(small_plan: Plan, tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED
    mine = tmp_path / "mine.pem"
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(
        str(mine)
    )
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    context = ssl.create_default_context(cafile=str(trusted))
    context.load_cert_chain(str(mine))
    names: list[Any] = []

    def script(peer: Peer) -> None:
        assert isinstance(peer.sock, ssl.SSLSocket)
        names.append(peer.sock.getpeercert())
        assert peer.sock.selected_alpn_protocol() in (None, "http/1.1")
        Heads()(peer)

    with serving(script, tls=theirs) as server:
        with client(verify=context) as ours:
            ours.send(segment_request(ours, "POST", server.url, small_plan))
        with client() as strict, pytest.raises(httpx.ConnectError):
            strict.send(segment_request(strict, "POST", server.url, small_plan))
    assert "client.test" in str(names[0])


def proxy(heads: list[bytes]) -> Any:
    """A proxy that answers plain requests itself and tunnels nothing."""

    def script(peer: Peer) -> None:
        head = peer.head()
        heads.append(head.partition(b"\r\n")[0])
        if head.startswith(b"CONNECT"):
            peer.answer(502)
            return
        peer.content(int(fields(head).get("content-length", "0")))
        peer.answer(200, b"proxied")

    return script


@pytest.mark.parametrize("how", ["environment", "argument", "mounts"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_proxies_get_what_is_theirs(
    how: str, asynchronous: bool, small_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[bytes] = []
    straight = Heads(b"straight")
    with serving(proxy(lines)) as through, serving(straight) as server:
        address = f"http://127.0.0.1:{through.port}"
        given: dict[str, Any] = {}
        if how == "environment":
            monkeypatch.setenv("HTTP_PROXY", address)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1,.inner.test")
        elif how == "argument":
            given["proxy"] = address
            given["mounts"] = {"all://127.0.0.1": None}
        else:
            transport = (
                httpx.AsyncHTTPTransport if asynchronous else httpx.HTTPTransport
            )
            given["mounts"] = {"all://*.outer.test": transport(proxy=address)}

        def requests(ours: Any) -> list[httpx.Request]:
            urls = ("http://a.outer.test/x", server.url)
            return [segment_request(ours, "POST", url, small_plan) for url in urls]

        async def main() -> list[str]:
            async with async_client(**given) as ours:
                assert not shows_interims(ours)
                return [(await ours.send(each)).text for each in requests(ours)]

        if asynchronous:
            texts = anyio.run(main)
        else:
            with client(**given) as ours:
                assert not shows_interims(ours)
                texts = [ours.send(each).text for each in requests(ours)]
    assert texts == ["proxied", "straight"]
    assert lines == [b"POST http://a.outer.test/x HTTP/1.1"]
    assert straight.contents == [bytes(range(256)) * 1024]


def test_trust_env_false_leaves_the_environments_proxies_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serving(Heads()) as server, client(trust_env=False) as ours:
        assert shows_interims(ours)
        assert ours.get(server.url).status_code == 200


@pytest.mark.parametrize(
    ("exceptions", "patterns"),
    [
        ("", {}),
        ("*", None),
        ("example.org", {"all://*example.org": None}),
        (".example.org", {"all://*.example.org": None}),
        ("*.example.org", {"all://*.example.org": None}),
        ("localhost", {"all://localhost": None}),
        ("127.0.0.1, ::1", {"all://127.0.0.1": None, "all://[::1]": None}),
        ("[::1]", {"all://[::1]": None}),
        ("http://example.org", {"http://example.org": None}),
        ("example.org/x", {}),
    ],
)
def test_no_proxy_is_read_as_httpx_reads_it(
    exceptions: str,
    patterns: dict[str, None] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    expected = (
        {} if patterns is None else {"https://": "http://proxy.test:3128", **patterns}
    )
    assert environment_proxies() == expected
    client().close()  # httpx accepts every pattern


def test_unix_sockets_and_a_transport_of_ones_own_get_everything(
    small_plan: Plan, tmp_path: Path
) -> None:
    path = str(tmp_path / "s")
    script = Heads(b"unix")

    def serve() -> None:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(ConnectionError):
            script(Peer(sock, threading.Event()))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        for given in (httpx.HTTPTransport(uds=path), SegmentTransport(uds=path)):
            thread = threading.Thread(target=serve)
            thread.start()
            with client(transport=given) as ours:
                assert not shows_interims(ours)
                request = segment_request(ours, "POST", "http://x/", small_plan)
                assert ours.send(request).text == "unix"
            thread.join()
    assert script.contents == [bytes(range(256)) * 1024] * 2


def test_http2_is_the_inner_transports_business() -> None:
    pytest.importorskip("h2")
    with client(http2=True) as ours:
        assert not shows_interims(ours)


def test_arguments_of_an_older_httpx_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="use proxy="):
        client(proxies={})
    with pytest.raises(InvalidParameter, match="neither httpx nor httpx2"):
        client(family="requests")  # type: ignore[arg-type] # the point


def test_httpx2_is_served_as_well(small_plan: Plan) -> None:
    import httpx2

    script = Heads(b"hello")
    with serving(script, tls=server_context()) as server:
        with client(family="httpx2", verify=client_context()) as ours:
            assert isinstance(ours, httpx2.Client)
            assert shows_interims(ours)
            request = segment_request(ours, "POST", server.url, small_plan)
            response = ours.send(request)
            assert isinstance(response, httpx2.Response)
            assert response.text == "hello"
            with pytest.raises(httpx2.ConnectError):
                ours.send(segment_request(ours, "POST", "http://127.0.0.1:9/", b"x"))

        async def main() -> None:
            async with async_client(family="httpx2", verify=client_context()) as theirs:
                request = segment_request(theirs, "POST", server.url, small_plan)
                assert (await theirs.send(request)).text == "hello"

        anyio.run(main)


def test_a_wrong_content_length_is_refused_before_anything_leaves() -> None:
    with serving(Heads()) as server, client() as ours:
        request = segment_request(
            ours, "POST", server.url, b"hello", headers={"content-length": "6"}
        )
        with pytest.raises(httpx.LocalProtocolError, match="6, the content has 5"):
            ours.send(request)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_auth_that_signs_the_content_signs_what_is_sent(
    small_plan: Plan, backend: str
) -> None:
    class Signing(httpx.Auth):
        requires_request_body = True

        def auth_flow(
            self, request: httpx.Request
        ) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["digest"] = sha256(request.content).hexdigest()
            yield request

    script = Heads()

    async def main() -> None:
        async with async_client(auth=Signing()) as theirs:
            await theirs.send(segment_request(theirs, "POST", server.url, small_plan))

    with serving(script) as server:
        with client(auth=Signing()) as ours:
            ours.send(segment_request(ours, "POST", server.url, small_plan))
        anyio.run(main, backend=backend)
    assert len(script.contents) == 2
    for head, content in zip(script.heads, script.contents, strict=True):
        assert fields(head)["digest"] == sha256(content).hexdigest()
        assert len(content) == small_plan.length


def test_many_threads_share_one_client(small_plan: Plan) -> None:
    connections: list[int] = []
    answers: list[int] = []
    script = Heads()

    def counted(peer: Peer) -> None:
        connections.append(1)
        Heads()(peer)

    def work() -> None:
        for _ in range(10):
            request = segment_request(ours, "POST", server.url, small_plan)
            answers.append(ours.send(request).status_code)

    limits = httpx.Limits(max_connections=3, max_keepalive_connections=2)
    with serving(counted) as server, client(limits=limits, timeout=30) as ours:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [200] * 80
    assert len(connections) < 80
    assert script.heads == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_at_most_max_connections_are_open_at_once(
    small_plan: Plan, backend: str
) -> None:
    limits = httpx.Limits(max_connections=1)

    async def main() -> None:
        async with async_client(limits=limits, timeout=0.2) as ours:
            request = segment_request(ours, "POST", server.url, small_plan)
            held = await ours.send(request, stream=True)
            with pytest.raises(httpx.PoolTimeout):
                await ours.send(segment_request(ours, "POST", server.url, b"x"))
            await held.aclose()
            await ours.send(segment_request(ours, "POST", server.url, b"x"))

    with serving(Heads(b"hello")) as server:
        with client(limits=limits, timeout=0.2) as ours:
            request = segment_request(ours, "POST", server.url, small_plan)
            held = ours.send(request, stream=True)
            with pytest.raises(httpx.PoolTimeout):
                ours.send(segment_request(ours, "POST", server.url, b"x"))
            held.close()
            ours.send(segment_request(ours, "POST", server.url, b"x"))
        anyio.run(main, backend=backend)


def test_one_client_is_shared_by_a_process() -> None:
    assert shared_client() is shared_client()
    assert shows_interims(shared_client())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_the_child_makes_connections_of_its_own(tmp_path: Path) -> None:
    connections: list[int] = []

    def counted(peer: Peer) -> None:
        connections.append(1)
        Heads(b"hello")(peer)

    # In a process of its own: this one has threads.
    program = """
import os, sys
from poster_resume.transport import segment_request, shared_client
def use():
    ours = shared_client()
    return ours.send(segment_request(ours, "POST", sys.argv[1], b"x")).text
assert use() == "hello"
mine = shared_client()
pid = os.fork()
if not pid:
    # The parent's client works, too, on connections of its own.
    text = mine.send(segment_request(mine, "POST", sys.argv[1], b"x")).text
    os._exit(0 if text == use() == "hello" and shared_client() is not mine else 1)
assert os.waitpid(pid, 0)[1] == 0
assert use() == "hello"
"""
    with serving(counted) as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, server.url],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(connections) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_answer_that_was_open_at_a_fork_frees_its_connection_in_one_process() -> (
    None
):
    lines: list[list[bytes]] = []

    def noted(peer: Peer) -> None:
        mine: list[bytes] = []
        lines.append(mine)
        while True:
            head = peer.head()
            mine.append(head.split()[1])
            peer.content(int(fields(head)["content-length"]))
            peer.answer(200)

    program = """
import os, sys
from poster_resume.transport import client, segment_request
def request(who):
    return segment_request(ours, "POST", sys.argv[1] + who, b"x")
with client() as ours:
    response = ours.send(request("before"), stream=True)
    pid = os.fork()
    response.read()
    if not pid:
        ours.send(request("child"))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    ours.send(request("parent"))
"""
    with serving(noted) as server:
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program, f"{server.url}&"],
            check=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
        )
    assert [[line.rpartition(b"&")[2] for line in each] for each in lines] == [
        [b"before", b"parent"],
        [b"child"],
    ]


@pytest.mark.parametrize("seconds", [3e6, 1e12, float("inf")])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_timeout_may_be_as_long_as_one_likes(seconds: float, backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.content(int(fields(peer.head())["content-length"]))
        threading.Event().wait(0.3)
        peer.answer(200, b"at last")

    async def main() -> None:
        async with async_client(timeout=seconds) as theirs:
            request = segment_request(theirs, "POST", server.url, b"x")
            assert (await theirs.send(request)).text == "at last"

    with serving(script) as server, client(timeout=seconds) as ours:
        if backend == "asyncio":
            request = segment_request(ours, "POST", server.url, b"x")
            assert ours.send(request).text == "at last"
        anyio.run(main, backend=backend)


def test_addresses_that_this_machine_cannot_do_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with async_client() as theirs:
            request = segment_request(theirs, "POST", server.url, b"x")
            assert (await theirs.send(request)).text == "hello"

    with serving(Heads(b"hello")) as server, client() as ours:
        usual = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        # As with IPv6 on a machine without: the name has it, the kernel has not.
        unusual = (12345, socket.SOCK_STREAM, 6, "", ("::1", server.port, 0, 0))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [unusual, usual])
        request = segment_request(ours, "POST", server.url, b"x")
        assert ours.send(request).text == "hello"
        anyio.run(main)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [unusual])
        with pytest.raises(httpx.ConnectError):
            ours.send(segment_request(ours, "POST", "http://other.test/", b"x"))


def test_transports_take_an_inner_one(small_plan: Plan) -> None:
    inner = httpx.MockTransport(lambda request: httpx.Response(200, text="inner"))
    with serving(Heads(b"origin")) as server:
        transport = SegmentTransport(inner)
        with httpx.Client(transport=transport) as ours:
            assert ours.get(server.url).text == "inner"
            request = segment_request(ours, "POST", server.url, small_plan)
            assert ours.send(request).text == "origin"

        async def main() -> None:
            wrapped = AsyncSegmentTransport(inner)
            async with httpx.AsyncClient(transport=wrapped) as theirs:
                assert (await theirs.get(server.url)).text == "inner"
                request = segment_request(theirs, "POST", server.url, small_plan)
                assert (await theirs.send(request)).text == "origin"

        anyio.run(main)
