"""When to try again, and after how long. Decides; never sleeps, reads no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import tenacity
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from .errors import (
    DeadlineExceeded,
    InvalidParameter,
    Recovery,
    ServerBusy,
    UploadError,
)
from .flow import Flow, Sleep, now, report
from .progress import Event

T = TypeVar("T")

#: Seconds: the longest ``Retry-After`` that is obeyed without asking the caller.
RETRY_AFTER_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient to be, in tenacity's vocabulary.

    The budget is per stall, not per upload: whenever the server has
    acknowledged new bytes, counting starts over. By default an upload gives up
    after an hour without any. What a broken append has achieved is known only
    once the server was asked, so until then its time does not count.
    *settle* is how many seconds to leave a server after a break before its
    offset is believed: bytes that were under way show up late.
    """

    stop: stop_base = field(default_factory=lambda: tenacity.stop_after_delay(3600))
    wait: wait_base = field(
        default_factory=lambda: tenacity.wait_exponential_jitter(
            initial=1, max=59, jitter=1
        )
    )
    settle: float = 0.5

    def __post_init__(self) -> None:
        if not self.settle >= 0:
            raise InvalidParameter("retry: settle must be 0 seconds or more")


class Patience:
    """The bookkeeping of one stall: what tenacity's values look at."""

    def __init__(self, policy: RetryPolicy, monotonic: float) -> None:
        self._policy = policy
        self._call = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        self._call.start_time = monotonic

    @property
    def attempt(self) -> int:
        """The number of this attempt since the last progress, from 1."""
        return self._call.attempt_number

    def failed(self, error: UploadError, monotonic: float) -> float | None:
        """Note a failure; return the seconds to wait, None when patience is out."""
        call = self._call
        # Without its traceback: frames would keep the content's buffers alive.
        call.set_exception((type(error), error, None))
        call.outcome_timestamp = monotonic
        wait = float(self._policy.wait(call))
        if error.retry_after is not None:
            wait = error.retry_after
        call.upcoming_sleep = wait
        if self._policy.stop(call):
            return None
        call.idle_for += wait
        call.attempt_number += 1
        call.outcome = call.outcome_timestamp = None
        return wait


def retrying(
    policy: RetryPolicy,
    attempt: Callable[[], Flow[T]],
    progressed: Callable[[], bool],
    *,
    deadline: float | None = None,
) -> Flow[T]:
    """Run *attempt* until it succeeds, cannot be helped, or *policy* stops.

    *deadline* is a moment on the monotonic clock.

    Raises:
        UploadError: the last failure, or one that waiting cannot mend.
        DeadlineExceeded: the next attempt would begin after *deadline*.
    """
    began = (yield from now()).monotonic
    patience = Patience(policy, began)
    pending = 0.0  # seconds of which nobody knows yet whether they were in vain
    while True:
        try:
            return (yield from attempt())
        except UploadError as error:
            if error.recovery in (Recovery.NONE, Recovery.UNKNOWN):
                raise
            moment = (yield from now()).monotonic
            if progressed():
                patience, pending = Patience(policy, moment), 0.0
            elif error.sent:
                # It had asked before it sent: what broke earlier was in vain.
                pending = moment - began
            asked = error.retry_after
            if asked is not None and asked > RETRY_AFTER_MAX:
                raise _too_long(error, asked) from error
            wait = patience.failed(error, moment - pending)
            if wait is None:
                raise
            wait = max(wait, policy.settle)
            if deadline is not None and moment + wait >= deadline:
                raise DeadlineExceeded(
                    "the deadline passes before the next attempt; "
                    "call send() again to go on"
                ) from error
            yield from report(Event("interrupted", str(error), wait=wait, error=error))
        yield Sleep(wait)
        began = moment + wait


def _too_long(error: UploadError, asked: float) -> UploadError:
    late = ServerBusy(
        f"the server asks to come back in {asked:.0f} seconds; "
        "the upload is kept: call send() again then"
    )
    late.retry_after = asked
    return late
