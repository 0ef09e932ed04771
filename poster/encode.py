"""Forms as multipart/form-data: parameters, their bytes, and the whole as an iterator.

The bytes are those that poster 0.8 wrote wherever these were well-formed. A length that
was told beforehand is the length of what follows, or an error is raised.
"""

import functools
import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Self, TypeVar, cast, overload
from urllib.parse import quote_plus

from poster import boundary as boundaries
from poster import disposition, files
from poster.disposition import Escaping
from poster.files import FileRange, LengthMismatch, Readable

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

_Block = TypeVar("_Block", bytes, bytes | FileRange)

_DEFAULT_TYPE = "text/plain; charset=utf-8"
_SMALL_BLOCK = 4096  # of what multipart_encode() reads and hands out: at least,
_BLOCK_SIZE = 1024 * 1024  # at most,
_RANGE_SIZE = 4 * 1024 * 1024  # and at most if the kernel sends it
_STEPS = 16  # that it hands out a file in, if these allow
_REMEDY = "leave the boundary out for a random one, or choose a longer one"


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
    # Python 2 quoted the tilde too, and boundaries are seen from outside.
    return quote_plus(data).replace("~", "%7E")


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
        self._measured: Readable | None = None
        self._start: int | None = None
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
            b"--" + _quoted(boundary),
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
        if boundaries.occurs(_quoted(boundary), content):
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
        scan = boundaries.Scan(_quoted(boundary))
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

    def _unsearched(
        self, boundary: str | bytes, *, ranges: bool
    ) -> Iterator[bytes | FileRange] | None:
        """Return what `iter_encode` yields for a file that nobody need search.

        With *ranges* the file is not even read, if the kernel can send it. None if
        there is no file, or a subclass encodes in its own way.
        """
        if (
            self.fileobj is None
            or self.value is not None
            or type(self).iter_encode is not MultipartParam.iter_encode
        ):
            return None
        length = self._content_length()
        content: Iterator[bytes | FileRange] | None = None
        if ranges:
            start = self._start or 0
            size = _block_size(length, _RANGE_SIZE)
            content = files.ranges(self.fileobj, start, length, size)
        if content is None:
            content = self._read(_block_size(length, _BLOCK_SIZE))
        return self._report(boundary, self._framed(boundary, content))


Params = (
    Mapping[str, object]
    | Mapping[bytes, object]
    | Iterable[MultipartParam | tuple[str | bytes, object]]
)
"""What `MultipartParam.from_params` and all that take a form accept."""

Callback = Callable[[MultipartParam | None, int, int], object]
"""Called with the parameter, or None at the end, and the bytes so far and in all."""


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
    size = sum(p.get_size(boundary) for p in MultipartParam.from_params(params))
    return size + len(_closing_line(boundary))


def get_headers(params: Params, boundary: str | bytes) -> dict[str, str]:
    """Return Content-Type and Content-Length of the encoding of *params*."""
    return _headers(boundary, get_body_size(params, boundary))


def multipart_encode(
    params: Params,
    boundary: str | bytes | None = None,
    cb: Callback | None = None,
    *,
    escaping: Escaping | None = None,
) -> tuple["multipart_yielder", dict[str, str]]:
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


class multipart_yielder:
    """The blocks of a form's encoding, once; and once more after each `reset()`.

    `current` of `total` bytes were handed out, the last ones for the parameter `p`.
    """

    def __init__(
        self,
        params: list[MultipartParam],
        boundary: str | bytes,
        cb: Callback | None,
        *,
        guessable: bool = True,
    ) -> None:
        self.params = params
        self.boundary = boundary
        self.cb = cb
        self.total = get_body_size(params, boundary)
        self._guessable = guessable
        self._begin()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        block = self._take(ranges=False)
        assert isinstance(block, bytes)
        return block

    def next(self) -> bytes:
        """Return the next block.

        Raises:
            StopIteration: that was all.
        """
        return self.__next__()

    def __len__(self) -> int:
        return self.total

    def __bool__(self) -> bool:
        # Without asking for a length, which len() can't tell above sys.maxsize.
        return True

    def reset(self) -> None:
        """Begin anew, wherever iteration stands.

        Raises:
            ValueError: a file cannot go back to where its content began.
        """
        for param in self.params:
            try:
                param.reset()
            except ValueError:
                if self.started:
                    raise
                # What was not read need not go back.
        self._begin()

    @property
    def started(self) -> bool:
        """Whether blocks were taken since the beginning or the last `reset()`."""
        return self.i != 0

    def iter_ranges(self) -> Iterator[bytes | FileRange]:
        """Yield the same, but files that the kernel can send as ranges of them.

        Only with a random boundary: content that is never read cannot be searched.
        """
        while True:
            try:
                block = self._take(ranges=True)
            except StopIteration:
                return
            yield block

    def _begin(self) -> None:
        self.i: int | None = 0
        self.p: MultipartParam | None = None
        self.param_iter: Iterator[bytes | FileRange] | None = None
        self.current = 0

    def _take(self, *, ranges: bool) -> bytes | FileRange:
        while self.i is not None:
            if self.param_iter is None:
                if self.i == len(self.params):
                    self.i = None
                    return self._hand_out(_closing_line(self.boundary))
                self.p = self.params[self.i]
                self.param_iter = self._encode(self.p, ranges=ranges)
                self.i += 1
            try:
                return self._hand_out(next(self.param_iter))
            except StopIteration:
                self.p = self.param_iter = None
            except BaseException:
                self.i = None  # what comes after a part that failed is no form
                raise
        raise StopIteration

    def _encode(
        self, param: MultipartParam, *, ranges: bool
    ) -> Iterator[bytes | FileRange]:
        # Whoever wrote a file could not know a random boundary: the chance that one
        # of its lines begins with it is 2**-128 for each.
        if not self._guessable:
            pieces = param._unsearched(self.boundary, ranges=ranges)
            if pieces is not None:
                return pieces
        if type(param).iter_encode is MultipartParam.iter_encode:
            size = _block_size(param._content_length(), _BLOCK_SIZE)
            return iter(param.iter_encode(self.boundary, size))
        return iter(param.iter_encode(self.boundary))

    def _hand_out(self, block: bytes | FileRange) -> bytes | FileRange:
        current = self.current + len(block)
        if current > self.total or (self.i is None and current != self.total):
            raise LengthMismatch(
                f"the form has {'more' if current > self.total else 'fewer'} than the "
                f"{self.total} bytes that were announced: don't change its parameters "
                "while it is sent"
            )
        self.current = current
        if self.cb:
            self.cb(self.p, current, self.total)
        return block


def _headers(boundary: str | bytes, size: int) -> dict[str, str]:
    return {
        "Content-Type": boundaries.content_type(_quoted(boundary).decode("ascii")),
        "Content-Length": str(size),
    }


def _closing_line(boundary: str | bytes) -> bytes:
    return b"--%b--\r\n" % _quoted(boundary)


@functools.lru_cache(maxsize=8)  # asked for every part of a form
def _quoted(boundary: str | bytes) -> bytes:
    """Return *boundary* as it stands in the document, and in its Content-Type.

    Raises:
        ValueError: it is empty.
    """
    if not boundary:
        raise ValueError("boundary is empty: leave it out for a random one")
    return encode_and_quote(boundary).encode("ascii")


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
