"""The body of a form: its parts and the closing line, as an iterator with a length.

What is handed out is as long as was announced, or an error is raised.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Self

from poster import boundary as boundaries
from poster.files import FileRange, LengthMismatch
from poster.parameter import MultipartParam

Callback = Callable[[MultipartParam | None, int, int], object]
"""Called with the parameter, or None at the end, and the bytes so far and in all."""


def body_size(params: Iterable[MultipartParam], boundary: str | bytes) -> int:
    """Return the length of the body with the parts of *params* in bytes."""
    parts = sum(param.get_size(boundary) for param in params)
    return parts + len(boundaries.closing_line(boundary))


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
        self.total = body_size(params, boundary)
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
                    return self._hand_out(boundaries.closing_line(self.boundary))
                self.p = self.params[self.i]
                # Whoever wrote a file could not know a random boundary: the chance
                # that one of its lines begins with it is 2**-128 for each.
                self.param_iter = self.p._pieces(
                    self.boundary, searched=self._guessable, ranges=ranges
                )
                self.i += 1
            try:
                return self._hand_out(next(self.param_iter))
            except StopIteration:
                self.p = self.param_iter = None
            except BaseException:
                self.i = None  # what comes after a part that failed is no form
                raise
        raise StopIteration

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
