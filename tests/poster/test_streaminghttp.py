"""Uploads through urllib and http.client arrive whole, once, and are answered."""

import contextlib
import http.client
import http.cookiejar
import inspect
import io
import os
import socket
import ssl
import subprocess
import sys
import threading
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

import pytest
import trustme

from poster import duplex
from poster.encode import LengthMismatch, MultipartParam, multipart_encode
from poster.files import TextFile
from poster.streaminghttp import (
    StreamingHTTPConnection,
    StreamingHTTPHandler,
    StreamingHTTPRedirectHandler,
    StreamingHTTPSConnection,
    StreamingHTTPSHandler,
    _StreamingHTTPMixin,
    get_handlers,
    register_openers,
)
from tests.poster.loopback import PATIENCE, Script, Server, Wire, accepting, serving

LARGE = 32 * 1024 * 1024  # more than all buffers between the two ends hold


class Tls:
    """The two ends of TLS, each trusting what it should."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)
        self.authority = authority


@pytest.fixture(scope="module")
def tls() -> Tls:
    return Tls()


@pytest.fixture(params=["http", "https"])
def serve(
    request: pytest.FixtureRequest, tls: Tls
) -> Callable[[Script], contextlib.AbstractContextManager[Server]]:
    context = tls.server if request.param == "https" else None
    return lambda script: serving(script, context)


Serve = Callable[[Script], contextlib.AbstractContextManager[Server]]


@pytest.fixture
def opener(tls: Tls) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        StreamingHTTPHandler,
        StreamingHTTPRedirectHandler,
        StreamingHTTPSHandler(context=tls.client),
    )


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


def form(
    *params: tuple[str, object] | MultipartParam, boundary: str | None = None
) -> tuple[Iterator[bytes], dict[str, str], bytes]:
    body, headers = multipart_encode(params, boundary)
    expected = b"".join(body)
    body.reset()
    return body, headers, expected


def answered(opener: urllib.request.OpenerDirector, request: Request) -> bytes:
    with opener.open(request, timeout=PATIENCE) as response:
        content: bytes = response.read()
    return content


# The classes


def test_the_documented_signatures_are_kept() -> None:
    def names(of: Callable[..., object]) -> list[str]:
        kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = inspect.signature(of).parameters.values()
        return [each.name for each in parameters if each.kind is kinds]

    common = ["strict", "timeout", "source_address"]
    assert names(StreamingHTTPConnection) == ["host", "port", *common]
    files = ["key_file", "cert_file"]
    assert names(StreamingHTTPSConnection) == ["host", "port", *files, *common]
    assert inspect.signature(StreamingHTTPHandler).parameters["debuglevel"].default == 0
    assert (
        inspect.signature(StreamingHTTPSHandler).parameters["debuglevel"].default == 0
    )
    connection = StreamingHTTPConnection("localhost", 1, True, 2.5, ("127.0.0.1", 0))
    assert (connection.host, connection.port) == ("localhost", 1)
    assert connection.timeout == 2.5
    secure = StreamingHTTPSConnection("localhost", strict=True, timeout=2.5)
    assert (secure.host, secure.port, secure.timeout) == ("localhost", 443, 2.5)


def test_the_handlers_come_before_those_of_the_library() -> None:
    for handler in (
        StreamingHTTPHandler,
        StreamingHTTPSHandler,
        StreamingHTTPRedirectHandler,
    ):
        assert handler.handler_order == 499
        assert handler in get_handlers()
    assert issubclass(StreamingHTTPHandler, urllib.request.HTTPHandler)
    assert issubclass(StreamingHTTPSHandler, urllib.request.HTTPSHandler)
    assert issubclass(StreamingHTTPRedirectHandler, urllib.request.HTTPRedirectHandler)
    assert issubclass(StreamingHTTPConnection, http.client.HTTPConnection)
    assert issubclass(StreamingHTTPSConnection, http.client.HTTPSConnection)


def test_register_openers_makes_urlopen_stream() -> None:
    body, headers, expected = form(("a", "1"))
    before = urllib.request._opener  # type: ignore[attr-defined]  # put back below
    try:
        opener = register_openers()
        with serving(accepting) as server:
            request = Request(f"{server.url}/upload", body, headers)
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                assert response.read() == str(len(expected)).encode()
            assert server.requests[0].body == expected
        assert isinstance(opener, urllib.request.OpenerDirector)
    finally:
        urllib.request.install_opener(before)


def test_an_interpreter_without_tls_has_the_rest() -> None:
    code = """
import sys
sys.modules["ssl"] = None
import poster.streaminghttp as s
assert not hasattr(s, "StreamingHTTPSHandler")
assert s.get_handlers() == [s.StreamingHTTPHandler, s.StreamingHTTPRedirectHandler]
s.register_openers()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# Bodies


def test_a_form_arrives_as_it_was_encoded(
    serve: Serve, opener: urllib.request.OpenerDirector, large: Path
) -> None:
    for boundary in (None, "guessable"):
        with large.open("rb") as file:
            body, headers, expected = form(
                ("a", "é"), ("f", file), ("b", io.BytesIO(b"x")), boundary=boundary
            )
            with serve(accepting) as server:
                said = answered(opener, Request(server.url, body, headers))
            assert int(said) == len(expected)
            assert server.requests[0].body == expected
            assert server.requests[0].method == "POST"
            for name, value in headers.items():
                assert server.requests[0].headers[name] == value
            assert server.requests[0].headers["Transfer-Encoding"] is None


