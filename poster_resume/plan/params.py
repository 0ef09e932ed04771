"""What a caller may give as a form, read into parts; nothing is opened here.

Each error names the field and the remedy. Parts come in blocks, and a block of
plain text fields keeps the caller's own objects: a million of them must cost
little more than a million references.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Final, Protocol, TypeAlias, cast

from typing_extensions import TypeIs

from poster.encode import MultipartParam

from ..errors import InvalidParameter

Params: TypeAlias = Mapping[str, object] | Iterable[object]
"""A form: a mapping, or pairs of names and values; see ``plan_form``."""

Plain: TypeAlias = str | bytes | int

#: Parts in a block: what finding one offset may cost.
BLOCK: Final = 64


class Readable(Protocol):
    """An open file, as far as one can tell from outside."""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes."""


def is_open_file(value: object) -> TypeIs[Readable]:
    """Whether *value* can be read like a file.

    Asked of the value and not of its class: some, such as tempfile's, lend their
    methods from the file inside.
    """
    return callable(getattr(value, "read", None))


@dataclass(frozen=True, slots=True)
class Field:
    """A part that is more than a name and a short value.

    *filename* and *content_type* are None where the caller gave none; a *file*
    gets them guessed then. *literal* is the header that a ``MultipartParam`` writes,
    without its delimiter. *length* is how many bytes of an open file belong to it,
    None for all that follow *offset*, which is None for where the file stands.
    """

    name: str
    content: bytes | os.PathLike[str] | Readable
    filename: str | None = None
    content_type: str | None = None
    file: bool = True
    literal: bytes | None = None
    offset: int | None = None
    length: int | None = None

    @property
    def label(self) -> str:
        """What to call the field in messages."""
        return f"params: {self.name!r}"


class Columns:
    """A block of plain fields: their names, and their values in the same order."""

    __slots__ = ("names", "values")

    def __init__(self, names: tuple[str, ...], values: tuple[Plain, ...]) -> None:
        self.names, self.values = names, values

    def __iter__(self) -> Iterator[tuple[str, Plain]]:
        return zip(self.names, self.values, strict=True)


Item: TypeAlias = "tuple[str, Plain] | Field"
Block: TypeAlias = "tuple[Item, ...] | Columns"


def blocks(params: Params) -> Iterator[Block]:
    """Yield the parts of *params* in blocks of at most ``BLOCK``.

    Raises:
        InvalidParameter: something in it cannot be sent.
    """
    if isinstance(params, str | bytes | MultipartParam) or not isinstance(
        params, Iterable
    ):
        raise InvalidParameter(
            f"params: {_kind(params)} is no form: give a mapping, or pairs of names "
            "and values; raw bytes go into content="
        )
    if isinstance(params, Mapping):
        yield from _of_columns(iter(params), iter(params.values()))
        return
    pairs = iter(params)
    while chunk := tuple(islice(pairs, BLOCK)):
        if _plain_pairs(chunk):
            yield cast("tuple[Item, ...]", chunk)
        else:
            yield from _gathered(_entry(each) for each in chunk)


def text_of(label: str, value: Plain) -> bytes:
    """Return a plain value as the bytes that are sent.

    Raises:
        InvalidParameter: it has no spelling in UTF-8.
    """
    if isinstance(value, bytes):
        return value
    try:
        text = str.__str__(value) if isinstance(value, str) else str(int(value))
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidParameter(
            f"{label}: the text has a lone surrogate, which UTF-8 cannot spell; "
            'give bytes, e.g. .encode("utf-8", "surrogateescape")'
        ) from None
    except ValueError as exc:
        raise InvalidParameter(f"{label}: {exc}; give it as str") from None


def _of_columns(names: Iterator[object], values: Iterator[object]) -> Iterator[Block]:
    while head := tuple(islice(names, BLOCK)):
        rest = tuple(islice(values, len(head)))
        if len(rest) < len(head):
            raise InvalidParameter("params: the mapping has fewer values than names")
        if set(map(type, head)) == {str} and _PLAIN.issuperset(map(type, rest)):
            yield Columns(cast("tuple[str, ...]", head), cast("tuple[str, ...]", rest))
        else:
            yield from _gathered(zip(head, rest, strict=True))


def _plain_pairs(chunk: tuple[object, ...]) -> bool:
    # A list as a pair could change later: only tuples are kept as they are.
    if set(map(type, chunk)) != {tuple}:
        return False
    pairs = cast("tuple[tuple[object, ...], ...]", chunk)
    if set(map(len, pairs)) != {2}:
        return False
    names, values = zip(*pairs, strict=True)
    return set(map(type, names)) == {str} and _PLAIN.issuperset(map(type, values))


def _entry(entry: object) -> tuple[object, object]:
    if isinstance(entry, MultipartParam):
        return entry.name, entry
    if isinstance(entry, tuple | list) and len(entry) == 2:
        return entry[0], entry[1]
    raise InvalidParameter(
        f"params: {_kind(entry)} is no pair of a name and a value: give (name, value), "
        "or a mapping"
    )


