"""What a form may hold: the right bytes, or an error with the field and the remedy."""

from __future__ import annotations

import gzip
import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from enum import IntEnum, StrEnum
from pathlib import Path

import pytest

from poster.encode import MultipartParam
from poster_resume.body import Body
from poster_resume.errors import InvalidParameter, SourceError
from poster_resume.plan import Plan, identity_of, plan_content, plan_form, restore


def read(plan: Plan) -> bytes:
    with plan:
        return Body(plan).read()


def part(value: object, **options: object) -> bytes:
    """Return the header, less its delimiter, and content of a part with *value*."""
    body = read(plan_form({"f": value}, boundary="b", **options))  # type: ignore[arg-type]  # spool alone
    prefix = b'--b\r\nContent-Disposition: form-data; name="f"'
    assert body.startswith(prefix)
    assert body.endswith(b"\r\n--b--\r\n")
    return body[len(prefix) : -len(b"\r\n--b--\r\n")]


class Stream(io.RawIOBase):
    """Bytes that can be read once."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # any buffer
        return self._content.readinto(buffer)


class Color(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text\n", b"\r\n\r\ntext\n"),
        ("☃", b"\r\n\r\n\xe2\x98\x83"),
        ("", b"\r\n\r\n"),
        (b"\xff\0", b"\r\n\r\n\xff\0"),
        (bytearray(b"a"), b"\r\n\r\na"),
        (memoryview(b"a"), b"\r\n\r\na"),
        (-5, b"\r\n\r\n-5"),
        (Color.RED, b"\r\n\r\nred"),
        (Number.ONE, b"\r\n\r\n1"),
        ((None, "text"), b"\r\n\r\ntext"),
        ((None, b"x", "a/b"), b"\r\nContent-Type: a/b\r\n\r\nx"),
        (("n.gif", b"x"), b'; filename="n.gif"\r\nContent-Type: image/gif\r\n\r\nx'),
        (("n.gif", b"x", "a/b"), b'; filename="n.gif"\r\nContent-Type: a/b\r\n\r\nx'),
        (
            (Path("n.gif"), b""),
            b'; filename="n.gif"\r\nContent-Type: image/gif\r\n\r\n',
        ),
        (
            io.BytesIO(b"x"),
            b'; filename="upload"\r\nContent-Type: application/octet-stream\r\n\r\nx',
        ),
        (MultipartParam("f", b"x", filetype="a/b"), b"\r\nContent-Type: a/b\r\n\r\nx"),
    ],
)
def test_values_become_parts(value: object, expected: bytes) -> None:
    assert part(value) == expected
    assert part([value]) == expected


def test_lists_repeat_a_field() -> None:
    form = {"a": ["1", 2, b"3", ("n", b"4")], "b": [], "c": "5"}
    plan = plan_form(form)
    assert read(plan).count(b'name="a"') == 4
    assert read(plan_form([("a", ["x"] * 130), ("b", "y")])).count(b'name="a"') == 130


def test_files_keep_their_names_and_get_types_by_our_table(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(b"0123456789")
    header = b'; filename="a.mov"\r\nContent-Type: video/quicktime\r\n\r\n'
    assert part(path) == header + b"0123456789"
    assert part((None, path)) == b"\r\n\r\n0123456789"
    named = b'; filename="b.txt"\r\nContent-Type: text/plain\r\n\r\n0123456789'
    assert part(("b.txt", path)) == named
    path.write_bytes(b"")
    assert part(path) == header


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_open_files_count_from_where_they_stand(
    tmp_path: Path, mode: str, buffering: int
) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(b"0123456789")
    with open(path, mode, buffering=buffering) as file:
        for start, content in (
            (0, b"0123456789"),
            (4, b"456789"),
            (10, b""),
            (12, b""),
        ):
            file.seek(start)
            assert part(file).endswith(b"\r\n\r\n" + content)
            assert file.tell() == start
    with tempfile.NamedTemporaryFile(suffix=".gif") as temporary:
        temporary.write(b"written")  # and not flushed
        temporary.seek(2)
        with plan_form({"f": temporary}) as plan:
            assert b"Content-Type: image/gif\r\n\r\nitten\r\n" in read(plan)
            assert plan.record() is not None


def test_what_was_written_is_not_written_again_later(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w+b") as file:
        file.write(b"0123456789")  # in a buffer yet
        plan = plan_form({"f": file})
        file.seek(0)
        plan.check()
        assert part(file).endswith(b"\r\n\r\n0123456789")


def test_an_open_file_may_be_closed_after_planning(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with (tmp_path / "a").open("rb") as file, tempfile.TemporaryFile() as other:
        other.write(b"other")
        other.seek(1)
        plan = plan_form({"f": file, "o": other})
    content = read(plan)
    assert b"\r\n\r\n0123456789\r\n" in content
    assert b"\r\n\r\nther\r\n" in content


def test_a_path_that_leads_elsewhere_is_not_the_open_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"opened")
    with path.open("rb") as file:
        (tmp_path / "b").write_bytes(b"another")
        os.replace(tmp_path / "b", path)
        plan = plan_form({"f": file})
    assert plan.record() is None
    assert b"\r\n\r\nopened\r\n" in read(plan)


def test_what_an_object_reads_counts_not_what_its_descriptor_has(
    tmp_path: Path,
) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as packed:
        packed.write(b"unpacked")
    with gzip.open(tmp_path / "a.gz", "rb") as unpacked:
        unpacked.read(2)
        plan = plan_form({"f": unpacked})
        assert b"\r\n\r\npacked\r\n" in read(plan)
        assert plan.record() is None
        assert unpacked.tell() == 2
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(b"spooled")
        spooled.seek(1)
        assert part(spooled).endswith(b"\r\n\r\npooled")
        assert spooled.tell() == 1


def test_streams_are_spooled_and_come_back(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    form = {"a": Stream(content), "b": "x", "c": Stream(b"")}
    plan = plan_form(form, boundary="b", spool=tmp_path / "spool")
    with plan:
        body = read(plan)
        assert content in body
        assert body.count(b'filename="upload"') == 2
        assert plan.length == len(body)
    record = plan.record()
    assert record is not None
    assert [source.kind for source in record.sources] == ["spool", "spool"]
    assert read(restore(record)) == body
    raw = plan_content(Stream(b"raw"), spool=tmp_path / "spool")  # type: ignore[arg-type]  # RawIOBase
    assert read(raw) == b"raw"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_spooled(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gif"
    os.mkfifo(pipe)
    with pytest.raises(InvalidParameter, match=r"'f': .*pipe.*pass spool="):
        plan_form({"f": pipe})
    writer = threading.Thread(target=pipe.write_bytes, args=(b"piped",))
    writer.start()
    content = part(pipe, spool=tmp_path)
    writer.join()
    assert content == b'; filename="pipe.gif"\r\nContent-Type: image/gif\r\n\r\npiped'
    assert identity_of({"f": pipe}) != identity_of({"f": pipe})


def test_all_streams_of_a_plan_share_the_limit(tmp_path: Path) -> None:
    form = {"a": Stream(b"x" * 6), "b": Stream(b"x" * 5)}
    with pytest.raises(InvalidParameter, match=r"params: 'b': .*spool_limit"):
        plan_form(form, spool=tmp_path, spool_limit=10)
    assert list(tmp_path.iterdir()) == []  # nothing of the first one either
    form = {"a": Stream(b"x" * 6), "b": Stream(b"x" * 4)}
    plan_form(form, spool=tmp_path, spool_limit=10).close()


def test_nothing_is_spooled_before_all_else_is_right(tmp_path: Path) -> None:
    stream = Stream(b"content")
    with pytest.raises(InvalidParameter, match="'b'"):
        plan_form({"a": stream, "b": None}, spool=tmp_path / "spool")
    assert stream.read() == b"content"
    assert not (tmp_path / "spool").exists()


def test_a_poster_param_with_a_stream_has_the_size_it_tells(tmp_path: Path) -> None:
    param = MultipartParam("f", fileobj=Stream(b"0123456789"), filesize=4)
    assert part(param, spool=tmp_path).endswith(b"\r\n\r\n0123")
    param = MultipartParam("f", fileobj=Stream(b"0123456789"), filesize=11)
    with pytest.raises(InvalidParameter, match="'f': the stream has 10 bytes, not 11"):
        part(param, spool=tmp_path)


def refused(form: object) -> str:
    """Return why *form* is refused."""
    with pytest.raises(InvalidParameter) as caught:
        plan_form(form)  # type: ignore[arg-type]  # the point
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


REFUSED: list[tuple[object, str]] = [
    (None, "None is no value; leave the field out"),
    (True, "bool .*true"),
    (1.5, "float .*str"),
    ({"a": 1}, "dict .*json.dumps"),
    ({1, 2}, "set has no order; give a list"),
    (object(), "object is no value; give str, bytes, int, a Path or an open"),
    (iter([b"x"]), "list_iterator is no value; give a list"),
    (io.StringIO("x"), 'text mode; open it with "rb"'),
    (("n.txt", "text"), r"str .*ambiguous; use Path\(...\) .*encode"),
    (("n.txt", 5), "int .*ambiguous"),
    ((None, 5), "int .*ambiguous"),
    (("n.txt", True), "bool"),
    (("n.txt", None), "None"),
    (("n.txt", io.StringIO("x")), "text mode"),
    (("a", b"b", "c", {}), "4 elements; to repeat a field, give a list"),
    ((b"bytes",), "1 elements"),
    ((5, b"x"), "filename 5 is not str"),
    (("n", b"x", 5), "type 5 is not str"),
    (("n\0", b"x"), "NUL"),
    (("n", b"x", "a/b\r\nEvil: 1"), "line break"),
    ([["nested"]], "list is no value"),
    ("\udcff", "lone surrogate"),
    (Path("/nowhere/at/all"), "there is no file /nowhere/at/all"),
    (Path("nul\0"), "NUL"),
    (Path(os.curdir), "is a directory"),
    (Stream(b"x"), "stream can be read only once .*pass spool="),
    (MultipartParam("f"), "neither value nor fileobj"),
    (MultipartParam("f", fileobj=io.BytesIO(b"x"), filesize=-1), "filesize -1 is neg"),
    (MultipartParam("f", fileobj=io.BytesIO(b"x"), filesize=2), "filesize is 2, but"),
    (MultipartParam("f", "x", filetype="a\r\nb"), "line break"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED)
def test_what_cannot_be_sent_is_refused_with_field_and_remedy(
    value: object, message: str
) -> None:
    for form in ({"f": value}, [("x", "y"), ("f", value)], {"f": ["y", value]}):
        assert re.search(rf"^params: 'f': .*{message}", refused(form))


def test_a_number_that_python_will_not_spell_is_refused() -> None:
    assert re.search(r"^params: 'f': .*give it as str", refused({"f": 10**5000}))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("text", "str is no form"),
        (b"bytes", r"bytes is no form.*content="),
        (None, "None is no form"),
        (5, "int is no form"),
        (MultipartParam("f", "x"), "MultipartParam is no form"),
        (["ab", "cd"], "str is no pair"),
        ([("a",)], "tuple is no pair"),
        ([("a", "b"), ("a", "b", "c")], "tuple is no pair"),
        ({5: "x"}, "name 5 is not str"),
        ([(b"a", "x")], "name b'a' is not str"),
        ({"a\0": "x"}, "NUL"),
    ],
)
def test_what_is_no_form_is_refused(form: object, message: str) -> None:
    assert re.search(f"^params: .*{message}", refused(form))


def test_open_files_must_be_binary_readable_and_open(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        pass
    assert "'f': the file is closed; give its Path" in refused({"f": file})
    with path.open() as text:
        assert 'text mode; open it with "rb"' in refused({"f": text})
    with path.open("ab") as writer:
        assert "not open for reading (mode 'ab')" in refused({"f": writer})
    with tempfile.NamedTemporaryFile("w+") as wrapped:
        assert "text mode" in refused({"f": wrapped})


def test_one_open_file_is_one_value(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with (tmp_path / "a").open("rb") as file:
        for used in (file, io.BytesIO(b"x")):
            message = refused({"a": used, "b": ("n", used)})
            assert "'b': the same open file is the value of 'a' as well" in message
    stream = Stream(b"x")
    with pytest.raises(InvalidParameter, match="same open file"):
        plan_form({"f": [stream, stream]}, spool=tmp_path)
    assert stream.read() == b"x"
    read(plan_form({"f": [tmp_path / "a", tmp_path / "a"]}))  # a path is no position


def test_a_poster_param_must_not_tell_more_than_its_file_has(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with (tmp_path / "a").open("rb") as file, gzip.open(tmp_path / "z", "wb+") as _:
        for size, start in ((8, 0), (5, 3)):
            file.seek(start)
            param = MultipartParam("f", fileobj=file, filesize=size)
            message = f"filesize is {size}, but the file has {7 - start} bytes"
            assert message in refused([param])
    with gzip.open(tmp_path / "z") as empty:
        param = MultipartParam("f", fileobj=empty, filesize=1)
        assert "filesize is 1, but the file has 0 bytes" in refused([param])


def test_descriptors_do_not_leak_when_planning_fails(tmp_path: Path) -> None:
    with tempfile.TemporaryFile() as file:
        fds = "/proc/self/fd"
        before = len(os.listdir(fds)) if os.path.isdir(fds) else 0
        for _ in range(3):
            refused({"a": file, "b": None})
        assert before == (len(os.listdir(fds)) if os.path.isdir(fds) else 0)


def test_mappings_of_ones_own_are_forms() -> None:
    class Own(Mapping[str, object]):
        def __getitem__(self, key: str) -> object:
            return key * 2

        def __iter__(self) -> Iterator[str]:
            return iter("abc")

        def __len__(self) -> int:
            return 3

    assert b"\r\n\r\ncc\r\n" in read(plan_form(Own()))

    class Broken(Own):
        def values(self) -> list[object]:  # type: ignore[override]  # broken
            return []

    assert "fewer values than names" in refused(Broken())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text", "str is ambiguous"),
        (None, "None is no value"),
        (5, "int is no value"),
        (io.StringIO("x"), "text mode"),
        (Path("/nowhere"), "there is no file /nowhere"),
        (Path(os.curdir), "is a directory"),
        (Stream(b""), "pass spool="),
    ],
)
def test_content_that_cannot_be_sent_is_refused(content: object, message: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^content: .*{message}"):
        plan_content(content)  # type: ignore[arg-type]  # the point


def test_options_are_checked(tmp_path: Path) -> None:
    for same_file in ("loose", ""):
        with pytest.raises(InvalidParameter, match=r"^same_file: "):
            plan_form({}, same_file=same_file)  # type: ignore[arg-type]  # the point
        with pytest.raises(InvalidParameter, match=r"^same_file: "):
            plan_content(b"", same_file=same_file)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match=r"^spool_limit: -1 is negative"):
        plan_form({}, spool_limit=-1)


def test_a_path_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(SourceError, match=r"params: 'f': .*loop cannot be used"):
        plan_form({"f": loop})
    (tmp_path / "file").touch()
    assert "there is no file" in refused({"f": tmp_path / "file" / "below"})
