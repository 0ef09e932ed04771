"""Resumable uploads at the edges of their rules: one byte, one field off."""

from __future__ import annotations

import pytest

from poster_resume.errors import (
    OffsetMismatch,
    ProtocolError,
    RedirectRefused,
    ServerBusy,
    UploadError,
    UploadGone,
    UploadRejected,
)
from poster_resume.flow import Abort, Interim, Request, Response, Save
from poster_resume.protocols import RUFH
from poster_resume.protocols.rufh import INTERIM_FACT, announced_limits
from poster_resume.ranges import ByteRange
from poster_resume.upload import Upload

from .verbs import RESOURCE, Verb, created, interim, result_of, upload_of

OPTIMISTIC = {"optimistic": True, "dialect": "9"}
PROBLEM = "application/problem+json"
MISMATCH = b'{"type": "https://iana.org/assignments/x#mismatching-upload-offset"}'


def prepared(protocol: RUFH, upload: Upload, seen: str | None = None) -> Upload:
    facts = {} if seen is None else {INTERIM_FACT: seen}
    return result_of(protocol.prepare(upload, interims=True), facts)


def limited(**limits: object) -> tuple[int, int | None]:
    spelled = {name.replace("_", "-"): value for name, value in limits.items()}
    found = RUFH().limits(created(session={"limits": spelled}))
    return found.min_append_size, found.max_append_size


def creating(**changes: object) -> Verb:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC, **changes)))
    verb.start()
    return verb


def heading() -> Verb:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    return verb


def ending() -> Verb:
    verb = Verb(RUFH().append(created(offset=90), ByteRange(90, 100)))
    verb.start()
    return verb


# -- limits ---


def test_limits_are_obeyed_as_far_as_they_can_be() -> None:
    assert limited(min_append_size=5, max_append_size=5) == (5, 5)
    assert limited(max_append_size=1) == (1, 1)
    assert limited(max_append_size=0) == (1, None)
    assert limited(min_append_size=0) == (1, None)
    assert limited(max_append_size="7") == (1, None)


def test_no_limit_is_negative_and_the_newer_name_wins() -> None:
    assert announced_limits({"upload-limit": "max-age=0"}) == {"max-age": 0}
    assert announced_limits({"upload-limit": "max-age=-1"}) is None
    both = {"upload-limit": "max-age=5, expires=9"}
    assert announced_limits(both) == {"max-age": 5}


def test_an_upload_may_be_as_large_as_the_server_takes() -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    limit = "max-size=100, max-age=0"
    upload = verb.finish(201, location="/files/1", upload_limit=limit)
    assert upload.expires == 1000.0


def test_every_answer_may_change_the_limits_and_none_has_to() -> None:
    verb = Verb(RUFH().retrieve_offset(created(expires=5.0)))
    verb.start()
    limit = "max-append-size=4"
    upload = verb.finish(204, upload_offset="5", upload_limit=limit)
    assert RUFH().limits(upload).max_append_size == 4
    assert upload.expires == 5.0
    verb = Verb(RUFH().append(created(), ByteRange(0, 10)))
    verb.start()
    upload = verb.finish(204, upload_offset="10", upload_limit=limit)
    assert RUFH().limits(upload).max_append_size == 4


# -- how creation is done ---


def test_what_is_configured_wins_over_what_was_used_before() -> None:
    used = upload_of(100, session={"dialect": "8"})
    assert prepared(RUFH(10), used).session["dialect"] == "10"
    assert prepared(RUFH(), used, seen="9").session["dialect"] == "8"
    assert prepared(RUFH(), upload_of(100), seen="99").session["dialect"] == "9"


def test_optimism_that_broke_is_not_tried_twice() -> None:
    protocol = RUFH(creation="optimistic")
    upload = prepared(protocol, upload_of(100))
    assert protocol.creation_content(upload) == ByteRange(0, 100)
    careful = protocol.created_carefully(upload)
    assert protocol.creation_content(careful) is None
    assert protocol.creation_content(prepared(protocol, careful)) is None


@pytest.mark.parametrize(("largest", "fits"), [(99, False), (100, True)])
def test_optimism_keeps_the_largest_append(largest: int, fits: bool) -> None:
    session = OPTIMISTIC | {"limits": {"max-append-size": largest}}
    carried = RUFH().creation_content(upload_of(100, session=session))
    assert (carried is not None) == fits


