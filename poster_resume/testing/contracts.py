"""What every source promises, as a check for those who write one.

Call ``check_source`` in a test with a function that makes a source.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from ..records import SourceRecord
from ..sources import SOURCES, Source


def check_source(make: Callable[[], Source], content: bytes) -> None:
    """Check the promises of ``Source`` on sources of *content* that *make* returns.

    Raises:
        AssertionError: a promise is broken.
    """
    for check in (
        _has_every_slice,
        _fills_buffers,
        _serves_threads,
        _lends_its_file,
        _is_written_down,
    ):
        source = make()
        try:
            assert source.length == len(content), "length is not that of the content"
            assert source.name, "a source has no name for messages"
            validator = source.validator
            source.check()
            check(source, content)
            source.check()
            assert source.validator == validator, "the validator is unsteady"
        finally:
            source.close()
            source.close()


def _offsets(length: int) -> list[int]:
    return sorted({0, 1, length // 2, max(0, length - 1), length, length + 1})


def _has_every_slice(source: Source, content: bytes) -> None:
    for offset in _offsets(len(content)):
        for size in _offsets(len(content)):
            found = source.read_at(offset, size)
            wanted = content[offset : offset + size]
            assert found == wanted, f"read_at({offset}, {size}) is not that slice"
            assert isinstance(found, bytes), "read_at() did not return bytes"


def _fills_buffers(source: Source, content: bytes) -> None:
    for offset in _offsets(len(content)):
        buffer = bytearray(b"\xa5" * (len(content) + 3))
        count = source.read_into(offset, memoryview(buffer)[1:-1])
        wanted = content[offset:]
        assert count == len(wanted), f"read_into({offset}) returned {count}"
        assert buffer[1 : 1 + count] == wanted, f"read_into({offset}) is not the rest"
        rest = buffer[1 + count :]
        assert set(rest) <= {0xA5}, "read_into() wrote beyond what it returned"
        assert buffer[0] == 0xA5, "read_into() wrote before the buffer"


def _serves_threads(source: Source, content: bytes) -> None:
    wrong: list[int] = []

    def read(first: int) -> None:
        for offset in range(first, len(content), 7):
            if source.read_at(offset, 5) != content[offset : offset + 5]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, f"threads disturb each other at offset {wrong[0]}"


def _lends_its_file(source: Source, content: bytes) -> None:
    lent = source.descriptor()
    if lent is None:
        return
    with lent as fd:
        if source.record() is not None:
            source.close()  # what is lent stays open
        position = os.lseek(fd, 0, os.SEEK_CUR)
        os.lseek(fd, source.base, os.SEEK_SET)
        found = b""
        while len(found) < len(content):
            block = os.read(fd, len(content) - len(found))
            assert block, "the descriptor leads to less than the content"
            found += block
        os.lseek(fd, position, os.SEEK_SET)
        assert found == content, "the descriptor does not lead to the content"


def _is_written_down(source: Source, content: bytes) -> None:
    record = source.record()
    if record is None:
        return
    read = SourceRecord.model_validate_json(record.model_dump_json())
    assert read == record, "the record is not what was written down"
    if record.kind == "memory" and record.data is None:
        return  # the caller brings it
    again = SOURCES[record.kind](read)
    try:
        again.check()
        assert again.validator == source.validator, "another validator after restoring"
        assert again.read_at(0, len(content)) == content, "other bytes after restoring"
        assert again.record() == record, "another record after restoring"
        source.close()
        assert source.read_at(0, len(content)) == content, "closing was for ever"
    finally:
        again.close()
