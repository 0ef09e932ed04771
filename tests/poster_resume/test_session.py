"""The session, answered by hand."""

from __future__ import annotations

import pytest
import tenacity

from poster_resume.errors import (
    ConnectError,
    ContentTooLarge,
    DeadlineExceeded,
    OffsetMismatch,
    OutcomeUnknown,
    ProtocolError,
    RedirectRefused,
    ServerBusy,
    TransportError,
    Unauthorized,
    UploadError,
    UploadRejected,
    UploadTooLarge,
)
from poster_resume.flow import (
    Check,
    Effect,
    Flow,
    Instant,
    Interim,
    Now,
    Recall,
    Remember,
    Reply,
    Report,
    Request,
    Response,
    Save,
    Sleep,
)
from poster_resume.progress import Event
from poster_resume.protocols import RUFH, Limits, Oneshot, Tus, UploadProtocol
from poster_resume.ranges import ByteRange
from poster_resume.retry import RetryPolicy
from poster_resume.session import MAX_REDIRECTS, Rules, Session, next_append
from poster_resume.upload import Upload

TARGET = "https://example.test/files"
RESOURCE = "https://example.test/files/1"
MIB = 1024 * 1024


def upload_of(length: int, protocol: str = "tus", **changes: object) -> Upload:
    upload = Upload(
        id="u1",
        protocol=protocol,
        target=TARGET,
        length=length,
        content_type="text/plain",
    )
    return upload.evolve(**changes)


class Played:
    """A session whose requests are answered by hand; the rest is performed here."""

    def __init__(
        self, upload: Upload, protocol: UploadProtocol, **rules: object
    ) -> None:
        defaults: dict[str, object] = {
            "policy": RetryPolicy(
                stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_fixed(2)
            )
        }
        given = Rules(**{**defaults, **rules})  # type: ignore[arg-type]  # by name
        self.session = Session(upload, protocol, given)
        self.flow: Flow[Upload] = self.session.run()
        self.saved: list[Upload] = []
        self.events: list[Event] = []
        self.slept: list[float] = []
        self.checks = 0
        self.time = 0.0
        self.result: Upload | None = None

    def start(self) -> Request:
        return self._until_request(next(self.flow))

    def answer(self, status: int, sent: int | None = None, **headers: str) -> Request:
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._until_request(
            self.flow.send(Response(status, spelled, sent=sent, wall=self.time))
        )

    def fail(self, error: UploadError) -> Request:
        return self._until_request(self.flow.throw(error))

    def finish(self, status: int, sent: int | None = None, **headers: str) -> Upload:
        with pytest.raises(StopIteration) as stop:
            self.answer(status, sent, **headers)
        result: Upload = stop.value.value
        return result

    def _until_request(self, effect: Effect) -> Request:
        while not isinstance(effect, Request):
            effect = self.flow.send(self._perform(effect))
        return effect

    def _perform(self, effect: Effect) -> Reply:
        match effect:
            case Save(upload):
                self.saved.append(upload)
            case Report(event):
                self.events.append(event)
            case Sleep(seconds):
                self.slept.append(seconds)
                self.time += seconds
            case Check():
                self.checks += 1
            case Now():
                return Instant(self.time, self.time)
            case Recall() | Remember():
                pass
            case _:
                raise AssertionError(effect)
        return None

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def cut(sent: int | None) -> TransportError:
    error = TransportError("reset")
    error.sent = sent
    return error


def test_the_resource_is_saved_before_the_first_byte_of_content() -> None:
    played = Played(upload_of(10), Tus())
    create = played.start()
    assert (create.method, create.url, create.content) == (
        "POST",
        TARGET,
        ByteRange(0, 0),
    )
    append = played.answer(201, location="/files/1")
    assert played.saved[-1].resource == RESOURCE
    assert (append.method, append.content) == ("PATCH", ByteRange(0, 10))
    assert played.finish(204, upload_offset="10").complete


def test_finishing_is_saved_and_sources_are_checked_before_the_end_goes_out() -> None:
    played = Played(upload_of(10), Tus(), chunk_size=6)
    played.start()
    played.answer(201, location="/files/1")
    assert [u.phase for u in played.saved][-1] == "sending"
    assert played.checks == 0
    last = played.answer(204, upload_offset="6")
    assert last.content == ByteRange(6, 10)
    assert played.saved[-1].phase == "finishing"
    assert played.checks == 1


