"""Forms have the bytes of poster 0.8 without its faults, and the announced length."""

import contextlib
import doctest
import gzip
import io
import operator
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

import poster
from poster.encode import (
    Escaping,
    LengthMismatch,
    MultipartParam,
    encode_and_quote,
    encode_file_header,
    encode_string,
    gen_boundary,
    get_body_size,
    get_headers,
    multipart_encode,
)
from poster.files import FileRange, TextFile
from tests.servers import parsers

BOUNDARY = "XYZXYZXYZ"
TYPE = "text/plain; charset=utf-8"


def part(
    content: bytes, name: str = "foo", filetype: str = TYPE, filename: str | None = None
) -> bytes:
    told = "" if filename is None else f'; filename="{filename}"'
    return (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n'
            f"Content-Type: {filetype}\r\n\r\n"
        ).encode()
        + content
        + b"\r\n"
    )


END = f"--{BOUNDARY}--\r\n".encode()


class Odd:
    """A file object with no more than it is given."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "some file.html"
    made.write_bytes(b"0123456789" * 1000)
    return made


@pytest.fixture
def large(tmp_path: Path) -> Path:
    made = tmp_path / "large.bin"
    with made.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    return made


# The package


def test_the_version_is_a_tuple_that_is_newer_than_the_original() -> None:
    assert isinstance(poster.version, tuple)
    assert len(poster.version) == 3
    assert poster.version > (0, 8, 1)


def test_importing_the_package_imports_its_modules() -> None:
    code = "import poster; poster.encode.multipart_encode, poster.streaminghttp"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_random_boundaries_differ() -> None:
    assert gen_boundary() != gen_boundary()
    assert len(gen_boundary()) == 32


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(poster.encode).failed == 0
    assert doctest.testmod(poster.encode).attempted > 0


def test_the_migration_guide_runs() -> None:
    guide = (
        Path(poster.__file__).parents[1] / "docs/how-to/migrating-from-poster-0.8.md"
    )
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 4
    code = "\n".join(blocks)
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_parameter_shows_its_class_and_name() -> None:
    assert repr(MultipartParam("foo", "secret")) == "<MultipartParam 'foo'>"


def test_quoting_is_that_of_python_2() -> None:
    assert encode_and_quote("foo bar") == "foo+bar"
    assert encode_and_quote("foo@bar") == "foo%40bar"
    assert encode_and_quote("(©) 2008") == "%28%C2%A9%29+2008"
    assert encode_and_quote("(©) 2008".encode()) == "%28%C2%A9%29+2008"
    assert encode_and_quote("a~b_c.d-e") == "a%7Eb_c.d-e"
    assert encode_and_quote(None) is None


# Parameters


def test_a_parameter_has_the_attributes_of_the_original() -> None:
    def cb(*_: object) -> None: ...

    file = io.BytesIO(b"abc")
    param = MultipartParam("n", None, "f.txt", "a/b", 3, file, cb)
    assert (param.name, param.value, param.filename) == ("n", None, "f.txt")
    assert (param.filetype, param.filesize, param.fileobj) == ("a/b", 3, file)
    assert param.cb is cb
    assert MultipartParam(b"n", "v").value == b"v"
    assert MultipartParam("☃", "v").name == "=?utf-8?b?4piD?="
    assert MultipartParam("n", "v", filename="☃").filename == "&#9731;"


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("bár", "bár".encode()),
        (b"\xff", b"\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (5, b"5"),
        (0, b"0"),
        (1.5, b"1.5"),
        (True, b"True"),
        ("", b""),
        (b"", b""),
        ("caf\udce9", b"caf\xe9"),
        ("\ud800", b"\xed\xa0\x80"),
    ],
)
def test_any_value_has_bytes(value: object, content: bytes) -> None:
    param = MultipartParam("foo", value)
    assert param.value == content
    assert param.encode(BOUNDARY) == part(content)
    assert param.get_size(BOUNDARY) == len(part(content))
    assert list(param.iter_encode(BOUNDARY)) == [part(content)]


def test_value_and_file_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="Only one of value or fileobj"):
        MultipartParam("foo", "v", fileobj=io.BytesIO())
    with pytest.raises(ValueError, match="Only one of value or fileobj"):
        MultipartParam("foo", "", fileobj=io.BytesIO())


@pytest.mark.parametrize("name", [None, 5, ["a"]])
def test_a_name_is_text_or_bytes(name: str) -> None:
    with pytest.raises(TypeError, match="name must be str or bytes"):
        MultipartParam(name, "v")


def test_a_parameter_without_content_has_a_header_and_no_size() -> None:
    param = MultipartParam("foo")
    assert param.encode_hdr(BOUNDARY) == part(b"")[:-2]
    for use in (
        lambda: param.get_size(BOUNDARY),
        lambda: param.encode(BOUNDARY),
        lambda: list(param.iter_encode(BOUNDARY)),
        lambda: multipart_encode({"foo": None}),
    ):
        with pytest.raises(TypeError, match="'foo' has neither value nor file"):
            use()
    with pytest.raises(ValueError, match="Don't know how to reset"):
        param.reset()
    with pytest.raises(TypeError, match="neither value nor file"):
        MultipartParam("foo", filesize=3).encode(BOUNDARY)


def test_equality_is_that_of_the_attributes_but_the_callback() -> None:
    file = io.BytesIO(b"abc")

    def make(**other: object) -> MultipartParam:
        options: dict[str, object] = {"filename": "f", "filetype": "t/t", "filesize": 3}
        options |= {"fileobj": file} | other
        return MultipartParam("n", **options)  # type: ignore[arg-type]  # of the above

    assert make() == make()
    assert make(cb=print) == make()
    assert hash(make(cb=print)) == hash(make())
    assert MultipartParam("n", "é") == MultipartParam(b"n", "é".encode())
    for other in (
        {"filename": "g"},
        {"filetype": "t/u"},
        {"filesize": 4},
        {"fileobj": io.BytesIO(b"abc")},
        {"fileobj": None, "value": b"abc"},
    ):
        assert make(**other) != make()
    assert MultipartParam("n", "v") != MultipartParam("m", "v")
    assert MultipartParam("n", "v") != MultipartParam("n", "w")
    assert MultipartParam("n", "v") != ("n", "v")
    assert MultipartParam("n", "v") not in [5, None, "n"]


def test_parameters_are_found_in_sets_after_a_filename_was_assigned() -> None:
    param = MultipartParam("n", "v")
    known = {param}
    param.filename = "later.txt"
    assert param in known


PARAMS = st.builds(
    MultipartParam,
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "", "v"]),
    st.sampled_from([None, "f"]),
    st.sampled_from([None, "t/t"]),
    st.sampled_from([None, 0, 1]),
)


@given(PARAMS, PARAMS, PARAMS)
def test_parameters_have_one_order(
    a: MultipartParam, b: MultipartParam, c: MultipartParam
) -> None:
    assert (a < b) + (a == b) + (a > b) == 1
    assert (a <= b) == (a < b or a == b)
    assert (a >= b) == (a > b or a == b)
    ordered = sorted([a, b, c])
    assert all(map(operator.le, ordered, ordered[1:]))


def test_none_comes_first_in_the_order_as_in_python_2() -> None:
    assert MultipartParam("n") < MultipartParam("n", "") < MultipartParam("n", "a")
    with pytest.raises(TypeError):
        operator.lt(MultipartParam("n"), 5)


# Headers of parts


def test_classic_fields_look_as_they_did() -> None:
    assert encode_string(BOUNDARY, "foo", "bar") == part(b"bar")
    assert encode_string(BOUNDARY, "foo baz", "bar") == part(b"bar", "foo baz")
    assert encode_string(BOUNDARY, "files[]", "bar") == part(b"bar", "files[]")
    assert encode_string(BOUNDARY, "☃", "bar") == part(b"bar", "=?utf-8?b?4piD?=")
    assert encode_string(BOUNDARY, "foo", "bar baz@bat") == part(b"bar baz@bat")
    assert encode_string(BOUNDARY, "foo", "bár") == part("bár".encode())
    assert encode_string("ABC DEF", "foo", "bar").startswith(b"--ABC+DEF\r\n")
    assert encode_string(b"ABC DEF", b"foo", b"bar").startswith(b"--ABC+DEF\r\n")


def test_classic_file_headers_look_as_they_did() -> None:
    def header(filetype: str = TYPE, filename: str | None = None) -> bytes:
        return part(b"", filetype=filetype, filename=filename)[:-2]

    assert encode_file_header(BOUNDARY, "foo", 42) == header()
    assert encode_file_header(BOUNDARY, "foo", 42, filetype="text/html") == header(
        "text/html"
    )
    for filename, spelled in [
        ("test.txt", "test.txt"),
        ("test file.txt", "test file.txt"),
        ('test"file.txt', 'test\\"file.txt'),
        ("☃.txt", "&#9731;.txt"),
        (b"caf\xe9", "caf\\xe9"),
        (5, "5"),
    ]:
        assert encode_file_header(BOUNDARY, "foo", 42, filename) == header(
            filename=spelled
        )
    assert encode_file_header(BOUNDARY, "foo", 42, "") == header()


def test_an_assigned_filename_is_told() -> None:
    param = MultipartParam("foo", "v")
    param.filename = "x.txt"
    assert param.encode(BOUNDARY) == part(b"v", filename="x.txt")
    param.filename = 'already \\" spelled'
    assert param.encode(BOUNDARY) == part(b"v", filename='already \\" spelled')


@pytest.mark.parametrize("bad", ['a"b', 'a"; x="', "a\r\nX: y", "☃\n", "a\0", "end\\"])
@pytest.mark.parametrize("escaping", Escaping)
def test_no_assigned_name_or_filename_injects(bad: str, escaping: Escaping) -> None:
    param = MultipartParam("foo", "v", escaping=escaping)
    param.name = param.filename = bad
    if "\0" in bad and escaping is not Escaping.CLASSIC:
        with pytest.raises(ValueError, match="NUL"):
            param.encode_hdr(BOUNDARY)
        return
    header = param.encode_hdr(BOUNDARY)
    assert header.count(b"\r\n") == 4
    assert header.count(b"\n") == 4
    if escaping is Escaping.BROWSER:
        assert header.count(b'"') == 4


def test_a_type_with_a_line_break_is_refused() -> None:
    param = MultipartParam("foo", "v", filetype="text/plain\r\nX: y")
    with pytest.raises(ValueError, match="give one line"):
        param.encode(BOUNDARY)


def test_an_empty_boundary_is_refused() -> None:
    with pytest.raises(ValueError, match="boundary is empty"):
        encode_string("", "foo", "bar")
    with pytest.raises(ValueError, match="boundary is empty"):
        multipart_encode({"foo": "bar"}, "")


def test_a_long_name_stays_on_its_line() -> None:
    name = "a long name " * 20
    assert part(b"v", name) == encode_string(BOUNDARY, name, "v")
    spelled = MultipartParam("é" * 200, "v").name
    assert "\n" not in spelled
    assert spelled.startswith("=?utf-8?b?")


@pytest.mark.parametrize(
    ("escaping", "name", "filename"),
    [
        (Escaping.CLASSIC, "=?utf-8?b?w6kgInF1b3RlZCI=?=", '&#233; \\"'),
        (Escaping.BROWSER, "é %22quoted%22", "é %22"),
        (Escaping.QUOTED, 'é \\"quoted\\"', 'é \\"'),
    ],
)
def test_the_escaping_is_the_callers_choice(
    escaping: Escaping, name: str, filename: str
) -> None:
    expected = part(b"v", name, filename=filename)
    given = ('é "quoted"', "v", 'é "')
    assert MultipartParam(*given, escaping=escaping).encode(BOUNDARY) == expected

    class Mine(MultipartParam):
        pass

    Mine.escaping = escaping
    assert Mine(*given).encode(BOUNDARY) == expected
    file = io.BytesIO(b"v")
    file.name = 'é "'
    body, _ = multipart_encode([(given[0], file)], BOUNDARY, escaping=escaping)
    assert b"".join(body) == expected + END


# From files and from anything


def test_from_file_takes_name_type_and_size_from_the_path(path: Path) -> None:
    for spelled in (path, str(path), os.fsencode(path)):
        param = MultipartParam.from_file("foo", spelled)
        assert param.filename == "some file.html"
        assert param.filetype == "text/html"
        assert param.filesize == 10_000
        expected = part(path.read_bytes(), "foo", "text/html", "some file.html")
        assert param.encode(BOUNDARY) == expected
    with pytest.raises(FileNotFoundError):
        MultipartParam.from_file("foo", path.parent / "none")


def test_from_params_takes_pairs_mappings_parameters_and_generators(path: Path) -> None:
    with path.open("rb") as file:
        expected = [
            MultipartParam("foo", "bar"),
            MultipartParam(
                "baz", fileobj=file, filename=file.name, filetype="text/html"
            ),
        ]
        pairs: list[tuple[str | bytes, object]] = [("foo", "bar"), ("baz", file)]
        assert MultipartParam.from_params(pairs) == expected
        assert MultipartParam.from_params(tuple(pairs)) == expected
        assert MultipartParam.from_params({"foo": "bar", "baz": file}) == expected
        assert MultipartParam.from_params(p for p in pairs) == expected
        same = MultipartParam.from_params(expected)
    assert isinstance(same, list)
    assert [id(param) for param in same] == [id(param) for param in expected]


def test_from_params_takes_parameters_under_their_own_name() -> None:
    param = MultipartParam("file", fileobj=io.BytesIO(b"abc"))
    snowman = MultipartParam("☃", "v")
    made = MultipartParam.from_params({"foo": "bar", "file": param, "☃": snowman})
    assert made[1] is param
    assert made[2] is snowman
    assert sorted(made) == sorted([param, snowman, MultipartParam("foo", "bar")])
    with pytest.raises(AssertionError, match="give both the same name"):
        MultipartParam.from_params({"foo": "bar", "baz": param})


def test_from_params_makes_parameters_of_the_subclass() -> None:
    class Mine(MultipartParam):
        def __init__(self, name: str, value: object = None, **more: object) -> None:
            super().__init__(name.upper(), value, **more)  # type: ignore[arg-type]

    made = Mine.from_params([("a", 1), ("b", io.BytesIO(b"x")), MultipartParam("c", 3)])
    assert [type(param) for param in made] == [Mine, Mine, MultipartParam]
    assert [param.name for param in made] == ["A", "B", "c"]


def test_a_subclass_may_set_its_attributes_itself() -> None:
    class Mine(MultipartParam):
        def __init__(self, content: bytes) -> None:
            self.name, self.fileobj, self.filesize = "foo", io.BytesIO(content), 3
            self.value = self.filename = self.filetype = self.cb = None

    body, headers = multipart_encode([Mine(b"abc")], BOUNDARY)
    assert b"".join(body) == part(b"abc") + END
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("bad", [[("a",)], [("a", 1, 2)], ["abc"]])
def test_from_params_takes_nothing_but_pairs(bad: list[tuple[str, object]]) -> None:
    with pytest.raises(ValueError, match="unpack"):
        MultipartParam.from_params(bad)


def test_a_full_path_does_not_leak(path: Path) -> None:
    with path.open("rb") as file:
        body = b"".join(multipart_encode([("foo", file)])[0])
        own = MultipartParam("foo", fileobj=file, filename=file.name)
        explicit = MultipartParam("foo", fileobj=file, filename="dir/other.html")
    assert b'filename="some file.html"' in body
    assert str(path.parent).encode() not in body
    assert own.filename == "some file.html"
    assert explicit.filename == "dir/other.html"
    assert MultipartParam("foo", "v", filename=path).filename == "some file.html"
    with open(os.fsencode(path), "rb") as file:
        assert MultipartParam.from_params([("f", file)])[0].filename == "some file.html"


def test_a_file_whose_name_is_empty_has_no_type() -> None:
    file = io.BytesIO(b"abc")
    file.name = ""
    (param,) = MultipartParam.from_params([("foo", file)])
    assert (param.filename, param.filetype) == ("", None)
    assert param.encode(BOUNDARY) == part(b"abc")


def test_a_path_in_bytes_is_spelled_in_bytes_as_before(tmp_path: Path) -> None:
    path = tmp_path / "é.txt"
    path.write_bytes(b"abc")
    for spelled, told in (
        (str(path), "&#233;.txt"),
        (str(path).encode(), r"\xc3\xa9.txt"),
    ):
        param = MultipartParam.from_file("foo", spelled)
        assert (param.filename, param.filetype) == (told, "text/plain")
        with open(spelled, "rb") as file:
            (param,) = MultipartParam.from_params([("foo", file)])
        assert (param.filename, param.filetype) == (told, "text/plain")


def test_a_temporary_file_has_no_name_to_tell() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        body, headers = multipart_encode([("foo", file)], BOUNDARY)
        assert b"".join(body) == part(b"abc") + END
        assert int(headers["Content-Length"]) == len(body)


# Lengths of files


def test_the_length_is_that_of_the_whole_file_wherever_it_stands(path: Path) -> None:
    content = path.read_bytes()
    with path.open("rb") as real, io.BytesIO(content) as memory:
        for file in (real, memory):
            file.seek(500)
            param = MultipartParam("foo", fileobj=file)
            assert param.filesize == 10_000
            assert param.encode(BOUNDARY) == part(content)
            assert b"".join(param.iter_encode(BOUNDARY)) == part(content)


def test_a_given_filesize_is_what_the_file_has_from_where_it_stands() -> None:
    file = io.BytesIO(b"0123456789")
    file.seek(6)
    param = MultipartParam("foo", fileobj=file, filesize=4)
    for _ in range(2):
        assert param.encode(BOUNDARY) == part(b"6789")
        param.reset()
        assert file.tell() == 6


def test_a_file_that_was_just_written_is_sent_from_its_beginning() -> None:
    with tempfile.TemporaryFile() as real, io.BytesIO() as memory:
        for file in (real, memory):
            file.write(b"0123456789")
            param = MultipartParam("foo", fileobj=file, filesize=10)
            assert file.tell() == 10
            assert param.encode(BOUNDARY) == part(b"0123456789")
            file.seek(4)
            param = MultipartParam("foo", fileobj=file, filesize=5)
            with pytest.raises(LengthMismatch, match="more than the 5 bytes"):
                param.encode(BOUNDARY)


def test_a_file_that_cannot_go_to_its_end_begins_where_it_stands() -> None:
    class Endless(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            if whence == os.SEEK_END:
                raise io.UnsupportedOperation("no end")
            return super().seek(offset)

    file = Endless(b"0123456789")
    file.seek(6)
    param = MultipartParam("foo", fileobj=file, filesize=4)
    assert param.encode(BOUNDARY) == part(b"6789")


def test_a_file_that_can_seek_but_not_tell_is_reset() -> None:
    class Seeker(Odd):
        def __init__(self, file: io.BytesIO) -> None:
            self.read, self.seek, self.fileno = file.read, file.seek, file.fileno

    param = MultipartParam("foo", fileobj=Seeker(io.BytesIO(b"abc")), filesize=3)
    for _ in range(2):
        assert b"".join(param.iter_encode(BOUNDARY)) == part(b"abc")
        param.reset()
    with pytest.raises(ValueError, match="Could not determine filesize"):
        MultipartParam("foo", fileobj=Seeker(io.BytesIO(b"abc")))


def test_a_file_that_can_seek_but_not_tell_is_measured_by_its_descriptor(
    path: Path,
) -> None:
    class Seeker(Odd):
        def __init__(self, file: io.BufferedReader) -> None:
            self.read, self.seek, self.fileno = file.read, file.seek, file.fileno

    with path.open("rb") as file:
        param = MultipartParam("foo", fileobj=Seeker(file))
        assert param.encode(BOUNDARY) == part(path.read_bytes())


def test_a_given_filesize_wins_over_what_the_file_says() -> None:
    assert MultipartParam("foo", fileobj=io.BytesIO(), filesize=7).get_size(
        BOUNDARY
    ) == len(part(b"1234567"))


def test_objects_without_descriptor_or_position_can_be_sent_with_a_filesize() -> None:
    for file in (Odd(b"abc"), Unseekable(b"abc")):
        with pytest.raises(
            ValueError, match=r"Could not determine filesize.*filesize="
        ):
            MultipartParam("foo", fileobj=file)
        param = MultipartParam("foo", fileobj=file, filesize=3)
        body, _ = multipart_encode([param], BOUNDARY)
        body.reset()  # nothing was taken: there is nothing to go back to
        assert b"".join(body) == part(b"abc") + END
        with pytest.raises(ValueError, match=r"Don't know how to reset.*cannot seek"):
            body.reset()
        with pytest.raises(LengthMismatch, match="ended after 0 bytes, 3 were"):
            param.encode(BOUNDARY)


def test_objects_with_a_descriptor_alone_are_measured_by_it(path: Path) -> None:
    class Descriptor:
        def __init__(self, file: io.BufferedReader) -> None:
            self.read, self.fileno = file.read, file.fileno

    with path.open("rb") as file:
        param = MultipartParam("foo", fileobj=Descriptor(file))
        assert param.encode(BOUNDARY) == part(path.read_bytes())


def test_a_position_is_asked_for_in_the_old_ways_too() -> None:
    class Old:
        """Has seek() and tell(), as files had before seekable()."""

        def __init__(self, file: io.BytesIO) -> None:
            self.read, self.seek, self.tell = file.read, file.seek, file.tell

    class Lost(Old):
        def __init__(self, file: io.BytesIO) -> None:
            super().__init__(file)
            self.tell = Unseekable().tell

    file = io.BytesIO(b"0123456789")
    file.seek(4)
    assert MultipartParam("foo", fileobj=Old(file)).encode(BOUNDARY) == part(
        b"0123456789"
    )
    file.seek(4)
    param = MultipartParam("foo", fileobj=Lost(file), filesize=6)
    assert param.encode(BOUNDARY) == part(b"456789")
    with pytest.raises(ValueError, match="Don't know how to reset"):
        param.reset()


def test_a_closed_file_has_no_ranges_and_says_that_it_is_closed(path: Path) -> None:
    with path.open("rb") as file:
        body, _ = multipart_encode([("f", file)])
    with pytest.raises(ValueError, match="closed file"):
        list(body.iter_ranges())


def test_pipes_have_no_length() -> None:
    out, into = os.pipe()
    with (
        open(into, "wb"),
        open(out, "rb") as file,
        pytest.raises(ValueError, match="Could not determine filesize"),
    ):
        MultipartParam("foo", fileobj=file)


def test_a_compressed_file_is_not_measured_by_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"abc" * 1000)
    content: bytes | None = None
    with gzip.open(path, "rb") as unpacked, contextlib.suppress(ValueError):
        # Measured by going to the end where Python can, else refused.
        content = MultipartParam("foo", fileobj=unpacked).encode(BOUNDARY)
    assert content in (None, part(b"abc" * 1000))


@pytest.mark.parametrize("text", [io.StringIO("abc"), None])
def test_text_files_are_refused_with_the_remedy(
    text: io.StringIO | None, path: Path
) -> None:
    with path.open(encoding="ascii") as real:
        file = text or real
        for use in (
            lambda: MultipartParam("foo", fileobj=file),  # type: ignore[arg-type]
            lambda: MultipartParam("foo", fileobj=file, filesize=3),  # type: ignore[arg-type]
            lambda: multipart_encode([("foo", file)]),
        ):
            with pytest.raises(TextFile, match='open it in binary mode, "rb"'):
                use()
    assert issubclass(TextFile, TypeError)
    assert issubclass(TextFile, ValueError)


def test_an_object_that_reads_text_is_refused_when_it_does() -> None:
    class Text:
        def read(self, _: int = -1) -> str:
            return "abc"

    param = MultipartParam("foo", fileobj=Text(), filesize=3)  # type: ignore[arg-type]
    with pytest.raises(TextFile, match="yields str, not bytes"):
        param.encode(BOUNDARY)


def test_an_object_may_read_other_buffers_but_not_nothing() -> None:
    class Buffers:
        def __init__(self, *blocks: bytearray | memoryview | None) -> None:
            self.blocks = [*blocks, b""]

        def read(self, _: int = -1) -> object:
            return self.blocks.pop(0)

    file = Buffers(bytearray(b"ab"), memoryview(b"c"))
    param = MultipartParam("foo", fileobj=file, filesize=3)  # type: ignore[arg-type]
    assert param.encode(BOUNDARY) == part(b"abc")
    param = MultipartParam("foo", fileobj=Buffers(None), filesize=3)  # type: ignore[arg-type]
    with pytest.raises(BlockingIOError, match="non-blocking"):
        param.encode(BOUNDARY)


def test_an_assigned_file_is_measured_when_it_is_needed() -> None:
    param = MultipartParam("foo")
    param.fileobj = io.BytesIO(b"abc")
    assert param.get_size(BOUNDARY) == len(part(b"abc"))
    assert param.encode(BOUNDARY) == part(b"abc")


def test_a_file_that_shrank_or_grew_is_noticed(path: Path) -> None:
    for change, message in (
        (-1, "ended after 9999 bytes, 10000 were announced: it must not shrink"),
        (1, "has more than the 10000 bytes that were announced: it must not grow"),
    ):
        param = MultipartParam.from_file("foo", path)
        body, _ = multipart_encode([param])
        os.truncate(path, 10_000 + change)
        for use in (
            lambda param=param: param.encode(BOUNDARY),
            lambda param=param: list(param.iter_encode(BOUNDARY)),
            lambda body=body: list(body),
        ):
            with pytest.raises(LengthMismatch, match=message):
                use()
        os.truncate(path, 10_000)


def test_nothing_of_the_last_block_is_handed_out_when_a_file_grew() -> None:
    file = io.BytesIO(b"0123456789")
    param = MultipartParam("foo", fileobj=file, filesize=9)
    blocks = iter(param.iter_encode(BOUNDARY, 4))
    assert [next(blocks) for _ in range(3)][1:] == [b"0123", b"4567"]
    with pytest.raises(LengthMismatch):
        next(blocks)
    empty = MultipartParam("foo", fileobj=io.BytesIO(b"x"), filesize=0)
    with pytest.raises(LengthMismatch):
        empty.encode(BOUNDARY)


def test_a_form_that_changed_after_it_was_measured_is_not_completed() -> None:
    for longer, word in (("longer", "more"), ("s", "fewer")):
        param = MultipartParam("foo", "value")
        body, _ = multipart_encode([param, ("bar", "x")], BOUNDARY)
        param.value = longer.encode()
        taken: list[bytes] = []
        with pytest.raises(LengthMismatch, match=f"{word} than the"):
            taken.extend(body)
        assert list(body) == []


# Blocks and callbacks


def test_a_file_comes_in_blocks_of_4096_unless_told_otherwise() -> None:
    param = MultipartParam("f", fileobj=io.BytesIO(b"x" * 10_000))
    header = len(param.encode_hdr(BOUNDARY))
    sizes = [len(block) for block in param.iter_encode(BOUNDARY)]
    assert sizes == [header, 4096, 4096, 1808, 2]
    sizes = [len(block) for block in param.iter_encode(BOUNDARY, blocksize=6000)]
    assert sizes == [header, 6000, 4000, 2]
    empty = MultipartParam("f", fileobj=io.BytesIO())
    assert list(empty.iter_encode(BOUNDARY)) == [part(b"", "f")[:-2], b"\r\n"]


def test_a_file_is_asked_for_blocks_of_that_size_until_it_has_no_more() -> None:
    asked: list[int] = []

    class Asked(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    param = MultipartParam("f", fileobj=Asked(b"x" * 25))
    list(param.iter_encode(BOUNDARY, 10))
    assert asked == [10, 10, 10, 10]


def test_a_parameters_callback_hears_of_a_block_when_the_next_is_asked_for() -> None:
    log: list[tuple[MultipartParam, int, int]] = []
    param = MultipartParam(
        "foo", fileobj=io.BytesIO(b"x" * 5000), cb=lambda *now: log.append(now)
    )
    total = param.get_size(BOUNDARY)
    header = total - 5002
    blocks = iter(param.iter_encode(BOUNDARY))
    next(blocks)
    assert log == []
    next(blocks)
    assert log == [(param, header, total)]
    assert len(list(blocks)) == 2
    assert log == [
        (param, current, total)
        for current in (header, header + 4096, header + 5000, total)
    ]


def test_the_callback_of_a_form_is_called_before_each_block_is_handed_out() -> None:
    log: list[tuple[str, object, int, int]] = []
    value = MultipartParam("a", "1", cb=lambda *now: log.append(("own", *now)))
    file = MultipartParam("b", fileobj=io.BytesIO(b"xyz"))
    body, headers = multipart_encode(
        [value, file], BOUNDARY, lambda *now: log.append(("form", *now))
    )
    total = int(headers["Content-Length"])
    size = value.get_size(BOUNDARY)
    first = next(body)
    assert log == [("form", value, size, total)]
    current = len(first)
    for block in body:
        current += len(block)
        assert log[-1][2] == current
    header = size + len(file.encode_hdr(BOUNDARY))
    assert log == [
        ("form", value, size, total),
        ("own", value, size, size),
        ("form", file, header, total),
        ("form", file, header + 3, total),
        ("form", file, header + 5, total),
        ("form", None, total, total),
    ]


@pytest.mark.parametrize("boundary", [None, BOUNDARY])
def test_the_blocks_of_a_form_grow_with_the_file(boundary: str | None) -> None:
    mib = 1024 * 1024
    for length, size in (
        (10_000, 4096),
        (100_000, 4096),
        (mib, mib // 16),
        (mib + 5, mib // 16),
        (20 * mib, mib),
    ):
        body, _ = multipart_encode([("f", io.BytesIO(bytes(length)))], boundary)
        sizes = [len(block) for block in body][1:-2]
        assert set(sizes[:-1]) == {size}
        assert sum(sizes) == length


# Boundaries in content


@pytest.mark.parametrize(
    "content",
    [
        b"--XYZXYZXYZ",
        b"a\n--XYZXYZXYZ\nb",
        b"a\r\n--XYZXYZXYZ\r\nb",
        b"a\r\n--XYZXYZXYZ--\r\n",
        b"a\r\n--XYZXYZXYZ \r\n",
        b"a\r\n--XYZXYZXYZmore",
    ],
)
def test_a_delimiter_in_content_is_found_with_any_line_ending(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"boundary found in encoded string.*random"):
        encode_string(BOUNDARY, "foo", content)
    for before in (b"", b"x" * 4095, b"x" * 4090, b"x" * 4097):
        padded = before + b"\r\n" * bool(before) + content
        param = MultipartParam("foo", fileobj=io.BytesIO(padded))
        with pytest.raises(ValueError, match="boundary found in file data"):
            list(param.iter_encode(BOUNDARY))
        with pytest.raises(ValueError, match="boundary found in file data"):
            list(multipart_encode([param], BOUNDARY)[0])
        with pytest.raises(ValueError, match="boundary found in encoded string"):
            param.encode(BOUNDARY)


@pytest.mark.parametrize(
    "content", [b"XYZXYZXYZ", b"a--XYZXYZXYZ\r\n", b" --XYZXYZXYZ"]
)
def test_the_boundary_may_stand_within_a_line(content: bytes) -> None:
    assert encode_string(BOUNDARY, "foo", content) == part(content)


def test_the_delimiter_is_sought_as_it_is_quoted() -> None:
    with pytest.raises(ValueError, match="boundary found"):
        encode_string("ABC DEF", "foo", "--ABC+DEF")
    assert b"--ABC DEF" in encode_string("ABC DEF", "foo", "--ABC DEF")


# Forms


def test_a_form_is_what_it_was(path: Path) -> None:
    param = MultipartParam("foo", "bar")
    expected = part(b"bar") + END
    headers = {
        "Content-Type": "multipart/form-data; boundary=XYZXYZXYZ",
        "Content-Length": str(len(expected)),
    }
    assert get_body_size([param], BOUNDARY) == len(expected)
    assert get_headers([param], BOUNDARY) == headers
    body, told = multipart_encode([param], BOUNDARY)
    assert told == headers
    assert b"".join(body) == expected
    assert all(type(value) is str for value in told.values())
    assert get_body_size({}, BOUNDARY) == len(END)
    assert b"".join(multipart_encode([], BOUNDARY)[0]) == END


def test_keys_may_repeat_and_keep_their_order() -> None:
    body, _ = multipart_encode([("key", "value1"), ("key", "value2")], BOUNDARY)
    assert b"".join(body) == part(b"value1", "key") + part(b"value2", "key") + END
    body, _ = multipart_encode({"z": 1, "a": 2}, BOUNDARY)
    assert b"".join(body) == part(b"1", "z") + part(b"2", "a") + END


@pytest.mark.parametrize(
    ("boundary", "quoted"),
    [("ABC DEF", "ABC+DEF"), ("A+B", "A%2BB"), ("a/b:c", "a%2Fb%3Ac"), ("é", "%C3%A9")],
)
def test_a_boundary_that_needs_quoting_gives_one_consistent_document(
    boundary: str, quoted: str
) -> None:
    for asked in (boundary, boundary.encode()):
        body, headers = multipart_encode([("foo", "bar")], asked)
        content = b"".join(body)
        assert headers["Content-Type"] == f"multipart/form-data; boundary={quoted}"
        assert headers == get_headers([("foo", "bar")], asked)
        assert content.startswith(f"--{quoted}\r\n".encode())
        assert content.endswith(f"\r\n--{quoted}--\r\n".encode())
        assert len(content) == int(headers["Content-Length"])
        assert len(content) == get_body_size([("foo", "bar")], asked)


def test_a_generator_of_parameters_is_not_spent_on_the_headers() -> None:
    pairs: Iterator[tuple[str | bytes, object]] = (("key", n) for n in range(3))
    body, headers = multipart_encode(pairs, BOUNDARY)
    assert b"".join(body) == b"".join(part(b"%d" % n, "key") for n in range(3)) + END
    assert int(headers["Content-Length"]) == len(body)


def test_two_forms_have_two_boundaries() -> None:
    _, one = multipart_encode({"a": "b"})
    _, other = multipart_encode({"a": "b"})
    assert one["Content-Type"] != other["Content-Type"]
    assert one["Content-Length"] == other["Content-Length"]


def test_a_replaced_gen_boundary_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poster.encode.gen_boundary", lambda: BOUNDARY)
    body, headers = multipart_encode({"foo": "bar"})
    assert headers["Content-Type"].endswith(BOUNDARY)
    assert b"".join(body) == part(b"bar") + END
    body, _ = multipart_encode({"foo": io.BytesIO(b"--XYZXYZXYZ")})
    with pytest.raises(ValueError, match="boundary found in file data"):
        list(body)


def test_reset_starts_over_at_any_point(path: Path) -> None:
    with path.open("rb") as file:
        body, _ = multipart_encode([("a", "1"), ("f", file), ("b", "2")], BOUNDARY)
        expected = b"".join(body)
        for taken in range(7):
            body.reset()
            assert body.current == 0
            for _ in range(taken):
                next(body)
            body.reset()
            assert b"".join(body) == expected
        with pytest.raises(StopIteration):
            next(body)
        with pytest.raises(StopIteration):
            body.next()
        body.reset()
        assert body.next() == expected[: len(part(b"1", "a"))]


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_reset_resets_every_parameter(taken: int) -> None:
    heard: list[str] = []

    class Heard(MultipartParam):
        def reset(self) -> None:
            heard.append(self.name)
            super().reset()

    body, _ = multipart_encode([Heard("a", "1"), Heard("b", "2")], BOUNDARY)
    for _ in range(taken):
        next(body)
    body.reset()
    assert heard == ["a", "b"]


def test_one_file_may_stand_in_two_parameters() -> None:
    file = io.BytesIO(b"abc")
    body, _ = multipart_encode([("a", file), ("b", file)], BOUNDARY)
    assert b"".join(body) == part(b"abc", "a") + part(b"abc", "b") + END


def test_the_iterator_tells_how_far_it_is() -> None:
    body, headers = multipart_encode([("a", "1"), ("b", "2")], BOUNDARY)
    total = int(headers["Content-Length"])
    assert (body.current, body.total, body.p) == (0, total, None)
    current = len(next(body))
    assert body.current == current
    assert body.p is body.params[0]
    list(body)
    ended: tuple[object, ...] = (body.current, body.p, body.param_iter, body.i)
    assert ended == (total, None, None, None)


def test_the_iterator_has_a_length_that_clients_can_ask_for() -> None:
    body, headers = multipart_encode([("a", "1"), ("f", io.BytesIO(b"x" * 9999))])
    assert len(body) == int(headers["Content-Length"]) == requests.utils.super_len(body)
    request = requests.Request("POST", "http://localhost/", data=body).prepare()
    assert request.headers["Content-Length"] == headers["Content-Length"]
    assert "Transfer-Encoding" not in request.headers
    assert len(b"".join(body)) == len(body)


def test_a_form_may_be_larger_than_any_len() -> None:
    huge = sys.maxsize + 1
    param = MultipartParam("f", fileobj=io.BytesIO(), filesize=huge)
    body, headers = multipart_encode([param])
    assert body
    assert int(headers["Content-Length"]) > huge
    assert body.total == int(headers["Content-Length"])


def test_a_subclass_may_encode_in_its_own_way() -> None:
    class Shouting(MultipartParam):
        def iter_encode(
            self, boundary: str | bytes, blocksize: int = 4096
        ) -> Iterator[bytes]:
            for block in super().iter_encode(boundary, blocksize):
                yield block.replace(b"v", b"V")

    class OldSignature(MultipartParam):
        def iter_encode(self, boundary: str) -> Iterator[bytes]:  # type: ignore[override]
            yield self.encode(boundary)

    class Typed(MultipartParam):
        def encode_hdr(self, boundary: str | bytes) -> bytes:
            return super().encode_hdr(boundary).replace(b"plain", b"x-any")

    params = [Shouting("a", "vv"), OldSignature("b", "w"), Typed("c", "x")]
    body, headers = multipart_encode(params, BOUNDARY)
    content = b"".join(body)
    assert content == (
        part(b"VV", "a")
        + part(b"w", "b")
        + part(b"x", "c", "text/x-any; charset=utf-8")
        + END
    )
    assert len(content) == int(headers["Content-Length"])


def test_an_abandoned_form_cannot_go_on_behind_the_part_that_failed() -> None:
    params = [("a", io.BytesIO(b"--XYZXYZXYZ")), ("b", "2")]
    body, _ = multipart_encode(params, BOUNDARY)
    with pytest.raises(ValueError, match="boundary found"):
        list(body)
    assert list(body) == []


VALUES = st.binary(max_size=50) | st.text(max_size=20) | st.integers()


@given(st.lists(st.tuples(st.sampled_from("ab"), VALUES), max_size=6), st.data())
def test_a_parser_finds_what_was_put_in(
    pairs: list[tuple[str | bytes, object]], data: st.DataObject
) -> None:
    as_files = data.draw(st.lists(st.booleans(), min_size=6, max_size=6))
    contents = [MultipartParam("x", value).value or b"" for _, value in pairs]
    params = [
        (name, io.BytesIO(content)) if as_file else (name, value)
        for (name, value), content, as_file in zip(
            pairs, contents, as_files, strict=False
        )
    ]
    body, headers = multipart_encode(params)
    content = b"".join(body)
    assert len(content) == int(headers["Content-Length"])
    fields = parsers.multipart(headers["Content-Type"], content)
    assert [field.name for field in fields] == [name for name, _ in pairs]
    assert [field.content for field in fields] == contents


# Ranges of files


def expand(pieces: Iterator[bytes | FileRange]) -> bytes:
    def read(piece: bytes | FileRange) -> bytes:
        if isinstance(piece, bytes):
            return piece
        return piece.read(0, piece.length)

    return b"".join(map(read, pieces))


def test_ranges_are_the_same_bytes_with_the_same_callbacks(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(10_000_000))
    log: list[tuple[int, int]] = []
    body, headers = multipart_encode(
        [("a", "1"), MultipartParam.from_file("f", path), ("m", io.BytesIO(b"x"))],
        cb=lambda _, current, total: log.append((current, total)),
    )
    expected = b"".join(body)
    log.clear()
    body.reset()
    pieces = list(body.iter_ranges())
    ranges = [piece for piece in pieces if isinstance(piece, FileRange)]
    assert len(ranges) == 17  # a little more than 16, which would be no whole pages
    assert expand(iter(pieces)) == expected
    assert [total for _, total in log] == [len(body)] * len(pieces)
    assert log[-1][0] == len(body) == int(headers["Content-Length"])


def test_ranges_begin_where_the_content_does(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(9_991)
        param = MultipartParam("f", fileobj=file, filesize=9)
        pieces = list(multipart_encode([param])[0].iter_ranges())
        assert any(isinstance(piece, FileRange) for piece in pieces)
        assert b"\r\n\r\n123456789\r\n" in expand(iter(pieces))


def test_no_range_is_larger_than_4_mib(large: Path) -> None:
    body, _ = multipart_encode([MultipartParam.from_file("f", large)])
    ranges = [piece for piece in body.iter_ranges() if isinstance(piece, FileRange)]
    assert [piece.length for piece in ranges] == [4 * 1024 * 1024] * 25


def test_content_that_must_be_searched_or_read_has_no_ranges(path: Path) -> None:
    class Reader(io.BufferedReader):
        """Does more in read() than its descriptor tells."""

    class Own(MultipartParam):
        def iter_encode(
            self, boundary: str | bytes, blocksize: int = 4096
        ) -> Iterator[bytes]:
            return super().iter_encode(boundary, blocksize)

    with Reader(io.FileIO(path)) as wrapped, path.open("rb") as file:
        for params, boundary in (
            ([("f", file)], "guessable"),
            ([("f", wrapped)], None),
            ([Own("f", fileobj=file)], None),
        ):
            body, _ = multipart_encode(params, boundary)
            assert not any(isinstance(p, FileRange) for p in body.iter_ranges())


def test_ranges_of_a_file_that_grew_end_before_the_last(path: Path) -> None:
    param = MultipartParam.from_file("f", path)
    body, _ = multipart_encode([param])
    with path.open("ab") as more:
        more.write(b"x")
    taken: list[bytes | FileRange] = []
    with pytest.raises(LengthMismatch, match="it must not grow"):
        taken.extend(body.iter_ranges())
    assert isinstance(taken[0], bytes)
    assert sum(map(len, taken[1:])) == 8192
    empty, _ = multipart_encode(
        [MultipartParam("f", fileobj=param.fileobj, filesize=0)]
    )
    with pytest.raises(LengthMismatch, match="it must not grow"):
        list(empty.iter_ranges())


def test_unwritten_bytes_are_written_before_the_kernel_sends(path: Path) -> None:
    with path.open("r+b") as file:
        body, _ = multipart_encode([("f", file)])
        file.write(b"ABC")
        assert path.read_bytes().startswith(b"012")
        assert any(isinstance(piece, FileRange) for piece in body.iter_ranges())
        assert path.read_bytes().startswith(b"ABC")


def test_the_package_imports_the_standard_library_alone() -> None:
    root = Path(poster.__file__).parent
    for source in root.glob("*.py"):
        with tokenize.open(source) as file:
            imported = [
                line.split()[1].split(".")[0]
                for line in file
                if line.startswith(("import ", "from "))
            ]
        foreign = set(imported) - set(sys.stdlib_module_names) - {"poster"}
        assert not foreign, source
