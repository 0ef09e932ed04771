"""What a session believes, what it makes durable, and what it does not repeat."""

from __future__ import annotations

import pytest

from poster_resume.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    ProtocolError,
    Recovery,
    ServerBusy,
    TransportError,
    Unauthorized,
    UploadError,
    UploadTooLarge,
)
from poster_resume.flow import Flow, Interim, Request, Save, Timeouts, send
from poster_resume.protocols import RUFH, Oneshot, Tus
from poster_resume.protocols.base import unexpected
from poster_resume.ranges import ByteRange
from poster_resume.upload import Upload

from .test_session import MIB, RESOURCE, Played, cut, interim_104, upload_of


def begun(length: int, protocol: str = "tus", **changes: object) -> Upload:
    """Return an upload that an earlier process has begun."""
    defaults: dict[str, object] = {"resource": RESOURCE, "phase": "sending"}
    return upload_of(length, protocol, **(defaults | changes))


def optimistic(length: int = 1000, **rules: object) -> Played:
    protocol = RUFH(creation="optimistic")
    return Played(upload_of(length, "rufh"), protocol, interims=True, **rules)


def appending(length: int = 10, **rules: object) -> Played:
    """Play a tus upload up to its first append."""
    played = Played(upload_of(length), Tus(), **rules)
    played.start()
    played.answer(201, location="/files/1")
    return played


class Asked(Played):
    """One of the session's other flows, answered by hand."""

    def __init__(self, upload: Upload, flow: str, **rules: object) -> None:
        super().__init__(upload, Tus(), **rules)
        self.flow: Flow[Upload] = getattr(self.session, flow)()


# -- where a session begins ---


def test_another_process_asks_until_two_answers_agree() -> None:
    played = Played(begun(10, offset=3), Tus())
    assert played.start().method == "HEAD"
    assert played.answer(200, upload_offset="7").method == "HEAD"
    assert played.slept == [0.25]
    append = played.answer(200, upload_offset="7")
    assert append.content == ByteRange(7, 10)


def test_an_offset_that_was_known_already_is_no_news() -> None:
    played = Played(begun(10, offset=3), Tus())
    played.start()
    played.answer(200, upload_offset="3")
    played.answer(200, upload_offset="3")
    assert played.kinds == ["resumed"]


def test_a_resource_that_a_104_named_is_not_created_twice() -> None:
    played = Played(upload_of(10, "rufh"), RUFH(), interims=True)
    create = played.start()
    assert create.content == ByteRange(0, 0)
    assert create.on_interim is not None
    create.on_interim(interim_104())
    head = played.fail(cut(0))
    assert (head.method, head.url) == ("HEAD", RESOURCE)
    played.answer(204, upload_offset="0", upload_complete="?0")
    append = played.answer(204, upload_offset="0", upload_complete="?0")
    assert append.content == ByteRange(0, 10)


def test_a_first_request_that_may_have_left_whole_is_not_repeated() -> None:
    upload = upload_of(10, "rufh", phase="finishing")
    played = Played(upload, RUFH())
    with pytest.raises(OutcomeUnknown):
        played.start()
    assert played.saved[-1].phase == "unknown"


@pytest.mark.parametrize("phase", ["finishing", "unknown"])
def test_a_plain_request_that_may_have_left_whole_is_not_repeated(phase: str) -> None:
    played = Played(upload_of(10, "oneshot", phase=phase), Oneshot())
    with pytest.raises(OutcomeUnknown):
        played.start()


def test_a_plain_request_that_another_process_began_starts_over() -> None:
    played = Played(upload_of(10, "oneshot", phase="sending"), Oneshot())
    assert played.start().content == ByteRange(0, 10)
    assert (played.slept, played.kinds) == ([], [])
    assert played.finish(200).complete


def test_an_unknown_outcome_that_proves_to_be_unfinished_goes_on() -> None:
    played = Played(begun(10, phase="unknown"), Tus(), chunk_size=5)
    assert played.start().method == "HEAD"
    append = played.answer(200, upload_offset="3")
    assert append.content == ByteRange(3, 8)
    assert played.saved[-1].phase == "sending"


def test_a_finished_upload_is_not_asked_about_twice() -> None:
    played = Played(begun(10, phase="finishing"), Tus())
    played.start()
    assert played.finish(200, upload_offset="10").complete
    assert played.slept == []