def test_creation_uses_the_callers_method() -> None:
    assert Verb(RUFH().create(upload_of(100, method="PUT"))).start().method == "PUT"


def test_content_alone_waits_for_a_word_of_the_server() -> None:
    protocol = RUFH(expect_continue=True)
    assert not Verb(protocol.create(upload_of(100))).start().expect_continue
    optimistic = upload_of(100, session=OPTIMISTIC)
    assert Verb(protocol.create(optimistic)).start().expect_continue
    assert not Verb(RUFH().create(optimistic)).start().expect_continue


def test_a_dialect_once_used_is_used_for_every_request() -> None:
    upload = created(session={"dialect": "8"})
    for flow in (
        RUFH(10).retrieve_offset(upload),
        RUFH(10).append(upload, ByteRange(0, 10)),
    ):
        version = Verb(flow).start().headers["upload-draft-interop-version"]
        assert version == "8"


# -- answers to creation ---


def test_a_104_is_remembered_for_thirty_days() -> None:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))
    watch = verb.start().on_interim
    assert watch is not None
    watch(interim(upload_draft_interop_version="9", location="/files/1"))
    verb.finish(201, upload_complete="?1")
    (fact,) = verb.remembered
    assert (fact.value, fact.seconds) == ("9", 30 * 86400)


def test_a_104_in_a_dialect_that_we_do_not_speak_is_not_remembered() -> None:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))
    watch = verb.start().on_interim
    assert watch is not None
    watch(interim(upload_draft_interop_version="99", location="/files/1"))
    verb.finish(201, upload_complete="?1")
    assert verb.remembered == []


def test_a_refusal_of_the_empty_creation_may_be_the_targets_own() -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    upload = verb.finish(400, upload_complete="?1")
    assert upload.result is not None
    assert upload.result.status_code == 400


def test_a_redirect_creates_nothing() -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    with pytest.raises(RedirectRefused):
        verb.answer(303, location="/files/1")


def test_a_creation_may_keep_a_part_of_what_it_carried() -> None:
    upload = creating().finish(201, location="/files/1", upload_offset="40")
    assert (upload.resource, upload.offset) == (RESOURCE, 40)
    assert not upload.complete


def test_what_a_creation_kept_is_asked_for_where_it_does_not_say() -> None:
    verb = creating()
    head = verb.answer(201, location="/files/1", upload_complete="?0")
    assert (head.method, head.url) == ("HEAD", RESOURCE)
    assert verb.finish(204, upload_offset="40", upload_complete="?0").offset == 40


def test_a_creation_that_a_104_called_resumable_may_be_denied() -> None:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))
    watch = verb.start().on_interim
    assert watch is not None
    watch(interim(upload_draft_interop_version="9", location="/files/1"))
    assert verb.answer(200, b"ok").method == "HEAD"
    assert not verb.finish(204, upload_offset="40", upload_complete="?0").complete


def test_one_upload_has_one_resource() -> None:
    upload = upload_of(100, resource=RESOURCE)
    verb = Verb(RUFH().create(upload))
    verb.start()
    assert verb.finish(201, upload_complete="?0").resource == RESOURCE
    verb = Verb(RUFH().create(upload))
    verb.start()
    with pytest.raises(ProtocolError, match="two upload resources"):
        verb.answer(201, location="/files/2", upload_complete="?0")


def test_a_location_is_relative_to_where_the_answer_came_from() -> None:
    flow = RUFH().create(upload_of(100))
    Verb(flow).start()
    moved = "https://other.test/there"
    with pytest.raises(StopIteration) as stop:
        flow.send(Response(201, {"location": "/files/1"}, url=moved))
    assert stop.value.value.resource == "https://other.test/files/1"


# -- answers to appends ---


def test_a_mismatch_says_how_much_had_left() -> None:
    flow = RUFH().append(created(), ByteRange(0, 10))
    assert isinstance(next(flow), Request)
    with pytest.raises(OffsetMismatch) as error:
        flow.send(Response(409, {"content-type": PROBLEM}, MISMATCH, sent=3))
    assert error.value.sent == 3


