"""Boundaries of multipart documents: make them, check them, look for them.

A boundary never stands at the beginning of a line of what it encloses, and the
text that the Content-Type names is the text that the delimiter lines carry.
"""

import functools
import re
import secrets
from urllib.parse import quote_plus

_BCHARS = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_TOKEN = re.compile(r"[0-9A-Za-z!#$%&'*+\-.^_`|~]+")
_LINE_ENDS = b"\r\n"


def new_boundary() -> str:
    """Return a new random boundary: 32 hexadecimal digits, 128 random bits.

    Nobody who writes the content of a part can guess it, so no content can forge
    the end of its part.
    """
    return secrets.token_hex(16)


def check_boundary(boundary: str) -> str:
    """Return *boundary* if RFC 2046, section 5.1.1 allows it.

    Raises:
        ValueError: it is empty, longer than 70 characters, ends with a space or has
            a character that the section does not list.
    """
    if _BCHARS.fullmatch(boundary) is None:
        raise ValueError(
            f"boundary {boundary!r} is not allowed: use 1 to 70 letters, digits or "
            "characters of '()+_,-./:=? and no space at the end, or leave it out for "
            "a random one"
        )
    return boundary


def boundary_parameter(boundary: str) -> str:
    """Return *boundary* as the value of a Content-Type parameter, quoted if need be."""
    if _TOKEN.fullmatch(boundary) is not None:
        return boundary
    return f'"{boundary}"'


def content_type(boundary: str) -> str:
    """Return the Content-Type of a form whose parts *boundary* delimits."""
    return f"multipart/form-data; boundary={boundary_parameter(boundary)}"


def quote(text: str | bytes) -> str:
    """Return *text*, as UTF-8 if it is not bytes, quoted as in a query by Python 2."""
    # Python 2 quoted the tilde too, and boundaries are seen from outside.
    return quote_plus(text).replace("~", "%7E")


@functools.lru_cache(maxsize=8)  # asked for every part of a form
def quoted(boundary: str | bytes) -> bytes:
    """Return *boundary* as poster 0.8 wrote it in documents and Content-Types.

    Raises:
        ValueError: it is empty.
    """
    if not boundary:
        raise ValueError("boundary is empty: leave it out for a random one")
    return quote(boundary).encode("ascii")


def closing_line(boundary: str | bytes) -> bytes:
    """Return the line behind the last part, with *boundary* as `quoted` writes it."""
    return b"--%b--\r\n" % quoted(boundary)


def occurs(boundary: bytes, data: bytes) -> bool:
    """Return whether some receiver could take a line of *data* for a delimiter.

    That is any line which begins with the delimiter, whatever follows ("boundary
    string comparisons must compare the boundary value with the beginning of each
    candidate line", RFC 2046, section 5.1.1). Lenient receivers end lines at a bare
    CR or LF too, so these count.
    """
    return Scan(boundary).feed(data)


class Scan:
    """The search of `occurs`, over content that arrives in blocks."""

    __slots__ = ("_delimiter", "_tail")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"--" + boundary
        self._tail = b"\n"  # content begins at the beginning of a line

    def feed(self, block: bytes) -> bool:
        """Return whether *block*, after what was fed before, completes a delimiter."""
        # The preceding line end and all of the delimiter but one byte may stand in
        # earlier blocks: as many bytes as the delimiter has.
        size = len(self._delimiter)
        seam = self._tail + block[:size]
        if self._begins_line(seam) or self._begins_line(block):
            return True
        self._tail = block[-size:] if len(block) >= size else seam[-size:]
        return False

    def _begins_line(self, data: bytes) -> bool:
        # One byte is found several times as fast as many: content without a hyphen
        # is done here, even where its bytes look like those of the delimiter.
        at = data.find(b"-", 1)
        if at > 0:
            at = data.find(self._delimiter, at)
        while at > 0:
            if data[at - 1] in _LINE_ENDS:
                return True
            at = data.find(self._delimiter, at + 1)
        return False