def test_an_upload_that_lacks_only_its_end_gets_it() -> None:
    played = Played(begun(10, "rufh"), RUFH())
    played.start()
    played.answer(204, upload_offset="10", upload_complete="?0")
    end = played.answer(204, upload_offset="10", upload_complete="?0")
    assert (end.method, end.content) == ("PATCH", ByteRange(10, 10))
    assert end.headers["upload-complete"] == "?1"
    assert played.saved[-1].phase == "finishing"
    assert played.finish(200, upload_complete="?1").complete


def test_an_offset_that_never_comes_to_rest_is_left_alone_for_a_while() -> None:
    played = Played(begun(1000), Tus())
    played.start()
    for offset in range(1, 41):
        played.answer(200, upload_offset=str(offset))
    assert played.kinds == []
    assert played.answer(200, upload_offset="41").method == "HEAD"
    assert played.kinds == ["interrupted"]
    assert "come to rest" in played.events[-1].message


# -- what is believed ---


def test_a_plain_upload_tells_nothing_of_resources() -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot())
    played.start()
    played.finish(200)
    assert "created" not in played.kinds


def test_one_byte_more_than_was_sent_is_not_believed() -> None:
    played = appending(100)
    played.fail(cut(3))
    played.answer(200, upload_offset="4")
    with pytest.raises(ProtocolError, match="4 bytes, only 3"):
        played.answer(200, upload_offset="4")


def test_a_104_that_claims_more_than_was_sent_is_not_believed() -> None:
    played = optimistic()
    create = played.start()
    assert create.on_interim is not None
    create.on_interim(interim_104())
    progress = {"upload-offset": "600", "upload-draft-interop-version": "9"}
    create.on_interim(Interim(104, progress))
    played.fail(cut(400))
    played.answer(204, upload_offset="600", upload_complete="?0")
    with pytest.raises(ProtocolError, match="600 bytes, only 400"):
        played.answer(204, upload_offset="600", upload_complete="?0")


def test_what_a_104_taught_is_not_learned_twice() -> None:
    played = optimistic()
    create = played.start()
    assert create.on_interim is not None
    create.on_interim(interim_104())
    played.fail(cut(400))
    played.answer(204, upload_offset="300", upload_complete="?0")
    played.answer(204, upload_offset="300", upload_complete="?0")
    played.fail(cut(0))
    played.answer(204, upload_offset="200", upload_complete="?0")
    played.answer(204, upload_offset="200", upload_complete="?0")
    assert "went_back" in played.kinds


def test_bytes_of_an_earlier_append_may_show_up_after_a_later_one() -> None:
    played = appending(20, chunk_size=8)
    played.fail(cut(8))
    played.answer(200, upload_offset="0")
    played.answer(200, upload_offset="0")
    append = played.answer(204, sent=2, upload_offset="2")
    assert append.content == ByteRange(2, 10)
    played.fail(cut(0))
    played.answer(200, upload_offset="8")
    append = played.answer(200, upload_offset="8")
    assert append.content == ByteRange(8, 16)


def test_a_break_of_which_nobody_knows_what_had_left_bounds_nothing() -> None:
    played = appending(10)
    played.fail(cut(None))
    played.answer(200, upload_offset="5")
    assert played.answer(200, upload_offset="5").content == ByteRange(5, 10)


def test_what_an_earlier_resource_was_sent_says_nothing_of_the_next() -> None:
    played = appending(100, chunk_size=50)
    played.answer(204, sent=50, upload_offset="50")
    played.fail(cut(20))
    played.answer(404)
    played.answer(201, location="/files/2")
    played.fail(cut(3))
    played.answer(200, upload_offset="4")
    with pytest.raises(ProtocolError, match="4 bytes, only 3"):
        played.answer(200, upload_offset="4")


def test_an_offset_that_has_to_be_asked_for_counts_what_the_append_sent() -> None:
    played = appending(10, chunk_size=5)
    head = played.answer(204, sent=5)
    assert head.method == "HEAD"
    append = played.answer(200, sent=0, upload_offset="5")
    assert append.content == ByteRange(5, 10)