def test_after_a_break_the_offset_is_asked_for_until_two_answers_agree() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    head = played.fail(cut(7))
    assert head.method == "HEAD"
    assert played.slept == [2]
    head = played.answer(200, upload_offset="3")
    assert head.method == "HEAD"
    head = played.answer(200, upload_offset="5")
    assert head.method == "HEAD"
    append = played.answer(200, upload_offset="5")
    assert append.content == ByteRange(5, 10)


def test_the_wait_after_a_break_is_never_shorter_than_settle() -> None:
    policy = RetryPolicy(wait=tenacity.wait_none(), settle=0.5)
    played = Played(upload_of(10), Tus(), policy=policy)
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(7))
    assert played.slept == [0.5]


def test_a_break_before_the_last_byte_left_is_not_finishing_any_more() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(9))
    assert played.saved[-1].phase == "sending"


def test_a_break_after_the_last_byte_left_stays_finishing() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(10))
    assert played.saved[-1].phase == "finishing"


@pytest.mark.parametrize("after", ["lost", "busy"])
def test_a_question_that_fails_does_not_unsay_the_content_before_it(after: str) -> None:
    played = Played(upload_of(100), Tus())
    played.start()
    played.answer(201, location="/files/1")
    question = played.answer(204, sent=100)  # it does not say how much it has
    assert question.method == "HEAD"
    if after == "lost":
        played.fail(cut(sent=0))
    else:
        played.answer(503, sent=0)
    assert played.saved[-1].phase == "finishing"
    assert played.finish(200, upload_offset="100").complete


def test_a_lost_last_answer_and_a_forgotten_upload_are_unknown() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(10))
    played.answer(404)  # the offset
    with pytest.raises(OutcomeUnknown, match="assume"):
        played.answer(404)  # the proof
    assert played.saved[-1].phase == "unknown"
    assert played.saved[-1].resource == RESOURCE


def test_an_upload_gone_midway_starts_over_with_an_event() -> None:
    played = Played(upload_of(10), Tus(), chunk_size=5)
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(2))
    create = played.answer(404)
    assert create.method == "POST"
    assert "restarted" in played.kinds


def test_on_gone_raise_keeps_the_upload() -> None:
    played = Played(upload_of(10), Tus(), chunk_size=5, on_gone="raise")
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(2))
    with pytest.raises(UploadError, match="404"):
        played.answer(404)
    assert played.saved[-1].resource == RESOURCE


def test_an_offset_that_goes_back_is_believed_once_with_a_warning() -> None:
    played = Played(upload_of(100), Tus(), chunk_size=50)
    played.start()
    played.answer(201, location="/files/1")
    played.answer(204, upload_offset="50")
    played.fail(cut(3))
    played.answer(200, upload_offset="40")
    append = played.answer(200, upload_offset="40")
    assert append.content.start == 40  # type: ignore[union-attr]  # a range
    assert "went_back" in played.kinds
    played.fail(cut(3))
    played.answer(200, upload_offset="30")
    with pytest.raises(ProtocolError, match="went back twice"):
        played.answer(200, upload_offset="30")


def test_a_server_that_claims_bytes_never_sent_is_not_believed() -> None:
    played = Played(upload_of(100), Tus(), chunk_size=50)
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(3))
    played.answer(200, upload_offset="60")
    with pytest.raises(ProtocolError, match="60 bytes, only 3"):
        played.answer(200, upload_offset="60")


def test_an_append_that_left_nothing_is_followed_by_a_quarter() -> None:
    played = Played(upload_of(100 * MIB), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(8 * MIB))
    played.answer(200, upload_offset="0")
    append = played.answer(200, upload_offset="0")
    assert append.content == ByteRange(0, 2 * MIB)
    assert played.saved[-1].append_size == 2 * MIB


def test_an_append_that_left_something_keeps_its_size() -> None:
    played = Played(upload_of(100 * MIB), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(8 * MIB))
    played.answer(200, upload_offset="5")
    append = played.answer(200, upload_offset="5")
    assert append.content == ByteRange(5, 100 * MIB)


