"""One plain request: what may have happened, and what may be repeated."""

from __future__ import annotations

from typing import Literal

import pytest

from poster_resume.errors import (
    ConnectError,
    OutcomeUnknown,
    Recovery,
    ServerBusy,
    TransportError,
    TransportRefused,
    Unauthorized,
    UploadError,
)
from poster_resume.flow import Flow, Request, Response
from poster_resume.protocols import Oneshot, Tus
from poster_resume.protocols.oneshot import Incomplete
from poster_resume.ranges import ByteRange
from poster_resume.upload import Upload

from .verbs import result_of, upload_of

Replay = Literal["never", "incomplete", "always"]
REPLAYS: tuple[Replay, ...] = ("never", "incomplete", "always")
WHOLE = ByteRange(0, 100)


def sending(
    protocol: Oneshot, method: str = "POST", **changes: object
) -> tuple[Flow[Upload], Request]:
    flow = protocol.append(upload_of(100, method=method, **changes), WHOLE)
    request = next(flow)
    assert isinstance(request, Request)
    return flow, request


def answered(
    protocol: Oneshot,
    status: int,
    sent: int | None = 100,
    method: str = "POST",
    **headers: str,
) -> Upload:
    flow, _ = sending(protocol, method)
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(StopIteration) as stop:
        flow.send(Response(status, spelled, sent=sent))
    upload: Upload = stop.value.value
    return upload


def broken(protocol: Oneshot, error: UploadError, method: str = "POST") -> UploadError:
    flow, _ = sending(protocol, method)
    with pytest.raises(UploadError) as raised:
        flow.throw(error)
    return raised.value


def cut(sent: int | None) -> TransportError:
    error = TransportError("reset")
    error.sent = sent
    return error


@pytest.mark.parametrize("replay", REPLAYS)
@pytest.mark.parametrize("status", [408, 421, 425, 429, 503])
def test_what_was_not_processed_is_tried_again(status: int, replay: Replay) -> None:
    with pytest.raises(ServerBusy) as busy:
        answered(Oneshot(replay=replay), status, retry_after="9")
    assert (busy.value.recovery, busy.value.retry_after) == (Recovery.RESYNC, 9.0)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_failure_with_everything_in_hand_is_unknown(status: int) -> None:
    for replay in ("never", "incomplete"):
        with pytest.raises(OutcomeUnknown, match=str(status)):
            answered(Oneshot(replay=replay), status)
    with pytest.raises(OutcomeUnknown):
        answered(Oneshot(), status, sent=None)


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("method", ["PUT", "put", "DELETE"])
def test_what_may_be_repeated_is_after_a_failure(method: str, status: int) -> None:
    for sent in (99, 100, None):
        with pytest.raises(ServerBusy):
            answered(Oneshot(), status, sent, method)


def test_everything_may_be_repeated_on_request() -> None:
    for sent in (99, 100, None):
        with pytest.raises(ServerBusy):
            answered(Oneshot(replay="always"), 500, sent)


def test_a_failure_before_everything_left_is_incomplete() -> None:
    with pytest.raises(Incomplete, match="500 after 99 of 100") as error:
        answered(Oneshot(), 500, 99)
    assert (error.value.sent, error.value.recovery) == (99, Recovery.NONE)


def test_an_incomplete_request_may_be_repeated_on_request() -> None:
    with pytest.raises(ServerBusy, match="before it had everything") as busy:
        answered(Oneshot(replay="incomplete"), 500, 99, retry_after="9")
    assert busy.value.retry_after == 9.0


@pytest.mark.parametrize("status", [401, 407])
def test_missing_credentials_keep_the_upload(status: int) -> None:
    with pytest.raises(Unauthorized):
        answered(Oneshot(), status)


@pytest.mark.parametrize("status", [200, 303, 400, 403, 404, 409, 413, 501, 505, 507])
def test_any_other_answer_is_the_outcome(status: int) -> None:
    upload = answered(Oneshot(), status)
    assert upload.complete
    assert upload.result is not None
    assert upload.result.status_code == status


def test_a_link_that_never_was_is_tried_again() -> None:
    refused = ConnectError("refused")
    assert broken(Oneshot(), refused) is refused


def test_what_can_never_work_is_said_as_it_is() -> None:
    refused = TransportRefused("bad certificate")
    refused.sent = 0
    assert broken(Oneshot(), refused) is refused


@pytest.mark.parametrize("sent", [100, None])
def test_a_lost_answer_is_unknown(sent: int | None) -> None:
    assert isinstance(broken(Oneshot(), cut(sent)), OutcomeUnknown)
    assert isinstance(broken(Oneshot(replay="incomplete"), cut(sent)), OutcomeUnknown)
    again = cut(sent)
    assert broken(Oneshot(replay="always"), again) is again
    assert broken(Oneshot(), again, "PUT") is again


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_cut_in_the_middle_is_incomplete(method: str) -> None:
    error = broken(Oneshot(), cut(99), method)
    assert isinstance(error, Incomplete)
    assert error.sent == 99
    again = cut(99)
    assert broken(Oneshot(replay="incomplete"), again, method) is again


def test_what_may_be_repeated_starts_at_its_beginning() -> None:
    upload = upload_of(100, offset=50, phase="unknown")
    assert result_of(Oneshot(replay="always").prove(upload)).offset == 0
    assert result_of(Oneshot().retrieve_offset(upload)).offset == 0
    with pytest.raises(OutcomeUnknown):
        result_of(Oneshot(replay="incomplete").prove(upload))


def test_the_key_is_the_same_for_one_upload_and_no_other() -> None:
    protocol = Oneshot(idempotency_key=True)
    upload = result_of(protocol.prepare(upload_of(100), interims=False))
    again = result_of(protocol.prepare(upload_of(100), interims=False))
    other = result_of(protocol.prepare(upload_of(100, id="u2"), interims=False))
    assert upload.session == again.session != other.session
    _, request = sending(protocol, session=upload.session)
    assert request.headers["idempotency-key"] == upload.session["idempotency_key"]
    _, request = sending(protocol)
    assert "idempotency-key" not in request.headers


def test_a_key_that_was_sent_stays_although_the_target_moves() -> None:
    protocol = Oneshot(idempotency_key=True)
    upload = result_of(protocol.prepare(upload_of(100), interims=False))
    moved = upload.evolve(target="https://other.test/")
    assert result_of(protocol.prepare(moved, interims=False)) == moved


def test_a_key_is_sent_on_request_only() -> None:
    assert result_of(Oneshot().prepare(upload_of(100), interims=False)).session == {}


def test_an_expectation_is_sent_on_request_only() -> None:
    assert not sending(Oneshot())[1].expect_continue
    assert sending(Oneshot(expect_continue=True))[1].expect_continue


def test_what_a_later_call_permits_is_added_and_nothing_else_changes() -> None:
    kept = Oneshot(replay="incomplete", idempotency_key=True)
    wider = kept.permitting(Oneshot(replay="always"))
    assert wider.options() == kept.options() | {"replay": "always"}
    assert kept.permitting(Oneshot(replay="incomplete")) is kept
    assert kept.permitting(Oneshot()) is kept
    assert kept.permitting(Tus()) is kept


def test_a_plain_request_proves_nothing_of_what_arrived() -> None:
    assert Oneshot().verified == "none"
    assert Tus().verified == "length"