@pytest.mark.parametrize("sent", [3, 9])
def test_an_upload_is_not_complete_before_its_last_byte_left(sent: int) -> None:
    played = appending(10)
    with pytest.raises(ProtocolError, match=f"only {sent} were sent"):
        played.answer(204, sent=sent, upload_offset="10")
    assert played.saved[-1].phase == "sending"


def test_a_creation_is_not_complete_before_its_last_byte_left() -> None:
    played = optimistic()
    played.start()
    with pytest.raises(ProtocolError, match="only 400 were sent"):
        played.answer(201, sent=400, upload_complete="?1")
    assert played.saved[-1].phase == "new"


@pytest.mark.parametrize("status", [200, 303])
def test_a_plain_request_is_not_answered_before_its_last_byte_left(status: int) -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot())
    played.start()
    with pytest.raises(ProtocolError, match="only 3 were sent"):
        played.answer(status, sent=3, location="/thanks")
    assert played.saved[-1].phase == "new"


def test_a_refusal_needs_no_last_byte() -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot())
    played.start()
    upload = played.finish(400, sent=3)
    assert upload.result is not None
    assert upload.result.status_code == 400


def test_what_an_earlier_attempt_sent_does_not_complete_a_repeated_one() -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot(replay="always"))
    played.start()
    played.fail(cut(10))
    with pytest.raises(ProtocolError, match="only 3 were sent"):
        played.answer(200, sent=3)


def test_an_upload_cannot_be_complete_that_nobody_finished() -> None:
    played = Played(begun(10, offset=3), Tus())
    played.start()
    with pytest.raises(ProtocolError, match="only 3 were sent"):
        played.answer(200, upload_offset="10")


@pytest.mark.parametrize("phase", ["finishing", "unknown"])
def test_an_upload_may_be_complete_that_another_process_finished(phase: str) -> None:
    played = Played(begun(10, offset=3, phase=phase), Tus())
    played.start()
    assert played.finish(200, upload_offset="10").complete


# -- what is durable before what ---


def test_an_append_that_stops_one_byte_short_finishes_nothing() -> None:
    played = Played(upload_of(10), Tus(), chunk_size=9)
    played.start()
    append = played.answer(201, location="/files/1")
    assert append.content == ByteRange(0, 9)
    assert played.saved[-1].phase == "sending"
    assert played.checks == 0


def test_creating_an_empty_upload_finishes_it() -> None:
    played = Played(upload_of(0), Tus())
    played.start()
    assert played.saved[-1].phase == "finishing"
    assert played.checks == 1


def test_a_creation_made_careful_finishes_nothing() -> None:
    played = optimistic(chunk_size=400)
    played.start()
    assert played.saved[-1].phase == "new"


def test_what_is_left_after_a_break_is_not_finishing() -> None:
    played = Played(begun(10, phase="finishing"), Tus(), chunk_size=5)
    played.start()
    played.answer(200, upload_offset="3")
    played.answer(200, upload_offset="3")
    assert played.saved[-1].phase == "sending"


def test_what_was_abandoned_is_what_it_was_unless_it_was_finishing() -> None:
    played = appending(10)
    assert played.session.abandoned(9, 10).phase == "sending"
    played.finish(204, upload_offset="10")
    assert played.session.abandoned(9, 10).phase == "complete"


@pytest.mark.parametrize("status", [429, 503])
def test_a_creation_that_was_turned_away_whole_is_repeated(status: int) -> None:
    played = optimistic()
    played.start()
    again = played.answer(status, sent=1000)
    assert (again.method, again.content) == ("POST", ByteRange(0, 0))


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_creation_that_failed_with_everything_in_hand_is_unknown(status: int) -> None:
    played = optimistic()
    played.start()
    with pytest.raises(OutcomeUnknown, match=str(status)):
        played.answer(status, sent=1000)
    assert played.saved[-1].phase == "unknown"


def test_a_creation_whose_answer_was_lost_is_unknown_at_once() -> None:
    played = optimistic()
    played.start()
    with pytest.raises(OutcomeUnknown, match="connection broke"):
        played.fail(cut(1000))
    assert played.slept == []


def test_a_break_of_which_nobody_knows_what_had_left_may_have_finished() -> None:
    played = appending(10)
    played.fail(cut(None))
    assert played.saved[-1].phase == "finishing"


