from __future__ import annotations

import pytest

from poster_resume.errors import (
    ContentTooLarge,
    InvalidParameter,
    NotResumable,
    OffsetMismatch,
    ProtocolError,
    ServerBusy,
    TransportError,
    Unauthorized,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
)
from poster_resume.flow import Abort, Save
from poster_resume.protocols import RUFH
from poster_resume.protocols.rufh import DIALECTS, INTERIM_FACT
from poster_resume.ranges import ByteRange
from poster_resume.upload import Upload

from .verbs import RESOURCE, TARGET, Verb, created, interim, result_of, upload_of

VERSION = "upload-draft-interop-version"
OPTIMISTIC = {"optimistic": True, "dialect": "9"}


def prepared(protocol: RUFH, upload: Upload, *, seen: str | None = None) -> Upload:
    facts = {} if seen is None else {INTERIM_FACT: seen}
    return result_of(protocol.prepare(upload, interims=True), facts)


def test_careful_creation_is_empty_and_says_what_will_come() -> None:
    request = Verb(RUFH().create(upload_of(100))).start()
    assert (request.method, request.url, request.length) == ("POST", TARGET, 0)
    assert request.headers == {
        VERSION: "9",
        "upload-complete": "?0",
        "upload-length": "100",
        "content-type": "multipart/form-data; boundary=b",
    }


def test_optimistic_creation_carries_everything() -> None:
    request = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC))).start()
    assert request.content == ByteRange(0, 100)
    assert request.headers["upload-complete"] == "?1"


def test_creation_takes_location_and_limits() -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    upload = verb.finish(
        201,
        location="/files/1",
        upload_complete="?0",
        upload_limit="max-append-size=40, min-append-size=7, max-age=60, new=1",
    )
    assert (upload.resource, upload.phase, upload.offset) == (RESOURCE, "sending", 0)
    assert upload.expires == 1060.0
    limits = RUFH().limits(upload)
    assert (limits.min_append_size, limits.max_append_size) == (7, 40)


@pytest.mark.parametrize("limit", ["max-append-size=x", "max-append-size=-1", "?"])
def test_a_malformed_limit_field_binds_nobody(limit: str) -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    upload = verb.finish(201, location="/files/1", upload_limit=limit)
    assert RUFH().limits(upload).max_append_size is None


def test_contradictory_limits_bind_nobody() -> None:
    upload = created(session={"limits": {"min-append-size": 9, "max-append-size": 3}})
    limits = RUFH().limits(upload)
    assert (limits.min_append_size, limits.max_append_size) == (1, None)


def test_an_upload_larger_than_the_server_takes_is_refused_at_creation() -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    with pytest.raises(UploadTooLarge, match="at most 99 bytes"):
        verb.answer(201, location="/files/1", upload_limit="max-size=99")


def test_interop_6_calls_max_age_expires() -> None:
    verb = Verb(RUFH(6).create(upload_of(100)))
    verb.start()
    upload = verb.finish(201, location="/files/1", upload_limit="expires=60")
    assert upload.expires == 1060.0


def test_a_server_without_location_does_not_speak_it() -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    with pytest.raises(NotResumable):
        verb.answer(201)


def test_an_empty_creation_taken_for_the_upload_is_an_error() -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    with pytest.raises(NotResumable, match="empty creation request"):
        verb.answer(201, location="/files/1", upload_complete="?1")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UploadRejected),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, UploadRejected),
        (409, UploadRejected),
        (410, UploadRejected),
        (413, UploadTooLarge),
        (429, ServerBusy),
        (500, ServerBusy),
        (503, ServerBusy),
    ],
)
def test_refused_creations(status: int, error: type[Exception]) -> None:
    verb = Verb(RUFH().create(upload_of(100)))
    verb.start()
    with pytest.raises(error, match=str(status)):
        verb.answer(status)


def test_413_to_optimistic_creation_may_be_mended_by_less() -> None:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))
    verb.start()
    with pytest.raises(ContentTooLarge):
        verb.answer(413)


@pytest.mark.parametrize("status", [200, 303, 400, 500])
def test_upload_complete_makes_any_status_the_targets_own(status: int) -> None:
    verb = Verb(RUFH().append(created(), ByteRange(90, 100)))
    verb.start()
    upload = verb.finish(status, b"hello", upload_complete="?1")
    assert upload.complete
    assert upload.result is not None
    assert (upload.result.status_code, upload.result.content) == (status, b"hello")


def test_the_swapped_field_of_an_older_server_is_understood() -> None:
    verb = Verb(RUFH(6).append(created(), ByteRange(90, 100)))
    verb.start()
    assert verb.finish(200, upload_incomplete="?0").complete


