"""The main call, over real connections, in all three ways."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import tenacity

import poster_resume
from poster_resume import (
    RUFH,
    AsyncResumableUpload,
    DeadlineExceeded,
    InvalidParameter,
    NotResumable,
    Outcome,
    OutcomeUnknown,
    RequestInfo,
    ResumableUpload,
    RetryPolicy,
    SourceChanged,
    Tus,
    Unauthorized,
    UploadBusy,
    UploadError,
    UploadPaused,
    UploadRejected,
    plan_form,
    uploads,
)
from poster_resume.testing import (
    Answer,
    Behaviour,
    Cut,
    Head,
    Link,
    Receiver,
    Rule,
    Stall,
    drop_final_answer,
    refuse,
)

QUICK = RetryPolicy(
    stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_none(), settle=0.02
)
BACKENDS = ("blocking", "asyncio", "trio")
SIZE = 300_000


class Uploads:
    """Makes uploads of one kind, and runs what is asked of them."""

    def __init__(self, backend: str, state: Path) -> None:
        self.backend, self.state = backend, state

    def make(self, target: str, *args: Any, **options: Any) -> Any:
        kind = ResumableUpload if self.backend == "blocking" else AsyncResumableUpload
        defaults: dict[str, Any] = {"store": self.state, "retry": QUICK}
        return kind(target, *args, **(defaults | options))

    def run(self, method: Callable[..., Any], **options: Any) -> Any:
        if self.backend == "blocking":
            return method(**options)

        async def call() -> Any:
            return await method(**options)

        return anyio.run(call, backend=self.backend)

    def send(self, target: str, *args: Any, **options: Any) -> Outcome:
        outcome = self.run(self.make(target, *args, **options).send)
        assert isinstance(outcome, Outcome)
        return outcome

    def kept(self) -> list[poster_resume.UploadInfo]:
        return list(uploads(self.state))


@pytest.fixture(params=BACKENDS)
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Uploads:
    return Uploads(request.param, tmp_path / "state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scan.bin"
    path.write_bytes(bytes(i * 7 % 251 for i in range(SIZE)))
    return path


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "received") as server:
        yield server


def delivered_once(receiver: Receiver, file: Path) -> None:
    (delivery,) = receiver.deliveries
    assert delivery.count == 1
    if delivery.protocol != "tus":
        (part,) = [part for part in delivery.parts if part.name == "f"]
        assert part.length == SIZE
    content = delivery.read()
    assert file.read_bytes() in content


def form(file: Path) -> dict[str, object]:
    return {"title": "Holiday", "f": file}


@pytest.mark.parametrize("path", ["rufh", "form"])
def test_a_form_arrives_and_its_handler_answers(
    ours: Uploads, receiver: Receiver, file: Path, path: str
) -> None:
    outcome = ours.send(f"{receiver.url}/{path}", form(file))
    assert outcome.response.json()["length"] == outcome.upload.length
    assert outcome.verified == ("length" if path == "rufh" else "none")
    delivered_once(receiver, file)


def test_raw_content_goes_over_tus_where_auto_finds_it(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    outcome = ours.send(f"{receiver.url}/tus", content=file)
    assert outcome.upload.protocol == "tus"
    (delivery,) = receiver.deliveries
    assert delivery.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "filename" in delivery.metadata


def test_a_form_over_tus_is_its_file_and_metadata(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    ours.send(f"{receiver.url}/tus", form(file), protocol=Tus(form="file"))
    (delivery,) = receiver.deliveries
    assert delivery.read() == file.read_bytes()
    assert "title SG9saWRheQ==" in delivery.metadata


@pytest.mark.parametrize("path", ["rufh", "tus"])
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_a_link_that_is_cut_again_and_again_is_survived(
    ours: Uploads, receiver: Receiver, file: Path, path: str, how: Any
) -> None:
    protocol = Tus(form="multipart") if path == "tus" else RUFH()
    faults = repeat(Cut(after=60_000, how=how))
    with Link(receiver.port, faults) as link:
        target = f"http://127.0.0.1:{link.port}/{path}"
        ours.send(target, form(file), protocol=protocol)
    delivered_once(receiver, file)
    (upload,) = receiver.uploads
    assert upload.lowest_resent is None


def test_run_again_is_resume(ours: Uploads, receiver: Receiver, file: Path) -> None:
    target = f"{receiver.url}/rufh"
    events: list[str] = []
    receiver.script(refuse(503, after=100_000, method="PATCH", ending="reset"))
    never = RetryPolicy(stop=tenacity.stop_after_attempt(1))
    with pytest.raises(UploadError) as failed:
        ours.send(target, form(file), retry=never, chunk_size=50_000)
    assert failed.value.resumable
    assert failed.value.upload_id == ours.kept()[0].id
    ours.send(target, form(file), on_event=lambda event: events.append(event.kind))
    assert events[0] == "found"
    assert len(receiver.uploads) == 1
    delivered_once(receiver, file)


def test_a_complete_upload_is_a_new_one_next_time(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    for _ in range(2):
        ours.send(f"{receiver.url}/rufh", form(file))
    assert len(receiver.deliveries) == 2


def test_with_a_key_the_outcome_is_returned_again_until_forgotten(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    target = f"{receiver.url}/rufh"
    first = ours.send(target, form(file), key="k")
    again = ours.send(f"{target}?token=2", {**form(file), "title": "x"}, key="k")
    assert again.response == first.response
    assert len(receiver.deliveries) == 1
    ours.run(ours.make(target, form(file), key="k").forget)
    ours.send(target, form(file), key="k")
    assert len(receiver.deliveries) == 2


def test_pause_stops_and_send_goes_on(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    with Link(receiver.port, chain([Stall(after=100_000)])) as link:
        target = f"http://127.0.0.1:{link.port}/rufh"
        upload = ours.make(target, form(file))
        timer = threading.Timer(0.4, upload.pause)
        timer.start()
        with pytest.raises(UploadPaused):
            ours.run(upload.send)
        timer.join()
        assert upload.state is not None
        assert upload.state.resource is not None
        ours.run(upload.send)
    delivered_once(receiver, file)


def test_pause_without_a_send_does_nothing(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    upload = ours.make(f"{receiver.url}/rufh", form(file))
    upload.pause()
    ours.run(upload.send)
    delivered_once(receiver, file)


def test_cancel_removes_the_upload_here_and_there(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    target = f"{receiver.url}/rufh"
    receiver.script(refuse(403, after=100_000, method="PATCH"))
    upload = ours.make(target, form(file))
    with pytest.raises(Unauthorized):
        ours.run(upload.send)
    assert len(ours.kept()) == 1
    ours.run(upload.cancel)
    assert ours.kept() == []
    assert receiver.uploads[0].gone


def test_an_exception_in_a_callback_stops_resumably(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    def explode(event: object) -> None:
        raise ZeroDivisionError

    target = f"{receiver.url}/rufh"
    with pytest.raises(ZeroDivisionError):
        ours.send(target, form(file), on_event=explode)
    ours.send(target, form(file))
    delivered_once(receiver, file)


def test_a_changed_file_is_named_and_may_be_started_over(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    target = f"{receiver.url}/rufh"
    receiver.script(refuse(403, after=100_000, method="PATCH"))
    with pytest.raises(Unauthorized):
        ours.send(target, form(file))
    file.write_bytes(b"y" * (SIZE + 1))
    with pytest.raises(SourceChanged, match=r"scan\.bin") as changed:
        ours.send(target, form(file))
    assert changed.value.resumable
    ours.send(target, form(file), on_change="restart")
    assert receiver.uploads[0].gone
    assert len(receiver.deliveries) == 1


def test_a_file_that_shrinks_while_it_is_sent_is_never_finished(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    def shrink(event: poster_resume.Event) -> None:
        if event.kind == "acknowledged":
            file.write_bytes(b"z")

    with pytest.raises(SourceChanged, match=r"scan\.bin"):
        ours.send(
            f"{receiver.url}/rufh", form(file), chunk_size=100_000, on_event=shrink
        )
    assert receiver.deliveries == []


def test_an_upload_is_loaded_by_its_id(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    receiver.script(refuse(403, after=100_000, method="PATCH"))
    with pytest.raises(Unauthorized):
        ours.send(f"{receiver.url}/rufh", form(file))
    (info,) = ours.kept()
    kind = ResumableUpload if ours.backend == "blocking" else AsyncResumableUpload
    loaded = kind.load(info.id, store=ours.state, retry=QUICK)
    ours.run(loaded.send)
    delivered_once(receiver, file)


def test_an_unknown_id_is_said_to_be_unknown(ours: Uploads) -> None:
    kind = ResumableUpload if ours.backend == "blocking" else AsyncResumableUpload
    with pytest.raises(InvalidParameter, match="upload_id"):
        ours.run(kind.load("nothing", store=ours.state).send)


def test_headers_go_on_every_request_and_are_asked_for_anew_after_a_401(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    receiver.behaviour = Behaviour(tokens=("one", "two"), token_bytes=100_000)
    asked: list[RequestInfo] = []

    def headers(info: RequestInfo) -> dict[str, str]:
        asked.append(info)
        refused = sum(each.rejected for each in asked)
        return {"Authorization": f"Bearer {('one', 'two', 'two')[refused]}"}

    events: list[str] = []
    target = f"{receiver.url}/rufh"
    with pytest.raises(Unauthorized) as refused:
        # The second token ends too, before everything is there.
        ours.send(
            target,
            form(file),
            headers=headers,
            on_event=lambda e: events.append(e.kind),
        )
    assert refused.value.resumable
    assert "refreshed" in events
    assert {info.origin for info in asked} == {receiver.url}
    assert {"discover", "create", "append"} <= {info.purpose for info in asked}
    receiver.behaviour = Behaviour(tokens=("three",))
    ours.send(target, form(file), headers={"Authorization": "Bearer three"})
    assert len(receiver.uploads) == 1
    delivered_once(receiver, file)


def test_awaitable_headers_are_awaited(receiver: Receiver, file: Path) -> None:
    async def headers(info: RequestInfo) -> dict[str, str]:
        await anyio.lowlevel.checkpoint()
        return {"Authorization": "Bearer one"}

    receiver.behaviour = Behaviour(tokens=("one",))

    async def go() -> Outcome:
        target = f"{receiver.url}/rufh"
        return await AsyncResumableUpload(
            target, form(file), headers=headers, store=None
        ).send()

    assert anyio.run(go).response.is_success


def test_a_rejected_upload_is_an_error_with_its_answer(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    receiver.behaviour = Behaviour(final_status=422, final_content=b"too dull")
    target = f"{receiver.url}/rufh"
    with pytest.raises(UploadRejected) as rejected:
        ours.send(target, form(file))
    assert rejected.value.response.status_code == 422
    assert rejected.value.response.content == b"too dull"
    assert not rejected.value.resumable
    receiver.behaviour = Behaviour()
    ours.send(target, form(file))  # a new upload


def test_a_lost_final_answer_is_fetched(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    receiver.script(drop_final_answer())
    outcome = ours.send(f"{receiver.url}/rufh", form(file))
    assert outcome.response.json()["length"] == outcome.upload.length
    delivered_once(receiver, file)


def test_an_unknown_outcome_stays_unknown_until_it_is_settled(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    target = f"{receiver.url}/form"
    receiver.script(drop_final_answer())
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match="assume"):
            ours.send(target, form(file))
    upload = ours.make(target, form(file))
    outcome = ours.run(upload.send, assume="complete")
    assert outcome.response.status_code == 0
    delivered_once(receiver, file)


def test_an_unknown_outcome_can_be_taken_for_lost(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    target = f"{receiver.url}/form"
    receiver.script(drop_final_answer())
    with pytest.raises(OutcomeUnknown):
        ours.send(target, form(file))
    outcome = ours.run(ours.make(target, form(file)).send, assume="lost")
    assert outcome.response.is_success
    assert len(receiver.deliveries) == 2


def test_a_resumable_protocol_can_be_required(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    with pytest.raises(NotResumable, match="require_resumable"):
        ours.send(f"{receiver.url}/form", form(file), require_resumable=True)
    assert receiver.deliveries == []
    assert ours.kept() == []


def test_the_deadline_ends_a_stalled_send(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    with Link(receiver.port, repeat(Stall(after=100_000))) as link:
        target = f"http://127.0.0.1:{link.port}/rufh"
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded) as exceeded:
            ours.send(target, form(file), deadline=1.0)
        assert time.monotonic() - began < 5
    assert exceeded.value.resumable


def test_a_second_sender_is_told_and_may_wait(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    with Link(receiver.port, [Stall(after=100_000)]) as link:
        target = f"http://127.0.0.1:{link.port}/rufh"
        first = ResumableUpload(target, form(file), store=ours.state, retry=QUICK)
        outcome: list[BaseException] = []

        def send() -> None:
            try:
                first.send()
            except UploadError as error:
                outcome.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        while not ours.kept() or ours.kept()[0].phase != "finishing":
            time.sleep(0.01)
        with pytest.raises(UploadBusy, match=r"\d+"):
            ours.send(target, form(file))
        threading.Timer(0.3, first.pause).start()
        ours.send(target, form(file), wait=20)
        thread.join()
    assert isinstance(outcome[0], UploadPaused)
    delivered_once(receiver, file)


def test_one_object_sends_once_at_a_time(receiver: Receiver, file: Path) -> None:
    inner: list[BaseException] = []

    def again(event: object) -> None:
        try:
            upload.send()
        except UploadBusy as error:
            inner.append(error)

    upload = ResumableUpload(
        f"{receiver.url}/rufh", form(file), store=None, on_event=again
    )
    upload.send()
    assert inner


def test_credentials_never_reach_another_origin(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    def elsewhere(head: Head) -> Answer | None:
        if head.method == "POST":
            return Answer(307, {"location": f"{receiver.url}/rufh"})
        return None

    with Receiver(on_request=elsewhere) as first:
        ours.send(
            f"{first.url}/rufh",
            form(file),
            headers={"Authorization": "Bearer secret", "X-Api-Key": "secret"},
            protocol=RUFH(),
        )
        assert "secret" in str(first.requests[0].headers)
    assert len(receiver.deliveries) == 1
    for request in receiver.requests:
        assert "secret" not in str(request.headers)


def test_nothing_in_the_logs_names_an_upload_or_a_secret(
    ours: Uploads,
    receiver: Receiver,
    file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    ours.send(
        f"{receiver.url}/rufh?signature=abc",
        form(file),
        headers={"Authorization": "Bearer hidden"},
    )
    # httpcore's own traces are asked for by nobody but us, here.
    said = "\n".join(
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("httpcore", "asyncio"))
    )
    assert "/uploads/" not in said
    assert "signature" not in said
    assert "hidden" not in said


def test_progress_never_goes_back_and_ends_at_the_end(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    seen: list[poster_resume.Progress] = []
    ours.send(f"{receiver.url}/rufh", form(file), on_progress=seen.append)
    assert seen[-1].acknowledged == seen[-1].length
    assert all(p.sent <= (p.length or 0) for p in seen)
    sent = [p.sent for p in seen]
    assert sent == sorted(sent)


def test_a_plan_of_ones_own_can_be_sent(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    plan = plan_form(form(file), boundary="mine")
    ours.send(f"{receiver.url}/rufh", content=plan)
    (delivery,) = receiver.deliveries
    assert delivery.content_type == "multipart/form-data; boundary=mine"


def test_without_a_store_nothing_is_kept(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    ours.send(f"{receiver.url}/rufh", form(file), store=None)
    assert ours.kept() == []


def test_a_server_that_forgets_is_started_over(
    ours: Uploads, receiver: Receiver, file: Path
) -> None:
    receiver.script(Rule(method="PATCH", skip=1, forget=True))
    events: list[str] = []
    ours.send(
        f"{receiver.url}/rufh",
        form(file),
        chunk_size=100_000,
        on_event=lambda event: events.append(event.kind),
    )
    assert "restarted" in events
    delivered_once(receiver, file)


def test_probe_says_what_a_server_speaks(ours: Uploads, receiver: Receiver) -> None:
    for path, protocols in (("rufh", ("rufh",)), ("tus", ("tus",)), ("form", ())):
        upload = ours.make(f"{receiver.url}/{path}", content=b"")
        assert ours.run(upload.probe).protocols == protocols
    assert receiver.uploads == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancellation_passes_through_and_leaves_a_resumable_upload(
    backend: str, receiver: Receiver, file: Path, tmp_path: Path
) -> None:
    ours = Uploads(backend, tmp_path / "state")
    with Link(receiver.port, [Stall(after=100_000)]) as link:
        target = f"http://127.0.0.1:{link.port}/rufh"

        async def cancelled() -> bool:
            with anyio.move_on_after(0.5) as scope:
                await ours.make(target, form(file)).send()
            return scope.cancelled_caught

        assert anyio.run(cancelled, backend=backend)
        assert ours.kept()[0].phase in ("sending", "finishing")
        ours.send(target, form(file))
    delivered_once(receiver, file)
