"""What an observer is told: events, rate and remaining time.

There is no clock here: whoever measures brings the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import UploadError

EventKind = Literal[
    "planned",  # the layout is known
    "found",  # an earlier call's state was found: going on from there
    "probed",  # the server said what it speaks
    "not_resumable",  # it speaks no resumable protocol: one plain request
    "created",  # there is an upload resource
    "resumed",  # the offset was retrieved
    "acknowledged",  # the server has more bytes than before
    "went_back",  # the server's offset is below an acknowledged one
    "interrupted",  # an attempt failed; another follows after *wait*
    "refreshed",  # credentials were refused and asked for anew
    "restarted",  # the upload resource was lost: starting over
    "resized",  # appends are smaller or larger from now on
    "complete",  # the final answer is here
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an upload.

    *offset* is what the server has acknowledged, in bytes; *wait* the seconds
    until the next attempt; *error* what went wrong. *message* is for people
    and never holds an upload URL or a credential.
    """

    kind: EventKind
    message: str = ""
    offset: int = 0
    wait: float | None = None
    error: UploadError | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is.

    *sent* counts the position up to which this machine's kernel has taken
    the representation, *acknowledged* what the server says it has; both and
    *length* in bytes. *rate* is bytes per second of late, *remaining* seconds;
    None while unknown.
    """

    sent: int
    acknowledged: int
    length: int | None
    rate: float | None
    remaining: float | None


class Meter:
    """Turns positions in time into :class:`Progress`, ten times a second at most."""

    #: Seconds between two reports, and seconds over which the rate is smoothed.
    INTERVAL = 0.1
    WINDOW = 5.0

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.sent = self.acknowledged = 0
        self._samples: list[tuple[float, int]] = []
        self._reported: float | None = None

    def moved(self, now: float, sent: int) -> Progress | None:
        """Note that bytes up to *sent* are out; return a report if one is due."""
        if sent < self.sent:  # going on from a lower offset is not negative speed
            self._samples.clear()
        self.sent = sent
        if not self._due(now):
            return None
        self._samples.append((now, sent))
        while len(self._samples) > 2 and now - self._samples[0][0] > self.WINDOW:
            self._samples.pop(0)
        return self.report()

    def told(self, now: float) -> Progress | None:
        """Note that *acknowledged* has moved; return a report if one is due.

        The last one always is.
        """
        due = self._due(now)
        return self.report() if due or self.acknowledged == self.length else None

    def _due(self, now: float) -> bool:
        if self._reported is not None and now - self._reported < self.INTERVAL:
            return False
        self._reported = now
        return True

    def report(self) -> Progress:
        """Return where things stand."""
        rate = self._rate()
        remaining = None
        if rate and self.length is not None:
            remaining = max(0, self.length - self.sent) / rate
        return Progress(self.sent, self.acknowledged, self.length, rate, remaining)

    def _rate(self) -> float | None:
        if len(self._samples) < 2:
            return None
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - began) if ended > began else None
