"""Plans: the exact bytes of a form, known before a file is read."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poster.disposition import Escaping, part_header
from poster.encode import MultipartParam
from poster_resume.body import Body, iter_bytes
from poster_resume.errors import InvalidParameter, SourceError, StoreError
from poster_resume.layout import Extent
from poster_resume.plan import (
    Params,
    Plan,
    identity_of,
    plan_content,
    plan_form,
    restore,
)
from poster_resume.ranges import ByteRange
from poster_resume.records import PlanRecord
from tests.poster_resume.forms import Sample, encoded, ready, samples
from tests.servers import parsers
from tests.strategies import edges_of, ranges

_DIRECTORY = tempfile.TemporaryDirectory()
FORMS = samples(Path(_DIRECTORY.name))


@pytest.fixture(scope="module", autouse=True)
def directory() -> Iterator[Path]:
    with _DIRECTORY:
        yield Path(_DIRECTORY.name)


def boundary_of(plan: Plan) -> str:
    prefix = "multipart/form-data; boundary="
    assert plan.content_type.startswith(prefix)
    return plan.content_type.removeprefix(prefix)


def whole(plan: Plan) -> bytes:
    return b"".join(iter_bytes(plan, ByteRange(0, plan.length)))


def inherited(plan: Plan) -> PlanRecord:
    """Return the record of *plan*, as another process reads it."""
    record = plan.record()
    assert record is not None
    return PlanRecord.model_validate_json(record.model_dump_json())


@given(FORMS)
def test_a_plan_is_what_a_naive_encoder_writes(form: list[Sample]) -> None:
    with ready(form) as pairs, plan_form(pairs) as plan:
        expected = encoded(form, boundary_of(plan))
        assert plan.length == len(expected)
        assert whole(plan) == expected
        assert expected.endswith(b"--\r\n")
        closing = f"--{boundary_of(plan)}--\r\n".encode()
        assert expected[-plan.closing :] == closing


@given(FORMS, st.data())
def test_any_range_of_a_plan_is_that_slice_of_the_whole(
    form: list[Sample], data: st.DataObject
) -> None:
    with ready(form) as pairs, plan_form(pairs) as plan:
        expected = encoded(form, boundary_of(plan))
        wanted = data.draw(ranges(edges_of(plan.layout), plan.length))
        size = data.draw(st.sampled_from([1, 7, 4096, 1 << 20]))
        blocks = list(iter_bytes(plan, wanted, max(size, plan.length // 500)))
        assert b"".join(blocks) == expected[wanted.start : wanted.stop]
        assert len({len(block) for block in blocks[:-1]}) <= 1


@given(FORMS)
def test_a_plan_comes_back_from_its_record(form: list[Sample]) -> None:
    with ready(form) as pairs, plan_form(pairs) as plan:
        expected = whole(plan)
        record = inherited(plan)
        with restore(record, plan) as again:
            assert whole(again) == expected
            assert again.closing == plan.closing
            assert again.content_type == plan.content_type
            assert again.digest == plan.digest == record.digest
            assert again.fingerprint() == plan.fingerprint()
            assert list(again.describe()) == list(plan.describe())
            assert inherited(again) == record


@given(FORMS)
def test_the_table_of_a_plan_covers_every_byte_once(form: list[Sample]) -> None:
    with ready(form) as pairs, plan_form(pairs) as plan:
        at = 0
        for row in plan.describe():
            assert row.offset == at
            assert row.what
            at += row.length
        assert at == plan.length


READABLE = ["werkzeug", "django", "starlette", "aiohttp", "multipart"]


@pytest.mark.parametrize("parser", READABLE)
@settings(max_examples=40)
@given(form=FORMS)
def test_other_peoples_parsers_read_it_back(parser: str, form: list[Sample]) -> None:
    named = [e for e in form if not isinstance(e.value, bytes) and _readable(e)]
    with ready(named) as pairs, plan_form(pairs) as plan:
        fields = (
            getattr(parsers, parser)(plan.content_type, whole(plan)) if named else []
        )
    found = sorted((f.name, f.filename or "", f.content) for f in fields)
    assert found == sorted((e.name, e.filename or "", e.content) for e in named)


def _readable(sample: Sample) -> bool:
    # Some parsers strip white space around what they decode as text.
    text = sample.content.decode("utf-8", "replace")
    plain = sample.filename is None
    return not plain or (text == text.strip() and "\0" not in text)


RESTORER = """
import hashlib, pickle, sys
from poster_resume.body import Body, iter_bytes
from poster_resume.plan import restore
from poster_resume.ranges import ByteRange
from poster_resume.records import PlanRecord
plan = restore(PlanRecord.model_validate_json(open(sys.argv[1], "rb").read()))
digest = hashlib.sha256(b"".join(iter_bytes(plan, ByteRange(0, plan.length))))
body = pickle.load(open(sys.argv[2], "rb"))
print(digest.hexdigest(), hashlib.sha256(body.read()).hexdigest(), plan.digest)
"""


def test_another_process_restores_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(100_000))
    odd = os.fsencode(tmp_path) + b"/\xff.txt"
    if os.name == "posix":
        Path(os.fsdecode(odd)).write_bytes(b"odd")
    else:
        odd = os.fsencode(tmp_path / "a")

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with (tmp_path / "a").open("rb") as file:
        file.seek(7)
        form = {
            "text": ["☃", "", "x" * 60_000],
            "path": tmp_path / "a",
            "odd": Path(os.fsdecode(odd)),
            "open": file,
            "stream": Stream(b"stream"),
            "bytes": ("n", os.urandom(65536)),
        }
        plan = plan_form(form, spool=tmp_path / "spool")
        assert file.tell() == 7
    with plan:
        expected = whole(plan)
        (tmp_path / "record").write_text(inherited(plan).model_dump_json())
        body = Body(plan, ByteRange(5, plan.length - 1))
        body.seek(6)
        (tmp_path / "pickle").write_bytes(pickle.dumps(body))
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c", RESTORER),
            *(str(tmp_path / "record"), str(tmp_path / "pickle")),
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )
    digests = [hashlib.sha256(each).hexdigest() for each in (expected, expected[11:-1])]
    assert done.stdout.split() == [*digests, plan.digest]


def test_long_values_travel_with_a_pickle_and_not_with_a_record() -> None:
    form = {"short": "x" * 65536, "long": "y" * 65537, "io": io.BytesIO(b"z" * 65537)}
    plan = plan_form(form)
    assert whole(pickle.loads(pickle.dumps(plan))) == whole(plan)
    record = inherited(plan)
    assert len(record.model_dump_json()) < 100_000  # the short one, in base64
    for content in (form, list(form.items()), plan):
        assert whole(restore(record, content)) == whole(plan)
    for other in (None, {"long": "y" * 65537}, {"long": "n" * 65537}):
        with pytest.raises(InvalidParameter, match=r"65537 bytes.*same params again"):
            restore(record, other)


def test_a_plan_without_a_path_stays_in_its_process() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"content")
        file.seek(3)
        with plan_form({"f": file}) as plan:
            assert b"\r\n\r\ntent\r\n" in whole(plan)
            assert plan.record() is None
            assert plan.digest == ""
            with pytest.raises(SourceError, match="cannot leave its process"):
                pickle.dumps(plan)
            assert plan.fingerprint() == plan.fingerprint()


def test_a_plan_keeps_to_what_it_was_made_from(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"file")
    held = io.BytesIO(b"held")
    param = MultipartParam("p", b"param", filename="before")
    lists: list[object] = ["one", "two"]
    pair = ["pair", "before"]
    buffer = bytearray(b"buffer")
    params: list[object] = [("l", lists), pair, ("b", buffer), ("h", held), param]
    with (tmp_path / "f").open("rb") as file:
        params.append(("f", file))
        plan = plan_form(params)
    expected = whole(plan)
    lists.append("three")
    pair[1] = "after"
    buffer[:] = b"change"
    held.write(b"other")
    param.filename, param.value = "after", b"after"
    params.clear()
    assert whole(plan) == expected
    assert b"param" in expected
    mapping = {str(n): "x" for n in range(200)}
    plan = plan_form(mapping)
    expected = whole(plan)
    mapping.clear()
    assert whole(plan) == expected


def test_generators_of_pairs_are_forms() -> None:
    plan = plan_form((f"n{n}", n) for n in range(200))
    values = [Sample(f"n{n}", n, None, None, str(n).encode()) for n in range(200)]
    assert whole(plan) == encoded(values, boundary_of(plan))


def test_a_fingerprint_tells_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    first = plan_form({"f": path, "t": "x"}, boundary="b").fingerprint()
    assert plan_form({"f": path, "t": "x"}, boundary="b").fingerprint() == first
    assert plan_form({"f": path, "t": "y"}, boundary="b").fingerprint() != first
    assert plan_form({"f": path, "t": "x"}, boundary="c").fingerprint() != first
    os.utime(path, ns=(1, 1))
    assert plan_form({"f": path, "t": "x"}, boundary="b").fingerprint() != first


def test_an_empty_form_is_a_closing_line() -> None:
    forms: list[Params] = [{}, [], {"f": []}]
    for empty in forms:
        plan = plan_form(empty, boundary="b")
        assert whole(plan) == b"--b--\r\n"
        assert plan.closing == plan.length == 7
        assert whole(restore(inherited(plan))) == b"--b--\r\n"


@pytest.mark.parametrize("escaping", list(Escaping))
def test_names_cannot_break_out_of_their_quotes(escaping: Escaping) -> None:
    evil = 'a"; filename="x\r\nX-Evil: 1\r\n\r\n--b'
    plan = plan_form({evil: (evil, b"c")}, boundary="b", escaping=escaping)
    head, _, rest = whole(plan).partition(b"\r\n\r\n")
    assert head.count(b"\r\n") == 2
    assert rest == b"c\r\n--b--\r\n"
    browser = b'name="a%22; filename=%22x%0D%0AX-Evil: 1%0D%0A%0D%0A--b"'
    assert (browser in head) == (escaping is Escaping.BROWSER)


@pytest.mark.parametrize("escaping", list(Escaping))
def test_any_character_of_a_name_has_the_length_that_was_told(
    escaping: Escaping,
) -> None:
    for character in [*map(chr, range(1, 256)), "☃", "\udcff", "\ud800"]:
        for name in (character, f"a{character}", f"{character} "):
            content = whole(plan_form({name: "x"}, boundary="b", escaping=escaping))
            assert content.endswith(b'"\r\n\r\nx\r\n--b--\r\n')


SPECIAL = st.text(st.sampled_from('a"\\%\r\n\t \x7f\0ä☃\udcff\ud800'), max_size=3)


@given(st.lists(st.tuples(SPECIAL | st.text(max_size=9), SPECIAL), max_size=9))
def test_any_names_have_the_length_that_was_told(form: list[tuple[str, str]]) -> None:
    for escaping in Escaping:
        nul = any("\0" in name for name, _ in form)
        if any(not _is_text(value) for _, value in form):
            with pytest.raises(InvalidParameter, match=r"surrogate|NUL"):
                plan_form(form, escaping=escaping)
        elif nul and escaping is not Escaping.CLASSIC:
            with pytest.raises(InvalidParameter, match="has a NUL"):
                plan_form(form, escaping=escaping)
        else:
            plan = plan_form(form, boundary="b", escaping=escaping)
            assert whole(plan).endswith(b"--b--\r\n")


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


@pytest.mark.skipif(os.name != "posix", reason="names are text here")
def test_filenames_that_are_no_text_come_back_as_the_bytes_they_were(
    tmp_path: Path,
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\xfe.txt"))
    path.write_bytes(b"content")
    with plan_form({"f": path}) as plan:
        assert b'filename="a\xff\xfe.txt"\r\nContent-Type: text/plain\r\n' in whole(
            plan
        )
        assert whole(restore(inherited(plan))) == whole(plan)
        assert any("\\xff" in row.what for row in plan.describe())


def test_params_of_poster_write_their_own_headers(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(b"0123456789")
    file = (tmp_path / "f.txt").open("rb")
    file.seek(4)
    form: list[object] = [
        MultipartParam("☃", "väl", filename="ü"),
        ("n", MultipartParam("n", 5)),
        MultipartParam.from_file("f", tmp_path / "f.txt"),
        MultipartParam("part", filename="p", filesize=3, fileobj=file),
    ]
    with plan_form(form, boundary="b c") as plan:
        content = whole(plan)
    file.close()
    # The boundary is ours, spelled as the Content-Type has it.
    assert plan.content_type == 'multipart/form-data; boundary="b c"'
    assert content.startswith(b"--b c\r\n")
    assert b'name="=?utf-8?b?4piD?="; filename="&#252;"' in content
    assert b"\r\n\r\nv\xc3\xa4l\r\n--b c\r\n" in content
    assert b'filename="f.txt"\r\nContent-Type: text/plain\r\n\r\n0123456789' in content
    assert b"\r\n\r\n456\r\n--b c--\r\n" in content


def test_a_whole_file_of_poster_begins_at_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with (tmp_path / "f").open("rb") as file:
        file.seek(4)
        param = MultipartParam("p", fileobj=file)
        file.seek(2)
        with plan_form([param]) as plan:
            assert b"\r\n\r\n0123456789\r\n" in whole(plan)
        assert file.tell() == 2


def test_an_explicit_boundary_must_not_begin_a_line_of_a_value(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x\r\n--here\r\n")
    plan_form({"a": "in --here and", "f": tmp_path / "f"}, boundary="here").close()
    long = b"y" * 70_000 + b"\r\n--here"
    for value in ("x\r\n--here", b"--here", "\n--hereafter", long, io.BytesIO(long)):
        for name in ("a", 'quoted"'):
            with pytest.raises(
                InvalidParameter, match="boundary: 'here' begins a line"
            ):
                plan_form([("x", 1), (name, value)], boundary="here")
    with pytest.raises(InvalidParameter, match="begins a line of the value of 'n'"):
        plan_form({"n": ("f", b"--here")}, boundary="here")
    with pytest.raises(InvalidParameter, match=r"begins a line of .*f: leave it out"):
        plan_form({"f": tmp_path / "f"}, boundary="here", scan=True)
    plan_form({"f": tmp_path / "f"}, boundary="there", scan=True).close()


def test_a_boundary_that_stands_across_two_reads_is_found(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for cut in range(1, 9):
        path.write_bytes(b"." * ((1 << 20) - cut) + b"\r\n--here")
        with pytest.raises(InvalidParameter, match="begins a line"):
            plan_form({"f": path}, boundary="here", scan=True)


@pytest.mark.parametrize("boundary", ["", " ", "a ", "a\r\n", "ä", "x" * 71])
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(InvalidParameter, match="boundary"):
        plan_form({}, boundary=boundary)


@pytest.mark.parametrize("value", ["drawn{}", b"drawn{}", "drawn{}" * 9000])
@pytest.mark.parametrize("name", ["n", 'n"'])
def test_a_random_boundary_is_drawn_again_if_a_value_has_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | bytes
) -> None:
    drawn = iter(["drawn0", "drawn1", "drawn2"])
    monkeypatch.setattr("poster.boundary.new_boundary", lambda: next(drawn))
    held: list[str | bytes] = [
        value.replace("{}", str(n)) if isinstance(value, str) else b"drawn%d" % n
        for n in (0, 1)
    ]
    plan = plan_form([(name, each) for each in held] + [("io", io.BytesIO(b"x"))])
    assert boundary_of(plan) == "drawn2"
    assert len(whole(plan)) == plan.length


def test_a_million_texts_cost_little_more_than_references() -> None:
    form = [(f"field{n}", f"value{n}") for n in range(100_000)]
    tracemalloc.start()
    try:
        plan = plan_form(form)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # a tenth of 10 MB
    middle = plan.length // 2
    assert len(b"".join(iter_bytes(plan, ByteRange(middle, middle + 99)))) == 99


def test_a_look_into_a_million_parts_renders_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_form({"n": ["v"] * 10_000})
    rendered: list[str] = []

    def counted(delimiter: bytes, name: str, **more: Any) -> bytes:
        rendered.append(name)
        return part_header(delimiter, name, **more)

    monkeypatch.setattr("poster_resume.plan.form.part_header", counted)
    middle = plan.length // 2
    assert list(plan.layout.cut(ByteRange(middle, middle + 1)))
    assert 1 <= len(rendered) <= 64


def test_planning_many_files_opens_none_and_looks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(n) for n in range(500)]
    for path in paths:
        path.write_bytes(b"x")
    looked: list[str] = []
    look = os.stat

    def counted(path: str) -> os.stat_result:
        looked.append(path)
        return look(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *a: pytest.fail("a file was opened"))
        patch.setattr(os, "stat", counted)
        plan = plan_form({"f": paths})
    assert sorted(looked) == sorted(map(str, paths))
    with plan:
        assert whole(plan).count(b"\r\n\r\nx\r\n") == 500


def test_a_tebibyte_is_planned_and_read_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        try:
            file.truncate(1 << 40)
        except OSError:
            pytest.skip("this file system has no sparse files of that size")
    mib = 1 << 20
    read: list[int] = []
    with plan_form({"f": path}) as plan:
        assert plan.length > 1 << 40
        source = plan.sources[0]
        tracemalloc.start()
        for start in (0, (1 << 39) + 5, plan.length - mib):
            for block in iter_bytes(plan, ByteRange(start, start + mib)):
                read.append(len(block))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(read) == 3 * mib
        assert peak < 4 * mib
        assert source.length == 1 << 40
        assert restore(inherited(plan)).length == plan.length


def test_raw_content_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"0123456789")
    with (tmp_path / "a.mp4").open("rb") as file:
        file.seek(3)
        for content, expected, kind in (
            (tmp_path / "a.mp4", b"0123456789", "video/mp4"),
            (file, b"3456789", "video/mp4"),
            (b"bytes", b"bytes", "application/octet-stream"),
            (b"", b"", "application/octet-stream"),
            (io.BytesIO(b"held"), b"held", "application/octet-stream"),
        ):
            with plan_content(content, spool=tmp_path) as plan:
                assert whole(plan) == expected
                assert plan.content_type == kind
                assert plan.closing == 0
                assert whole(restore(inherited(plan))) == expected
                assert sum(row.length for row in plan.describe()) == len(expected)
                extent = next(iter(plan.layout.segments), None)
                assert extent == (Extent(0, 0, len(expected)) if expected else None)
    assert plan_content(b"", content_type="a/b").content_type == "a/b"


def test_long_raw_bytes_are_found_in_what_is_given_again() -> None:
    content = b"x" * 70_000
    record = inherited(plan_content(content))
    for again in (content, bytearray(content), io.BytesIO(content)):
        assert whole(restore(record, again)) == content
    with pytest.raises(InvalidParameter, match="same params again"):
        restore(record, b"y" * 70_000)


def test_a_damaged_record_is_an_error() -> None:
    record = inherited(plan_form({"a": "b"}))
    for changes in (
        {"headers": b"x"},
        {"lengths": b"x"},
        {"length": record.length + 1},
        {"lengths": record.headers},
        {"headers": zlib.compress(zlib.decompress(record.headers) + b"x")},
        {"sources": plan_content(b"x").record().sources},  # type: ignore[union-attr]
    ):
        with pytest.raises(StoreError, match="a stored plan is damaged"):
            restore(record.model_copy(update=changes))


def test_a_record_of_version_1_is_read_for_ever() -> None:
    fixture = Path(__file__).parents[1] / "fixtures" / "plan-1.json"
    record = PlanRecord.model_validate_json(fixture.read_bytes())
    assert whole(restore(record)) == (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n'
        b"Content-Type: text/x\r\n\r\n" + b"y" * 5000 + b"\r\n--b--\r\n"
    )


@given(FORMS)
def test_the_same_content_has_the_same_identity(form: list[Sample]) -> None:
    with (
        ready(form) as pairs,
        plan_form(pairs) as first,
        plan_form(pairs) as second,
    ):
        assert first.identity == second.identity == identity_of(pairs)
        assert identity_of(first) == first.identity
        assert first.digest != second.digest or not form
        as_lists = [list(each) for each in pairs]
        assert identity_of(as_lists) == first.identity


def test_identity_leaves_out_what_planning_adds(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    before = identity_of({"f": path, "n": "1"})
    assert plan_form({"f": path, "n": 1}, boundary="b").identity == before
    path.write_bytes(b"other content")
    assert identity_of({"f": path, "n": b"1"}) == before
    link = tmp_path / "link"
    link.symlink_to(path)
    assert identity_of({"f": link, "n": "1"}) == before
    os.chdir(tmp_path)
    assert identity_of({"f": Path("a.txt"), "n": "1"}) == before
    with path.open("rb") as file:
        assert identity_of({"f": file, "n": "1"}) == before
        plan = plan_form({"f": file, "n": "1"})
    assert plan.identity == before
    path.unlink()
    assert identity_of({"f": path, "n": "1"}) == before


def test_identity_tells_different_content_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    with (tmp_path / "a").open("rb") as file:
        file.seek(1)
        forms: list[object] = [
            {},
            {"a": "x"},
            {"b": "x"},
            {"a": "y"},
            {"a": "x" * 100_000},
            {"a": "x" * 99_999 + "y"},
            {"a": ["x", "x"]},
            {"a": "x", "b": "y"},
            {"b": "y", "a": "x"},
            {"a": ("x", b"x")},
            {"a": ("y", b"x")},
            {"a": ("x", b"x", "text/x")},
            {"a": (None, b"x", "text/x")},
            {"a": tmp_path / "a"},
            {"a": tmp_path / "b"},
            {"a": ("a", tmp_path / "a")},
            {"a": (None, tmp_path / "a")},
            {"a": file},
            {"a": MultipartParam("a", "x")},
            {"a": MultipartParam("a", "x", filename="y")},
            b"x",
            b"y",
            tmp_path / "a",
            file,
        ]
        found = [identity_of(each) for each in forms]
        assert len(set(found)) == len(forms)
        assert identity_of(b"x", "a/b") != identity_of(b"x")
        assert plan_content(b"x", content_type="a/b").identity == identity_of(
            b"x", "a/b"
        )
        assert plan_content(tmp_path / "a").identity == identity_of(tmp_path / "a")


def test_what_can_be_read_once_is_never_the_same_twice() -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    stream = Stream(b"x")
    assert identity_of({"a": stream}) != identity_of({"a": stream})
    assert identity_of(stream) != identity_of(stream)
    assert stream.read() == b"x"


def test_a_restored_plan_is_its_own_identity() -> None:
    record = inherited(plan_form({"a": "b"}))
    assert restore(record).identity == restore(record).identity
    assert (
        restore(inherited(plan_form({"a": "b"}))).identity != restore(record).identity
    )


def test_threads_may_read_one_plan(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(os.urandom(50_000))
    form = [("a", "x" * 100), ("f", tmp_path / "f"), *((f"n{n}", n) for n in range(99))]
    wrong: list[int] = []
    with plan_form(form) as plan:
        expected = whole(plan)

        def read(step: int) -> None:
            body = Body(plan)
            while block := body.read(step):
                start = body.tell() - len(block)
                if block != expected[start : start + step]:
                    wrong.append(start)

        threads = [threading.Thread(target=read, args=(n,)) for n in (97, 501, 4096)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_a_file_that_does_not_say_its_size_is_not_taken_for_empty(
    tmp_path: Path,
) -> None:
    file = Path("/proc/self/status")
    with pytest.raises(InvalidParameter, match="which does not say its size"):
        plan_content(file)
    with plan_content(file, spool=tmp_path) as plan:
        assert Body(plan).read().startswith(b"Name:")