def test_bytes_files_and_iterators_arrive(
    serve: Serve, opener: urllib.request.OpenerDirector, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes(content := os.urandom(300_000))
    halves = content[:100_000], content[100_000:]

    class Reader:
        read = io.BytesIO(content).read

    with path.open("rb") as file, serve(accepting) as server:
        bodies: list[Any] = [
            content,
            memoryview(content),
            file,
            io.BytesIO(content),
            Reader(),
            iter(halves),
            list(halves),
            (memoryview(half) for half in halves),
        ]
        for data in bodies:
            request = Request(server.url, data, {"Content-Length": "300000"})
            assert answered(opener, request) == b"300000"
            assert server.requests.pop().body == content
        assert answered(opener, Request(server.url, b"abc")) == b"3"


def test_without_data_a_get_is_sent(
    serve: Serve, opener: urllib.request.OpenerDirector
) -> None:
    with serve(accepting) as server:
        assert answered(opener, Request(f"{server.url}/testing?foo=bar")) == b"0"
    assert (server.requests[0].method, server.requests[0].path) == (
        "GET",
        "/testing?foo=bar",
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("order", ["alone", "with the library's own"])
def test_a_body_of_unknown_length_needs_content_length(
    scheme: str, order: str, opener: urllib.request.OpenerDirector
) -> None:
    if order != "alone":
        opener.add_handler(urllib.request.HTTPHandler())
        opener.add_handler(urllib.request.HTTPSHandler())
    for data in (io.BytesIO(b"x"), iter([b"x"]), [b"x"], multipart_encode([])[0]):
        with pytest.raises(
            ValueError, match="No Content-Length specified for iterable"
        ):
            opener.open(Request(f"{scheme}://127.0.0.1:1/", data))


def test_an_explicit_transfer_coding_is_as_good_as_a_length(
    serve: Serve, opener: urllib.request.OpenerDirector
) -> None:
    with serve(accepting) as server:
        for data in (iter([b"ab", b"", b"c"]), io.BytesIO(b"abc"), b"abc"):
            request = Request(server.url, data, {"Transfer-Encoding": "chunked"})
            assert answered(opener, request) == b"3"
            assert server.requests.pop().body == b"abc"


def test_a_connection_takes_all_bodies_and_stays_open(serve: Serve, tls: Tls) -> None:
    with serve(accepting) as server:
        if server.url.startswith("https"):
            connection: http.client.HTTPConnection = StreamingHTTPSConnection(
                "127.0.0.1", server.port, context=tls.client, timeout=PATIENCE
            )
        else:
            connection = StreamingHTTPConnection(server.host, timeout=PATIENCE)
        with contextlib.closing(connection):
            for body in (b"abc", io.BytesIO(b"abc"), [b"a", b"bc"], iter([b"abc"])):
                connection.request("POST", "/", body, {"Content-Length": "3"})
                assert connection.getresponse().read() == b"3"
            connection.request("PUT", "/", iter([b"a", b"bc"]))  # chunked
            assert connection.getresponse().read() == b"3"
            connection.request("POST", "/", "abc")
            assert connection.getresponse().read() == b"3"
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"0"
    assert server.connections == 1
    assert {r.body for r in server.requests} == {b"abc", b""}


def test_a_body_may_be_sent_in_pieces_by_hand() -> None:
    with (
        serving(accepting) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
    ):
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", 9)
        connection.endheaders()
        connection.send(b"abc")
        connection.send(io.BytesIO(b"def"))
        connection.send(iter([b"g", b"hi"]))
        assert connection.getresponse().read() == b"9"
        assert server.requests[0].body == b"abcdefghi"
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", "2")
        connection.endheaders()
        with pytest.raises(LengthMismatch, match="more than the 2 bytes"):
            connection.send(b"abc")
        assert connection.sock is None


class Recording:
    """What a test double or a wrapper has of a socket."""

    def __init__(self, broken: type[OSError] | None = None) -> None:
        self.sent = b""
        self.broken = broken

    def sendall(self, data: bytes) -> None:
        if self.broken is not None:
            raise self.broken
        self.sent += bytes(data)

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None: ...


class Mixed(_StreamingHTTPMixin, http.client.HTTPConnection):
    """A connection that a program made of the parts."""


@pytest.mark.parametrize("of", [StreamingHTTPConnection, Mixed])
def test_send_takes_all_bodies_from_their_beginning_without_a_request(
    of: type[http.client.HTTPConnection],
) -> None:
    body, _, expected = form(("a", "1"))
    file = io.BytesIO(b"abcdef")
    file.read(3)
    for data, sent in (
        (b"abc", b"abc"),
        (file, b"abcdef"),
        (file, b"abcdef"),
        (iter([b"a", b"b"]), b"ab"),
        ([b"a", b"b"], b"ab"),
        (body, expected),
        (body, expected),
    ):
        connection = of("example.test")
        recording = Recording()
        connection.sock = recording
        connection.send(data)
        assert recording.sent == sent


def test_send_outside_a_request_uses_a_real_socket_too() -> None:
    here, there = socket.socketpair()
    with here, there, here.makefile("rb") as received:
        connection = Mixed("example.test")
        connection.sock = there
        connection.send(iter([b"a", b"b\n"]))
        assert received.readline() == b"ab\n"
        connection.close()


@pytest.mark.parametrize("data", [b"abc", io.BytesIO(b"abc"), [b"abc"]])
def test_a_broken_connection_is_closed(data: object) -> None:
    connection = StreamingHTTPConnection("example.test")
    connection.sock = Recording(BrokenPipeError)
    with pytest.raises(BrokenPipeError):
        connection.send(data)
    assert connection.sock is None


def test_a_request_tells_the_length_of_what_has_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    body, _, expected = form(("a", "1"))
    with path.open("rb") as file:
        file.read(4)
        for data, sent in ((file, b"0123456789"), (body, expected)):
            connection = StreamingHTTPConnection("example.test")
            recording = Recording()
            connection.sock = recording
            connection.request("POST", "/", data, {"X-Mine": "yes"})
            head, _, content = recording.sent.partition(b"\r\n\r\n")
            assert b"Content-Length: %d" % len(sent) in head
            assert b"Transfer-Encoding" not in head
            assert content == sent


def test_a_request_sends_in_chunks_what_has_no_length() -> None:
    out, into = os.pipe()
    with open(into, "wb") as pipe:
        pipe.write(b"abc")
    connection = StreamingHTTPConnection("example.test")
    recording = Recording()
    connection.sock = recording
    with open(out, "rb") as pipe:
        connection.request("POST", "/", pipe)
    assert b"Transfer-Encoding: chunked" in recording.sent
    assert recording.sent.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")


def test_nothing_is_sent_of_a_request_with_a_text_file(tmp_path: Path) -> None:
    connection = StreamingHTTPConnection("example.test")
    recording = Recording()
    connection.sock = recording
    with pytest.raises(TextFile, match='open it in binary mode, "rb"'):
        connection.request("POST", "/", io.StringIO("abc"))
    assert recording.sent == b""


def test_without_auto_open_a_closed_connection_is_not_opened() -> None:
    connection = StreamingHTTPConnection("127.0.0.1", 1)
    connection.auto_open = 0
    with pytest.raises(http.client.NotConnected):
        connection.send(b"x")


def test_getresponse_needs_a_request() -> None:
    with (
        serving(lambda wire: None) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
    ):
        with pytest.raises(http.client.ResponseNotReady):
            connection.getresponse()
        connection.connect()
        with pytest.raises(http.client.ResponseNotReady):
            connection.getresponse()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (io.StringIO("abc"), TextFile, 'open it in binary mode, "rb"'),
        (iter(["abc"]), TypeError, "yields str, not bytes: encode it"),
        (5, TypeError, "must be bytes, a binary file or an iterable of bytes, not int"),
    ],
)
def test_what_is_not_bytes_is_refused(
    data: object, error: type[Exception], message: str
) -> None:
    def script(wire: Wire) -> None:
        request = wire.read()
        assert request is None or not request.complete

    with (
        serving(script) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
        pytest.raises(error, match=message),
    ):
        connection.request("POST", "/", data, {"Content-Length": "3"})


