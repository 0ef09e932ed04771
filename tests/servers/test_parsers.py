"""Our forms, read by multipart parsers that nobody here wrote."""

from __future__ import annotations

import hashlib
import importlib.util
import random
from pathlib import Path

import pytest

from poster.disposition import Escaping
from poster_resume import ByteRange, Plan, iter_bytes, plan_form
from tests.servers import launch
from tests.servers.parsers import PARSERS, Field, Parser

RAW = random.Random(5).randbytes(300_000)

#: Contents that look like a form's own syntax.
HOSTILE = b"--\r\n\r\n--b\r\nContent-Disposition: form-data\r\n\r\n----\r\n--"


@pytest.fixture(params=list(PARSERS))
def parser(request: pytest.FixtureRequest) -> Parser:
    parse, module = PARSERS[request.param]
    if module is None and (reason := launch.npm_missing()):
        pytest.skip(reason)
    if module is not None and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    return parse


@pytest.fixture(params=[Escaping.BROWSER, Escaping.QUOTED], ids=lambda e: e.value)
def escaping(request: pytest.FixtureRequest) -> Escaping:
    found: Escaping = request.param
    return found


def read_by(parser: Parser, plan: Plan) -> list[Field]:
    body = b"".join(bytes(b) for b in iter_bytes(plan, ByteRange(0, plan.length)))
    assert len(body) == plan.length
    return parser(plan.content_type, body)


def by_name(fields: list[Field]) -> dict[str, list[bytes]]:
    """Group contents by name: some parsers report parts in an order of their own."""
    groups: dict[str, list[bytes]] = {}
    for field in fields:
        groups.setdefault(field.name, []).append(field.content)
    return groups


def test_texts_arrive_as_they_are(parser: Parser, escaping: Escaping) -> None:
    form = [
        ("title", "Holiday"),
        ("title", "again"),
        ("empty", ""),
        ("größe ☃", "Grüße ☃"),
        ("lines", "a\r\nb\nc\rd\r\n"),
        ("spaces", "  both ends  "),
        ("hostile", HOSTILE.decode()),
        ("bytes", b"as they are"),
        ("number", 12),
    ]
    with plan_form(form, escaping=escaping) as plan:
        read = by_name(read_by(parser, plan))
    assert read == {
        "title": [b"Holiday", b"again"],
        "empty": [b""],
        "größe ☃": ["Grüße ☃".encode()],
        "lines": [b"a\r\nb\nc\rd\r\n"],
        "spaces": [b"  both ends  "],
        "hostile": [HOSTILE],
        "bytes": [b"as they are"],
        "number": [b"12"],
    }


def test_files_arrive_as_they_are(
    parser: Parser, escaping: Escaping, tmp_path: Path
) -> None:
    film, empty = tmp_path / "film.bin", tmp_path / "empty.txt"
    film.write_bytes(RAW)
    empty.write_bytes(b"")
    form = [
        ("title", "Holiday"),
        ("film", film),
        ("empty", empty),
        ("files", ("one.txt", b"one", "text/plain")),
        ("files", ("zwei Grüße ☃.txt", HOSTILE)),
        ("files", ("three; four=five.txt", b"\r\n")),
    ]
    with plan_form(form, escaping=escaping) as plan:
        fields = read_by(parser, plan)
    found = {
        (f.name, f.filename, hashlib.sha256(f.content).hexdigest()) for f in fields
    }
    assert len(fields) == len(form)
    assert found == {
        ("title", None, hashlib.sha256(b"Holiday").hexdigest()),
        ("film", "film.bin", hashlib.sha256(RAW).hexdigest()),
        ("empty", "empty.txt", hashlib.sha256(b"").hexdigest()),
        ("files", "one.txt", hashlib.sha256(b"one").hexdigest()),
        ("files", "zwei Grüße ☃.txt", hashlib.sha256(HOSTILE).hexdigest()),
        ("files", "three; four=five.txt", hashlib.sha256(b"\r\n").hexdigest()),
    }


def test_no_filename_spoils_a_form(parser: Parser, escaping: Escaping) -> None:
    # Parsers disagree about what is escaped here, not about where parts end.
    names = ['say "hi".txt', "back\\slash.txt", "two\r\nlines.txt", 'end"', "'"]
    form: list[tuple[str, object]] = []
    for number, name in enumerate(names):
        form += [(f"file{number}", (name, RAW[:1000])), (f"after{number}", "it")]
    with plan_form(form, escaping=escaping) as plan:
        read = read_by(parser, plan)
    assert len(read) == len(form)
    fields = {field.name: field for field in read}
    for number, name in enumerate(names):
        assert fields[f"file{number}"].content == RAW[:1000]
        assert fields[f"after{number}"].content == b"it"
        assert fields[f"file{number}"].filename in recognisable(name)


def recognisable(name: str) -> set[str]:
    """Return what parsers make of the spellings of *name*."""
    lines = name.replace("\r", "%0D").replace("\n", "%0A")
    spellings = {
        name,
        lines.replace('"', "%22"),
        lines.replace("\\", "\\\\").replace('"', '\\"'),
        lines.replace("\\", ""),
    }
    # Some take what follows the last backslash for the name, as on Windows.
    return spellings | {s.rpartition("\\")[2] for s in spellings}


def test_a_thousand_parts_arrive(parser: Parser) -> None:
    form = [(f"field{i}", f"value {i}") for i in range(1000)]
    with plan_form(form) as plan:
        read = by_name(read_by(parser, plan))
    assert read == {name: [value.encode()] for name, value in form}
