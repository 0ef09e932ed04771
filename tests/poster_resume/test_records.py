"""Records: what is written down comes back, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from poster_resume.records import PlanRecord, SourceRecord


@given(st.binary(min_size=1).filter(lambda b: b"\0" not in b), st.binary())
def test_any_path_and_any_bytes_come_back(path: bytes, data: bytes) -> None:
    record = SourceRecord(
        kind="file", length=1, path=path.decode("utf-8", "surrogateescape"), data=data
    )
    assert SourceRecord.model_validate_json(record.model_dump_json()) == record


def test_paths_that_are_text_can_be_read_by_people() -> None:
    record = SourceRecord(kind="file", length=1, path="/home/☃.mov")
    assert '"/home/☃.mov"' in record.model_dump_json()


@pytest.mark.parametrize("path", ["", 5, "\0zz"])
def test_what_is_no_path_is_refused(path: object) -> None:
    with pytest.raises(ValidationError):
        SourceRecord.model_validate({"kind": "file", "length": 1, "path": path})


def plan_record(**changes: object) -> PlanRecord:
    values = {"content_type": "a/b", "length": 0, "headers": b"", "lengths": b""}
    return PlanRecord.model_validate(values | changes)


def test_records_of_another_kind_are_refused() -> None:
    wrong: list[dict[str, object]] = [
        {"version": 2},
        {"length": -1},
        {"more": 1},
        {"sources": [{}]},
    ]
    for changes in wrong:
        with pytest.raises(ValidationError):
            plan_record(**changes)
    with pytest.raises(ValidationError):
        plan_record().length = 5


def test_the_digest_is_that_of_what_is_stored() -> None:
    record = plan_record(headers=b"x")
    again = PlanRecord.model_validate_json(record.model_dump_json())
    assert again.digest == record.digest
    assert again == record
    assert plan_record(headers=b"y").digest != record.digest
    # What an earlier version stored has to be found by what it was stored under.
    assert record.digest == (
        "3b27d6c61b1c71d0d93ccccfb8449316856f54ce376b3a9fddea1cdcdd1a0e47"
    )
