"""A form as parts: delimiters, headers and contents, rendered when they are wanted.

A block of plain fields keeps references to what the caller gave and nothing else;
its length is found with a handful of operations on the block as a whole.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import PurePath
from typing import TypeAlias, cast

from poster import boundary as boundaries
from poster.disposition import Escaping, part_header, part_header_length

from ..errors import InvalidParameter
from ..layout import Extent
from ..media_types import media_type
from ..records import SameFile
from ..sources import FileSource, MemorySource, Source
from .opened import Spooling, Stream, at_path, name_of, opened
from .params import (
    Block,
    Columns,
    Field,
    Params,
    Plain,
    Readable,
    blocks,
    is_open_file,
    text_of,
)
from .parts import Part

#: Values up to this length stand between the headers, longer ones are sources.
_INLINE = 4 * 1024
#: As much text as a block of plain fields may have to be looked at as one.
_TOGETHER = 64 * 1024
_SCANNED = 1024 * 1024  # bytes of a source read at a time


@dataclass(frozen=True, slots=True)
class _Made:
    """A part that is laid out: its header without delimiter, and its content.

    *field* is what the caller gave.
    """

    header: bytes
    content: bytes | Extent
    field: Field


_Item: TypeAlias = "tuple[str, Plain] | _Made"
_Laid: TypeAlias = "tuple[_Item, ...] | Columns"


class Form:
    """The parts of a multipart/form-data representation (RFC 7578).

    Raises:
        InvalidParameter: something cannot be sent; the message names the field.
        SourceError: a stream cannot be spooled.
    """

    def __init__(
        self,
        params: Params,
        *,
        boundary: str | None,
        escaping: Escaping,
        same_file: SameFile,
        spooling: Spooling,
        scan: bool,
    ) -> None:
        self.sources: list[Source] = []
        self._escaping, self._same_file = escaping, same_file
        self._spooling, self._streams = spooling, dict[int, tuple[Stream, Field]]()
        self._spooled: list[FileSource] = []
        self._seen: dict[int, tuple[Readable, str]] = {}
        self._explicit = boundary is not None
        self._blocks: list[_Laid] = []
        self._set_boundary(boundaries.new_boundary() if boundary is None else boundary)
        try:
            lengths = array("Q")
            clean = True
            for block in blocks(params):
                laid, length, found = self._laid(block)
                self._blocks.append(laid)
                lengths.append(length)
                clean = clean and not found
            self._spool(lengths)
            self._settle_boundary(clean, scan)
        except BaseException:
            self._undo()
            raise
        self._seen.clear()
        if lengths:
            lengths[0] -= 2  # no line end before the first delimiter
        self.closing = len(self._last)
        lengths.append(len(self._last) + (2 if self._blocks else 0))
        self.ends = array("Q", accumulate(lengths))

    def group(self, index: int) -> Iterator[Part]:
        """Yield the parts of one block; after the last one, the closing line."""
        if index == len(self._blocks):
            yield (b"\r\n" if self._blocks else b"") + self._last, b""
            return
        delimiter = self._delimiter[2:] if index == 0 else self._delimiter
        for item in self._blocks[index]:
            if isinstance(item, _Made):
                yield delimiter + item.header, item.content
            else:
                name, value = item
                yield self._header(name, delimiter), text_of(name, value)
            delimiter = self._delimiter

    def given(self) -> Iterator[Block]:
        """Yield the blocks as the caller gave them, to tell what they are."""
        for block in self._blocks:
            if isinstance(block, Columns):
                yield block
            else:
                yield tuple(e.field if isinstance(e, _Made) else e for e in block)

    @property
    def content_type(self) -> str:
        """The Content-Type of the whole, with its boundary."""
        return boundaries.content_type(self.boundary)

    def _set_boundary(self, boundary: str) -> None:
        try:
            self.boundary = boundaries.check_boundary(boundary)
        except ValueError as exc:
            raise InvalidParameter(str(exc)) from None
        self._token = boundary.encode("ascii")
        self._delimiter = b"\r\n--" + self._token
        self._last = b"--" + self._token + b"--\r\n"
        # What stands around any name that is written as it is.
        self._around = part_header_length(self._delimiter, "", escaping=self._escaping)

    def _laid(self, block: Block) -> tuple[_Laid, int, bool]:
        """Return *block* laid out, its length, and if the boundary may be in it."""
        together = self._together(block)
        if together is not None:
            return cast(_Laid, block), *together
        items: list[_Item] = []
        length, found = 0, False
        for item in block:
            if isinstance(item, Field):
                laid: _Item = self._made(item)
            else:
                laid = self._plain(*item)
            items.append(laid)
            if isinstance(laid, _Made):
                header, content = len(self._delimiter) + len(laid.header), laid.content
            else:
                content = text_of(f"params: {laid[0]!r}", laid[1])
                header = len(self._header(laid[0], self._delimiter))
            if isinstance(content, Extent):
                length += header + content.length
                source = self.sources[content.source] if content.length else None
                if isinstance(source, MemorySource):
                    found |= self._forged(source.data)
            else:
                length += header + len(content)
                found |= self._forged(content)
        return tuple(items), length, found

    def _together(self, block: Block) -> tuple[int, bool] | None:
        """Return the latter two of `_laid` if the block is short plain fields."""
        names: tuple[str, ...]
        values: tuple[Plain, ...]
        if isinstance(block, Columns):
            names, values = block.names, block.values
        elif any(type(each) is Field for each in block):
            return None
        else:
            pairs = cast("tuple[tuple[str, Plain], ...]", block)
            names, values = zip(*pairs, strict=True)
        named = "".join(names)
        if not (
            self._escaping is not Escaping.CLASSIC
            and named.isascii()
            and named.isprintable()
            and '"' not in named
            and "\\" not in named
        ):
            return None
        try:
            valued = "".join(values).encode()  # type: ignore[arg-type]  # caught
        except TypeError:
            try:
                valued = b"".join([text_of("", value) for value in values])
            except InvalidParameter:
                return None  # which of them it is, the other way says
        except UnicodeEncodeError:
            return None
        if len(valued) > _TOGETHER:
            return None
        found = self._token in valued
        if found and self._explicit:
            return None  # which of them it is, the other way says
        return self._around * len(names) + len(named) + len(valued), found

    def _plain(self, name: str, value: Plain) -> _Item:
        content = text_of(f"params: {name!r}", value)
        self._check(name, content)
        if len(content) <= _INLINE:
            return name, value
        header = self._header(name, b"")
        return _Made(header, self._in_memory(content), Field(name, content, file=False))

    def _made(self, field: Field) -> _Made:
        filename, content_type = field.filename, field.content_type
        if field.file and field.literal is None:
            content = field.content
            if filename is None:
                named = None if isinstance(content, bytes) else name_of(content)
                # Parsers take a part for a file only if it has a filename.
                filename = named or "upload"
            content_type = content_type or media_type(filename)
        header = field.literal or self._header(field.name, b"", filename, content_type)
        if isinstance(field.content, bytes):
            self._check(field.name, field.content)
            if len(field.content) <= _INLINE:
                return _Made(header, field.content, field)
            return _Made(header, self._in_memory(field.content), field)
        return self._elsewhere(field, header)

    def _elsewhere(self, field: Field, header: bytes) -> _Made:
        content = field.content
        found: Source | Stream
        assert not isinstance(content, bytes)
        if is_open_file(content):
            self._once(content, field)
            found = opened(
                content,
                field.label,
                self._same_file,
                self._spooling,
                offset=field.offset,
                length=field.length,
            )
        else:
            found = at_path(content, field.label, self._same_file, self._spooling)
        index = len(self.sources)
        if isinstance(found, Stream):
            # Spooled when all else is known to be right; until then it has no bytes.
            self._streams[index] = found, field
            found = MemorySource(b"")
        elif isinstance(found, MemorySource):
            self._check(field.name, found.data)
            field = replace(field, content=found.data)
        elif isinstance(found, FileSource):
            # The caller may close his file; where it is says as much.
            field = replace(field, content=PurePath(found.path), offset=found.base)
        self.sources.append(found)
        return _Made(header, Extent(index, 0, found.length), field)

    def _in_memory(self, content: bytes) -> Extent:
        self.sources.append(MemorySource(content))
        return Extent(len(self.sources) - 1, 0, len(content))

    def _check(self, name: str, content: bytes) -> None:
        if self._explicit and boundaries.occurs(self._token, content):
            raise InvalidParameter(
                f"boundary: {self.boundary!r} begins a line of the value of {name!r}: "
                "leave it out for a random one"
            )

    def _once(self, file: Readable, field: Field) -> None:
        _, other = self._seen.setdefault(id(file), (file, ""))
        if other:
            raise InvalidParameter(
                f"{field.label}: the same open file is the value of {other!r} as well, "
                "and has one position only; give its Path, or open it twice"
            )
        self._seen[id(file)] = file, field.name

    def _header(
        self,
        name: str,
        delimiter: bytes,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> bytes:
        try:
            return part_header(
                delimiter,
                name,
                filename=filename,
                content_type=content_type,
                escaping=self._escaping,
            )
        except ValueError as exc:
            raise InvalidParameter(f"params: {name!r}: {exc}") from None

    def _spool(self, lengths: array[int]) -> None:
        """Spool the streams, and count their bytes in."""
        for place, block in enumerate(self._blocks if self._streams else ()):
            if isinstance(block, Columns):
                continue
            items = list(block)
            for at, item in enumerate(items):
                if not isinstance(item, _Made) or isinstance(item.content, bytes):
                    continue
                index = item.content.source
                if index not in self._streams:
                    continue
                stream, field = self._streams[index]
                source = self._spooling.spool(stream, field.label, field.length)
                self._spooled.append(source)
                self.sources[index] = source
                lengths[place] += source.length
                items[at] = _Made(item.header, Extent(index, 0, source.length), field)
            self._blocks[place] = tuple(items)

    def _undo(self) -> None:
        """Leave nothing open and nothing spooled."""
        for source in self.sources:
            source.close()
        for spool in self._spooled:
            os.unlink(spool.path)

    def _forged(self, content: bytes) -> bool:
        return self._token in content

    def _settle_boundary(self, clean: bool, scan: bool) -> None:
        """Make sure that no value holds the boundary; no file either, if *scan*."""
        if self._explicit:
            if scan:
                self._scan()
            return
        # A random boundary that some value holds was drawn once in 2**100 years. Still:
        while not clean:
            self._set_boundary(boundaries.new_boundary())
            clean = not any(map(self._forged, self._values()))
        if scan:
            self._scan()

    def _values(self) -> Iterator[bytes]:
        for block in self._blocks:
            for item in block:
                if isinstance(item, _Made):
                    if isinstance(item.content, bytes):
                        yield item.content
                else:
                    yield text_of("", item[1])
        for source in self.sources:
            if isinstance(source, MemorySource):
                yield source.data

    def _scan(self) -> None:
        for source in self.sources:
            scan = boundaries.Scan(self._token)
            for offset in range(0, source.length, _SCANNED):
                if scan.feed(source.read_at(offset, _SCANNED)):
                    raise InvalidParameter(
                        f"boundary: {self.boundary!r} begins a line of {source.name}: "
                        "leave it out for a random one"
                    )
