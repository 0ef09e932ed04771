"""What a call promises whatever is given to it, and however it is interrupted."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import logging
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
import tenacity

import poster_resume
from poster_resume import (
    AsyncResumableUpload,
    Event,
    InvalidParameter,
    Oneshot,
    OutcomeUnknown,
    Progress,
    RequestInfo,
    ResumableUpload,
    RetryPolicy,
    SourceChanged,
    StoreError,
    Timeouts,
    TransportError,
    Tus,
    UploadError,
    UploadProtocol,
    plan_content,
    uploads,
)
from poster_resume.stores import MemoryStore
from poster_resume.testing import Behaviour, Receiver, Rule, drop_final_answer

ONCE = RetryPolicy(stop=tenacity.stop_after_attempt(1), settle=0.01)
QUICK = RetryPolicy(
    stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_none(), settle=0.01
)
CONTENT = bytes(range(256)) * 1200
#: Breaks each append after a third of the content.
BREAKING = Rule(method="PATCH", after=100_000, ending="drop")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def upload(target: str, *args: Any, **options: Any) -> ResumableUpload:
    return ResumableUpload(target, *args, **({"retry": ONCE} | options))


def pipe(content: bytes) -> io.BufferedReader:
    """Return a stream that can be read only once."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(content)
    return os.fdopen(reading, "rb")


def sent_until_done(one: ResumableUpload) -> int:
    """Call send() until it returns; return how many calls failed."""
    for failed in range(10):
        try:
            one.send()
        except TransportError:
            continue
        return failed
    raise AssertionError("it never ends")


# -- what one object remembers -------------------------------------------------


def test_one_object_goes_on_without_a_store(receiver: Receiver) -> None:
    receiver.script(BREAKING, BREAKING)
    one = upload(f"{receiver.url}/rufh", content=CONTENT, store=None)
    assert sent_until_done(one) == 2
    assert receiver.delivery().read() == CONTENT
    assert len(receiver.uploads) == 1
    assert list(uploads(None)) == []


def test_an_unknown_outcome_stays_unknown_without_a_store(receiver: Receiver) -> None:
    receiver.script(drop_final_answer())
    one = upload(f"{receiver.url}/form", content=CONTENT, store=None)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            one.send()
    assert len(receiver.deliveries) == 1
    assert one.send(assume="complete").response.status_code == 0


def test_cancel_reaches_the_server_without_a_store(receiver: Receiver) -> None:
    receiver.script(BREAKING)
    one = upload(f"{receiver.url}/rufh", content=CONTENT, store=None)
    with pytest.raises(TransportError):
        one.send()
    one.cancel()
    assert receiver.uploads[0].gone


@pytest.mark.parametrize("path", ["rufh", "form"])
def test_a_stream_is_not_read_twice(
    receiver: Receiver, tmp_path: Path, path: str
) -> None:
    broken = BREAKING if path == "rufh" else Rule(method="POST", status=503)
    receiver.script(broken)
    with pipe(CONTENT[:60_000]) as stream:
        form = {"a": "1", "f": ("f.bin", stream)}
        one = upload(f"{receiver.url}/{path}", form, store=tmp_path)
        if path == "rufh":
            receiver.script(Rule(method="PATCH", status=503))
        assert one.plan().length > 60_000
        with pytest.raises(UploadError):
            one.send()
        one.send()
        (part,) = [p for p in receiver.delivery().parts if p.name == "f"]
        assert part.length == 60_000
        with pytest.raises(InvalidParameter, match="open it anew"):
            one.send()
    assert len(receiver.deliveries) == 1


def no_path() -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the test)
    file.write(CONTENT)
    file.seek(0)
    return file


def decompressed() -> Any:
    return gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(CONTENT, 1)))


