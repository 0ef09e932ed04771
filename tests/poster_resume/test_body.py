"""Bodies: a plan as a file, in any client's hands."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from poster_resume.body import Body, iter_bytes, read_into
from poster_resume.plan import Plan, plan_content, plan_form
from poster_resume.ranges import ByteRange
from tests.strategies import edges_of, offsets


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    (tmp_path / "f").write_bytes(os.urandom(5000))
    form = {"a": ["x"] * 70, "f": tmp_path / "f", "b": b"\n\n" * 2500, "e": ""}
    with plan_form(form) as plan:
        yield plan


def whole(plan: Plan) -> bytes:
    return b"".join(iter_bytes(plan, ByteRange(0, plan.length)))


class BesideAFile(RuleBasedStateMachine):
    """A Body and a BytesIO of the same bytes do the same, whatever is asked of them."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = plan_form({"a": "x", "b": b"y\n" * 3000, "c": ["z"] * 70})
        content, edges = whole(self.plan), edges_of(self.plan.layout)
        self.window = ByteRange(edges[1] - 3, self.plan.length - 5)
        self.model = io.BytesIO(content[self.window.start : self.window.stop])
        self.body = Body(self.plan, self.window)
        self.edges = [max(0, e - self.window.start) for e in edges]
        self.other = Body(self.plan)

    @rule(data=st.data(), past=st.sampled_from([0, 0, 7]))
    def seek(self, data: st.DataObject, past: int) -> None:
        offset = data.draw(offsets(self.edges, self.window.length)) + past
        assert self.body.seek(offset) == self.model.seek(offset)

    @rule(step=st.integers(-5000, 5000))
    def seek_from_here(self, step: int) -> None:
        step = max(step, -self.model.tell())
        assert self.body.seek(step, io.SEEK_CUR) == self.model.seek(step, io.SEEK_CUR)

    @rule(step=st.integers(-6000, 3))
    def seek_from_the_end(self, step: int) -> None:
        step = max(step, -self.window.length)
        assert self.body.seek(step, io.SEEK_END) == self.model.seek(step, io.SEEK_END)

    @rule(size=st.sampled_from([-1, 0, 1, 2, 4096, None]) | st.integers(0, 9000))
    def read(self, size: int | None) -> None:
        assert self.body.read(size) == self.model.read(size)

    @rule(size=st.integers(0, 9000))
    def readinto(self, size: int) -> None:
        ours, theirs = bytearray(size), bytearray(size)
        assert self.body.readinto(ours) == self.model.readinto(theirs)
        assert ours == theirs

    @rule(size=st.sampled_from([-1, None, 0, 1, 5, 5000]))
    def readline(self, size: int | None) -> None:
        assert self.body.readline(size) == self.model.readline(size)

    @rule()
    def read_another(self) -> None:
        self.other.read(11)

    @invariant()
    def they_stand_at_the_same_place(self) -> None:
        assert self.body.tell() == self.model.tell()


TestBesideAFile = BesideAFile.TestCase
TestBesideAFile.settings = settings(max_examples=40, stateful_step_count=20)


def test_a_body_is_a_binary_file_that_reads_and_seeks(plan: Plan) -> None:
    with Body(plan) as body:
        assert isinstance(body, io.RawIOBase)
        assert body.readable()
        assert body.seekable()
        assert not body.writable()
        assert body.mode == "rb"
        assert len(body) == body.length == plan.length
        with pytest.raises(OSError, match="fileno"):
            body.fileno()
        with pytest.raises(io.UnsupportedOperation):
            body.write(b"x")
        assert not hasattr(body, "name")  # clients take it for the name of a file
    for use in (body.read, body.tell, body.readable, body.seekable, body.readline):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pytest.raises(ValueError, match="closed"):
        body.seek(0)
    with pytest.raises(ValueError, match="closed"):
        body.readinto(bytearray(1))
    assert whole(plan)  # the plan is open still


def test_a_place_that_is_none_cannot_be_gone_to(plan: Plan) -> None:
    body = Body(plan)
    body.seek(5)
    for offset, whence in ((-1, 0), (-6, 1), (-plan.length - 1, 2), (0, 3)):
        with pytest.raises(ValueError, match=r"position|whence"):
            body.seek(offset, whence)
    assert body.tell() == 5


def test_a_window_must_lie_within_the_plan(plan: Plan) -> None:
    with pytest.raises(IndexError, match=f"outside a plan of {plan.length} bytes"):
        Body(plan, ByteRange(0, plan.length + 1))
    empty = Body(plan, ByteRange(plan.length, plan.length))
    assert empty.read() == b""
    assert empty  # though its length is 0
    with pytest.raises(IndexError):
        iter_bytes(plan, ByteRange(0, plan.length + 1))


def test_blocks_have_the_size_that_was_asked_for(plan: Plan) -> None:
    everything = ByteRange(0, plan.length)
    for size in (1, 100, 4096, plan.length, plan.length + 1):
        sizes = [len(block) for block in iter_bytes(plan, everything, size)]
        assert sizes[:-1] == [size] * (len(sizes) - 1)
        assert 0 < sizes[-1] <= size
    assert list(iter_bytes(plan, ByteRange(9, 9))) == []
    with pytest.raises(ValueError, match="block_size 0"):
        iter_bytes(plan, everything, 0)


def test_any_writable_buffer_is_filled(plan: Plan) -> None:
    import array

    expected = whole(plan)
    numbers = array.array("I", [0] * 25)
    assert Body(plan).readinto(memoryview(numbers)) == 100
    assert numbers.tobytes() == expected[:100]
    buffer = bytearray(10)
    assert read_into(plan, plan.length - 4, memoryview(buffer)) == 4
    assert buffer == expected[-4:] + bytes(6)
    assert read_into(plan, plan.length + 1, memoryview(buffer)) == 0


def test_a_body_travels_with_its_place(plan: Plan) -> None:
    body = Body(plan, ByteRange(10, plan.length - 10))
    body.seek(7)
    again = pickle.loads(pickle.dumps(body))
    assert again.tell() == 7
    assert again.length == body.length
    assert again.read() == body.read()


def test_buffered_readers_and_copies_work(plan: Plan) -> None:
    copy = io.BytesIO()
    shutil.copyfileobj(Body(plan), copy)
    assert copy.getvalue() == whole(plan)
    buffered = io.BufferedReader(Body(plan), 100)
    assert b"".join(buffered) == whole(plan)
    assert b"".join(Body(plan)) == whole(plan)
    assert Body(plan).readall() == whole(plan)


def test_more_bytes_than_python_can_count_have_a_length_still(tmp_path: Path) -> None:
    class Endless:
        """A source of more bytes than `len` can tell."""

        length, name, validator, base = sys.maxsize, "endless", "", 0

        def read_at(self, offset: int, size: int) -> bytes:
            return b"x" * size

        def close(self) -> None: ...

    from poster_resume.plan.parts import Raw

    plan = Plan(Raw(sys.maxsize + 1), (Endless(),), "a/b")  # type: ignore[arg-type]  # as much as is read
    body = Body(plan)
    assert body.length == sys.maxsize + 1
    with pytest.raises(OverflowError, match=r"ask for \.length"):
        len(body)
    assert body.seek(-3, io.SEEK_END) == sys.maxsize - 2
    assert body.read() == b"xxx"


def test_reading_keeps_one_block_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    with plan_content(path) as plan:
        tracemalloc.start()
        try:
            for block in iter_bytes(plan, ByteRange(0, plan.length)):
                del block
            body, buffer = Body(plan), bytearray(1 << 20)
            while body.readinto(buffer):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 << 20
