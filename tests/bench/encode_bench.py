"""How fast forms are encoded: here, by the original's algorithm, by requests-toolbelt.

    python -m tests.bench.encode_bench [--size MIB] [--rounds N]

One form with one large file is encoded and thrown away, each encoder in turn, several
rounds; what is told are medians, and ratios of medians. The original's algorithm is its
behaviour, written anew: blocks of 4 KiB, each searched by a regular expression together
with what was kept of those before. The page cache is warm.
"""

import argparse
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from poster.encode import multipart_encode

MIB = 1024 * 1024


def original(file: BinaryIO, boundary: str) -> Iterator[bytes]:
    """Yield a form as poster 0.8.1 went about it."""
    delimiter = b"--" + boundary.encode()
    line = re.compile(b"^" + re.escape(delimiter) + b"$", re.MULTILINE)
    yield delimiter + b'\r\nContent-Disposition: form-data; name="f"\r\n\r\n'
    kept = b""
    while block := file.read(4096):
        kept += block
        if line.search(kept):
            raise ValueError("boundary found in file data")
        kept = kept[-len(delimiter) - 2 :]
        yield block
    yield b"\r\n" + delimiter + b"--\r\n"


def with_original(file: BinaryIO) -> int:
    return sum(map(len, original(file, "0123456789abcdef0123456789abcdef")))


def with_poster(file: BinaryIO) -> int:
    body, _ = multipart_encode([("f", file)])
    return sum(map(len, body))


def with_poster_searching(file: BinaryIO) -> int:
    body, _ = multipart_encode([("f", file)], "0123456789abcdef0123456789abcdef")
    return sum(map(len, body))


def with_toolbelt(file: BinaryIO, blocksize: int = 8192) -> int:
    """Encode in the blocks that http.client asks for, unless told otherwise."""
    from requests_toolbelt import (  # type: ignore[import-untyped]  # has no types
        MultipartEncoder,
    )

    encoder = MultipartEncoder({"f": ("f", file, "application/octet-stream")})
    total = 0
    while block := encoder.read(blocksize):
        total += len(block)
    return total


def with_toolbelt_in_large_blocks(file: BinaryIO) -> int:
    return with_toolbelt(file, MIB)


ENCODERS: dict[str, Callable[[BinaryIO], int]] = {
    "poster": with_poster,
    "poster, boundary given": with_poster_searching,
    "original's algorithm": with_original,
    "requests-toolbelt": with_toolbelt,
    "requests-toolbelt, 1 MiB": with_toolbelt_in_large_blocks,
}


def content(kind: str, size: int) -> bytes:
    """Return *size* bytes: compressed data, or lines of text."""
    if kind == "binary":
        import random

        return random.Random(8).randbytes(MIB) * (size // MIB)
    line = b"The quick brown fox jumps over the lazy dog, time and again.\r\n"
    return (line * (MIB // len(line) + 1))[:MIB] * (size // MIB)


def measure(kind: str, size: int, rounds: int) -> dict[str, float]:
    """Return the median CPU seconds per GiB of each encoder."""
    taken: dict[str, list[float]] = {name: [] for name in ENCODERS}
    with tempfile.TemporaryFile() as file:
        file.write(content(kind, size))
        for _ in range(rounds):
            for name, encode in ENCODERS.items():
                file.seek(0)
                start = time.process_time()
                total = encode(file)
                taken[name].append(time.process_time() - start)
                assert total > size
    return {name: statistics.median(t) * 1024 * MIB / size for name, t in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="of the file, in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, ", end="")
    print(f"{options.size} MiB, medians of {options.rounds} rounds, CPU time")
    for kind in ("binary", "text"):
        seconds = measure(kind, options.size * MIB, options.rounds)
        print(f"\n{kind:28}{'s/GiB':>8}{'MiB/s':>10}{'ratio':>8}")
        for name, each in seconds.items():
            ratio = each / seconds["poster"]
            print(f"{name:28}{each:8.3f}{1024 / each:10.0f}{ratio:8.1f}")


if __name__ == "__main__":
    main()