def test_small_fields_share_packets() -> None:
    sent: list[int] = []

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event == "http.client.send" and arguments[0] is connection:
            assert isinstance(arguments[1], bytes)
            sent.append(len(arguments[1]))

    sys.addaudithook(audit)
    body, headers, expected = form(*((f"field{n}", str(n)) for n in range(2000)))
    with (
        serving(accepting) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
    ):
        connection.request("POST", "/", body, headers)
        connection.getresponse().read()
    assert server.requests[0].body == expected
    assert len(sent) < 10


def test_debuglevel_says_what_is_sent(
    capsys: pytest.CaptureFixture[str], opener: urllib.request.OpenerDirector
) -> None:
    chatty = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), StreamingHTTPHandler(debuglevel=1)
    )
    with serving(accepting) as server:
        for data in (io.BytesIO(b"abc"), iter([b"abc"]), b"abc"):
            answered(chatty, Request(server.url, data, {"Content-Length": "3"}))
        said = capsys.readouterr().out
        assert "send: b'POST / HTTP/1.1" in said
        assert "sending a readable" in said
        assert "sending an iterable" in said
        assert "send: b'abc'" in said
        assert "reply: 'HTTP/1.1 200 OK" in said
        answered(opener, Request(server.url, b"abc"))
    assert capsys.readouterr().out == ""


# Lengths


