"""Streaming uploads over `http.client` and `urllib.request`.

Files and iterators, such as `poster.encode.multipart_encode` returns, are sent as they
are read. A body begins at its beginning whenever a request starts, exactly as many
bytes of it are sent as Content-Length says, and an answer that comes before its end is
received.

`register_openers` is all that most programs need. Content-Length must be given for
anything but bytes, because nobody can tell in advance what an iterator will yield.

>>> import io, urllib.request
>>> opener = register_openers()
>>> content = b"Test file data"
>>> request = urllib.request.Request(
...     "http://localhost:5000",
...     io.BytesIO(content),
...     {"Content-Length": str(len(content))},
... )
"""

import http.client
import io
import socket
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from http.client import HTTPResponse, NotConnected
from typing import IO, TYPE_CHECKING, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit

from poster import files
from poster.body import multipart_yielder
from poster.duplex import Answer, AnswerReader, Duplex, Refused, is_plain
from poster.files import FileRange, LengthMismatch, Readable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    _HeaderValue = ReadableBuffer | str | int

__all__ = [
    "StreamingHTTPConnection",
    "StreamingHTTPHandler",
    "StreamingHTTPRedirectHandler",
    "get_handlers",
    "register_openers",
]

_NO_HEADERS: "Mapping[str, _HeaderValue]" = {}
_Piece = bytes | memoryview | FileRange

# The default of the standard library: whatever socket.setdefaulttimeout() said.
_TIMEOUT: float = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
_BLOCK_SIZE = 256 * 1024  # of what is read from a file and sent
_RANGE_SIZE = 4 * 1024 * 1024  # of what the kernel sends in one call
_GATHER_SIZE = 64 * 1024  # small blocks of a form are sent together


