"""Plans as records, and parts from records: literal bytes and how they are cut.

``PlanRecord.headers`` is every inline byte in order. ``PlanRecord.lengths`` is a pair
of signed 64-bit numbers, little endian, for each part: the length of its header and
that of its content; ``-1 - length`` if the content is the next source. Both are
compressed with zlib.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence

from ..errors import StoreError
from ..layout import Extent
from ..records import PlanRecord, SourceRecord
from ..sources import Source
from .params import BLOCK
from .parts import Part, Parts, every


def written(
    parts: Parts, sources: Sequence[Source], content_type: str, closing: int
) -> PlanRecord | None:
    """Return the record of a plan; None if a source cannot outlive the process."""
    kept: list[SourceRecord] = []
    for source in sources:
        record = source.record()
        if record is None:
            return None
        kept.append(record)
    lengths = array("q")
    headers, length = _compressed(_counted(parts, lengths))
    if sys.byteorder == "big":
        lengths.byteswap()
    return PlanRecord(
        content_type=content_type,
        length=length + sum(each.length for each in kept),
        closing=closing,
        headers=headers,
        lengths=zlib.compress(lengths.tobytes(), 1),
        sources=tuple(kept),
    )


class Written:
    """The parts that a record describes.

    Raises:
        StoreError: the record is damaged.
    """

    def __init__(self, record: PlanRecord) -> None:
        self._lengths = lengths = array("q")
        packed = _expanded(record.lengths)
        if len(packed) % 16:
            raise _damaged()
        lengths.frombytes(packed)
        if sys.byteorder == "big":
            lengths.byteswap()
        self._inline = _expanded(record.headers)
        starts, ends, first = array("Q"), array("Q"), array("Q")
        inline = length = source = 0
        for at in range(0, len(lengths), 2 * BLOCK):
            starts.append(inline)
            first.append(source)
            for each in lengths[at : at + 2 * BLOCK]:
                if each >= 0:
                    inline += each
                    length += each
                else:
                    length += -1 - each
                    source += 1
            ends.append(length)
        self._starts, self._first, self.ends = starts, first, ends
        known = [each.length for each in record.sources]
        if (
            length != record.length
            or inline != len(self._inline)
            or [-1 - each for each in lengths if each < 0] != known
        ):
            raise _damaged()

    def group(self, index: int) -> Iterator[Part]:
        """Yield the parts of one group."""
        at, source = self._starts[index], self._first[index]
        start = 2 * BLOCK * index
        lengths = self._lengths[start : start + 2 * BLOCK]
        for header, content in zip(lengths[::2], lengths[1::2], strict=True):
            if content < 0:
                yield self._inline[at : at + header], Extent(source, 0, -1 - content)
                source += 1
                at += header
            else:
                middle = at + header
                yield self._inline[at:middle], self._inline[middle : middle + content]
                at = middle + content


def _counted(parts: Parts, lengths: array[int]) -> Iterator[bytes]:
    """Yield the inline bytes of *parts*, noting lengths in *lengths*."""
    for header, content in every(parts):
        lengths.append(len(header))
        yield header
        if isinstance(content, Extent):
            lengths.append(-1 - content.length)
        else:
            lengths.append(len(content))
            yield content


def _compressed(blocks: Iterable[bytes]) -> tuple[bytes, int]:
    """Return *blocks* compressed as one, and how many bytes they were."""
    state = zlib.compressobj(1)
    found: list[bytes] = []
    pending: list[bytes] = []
    held = length = 0
    for block in blocks:
        pending.append(block)
        held += len(block)
        if held >= 65536:
            found.append(state.compress(b"".join(pending)))
            length, held = length + held, 0
            pending.clear()
    found += (state.compress(b"".join(pending)), state.flush())
    return b"".join(found), length + held


def _expanded(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error as exc:
        raise _damaged() from exc


def _damaged() -> StoreError:
    return StoreError("a stored plan is damaged: cancel its upload, and send again")
