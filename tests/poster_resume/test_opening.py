"""How a call meets what is kept of its upload; the network is answered by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tenacity

from poster_resume.arguments import Arguments
from poster_resume.errors import (
    NotResumable,
    OutcomeUnknown,
    ServerBusy,
    SourceChanged,
    StoreError,
    TransportError,
    Unauthorized,
    UploadBusy,
    UploadError,
)
from poster_resume.flow import (
    Claim,
    Effect,
    Flow,
    Instant,
    Now,
    Reply,
    Report,
    Request,
    Response,
    Sleep,
    T,
)
from poster_resume.opening import (
    Opened,
    cancelling,
    opening,
    probing,
)
from poster_resume.performing import Workbench
from poster_resume.protocols import RUFH, Oneshot, Tus
from poster_resume.responses import FinalResponse
from poster_resume.retry import RetryPolicy
from poster_resume.session import Rules
from poster_resume.stores import MemoryStore
from poster_resume.upload import Upload

from .test_arguments import TARGET, given

RESOURCE = "https://example.test/files/1"
ONCE = RetryPolicy(stop=tenacity.stop_after_attempt(1), settle=0.0)


def tus(**others: Any) -> Arguments:
    """Return the arguments of a call that sends ten bytes."""
    defaults: dict[str, Any] = {"content": b"0123456789", "protocol": Tus()}
    return given(**(defaults | others))


class Met:
    """One call, opened over what *store* keeps; *answers* are statuses or errors."""

    def __init__(self, store: MemoryStore, *answers: int | Response | UploadError):
        self.store, self._answers = store, list(answers)
        self.asked: list[str] = []
        self.slept: list[float] = []
        self.attempts: list[int] = []
        self.claims = 0
        self.time = 0.0

    def open(
        self, arguments: Arguments, new_id: str = "u1", assume: Any = None
    ) -> Opened:
        bench = Workbench(arguments, self.store)
        try:
            flow = opening(arguments.call(new_id, assume), Rules(policy=ONCE))
            return self.run(flow, bench)
        finally:
            bench.close()

    def run(self, flow: Flow[T], bench: Workbench | None = None) -> T:
        effect = next(flow)
        try:
            while True:
                try:
                    reply = self._perform(effect, bench)
                except UploadError as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _perform(self, effect: Effect, bench: Workbench | None) -> Reply:
        match effect:
            case Request():
                self.asked.append(f"{effect.method} {effect.url}")
                self.attempts.append(effect.attempt)
                answer = self._answers.pop(0)
                if isinstance(answer, UploadError):
                    raise answer
                return Response(answer) if isinstance(answer, int) else answer
            case Now():
                return Instant(self.time, self.time)
            case Sleep(seconds):
                self.slept.append(seconds)
                self.time += seconds
                return None
            case Report():
                return None
            case Claim():
                self.claims += 1
            case _:
                pass
        assert bench is not None
        return bench.perform(effect)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def kept(store: MemoryStore, **changes: Any) -> Upload:
    """Open an upload, and keep it as *changes* say."""
    arguments = tus(key=changes.get("key"))
    upload = Met(store).open(arguments).upload.evolve(**changes)
    store.save(upload)
    return upload


def delivered(store: MemoryStore, status: int = 201, **changes: Any) -> Upload:
    final = {"phase": "complete", "delivered": True, "result": FinalResponse(status)}
    return kept(store, **(final | {"updated": 0.0, "offset": 10} | changes))


def test_everything_is_kept_before_anything_is_sent(store: MemoryStore) -> None:
    arguments = tus(protocol=RUFH(10), metadata={"a": "b"})
    opened = Met(store).open(arguments)
    upload = store.load("u1")
    assert upload is not None
    assert (upload.protocol, upload.options["dialect"]) == ("rufh", "10")
    assert (upload.phase, upload.length, upload.metadata) == ("new", 10, {"a": "b"})
    assert store.load_plan(upload.plan_digest) is not None
    assert opened.plan is not None


def test_the_same_call_goes_on_with_what_it_began(store: MemoryStore) -> None:
    kept(store, resource=RESOURCE, phase="sending", offset=4)
    opened = Met(store).open(tus(), "u2")
    assert (opened.upload.id, opened.upload.offset) == ("u1", 4)
    assert opened.plan is not None


# -- outcomes that were delivered ---


def test_a_delivered_upload_is_a_new_one_next_time(store: MemoryStore) -> None:
    delivered(store)
    assert Met(store).open(tus(), "u2").upload.id == "u2"


def test_an_outcome_that_nobody_got_is_returned(store: MemoryStore) -> None:
    delivered(store, delivered=False)
    opened = Met(store).open(tus(), "u2")
    assert (opened.upload.id, opened.plan) == ("u1", None)


@pytest.mark.parametrize(("late", "upload_id"), [(0, "u1"), (1, "u2")])
def test_with_a_key_an_outcome_is_returned_for_seven_days(
    store: MemoryStore, late: float, upload_id: str
) -> None:
    delivered(store, key="k")
    met = Met(store)
    met.time = 7 * 86400.0 + late
    assert met.open(tus(key="k"), "u2").upload.id == upload_id


@pytest.mark.parametrize(("status", "upload_id"), [(399, "u1"), (400, "u2")])
def test_with_a_key_what_was_rejected_is_sent_again(
    store: MemoryStore, status: int, upload_id: str
) -> None:
    delivered(store, status, key="k")
    assert Met(store).open(tus(key="k"), "u2").upload.id == upload_id


def test_by_its_id_an_outcome_is_returned_whenever(store: MemoryStore) -> None:
    delivered(store)
    loaded = tus(upload_id="u1")
    assert Met(store).open(loaded, "u2").upload.id == "u1"


# -- one sender ---


def test_waiting_for_a_claim_ends_with_the_last_moment(store: MemoryStore) -> None:
    store.claim(kept(store).identity)
    met = Met(store)
    with pytest.raises(UploadBusy):
        met.open(tus(wait=0.4))
    assert (met.claims, met.slept) == (3, [0.2, 0.2])


def test_an_upload_by_its_id_is_claimed_too(store: MemoryStore) -> None:
    store.claim(kept(store).identity)
    with pytest.raises(UploadBusy):
        Met(store).open(tus(upload_id="u1"))


def test_what_its_last_sender_left_of_an_upload_is_gone_on_with(
    store: MemoryStore,
) -> None:
    upload = kept(store).evolve(phase="sending", resource=RESOURCE, offset=7)
    met = _Sending(store, upload)
    assert met.open(tus(upload_id="u1", wait=1)).upload.offset == 7


class _Sending(Met):
    """A call that waits for another one, which ends with *outcome* meanwhile."""

    def __init__(self, store: MemoryStore, outcome: Upload) -> None:
        super().__init__(store)
        self._outcome = outcome
        store.claim(outcome.identity)

    def _perform(self, effect: Effect, bench: Workbench | None) -> Reply:
        if isinstance(effect, Sleep):
            self.store.save(self._outcome)
            self.store.release(self._outcome.identity)
        return super()._perform(effect, bench)


def ended(upload: Upload, status: int = 201) -> Upload:
    return upload.evolve(
        phase="complete", offset=10, delivered=True, result=FinalResponse(status)
    )


@pytest.mark.parametrize(("status", "upload_id"), [(201, "u1"), (400, "u2")])
def test_an_outcome_that_was_waited_for_is_ones_own_unless_it_is_a_rejection(
    store: MemoryStore, status: int, upload_id: str
) -> None:
    upload = kept(store)
    met = _Sending(store, ended(upload, status))
    assert met.open(tus(wait=1), "u2").upload.id == upload_id


def test_an_outcome_that_was_there_before_waiting_is_not_ones_own(
    store: MemoryStore,
) -> None:
    met = _Sending(store, delivered(store))
    assert met.open(tus(wait=1), "u2").upload.id == "u2"


def test_a_later_upload_that_was_waited_for_is_ones_own(store: MemoryStore) -> None:
    before = delivered(store)
    met = _Sending(store, before.evolve(id="u3"))
    assert met.open(tus(wait=1), "u2").upload.id == "u3"


# -- keys ---


def test_under_a_key_the_target_may_change_and_is_kept(store: MemoryStore) -> None:
    kept(store, key="k", phase="sending", resource=RESOURCE)
    Met(store).open(tus(target=f"{TARGET}?token=2", key="k"), "u2")
    upload = store.load("u1")
    assert upload is not None
    assert upload.target == f"{TARGET}?token=2"


def test_by_its_id_an_upload_keeps_its_target(store: MemoryStore) -> None:
    kept(store, key="k", phase="sending", resource=RESOURCE)
    loaded = tus(target=f"{TARGET}?token=2", upload_id="u1")
    assert Met(store).open(loaded, "u2").upload.target == TARGET


# -- what the caller settles ---


def test_what_is_taken_for_complete_is_kept_so(store: MemoryStore) -> None:
    kept(store, phase="unknown", resource=RESOURCE, offset=4)
    met = Met(store)
    opened = met.open(tus(), assume="complete")
    assert (opened.upload.complete, opened.plan, met.asked) == (True, None, [])
    upload = store.load("u1")
    assert upload is not None
    assert upload.result is not None
    assert (upload.phase, upload.offset) == ("complete", 10)
    assert (upload.result.status_code, upload.result.truncated) == (0, True)


@pytest.mark.parametrize("answer", [204, TransportError("nobody is there")])
def test_what_is_taken_for_lost_is_removed_if_it_can_be(
    store: MemoryStore, answer: int | UploadError
) -> None:
    kept(store, phase="unknown", resource=RESOURCE, offset=4)
    met = Met(store, answer)
    opened = met.open(tus(), assume="lost")
    assert met.asked == [f"DELETE {RESOURCE}"]
    upload = store.load("u1")
    assert upload == opened.upload.evolve(updated=upload.updated if upload else 0)
    assert (upload.phase, upload.resource, upload.offset) == ("new", None, 0)


def test_the_server_is_asked_before_the_caller_is_believed(
    store: MemoryStore,
) -> None:
    kept(store, phase="finishing", resource=RESOURCE, offset=4)
    met = Met(store, Response(200, {"upload-offset": "10"}))
    opened = met.open(tus(), assume="lost")
    assert met.asked == [f"HEAD {RESOURCE}"]
    assert (opened.upload.complete, opened.plan) == (True, None)


def test_of_what_the_server_forgot_the_caller_is_believed(store: MemoryStore) -> None:
    kept(store, phase="finishing", resource=RESOURCE, offset=4)
    met = Met(store, 404, 404)
    assert met.open(tus(), assume="complete").upload.complete


# -- plans and sources ---


def test_a_plan_that_is_missing_says_what_to_do(store: MemoryStore) -> None:
    kept(store, plan_digest="0" * 64)
    with pytest.raises(StoreError, match="poster cancel u1") as error:
        Met(store).open(tus(on_change="restart"), "u2")
    assert error.value.upload_id == "u1"


def test_a_plan_of_another_length_is_not_sent(store: MemoryStore) -> None:
    kept(store, length=11)
    with pytest.raises(StoreError, match="does not fit"):
        Met(store).open(tus(), "u2")


@pytest.fixture
def changed(store: MemoryStore, tmp_path: Path) -> Path:
    """Keep the upload of a file, half of which is sent; then change the file."""
    file = tmp_path / "f"
    file.write_bytes(b"0123456789")
    upload = Met(store).open(tus(content=file)).upload
    store.save(upload.evolve(phase="sending", resource=RESOURCE, offset=5))
    file.write_bytes(b"other content")
    return file


def test_a_changed_file_is_told_and_nothing_is_given_up(
    store: MemoryStore, changed: Path
) -> None:
    met = Met(store)
    with pytest.raises(SourceChanged) as error:
        met.open(tus(content=changed), "u2")
    assert (error.value.upload_id, met.asked) == ("u1", [])
    assert store.load("u1") is not None


def test_a_changed_file_may_replace_what_was_sent_of_it(
    store: MemoryStore, changed: Path
) -> None:
    met = Met(store, 204)
    opened = met.open(tus(content=changed, on_change="restart"), "u2")
    assert (opened.upload.id, opened.upload.length) == ("u2", 13)
    assert met.asked == [f"DELETE {RESOURCE}"]
    assert [each.id for each in store.list()] == ["u2"]


def test_a_changed_file_replaces_nothing_that_was_named_by_its_id(
    store: MemoryStore, changed: Path
) -> None:
    with pytest.raises(SourceChanged):
        Met(store).open(tus(content=changed, on_change="restart", upload_id="u1"), "u2")
    assert store.load("u1") is not None


@pytest.mark.parametrize("phase", ["finishing", "unknown"])
def test_what_may_be_complete_is_not_replaced_unasked(
    store: MemoryStore, changed: Path, phase: str
) -> None:
    upload = store.load("u1")
    assert upload is not None
    store.save(upload.evolve(phase=phase))
    met = Met(store, 404, 404)
    with pytest.raises(OutcomeUnknown) as error:
        met.open(tus(content=changed, on_change="restart"), "u2")
    assert error.value.upload_id == "u1"
    met = Met(store, Response(200, {"upload-offset": "10"}))
    opened = met.open(tus(content=changed, on_change="restart"), "u2")
    assert (opened.upload.id, opened.upload.complete) == ("u1", True)
    assert met.asked == [f"HEAD {RESOURCE}"]


def test_what_nobody_can_find_again_is_sent_anew(store: MemoryStore) -> None:
    kept(store, plan_digest="", phase="sending", resource=RESOURCE)
    met = Met(store, 204)
    assert met.open(tus(), "u2").upload.id == "u2"
    assert met.asked == [f"DELETE {RESOURCE}"]
    assert [each.id for each in store.list()] == ["u2"]


def test_what_nobody_can_find_again_is_kept_if_it_was_named(
    store: MemoryStore,
) -> None:
    kept(store, plan_digest="", phase="sending", resource=RESOURCE)
    with pytest.raises(StoreError, match="only its own process had"):
        Met(store).open(tus(upload_id="u1"), "u2")
    assert store.load("u1") is not None


# -- forgetting ---


def forgotten(met: Met, *, tell_server: bool) -> Upload | None:
    bench = Workbench(tus(), met.store)
    call = tus().call("u2", None)
    rules = Rules(policy=ONCE)
    try:
        return met.run(cancelling(call, rules, tell_server=tell_server), bench)
    finally:
        bench.close()


@pytest.mark.parametrize("tell_server", [True, False])
def test_a_server_is_told_what_is_forgotten_if_it_is_to_be(
    store: MemoryStore, tell_server: bool
) -> None:
    kept(store, phase="sending", resource=RESOURCE)
    met = Met(store, 204)
    upload = forgotten(met, tell_server=tell_server)
    assert upload is not None
    assert upload.id == "u1"
    assert met.asked == [f"DELETE {RESOURCE}"] * tell_server
    assert list(store.list()) == []


def test_what_is_complete_is_forgotten_here_alone(store: MemoryStore) -> None:
    delivered(store, resource=RESOURCE)
    met = Met(store)
    assert forgotten(met, tell_server=True) is not None
    assert (met.asked, list(store.list())) == ([], [])


def test_what_a_server_would_not_remove_is_kept(store: MemoryStore) -> None:
    kept(store, phase="sending", resource=RESOURCE)
    with pytest.raises(UploadError):
        forgotten(Met(store, 500), tell_server=True)
    assert store.load("u1") is not None


# -- asking what a server speaks ---


def test_what_can_be_resumed_may_be_required_of_a_server(store: MemoryStore) -> None:
    auto = given(content=b"0123456789", require_resumable=True)
    with pytest.raises(NotResumable, match="the server speaks no resumable protocol"):
        Met(store, 404).open(auto)
    speaks_tus = Response(204, {"tus-version": "1.0.0"})
    assert Met(store, speaks_tus).open(auto).protocol.name == "tus"
    plain = tus(protocol=Oneshot(), require_resumable=True)
    with pytest.raises(NotResumable, match="one plain request cannot be resumed"):
        Met(MemoryStore()).open(plain)


def test_patience_with_a_question_ends(store: MemoryStore) -> None:
    twice = RetryPolicy(
        stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_fixed(5)
    )
    met = Met(store, 503, 503)
    with pytest.raises(ServerBusy):
        met.run(probing(TARGET, Rules(policy=twice)))
    assert (len(met.asked), met.slept) == (2, [5])
    met = Met(store, 503)
    with pytest.raises(UploadError):
        met.run(probing(TARGET, Rules(policy=twice, deadline=5)))
    assert (len(met.asked), met.slept) == (1, [])


def test_other_credentials_are_tried_once_for_a_question(store: MemoryStore) -> None:
    met = Met(store, 401, 401)
    with pytest.raises(Unauthorized):
        met.run(probing(TARGET, Rules(policy=ONCE, refreshable=True)))
    assert met.attempts == [1, 2]
    met = Met(store, 401)
    with pytest.raises(Unauthorized):
        met.run(probing(TARGET, Rules(policy=ONCE)))
    assert len(met.asked) == 1