def test_a_plain_answer_to_optimistic_creation_is_final() -> None:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))
    verb.start()
    assert verb.finish(200, b"ok").complete


def test_an_answer_that_names_a_lower_offset_is_not_final() -> None:
    verb = Verb(RUFH().append(created(offset=90), ByteRange(90, 100)))
    verb.start()
    upload = verb.finish(204, upload_offset="95")
    assert (upload.offset, upload.complete) == (95, False)


@pytest.mark.parametrize(
    ("status", "headers", "final"),
    [
        (204, {"upload_offset": "90", "upload_complete": "?0"}, False),
        (204, {"upload_offset": "100", "upload_complete": "?0"}, True),
        (204, {"upload_offset": "100", "upload_complete": "?1"}, True),
        (404, {}, True),
        (200, {}, True),
    ],
)
def test_an_answer_that_does_not_say_it_is_final_may_be_denied_by_the_offset(
    status: int, headers: dict[str, str], final: bool
) -> None:
    verb = Verb(RUFH().append(created(offset=90), ByteRange(90, 100)))
    verb.start()
    assert verb.answer(200, b"ok").method == "HEAD"
    upload = verb.finish(status, **headers)
    assert upload.complete is final
    if final:
        assert upload.result is not None
        assert upload.result.content == b"ok"


def refused_at_the_end() -> Verb:
    verb = Verb(RUFH(9).append(created(offset=60), ByteRange(60, 100)))
    verb.start()
    question = verb.answer(422, b"not a film")
    assert (question.method, question.url) == ("HEAD", RESOURCE)
    fetched = verb.answer(204, upload_offset="100", upload_complete="?1")
    assert fetched.method == "GET"
    return verb


def test_a_refusal_by_which_the_upload_has_ended_is_the_targets_own() -> None:
    verb = refused_at_the_end()
    assert verb.answer(405).method == "PATCH"
    upload = verb.finish(404)
    assert upload.complete
    assert upload.result is not None
    assert (upload.result.status_code, upload.result.content) == (422, b"not a film")


def test_a_final_answer_that_is_kept_outweighs_an_error_on_the_way() -> None:
    upload = refused_at_the_end().finish(201, b"thanks", upload_complete="?1")
    assert upload.result is not None
    assert (upload.result.status_code, upload.result.content) == (201, b"thanks")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (204, {"upload_offset": "60", "upload_complete": "?0"}),
        (404, {}),
    ],
)
def test_a_refusal_of_an_upload_that_goes_on_is_none_of_the_whole(
    status: int, headers: dict[str, str]
) -> None:
    verb = Verb(RUFH(9).append(created(offset=60), ByteRange(60, 100)))
    verb.start()
    verb.answer(422)
    with pytest.raises(UploadRejected):
        verb.answer(status, **headers)


def test_an_answer_that_nobody_can_deny_is_final() -> None:
    verb = Verb(RUFH().append(created(offset=90), ByteRange(90, 100)))
    verb.start()
    verb.answer(200, b"ok")
    with pytest.raises(StopIteration) as stop:
        verb.fail(TransportError("the connection broke"))
    assert stop.value.value.complete


def test_appends_say_offset_end_and_length() -> None:
    request = Verb(RUFH().append(created(), ByteRange(10, 20))).start()
    assert (request.method, request.url) == ("PATCH", RESOURCE)
    assert request.headers == {
        VERSION: "9",
        "upload-offset": "10",
        "upload-complete": "?0",
        "upload-length": "100",
        "content-type": "application/partial-upload",
    }
    request = Verb(RUFH().append(created(), ByteRange(10, 100))).start()
    assert request.headers["upload-complete"] == "?1"


def test_interop_5_appends_have_no_media_type_of_their_own() -> None:
    request = Verb(RUFH(5).append(created(), ByteRange(10, 20))).start()
    assert "content-type" not in request.headers
    assert request.headers[VERSION] == "5"


def test_the_final_dialect_sends_no_version() -> None:
    request = Verb(RUFH("rfc").append(created(), ByteRange(10, 20))).start()
    assert VERSION not in request.headers


def test_a_success_without_offset_is_followed_by_asking() -> None:
    verb = Verb(RUFH().append(created(), ByteRange(10, 20)))
    verb.start()
    head = verb.answer(204, upload_complete="?0")
    assert head.method == "HEAD"
    assert verb.finish(204, upload_offset="20", upload_complete="?0").offset == 20