@pytest.mark.parametrize(
    ("status", "kind", "problem"),
    [
        (409, "application/json", MISMATCH),
        (404, PROBLEM, MISMATCH),
        (409, PROBLEM, b"[" * 100_000),
        (409, PROBLEM, b'{"type": 5}'),
        (409, PROBLEM, b"5"),
    ],
)
def test_what_is_no_problem_with_the_offset_is_the_targets_own(
    status: int, kind: str, problem: bytes
) -> None:
    verb = ending()
    upload = verb.finish(status, problem, content_type=kind, upload_complete="?1")
    assert upload.complete


def test_an_end_that_is_denied_outright_is_asked_about() -> None:
    verb = ending()
    assert verb.answer(204, upload_complete="?0").method == "HEAD"
    assert verb.finish(204, upload_offset="95", upload_complete="?0").offset == 95


def test_an_answer_to_what_is_not_the_end_is_never_the_final_one() -> None:
    verb = Verb(RUFH().append(created(), ByteRange(0, 10)))
    verb.start()
    assert verb.answer(204).method == "HEAD"
    with pytest.raises(UploadGone):
        verb.answer(404)


def test_an_end_that_is_acknowledged_whole_is_the_end() -> None:
    assert ending().finish(200, b"ok", upload_offset="100").complete


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (404, {"upload_offset": "90", "upload_complete": "?0"}),
        (204, {"upload_offset": "90", "upload_complete": "?1"}),
        (204, {"upload_complete": "?0"}),
    ],
)
def test_only_an_open_upload_denies_its_end(
    status: int, headers: dict[str, str]
) -> None:
    verb = ending()
    verb.answer(200, b"ok")
    assert verb.finish(status, **headers).complete


@pytest.mark.parametrize("status", [401, 409, 413, 503])
def test_an_error_that_refuses_nothing_for_good_is_told_at_once(status: int) -> None:
    with pytest.raises(UploadError) as error:
        ending().answer(status)
    assert not isinstance(error.value, UploadRejected)


def test_a_refusal_that_says_it_is_not_final_is_told_at_once() -> None:
    with pytest.raises(UploadRejected):
        ending().answer(422, upload_complete="?0")


def test_a_refusal_before_the_end_is_told_at_once() -> None:
    verb = Verb(RUFH().append(created(), ByteRange(0, 10)))
    verb.start()
    with pytest.raises(UploadRejected):
        verb.answer(422)


def test_a_refused_creation_has_no_resource_to_ask() -> None:
    with pytest.raises(UploadRejected):
        creating().answer(422)


@pytest.mark.parametrize(
    ("content", "truncated"), [(b"", False), (b"the beginning of much", True)]
)
def test_a_final_answer_that_is_repeated_outweighs_a_refusal(
    content: bytes, truncated: bool
) -> None:
    flow = RUFH().append(created(offset=90), ByteRange(90, 100))
    next(flow)
    flow.send(Response(422))
    flow.send(Response(204, {"upload-offset": "100", "upload-complete": "?1"}))
    final = Response(201, {"upload-complete": "?1"}, content, truncated)
    with pytest.raises(StopIteration) as stop:
        flow.send(final)
    assert stop.value.value.result.status_code == 201
    assert stop.value.value.result.content == content


def test_a_final_answer_is_asked_for_by_an_empty_end() -> None:
    verb = heading()
    verb.answer(204, upload_offset="100", upload_complete="?1")
    asked = verb.answer(204, upload_offset="100", upload_complete="?1")
    assert (asked.method, asked.content) == ("PATCH", b"")
    assert asked.headers["upload-complete"] == "?1"
    assert asked.headers["upload-offset"] == "100"


def test_limits_that_a_104_announced_stay_after_the_append() -> None:
    verb = Verb(RUFH().append(created(), ByteRange(0, 10)))
    watch = verb.start().on_interim
    assert watch is not None
    limit = "max-append-size=4, max-age=60"
    watch(interim(upload_draft_interop_version="9", upload_limit=limit))
    upload = verb.finish(204, upload_offset="10")
    assert RUFH().limits(upload).max_append_size == 4
    assert upload.expires == 1060.0


def test_the_older_field_says_the_opposite_and_less() -> None:
    verb = Verb(RUFH(6).append(created(), ByteRange(0, 10)))
    verb.start()
    assert not verb.finish(204, upload_offset="10", upload_incomplete="?1").complete
    verb = Verb(RUFH(6).append(created(), ByteRange(0, 10)))
    verb.start()
    fields = {"upload_complete": "?0", "upload_incomplete": "?0"}
    assert not verb.finish(204, upload_offset="10", **fields).complete


# -- answers to questions ---


