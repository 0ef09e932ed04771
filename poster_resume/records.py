"""How plans are written down: the bytes that were decided, and where the rest is.

A record is literal. Part headers and boundary are kept as the bytes they were,
so that a later version of this package goes on with exactly the document that an
earlier one began.
"""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PlainSerializer,
    PlainValidator,
)

SameFile: TypeAlias = Literal["strict", "size+mtime", "sha256"]

_CONFIG = ConfigDict(
    frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
)
_ENCODED = "\0"  # begins no path


def _write_path(path: str) -> str:
    """Spell a path that need not be text: names may be bytes that are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return _ENCODED + os.fsencode(path).hex()
    return path


def _read_path(path: object) -> str:
    if not isinstance(path, str) or not path:
        raise ValueError("not a path")
    if path.startswith(_ENCODED):
        return os.fsdecode(bytes.fromhex(path[1:]))
    return path


#: A path as ``os.fsdecode`` returns it: bytes that are no UTF-8 as surrogates.
LiteralPath: TypeAlias = Annotated[
    str, PlainValidator(_read_path), PlainSerializer(_write_path, return_type=str)
]


class SourceRecord(BaseModel):
    """What another process needs to find the bytes of one source again.

    *length* bytes from *offset* of the file at *path* (absolute), which had *size*,
    *mtime_ns* and *inode* when it was planned; *same_file* says which of these must
    still hold. A source in memory is kept as *data*, or by *sha256* alone if it is
    long: then the caller brings the bytes again.
    """

    model_config = _CONFIG

    kind: Literal["memory", "file", "spool"]
    length: NonNegativeInt
    offset: NonNegativeInt = 0
    path: LiteralPath | None = None
    size: NonNegativeInt | None = None
    mtime_ns: int | None = None
    inode: NonNegativeInt | None = None
    same_file: SameFile = "strict"
    data: bytes | None = None
    sha256: str | None = None


class PlanRecord(BaseModel):
    """A plan, written down once and never changed.

    *headers* is the compressed text of everything that stands in no source: part
    headers with their delimiters, short values, the closing delimiter line.
    *lengths* is compressed too and says how it is cut, see ``plan/writing.py``.
    The last *closing* bytes of all *length* are the closing delimiter line.
    """

    model_config = _CONFIG

    version: Literal[1] = 1
    content_type: str
    length: NonNegativeInt
    closing: NonNegativeInt = 0
    headers: bytes
    lengths: bytes
    sources: tuple[SourceRecord, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the record as it is stored, in hexadecimal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
