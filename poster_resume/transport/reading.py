"""How much of an answer's content is kept, and how it is decoded: bounded.

A few kilobytes of gzip can be gigabytes of content, so decoding is done here,
piece by piece, up to a limit, and never by the HTTP client.
"""

from __future__ import annotations

import zlib
from typing import Final

from ..responses import READ_LIMIT

#: Bytes that are read of an answer whose status says that it is an error.
ERROR_LIMIT: Final = 64 * 1024


def limit_for(status: int) -> int:
    """Return how many bytes of content are kept of an answer with *status*."""
    return ERROR_LIMIT if status >= 400 else READ_LIMIT


class Bounded:
    """Collects an answer's content up to *limit* bytes, decoded.

    The content codings of RFC 9110, section 8.4.1, are undone, though none is
    asked for; content in any other is left out, and counts as truncated.
    """

    def __init__(self, coding: str, limit: int) -> None:
        self._data = bytearray()
        self._limit = limit
        self._decoder: zlib._Decompress | None = None
        self._raw, self._began = True, False
        self._taken = 0
        #: Whether the content is only the beginning.
        self.truncated = False
        match coding.strip().lower():
            case "" | "identity":
                pass
            case "gzip" | "x-gzip" | "deflate":
                self._raw = False
                # 32: gzip and zlib headers are told apart by themselves.
                self._decoder = zlib.decompressobj(32 + zlib.MAX_WBITS)
            case _:
                self._raw = False
                self.truncated = True

    def take(self, data: bytes) -> bool:
        """Take in *data*; return whether there is room for more."""
        room = self._limit - len(self._data)
        self._began = True
        self._taken += len(data)
        if self._decoder is not None:
            if self._taken > self._limit or self._decoder.eof:
                # What follows the end would be kept by the decoder, all of it.
                self.truncated = self.truncated or not self._decoder.eof
                return self._taken <= self._limit
            try:
                # One byte more tells whether something was left out.
                data = self._decoder.decompress(data, room + 1)
            except zlib.error:
                self.truncated = True
                return False
        elif not self._raw:
            return False
        self._data += data[:room]
        if len(data) > room:
            self.truncated = True
        return not self.truncated

    def take_decoded(self, data: bytes) -> None:
        """Take in all of the content as somebody else decoded it."""
        self._data[:] = data[: self._limit]
        self.truncated = len(data) > self._limit

    def broke(self) -> None:
        """Note that the rest of the content did not come."""
        self.truncated = True

    @property
    def whole(self) -> bool:
        """Whether the content, as it came, has its coding's end."""
        decoder = self._decoder
        return decoder is None or decoder.eof or not self._began

    @property
    def content(self) -> bytes:
        """What was kept."""
        return bytes(self._data)