def test_an_empty_creation_that_broke_is_repeated() -> None:
    played = Played(upload_of(10, "rufh"), RUFH())
    played.start()
    assert played.fail(cut(0)).method == "POST"
    assert played.answer(500, sent=0).method == "POST"


def test_an_empty_creation_that_broke_is_not_held_against_others() -> None:
    played = Played(upload_of(10, "rufh"), RUFH())
    played.start()
    played.fail(cut(0))
    assert "interrupted" not in played.saved[-1].session


# -- how much at once ---


def test_a_creation_may_carry_what_one_append_may() -> None:
    assert optimistic(chunk_size=1000).start().content == ByteRange(0, 1000)


def test_a_creation_carries_no_more_than_was_learned() -> None:
    upload = upload_of(1000, "rufh", append_size=400)
    played = Played(upload, RUFH(creation="optimistic"), interims=True)
    assert played.start().content == ByteRange(0, 0)


def test_a_creation_that_left_nothing_is_followed_by_a_quarter() -> None:
    played = optimistic(100 * MIB)
    create = played.start()
    assert create.on_interim is not None
    create.on_interim(interim_104())
    played.fail(cut(8 * MIB))
    played.answer(204, upload_offset="0", upload_complete="?0")
    append = played.answer(204, upload_offset="0", upload_complete="?0")
    assert append.content == ByteRange(0, 2 * MIB)


def test_a_creation_refused_for_its_size_is_halved() -> None:
    upload = upload_of(1000, append_size=400, session={"with_upload": True})
    played = Played(upload, Tus(with_upload=True))
    assert played.start().content == ByteRange(0, 400)
    played.answer(413, sent=10)
    assert played.saved[-1].append_size == 200


def test_an_append_that_was_accepted_and_not_kept_is_followed_by_a_quarter() -> None:
    played = appending(100 * MIB)
    played.answer(204, sent=8 * MIB, upload_offset="0")
    played.answer(200, upload_offset="0")
    append = played.answer(200, upload_offset="0")
    assert append.content == ByteRange(0, 25 * MIB)


def test_a_given_size_is_kept_on_a_link_that_loses_it() -> None:
    played = appending(100 * MIB, chunk_size=8 * MIB)
    played.fail(cut(8 * MIB))
    played.answer(200, upload_offset="0")
    append = played.answer(200, upload_offset="0")
    assert append.content == ByteRange(0, 8 * MIB)


@pytest.mark.parametrize("sent", [0, 200 * 1024, 256 * 1024])
def test_an_append_that_was_small_already_is_not_resized(sent: int) -> None:
    played = appending(100 * MIB)
    played.fail(cut(sent))
    played.answer(200, upload_offset="0")
    played.answer(200, upload_offset="0")
    assert "resized" not in played.kinds


def test_a_break_teaches_once() -> None:
    played = appending(100 * MIB)
    played.fail(cut(8 * MIB))
    played.answer(200, upload_offset="0")
    append = played.answer(200, upload_offset="0")
    assert append.content == ByteRange(0, 2 * MIB)
    busy = played.answer(503, sent=0)
    assert busy.method == "HEAD"
    played.answer(200, upload_offset="0")
    append = played.answer(200, upload_offset="0")
    assert append.content == ByteRange(0, 2 * MIB)
    assert played.kinds.count("resized") == 1


def test_413_never_shrinks_below_what_the_server_takes_at_least() -> None:
    session = {"limits": {"min-append-size": 300}}
    upload = begun(1000, "rufh", session=session)
    played = Played(upload, RUFH(), chunk_size=500)
    played.start()
    played.answer(204, upload_offset="0", upload_complete="?0")
    append = played.answer(204, upload_offset="0", upload_complete="?0")
    assert append.content == ByteRange(0, 500)
    played.answer(413, sent=1)
    assert played.saved[-1].append_size == 300
    played.answer(204, upload_offset="0", upload_complete="?0")
    append = played.answer(204, upload_offset="0", upload_complete="?0")
    assert append.content == ByteRange(0, 300)
    with pytest.raises(UploadError, match="even 300 bytes"):
        played.answer(413, sent=1)


