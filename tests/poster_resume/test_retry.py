"""When to try again: the numbers that callers rely on."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import tenacity
from tenacity.stop import stop_base

from poster_resume.errors import InvalidParameter, ServerBusy, UploadError
from poster_resume.flow import Effect, Flow, Instant, Now, Report, Sleep
from poster_resume.progress import Event
from poster_resume.protocols import Limits
from poster_resume.ranges import ByteRange
from poster_resume.retry import RetryPolicy, retrying
from poster_resume.session.sizes import after_loss, next_append

from .test_session import MIB, upload_of


class Waited:
    """An attempt that always fails, and the clock that only its waits move."""

    def __init__(self, policy: RetryPolicy, error: UploadError, start: float = 1e6):
        self.slept: list[float] = []
        self.events: list[Event] = []
        self.time = start
        self.raised: UploadError | None = None
        self._run(retrying(policy, lambda: failing(error), lambda: False))

    def _run(self, flow: Flow[None]) -> None:
        try:
            effect: Effect = next(flow)
            while True:
                match effect:
                    case Now():
                        effect = flow.send(Instant(self.time, 0.0))
                        continue
                    case Sleep(seconds):
                        self.slept.append(seconds)
                        assert len(self.slept) < 10_000, "patience without end"
                        self.time += seconds
                    case Report(event):
                        self.events.append(event)
                    case _:
                        raise AssertionError(effect)
                effect = next(flow)
        except UploadError as error:
            self.raised = error


def failing(error: UploadError) -> Generator[Effect, object, None]:
    raise error
    yield


def busy(after: float | None = None) -> ServerBusy:
    error = ServerBusy("busy")
    error.retry_after = after
    return error


def test_by_default_it_gives_up_after_an_hour_of_waits_of_up_to_a_minute() -> None:
    waited = Waited(RetryPolicy(), busy())
    assert 3600 <= sum(waited.slept) <= 3660
    assert all(1 <= seconds <= 60 for seconds in waited.slept)
    assert waited.slept[0] < 3
    assert min(waited.slept[10:]) >= 58


def test_by_default_no_two_senders_come_back_together() -> None:
    one, other = Waited(RetryPolicy(), busy()), Waited(RetryPolicy(), busy())
    assert one.slept != other.slept


def test_each_wait_is_told_with_its_reason() -> None:
    policy = RetryPolicy(tenacity.stop_after_attempt(2), tenacity.wait_fixed(2))
    waited = Waited(policy, busy())
    (event,) = waited.events
    assert (event.kind, event.message, event.wait) == ("interrupted", "busy", 2)
    assert isinstance(event.error, ServerBusy)


def test_an_hour_is_the_longest_wait_that_a_server_may_ask_for() -> None:
    once = RetryPolicy(tenacity.stop_after_attempt(2), tenacity.wait_fixed(2))
    assert Waited(once, busy(3600.0)).slept == [3600.0]
    refused = Waited(once, busy(3601.0))
    assert refused.slept == []
    assert refused.raised is not None
    assert refused.raised.retry_after == 3601.0


def test_a_wait_that_would_exceed_the_patience_is_not_begun() -> None:
    policy = RetryPolicy(tenacity.stop_before_delay(10), tenacity.wait_fixed(4))
    assert Waited(policy, busy()).slept == [4, 4]
    assert Waited(policy, busy(11.0)).slept == []


def test_a_policy_of_ones_own_sees_how_long_it_has_waited() -> None:
    class Idle(stop_base):
        def __call__(self, state: tenacity.RetryCallState) -> bool:
            return state.idle_for >= 6

    assert Waited(RetryPolicy(Idle(), tenacity.wait_fixed(2)), busy()).slept == [2] * 3


@pytest.mark.parametrize("settle", [-0.1, float("nan")])
def test_a_server_cannot_settle_before_it_broke(settle: float) -> None:
    with pytest.raises(InvalidParameter, match="settle"):
        RetryPolicy(settle=settle)


def test_a_server_may_be_left_no_time_to_settle() -> None:
    assert RetryPolicy(settle=0).settle == 0


def test_the_smaller_of_learned_and_given_size_is_sent() -> None:
    learned = upload_of(1000, append_size=500)
    assert next_append(learned, Limits(), 300) == ByteRange(0, 300)


def test_multiples_bind_all_appends_but_the_last() -> None:
    limits = Limits(multiple=256)
    assert next_append(upload_of(1000), limits) == ByteRange(0, 1000)
    assert next_append(upload_of(1000), limits, 100) == ByteRange(0, 256)


def test_what_follows_a_loss_is_not_below_the_servers_minimum() -> None:
    lost = ByteRange(0, 4 * MIB)
    assert after_loss(lost, Limits(min_append_size=3 * MIB)) == 3 * MIB
    assert after_loss(lost, Limits()) == MIB
