"""The ways to a plan: of a form, or of content that is sent as it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from poster.disposition import Escaping

from ..errors import InvalidParameter
from ..media_types import checked_media_type, media_type
from ..records import SameFile
from ..sources import FileSource, MemorySource, Source
from . import identity
from .form import Form
from .opened import (
    SpoolDirectory,
    Spooling,
    Stream,
    at_path,
    name_of,
    opened,
    place_of,
)
from .params import Params, Readable, file_content, is_open_file
from .parts import Raw
from .plan import Plan


def plan_form(
    params: Params,
    *,
    boundary: str | None = None,
    escaping: Escaping = Escaping.BROWSER,
    scan: bool = False,
    spool: SpoolDirectory = None,
    spool_limit: int | None = None,
    same_file: SameFile = "strict",
) -> Plan:
    """Plan *params* as a multipart/form-data form (RFC 7578).

    *params* is a mapping, or pairs of names and values. A value is text, bytes or an
    int, which have neither filename nor type; a ``Path``; an open binary file, from
    where it stands on; ``(filename, content)`` or ``(filename, content, type)``; a
    ``MultipartParam``, which spells its own header; or a list of those.

    Files get the last component of their path as filename, and a type by its ending.
    The caller's values, lists and open files may change or close afterwards: the plan
    has what it needs; only what stands in files has to stay.

    Args:
        params: the form.
        boundary: between the parts; None for a random one. An explicit one must not
            begin a line of a value.
        escaping: how names and filenames are spelled.
        scan: look for the boundary in files too; reads them all.
        spool: directory for streams that can be read only once, or a callable that is
            asked for one if need be. Closing the plan does not remove their files.
        spool_limit: the most bytes of streams that are spooled for this plan.
        same_file: what makes a file another one: ``"strict"`` another size, mtime or
            inode; ``"size+mtime"`` leaves out the inode; ``"sha256"`` compares
            content alone, and reads each file when it is planned and restored.

    Raises:
        InvalidParameter: something cannot be sent; the message names field and remedy.
        SourceError: a file cannot be looked at, or a stream not be kept.
    """
    _check_same_file(same_file)
    form = Form(
        params,
        boundary=boundary,
        escaping=escaping,
        same_file=same_file,
        spooling=Spooling(spool, spool_limit),
        scan=scan,
    )
    return Plan(
        form,
        tuple(form.sources),
        form.content_type,
        closing=form.closing,
        identity=lambda: identity.of_blocks(form.given()),
    )


def plan_content(
    content: Path | bytes | BinaryIO,
    *,
    content_type: str | None = None,
    spool: SpoolDirectory = None,
    spool_limit: int | None = None,
    same_file: SameFile = "strict",
) -> Plan:
    """Plan *content* as it is; an open file from where it stands on.

    *content_type* None takes a type by the ending of the file's name. The other
    parameters are those of `plan_form`.

    Raises:
        InvalidParameter: it cannot be sent; the message names the remedy.
        SourceError: it cannot be looked at, or a stream not be kept.
    """
    _check_same_file(same_file)
    if content_type is not None:
        checked_media_type(content_type)
    given = _content(content)
    spooling, label = Spooling(spool, spool_limit), "content"
    found: Source | Stream
    if isinstance(given, bytes):
        found = MemorySource(given)
    elif is_open_file(given):
        found = opened(given, label, same_file, spooling)
    else:
        found = at_path(given, label, same_file, spooling)
    if isinstance(found, Stream):
        found = spooling.spool(found, label, None)
    named = None if isinstance(given, bytes) else name_of(given)
    return Plan(
        Raw(found.length),
        (found,),
        content_type or media_type(named or ""),
        identity=_whose(given, found, content_type),
    )


def identity_of(content: object, content_type: str | None = None) -> str:
    """Return what tells *content* from all other, however often it is planned.

    *content* is the *params* of `plan_form`, the *content* of `plan_content` or a plan.
    A digest in hexadecimal that covers names and their order, values, filenames and
    types as far as they were given, and the real paths of files. What can be read only
    once is never the same twice.

    Raises:
        InvalidParameter: it cannot be sent.
    """
    if isinstance(content, Plan):
        return content.identity
    if isinstance(content, bytes | os.PathLike) or is_open_file(content):
        return identity.of_content(_content(content), content_type)
    return identity.of_params(cast(Params, content))


def _whose(
    given: bytes | os.PathLike[str] | Readable, found: Source, content_type: str | None
) -> Callable[[], str]:
    """Return what finds the identity of *given*, which may be closed by then."""
    if is_open_file(given) and isinstance(found, FileSource):
        if place_of(given) is not None:
            return lambda: identity.of_content(
                PurePath(found.path), content_type, found.base
            )
    elif is_open_file(given) and isinstance(found, MemorySource):
        return lambda: identity.of_content(found.data, content_type)
    return lambda: identity.of_content(given, content_type)


def _content(content: object) -> bytes | os.PathLike[str] | Readable:
    if isinstance(content, str):
        raise InvalidParameter(
            "content: str is ambiguous; use Path(...) for a file or .encode() for text"
        )
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    return file_content("content", content)


def _check_same_file(same_file: SameFile) -> None:
    if same_file not in ("strict", "size+mtime", "sha256"):
        raise InvalidParameter(
            f"same_file: {same_file!r} is not one of strict, size+mtime, sha256"
        )