def test_a_question_refused_for_its_size_shrinks_nothing_further() -> None:
    played = appending(1000, chunk_size=500)
    assert played.answer(413, sent=1).method == "HEAD"
    assert played.answer(413).method == "HEAD"
    assert played.slept == [2]
    assert played.kinds.count("resized") == 1


def test_what_cannot_be_divided_is_not_shrunk() -> None:
    class Strict(Oneshot):
        def append(self, upload: Upload, content: ByteRange) -> Flow[Upload]:
            response = yield from send(Request("POST", upload.target, {}, content))
            raise unexpected(response, "append")

    played = Played(upload_of(10, "oneshot"), Strict())
    played.start()
    with pytest.raises(UploadTooLarge, match="even 10 bytes"):
        played.answer(413, sent=1)


def test_a_plain_request_refused_for_its_size_is_its_outcome() -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot())
    played.start()
    upload = played.finish(413, sent=3)
    assert upload.result is not None
    assert upload.result.status_code == 413


def test_sizes_double_only_after_two_clean_appends_each() -> None:
    played = Played(upload_of(100, append_size=10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.answer(204, upload_offset="10")
    played.answer(204, upload_offset="20")
    append = played.answer(204, upload_offset="40")
    assert append.content == ByteRange(40, 60)
    append = played.answer(204, upload_offset="60")
    assert append.content == ByteRange(60, 100)


def test_the_end_changes_no_size() -> None:
    played = Played(upload_of(20, append_size=10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.answer(204, upload_offset="10")
    assert played.finish(204, upload_offset="20").append_size == 10


# -- answers that are no success ---


def test_other_credentials_are_asked_for_again_after_progress() -> None:
    played = appending(10, refreshable=True, chunk_size=5)
    played.answer(401, sent=0)
    assert "refreshed" in played.kinds
    played.answer(200, upload_offset="0")
    played.answer(200, upload_offset="0")
    played.answer(204, upload_offset="5")
    assert played.answer(401, sent=0).rejected


@pytest.mark.parametrize("status", [403, 407])
def test_other_credentials_do_not_mend_other_refusals(status: int) -> None:
    played = appending(10, refreshable=True)
    with pytest.raises(Unauthorized) as refused:
        played.answer(status)
    assert refused.value.status == status


def test_attempts_are_counted_from_the_last_progress() -> None:
    played = appending(10, chunk_size=5)
    assert played.answer(503).attempt == 2
    played.answer(200, upload_offset="0")
    assert played.answer(200, upload_offset="0").attempt == 2
    assert played.answer(204, upload_offset="5").attempt == 1
    assert "acknowledged" in played.kinds


def test_progress_renews_the_patience_once() -> None:
    played = appending(1000, chunk_size=10)
    played.answer(204, upload_offset="10")
    for _ in range(4):
        played.fail(cut(0))
        played.answer(200, upload_offset="10")
        played.answer(200, upload_offset="10")
    with pytest.raises(TransportError):
        played.fail(cut(0))


def test_an_error_after_which_nothing_more_is_stored_may_be_tried_again_later() -> None:
    played = appending(10, chunk_size=5)
    played.answer(422, sent=5)
    played.answer(200, upload_offset="0")
    with pytest.raises(UploadError, match="422") as error:
        played.answer(200, upload_offset="0")
    assert error.value.resumable


def test_an_error_is_told_although_the_question_after_it_failed() -> None:
    played = appending(10, chunk_size=5)
    played.answer(422, sent=5)
    with pytest.raises(UploadError, match="422"):
        played.answer(503)


def test_an_error_that_completed_the_upload_is_none() -> None:
    played = appending(10)
    played.answer(422, sent=10)
    assert played.finish(200, upload_offset="10").complete


def test_an_error_to_the_end_alone_that_completed_the_upload_is_none() -> None:
    played = Played(begun(10, "rufh"), RUFH())
    played.start()
    played.answer(204, upload_offset="10", upload_complete="?0")
    played.answer(204, upload_offset="10", upload_complete="?0")
    assert played.answer(422, sent=0, upload_complete="?0").method == "HEAD"
    assert played.answer(204, upload_offset="10", upload_complete="?1").method == "GET"
    assert played.finish(200, upload_complete="?1").complete


def test_a_creation_that_was_rejected_asks_nothing_more() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    with pytest.raises(UploadError, match="422") as error:
        played.answer(422)
    assert not error.value.resumable


def test_gone_with_the_last_bytes_is_proven_and_not_waited_for() -> None:
    played = Played(begun(10, "rufh"), RUFH())
    played.start()
    played.answer(204, upload_offset="5", upload_complete="?0")
    played.answer(204, upload_offset="5", upload_complete="?0")
    before = list(played.slept)
    assert played.answer(404, sent=5).method == "HEAD"
    assert played.answer(404).method == "GET"
    assert played.finish(200, upload_complete="?1").complete
    assert played.slept == before


def test_gone_with_the_last_bytes_and_yet_there_goes_on() -> None:
    played = appending(10)
    played.answer(404, sent=10)
    played.answer(200, upload_offset="4")
    assert played.kinds[-1] == "interrupted"
    played.answer(200, upload_offset="4")
    append = played.answer(200, upload_offset="4")
    assert append.content == ByteRange(4, 10)


def test_what_is_gone_is_forgotten_before_anything_else_is_asked() -> None:
    upload = upload_of(10, session={"with_upload": False})
    played = Played(upload, Tus(with_upload=True), chunk_size=5)
    played.start()
    played.answer(201, location="/files/1")
    assert played.answer(404).method == "OPTIONS"
    assert played.saved[-1].resource is None


def test_an_upload_is_started_over_once() -> None:
    played = appending(10, chunk_size=5)
    played.answer(404)
    assert played.saved[-1].resource is None
    played.answer(201, location="/files/2")
    with pytest.raises(UploadError, match="404") as error:
        played.answer(404)
    assert error.value.recovery is Recovery.NONE


# -- time, and where requests go ---


def test_questions_are_answered_sooner_than_content() -> None:
    timeouts = Timeouts(answer=500, probe=5)
    played = Played(upload_of(10), Tus(), timeouts=timeouts)
    assert played.start().timeouts.answer == 5
    assert played.answer(201, location="/files/1").timeouts.answer == 500


def test_a_request_knows_the_deadline() -> None:
    assert Played(upload_of(10), Tus(), deadline=3.0).start().deadline == 3.0


def test_nothing_begins_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        Played(upload_of(10), Tus(), deadline=0.0).start()


def test_a_wait_that_would_reach_the_deadline_is_not_begun() -> None:
    played = Played(upload_of(10), Tus(), deadline=4.0)
    played.start()
    played.answer(503, retry_after="2")
    with pytest.raises(DeadlineExceeded):
        played.answer(503, retry_after="2")
    assert played.slept == [2.0]


def test_a_104_is_relative_to_where_a_redirect_led() -> None:
    played = optimistic()
    played.start()
    create = played.answer(307, sent=0, location="https://other.test/files")
    assert create.on_interim is not None
    saved = create.on_interim(interim_104())
    assert isinstance(saved, Save)
    assert saved.upload.resource == "https://other.test/files/1"


# -- cancelling, and proving without anything to send ---


@pytest.mark.parametrize("flow", ["cancelled", "proven"])
def test_patience_with_questions_ends(flow: str) -> None:
    asked = Asked(begun(10, phase="finishing"), flow)
    assert asked.start().attempt == 1
    assert asked.answer(503).attempt == 2
    for _ in range(3):
        asked.answer(503)
    with pytest.raises(ServerBusy):
        asked.answer(503)


@pytest.mark.parametrize("flow", ["cancelled", "proven"])
def test_questions_bring_other_credentials_once(flow: str) -> None:
    asked = Asked(begun(10, phase="finishing"), flow, refreshable=True)
    asked.start()
    assert asked.answer(401).rejected
    with pytest.raises(Unauthorized):
        asked.answer(401)


def test_cancelling_ends_with_the_upload_gone() -> None:
    asked = Asked(begun(10), "cancelled")
    request: Request = asked.start()
    assert (request.method, request.url) == ("DELETE", RESOURCE)
    with pytest.raises(StopIteration):
        asked.answer(204)


def test_what_the_server_forgot_stays_unknown_when_asked_for_proof() -> None:
    asked = Asked(begun(10, phase="finishing"), "proven")
    asked.start()
    asked.answer(404)
    with pytest.raises(OutcomeUnknown):
        asked.answer(404)
    assert asked.saved[-1].phase == "unknown"