def test_appends_shrink_to_256_kib_at_least() -> None:
    played = Played(upload_of(100 * MIB), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.fail(cut(MIB // 2))
    played.answer(200, upload_offset="0")
    append = played.answer(200, upload_offset="0")
    assert append.content == ByteRange(0, 256 * 1024)


def test_two_clean_appends_double_the_size() -> None:
    upload = upload_of(100 * MIB, append_size=MIB)
    played = Played(upload, Tus())
    played.start()
    played.answer(201, location="/files/1")
    second = played.answer(204, upload_offset=str(MIB))
    assert second.content == ByteRange(MIB, 2 * MIB)
    third = played.answer(204, upload_offset=str(2 * MIB))
    assert third.content == ByteRange(2 * MIB, 4 * MIB)


def test_413_halves_the_append_and_never_grows_back_to_it() -> None:
    played = Played(upload_of(16 * MIB), Tus(), chunk_size=4 * MIB)
    played.start()
    append = played.answer(201, location="/files/1")
    assert append.content == ByteRange(0, 4 * MIB)
    head = played.answer(413, sent=100)
    assert head.method == "HEAD"
    played.answer(200, upload_offset="0")
    append = played.answer(200, upload_offset="0")
    assert append.content == ByteRange(0, 2 * MIB)
    played.answer(204, upload_offset=str(2 * MIB))
    append = played.answer(204, upload_offset=str(4 * MIB))
    assert append.content == ByteRange(4 * MIB, 6 * MIB)


def test_413_for_a_single_byte_ends() -> None:
    played = Played(upload_of(2), Tus(), chunk_size=1)
    played.start()
    played.answer(201, location="/files/1")
    with pytest.raises(UploadTooLarge, match="even one byte"):
        played.answer(413)


def test_413_to_a_question_is_no_matter_of_size_and_ends() -> None:
    upload = upload_of(10, resource=RESOURCE, phase="sending", append_size=8)
    played = Played(
        upload, Tus(), policy=RetryPolicy(stop=tenacity.stop_after_attempt(3))
    )
    head = played.start()
    assert head.method == "HEAD"
    assert played.answer(413).method == "HEAD"
    assert played.answer(413).method == "HEAD"
    with pytest.raises(ContentTooLarge, match="retrieve offset"):
        played.answer(413)
    assert played.session.upload.append_size == 8


def test_a_401_asks_for_other_credentials_once() -> None:
    played = Played(upload_of(10), Tus(), refreshable=True)
    create = played.start()
    assert not create.rejected
    create = played.answer(401)
    assert create.rejected
    assert create.attempt == 2
    assert played.slept == []
    with pytest.raises(Unauthorized) as refused:
        played.answer(401)
    assert refused.value.resumable


def test_a_401_between_appends_goes_on_from_the_offset() -> None:
    played = Played(upload_of(10), Tus(), refreshable=True, chunk_size=5)
    played.start()
    played.answer(201, location="/files/1")
    played.answer(204, upload_offset="5")
    head = played.answer(401, sent=2)
    assert head.method == "HEAD"
    assert head.rejected
    head = played.answer(200, upload_offset="5")
    assert not head.rejected
    append = played.answer(200, upload_offset="5")
    assert append.content == ByteRange(5, 10)
    with pytest.raises(Unauthorized):
        played.answer(401)
    assert played.saved[-1].resource == RESOURCE


def test_without_a_callable_a_401_ends_and_keeps_the_upload() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    with pytest.raises(Unauthorized) as refused:
        played.answer(401, sent=3)
    assert refused.value.resumable
    assert played.saved[-1].resource == RESOURCE
    assert played.saved[-1].phase == "sending"


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_keep_method_and_range_and_drop_credentials(status: int) -> None:
    played = Played(upload_of(10), Tus())
    create = played.start()
    assert create.credentials
    moved = played.answer(status, location="https://other.test/files")
    assert (moved.method, moved.content) == ("POST", create.content)
    assert moved.url == "https://other.test/files"
    assert not moved.credentials
    append = played.answer(201, location="/files/1")
    assert append.url == "https://other.test/files/1"


def test_trusted_origins_get_credentials() -> None:
    rules = {"trusted_origins": ("https://other.test",)}
    played = Played(upload_of(10), Tus(), **rules)
    played.start()
    assert played.answer(307, location="https://other.test/files").credentials


def test_redirects_end() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    for hop in range(MAX_REDIRECTS):
        played.answer(307, location=f"/files/{hop}")
    with pytest.raises(RedirectRefused, match="more than 5"):
        played.answer(307, location="/files/again")


@pytest.mark.parametrize(
    "location",
    [
        "http://other.test/files",
        "file:///etc/passwd",
        "ftp://example.test/",
        "https://user:secret@example.test/files",
        "https://example.test/files\r\nx: y",
    ],
)
def test_a_redirect_never_gives_up_tls_or_leaves_http(location: str) -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    with pytest.raises(RedirectRefused) as refused:
        played.answer(307, location=location)
    assert "secret" not in str(refused.value)


def test_an_http_location_on_the_same_host_is_upgraded() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    append = played.answer(201, location="http://example.test/files/1")
    assert append.url == RESOURCE


def test_an_error_status_that_stored_everything_is_not_the_end() -> None:
    played = Played(upload_of(10), Tus(), chunk_size=5)
    played.start()
    played.answer(201, location="/files/1")
    head = played.answer(400, sent=5)
    assert head.method == "HEAD"
    played.answer(200, upload_offset="5")
    append = played.answer(200, upload_offset="5")
    assert append.content == ByteRange(5, 10)


def test_an_error_status_that_stored_nothing_is_the_end() -> None:
    played = Played(upload_of(10), Tus(), chunk_size=5)
    played.start()
    played.answer(201, location="/files/1")
    played.answer(422, sent=5)
    played.answer(200, upload_offset="0")
    with pytest.raises(UploadRejected, match="422"):
        played.answer(200, upload_offset="0")


def test_success_with_nothing_stored_is_not_believed() -> None:
    played = Played(upload_of(10), Tus(), chunk_size=5)
    played.start()
    played.answer(201, location="/files/1")
    for _ in range(4):
        played.answer(204, upload_offset="0")
        played.answer(200, upload_offset="0")
        played.answer(200, upload_offset="0")
    with pytest.raises(OffsetMismatch, match="kept nothing"):
        played.answer(204, upload_offset="0")


def test_patience_is_renewed_by_progress() -> None:
    played = Played(upload_of(1000), Tus(), chunk_size=10)
    played.start()
    played.answer(201, location="/files/1")
    for done in range(50):
        played.fail(cut(5))
        played.answer(200, upload_offset=str(done + 1))
        played.answer(200, upload_offset=str(done + 1))
    assert played.saved[-1].offset == 50


def test_patience_ends_without_progress() -> None:
    played = Played(upload_of(1000), Tus())
    played.start()
    for _ in range(4):
        played.answer(503)
    with pytest.raises(ServerBusy):
        played.answer(503)


def impatient() -> Played:
    """Return a session that bears a minute without progress, while it sends."""
    policy = RetryPolicy(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_none())
    played = Played(upload_of(1000), Tus(), policy=policy)
    played.start()
    played.answer(201, location="/files/1")
    return played


def test_an_append_that_breaks_after_hours_does_not_end_patience() -> None:
    played = impatient()
    played.time += 5 * 3600
    assert played.fail(cut(500)).method == "HEAD"
    # The server is out of reach: only from now on it counts.
    played.time += 30
    assert played.fail(ConnectError("no network")).method == "HEAD"
    played.time += 60
    with pytest.raises(ConnectError):
        played.fail(ConnectError("no network"))


def test_appends_that_achieve_nothing_end_patience() -> None:
    played = impatient()
    for _ in range(2):
        played.time += 50
        assert played.fail(cut(5)).method == "HEAD"
        for _ in range(2):
            played.answer(200, upload_offset="0")
    played.time += 50
    with pytest.raises(TransportError):
        played.fail(cut(5))


def test_a_retry_after_date_is_by_the_servers_clock() -> None:
    """Ours may be years off."""
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(
        503,
        retry_after="Thu, 01 Jan 2026 00:00:30 GMT",
        date="Thu, 01 Jan 2026 00:00:00 GMT",
    )
    assert played.slept == [30.0]


@pytest.mark.parametrize(
    ("spelled", "seconds"),
    [("0", 0.5), ("9", 9.0), ("Thu, 01 Jan 1970 00:00:30 GMT", 30.0), ("soon", 2)],
)
def test_retry_after_wins_over_the_backoff(spelled: str, seconds: float) -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(503, retry_after=spelled)
    assert played.slept == [seconds]


def test_a_retry_after_of_years_is_an_error_that_states_the_time() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    with pytest.raises(ServerBusy, match="99999999") as busy:
        played.answer(503, retry_after="99999999")
    assert busy.value.resumable


def test_nothing_begins_after_the_deadline() -> None:
    played = Played(upload_of(10), Tus(), deadline=3.0)
    played.start()
    played.answer(503, retry_after="2")
    with pytest.raises(DeadlineExceeded):
        played.answer(503, retry_after="2")


def test_an_interim_answer_is_remembered_when_the_link_dies() -> None:
    protocol = RUFH(creation="optimistic")
    played = Played(upload_of(1000, "rufh"), protocol, interims=True)
    create = played.start()
    assert create.content == ByteRange(0, 1000)
    assert create.on_interim is not None
    saved = create.on_interim(interim_104())
    assert isinstance(saved, Save)
    assert saved.upload.resource == RESOURCE
    assert saved.durable
    head = played.fail(cut(400))
    assert (head.method, head.url) == ("HEAD", RESOURCE)
    played.answer(204, upload_offset="300", upload_complete="?0")
    append = played.answer(204, upload_offset="300", upload_complete="?0")
    assert append.content == ByteRange(300, 1000)


def interim_104() -> Interim:
    headers = {"location": "/files/1", "upload-draft-interop-version": "9"}
    return Interim(104, headers)


def test_an_optimistic_creation_that_broke_early_is_repeated_carefully() -> None:
    played = Played(upload_of(1000, "rufh"), RUFH(creation="optimistic"), interims=True)
    played.start()
    create = played.fail(cut(400))
    assert (create.method, create.content) == ("POST", ByteRange(0, 0))
    assert create.headers["upload-complete"] == "?0"


def test_an_optimistic_creation_whose_answer_is_lost_is_unknown() -> None:
    played = Played(upload_of(1000, "rufh"), RUFH(creation="optimistic"), interims=True)
    played.start()
    with pytest.raises(OutcomeUnknown):
        played.fail(cut(1000))
    assert played.saved[-1].phase == "unknown"


@pytest.mark.parametrize("replay", ["never", "incomplete", "always"])
def test_a_plain_request_with_a_lost_answer(replay: str) -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot(replay=replay), closing=4)  # type: ignore[arg-type]  # parametrised
    played.start()
    assert played.saved[-1].phase == "finishing"
    if replay != "always":
        with pytest.raises(OutcomeUnknown):
            played.fail(cut(10))
        return
    again = played.fail(cut(10))
    assert again.content == ByteRange(0, 10)


@pytest.mark.parametrize("replay", ["never", "incomplete", "always"])
def test_a_plain_request_cut_in_the_middle(replay: str) -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot(replay=replay))  # type: ignore[arg-type]  # parametrised
    played.start()
    if replay == "never":
        with pytest.raises(TransportError, match='replay="incomplete"'):
            played.fail(cut(9))
        assert played.saved[-1].phase == "new"
        return
    assert played.fail(cut(9)).content == ByteRange(0, 10)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_answers_a_plain_form_is_its_outcome(status: int) -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot())
    played.start()
    upload = played.finish(status, location="/thanks")
    assert upload.result is not None
    assert upload.result.status_code == status


