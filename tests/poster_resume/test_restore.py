"""Restored plans: every source is what it was, or an error names it and says how."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from poster_resume.body import Body
from poster_resume.errors import SourceChanged
from poster_resume.plan import Plan, plan_content, plan_form, restore
from poster_resume.records import PlanRecord
from tests.poster_resume.test_sources import (
    CHANGES,
    CONTENT,
    replaced,
    rewritten,
    touched,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def recorded(plan: Plan) -> PlanRecord:
    with plan:
        record = plan.record()
    assert record is not None
    return record


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_changed_file_is_named_with_what_differs(
    file: Path, change: Callable[[Path], None], message: str
) -> None:
    form, content = plan_form({"a": "b", "f": file}), plan_content(file)
    records = [recorded(form), recorded(content)]
    change(file)
    for record in records:
        with pytest.raises(SourceChanged, match=f"file is not .*: it .*{message}"):
            restore(record)
    for plan in (form, content):
        with pytest.raises(SourceChanged, match=f"file is not .*: it .*{message}"):
            plan.check()


def test_of_many_files_the_changed_one_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n:03}" for n in range(100)]
    for path in paths:
        path.write_bytes(b"x")
    record = recorded(plan_form({"f": paths}))
    touched(paths[57])
    with pytest.raises(SourceChanged, match="057 is not what was planned"):
        restore(record)


def test_the_way_files_are_compared_is_kept(file: Path) -> None:
    by_size = recorded(plan_form({"f": file}, same_file="size+mtime"))
    by_content = recorded(plan_form({"f": file}, same_file="sha256"))
    replaced(file)
    restore(by_size).close()
    touched(file)
    with pytest.raises(SourceChanged, match="modified"):
        restore(by_size)
    restore(by_content).close()
    rewritten(file, CONTENT[:-1] + b"x")
    with pytest.raises(SourceChanged, match="its content is another"):
        restore(by_content)


def test_a_part_of_a_file_is_compared_by_its_own_content(file: Path) -> None:
    with file.open("rb") as opened:
        opened.seek(100)
        record = recorded(plan_content(opened, same_file="sha256"))
    rewritten(file, b"y" * 100 + CONTENT[100:])
    with restore(record) as plan:
        assert Body(plan).read() == CONTENT[100:]


def test_a_file_that_ends_while_it_is_sent_is_never_padded(file: Path) -> None:
    with plan_form({"f": file}) as plan:
        body = Body(plan)
        body.read(200)
        position = body.tell()
        os.truncate(file, 500)
        with pytest.raises(SourceChanged, match="ended at byte 500, 1280 were planned"):
            body.read()
        with pytest.raises(SourceChanged, match="ended at byte 500"):
            body.readinto(bytearray(plan.length))
        assert body.tell() == position


def test_a_relative_path_is_found_from_anywhere(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    record = recorded(plan_form({"f": Path("file")}))
    monkeypatch.chdir("/")
    with restore(record) as plan:
        assert CONTENT in Body(plan).read()
