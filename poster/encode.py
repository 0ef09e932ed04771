"""Forms as multipart/form-data: all that programs call to encode one.

The bytes are those that poster 0.8 wrote wherever these were well-formed. A length that
was told beforehand is the length of what follows, or an error is raised.
"""

from typing import overload

from poster import boundary as boundaries
from poster.body import Callback, body_size, multipart_yielder
from poster.disposition import Escaping
from poster.files import LengthMismatch
from poster.parameter import MultipartParam, Params

__all__ = [
    "Escaping",
    "LengthMismatch",
    "MultipartParam",
    "encode_and_quote",
    "encode_file_header",
    "encode_string",
    "gen_boundary",
    "get_body_size",
    "get_headers",
    "multipart_encode",
]


def gen_boundary() -> str:
    """Return a random string to use as the boundary of a message."""
    return boundaries.new_boundary()


_UNGUESSABLE = gen_boundary  # programs replace the other to know what they will get


@overload
def encode_and_quote(data: str | bytes) -> str: ...
@overload
def encode_and_quote(data: None) -> None: ...
def encode_and_quote(data: str | bytes | None) -> str | None:
    """Return *data*, as UTF-8 if it is text, quoted as in a query; None for None."""
    if data is None:
        return None
    return boundaries.quote(data)


def encode_string(boundary: str | bytes, name: str | bytes, value: object) -> bytes:
    """Return *name* and *value* encoded as a field between lines of *boundary*.

    Raises:
        ValueError: a line of *value* begins with the delimiter.
    """
    return MultipartParam(name, value).encode(boundary)


def encode_file_header(
    boundary: str | bytes,
    paramname: str | bytes,
    filesize: int | None,
    filename: object = None,
    filetype: object = None,
) -> bytes:
    """Return what comes before the content of a file of *filesize* bytes.

    Raises:
        ValueError: *filetype* has a line break.
    """
    return MultipartParam(
        paramname, filesize=filesize, filename=filename, filetype=filetype
    ).encode_hdr(boundary)


def get_body_size(params: Params, boundary: str | bytes) -> int:
    """Return the length of the encoding of *params* in bytes."""
    return body_size(MultipartParam.from_params(params), boundary)


def get_headers(params: Params, boundary: str | bytes) -> dict[str, str]:
    """Return Content-Type and Content-Length of the encoding of *params*."""
    return _headers(boundary, get_body_size(params, boundary))


def multipart_encode(
    params: Params,
    boundary: str | bytes | None = None,
    cb: Callback | None = None,
    *,
    escaping: Escaping | None = None,
) -> tuple[multipart_yielder, dict[str, str]]:
    r"""Encode *params* as multipart/form-data.

    *params* is what `MultipartParam.from_params` takes. *boundary* is quoted as in a
    query if it is given, and random if not. *cb* is called with (param, current,
    total) before each block is handed out: the parameter that the block belongs to,
    None for the closing line, and the bytes of the body so far and in all. *escaping*
    spells the names of parameters that are made here.

    Returns a tuple of an iterator over the blocks of the body, which has `reset()` and
    a length, and a dictionary with the headers Content-Type and Content-Length.

    >>> body, headers = multipart_encode([("key", "value1"), ("key", "value2")])
    >>> content = b"".join(body)
    >>> assert b"value2" in content and b"value1" in content
    >>> assert len(content) == len(body) == int(headers["Content-Length"])

    Raises:
        ValueError: as from `MultipartParam`; while iterating, as from its
            `iter_encode`.
    """
    guessable = boundary is not None or gen_boundary is not _UNGUESSABLE
    if boundary is None:
        boundary = gen_boundary()
    body = multipart_yielder(
        MultipartParam.from_params(params, escaping=escaping),
        boundary,
        cb,
        guessable=guessable,
    )
    return body, _headers(boundary, body.total)


def _headers(boundary: str | bytes, size: int) -> dict[str, str]:
    return {
        "Content-Type": boundaries.content_type(
            boundaries.quoted(boundary).decode("ascii")
        ),
        "Content-Length": str(size),
    }
