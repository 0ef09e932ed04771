"""What a call gives that a stored plan has not: names of fields, places of files.

A key stands for an upload whatever it is given with: the stored plan's values
win. That must not send one file for another without a word.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, cast

from poster.disposition import Escaping, part_header

from ..errors import SourceChanged
from ..records import PlanRecord
from .opened import place_of, printable
from .params import Columns, Field, Params, Readable, blocks, is_open_file
from .parts import every
from .plan import Plan
from .writing import Written

_NAME: Final = re.compile(rb'; name="((?:[^"\\]|\\.)*)"')


def other_names(record: PlanRecord, content: object) -> tuple[list[str], list[str]]:
    """Return the names of fields that only *record* has, and that only *content* has.

    *content* is what a caller gives; of what is no form, nothing differs.
    """
    if not record.closing or content is None or not _is_form(content):
        return [], []
    stored = Counter(_stored_names(record))
    given = Counter(_given_names(cast(Params, content)))
    return _shown(stored - given), _shown(given - stored)


def check_files(record: PlanRecord, content: object) -> None:
    """Make sure that the files which *content* gives are those of *record*.

    Raises:
        SourceChanged: they are others; the message names one of each.
    """
    if content is None or isinstance(content, Plan):
        return
    planned = [
        os.path.realpath(each.path)
        for each in record.sources
        if each.kind == "file" and each.path is not None
    ]
    given = list(_given_files(content))
    if planned == given:
        return
    for was, now in zip(planned, given, strict=False):
        if was != now:
            raise SourceChanged(
                f"{printable(now)} is not what was planned: under this key it was "
                f"{printable(was)}"
            )
    raise SourceChanged(
        f"{len(given)} files are given, under this key {len(planned)} were planned"
    )


def _is_form(content: object) -> bool:
    raw = isinstance(content, Plan | bytes | os.PathLike)
    return not raw and not is_open_file(content)


def _stored_names(record: PlanRecord) -> Iterator[bytes]:
    for header, _ in every(Written(record)):
        found = _NAME.search(header)
        if found is not None:
            yield found[1]


def _given_names(params: Params) -> Iterator[bytes]:
    for field in _fields(params):
        name, header = field if isinstance(field, tuple) else ("", field.literal)
        if isinstance(field, Field):
            name = field.name
        found = _NAME.search(
            header or part_header(b"", name, escaping=Escaping.BROWSER)
        )
        if found is not None:
            yield found[1]


def _given_files(content: object) -> Iterator[str]:
    if isinstance(content, os.PathLike) or is_open_file(content):
        yield from _file(content)
    elif not isinstance(content, bytes):
        for field in _fields(cast(Params, content)):
            if isinstance(field, Field) and not isinstance(field.content, bytes):
                yield from _file(field.content)


def _file(content: os.PathLike[str] | Readable) -> Iterator[str]:
    if is_open_file(content):
        place = place_of(content)
        if place is not None:
            yield os.path.realpath(place[0])
        return
    path = os.fspath(content)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return  # a stream: it was read when it was planned
    except (OSError, ValueError):
        pass  # that it has vanished is for the plan to say
    yield os.path.realpath(path)


def _fields(params: Params) -> Iterable[Field | tuple[str, None]]:
    for block in blocks(params):
        if isinstance(block, Columns):
            yield from ((name, None) for name, _ in block)
        else:
            for item in block:
                yield item if isinstance(item, Field) else (item[0], None)


def _shown(names: Counter[bytes]) -> list[str]:
    return [name.decode("utf-8", "backslashreplace") for name in names]
