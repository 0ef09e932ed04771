"""What tells the content of one call from all others, whenever it is made again.

Covered are names and their order, values, filenames and types that the caller gave,
and where files are. Left out is what planning adds: the boundary, guessed filenames
and types, the spelling of headers, and the status of files.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterable

from .opened import place_of
from .params import (
    Block,
    Columns,
    Field,
    Params,
    Readable,
    blocks,
    is_open_file,
    text_of,
)


def of_params(params: Params) -> str:
    """Return the identity of a form.

    Raises:
        InvalidParameter: something in it cannot be sent.
    """
    return of_blocks(blocks(params))


def of_blocks(form: Iterable[Block]) -> str:
    """Return the identity of a form that was read into blocks."""
    state = hashlib.sha256(b"form\n")
    for block in form:
        if isinstance(block, Columns):
            state.update(b"".join(_plain(n, v) for n, v in block))
            continue
        for item in block:
            if isinstance(item, Field):
                state.update(_field(item))
            else:
                state.update(_plain(*item))
    return state.hexdigest()


def of_content(
    content: bytes | os.PathLike[str] | Readable,
    content_type: str | None,
    offset: int | None = None,
) -> str:
    """Return the identity of a raw representation: *content* from *offset* on."""
    state = hashlib.sha256(b"content\n")
    state.update(_joined(content_type))
    state.update(_content(content, offset))
    return state.hexdigest()


def _plain(name: str, value: str | bytes | int) -> bytes:
    content = text_of(f"params: {name!r}", value)
    if len(content) > 64:
        content = _digest(content)
    key = name.encode("utf-8", "surrogatepass")
    return b"%d:%b=%d:%b\n" % (len(key), key, len(content), content)


def _field(field: Field) -> bytes:
    literal = None if field.literal is None else field.literal.hex()
    given = _joined(field.filename, field.content_type, literal)
    if isinstance(field.content, bytes) and not field.file and given == _NOTHING:
        return _plain(field.name, field.content)
    # A part of a file is another content than the whole of it.
    where = _joined(
        None if field.length is None else str(field.length), str(int(field.file))
    )
    key = field.name.encode("utf-8", "surrogatepass")
    return b"%d:%b~%b%b%b\n" % (
        len(key),
        key,
        given,
        where,
        _content(field.content, field.offset, field.length),
    )


def _content(
    content: bytes | os.PathLike[str] | Readable,
    offset: int | None = None,
    length: int | None = None,
) -> bytes:
    if isinstance(content, bytes):
        return b"sha256 " + _digest(content)
    if is_open_file(content):
        if type(content) is io.BytesIO and not content.closed:
            start = content.tell() if offset is None else offset
            return b"sha256 " + _digest(content.getvalue()[start:][:length])
        place = place_of(content)
        if place is None:
            return _unique()
        path, position = place
        return _file(path, position if offset is None else offset)
    path = os.fspath(content)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return _unique()
    except (OSError, ValueError):
        pass  # it may have been there when the upload began: that is for others to say
    return _file(path, offset or 0)


def _file(path: str, offset: int) -> bytes:
    real = os.path.realpath(path)
    return b"file %d " % offset + os.fsencode(real).hex().encode()


def _unique() -> bytes:
    # It can be read once only: whatever comes next time is something else.
    return b"once " + secrets.token_hex(16).encode()


def _joined(*texts: str | None) -> bytes:
    coded = (t if t is None else t.encode("utf-8", "surrogatepass") for t in texts)
    return b"".join(b"-;" if t is None else b"%d:%b;" % (len(t), t) for t in coded)


_NOTHING = _joined(None, None, None)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