@pytest.mark.parametrize("opened", [no_path, decompressed])
def test_what_no_other_process_can_find_is_resumed_by_its_object(
    receiver: Receiver, tmp_path: Path, opened: Callable[[], Any]
) -> None:
    receiver.script(BREAKING, BREAKING)
    with opened() as file:
        one = upload(f"{receiver.url}/rufh", {"f": file}, store=tmp_path)
        assert sent_until_done(one) == 2
        assert len(receiver.uploads) == 1
        one.send()  # as often as one likes
    assert [part.length for d in receiver.deliveries for part in d.parts] == [
        len(CONTENT)
    ] * 2


@pytest.mark.parametrize("path", ["rufh", "form"])
def test_what_nobody_can_find_again_is_not_sent_twice_while_unknown(
    receiver: Receiver, tmp_path: Path, path: str
) -> None:
    receiver.behaviour = Behaviour(completed="gone")
    receiver.script(drop_final_answer())
    target = f"{receiver.url}/{path}"
    with decompressed() as file, pytest.raises((OutcomeUnknown, TransportError)):
        upload(target, content=file, key="k", store=tmp_path).send()
    with decompressed() as file, pytest.raises(OutcomeUnknown):
        upload(target, content=file, key="k", store=tmp_path).send()
    assert len(receiver.deliveries) == 1


