"""Lies that a server can tell, by name: what it says instead of the truth.

Each is a function of the request, which yields what a script yields. Those of
``ANYWHERE`` fit any request; the others lie about uploads.
"""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator

from .hostile import Asked, Said, Then, answer

Lie = Callable[[Asked], Iterable[Said]]

MIB = 1024 * 1024


def saying(*said: Said) -> Lie:
    """Say always the same."""
    return lambda _: said


def endless(*beginning: bytes, again: bytes, seconds: float = 0) -> Lie:
    """Say *again* for ever, after *beginning*."""

    def lie(_: Asked) -> Iterator[Said]:
        yield from beginning
        while True:
            yield again
            if seconds:
                yield seconds

    return lie


@functools.cache
def bomb(layers: int = 1) -> bytes:
    """Return 256 MiB of zeros as a little gzip, or as less in two *layers*."""
    packer = zlib.compressobj(1, wbits=31)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(256))
    packed += packer.flush()
    for _ in range(layers - 1):
        packed = gzip.compress(packed, 9)
    return packed


def _spoken(status: int, *fields: str, content: bytes = b"") -> Lie:
    return saying(answer(status, *fields, content=content))


_GARBAGE = bytes(range(256)) * 8

#: What is no answer to any request of any protocol.
ANYWHERE: dict[str, Lie] = {
    "no answer, the connection closed": saying(),
    "no answer, the connection reset": saying(Then.RESET),
    "garbage": saying(_GARBAGE),
    "NULs": saying(bytes(4096)),
    "another protocol": saying(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP/0.9": saying(b"<html>hello</html>"),
    "HTTP/9.9": saying(b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "HTTP/2 in the clear": saying(b"\0\0\x12\4\0\0\0\0\0" + bytes(18)),
    "a TLS alert": saying(b"\x15\x03\x03\x00\x02\x02\x28"),
    "a status that is no number": saying(b"HTTP/1.1 OK\r\n\r\n"),
    "status 99": saying(b"HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n"),
    "status 999": saying(b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"),
    "status 600": saying(b"HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n"),
    "an upgrade": saying(
        b"HTTP/1.1 101 x\r\nUpgrade: evil\r\nConnection: upgrade\r\n\r\n" + _GARBAGE
    ),
    "a head that ends early": saying(b"HTTP/1.1 200 OK\r\nUpload-Off"),
    "a NUL in a value": saying(b"HTTP/1.1 200 OK\r\nLocation: /a\0b\r\n\r\n"),
    "a name with a space": saying(b"HTTP/1.1 200 OK\r\nUpload Offset: 1\r\n\r\n"),
    "a line without a colon": saying(b"HTTP/1.1 200 OK\r\nUpload-Offset\r\n\r\n"),
    "folded lines": saying(
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"
    ),
    "bare line feeds": saying(b"HTTP/1.1 204 x\nUpload-Offset: 9\n\n"),
    "bare carriage returns": saying(b"HTTP/1.1 204 x\rUpload-Offset: 9\r\r"),
    "two lengths": saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "a negative length": saying(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    "a length of letters": saying(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"),
    "a length beyond counting": saying(
        b"HTTP/1.1 500 x\r\nContent-Length: 99999999999999999999999\r\n\r\n"
    ),
    "a length too long": saying(b"HTTP/1.1 500 x\r\nContent-Length: 100\r\n\r\nhello"),
    "a length too short": saying(
        b"HTTP/1.1 500 x\r\nContent-Length: 1\r\n\r\nhello", Then.STAY
    ),
    "a length, and chunked": saying(
        b"HTTP/1.1 500 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        Then.STAY,
    ),
    "a coding nobody knows": saying(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: evil\r\n\r\nhello"
    ),
    "chunks of no size": saying(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
    ),
    "chunks of minus one": saying(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n"
    ),
    "a chunk beyond counting": saying(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\nx"
    ),
    "broken gzip": saying(
        b"HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "content in a coding not asked for": saying(
        b"HTTP/1.1 500 x\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "a redirect to nowhere": _spoken(307),
    "a redirect to itself": lambda asked: [answer(307, f"Location: {asked.path}")],
    "a redirect to ever other places": lambda asked: [
        answer(308, f"Location: {asked.path.partition('?')[0]}/{asked.number}")
    ],
    "a redirect to file:": _spoken(307, "Location: file:///etc/passwd"),
    "a redirect to data:": _spoken(308, "Location: data:,hello"),
    "a redirect to javascript:": _spoken(308, "Location: javascript:alert(1)"),
    "a redirect with credentials": _spoken(307, "Location: http://a:b@127.0.0.1:9/"),
    "a redirect to a port of words": _spoken(307, "Location: http://127.0.0.1:x/"),
    "a redirect to half an IPv6 address": _spoken(307, "Location: http://[::1/"),
    "a redirect without end": _spoken(307, "Location: /" + "x" * 60000),
    "a redirect beyond ASCII": saying(
        b"HTTP/1.1 307 x\r\nLocation: http://\xff\xfe\r\nContent-Length: 0\r\n\r\n"
    ),
    "300": _spoken(300, "Location: /elsewhere"),
    "301": _spoken(301, "Location: /elsewhere"),
    "304": _spoken(304),
    "Retry-After of years": _spoken(503, "Retry-After: 99999999999999999999"),
    "Retry-After in the year 9999": _spoken(
        429, "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"
    ),
    "Retry-After in the year 1": _spoken(
        503, "Retry-After: Mon, 01 Jan 0001 00:00:00 GMT"
    ),
    "Retry-After without a zone": _spoken(
        503, "Retry-After: Mon, 01 Jan 0001 00:00:00 -0000"
    ),
    "Retry-After beyond the calendar": _spoken(
        503, "Retry-After: Mon, 99 Jan 99999 99:99:99 +9999"
    ),
    "Retry-After below zero": _spoken(503, "Retry-After: -1"),
    "Retry-After in other digits": saying(
        "HTTP/1.1 503 x\r\nRetry-After: ٣\r\nContent-Length: 0\r\n\r\n".encode()
    ),
    "Retry-After of letters": _spoken(503, "Retry-After: soon"),
    "401": _spoken(401, 'WWW-Authenticate: Basic realm="x"'),
    "403": _spoken(403),
    "404": _spoken(404),
    "407": _spoken(407, "Proxy-Authenticate: Basic"),
    "409": _spoken(409),
    "410": _spoken(410),
    "412": _spoken(412, "Tus-Version: 0.1, 9.9"),
    "413": _spoken(413),
    "417": _spoken(417),
    "418": _spoken(418),
    "423": _spoken(423),
    "500": _spoken(500),
    "501": _spoken(501),
    "502": _spoken(502),
    "505": _spoken(505),
    "a problem that is no JSON": _spoken(
        409, "Content-Type: application/problem+json", content=b"{"
    ),
    "a problem nested deeply": _spoken(
        409, "Content-Type: application/problem+json", content=b"[" * 60000
    ),
    "a problem of the wrong shape": _spoken(
        409, "Content-Type: application/problem+json", content=b'{"type": [1]}'
    ),
}

#: What never ends: time and memory must.
ENDLESS: dict[str, Lie] = {
    "interim answers without end": endless(again=b"HTTP/1.1 102 x\r\n\r\n" * 50),
    "interim answers of 60 KB without end": endless(
        again=b"HTTP/1.1 103 x\r\nLink: " + b"x" * 60000 + b"\r\n\r\n"
    ),
    "104 without end": endless(
        again=b"HTTP/1.1 104 x\r\nUpload-Draft-Interop-Version: 9\r\n"
        b"Upload-Offset: 1\r\n\r\n" * 50
    ),
    "header lines without end": endless(
        b"HTTP/1.1 200 OK\r\n", again=b"X: y\r\n" * 5000
    ),
    "a header line without end": endless(b"HTTP/1.1 200 OK\r\nX: ", again=b"x" * 65536),
    "a status line without end": endless(b"HTTP/1.1 200 ", again=b"x" * 65536),
    "blank lines without end": endless(again=b"\r\n" * 30000),
    "trailers without end": endless(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        again=b"X: y\r\n" * 5000,
    ),
    "a chunk's extension without end": endless(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        again=b"x" * 65536,
    ),
    "an error's content without end": endless(
        b"HTTP/1.1 500 x\r\n\r\n", again=bytes(65536)
    ),
    "a success's content without end": endless(
        b"HTTP/1.1 200 x\r\n\r\n", again=bytes(65536)
    ),
    "chunks without end": endless(
        b"HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\n\r\n",
        again=b"1\r\nx\r\n" * 10000,
    ),
}

#: A byte now and then, so that something always seems to come.
SLOW: dict[str, Lie] = {
    "interim answers, slowly": endless(again=b"HTTP/1.1 102 x\r\n\r\n", seconds=0.1),
    "a head, byte by byte": endless(b"HTTP/1.1 200 OK\r\nX: ", again=b"x", seconds=0.1),
    "a status line, byte by byte": endless(b"HTTP/1.1 200 ", again=b"x", seconds=0.1),
    "an error's content, byte by byte": endless(
        b"HTTP/1.1 500 x\r\n\r\n", again=b"x", seconds=0.1
    ),
    "a chunk's extension, byte by byte": endless(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        again=b"x",
        seconds=0.1,
    ),
    "trailers, byte by byte": endless(
        b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        again=b"x",
        seconds=0.1,
    ),
    "nothing at all": saying(60.0),
}

_NUMBERS = (
    "-1",
    "-0",
    "+1",
    "0x10",
    "1.5",
    "1e3",
    "1_000",
    "٣",
    "",
    " ",
    "NaN",
    "true",
    "?1",
    "1, 2",
    "1;a=b",
    "(1)",
    '"1"',
    "6145",  # one more than there are
    "99999999",
    "999999999999999",
    "9999999999999999",
    "9" * 4000,
    "9" * 60000,
)


def offsets(status: int, *fields: str) -> dict[str, Lie]:
    """Return answers of *status* whose offset cannot be."""
    lies = {
        f"{status} with offset {value[:24]!r}": saying(
            f"HTTP/1.1 {status} x\r\nUpload-Offset: {value}\r\n".encode()
            + "".join(f"{each}\r\n" for each in fields).encode()
            + b"Content-Length: 0\r\n\r\n"
        )
        for value in _NUMBERS
    }
    lies[f"{status} without an offset"] = _spoken(status, *fields)
    lies[f"{status} with two offsets"] = _spoken(
        status, "Upload-Offset: 0", "Upload-Offset: 6144", *fields
    )
    return lies


_AT_ZERO = "Upload-Offset: 0"

#: What a RUFH server may say of an upload; answers to PATCH and HEAD.
RUFH_LIES: dict[str, Lie] = {
    **offsets(204, "Upload-Complete: ?0"),
    **{
        f"limits {value[:30]!r}": _spoken(
            200, _AT_ZERO, "Upload-Complete: ?0", f"Upload-Limit: {value}"
        )
        for value in (
            "max-append-size=0",
            "max-append-size=-1",
            "max-append-size=1, min-append-size=1000000",
            "min-append-size=999999999999999",
            "max-size=0",
            "max-size=5, min-size=6",
            "max-age=-1",
            "max-age=0",
            "max-age=999999999999999",
            "max-append-size=many",
            "max-append-size=1.5",
            "max-append-size",
            "(((",
            ", ".join(f"x{i}=1" for i in range(5000)),
        )
    },
    "complete at nothing": _spoken(200, _AT_ZERO, "Upload-Complete: ?1"),
    "complete with no offset": _spoken(200, "Upload-Complete: ?1"),
    "complete and not": _spoken(
        204, "Upload-Offset: 6144", "Upload-Complete: ?1", "Upload-Complete: ?0"
    ),
    "complete by words": _spoken(204, "Upload-Offset: 6144", "Upload-Complete: true"),
    "another length": _spoken(200, _AT_ZERO, "Upload-Complete: ?0", "Upload-Length: 7"),
    "a length below the offset": _spoken(
        200, "Upload-Offset: 100", "Upload-Complete: ?0", "Upload-Length: 7"
    ),
    "always at the beginning": _spoken(204, _AT_ZERO, "Upload-Complete: ?0"),
    "always at one": _spoken(204, "Upload-Offset: 1", "Upload-Complete: ?0"),
    "to and fro": lambda asked: [
        answer(204, f"Upload-Offset: {asked.number % 7}", "Upload-Complete: ?0")
    ],
}

TUS_LIES: dict[str, Lie] = {
    **offsets(204, "Tus-Resumable: 1.0.0"),
    "another length": _spoken(200, _AT_ZERO, "Upload-Length: 7"),
    "a negative length": _spoken(200, _AT_ZERO, "Upload-Length: -7"),
    "a length beyond counting": _spoken(200, _AT_ZERO, "Upload-Length: " + "9" * 5000),
    "always at the beginning": _spoken(204, _AT_ZERO),
    "always at one": _spoken(204, "Upload-Offset: 1"),
    "to and fro": lambda asked: [answer(204, f"Upload-Offset: {asked.number % 7}")],
    "expired in the year 1": _spoken(
        204, _AT_ZERO, "Upload-Expires: Mon, 01 Jan 0001 00:00:00 -0000"
    ),
    "expires in the year 9999": _spoken(
        204, _AT_ZERO, "Upload-Expires: Fri, 31 Dec 9999 23:59:59 GMT"
    ),
    "expires never": _spoken(204, _AT_ZERO, "Upload-Expires: never"),
    "other versions": _spoken(412, "Tus-Version: \x1b[31m9.9\x1b]0;gone\x07"),
}

#: Answers to a creation that name a place where no upload can be.
PLACES: dict[str, str] = {
    "file:": "file:///etc/passwd",
    "data:": "data:,x",
    "ftp:": "ftp://127.0.0.1/up",
    "javascript:": "javascript:alert(1)",
    "unix:": "unix:/run/docker.sock",
    "credentials": "http://user:word@127.0.0.1:9/up",
    "a user": "http://user@127.0.0.1:9/up",
    "an empty user": "http://@127.0.0.1:9/up",
    "a backslash": "http://127.0.0.1:9\\@example.test/up",
    "a port of words": "http://127.0.0.1:http/up",
    "port 99999": "http://127.0.0.1:99999/up",
    "a negative port": "http://127.0.0.1:-1/up",
    "no host": "http:///up",
    "half an address": "http://[::1/up",
    "an address and more": "http://[::1]x/up",
    "a blank": "/up load",
    "a tab": "/up\tload",
    "beyond ASCII": "http://\xe9\xe9.test\xad/up",
    "two places": "/a, /b",
    "a place without end": "/" + "x" * 60000,
    "nothing": "",
}