def test_a_wrong_offset_is_a_mismatch() -> None:
    verb = Verb(RUFH().append(created(), ByteRange(10, 20)))
    verb.start()
    with pytest.raises(OffsetMismatch):
        verb.answer(409, upload_offset="5", upload_complete="?0")


@pytest.mark.parametrize("offset", ["", "x", "-1", "5.0", "5, 6", '"5"', "1" * 16])
def test_no_valid_offset_is_asked_for_again(offset: str) -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    with pytest.raises(ServerBusy, match="no valid Upload-Offset"):
        verb.answer(204, upload_offset=offset)


@pytest.mark.parametrize("offset", ["101", "999999999999999"])
def test_an_offset_past_the_end_is_an_error(offset: str) -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    with pytest.raises(ProtocolError, match="exceeds length 100"):
        verb.answer(204, upload_offset=offset)


def test_parameters_of_items_are_ignored() -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    upload = verb.finish(204, upload_offset="5;a=1", upload_complete="?0;foo")
    assert upload.offset == 5


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("kind", ["mismatching-upload-offset", "completed-upload"])
@pytest.mark.parametrize("complete", ["?0", "?1"])
def test_a_problem_with_the_offset_is_never_the_final_answer(
    status: int, kind: str, complete: str
) -> None:
    verb = Verb(RUFH().append(created(), ByteRange(0, 100)))
    verb.start()
    problem = f'{{"type": "https://iana.org/assignments/http-problem-types#{kind}"}}'
    with pytest.raises(OffsetMismatch):
        verb.answer(
            status,
            problem.encode(),
            content_type="application/problem+json",
            upload_complete=complete,
        )


@pytest.mark.parametrize(
    "problem", [b'{"type": "https://example.test/not-a-film"}', b"[]", b"{", b"{}"]
)
def test_any_other_problem_is_the_targets_own(problem: bytes) -> None:
    verb = Verb(RUFH().append(created(), ByteRange(0, 100)))
    verb.start()
    upload = verb.finish(
        409, problem, content_type="application/problem+json", upload_complete="?1"
    )
    assert upload.complete


def test_another_length_is_an_error() -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    with pytest.raises(ProtocolError, match="expects 99 bytes"):
        verb.answer(204, upload_offset="5", upload_length="99")


def test_a_lost_final_answer_is_fetched() -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    get = verb.answer(204, upload_offset="100", upload_complete="?1")
    assert get.method == "GET"
    upload = verb.finish(201, b"the answer", upload_complete="?1")
    assert upload.result is not None
    assert upload.result.content == b"the answer"


def test_a_lost_final_answer_is_asked_for_by_an_empty_append() -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    verb.answer(204, upload_offset="100", upload_complete="?1")
    patch = verb.answer(204, upload_offset="100", upload_complete="?1")
    assert (patch.method, patch.length) == ("PATCH", 0)
    assert patch.headers["upload-offset"] == "100"
    upload = verb.finish(201, b"the answer", upload_complete="?1")
    assert upload.result is not None
    assert upload.result.content == b"the answer"


def test_a_final_answer_that_nobody_has_any_more_is_said_to_be_lost() -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    verb.start()
    verb.answer(204, upload_offset="100", upload_complete="?1")
    verb.answer(404)
    problem = "application/problem+json"
    upload = verb.finish(400, upload_complete="?1", content_type=problem)
    assert upload.complete
    assert upload.result is not None
    assert upload.result.truncated


def test_gone_is_proven_by_the_answer_that_is_kept_longer() -> None:
    verb = Verb(RUFH().prove(created(phase="finishing")))
    verb.start()
    get = verb.answer(404)
    assert get.method == "GET"
    assert verb.finish(201, b"the answer", upload_complete="?1").complete


def test_gone_without_any_answer_stays_gone() -> None:
    verb = Verb(RUFH().prove(created(phase="finishing")))
    verb.start()
    verb.answer(404)
    with pytest.raises(UploadGone):
        verb.answer(404)


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_without_head_is_asked_by_get(status: int) -> None:
    verb = Verb(RUFH().retrieve_offset(created()))
    assert verb.start().method == "HEAD"
    asked = verb.answer(status)
    assert (asked.method, asked.url) == ("GET", RESOURCE)
    assert "upload-draft-interop-version" in asked.headers
    assert verb.finish(204, upload_offset="7", upload_complete="?0").offset == 7


@pytest.mark.parametrize("status", [200, 204, 404, 405, 410, 501])
def test_cancelled_is_whatever_is_gone(status: int) -> None:
    verb = Verb(RUFH().cancel(created()))  # type: ignore[arg-type]  # no result
    assert verb.start().method == "DELETE"
    with pytest.raises(StopIteration):
        verb.answer(status)