def test_what_nobody_can_find_again_is_found_complete(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script(drop_final_answer())
    target = f"{receiver.url}/rufh"
    with decompressed() as file, pytest.raises(TransportError):
        upload(target, content=file, key="k", store=tmp_path).send()
    with decompressed() as file:
        outcome = upload(target, content=file, key="k", store=tmp_path).send()
    assert outcome.response.status_code == 201
    assert len(receiver.deliveries) == 1


# -- keys ----------------------------------------------------------------------


def test_under_a_key_the_stored_form_is_sent_and_differing_names_are_logged(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "f.bin"
    file.write_bytes(CONTENT)
    receiver.script(BREAKING)
    options: dict[str, Any] = {"key": "holiday", "store": tmp_path / "state"}
    first = {"taken": "yesterday", "f": file}
    with pytest.raises(TransportError):
        upload(f"{receiver.url}/rufh?token=1", first, **options).send()
    second = {"taken": "today", "f": file, "extra": "x"}
    with caplog.at_level(logging.WARNING, "poster_resume"):
        upload(f"{receiver.url}/rufh?token=2", second, **options).send()
    delivery = receiver.delivery()
    assert [part.name for part in delivery.parts] == ["taken", "f"]
    assert b"yesterday" in delivery.read()
    (record,) = caplog.records
    assert "'extra'" in record.getMessage()
    assert "'taken'" not in record.getMessage()


def test_under_a_key_another_file_is_not_taken_for_the_planned_one(
    receiver: Receiver, tmp_path: Path
) -> None:
    one, other = tmp_path / "one.bin", tmp_path / "other.bin"
    for file in (one, other):
        file.write_bytes(CONTENT)
    receiver.script(BREAKING)
    target, options = f"{receiver.url}/rufh", {"key": "k", "store": tmp_path / "state"}
    with pytest.raises(TransportError):
        upload(target, {"f": one}, **options).send()
    with pytest.raises(SourceChanged, match=r"other\.bin .* it was .*one\.bin"):
        upload(target, {"f": other}, **options).send()
    with pytest.raises(SourceChanged, match="2 files are given"):
        upload(target, {"f": one, "g": other}, **options).send()
    upload(target, {"f": other}, on_change="restart", **options).send()
    (part,) = receiver.delivery().parts
    assert part.filename == "other.bin"


def test_under_a_key_a_plain_request_goes_to_the_target_of_this_call(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script(Rule(status=503))
    for token in ("old", "new"):
        one = upload(
            f"{receiver.url}/form?token={token}",
            content=CONTENT,
            protocol="oneshot",
            key="k",
            store=tmp_path,
        )
        if token == "old":
            with pytest.raises(UploadError):
                one.send()
    assert one.send().upload.target.endswith("?token=new")
    assert receiver.delivery().path == "/form?token=new"


# -- permissions of this very call ---------------------------------------------


def test_what_may_be_repeated_is_this_calls_to_say(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script(drop_final_answer())
    target = f"{receiver.url}/form"
    with pytest.raises(OutcomeUnknown):
        upload(target, content=CONTENT, store=tmp_path).send()
    upload(target, content=CONTENT, store=tmp_path, replay="always").send()
    assert len(receiver.deliveries) == 2


def test_a_loaded_upload_may_be_permitted_to_repeat(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script(drop_final_answer())
    with pytest.raises(OutcomeUnknown) as caught:
        upload(f"{receiver.url}/form", content=b"short", store=tmp_path).send()
    assert caught.value.upload_id is not None
    load = ResumableUpload.load
    load(caught.value.upload_id, store=tmp_path, replay="always").send()
    assert len(receiver.deliveries) == 2


def test_replay_is_only_ever_widened() -> None:
    allowing = Oneshot(replay="always", idempotency_key=True)
    assert allowing.permitting(Oneshot()) is allowing
    widened = Oneshot(idempotency_key=True).permitting(Oneshot(replay="incomplete"))
    assert widened.options()["replay"] == "incomplete"
    assert widened.options()["idempotency_key"] is True


@pytest.mark.parametrize("assume", ["complete", "lost"])
@pytest.mark.parametrize("stored", [1.0, 0.5])
def test_nothing_is_assumed_that_the_server_can_say(
    receiver: Receiver, tmp_path: Path, assume: Any, stored: float
) -> None:
    # The last bytes left, and no answer came: what was kept, it still knows.
    receiver.script(Rule(method="PATCH", keep=stored, ending="drop"))
    one = upload(f"{receiver.url}/tus", content=CONTENT, protocol="tus", store=tmp_path)
    with pytest.raises(TransportError):
        one.send()
    assert one.state is not None
    assert one.state.phase == "finishing"
    assert one.send(assume=assume).response.status_code in (200, 204)
    assert receiver.delivery().read() == CONTENT
    assert len(receiver.uploads) == 1


def test_a_slip_of_the_pen_assumes_nothing(receiver: Receiver, tmp_path: Path) -> None:
    receiver.script(drop_final_answer())
    one = upload(f"{receiver.url}/form", content=CONTENT, store=tmp_path)
    with pytest.raises(OutcomeUnknown):
        one.send()
    with pytest.raises(InvalidParameter, match=r"^assume: 'Complete'"):
        one.send(assume="Complete")  # type: ignore[arg-type]  # on purpose
    assert len(receiver.deliveries) == 1


# -- what a loaded upload can do ------------------------------------------------


def test_a_loaded_upload_knows_its_plan_and_its_target(
    receiver: Receiver, tmp_path: Path
) -> None:
    file, state = tmp_path / "f.bin", tmp_path / "state"
    file.write_bytes(CONTENT)
    receiver.script(BREAKING)
    with pytest.raises(TransportError) as caught:
        upload(f"{receiver.url}/rufh", {"f": file}, store=state).send()
    assert caught.value.upload_id is not None
    loaded = ResumableUpload.load(caught.value.upload_id, store=state)
    with loaded.plan() as plan:
        assert plan.length > len(CONTENT)
    assert loaded.probe().protocols == ("rufh",)
    loaded.send()
    assert receiver.delivery().length == plan.length


def test_an_unknown_id_has_neither_plan_nor_target(tmp_path: Path) -> None:
    loaded = ResumableUpload.load("nope", store=tmp_path)
    for method in (loaded.plan, loaded.probe, loaded.send):
        with pytest.raises(InvalidParameter, match="'nope'"):
            method()


def test_a_protocol_is_lent_to_load_as_an_instance_only(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"^protocol: give an instance"):
        ResumableUpload.load("x", protocol="tus", store=tmp_path)  # type: ignore[arg-type]  # on purpose


# -- what cannot be given ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", 5),
        ("key", ""),
        ("metadata", {"a": 1}),
        ("metadata", ["a"]),
        ("chunk_size", 1.5),
        ("deadline", float("nan")),
        ("retry", 5),
        ("timeouts", 5),
        ("on_event", 5),
        ("on_progress", "print"),
        ("store", 5),
        ("client", 5),
        ("headers", [("a", "b")]),
        ("headers", "a: b"),
    ],
)
def test_what_cannot_be_is_refused_by_the_constructor(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter, match=f"^{name}:"):
        ResumableUpload("http://127.0.0.1:9/", content=b"x", **{name: value})  # type: ignore[arg-type]  # on purpose


def test_impatience_that_cannot_be_is_refused() -> None:
    for value in (0, -1, float("nan"), "1"):
        with pytest.raises(InvalidParameter, match=r"^timeouts: answer"):
            Timeouts(answer=value)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidParameter, match=r"^retry: settle"):
        RetryPolicy(settle=-1)


def test_a_client_of_the_other_kind_is_refused_by_the_constructor() -> None:
    async def main() -> None:
        async with poster_resume.async_client() as one:
            with pytest.raises(InvalidParameter, match=r"^client: this one is async"):
                ResumableUpload("http://127.0.0.1:9/", content=b"x", client=one)

    anyio.run(main)
    with (
        poster_resume.client() as other,
        pytest.raises(InvalidParameter, match=r"^client: this one is blocking"),
    ):
        AsyncResumableUpload("http://127.0.0.1:9/", content=b"x", client=other)


def nothing(info: RequestInfo) -> Any:
    return None


async def awaited(info: RequestInfo) -> Mapping[str, str]:
    return {}


def ours(info: RequestInfo) -> Mapping[str, str]:
    return {"content-length": "5"}


@pytest.mark.parametrize("headers", [nothing, awaited, ours])
def test_headers_that_cannot_be_used_are_a_clear_error(
    receiver: Receiver, headers: Any
) -> None:
    one = upload(f"{receiver.url}/form", content=b"x", headers=headers, store=None)
    with pytest.raises(InvalidParameter, match=r"^headers: "):
        one.send()
    assert receiver.requests == []


def test_awaited_headers_that_cannot_be_used_are_a_clear_error(
    receiver: Receiver,
) -> None:
    async def main() -> None:
        one = AsyncResumableUpload(
            f"{receiver.url}/form", content=b"x", headers=nothing, store=None
        )
        with pytest.raises(InvalidParameter, match=r"^headers: .*NoneType"):
            await one.send()

    anyio.run(main)


def test_uploads_are_not_pickled_and_plans_are(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(CONTENT)
    one = upload("http://127.0.0.1:9/", {"f": file}, store=tmp_path / "state")
    with pytest.raises(TypeError):
        pickle.dumps(one)
    with one.plan() as plan:
        assert pickle.loads(pickle.dumps(plan)).fingerprint() == plan.fingerprint()
    assert not (tmp_path / "state").exists()


# -- while it runs ------------------------------------------------------------------


def test_progress_is_told_ten_times_a_second_at_most(receiver: Receiver) -> None:
    told: list[Progress] = []
    upload(
        f"{receiver.url}/rufh",
        content=CONTENT,
        chunk_size=len(CONTENT) // 100,
        on_progress=told.append,
        store=None,
    ).send()
    appends = sum(request.method == "PATCH" for request in receiver.requests)
    assert appends >= 100
    assert len(told) < appends // 2
    assert told[-1].acknowledged == len(CONTENT)


def test_an_append_of_a_given_size_keeps_it_on_a_bad_link(receiver: Receiver) -> None:
    receiver.behaviour = Behaviour(buffering=True)
    size = 3 * 1024 * 1024
    receiver.script(
        *[Rule(method="PATCH", after=2 * 1024 * 1024, ending="drop", times=3)]
    )
    upload(
        f"{receiver.url}/tus",
        content=bytes(2 * size + 1),
        protocol="tus",
        chunk_size=size,
        retry=QUICK,
        store=None,
    ).send()
    appends = [r for r in receiver.requests if r.method == "PATCH"]
    assert [int(r.headers["content-length"]) for r in appends] == [size] * 5 + [1]


def cancel_from_thread(
    task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop
) -> None:
    """Cancel *task* natively, which no shield withstands; return when it is."""
    done = threading.Event()

    def cancel() -> None:
        task.cancel()
        done.set()

    loop.call_soon_threadsafe(cancel)
    assert done.wait(10)


class _Slow(MemoryStore):
    """A store that holds up whoever claims, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Callable[[], None] = lambda: None

    def claim(self, identity: str, wait: float = 0) -> None:
        self.held()
        super().claim(identity, wait)


def test_a_task_that_is_cancelled_while_it_claims_leaves_no_claim(
    receiver: Receiver,
) -> None:
    async def main() -> None:
        store, loop = _Slow(), asyncio.get_running_loop()
        one = AsyncResumableUpload(f"{receiver.url}/form", content=b"x", store=store)
        task = asyncio.create_task(one.send())

        def held() -> None:
            store.held = lambda: None
            cancel_from_thread(task, loop)
            # A claim that succeeds after its caller has gone would stay for ever.
            gone.wait(0.2)

        gone = threading.Event()
        task.add_done_callback(lambda _: gone.set())
        store.held = held
        with pytest.raises(asyncio.CancelledError):
            await task
        outcome = await one.send()
        assert outcome.response.status_code == 200

    asyncio.run(main())


@pytest.mark.parametrize("path", ["rufh", "tus"])
def test_a_task_may_be_cancelled_at_any_point(
    receiver: Receiver, tmp_path: Path, path: str
) -> None:
    steps = [*range(0, 60, 6), *range(60, 2000, 200)]

    async def main() -> None:
        for step in steps:
            content = CONTENT + b"%d" % step
            one = AsyncResumableUpload(
                f"{receiver.url}/{path}",
                content=content,
                protocol=path,
                retry=QUICK,
                store=tmp_path,
            )
            task = asyncio.create_task(one.send())
            for _ in range(step):
                await asyncio.sleep(0)
            task.cancel()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(ended, asyncio.CancelledError):
                await one.send()

    asyncio.run(main())
    lengths = {delivery.length for delivery in receiver.deliveries}
    assert len(receiver.deliveries) == len(steps)
    assert lengths == {len(CONTENT) + len(b"%d" % step) for step in steps}


@pytest.mark.parametrize("when", ["delivering", "leaving"])
def test_an_outcome_that_a_cancelled_task_never_saw_is_returned_again(
    receiver: Receiver, tmp_path: Path, when: str
) -> None:
    class Watched(MemoryStore):
        def save(self, upload: Any) -> None:
            super().save(upload)
            if upload.delivered and when == "delivering":
                cancels[0]()

        def release(self, identity: str) -> None:
            super().release(identity)
            if when == "leaving":
                cancels[0]()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        one = AsyncResumableUpload(
            f"{receiver.url}/form", content=CONTENT, store=Watched(), retry=QUICK
        )
        task = asyncio.create_task(one.send())

        def cancel() -> None:
            if not task.done() and not task.cancelling():
                cancel_from_thread(task, loop)

        cancels.append(cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await one.send()).response.status_code == 200

    cancels: list[Callable[[], None]] = []
    asyncio.run(main())
    assert len(receiver.deliveries) == 1


def test_an_interrupt_while_delivering_loses_no_outcome(receiver: Receiver) -> None:
    class Interrupted(MemoryStore):
        interrupts = 1

        def drop_spools(self, digest: str) -> None:
            self.interrupts -= 1
            if self.interrupts == 0:
                raise KeyboardInterrupt
            super().drop_spools(digest)

    one = upload(f"{receiver.url}/form", content=CONTENT, store=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        one.send()
    assert one.send().response.status_code == 200
    assert len(receiver.deliveries) == 1


def test_an_interrupt_in_the_middle_leaves_a_resumable_upload(
    receiver: Receiver, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if event.kind == "acknowledged" and not interrupted:
            interrupted.append(event)
            signal.raise_signal(signal.SIGINT)

    interrupted: list[Event] = []
    one = upload(
        f"{receiver.url}/rufh",
        content=CONTENT,
        chunk_size=100_000,
        on_event=interrupt,
        store=tmp_path,
    )
    with pytest.raises(KeyboardInterrupt):
        one.send()
    one.send()
    assert receiver.delivery().read() == CONTENT
    assert len(receiver.uploads) == 1


def test_cookies_stay_with_the_upload_that_they_were_set_for(
    receiver: Receiver,
) -> None:
    session = Rule(method="POST", headers={"set-cookie": "sid=secret; Path=/"})
    receiver.script(session)
    for content in (CONTENT, CONTENT[1:]):
        upload(f"{receiver.url}/rufh", content=content, store=None).send()
    seen = [(r.method, r.headers.get("cookie")) for r in receiver.requests]
    # To the server of the creation they go back: it may be one of many.
    assert seen == [
        ("OPTIONS", None),
        ("POST", None),
        ("PATCH", "sid=secret"),
        ("OPTIONS", None),
        ("POST", None),
        ("PATCH", None),
    ]


def test_threads_share_a_client_and_a_store(receiver: Receiver, tmp_path: Path) -> None:
    receiver.script(*[BREAKING] * 4)
    with poster_resume.client() as client, ThreadPoolExecutor(8) as pool:

        def send(number: int) -> int:
            return (
                upload(
                    f"{receiver.url}/rufh",
                    content=CONTENT + bytes([number]),
                    client=client,
                    retry=QUICK,
                    store=tmp_path,
                )
                .send()
                .response.status_code
            )

        assert set(pool.map(send, range(16))) == {201}
    arrived = {delivery.read() for delivery in receiver.deliveries}
    assert arrived == {CONTENT + bytes([number]) for number in range(16)}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_share_a_client_and_a_store(
    receiver: Receiver, tmp_path: Path, backend: str
) -> None:
    receiver.script(*[BREAKING] * 4)

    async def main() -> None:
        async with (
            poster_resume.async_client() as client,
            anyio.create_task_group() as group,
        ):

            async def send(number: int) -> None:
                await AsyncResumableUpload(
                    f"{receiver.url}/rufh",
                    content=CONTENT + bytes([number]),
                    client=client if number % 2 else None,
                    retry=QUICK,
                    store=tmp_path,
                ).send()

            for number in range(12):
                group.start_soon(send, number)

    anyio.run(main, backend=backend)
    arrived = {delivery.read() for delivery in receiver.deliveries}
    assert arrived == {CONTENT + bytes([number]) for number in range(12)}


def test_uploads_of_one_plan_do_not_disturb_each_other(
    receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "f.bin"
    file.write_bytes(CONTENT)
    with plan_content(file) as plan, ThreadPoolExecutor(4) as pool:

        def send(number: int) -> None:
            upload(f"{receiver.url}/rufh?{number}", content=plan, store=tmp_path).send()

        list(pool.map(send, range(6)))
    assert [d.read() for d in receiver.deliveries] == [CONTENT] * 6


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_many_uploads_one_after_the_other_leave_nothing_open(
    receiver: Receiver, tmp_path: Path
) -> None:
    def send(number: int) -> None:
        file = tmp_path / "f.bin"
        file.write_bytes(b"%d" % number)
        form = {"n": number, "f": file}
        upload(f"{receiver.url}/form", form, store=tmp_path / "s").send()

    for number in range(5):
        send(number)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5, 40):
        send(number)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_store_that_fails_in_the_middle_leaves_a_resumable_upload(
    receiver: Receiver,
) -> None:
    class Failing(MemoryStore):
        saves = 0

        def save(self, upload: Any) -> None:
            self.saves += 1
            if self.saves == 3:
                raise StoreError("the disk is full")
            super().save(upload)

    one = upload(f"{receiver.url}/rufh", content=CONTENT, store=Failing())
    with pytest.raises(StoreError):
        one.send()
    one.send()
    assert receiver.delivery().read() == CONTENT


def test_a_protocol_of_ones_own_is_lent_on_resuming(
    receiver: Receiver, tmp_path: Path
) -> None:
    class Mine(Tus):
        name = "mine"

    receiver.script(BREAKING)
    mine: UploadProtocol = Mine(with_upload=False)
    file = tmp_path / "f.bin"
    file.write_bytes(CONTENT)
    with pytest.raises(TransportError) as caught:
        upload(
            f"{receiver.url}/tus", content=file, protocol=mine, store=tmp_path
        ).send()
    assert caught.value.upload_id is not None
    with pytest.raises(InvalidParameter, match="'mine' is not one of"):
        ResumableUpload.load(caught.value.upload_id, store=tmp_path).send()
    loaded = ResumableUpload.load(
        caught.value.upload_id, store=tmp_path, protocol=Mine(), retry=QUICK
    )
    assert loaded.send().upload.protocol == "mine"
    assert receiver.delivery().read() == CONTENT


# -- what a changed file says of an upload that may be complete --------------------


@pytest.fixture
def finished(receiver: Receiver, tmp_path: Path) -> Path:
    """Send a file whose final answer is lost, then change the file."""
    file = tmp_path / "f.bin"
    file.write_bytes(CONTENT)
    receiver.script(drop_final_answer())
    with pytest.raises(TransportError):
        upload(f"{receiver.url}/rufh", content=file, store=tmp_path / "s").send()
    file.write_bytes(CONTENT + b"and more")
    return file


@pytest.mark.parametrize("on_change", ["raise", "restart"])
def test_an_upload_that_is_complete_is_found_so_although_its_file_changed(
    receiver: Receiver, tmp_path: Path, finished: Path, on_change: Any
) -> None:
    again = upload(
        f"{receiver.url}/rufh",
        content=finished,
        store=tmp_path / "s",
        on_change=on_change,
    )
    assert again.send().response.status_code == 201
    assert receiver.delivery().read() == CONTENT
    assert not receiver.uploads[0].gone


@pytest.mark.parametrize("on_change", ["raise", "restart"])
def test_an_upload_that_may_be_complete_stays_unknown_although_its_file_changed(
    receiver: Receiver, tmp_path: Path, finished: Path, on_change: Any
) -> None:
    receiver.behaviour = Behaviour(completed="gone")
    again = upload(
        f"{receiver.url}/rufh",
        content=finished,
        store=tmp_path / "s",
        on_change=on_change,
    )
    for _ in range(2):
        with pytest.raises(OutcomeUnknown) as unknown:
            again.send()
        assert unknown.value.upload_id is not None
    assert len(receiver.deliveries) == 1


def test_a_changed_file_is_named_once_the_server_lacks_the_end(
    receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "f.bin"
    file.write_bytes(CONTENT)
    receiver.script(Rule(method="PATCH", keep=0.5, ending="drop"))
    with pytest.raises(TransportError):
        upload(f"{receiver.url}/rufh", content=file, store=tmp_path / "s").send()
    file.write_bytes(CONTENT + b"and more")
    target = f"{receiver.url}/rufh"
    with pytest.raises(SourceChanged, match=r"f\.bin"):
        upload(target, content=file, store=tmp_path / "s").send()
    upload(target, content=file, store=tmp_path / "s", on_change="restart").send()
    assert receiver.uploads[0].gone
    assert receiver.delivery().read() == CONTENT + b"and more"
