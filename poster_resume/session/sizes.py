"""How much to send at once: what limits allow and links have taught."""

from __future__ import annotations

from ..errors import ContentTooLarge, UploadError
from ..protocols import Limits
from ..ranges import ByteRange
from ..upload import Upload

#: Bytes below which an append is never shrunk, unless the server says so.
MIN_APPEND = 256 * 1024


def next_append(
    upload: Upload, limits: Limits, chunk_size: int | None = None
) -> ByteRange:
    """Choose the next range to send, within *limits*.

    *chunk_size* is the caller's, in bytes; without it the size learned on this
    link, else the server's default, else the rest.
    """
    assert upload.length is not None
    rest = upload.length - upload.offset
    size = upload.append_size or chunk_size or limits.default_append_size or rest
    if chunk_size is not None:
        size = min(size, chunk_size)
    size = max(size, limits.min_append_size)
    if limits.max_append_size is not None:
        size = min(size, limits.max_append_size)
    if size < rest:
        size = max(size - size % limits.multiple, limits.multiple)
    return ByteRange(upload.offset, upload.offset + min(size, rest))


def left(error: UploadError, content: ByteRange) -> ByteRange:
    """Return the part of *content* that had left when *error* ended it."""
    if isinstance(error, ContentTooLarge) or error.sent is None:
        return content
    return ByteRange(content.start, content.start + error.sent)


def after_loss(lost: ByteRange, limits: Limits) -> int:
    """Return the bytes to send at once after *lost* left nothing on the server."""
    return max(lost.length // 4, MIN_APPEND, limits.min_append_size)
