"""What fault runs came to: figures per fault class, and the table that shows them.

Suites append their figures as lines of JSON to the file that the environment
names; whoever runs them all merges those. A case counts once: it *survived*,
or was *lost*, *duplicated* or *hung*. Nothing else can become of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

#: Names the file that figures are appended to; without it they are dropped.
REPORT: Final = "POSTER_RESUME_FAULT_REPORT"

BEGIN: Final = "<!-- figures: begin -->"
END: Final = "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the *cases* of one *fault* class.

    *told* are those among the survivors that ended in an error which the page
    of guarantees names for the fault. *resent* are the most bytes of content
    that one case sent beyond its length, *noticed* the most seconds from a
    fault to its notice; None where there is no such thing.
    """

    fault: str
    cases: int = 0
    told: int = 0
    lost: int = 0
    duplicated: int = 0
    hung: int = 0
    resent: int | None = None
    noticed: float | None = None

    @property
    def survived(self) -> int:
        return self.cases - self.lost - self.duplicated - self.hung

    @property
    def clean(self) -> bool:
        return self.survived == self.cases

    def plus(self, other: Self) -> Self:
        """Return the figures of both together.

        Raises:
            ValueError: they are about different faults.
        """
        if other.fault != self.fault:
            raise ValueError(f"{self.fault!r} is not {other.fault!r}")
        return type(self)(
            self.fault,
            self.cases + other.cases,
            self.told + other.told,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            self.hung + other.hung,
            _most(self.resent, other.resent),
            _most(self.noticed, other.noticed),
        )


def _most(one: float | None, other: float | None) -> int | None:
    known = [each for each in (one, other) if each is not None]
    return max(known) if known else None  # type: ignore[return-value]  # either kind


def record(figures: Figures) -> None:
    """Append *figures* to the report that is being made, if one is."""
    named = os.environ.get(REPORT)
    if named:
        with Path(named).open("a", encoding="utf-8") as report:
            report.write(json.dumps(asdict(figures)) + "\n")


def merged(lines: Iterable[str]) -> list[Figures]:
    """Return the figures of each fault class in *lines*, by name."""
    together: dict[str, Figures] = {}
    for line in lines:
        figures = Figures(**json.loads(line))
        known = together.get(figures.fault)
        together[figures.fault] = figures if known is None else known.plus(figures)
    return [together[fault] for fault in sorted(together)]


def total(rows: Iterable[Figures]) -> Figures:
    """Return *rows* as one."""
    sum_ = Figures("all")
    for row in rows:
        sum_ = sum_.plus(Figures(**asdict(row) | {"fault": "all"}))
    return sum_


_HEAD = (
    "fault class",
    "cases",
    "survived",
    "of these told",
    "lost",
    "duplicated",
    "hung",
    "most bytes sent again",
    "longest to notice",
)


def table(rows: Iterable[Figures]) -> str:
    """Return *rows* and their sum as a table in Markdown."""
    listed = list(rows)
    lines = [_line(_HEAD), _line(["---"] + ["---:"] * (len(_HEAD) - 1))]
    lines += [_row(row) for row in [*listed, total(listed)]]
    return "\n".join(lines)


def _row(row: Figures) -> str:
    resent = "" if row.resent is None else f"{row.resent:,}"
    noticed = "" if row.noticed is None else f"{row.noticed:.2f} s"
    counts = (row.cases, row.survived, row.told, row.lost, row.duplicated, row.hung)
    return _line([row.fault, *(f"{count:,}" for count in counts), resent, noticed])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def written(page: str, figures: str) -> str:
    """Return *page* with *figures* between its markers.

    Raises:
        ValueError: it has no markers.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for figures")
    return f"{before}{BEGIN}\n{figures.strip()}\n{END}{after}"
