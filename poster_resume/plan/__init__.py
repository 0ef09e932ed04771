"""From parameters to a plan: the representation, described before it exists.

Planning looks at names, values and the status of files; it reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeAlias

from poster.disposition import Escaping

from ..layout import Layout
from ..records import PlanRecord, SameFile
from ..sources import Source

Params: TypeAlias = Mapping[str, object] | Iterable[object]


class Plan:
    """A representation whose every byte has a known origin."""

    content_type: str
    layout: Layout
    sources: Sequence[Source]
    closing: int

    @property
    def length(self) -> int:
        """Length of the representation in bytes."""
        return self.layout.length

    @property
    def digest(self) -> str:
        """Digest of the record; empty if the plan cannot outlive the process."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        raise NotImplementedError

    def record(self) -> PlanRecord | None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError

    def describe(self) -> Iterator[object]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def plan_form(
    params: Params,
    *,
    boundary: str | None = None,
    escaping: Escaping = Escaping.BROWSER,
    scan: bool = False,
    spool: Path | None = None,
    spool_limit: int | None = None,
    same_file: SameFile = "strict",
) -> Plan:
    raise NotImplementedError


def plan_content(
    content: Path | bytes | BinaryIO,
    *,
    content_type: str | None = None,
    spool: Path | None = None,
    spool_limit: int | None = None,
    same_file: SameFile = "strict",
) -> Plan:
    raise NotImplementedError


def restore(record: PlanRecord, content: object = None) -> Plan:
    raise NotImplementedError


def identity_of(content: object, content_type: str | None = None) -> str:
    raise NotImplementedError
