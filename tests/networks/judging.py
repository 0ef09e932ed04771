"""What became of an upload, as its server sees it."""

from __future__ import annotations

from poster_resume.testing import Receiver

from ..faults.report import Figures, record
from .sending import End


def judge(
    receiver: Receiver,
    path: str,
    content: bytes,
    end: End,
    fault: str,
    *,
    noticed: float | None = None,
    told: bool = False,
) -> None:
    """Judge what has come of the form with *content* at *path*, and report it.

    *told* says that an error came first which the guarantees name, and *end* of
    doing what it says. *noticed* is how many seconds the fault went unnoticed.

    Raises:
        AssertionError: it did not end exactly once and right.
    """
    deliveries = [d for d in receiver.deliveries if d.path == path]
    uploads = [u for u in receiver.uploads if u.target == path]
    whole = [d for d in deliveries if content in d.read()]
    again = any(u.lowest_resent is not None for u in uploads)
    # A plain request that broke is started over, by permission.
    several = len(uploads) > 1 and any(u.protocol != "oneshot" for u in uploads)
    figures = Figures(
        fault,
        cases=1,
        told=told,
        duplicated=len(deliveries) > 1 or several or again,
        lost=end.status is None or not len(whole) == len(deliveries) > 0,
        resent=sum(u.sent_twice for u in uploads),
        noticed=noticed,
    )
    record(figures)
    assert figures.clean, (figures, end)