def _gathered(entries: Iterable[tuple[object, object]]) -> Iterator[Block]:
    """Yield blocks of what *entries* come to, lists of values spread out."""
    pending: list[Item] = []
    for name, value in entries:
        if not isinstance(name, str):
            raise InvalidParameter(f"params: the name {name!r} is not str")
        name = str.__str__(name)
        if not isinstance(value, list):
            pending.append(_item(name, value))
            if len(pending) == BLOCK:
                yield tuple(pending)
                pending.clear()
            continue
        if pending:
            yield tuple(pending)
            pending.clear()
        yield from _repeated(name, value)
    if pending:
        yield tuple(pending)


def _repeated(name: str, values: list[object]) -> Iterator[Block]:
    each = iter(tuple(values))
    while chunk := tuple(islice(each, BLOCK)):
        if _PLAIN.issuperset(map(type, chunk)):
            plain = cast("tuple[Plain, ...]", chunk)
            yield Columns((name,) * len(plain), plain)
        else:
            yield tuple(_item(name, value) for value in chunk)


def _item(name: str, value: object) -> Item:
    if type(value) in _PLAIN:
        return name, cast(Plain, value)
    label = f"params: {name!r}"
    if isinstance(value, MultipartParam):
        return _literal(name, value)
    if isinstance(value, tuple):
        return _triple(name, label, value)
    if isinstance(value, str):
        return name, str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return name, int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return name, bytes(value)
    return Field(name, file_content(label, value))


def file_content(label: str, value: object) -> os.PathLike[str] | Readable:
    """Return *value* if it is a path or an open binary file.

    Raises:
        InvalidParameter: it is neither; *label* names the parameter.
    """
    if isinstance(value, io.TextIOBase):
        raise InvalidParameter(
            f'{label}: the file is open in text mode; open it with "rb"'
        )
    if is_open_file(value):
        return value
    if isinstance(value, os.PathLike):
        return PurePath(os.fsdecode(value))
    raise InvalidParameter(f"{label}: {_kind(value)} {_remedy(value)}")


def _triple(name: str, label: str, value: tuple[object, ...]) -> Item:
    if len(value) not in (2, 3):
        raise InvalidParameter(
            f"{label}: a tuple is (filename, content) or (filename, content, type), "
            f"this one has {len(value)} elements; to repeat a field, give a list"
        )
    filename, content, content_type = (*value, None)[:3]
    if isinstance(filename, os.PathLike):
        filename = os.fsdecode(filename)
    if filename is not None and not isinstance(filename, str):
        raise InvalidParameter(f"{label}: the filename {filename!r} is not str")
    if content_type is not None and not isinstance(content_type, str):
        raise InvalidParameter(f"{label}: the type {content_type!r} is not str")
    if isinstance(content, str | int) and not isinstance(content, bool):
        if filename is not None or isinstance(content, int):
            raise InvalidParameter(
                f"{label}: {_kind(content)} as the content of a file is ambiguous; use "
                "Path(...) for a file or .encode() for text"
            )
        content = text_of(label, content)
    if isinstance(content, bytes | bytearray | memoryview):
        named = filename is not None
        return Field(name, bytes(content), filename, content_type, file=named)
    content = file_content(label, content)
    # As in other libraries, a filename of None says that there shall be none.
    return Field(name, content, filename, content_type, file=filename is not None)


def _literal(name: str, param: MultipartParam) -> Item:
    label = f"params: {name!r}"
    try:
        # What a subclass writes counts; its delimiter alone is replaced by ours.
        literal = param.encode_hdr("x").removeprefix(b"--x")
    except (ValueError, TypeError) as exc:
        raise InvalidParameter(f"{label}: {exc}") from None
    if param.value is not None:
        content = text_of(label, cast(Plain, param.value))
        return Field(name, content, literal=literal)
    if param.fileobj is None:
        raise InvalidParameter(
            f"{label}: the MultipartParam has neither value nor fileobj"
        )
    length = param.filesize
    if length is not None and length < 0:
        raise InvalidParameter(
            f"{label}: filesize {length} is negative; leave it out to have it found"
        )
    content_file = file_content(label, param.fileobj)
    assert is_open_file(content_file)
    return Field(
        name,
        content_file,
        literal=literal,
        offset=_beginning(param),
        length=length,
    )


def _beginning(param: MultipartParam) -> int | None:
    """Return where the content of *param* begins in its file, None if it can't seek."""
    file = param.fileobj
    try:
        where = file.tell()  # type: ignore[union-attr]  # asked, not assumed
        param.reset()
        start = file.tell()  # type: ignore[union-attr]
        file.seek(where)  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return None
    return int(start)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _remedy(value: object) -> str:
    match value:
        case None:
            return 'is no value; leave the field out, or give ""'
        case bool():
            return 'has no agreed spelling; give "true", "1" or what the server expects'
        case float():
            return "has no agreed spelling; give str(...) or f'{...:.2f}'"
        case Mapping():
            return "is no value; give json.dumps(...), or a field for each entry"
        case set() | frozenset():
            return "has no order; give a list to repeat the field"
        case Iterable():
            return "is no value; give a list to repeat the field, or bytes"
        case _:
            return "is no value; give str, bytes, int, a Path or an open binary file"


_PLAIN: Final = frozenset({str, bytes, int})
