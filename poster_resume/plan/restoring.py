"""Plans from their records: the same bytes again, or an error that says why not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import cast

from ..records import PlanRecord, SourceRecord
from ..sources import SOURCES, MemorySource, Source
from ..sources.memory import LITERAL
from .params import Columns, Field, Params, blocks, text_of
from .plan import Plan, long_values
from .writing import Written


def restore(record: PlanRecord, content: object = None) -> Plan:
    """Return the plan that *record* describes, with every source as it was planned.

    *content* is what it was planned from, params or content or a plan: values in
    memory that are too long to be kept are found in it. All else of it is ignored.

    Raises:
        SourceChanged: a file is not what was planned; the message says how.
        SourceError: a file cannot be looked at.
        InvalidParameter: a long value is not in *content*.
        StoreError: the record is damaged.
    """
    return _restored(record, lambda: _values(content))


def unpickled(record: PlanRecord, *values: bytes) -> Plan:
    """Return the plan that was pickled as *record* and its long values."""
    return _restored(record, lambda: iter(values))


def _restored(record: PlanRecord, values: Callable[[], Iterator[bytes]]) -> Plan:
    parts = Written(record)
    wanted = {s.sha256 for s in record.sources if s.kind == "memory" and s.data is None}
    found: dict[str, MemorySource] = {}
    if wanted:
        for value in values():
            source = MemorySource(value)
            if source.sha256 in wanted:
                found[source.sha256] = source
    sources = [_source(each, found) for each in record.sources]
    plan = Plan(
        parts, sources, record.content_type, closing=record.closing, record=record
    )
    plan.check()
    return plan


def _source(record: SourceRecord, found: dict[str, MemorySource]) -> Source:
    if record.kind == "memory" and record.data is None and record.sha256 in found:
        return found[record.sha256]
    return SOURCES[record.kind](record)


def _values(content: object) -> Iterator[bytes]:
    """Yield the long values that are in *content*."""
    if content is None:
        return
    if isinstance(content, Plan):
        yield from long_values(content.sources)
    elif isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
    elif type(content) is io.BytesIO:
        yield content.getvalue()[content.tell() :]
    else:
        yield from _in_form(cast(Params, content))


def _in_form(params: Params) -> Iterator[bytes]:
    for block in blocks(params):
        if isinstance(block, Columns):
            fields = [Field(name, text_of(name, value)) for name, value in block]
        else:
            fields = [
                e if isinstance(e, Field) else Field(e[0], text_of(*e)) for e in block
            ]
        for field in fields:
            content = field.content
            if type(content) is io.BytesIO:
                start = content.tell() if field.offset is None else field.offset
                content = content.getvalue()[start:][: field.length]
            if isinstance(content, bytes) and len(content) > LITERAL:
                yield content
