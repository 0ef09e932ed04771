"""Forms to plan, and an encoder of them that shares nothing with the planner."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from poster_resume import media_types
from tests.strategies import contents, names, texts


@dataclass(frozen=True)
class Sample:
    """A part of a form: what a caller gives, and what has to come of it."""

    name: str
    value: object
    filename: str | None
    content_type: str | None
    content: bytes


@dataclass(frozen=True)
class _Opening:
    """A file to open, and where it shall stand."""

    path: Path
    start: int
    content_type: str | None


def encoded(samples: list[Sample], boundary: str) -> bytes:
    """Return *samples* as multipart/form-data, made in the plainest way."""
    body = b""
    for each in samples:
        header = f'Content-Disposition: form-data; name="{each.name}"'
        if each.filename is not None:
            header += f'; filename="{each.filename}"'
        if each.content_type is not None:
            header += f"\r\nContent-Type: {each.content_type}"
        body += f"--{boundary}\r\n{header}\r\n\r\n".encode() + each.content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def samples(directory: Path) -> st.SearchStrategy[list[Sample]]:
    """Parts of every kind; files are written to *directory*."""
    return st.lists(_sample(directory), max_size=8)


@st.composite
def _sample(draw: st.DrawFn, directory: Path) -> Sample:
    name = draw(names)
    kind = draw(
        st.sampled_from(["text", "int", "bytes", "path", "open", "named", "io"])
    )
    if kind == "text":
        text = draw(
            texts | st.sampled_from([4096, 4097, 70_000]).map(lambda n: "ä" * n)
        )
        return Sample(name, text, None, None, text.encode())
    if kind == "int":
        number = draw(st.integers())
        return Sample(name, number, None, None, str(number).encode())
    content = draw(contents)
    if kind == "bytes":
        return Sample(name, content, None, None, content)
    filename = draw(names.filter(lambda n: "/" not in n and n not in (".", "..")))
    given = draw(st.sampled_from([None, "text/x", "image/y; z=1"]))
    if kind == "named":
        value = (filename, content) if given is None else (filename, content, given)
        content_type = given or media_types.media_type(filename)
        return Sample(name, value, filename, content_type, content)
    if kind == "io":
        start = draw(st.integers(0, len(content)))
        held = io.BytesIO(content)
        held.seek(start)
        return Sample(name, held, "upload", "application/octet-stream", content[start:])
    path = _file(directory, content)
    if kind == "path":
        guessed = "application/octet-stream"
        return Sample(name, path, path.name, guessed, content)
    start = draw(st.integers(0, len(content)))
    content_type = given or media_types.media_type(filename)
    opening = _Opening(path, start, given)
    return Sample(name, opening, filename, content_type, content[start:])


def _file(directory: Path, content: bytes) -> Path:
    path = directory / f"file-{len(os.listdir(directory))}"
    path.write_bytes(content)
    return path


@contextmanager
def ready(samples: list[Sample]) -> Iterator[list[tuple[str, object]]]:
    """Yield *samples* as pairs to plan, with their files open meanwhile."""
    with ExitStack() as stack:
        pairs: list[tuple[str, object]] = []
        for each in samples:
            value = each.value
            if isinstance(value, _Opening):
                file = stack.enter_context(value.path.open("rb"))
                file.seek(value.start)
                value = (each.filename, file, value.content_type)
            pairs.append((each.name, value))
        yield pairs
