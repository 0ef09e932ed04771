"""What a cancelled task leaves behind: nothing that still uses what it had open."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest

from poster_resume.plan import plan_form
from poster_resume.transport import async_client, segment_request
from poster_resume.transport.asynchronous import drive
from poster_resume.transport.connection import Connection
from poster_resume.transport.steps import Await, Step, Wait
from poster_resume.transport.threads import in_thread

from .peers import Peer, serving
from .test_fallbacks import Slow


def swallow(peer: Peer) -> None:
    peer.head()
    peer.rest()


@pytest.mark.parametrize("length", [100, 1_000_000])
@pytest.mark.parametrize("client", [async_client, httpx.AsyncClient])
def test_a_cancelled_task_ends_after_the_threads_that_read_for_it(
    client: Callable[[], Any], length: int
) -> None:
    source = Slow(length)

    async def main() -> None:
        async with client() as own:
            request = segment_request(own, "POST", server.url, plan)
            task = asyncio.ensure_future(own.send(request))
            await asyncio.to_thread(source.asked.wait)
            for _ in range(3):
                task.cancel()
                await asyncio.wait([task], timeout=0.02)
                assert not task.done()
            source.ready.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    with serving(swallow) as server, plan_form({"file": source}) as plan:
        asyncio.run(main())


def test_a_call_that_is_called_off_has_run_or_never_will() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def work() -> None:
        begun.append(1)
        ended.append(1)

    async def main() -> None:
        await in_thread(work)
        for rounds in range(200):
            task = asyncio.ensure_future(in_thread(work))
            for _ in range(rounds % 8):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            known = len(begun)
            assert len(ended) == known
            await asyncio.sleep(0)
            assert len(begun) == known

    asyncio.run(main())


def cancel_now(task: asyncio.Task[object]) -> None:
    """As a callback does that is called while content goes out."""
    task.cancel()


def cancel_soon(task: asyncio.Task[object]) -> None:
    """After the outcome is known, and before the task has heard of it."""
    asyncio.get_running_loop().call_soon(task.cancel)


@pytest.fixture(params=[cancel_now, cancel_soon])
def cancel(request: pytest.FixtureRequest) -> Callable[[asyncio.Task[object]], None]:
    chosen: Callable[[asyncio.Task[object]], None] = request.param
    return chosen


def cancelled(
    cancel: Callable[[asyncio.Task[object]], None],
    rest: Callable[[], Generator[Step, Any, object]],
) -> None:
    """Cancel a task in the very moment when a wait ends and *rest* follows."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.send(b"x")

    async def main() -> None:
        def steps() -> Generator[Step, Any, object]:
            yield Wait(ours, True, False, None)
            cancel(task)
            return (yield from rest())

        task = asyncio.ensure_future(drive(steps()))
        with pytest.raises(asyncio.CancelledError):
            await task

    with ours, theirs:
        asyncio.run(main())


def test_a_connection_made_in_the_moment_of_cancelling_is_closed(
    cancel: Callable[[asyncio.Task[object]], None],
) -> None:
    ours, theirs = socket.socketpair()

    def rest() -> Generator[Step, Any, object]:
        yield from ()
        return Connection(ours)

    with ours, theirs:
        cancelled(cancel, rest)
        assert ours.fileno() == -1


def test_a_callback_due_in_the_moment_of_cancelling_is_given_up(
    cancel: Callable[[asyncio.Task[object]], None],
) -> None:
    async def told() -> None:
        raise AssertionError("not told any more")

    waiting = told()
    cancelled(cancel, lambda: iter_one(Await(waiting)))
    assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED


def test_a_failure_in_the_moment_of_cancelling_is_not_heard_of(
    cancel: Callable[[asyncio.Task[object]], None],
) -> None:
    def rest() -> Generator[Step, Any, object]:
        yield from ()
        raise ConnectionError("nobody listens")

    cancelled(cancel, rest)


def iter_one(step: Step) -> Generator[Step, Any, object]:
    yield step
    return None