def test_an_upload_of_another_length_is_another_one() -> None:
    for length in ("99", "101"):
        with pytest.raises(ProtocolError, match=f"expects {length} bytes"):
            heading().answer(204, upload_offset="5", upload_length=length)


def test_an_answer_without_offset_is_asked_for_again() -> None:
    with pytest.raises(ServerBusy, match="Upload-Offset"):
        heading().answer(204, upload_complete="?0")


def test_an_error_names_no_offset() -> None:
    with pytest.raises(UploadGone):
        heading().answer(404, upload_offset="5", upload_complete="?0")


def test_a_complete_upload_needs_no_offset() -> None:
    verb = heading()
    assert verb.answer(204, upload_complete="?1").method == "GET"
    assert verb.finish(201, b"the answer", upload_complete="?1").complete


@pytest.mark.parametrize(("status", "complete"), [(200, "?1"), (404, "?0")])
def test_an_upload_is_not_complete_one_byte_short(status: int, complete: str) -> None:
    verb = heading()
    verb.answer(204, upload_offset="99", upload_complete="?1")
    with pytest.raises(ProtocolError, match="complete at 99 of 100"):
        verb.answer(status, upload_complete=complete)


def test_an_upload_may_be_refused_before_its_end() -> None:
    verb = heading()
    verb.answer(204, upload_offset="50", upload_complete="?1")
    upload = verb.finish(400, b"no", upload_complete="?1")
    assert upload.result is not None
    assert (upload.result.status_code, upload.result.content) == (400, b"no")


def test_an_answer_that_is_not_the_targets_is_not_kept() -> None:
    verb = heading()
    verb.answer(204, upload_offset="100", upload_complete="?1")
    assert verb.answer(200, b"a page").method == "PATCH"
    upload = verb.finish(200, b"a page")
    assert upload.result is not None
    assert (upload.result.content, upload.result.truncated) == (b"", True)


@pytest.mark.parametrize(
    ("status", "complete"), [(404, "?1"), (410, "?1"), (200, "?0"), (500, "?0")]
)
def test_what_is_no_final_answer_proves_nothing(status: int, complete: str) -> None:
    verb = Verb(RUFH().prove(created(phase="finishing")))
    verb.start()
    verb.answer(404)
    with pytest.raises(UploadGone):
        verb.answer(status, upload_complete=complete)


# -- interim answers, and the end ---


def watching() -> Verb:
    return Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))


def test_what_is_known_is_not_saved_again_and_never_goes_back() -> None:
    watch = watching().start().on_interim
    assert watch is not None
    first = interim(upload_draft_interop_version="9", upload_offset="100")
    moved = watch(first)
    assert isinstance(moved, Save)
    assert moved.upload.offset == 100
    assert watch(first) is None
    lower = interim(upload_draft_interop_version="9", upload_offset="40")
    assert watch(lower) is None


def test_only_a_104_speaks_of_uploads() -> None:
    watch = watching().start().on_interim
    assert watch is not None
    hint = interim(103, upload_draft_interop_version="9", location="/files/1")
    assert watch(hint) is None


def test_a_negative_offset_aborts() -> None:
    watch = watching().start().on_interim
    assert watch is not None
    below = interim(upload_draft_interop_version="9", upload_offset="-1")
    assert isinstance(watch(below), Abort)


def test_a_104_is_relative_to_where_it_came_from() -> None:
    watch = watching().start().on_interim
    assert watch is not None
    headers = {"upload-draft-interop-version": "9", "location": "/files/1"}
    saved = watch(Interim(104, headers, url="https://other.test/there"))
    assert isinstance(saved, Save)
    assert saved.upload.resource == "https://other.test/files/1"


def test_a_server_that_fails_to_cancel_is_an_error() -> None:
    verb = Verb(RUFH().cancel(created()))  # type: ignore[arg-type]  # no result
    verb.start()
    with pytest.raises(ServerBusy):
        verb.answer(500)


def test_what_was_never_created_needs_no_cancelling() -> None:
    assert list(RUFH().cancel(upload_of(100))) == []


@pytest.mark.parametrize("status", [400, 405, 415])
def test_an_offset_that_is_refused_says_what_to_do(status: int) -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    if status == 405:
        verb.answer(status)  # GET is asked next
    with pytest.raises(UploadRejected, match="cancel this upload and start again"):
        verb.answer(status)