class _StreamingHTTPMixin(http.client.HTTPConnection):
    """What makes a connection stream: any body, counted, with an ear for the answer."""

    # Of the exchange that is going on.
    _answer: Answer
    _refused = False
    _in_body = False
    _announced: int | None = None
    _left: int | None = None

    def request(
        self,
        method: str,
        url: str,
        body: object = None,
        headers: "Mapping[str, _HeaderValue]" = _NO_HEADERS,
        *,
        encode_chunked: bool = False,
    ) -> None:
        """Send a request with *body*, which is what `send` takes, or text in Latin-1.

        A file or form that knows its length is announced with it, as in Python 2;
        other iterables are sent chunked, unless *headers* say how long they are.

        Raises:
            As `endheaders`.
        """
        told = {name.lower() for name in headers}
        if told.isdisjoint(("content-length", "transfer-encoding")):
            length = _length_of(body)
            if length is not None:
                headers = {**headers, "Content-Length": str(length)}
        super().request(
            method, url, cast(bytes, body), headers, encode_chunked=encode_chunked
        )

    def putrequest(
        self,
        method: str,
        url: str,
        skip_host: bool = False,
        skip_accept_encoding: bool = False,
    ) -> None:
        super().putrequest(method, url, skip_host, skip_accept_encoding)
        self._begin_exchange()

    def putheader(
        self, header: str | bytes, *values: "ReadableBuffer | str | int"
    ) -> None:
        super().putheader(header, *values)
        name = header if isinstance(header, bytes) else header.encode("latin-1")
        if name.lower() == b"content-length" and values:
            try:
                self._announced = self._left = int(cast(str, values[-1]))
            except ValueError:
                self._announced = self._left = None

    def endheaders(
        self, message_body: object = None, *, encode_chunked: bool = False
    ) -> None:
        """Send the header, and *message_body* as `send` does, all of it.

        Raises:
            LengthMismatch: it is not as long as Content-Length says.
            OSError: the connection is broken, and no answer came before that.
        """
        super().endheaders()
        self._in_body = True
        if message_body is None:
            return
        if encode_chunked:
            self._transmit(_chunked(self._pieces(message_body, whole=False)))
            return
        self._transmit(self._counted(self._pieces(message_body, whole=True)))
        if self._left and not self._refused:
            announced, sent = self._announced, (self._announced or 0) - self._left
            self.close()
            raise LengthMismatch(
                f"the body ended after {sent} bytes, Content-Length announced "
                f"{announced}: an iterator can be sent but once, unless it has reset()"
            )

    def send(self, data: object) -> None:
        """Send *data*: bytes, a file, or an iterable of bytes.

        Files are sent from their beginning, and what has a `reset()` is reset before.
        When the server has refused the request, this sends nothing.

        Raises:
            LengthMismatch: it is longer than Content-Length says.
            TypeError: it is none of these, or yields text.
            OSError: the connection is broken, and no answer came before that.
        """
        if self.sock is None:
            if not self.auto_open:
                raise NotConnected
            self.connect()
        if not self._in_body and _is_buffer(data):
            # The head of a request: its answer cannot be there yet.
            try:
                super().send(cast(bytes, data))
            except OSError:
                self.close()
                raise
            return
        if not self._in_body:
            self._begin_exchange()
        self._transmit(self._counted(self._pieces(data, whole=False)))

    def getresponse(self) -> HTTPResponse:
        """Return the final response, even if it came while the body was being sent.

        The connection is closed if the body was cut short.
        """
        sock = self.sock
        if not self._in_body or not isinstance(sock, socket.socket):
            return super().getresponse()
        listening = _Listening(sock, self._answer)
        self.sock = listening
        try:
            response = super().getresponse()
        finally:
            if self.sock is listening:
                self.sock = sock
        if self._refused and self.sock is not None:
            # The server still waits for what was announced. The response lives on.
            self.sock.close()
            self.sock = None
        return response

    def _begin_exchange(self) -> None:
        self._answer = Answer()
        self._refused = False
        self._in_body = False
        self._announced = self._left = None

    def _transmit(self, pieces: Iterator[_Piece]) -> None:
        """Send *pieces*, until there are no more or the server has answered."""
        if self._refused:
            return
        try:
            if isinstance(self.sock, socket.socket):
                with Duplex(self.sock, self._answer) as duplex:
                    for piece in pieces:
                        duplex.send(piece)
            else:
                for piece in pieces:
                    self.sock.sendall(piece)
        except Refused:
            self._refused = True
        except BaseException:
            self.close()  # in the middle of a body nothing else can be said
            raise

    def _counted(self, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
        """Yield *pieces* up to the announced length, and raise for more."""
        for piece in pieces:
            if self._left is not None:
                if len(piece) > self._left:
                    raise LengthMismatch(
                        f"the body has more than the {self._announced} bytes that "
                        "Content-Length announced"
                    )
                self._left -= len(piece)
            yield piece

    def _pieces(self, body: object, *, whole: bool) -> Iterator[_Piece]:
        """Yield *body* from its beginning; *whole* if it is all that was announced."""
        if self.debuglevel > 0:
            print("send:", repr(body))
        ranges = whole and is_plain(self.sock)
        blocks: Iterable[object]
        if isinstance(body, multipart_yielder):
            body.reset()
            blocks = _gathered(body.iter_ranges() if ranges else body)
        elif hasattr(body, "read"):
            if self.debuglevel > 0:
                print("sending a readable")
            blocks = _file_blocks(
                cast(Readable, body), self._left if whole else None, ranges=ranges
            )
        elif _is_buffer(body):
            blocks = (body,)
        elif isinstance(body, Iterable):
            if self.debuglevel > 0:
                print("sending an iterable")
            if hasattr(body, "reset"):
                body.reset()
            blocks = body
        else:
            raise TypeError(
                "the body must be bytes, a binary file or an iterable of bytes, "
                f"not {type(body).__name__}"
            )
        for block in blocks:
            if isinstance(block, FileRange):
                yield block
                continue
            sys.audit("http.client.send", self, block)
            yield _octets(block)


class StreamingHTTPConnection(_StreamingHTTPMixin):
    """A `http.client.HTTPConnection` that sends files and iterables as they come.

    *strict* is accepted and ignored: Python 3 is always strict. *timeout*, in seconds,
    is for each wait, *blocksize*, in bytes, for what the standard library reads.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        strict: object = None,
        timeout: float | None = _TIMEOUT,
        source_address: tuple[str, int] | None = None,
        *,
        blocksize: int = 8192,
    ) -> None:
        super().__init__(host, port, timeout, source_address, blocksize)


class StreamingHTTPRedirectHandler(urllib.request.HTTPRedirectHandler):
    """A redirect handler that knows what becomes of a body.

    After 301, 302 and 303 a POST becomes a GET without body and without the headers
    that spoke of it. After 307 and 308 (RFC 9110, sections 15.4.8 and 15.4.9) method
    and body stay, if the body can be sent again.
    """

    handler_order = urllib.request.HTTPRedirectHandler.handler_order - 1

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request for *newurl*.

        Raises:
            HTTPError: *code* allows none with this method, or the body is spent.
        """
        method = req.get_method()
        repeat = code in (307, 308) and _repeatable(req.data)
        keep = repeat and req.data is not None
        follow = code in (301, 302, 303, 307, 308) and method in ("GET", "HEAD")
        if not (repeat or follow or (code in (301, 302, 303) and method == "POST")):
            raise HTTPError(req.full_url, code, msg, headers, fp)
        newurl = newurl.replace(" ", "%20")
        dropped = set() if _same_origin(req.full_url, newurl) else _CREDENTIALS
        return urllib.request.Request(
            newurl,
            data=req.data if keep else None,
            headers={
                name: value
                for name, value in req.headers.items()
                if name.lower() not in dropped
                and (keep or not _speaks_of_content(name.lower()))
            },
            origin_req_host=req.origin_req_host,
            unverifiable=True,
            method=method if repeat or method == "HEAD" else "GET",
        )


class StreamingHTTPHandler(urllib.request.HTTPHandler):
    """An `urllib.request.HTTPHandler` with a `StreamingHTTPConnection`."""

    handler_order = urllib.request.HTTPHandler.handler_order - 1

    def __init__(self, debuglevel: int = 0) -> None:
        super().__init__(debuglevel)

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a `StreamingHTTPConnection` for *req*."""
        return self.do_open(StreamingHTTPConnection, req)

    def http_request(self, req: urllib.request.Request) -> urllib.request.Request:
        """Complete the headers of *req*.

        Raises:
            ValueError: its body is a file or an iterable without Content-Length.
        """
        _check_length(req)
        return self.do_request_(req)


def get_handlers() -> list[type[urllib.request.BaseHandler]]:
    """Return the classes of handlers for `urllib.request.build_opener`."""
    handlers: list[type[urllib.request.BaseHandler]] = [
        StreamingHTTPHandler,
        StreamingHTTPRedirectHandler,
    ]
    if hasattr(http.client, "HTTPSConnection"):
        handlers.append(StreamingHTTPSHandler)
    return handlers


def register_openers() -> urllib.request.OpenerDirector:
    """Make these handlers those of `urllib.request.urlopen`; return their opener."""
    opener = urllib.request.build_opener(*get_handlers())
    urllib.request.install_opener(opener)
    return opener


# An interpreter without TLS has no such class to build on.
if hasattr(http.client, "HTTPSConnection"):
    import ssl

    __all__ += ["StreamingHTTPSConnection", "StreamingHTTPSHandler"]

    class StreamingHTTPSConnection(_StreamingHTTPMixin, http.client.HTTPSConnection):
        """A `http.client.HTTPSConnection` that sends files and iterables as they come.

        *key_file* and *cert_file* are loaded into *context*, or into a new one.
        """

        def __init__(
            self,
            host: str,
            port: int | None = None,
            key_file: str | None = None,
            cert_file: str | None = None,
            strict: object = None,
            timeout: float | None = _TIMEOUT,
            source_address: tuple[str, int] | None = None,
            *,
            context: ssl.SSLContext | None = None,
            check_hostname: bool | None = None,
            blocksize: int = 8192,
        ) -> None:
            if cert_file is not None or key_file is not None:
                if cert_file is None:
                    raise ValueError("key_file needs cert_file: give both")
                context = context or _default_context()
                context.load_cert_chain(cert_file, key_file)
            if check_hostname is not None:
                context = context or _default_context()
                context.check_hostname = check_hostname
            http.client.HTTPSConnection.__init__(
                self,
                host,
                port,
                timeout=timeout,
                source_address=source_address,
                context=context,
                blocksize=blocksize,
            )

    class StreamingHTTPSHandler(urllib.request.HTTPSHandler):
        """An `urllib.request.HTTPSHandler` with a `StreamingHTTPSConnection`."""

        handler_order = urllib.request.HTTPSHandler.handler_order - 1

        def __init__(
            self,
            debuglevel: int = 0,
            context: ssl.SSLContext | None = None,
            check_hostname: bool | None = None,
        ) -> None:
            if context is None:
                context = _default_context()
            if check_hostname is not None:
                context.check_hostname = check_hostname
            super().__init__(debuglevel, context)
            self._tls = context

        def https_open(self, req: urllib.request.Request) -> HTTPResponse:
            """Open a `StreamingHTTPSConnection` for *req*."""
            return self.do_open(
                StreamingHTTPSConnection,
                req,
                context=self._tls,
            )

        def https_request(self, req: urllib.request.Request) -> urllib.request.Request:
            """Complete the headers of *req*.

            Raises:
                ValueError: its body is a file or an iterable without Content-Length.
            """
            _check_length(req)
            return self.do_request_(req)

    def _default_context() -> ssl.SSLContext:
        # The one that programs replace to change what all connections verify.
        context = ssl._create_default_https_context()
        context.set_alpn_protocols(["http/1.1"])
        context.post_handshake_auth = True
        return context


_CREDENTIALS = {"authorization", "cookie"}  # not for another origin's eyes


class _Listening:
    """A socket whose response begins with what was received while sending."""

    def __init__(self, sock: socket.socket, answer: Answer) -> None:
        self._sock = sock
        self._answer = answer

    def makefile(self, mode: str) -> io.BufferedReader:
        raw = cast(io.RawIOBase, self._sock.makefile("rb", buffering=0))
        return io.BufferedReader(AnswerReader(self._answer, raw))

    def close(self) -> None:
        self._sock.close()


def _check_length(req: urllib.request.Request) -> None:
    data: object = req.data
    if data is None or isinstance(data, str) or _is_buffer(data):
        return
    if not (req.has_header("Content-length") or req.has_header("Transfer-encoding")):
        raise ValueError(
            "No Content-Length specified for iterable body: add that header, as "
            "multipart_encode() returns it"
        )


def _length_of(body: object) -> int | None:
    """Return the length of *body* if it is a file or a form, and has one."""
    if isinstance(body, multipart_yielder):
        return body.total
    if not hasattr(body, "read"):
        return None
    files.check_binary(body)
    try:
        return files.size_of(cast(Readable, body))
    except ValueError:
        return None


def _repeatable(body: object) -> bool:
    """Return whether *body* can be sent again from its beginning."""
    if body is None or _is_buffer(body) or hasattr(body, "reset"):
        return True
    if hasattr(body, "read"):
        return files.position(body) is not None
    return not isinstance(body, Iterator)


def _same_origin(url: str, other: str) -> bool:
    def origin(text: str) -> tuple[str, str]:
        parts = urlsplit(text)
        return parts.scheme, parts.netloc.rpartition("@")[2].lower()

    return origin(url) == origin(other)


def _speaks_of_content(name: str) -> bool:
    return name.startswith("content-") or name in ("transfer-encoding", "expect")


def _file_blocks(
    file: Readable, length: int | None, *, ranges: bool
) -> Iterable[bytes | FileRange]:
    files.check_binary(file)
    seekable = files.position(file) is not None
    if seekable:
        file.seek(0)  # type: ignore[attr-defined]  # it has a position
    if length is None:
        return files.rest(file, _BLOCK_SIZE)
    found = files.ranges(file, 0, length, _RANGE_SIZE) if ranges and seekable else None
    return files.blocks(file, length, _BLOCK_SIZE) if found is None else found


def _gathered(
    pieces: Iterable[bytes | FileRange],
) -> Iterator[bytes | FileRange]:
    """Yield the same bytes, with small blocks joined: a field need not be a packet."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if isinstance(piece, bytes) and len(piece) < _GATHER_SIZE:
            waiting.append(piece)
            size += len(piece)
            if size < _GATHER_SIZE:
                continue
            yield b"".join(waiting)
        else:
            if waiting:
                yield b"".join(waiting)
            yield piece
        waiting, size = [], 0
    yield b"".join(waiting)


def _chunked(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """Yield *pieces* in the chunked transfer coding (RFC 9112, section 7.1)."""
    for piece in pieces:
        assert not isinstance(piece, FileRange)
        if piece:
            yield b"%X\r\n%b\r\n" % (len(piece), bytes(piece))
    yield b"0\r\n\r\n"


def _is_buffer(data: object) -> bool:
    try:
        memoryview(cast(bytes, data))
    except TypeError:
        return False
    return True


def _octets(block: object) -> bytes | memoryview:
    if isinstance(block, bytes):
        return block
    try:
        return memoryview(cast(bytes, block)).cast("B")
    except TypeError as exc:
        raise TypeError(
            f"the body yields {type(block).__name__}, not bytes: encode it"
        ) from exc
