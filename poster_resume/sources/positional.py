"""Reading a descriptor at an offset, without moving where others stand in it."""

from __future__ import annotations

import os
import threading

# Only where there is no pread: seeking and reading must not be torn apart. A few
# locks serve all descriptors; two that share one merely take turns.
_TURNS = [threading.Lock() for _ in range(16)]


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Return *size* bytes from *offset* of *fd*; fewer only at its end.

    Raises:
        OSError: it cannot be read.
    """
    block = _read_once(fd, offset, size)
    if len(block) == size or not block:
        return block
    blocks = [block]
    done = len(block)
    while done < size and (block := _read_once(fd, offset + done, size - done)):
        blocks.append(block)
        done += len(block)
    return b"".join(blocks)


def read_into(fd: int, offset: int, buffer: memoryview) -> int:
    """Fill *buffer* from *offset* of *fd*; return how many bytes, fewer at its end.

    Raises:
        OSError: it cannot be read.
    """
    done = 0
    while done < len(buffer):
        if hasattr(os, "preadv"):
            count = os.preadv(fd, [buffer[done:]], offset + done)
        else:
            block = _read_once(fd, offset + done, len(buffer) - done)
            count = len(block)
            buffer[done : done + count] = block
        if not count:
            break
        done += count
    return done


def _read_once(fd: int, offset: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    with _TURNS[fd % len(_TURNS)]:
        # The descriptor may be a duplicate, whose position is the caller's too.
        position = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, size)
        finally:
            os.lseek(fd, position, os.SEEK_SET)
