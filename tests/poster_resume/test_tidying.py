"""Forgetting what expired long ago, answered by hand."""

from __future__ import annotations

from poster_resume.errors import TransportError
from poster_resume.flow import Delete, Effect, Flow, Instant, Now, Prune, Request
from poster_resume.opening import Call, tidying
from poster_resume.protocols import Oneshot
from poster_resume.session import Rules
from poster_resume.upload import Upload

from .test_session import TARGET, upload_of


def expired(number: int, target: str = TARGET, **changes: object) -> Upload:
    return upload_of(10).evolve(id=f"u{number}", target=target, **changes)


def tidied(*uploads: Upload) -> tuple[list[str], list[str]]:
    """Return the ids that were deleted, and the URLs that were asked to."""
    call = Call(TARGET, "POST", None, Oneshot(), form=True)
    flow: Flow[None] = tidying(call, Rules())
    deleted, asked = [], []
    assert next(flow) == Prune()
    try:
        effect: Effect = flow.send(uploads)
        while True:
            match effect:
                case Delete(upload_id):
                    deleted.append(upload_id)
                case Now():
                    effect = flow.send(Instant(0, 0))
                    continue
                case Request():
                    asked.append(f"{effect.method} {effect.url}")
                    effect = flow.throw(TransportError("nobody is there"))
                    continue
                case _:
                    pass
            effect = next(flow)
    except StopIteration:
        return deleted, asked


def test_three_are_forgotten_at_once() -> None:
    assert tidied(*(expired(n) for n in range(5)))[0] == ["u0", "u1", "u2"]


def test_others_wait_for_their_origin_and_hold_nobody_up() -> None:
    elsewhere = [expired(n, "https://other.test/files") for n in range(5)]
    assert tidied(*elsewhere, expired(9)) == (["u9"], [])


def test_what_speaks_a_protocol_that_is_not_installed_holds_nobody_up() -> None:
    foreign = [expired(n, protocol="theirs") for n in range(3)]
    assert tidied(*foreign, expired(9)) == (["u9"], [])


def test_the_server_is_told_first_and_may_be_gone() -> None:
    resource = "https://example.test/files/1"
    upload = expired(1, resource=resource, phase="sending")
    assert tidied(upload) == (["u1"], [f"DELETE {resource}"])