def test_a_104_is_durable_and_progress_is_only_remembered() -> None:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))
    watch = verb.start().on_interim
    assert watch is not None
    saved = watch(interim(upload_draft_interop_version="9", location="/files/1"))
    assert isinstance(saved, Save)
    assert (saved.upload.resource, saved.durable) == (RESOURCE, True)
    moved = watch(interim(upload_draft_interop_version="9", upload_offset="40"))
    assert isinstance(moved, Save)
    assert (moved.upload.offset, moved.durable) == (40, False)
    assert moved.upload.resource == RESOURCE


@pytest.mark.parametrize(
    ("dialect", "version", "counts"),
    [
        ("9", "9", True),
        ("9", "8", False),
        ("9", None, False),
        ("10", "10", True),
        ("rfc", None, True),
        ("rfc", "9", False),
    ],
)
def test_only_a_104_of_our_own_dialect_counts(
    dialect: str, version: str | None, counts: bool
) -> None:
    session = OPTIMISTIC | {"dialect": dialect}
    verb = Verb(RUFH(dialect).create(upload_of(100, session=session)))
    watch = verb.start().on_interim
    assert watch is not None
    headers = {"location": "/files/1"}
    if version is not None:
        headers["upload_draft_interop_version"] = version
    assert (watch(interim(**headers)) is not None) == counts


def test_other_interim_answers_are_ignored() -> None:
    watch = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC))).start().on_interim
    assert watch is not None
    assert watch(interim(103, location="/files/1")) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"location": "http://other.test/"},
        {"location": "/files/1", "upload_limit": "max-size=99"},
        {"location": "/files/1", "upload_offset": "101"},
    ],
)
def test_a_104_that_cannot_be_followed_aborts(headers: dict[str, str]) -> None:
    watch = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC))).start().on_interim
    assert watch is not None
    headers["upload_draft_interop_version"] = "9"
    assert isinstance(watch(interim(**headers)), Abort)


def test_two_104s_that_name_two_resources_abort() -> None:
    watch = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC))).start().on_interim
    assert watch is not None
    watch(interim(upload_draft_interop_version="9", location="/files/1"))
    second = watch(interim(upload_draft_interop_version="9", location="/files/2"))
    assert isinstance(second, Abort)


def test_the_dialect_of_a_104_is_remembered_also_when_the_link_dies() -> None:
    verb = Verb(RUFH().create(upload_of(100, session=OPTIMISTIC)))
    watch = verb.start().on_interim
    assert watch is not None
    watch(interim(upload_draft_interop_version="8", location="/files/1"))
    with pytest.raises(TransportError):
        verb.fail(TransportError("cut"))
    assert [(r.key, r.value) for r in verb.remembered] == [(INTERIM_FACT, "8")]


@pytest.mark.parametrize(
    ("protocol", "seen", "optimistic", "dialect"),
    [
        (RUFH(), None, False, "9"),
        (RUFH(), "9", True, "9"),
        (RUFH(), "8", True, "8"),
        (RUFH(10), "9", False, "10"),
        (RUFH(10), "10", True, "10"),
        (RUFH(creation="careful"), "9", False, "9"),
        (RUFH(creation="optimistic"), None, True, "9"),
    ],
)
def test_creation_is_optimistic_only_where_it_is_known_to_work(
    protocol: RUFH, seen: str | None, optimistic: bool, dialect: str
) -> None:
    upload = prepared(protocol, upload_of(100), seen=seen)
    assert upload.session["optimistic"] is optimistic
    assert upload.session["dialect"] == dialect


def test_creation_is_careful_where_interim_answers_are_not_shown() -> None:
    flow = RUFH().prepare(upload_of(100), interims=False)
    upload = result_of(flow, {INTERIM_FACT: "9"})
    assert upload.session["optimistic"] is False


def test_lengths_beyond_what_a_header_can_spell_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="999999999999999"):
        prepared(RUFH(), upload_of(10**15))


@pytest.mark.parametrize("dialect", [4, 11, "x"])
def test_unknown_dialects_are_refused(dialect: int | str) -> None:
    with pytest.raises(InvalidParameter, match="dialect"):
        RUFH(dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_options_make_the_same_instance_again(dialect: str) -> None:
    protocol = RUFH(dialect, creation="careful", expect_continue=True)
    assert RUFH.from_options(protocol.options()).options() == protocol.options()


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="rufh"):
        RUFH.from_options({"colour": "red"})