@pytest.mark.parametrize("announced", [2, 4])
@pytest.mark.parametrize("kind", ["bytes", "memory", "file", "iterator", "reader"])
def test_nothing_surplus_is_sent_and_nothing_padded(
    announced: int, kind: str, tmp_path: Path, opener: urllib.request.OpenerDirector
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")

    class Reader:
        read = io.BytesIO(b"abc").read

    with path.open("rb") as file, serving(accepting) as server:
        bodies: dict[str, object] = {
            "bytes": b"abc",
            "memory": io.BytesIO(b"abc"),
            "file": file,
            "iterator": iter([b"ab", b"c"]),
            "reader": Reader(),
        }
        request = Request(server.url, bodies[kind], {"Content-Length": str(announced)})  # type: ignore[arg-type]
        with pytest.raises(LengthMismatch, match="announced"):
            opener.open(request, timeout=PATIENCE)
    arrived = server.requests[0]
    if announced > 3:
        assert not arrived.complete
    assert b"abc".startswith(arrived.body)
    assert len(arrived.body) <= min(announced, 3)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_sent_is_an_error_at_once(
    change: int,
    fast: bool,
    large: Path,
    opener: urllib.request.OpenerDirector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not fast:
        monkeypatch.delattr(os, "sendfile", raising=False)
    changed = False

    def truncate(param: MultipartParam | None, current: int, total: int) -> None:
        nonlocal changed
        if not changed and current > LARGE // 2:
            changed = True
            os.truncate(large, LARGE + change)

    param = MultipartParam.from_file("f", large)
    body, headers = multipart_encode([param], cb=truncate)
    with serving(accepting) as server:
        with pytest.raises(LengthMismatch, match=r"grow|shrink"):
            opener.open(Request(server.url, body, headers), timeout=PATIENCE)
        assert changed
    assert not server.requests[0].complete
    assert len(server.requests[0].body) < LARGE + 500


def test_files_reach_a_plain_connection_by_the_kernel_alone(
    large: Path, opener: urllib.request.OpenerDirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    sendfile = getattr(os, "sendfile", None)
    if sendfile is None:
        pytest.skip("this system has no sendfile(2)")
    sent = 0

    def counting(*arguments: int) -> int:
        nonlocal sent
        count: int = sendfile(*arguments)
        sent += count
        return count

    monkeypatch.setattr(os, "sendfile", counting)
    with large.open("rb") as file, serving(accepting) as server:
        body, headers, expected = form(("f", file))
        answered(opener, Request(server.url, body, headers))
        assert server.requests[0].body == expected
        assert sent == LARGE
        answered(opener, Request(server.url, file, {"Content-Length": str(LARGE)}))
        assert sent == 2 * LARGE
        assert len(server.requests[1].body) == LARGE


@pytest.mark.parametrize("refusal", ["missing", "ENOSYS", "EINVAL"])
def test_without_sendfile_files_are_read(
    refusal: str,
    tmp_path: Path,
    opener: urllib.request.OpenerDirector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if refusal == "missing":
        monkeypatch.delattr(os, "sendfile", raising=False)
    else:
        import errno

        def refusing(*_: int) -> int:
            raise OSError(getattr(errno, refusal), "not for these descriptors")

        monkeypatch.setattr(os, "sendfile", refusing, raising=False)
    path = tmp_path / "f"
    path.write_bytes(os.urandom(3_000_000))
    with path.open("rb") as file, serving(accepting) as server:
        body, headers, expected = form(("f", file), ("a", "1"))
        answered(opener, Request(server.url, body, headers))
        assert server.requests[0].body == expected


# Beginning again


def once(status: str, *headers: str) -> Script:
    """Answer the first request to /start with *status*, all others with 200."""

    def script(wire: Wire) -> None:
        request = wire.read()
        assert request is not None
        if request.path == "/start" and "Authorization" not in request.headers:
            wire.say(status, b"", *headers)
        else:
            wire.say("200 OK", str(len(request.body)).encode())

    return script


class Counted:
    """An iterator of a program's own, with the reset() that 0.8 asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.left = content

    def reset(self) -> None:
        self.left = self.content

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        block, self.left = self.left[:30_000], self.left[30_000:]
        return block


def repeatable(path: Path) -> Iterator[tuple[object, dict[str, str], bytes]]:
    content = b"x" * 100_000
    path.write_bytes(content)
    plain = {"Content-Length": "100000", "Content-Type": "a/b"}
    yield content, plain, content
    yield io.BytesIO(content), plain, content
    yield [content], plain, content
    yield Counted(content), plain, content
    with path.open("rb") as file:
        yield file, plain, content
    with path.open("rb") as file:
        body, headers, expected = form(("a", "1"), ("f", file))
        next(body)  # even if it was begun
        yield body, headers, expected


def test_a_body_is_sent_again_with_credentials(
    serve: Serve, opener: urllib.request.OpenerDirector, tmp_path: Path
) -> None:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    auth = urllib.request.HTTPBasicAuthHandler(passwords)
    auth.handler_order = 0  # type: ignore[misc]  # as programs do
    opener.add_handler(auth)
    challenge = 'WWW-Authenticate: Basic realm="default"'
    with serve(once("401 Unauthorized", challenge)) as server:
        passwords.add_password(None, server.url, "john", "secret")
        for data, headers, expected in repeatable(tmp_path / "f"):
            request = Request(f"{server.url}/start", data, headers)  # type: ignore[arg-type]
            assert int(answered(opener, request)) == len(expected)
            first, second = server.requests
            assert first.body == second.body == expected
            assert second.headers["Authorization"].startswith("Basic ")
            server.requests.clear()


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_redirect_that_keeps_the_method_keeps_the_body(
    status: str,
    method: str,
    serve: Serve,
    opener: urllib.request.OpenerDirector,
    tmp_path: Path,
) -> None:
    with serve(once(status, "Location: /other%20place")) as server:
        for data, headers, expected in repeatable(tmp_path / "f"):
            request = Request(f"{server.url}/start", data, headers, method=method)  # type: ignore[arg-type]
            assert int(answered(opener, request)) == len(expected)
            first, second = server.requests
            assert (second.method, second.path) == (method, "/other%20place")
            assert first.body == second.body == expected
            assert second.headers["Content-Type"] == headers["Content-Type"]
            server.requests.clear()


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "401 Unauthorized"])
def test_an_iterator_that_is_spent_is_not_sent_as_an_empty_body(
    status: str, opener: urllib.request.OpenerDirector
) -> None:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    opener.add_handler(urllib.request.HTTPBasicAuthHandler(passwords))
    headers = ["Location: /other", 'WWW-Authenticate: Basic realm="default"']
    with serving(once(status, *headers)) as server:
        passwords.add_password(None, server.url, "john", "secret")
        data = iter([b"abc"])
        request = Request(f"{server.url}/start", data, {"Content-Length": "3"})
        with pytest.raises((HTTPError, LengthMismatch)) as caught:
            opener.open(request, timeout=PATIENCE)
        if isinstance(caught.value, HTTPError):
            caught.value.close()
            assert caught.value.code == 307
        else:
            assert "an iterator can be sent but once" in str(caught.value)
            # urllib leaves the 401 open, in the frames of the failure.
            traceback.clear_frames(caught.value.__traceback__)
        assert not any(r.complete for r in server.requests[1:])


@pytest.mark.parametrize("code", ["301 Moved", "302 Found", "303 See Other"])
def test_a_post_becomes_a_get_without_entity_headers(
    code: str, serve: Serve, opener: urllib.request.OpenerDirector
) -> None:
    body, headers, expected = form(("a", "1"))
    with serve(once(code, "Location: /foo bar")) as server:
        kept = {"X-Mine": "yes", "Content-Language": "en", "Authorization-Hint": "x"}
        request = Request(f"{server.url}/start", body, headers | kept)
        assert answered(opener, request) == b"0"
    first, second = server.requests
    assert first.body == expected
    assert (second.method, second.path) == ("GET", "/foo%20bar")
    assert second.headers["X-Mine"] == "yes"
    for name in ("Content-Type", "Content-Length", "Content-Language"):
        assert name not in second.headers
    assert "Transfer-Encoding" not in second.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_requests_without_body_are_redirected_as_they_are(
    method: str, code: int, opener: urllib.request.OpenerDirector
) -> None:
    with serving(once(f"{code} Elsewhere", "Location: /foo")) as server:
        spoken = {"Content-Type": "text/x", "Content-Length": "0"}
        answered(opener, Request(f"{server.url}/start", None, spoken, method=method))
    assert [r.method for r in server.requests] == [method, method]
    assert "Content-Type" not in server.requests[1].headers


@pytest.mark.parametrize(
    ("method", "code"), [("PUT", 301), ("PUT", 303), ("POST", 300)]
)
def test_other_redirects_are_errors(
    method: str, code: int, opener: urllib.request.OpenerDirector
) -> None:
    with serving(once(f"{code} Elsewhere", "Location: /foo")) as server:
        request = Request(f"{server.url}/start", b"abc", method=method)
        with pytest.raises(HTTPError) as caught:
            opener.open(request, timeout=PATIENCE)
        caught.value.close()
    assert caught.value.code == code
    assert len(server.requests) == 1


def test_credentials_do_not_follow_to_another_origin(
    opener: urllib.request.OpenerDirector,
) -> None:
    secrets = {"Authorization": "Bearer secret", "Cookie": "a=b", "X-Mine": "yes"}
    with serving(accepting) as other:
        for location, present in ((f"{other.url}/x", False), ("/same", True)):

            def script(wire: Wire, location: str = location) -> None:
                request = wire.read()
                assert request is not None
                if request.path == "/start":
                    wire.say("302 Found", b"", f"Location: {location}")
                else:
                    wire.say("200 OK")

            with serving(script) as server:
                answered(opener, Request(f"{server.url}/start", b"abc", secrets))
                last = (server if present else other).requests[-1]
            assert last.method == "GET"
            assert last.headers["X-Mine"] == "yes"
            assert ("Authorization" in last.headers) is present
            assert ("Cookie" in last.headers) is present


# Early answers


def refusing(status: str, then: str, started: threading.Event | None = None) -> Script:
    """Answer with *status* before the body is read, *then* do something unkind."""

    def script(wire: Wire) -> None:
        request = wire.read_head()
        assert request is not None
        wire.sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        wire.say(status, b"sorry", 'WWW-Authenticate: Basic realm="default"')
        if isinstance(wire.sock, ssl.SSLSocket):
            # TLS cannot read what arrives together with the end of the connection.
            wire.reader.read(LARGE // 2)
        if then == "drain":
            wire.read_body(request)
        elif then == "reset":
            wire.reset()
        elif then == "stop reading":
            assert started is not None
            assert started.wait(PATIENCE)

    return script


@pytest.mark.parametrize("status", ["413 Content Too Large", "401 Unauthorized"])
@pytest.mark.parametrize("then", ["close", "drain", "reset", "stop reading"])
@pytest.mark.parametrize("kind", ["file", "form", "iterator"])
def test_an_early_answer_is_received(
    status: str,
    then: str,
    kind: str,
    serve: Serve,
    opener: urllib.request.OpenerDirector,
    large: Path,
) -> None:
    done = threading.Event()
    with large.open("rb") as file, serve(refusing(status, then, done)) as server:
        headers = {"Content-Length": str(LARGE)}
        bodies: dict[str, object] = {
            "file": file,
            "iterator": (bytes(65536) for _ in range(LARGE // 65536)),
        }
        if kind == "form":
            bodies["form"], headers, _ = form(("f", file))
        request = Request(server.url, bodies[kind], headers)  # type: ignore[arg-type]
        with pytest.raises(HTTPError) as caught:
            opener.open(request, timeout=PATIENCE)
        done.set()
        assert caught.value.code == int(status[:3])
        assert caught.value.read() == b"sorry"
        caught.value.close()


def test_an_early_401_is_answered_with_credentials(
    opener: urllib.request.OpenerDirector, large: Path
) -> None:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    opener.add_handler(urllib.request.HTTPBasicAuthHandler(passwords))

    def script(wire: Wire) -> None:
        request = wire.read_head()
        assert request is not None
        if "Authorization" in request.headers:
            wire.read_body(request)
            wire.say("200 OK", str(len(request.body)).encode())
        else:
            wire.say("401 Unauthorized", b"", 'WWW-Authenticate: Basic realm="x"')

    with large.open("rb") as file, serving(script) as server:
        passwords.add_password(None, server.url, "john", "secret")
        body, headers, expected = form(("f", file))
        assert int(answered(opener, Request(server.url, body, headers))) == len(
            expected
        )
        assert server.requests[1].body == expected


def test_a_connection_cut_short_by_an_answer_is_closed_and_opens_again(
    large: Path,
) -> None:
    done = threading.Event()

    def script(wire: Wire) -> None:
        request = wire.read_head()
        if request is None:
            return
        if request.method == "POST":
            wire.say("413 Content Too Large", b"sorry")
            assert done.wait(PATIENCE)
        else:
            wire.say("200 OK", b"fine")

    with (
        large.open("rb") as file,
        serving(script) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
    ):
        connection.request("POST", "/", file, {"Content-Length": str(LARGE)})
        connection.send(b"nothing of this is sent, because it was refused")
        response = connection.getresponse()
        assert connection.sock is None
        assert (response.status, response.read()) == (413, b"sorry")
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"fine"
        done.set()
    assert server.connections == 2


def test_a_success_that_comes_early_does_not_cut_the_body(
    serve: Serve, opener: urllib.request.OpenerDirector, large: Path
) -> None:
    def script(wire: Wire) -> None:
        request = wire.read_head()
        assert request is not None
        wire.say("200 OK", b"reading")
        wire.read_body(request)

    with large.open("rb") as file, serve(script) as server:
        request = Request(server.url, file, {"Content-Length": str(LARGE)})
        assert answered(opener, request) == b"reading"
    assert server.requests[0].complete


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_success_before_a_broken_connection_is_received(
    then: str, opener: urllib.request.OpenerDirector, large: Path
) -> None:
    with large.open("rb") as file, serving(refusing("200 OK", then)) as server:
        request = Request(server.url, file, {"Content-Length": str(LARGE)})
        assert answered(opener, request) == b"sorry"


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1."])
def test_a_connection_that_breaks_without_an_answer_is_an_error(
    then: str,
    said: bytes,
    serve: Serve,
    opener: urllib.request.OpenerDirector,
    large: Path,
) -> None:
    def script(wire: Wire) -> None:
        wire.read_head()
        wire.sock.sendall(said)
        if then == "reset":
            wire.reset()

    with large.open("rb") as file, serve(script) as server:
        request = Request(server.url, file, {"Content-Length": str(LARGE)})
        with pytest.raises(URLError) as caught:
            opener.open(request, timeout=PATIENCE)
    assert isinstance(caught.value.reason, ConnectionError | ssl.SSLError)


def test_an_answer_that_is_no_http_is_an_error(
    opener: urllib.request.OpenerDirector, large: Path
) -> None:
    def script(wire: Wire) -> None:
        wire.read_head()
        wire.sock.sendall(b"go away, this is no web server\r\n")

    with large.open("rb") as file, serving(script) as server:
        request = Request(server.url, file, {"Content-Length": str(LARGE)})
        with pytest.raises(http.client.BadStatusLine):
            opener.open(request, timeout=PATIENCE)


def test_a_server_that_neither_reads_nor_answers_is_a_timeout(large: Path) -> None:
    done = threading.Event()

    def script(wire: Wire) -> None:
        wire.read_head()
        assert done.wait(PATIENCE)

    with (
        large.open("rb") as file,
        serving(script) as server,
        contextlib.closing(
            StreamingHTTPConnection(server.host, timeout=0.2)
        ) as connection,
    ):
        with pytest.raises(TimeoutError, match="while sending the body"):
            connection.request("POST", "/", file, {"Content-Length": str(LARGE)})
        assert connection.sock is None
        done.set()


@pytest.mark.parametrize("cut", [1, 5, 20, 1000])
def test_interim_responses_are_dropped_wherever_they_come(
    cut: int, serve: Serve, opener: urllib.request.OpenerDirector, large: Path
) -> None:
    interim = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    )

    def script(wire: Wire) -> None:
        request = wire.read_head()
        assert request is not None
        for start in range(0, len(interim), cut):
            wire.sock.sendall(interim[start : start + cut])
        wire.read_body(request)
        wire.sock.sendall(interim)
        wire.say("200 OK", b"done")

    with large.open("rb") as file, serve(script) as server:
        for data, length in ((file, LARGE), (b"abc", 3)):
            request = Request(server.url, data, {"Content-Length": str(length)})
            with opener.open(request, timeout=PATIENCE) as response:
                assert (response.status, response.read()) == (200, b"done")
        assert all(r.complete for r in server.requests)


def test_a_response_has_a_descriptor_and_may_be_closed_twice() -> None:
    with (
        serving(accepting) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
    ):
        connection.request("POST", "/", b"abc")
        response = connection.getresponse()
        assert response.fileno() >= 0
        response.close()
        response.close()
        assert response.isclosed()


def test_an_early_answer_larger_than_is_kept_is_read_whole(
    opener: urllib.request.OpenerDirector, large: Path
) -> None:
    content = os.urandom(3 * 1024 * 1024)

    def script(wire: Wire) -> None:
        request = wire.read_head()
        assert request is not None
        writer = threading.Thread(target=wire.say, args=("200 OK", content))
        writer.start()
        wire.read_body(request)
        writer.join(PATIENCE)

    with large.open("rb") as file, serving(script) as server:
        request = Request(server.url, file, {"Content-Length": str(LARGE)})
        assert answered(opener, request) == content
    assert server.requests[0].complete


def test_an_endless_interim_head_ends_the_sending() -> None:
    answer = duplex.Answer()
    answer.feed(b"HTTP/1.1 103 Early Hints\r\n")
    assert not answer.refuses
    answer.feed(b"X: " + b"y" * (1024 * 1024))
    assert answer.refuses


def test_a_switch_of_protocols_is_a_final_answer() -> None:
    answer = duplex.Answer()
    answer.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert answer.final == 101


def test_a_response_that_closes_takes_the_connection_along() -> None:
    def script(wire: Wire) -> None:
        wire.read()
        wire.say("200 OK", b"bye", "Connection: close")

    with (
        serving(script) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
    ):
        for _ in range(2):
            connection.request("POST", "/", b"abc")
            response = connection.getresponse()
            assert connection.sock is None
            assert response.read() == b"bye"
    assert server.connections == 2


def test_a_callback_may_close_the_connection(large: Path) -> None:
    def body() -> Iterator[bytes]:
        yield b"abc"
        connection.close()
        yield b"def"

    with (
        serving(accepting) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
        pytest.raises(OSError, match="closed while the body was being sent"),
    ):
        connection.request("POST", "/", body(), {"Content-Length": "6"})


class Moody(socket.socket):
    """A socket that wants to read before it writes, as TLS sometimes does."""

    peer: socket.socket
    moods: Iterator[type[OSError]]
    said = b"more"

    def send(self, data: Any, flags: int = 0) -> int:
        for mood in self.moods:
            self.peer.sendall(self.said)
            raise mood
        return super().send(data, flags)


def test_a_write_that_wants_to_read_goes_on_when_something_came() -> None:
    ours, peer = socket.socketpair()
    with Moody(fileno=ours.detach()) as moody, peer:
        moody.peer, answer = peer, duplex.Answer()
        moody.moods = iter([ssl.SSLWantReadError, ssl.SSLWantWriteError])
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        with duplex.Duplex(moody, answer) as line:
            line.send(b"abc")
        assert peer.recv(10) == b"abc"
        assert answer.data == b"HTTP/1.1 200 OK\r\n\r\nmoremore"
        assert moody.gettimeout() is None


def test_an_answer_that_comes_with_the_broken_connection_is_received() -> None:
    ours, peer = socket.socketpair()
    with Moody(fileno=ours.detach()) as moody, peer:
        moody.peer, moody.said = peer, b"HTTP/1.1 413 Too Large\r\n\r\n"
        moody.moods, answer = iter([ConnectionResetError]), duplex.Answer()
        with duplex.Duplex(moody, answer) as line, pytest.raises(duplex.Refused):
            line.send(b"abc")
        assert answer.data == moody.said


def test_a_server_that_said_all_and_stops_reading_is_a_timeout_not_a_busy_loop() -> (
    None
):
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.settimeout(0.1)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.shutdown(socket.SHUT_WR)
        with (
            duplex.Duplex(ours, duplex.Answer()) as line,
            pytest.raises(TimeoutError, match="while sending the body"),
        ):
            line.send(bytes(LARGE))
        assert ours.gettimeout() == 0.1


def test_a_kernel_that_is_busy_is_asked_again(
    tmp_path: Path,
    opener: urllib.request.OpenerDirector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sendfile = getattr(os, "sendfile", None)
    if sendfile is None:
        pytest.skip("this system has no sendfile(2)")
    busy = iter([BlockingIOError, InterruptedError])

    def moody(*arguments: int) -> int:
        for error in busy:
            raise error
        count: int = sendfile(*arguments)
        return count

    monkeypatch.setattr(os, "sendfile", moody)
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    with path.open("rb") as file, serving(accepting) as server:
        request = Request(server.url, file, {"Content-Length": "3"})
        assert answered(opener, request) == b"3"
        assert server.requests[0].body == b"abc"


def test_a_connection_without_data_yet_says_so() -> None:
    class Nothing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: object) -> None:
            return None

    reader = duplex.AnswerReader(duplex.Answer(), Nothing())
    assert reader.read(10) is None


# Mixtures


def test_the_librarys_own_handlers_may_stand_beside(tls: Tls) -> None:
    body, headers, expected = form(("a", "1"))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        StreamingHTTPHandler,
        urllib.request.HTTPSHandler(context=tls.client),
    )
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(StreamingHTTPSHandler(context=tls.client))
    for context in (None, tls.server):
        with serving(accepting, context) as server:
            assert int(answered(opener, Request(server.url, body, headers))) == len(
                expected
            )
            assert server.requests[0].body == expected


def test_cookies_are_kept(opener: urllib.request.OpenerDirector) -> None:
    jar = http.cookiejar.CookieJar()
    opener.add_handler(urllib.request.HTTPCookieProcessor(jar))

    def script(wire: Wire) -> None:
        wire.read()
        wire.say("200 OK", b"", "Set-Cookie: a=b")

    with serving(script) as server:
        for _ in range(2):
            body, headers, _ = form(("a", "1"))
            answered(opener, Request(server.url, body, headers))
    assert [r.headers["Cookie"] for r in server.requests] == [None, "a=b"]


def test_a_plain_proxy_gets_the_whole_url(large: Path) -> None:
    with serving(accepting) as proxy, large.open("rb") as file:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"http": proxy.url}), *get_handlers()
        )
        body, headers, expected = form(("f", file))
        request = Request("http://example.test/upload", body, headers)
        assert int(answered(opener, request)) == len(expected)
    assert proxy.requests[0].path == "http://example.test/upload"
    assert proxy.requests[0].headers["Host"] == "example.test"
    assert proxy.requests[0].body == expected


def relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_a_tunnel_carries_tls_to_the_server(tls: Tls, large: Path) -> None:
    with serving(accepting, tls.server) as server, large.open("rb") as file:

        def tunnel(wire: Wire) -> None:
            request = wire.read_head()
            assert request is not None
            assert (request.method, request.path) == ("CONNECT", server.host)
            with socket.create_connection(("127.0.0.1", server.port)) as target:
                wire.sock.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
                up = threading.Thread(target=relay, args=(wire.sock, target))
                up.start()
                relay(target, wire.sock)
                up.join(PATIENCE)

        with serving(tunnel) as proxy:
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({"https": proxy.url}),
                StreamingHTTPSHandler(context=tls.client),
            )
            body, headers, expected = form(("f", file))
            said = answered(opener, Request(server.url, body, headers))
            assert int(said) == len(expected)
            assert server.requests[0].body == expected


def test_a_tls_context_is_honoured(tls: Tls) -> None:
    strict = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), StreamingHTTPSHandler
    )
    with serving(accepting, tls.server) as server:
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            strict.open(Request(server.url, b"abc"), timeout=PATIENCE)
        lax = ssl.create_default_context()
        lax.check_hostname = False
        lax.verify_mode = ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), StreamingHTTPSHandler(context=lax)
        )
        assert answered(opener, Request(server.url, b"abc")) == b"3"


def test_the_host_name_is_checked_unless_told_otherwise(tls: Tls) -> None:
    wrong = tls.authority.issue_cert("example.test")
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    wrong.configure_cert(server_context)

    def opener(check: bool | None) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context()
        tls.authority.configure_trust(context)
        return urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            StreamingHTTPSHandler(context=context, check_hostname=check),
        )

    with serving(accepting, server_context) as server:
        with pytest.raises(URLError, match="certificate verify failed"):
            opener(None).open(Request(server.url, b"abc"), timeout=PATIENCE)
        assert answered(opener(False), Request(server.url, b"abc")) == b"3"
        context = ssl.create_default_context()
        tls.authority.configure_trust(context)
        connection = StreamingHTTPSConnection(
            "127.0.0.1", server.port, context=context, check_hostname=False
        )
        with contextlib.closing(connection):
            connection.request("POST", "/", b"abc")
            assert connection.getresponse().read() == b"3"


def test_a_client_certificate_is_shown(tls: Tls, tmp_path: Path) -> None:
    mine = tls.authority.issue_cert("client@example.test")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    mine.private_key_pem.write_to_path(str(key))
    mine.cert_chain_pems[0].write_to_path(str(cert))
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.authority.issue_cert("127.0.0.1").configure_cert(demanding)
    tls.authority.configure_trust(demanding)
    demanding.verify_mode = ssl.CERT_REQUIRED
    with serving(accepting, demanding) as server:
        context = ssl.create_default_context()
        tls.authority.configure_trust(context)
        connection = StreamingHTTPSConnection(
            "127.0.0.1", server.port, str(key), str(cert), context=context
        )
        with contextlib.closing(connection):
            connection.request("POST", "/", b"abc")
            assert connection.getresponse().read() == b"3"
    StreamingHTTPSConnection("127.0.0.1", 1, str(key), str(cert)).close()
    StreamingHTTPSConnection("127.0.0.1", 1, check_hostname=True).close()
    with pytest.raises(ValueError, match="key_file needs cert_file"):
        StreamingHTTPSConnection("127.0.0.1", 1, str(key))


def test_a_socket_of_another_kind_is_sent_to_all_the_same() -> None:
    connection = StreamingHTTPConnection("example.test")
    recording = Recording()
    connection.sock = recording
    body, headers, expected = form(("a", "1"))
    connection.request("POST", "/", body, headers)
    assert recording.sent.endswith(b"\r\n\r\n" + expected)
    assert connection.getresponse().read() == b"ok"


def test_a_content_length_that_is_no_number_is_the_servers_business() -> None:
    with (
        serving(lambda wire: wire.say("400 Bad Request", b"no number")) as server,
        contextlib.closing(StreamingHTTPConnection(server.host)) as connection,
    ):
        connection.request("POST", "/", io.BytesIO(b"abc"), {"Content-Length": "x"})
        assert connection.getresponse().status == 400
