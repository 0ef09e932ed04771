"""A form that has arrived, taken apart without loading it.

For checking what arrived, not for the wild: it expects a form as RFC 7578
wants it and raises on anything else.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

_BLOCK = 1024 * 1024

_PARAMETER = re.compile(r';\s*([\w*]+)=(?:"((?:\\.|[^"\\])*)"|([^;\s]*))')
_QUOTED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form: where its value is in the file, in bytes."""

    name: str
    filename: str | None
    content_type: str | None
    offset: int
    length: int
    file: Path

    def read(self) -> bytes:
        """Return the value."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the value, in hexadecimal."""
        digest = hashlib.sha256()
        with self.file.open("rb") as file:
            file.seek(self.offset)
            left = self.length
            while left:
                block = file.read(min(left, _BLOCK))
                if not block:
                    raise ValueError("the file has become shorter")
                digest.update(block)
                left -= len(block)
        return digest.hexdigest()


def parse_form(file: Path, content_type: str | None) -> Iterator[Part]:
    """Yield the parts of the multipart/form-data that *file* holds.

    Nothing is yielded for any other *content_type*.

    Raises:
        ValueError: it is not a well-formed form.
    """
    message = Message()
    message["content-type"] = content_type or "application/octet-stream"
    if message.get_content_type() != "multipart/form-data":
        return
    boundary = message.get_boundary()
    if not boundary:
        raise ValueError("the content type names no boundary")
    if file.stat().st_size == 0:
        raise ValueError("an empty file is not a form")
    delimiter = b"\r\n--" + boundary.encode("ascii")
    with (
        file.open("rb") as raw,
        mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        if data[: len(delimiter) - 2] != delimiter[2:]:
            raise ValueError("the form does not begin with its boundary")
        position = len(delimiter) - 2
        while data[position : position + 2] != b"--":
            start = data.find(b"\r\n\r\n", position)
            stop = data.find(delimiter, start + 2)
            if data[position : position + 2] != b"\r\n" or min(start, stop) < 0:
                raise ValueError(f"the part at byte {position} has no end")
            yield _part(data[position + 2 : start + 4], file, start + 4, stop)
            position = stop + len(delimiter)


def _part(head: bytes, file: Path, start: int, stop: int) -> Part:
    fields = {}
    for line in head.decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields[key.strip().lower()] = value.strip()
    disposition = fields.get("content-disposition", "")
    parameters = {
        key.lower(): _QUOTED.sub(r"\1", quoted) if quoted else bare
        for key, quoted, bare in _PARAMETER.findall(disposition)
    }
    if "name" not in parameters:
        raise ValueError(f"the part at byte {start} has no name")
    return Part(
        parameters["name"],
        parameters.get("filename"),
        fields.get("content-type"),
        start,
        stop - start,
        file,
    )