def test_an_abandoned_request_of_which_bytes_are_missing_is_not_finishing() -> None:
    played = Played(upload_of(10, "oneshot"), Oneshot())
    played.start()
    assert played.session.abandoned(9, 10).phase == "new"
    assert played.session.abandoned(10, 10).phase == "finishing"
    assert played.session.abandoned(None, 10).phase == "finishing"


def test_append_sizes_keep_every_limit() -> None:
    upload = upload_of(1000)
    assert next_append(upload, Limits()) == ByteRange(0, 1000)
    assert next_append(upload, Limits(max_append_size=300)) == ByteRange(0, 300)
    assert next_append(upload, Limits(min_append_size=200), 50) == ByteRange(0, 200)
    assert next_append(upload, Limits(multiple=256), 700) == ByteRange(0, 512)
    near_the_end = upload.evolve(offset=990)
    assert next_append(near_the_end, Limits(multiple=256)) == ByteRange(990, 1000)
    limits = Limits(default_append_size=100)
    assert next_append(upload, limits) == ByteRange(0, 100)
    learned = upload.evolve(append_size=64)
    assert next_append(learned, limits, 1000) == ByteRange(0, 64)


def test_a_chunk_size_bounds_what_a_creation_carries_too() -> None:
    protocol = RUFH(creation="optimistic")
    played = Played(upload_of(1000, "rufh"), protocol, interims=True, chunk_size=400)
    create = played.start()
    assert create.content == ByteRange(0, 0)
    append = played.answer(201, location="/files/1", upload_complete="?0")
    assert append.content == ByteRange(0, 400)


def test_the_end_is_told() -> None:
    played = Played(upload_of(10), Tus())
    played.start()
    played.answer(201, location="/files/1")
    played.finish(204, upload_offset="10")
    assert played.kinds[-1] == "complete"


@pytest.mark.parametrize(("length", "withheld"), [(64 * 1024, 0), (64 * 1024 + 1, 4)])
def test_the_closing_delimiter_of_large_plain_forms_is_withheld(
    length: int, withheld: int
) -> None:
    played = Played(upload_of(length, "oneshot"), Oneshot(), closing=4)
    assert played.start().withhold == withheld
    resumable = Played(upload_of(length), Tus(), closing=4)
    resumable.start()
    assert resumable.answer(201, location="/files/1").withhold == 0
