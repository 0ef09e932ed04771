"""A parameter of a form: its name and content, and the part that they become.

The length that it tells is the length of what it yields, or an error is raised.
"""

import functools
import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Self, TypeVar, cast

from poster import boundary as boundaries
from poster import disposition, files
from poster.disposition import Escaping
from poster.files import FileRange, Readable

_Block = TypeVar("_Block", bytes, bytes | FileRange)

_DEFAULT_TYPE = "text/plain; charset=utf-8"
_SMALL_BLOCK = 4096  # of what a form reads and hands out of a file: at least,
_BLOCK_SIZE = 1024 * 1024  # at most,
_RANGE_SIZE = 4 * 1024 * 1024  # and at most if the kernel sends it
_STEPS = 16  # that it hands out a file in, if these allow
_REMEDY = "leave the boundary out for a random one, or choose a longer one"


class MultipartParam:
    """A parameter of a multipart/form-data request: a field or a file.

    *name* is text, or bytes in UTF-8. *value* is the content: bytes, text, which
    becomes UTF-8, or anything else by its `str()`. Instead of it, *fileobj* may be an
    object with a `read()` that returns bytes.

    *filename* is what the server is told; it need not be the name of any file. If it is
    the path of *fileobj*, only its last component is told. *filetype* is the
    Content-Type, ``text/plain; charset=utf-8`` if there is none.

    *filesize* is the number of bytes that *fileobj* has from where it stands, or as a
    whole. Without it, the whole file is the content, and its length is asked from the
    descriptor, or else found by going to the end, and back to the beginning.

    *cb* is called by `iter_encode` with (self, current, total): the bytes of this part
    that were taken, and its length.

    *escaping* says how name and filename are spelled; None takes the attribute of the
    class. With `Escaping.CLASSIC` the attributes `name` and `filename` hold the
    spelled text, as in poster 0.8, else the plain one. Parameters are equal if all
    their attributes but `cb` are, and are ordered by them.

    Raises:
        ValueError: both *value* and *fileobj* are given, or the length of *fileobj*
            cannot be found.
        TypeError: *name* is neither text nor bytes, or *fileobj* is in text mode.
    """

    escaping: Escaping = Escaping.CLASSIC
    _measured: Readable | None = None  # the file that `_start` is of
    _start: int | None = None

    def __init__(
        self,
        name: str | bytes,
        value: object = None,
        filename: object = None,
        filetype: object = None,
        filesize: int | None = None,
        fileobj: Readable | None = None,
        cb: Callable[["MultipartParam", int, int], object] | None = None,
        *,
        escaping: Escaping | None = None,
    ) -> None:
        if value is not None and fileobj is not None:
            raise ValueError("Only one of value or fileobj may be specified")
        if escaping is not None:
            self.escaping = escaping
        self.name = self._spell_name(name)
        self.value = None if value is None else _as_bytes(value)
        self.filename = self._spell_filename(filename, fileobj)
        self.filetype = None if filetype is None else _as_text(filetype)
        self.filesize = filesize
        self.fileobj = fileobj
        self.cb = cb
        self._measure()

    @classmethod
    def from_file(
        cls, paramname: str | bytes, filename: str | bytes | os.PathLike[str]
    ) -> Self:
        """Return a new parameter with the content of the local file at *filename*.

        It gets the last component of the path, the type that is guessed from it, and
        the size of the file, which is closed when it is forgotten.

        Raises:
            OSError: the file cannot be opened.
        """
        path = os.fsdecode(filename)
        return cls(
            paramname,
            filename=os.path.basename(os.fspath(filename)),
            filetype=_guessed_type(path),
            filesize=os.path.getsize(path),
            fileobj=files.open_own(path),
        )

    @classmethod
    def from_params(
        cls, params: "Params", *, escaping: Escaping | None = None
    ) -> list["MultipartParam"]:
        """Return a list of parameters for *params*.

        *params* is a mapping, or an iterable of (name, value) pairs and parameters.
        Values are what `MultipartParam` takes, objects with a `read()`, or parameters
        of that name. Parameters are passed on as they are; *escaping* is for new ones.

        Raises:
            AssertionError: a parameter has another name than the one beside it.
            ValueError, TypeError: as from `MultipartParam`.
        """
        items = cast(
            "Iterable[MultipartParam | tuple[str | bytes, object]]",
            params.items() if hasattr(params, "items") else params,
        )
        # Not passed on if not given: a subclass may have a constructor of its own.
        new = cls if escaping is None else functools.partial(cls, escaping=escaping)
        result: list[MultipartParam] = []
        for item in items:
            if isinstance(item, MultipartParam):
                result.append(item)
                continue
            name, value = item
            if isinstance(value, MultipartParam):
                if value.name not in (name, value._spell_name(name)):
                    # Raised, not asserted: it shall not depend on python -O.
                    raise AssertionError(
                        f"a parameter named {value.name!r} stands under {name!r}: "
                        "give both the same name"
                    )
                result.append(value)
            elif hasattr(value, "read"):
                filename = _file_name(value)
                result.append(
                    new(
                        name=name,
                        filename=filename,
                        filetype=_guessed_type(filename) if filename else None,
                        fileobj=cast(Readable, value),
                    )
                )
            else:
                result.append(new(name, value))
        return result

    def reset(self) -> None:
        """Go back to where the content begins.

        Raises:
            ValueError: there is no content, or the file cannot go back.
        """
        self._measure()
        if self.fileobj is None and self.value is None:
            raise ValueError(
                f"Don't know how to reset this parameter: {self.name!r} has no content"
            )
        if self.fileobj is not None and not self._rewind():
            raise ValueError(
                f"Don't know how to reset this parameter: the file of {self.name!r} "
                "cannot seek; read it and pass what it holds as the value"
            )

    def encode_hdr(self, boundary: str | bytes) -> bytes:
        """Return the header of this part, from the delimiter to the empty line.

        Raises:
            ValueError: the filetype has a line break, or *boundary* is empty.
        """
        return disposition.assemble(
            b"--" + boundaries.quoted(boundary),
            disposition.spell_name(self.name, self.escaping),
            self._filename_bytes(),
            _as_text(self.filetype) if self.filetype else _DEFAULT_TYPE,
        )

    def encode(self, boundary: str | bytes) -> bytes:
        """Return the encoding of this part: header, content and CRLF.

        Raises:
            ValueError: a line of the content begins with the delimiter.
            LengthMismatch: the file is not as long as was announced.
            TypeError: there is neither value nor file.
        """
        if self.value is not None:
            content = _as_bytes(self.value)
        else:
            content = b"".join(self._read(_BLOCK_SIZE))
        if boundaries.occurs(boundaries.quoted(boundary), content):
            raise ValueError(f"boundary found in encoded string: {_REMEDY}")
        return b"".join((self.encode_hdr(boundary), content, b"\r\n"))

    def iter_encode(
        self, boundary: str | bytes, blocksize: int = 4096
    ) -> Iterator[bytes]:
        """Yield the encoding of this part, a file in blocks of *blocksize* bytes.

        A value comes in one block with its header. `cb` hears of a block when the next
        one is asked for.

        Raises:
            ValueError: a line of the content begins with the delimiter.
            LengthMismatch: the file is not as long as was announced.
            TypeError: there is neither value nor file.
        """
        if self.value is not None:
            return self._report(boundary, self._whole(boundary))
        return self._report(
            boundary, self._framed(boundary, self._scanned(boundary, blocksize))
        )

    def get_size(self, boundary: str | bytes) -> int:
        """Return the length of this part's encoding in bytes.

        Raises:
            TypeError: there is neither value nor file, nor a filesize.
        """
        return len(self.encode_hdr(boundary)) + self._content_length() + 2

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultipartParam):
            return NotImplemented
        return self._attributes() == other._attributes()

    def __hash__(self) -> int:
        # Of what programs don't assign again: filename, above all, they do.
        return hash(self.name)

    def __lt__(self, other: "MultipartParam") -> bool:
        if not isinstance(other, MultipartParam):
            return NotImplemented
        return self._order() < other._order()

    def __le__(self, other: "MultipartParam") -> bool:
        return self == other or self < other

    def __gt__(self, other: "MultipartParam") -> bool:
        return other < self

    def __ge__(self, other: "MultipartParam") -> bool:
        return other <= self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _attributes(self) -> tuple[object, ...]:
        value = None if self.value is None else _as_bytes(self.value)
        filename, filetype = self.filename, self.filetype
        return self.name, value, filename, filetype, self.filesize, self.fileobj

    def _order(self) -> tuple[tuple[bool, str | bytes | int], ...]:
        """Return the attributes as a key in which None comes first, as in Python 2."""
        value = b"" if self.value is None else _as_bytes(self.value)
        return (
            (True, self.name),
            (self.value is not None, value),
            (self.filename is not None, self.filename or ""),
            (self.filetype is not None, self.filetype or ""),
            (self.filesize is not None, self.filesize or 0),
            (self.fileobj is not None, id(self.fileobj)),
        )

    def _spell_name(self, name: str | bytes) -> str:
        if not isinstance(name, str | bytes):
            raise TypeError(f"name must be str or bytes, not {type(name).__name__}")
        text = name if isinstance(name, str) else name.decode("utf-8")
        return (
            disposition.classic_name(text)
            if self.escaping is Escaping.CLASSIC
            else text
        )

    def _spell_filename(self, filename: object, fileobj: object) -> str | None:
        if filename is None:
            return None
        own = getattr(fileobj, "name", None)
        if isinstance(filename, os.PathLike) or (
            isinstance(filename, str | bytes)
            and type(filename) is type(own)
            and filename == own
        ):
            filename = os.path.basename(os.fspath(filename))
        if self.escaping is not Escaping.CLASSIC:
            return _as_text(filename)
        return disposition.classic_filename(
            filename if isinstance(filename, bytes) else _as_text(filename)
        )

    def _filename_bytes(self) -> bytes | None:
        if not self.filename:
            return None
        filename = _as_text(self.filename)
        if self.escaping is not Escaping.CLASSIC:
            return disposition.spell_filename(filename, self.escaping)
        # Spelled when it was given; but programs assign the attribute as well.
        return disposition.closed(filename).encode("ascii")

    def _measure(self) -> None:
        """Note where the content of the file begins and, if not given, its length."""
        if self.fileobj is self._measured or self.fileobj is None:
            return
        files.check_binary(self.fileobj)
        if self.filesize is None:
            start = None if files.position(self.fileobj) is None else 0
            self.filesize = files.size_of(self.fileobj)
        else:
            start = files.start_of(self.fileobj, self.filesize)
        self._measured, self._start = self.fileobj, start

    def _rewind(self) -> bool:
        if self._start is None:
            return False
        self.fileobj.seek(self._start)  # type: ignore[union-attr]  # it has a position
        return True

    def _content_length(self) -> int:
        if self.value is not None:
            return len(_as_bytes(self.value))
        self._measure()
        if self.filesize is None:
            raise TypeError(f"parameter {self.name!r} has neither value nor file")
        return self.filesize

    def _read(self, blocksize: int) -> Iterator[bytes]:
        length = self._content_length()
        if self.fileobj is None:
            raise TypeError(f"parameter {self.name!r} has neither value nor file")
        self._rewind()
        return files.blocks(self.fileobj, length, blocksize)

    def _scanned(self, boundary: str | bytes, blocksize: int) -> Iterator[bytes]:
        scan = boundaries.Scan(boundaries.quoted(boundary))
        for block in self._read(blocksize):
            if scan.feed(block):
                raise ValueError(f"boundary found in file data: {_REMEDY}")
            yield block

    def _whole(self, boundary: str | bytes) -> Iterator[bytes]:
        yield self.encode(boundary)

    def _framed(
        self, boundary: str | bytes, content: Iterator[_Block]
    ) -> Iterator[_Block]:
        yield self.encode_hdr(boundary)
        yield from content
        yield b"\r\n"

    def _report(
        self, boundary: str | bytes, blocks: Iterator[_Block]
    ) -> Iterator[_Block]:
        total = None  # until somebody wants to know: a form has many silent fields
        current = 0
        for block in blocks:
            current += len(block)
            yield block
            if self.cb:
                total = self.get_size(boundary) if total is None else total
                self.cb(self, current, total)

    def _pieces(
        self, boundary: str | bytes, *, searched: bool, ranges: bool
    ) -> Iterator[bytes | FileRange]:
        """Yield the encoding of this part in blocks as large as suits its content.

        A file need not be *searched* for a boundary that nobody could know. Then, with
        *ranges*, it is not even read, if the kernel can send it.
        """
        if type(self).iter_encode is not MultipartParam.iter_encode:
            return iter(self.iter_encode(boundary))
        length = self._content_length()
        size = _block_size(length, _BLOCK_SIZE)
        if searched or self.value is not None or self.fileobj is None:
            return iter(self.iter_encode(boundary, size))
        content: Iterator[bytes | FileRange] | None = None
        if ranges:
            content = files.ranges(
                self.fileobj, self._start or 0, length, _block_size(length, _RANGE_SIZE)
            )
        if content is None:
            content = self._read(size)
        return self._report(boundary, self._framed(boundary, content))


Params = (
    Mapping[str, object]
    | Mapping[bytes, object]
    | Iterable[MultipartParam | tuple[str | bytes, object]]
)
"""What `MultipartParam.from_params` and all that take a form accept."""


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    text = str(value)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # as Python 2 did


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


def _file_name(file: object) -> str | bytes | None:
    """Return what *file* is called, without where it stands; None if it has no name."""
    name = getattr(file, "name", None)
    if isinstance(name, str | bytes | os.PathLike):
        return os.path.basename(os.fspath(name))
    return None  # temporary files have a number


def _guessed_type(path: str | bytes) -> str | None:
    return mimetypes.guess_type(os.fsdecode(path))[0]


def _block_size(length: int, most: int) -> int:
    """Return how many bytes of content of *length* to take at once.

    They are the 4096 of poster 0.8 for a small file, and for a large one *most*: a
    progress bar moves, and work for each block does not count.
    """
    return min(most, max(_SMALL_BLOCK, length // _STEPS // _SMALL_BLOCK * _SMALL_BLOCK))
