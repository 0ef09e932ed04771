"""Fields and headers as curl users write them on a command line.

Where curl drops data with a warning, or wraps it in a way that RFC 7578
deprecates, this stops and says what to write instead.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

_WRITE_TEXT = "--form-string NAME=VALUE takes text as it is"


class Mistake(ValueError):
    """Something on the command line cannot be used as given."""


@dataclass(frozen=True, slots=True)
class FieldGiven:
    """One ``-F``: a part of a form.

    *kind* says what *value* is: the text itself, a file to upload, or a file
    whose content is the value. ``-`` is standard input.
    """

    name: str
    kind: Literal["text", "file", "text from file"]
    value: str
    content_type: str | None = None
    filename: str | None = None


def parse_field(text: str) -> list[FieldGiven]:
    """Return the parts that ``-F`` *text* stands for: one, but for ``@a,b``.

    Raises:
        Mistake: it cannot be understood; the message says what to write.
    """
    name, equals, rest = text.partition("=")
    if not equals or not name:
        raise Mistake(f"-F {text!r}: write NAME=VALUE, NAME=@FILE or NAME=<FILE")
    label = f"-F {name!r}"
    kind: Literal["text", "file", "text from file"] = "text"
    if rest.startswith(("@", "<")):
        kind = "file" if rest[0] == "@" else "text from file"
        rest = rest[1:].lstrip(" \t")
    values, rest = _values(label, rest, several=kind == "file")
    content_type, filename = _attributes(label, rest)
    if kind != "text" and not all(values):
        raise Mistake(f"{label}: the file's name is missing; write {name}=@FILE")
    if filename is not None and len(values) > 1:
        raise Mistake(f"{label}: one filename for several files; write one -F for each")
    return [FieldGiven(name, kind, each, content_type, filename) for each in values]


def parse_string(text: str) -> FieldGiven:
    """Return the part that ``--form-string`` *text* stands for: the text as it is.

    Raises:
        Mistake: there is no name.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Mistake(f"--form-string {text!r}: write NAME=VALUE")
    return FieldGiven(name, "text", value)


def form_given(
    fields: list[str] | None, strings: list[str] | None
) -> list[tuple[str, object]] | None:
    """Return the form that ``-F`` *fields* and ``--form-string`` *strings* make up.

    None if there are neither.

    Raises:
        Mistake: one of them cannot be understood.
    """
    if not fields and not strings:
        return None
    given = [each for text in fields or () for each in parse_field(text)]
    return form_of([*given, *(parse_string(text) for text in strings or ())])


def form_of(fields: Iterable[FieldGiven]) -> list[tuple[str, object]]:
    """Return *fields* as params, with standard input in its place.

    Raises:
        Mistake: standard input is used twice.
    """
    given = list(fields)
    if sum(each.kind != "text" and each.value == "-" for each in given) > 1:
        raise Mistake("-F: standard input (-) can be read once only")
    return [(each.name, _value(each)) for each in given]


def content_of(value: str) -> Path | BinaryIO:
    """Return the file that ``--content`` names; ``-`` is standard input."""
    return _standard_input() if value == "-" else Path(value)


def parse_header(text: str) -> tuple[str, str]:
    """Return name and value of ``-H`` *text*; ``Name;`` has an empty value.

    Raises:
        Mistake: it is no header; its value is not shown.
    """
    name, colon, value = text.partition(":")
    if colon and name.strip() and value.strip():
        return name.strip(), value.strip(" \t\r\n")
    if not colon and text.rstrip().endswith(";") and text.strip(" ;"):
        return text.strip().removesuffix(";").strip(), ""
    if colon and name.strip():
        raise Mistake(
            f"-H {name.strip()!r}: there is no value; write 'Name: value', "
            "or 'Name;' for an empty one"
        )
    raise Mistake("-H: write 'Name: value', or @FILE for a file of such lines")


def parse_headers(texts: Iterable[str]) -> dict[str, str]:
    """Return headers from ``-H`` options, ``@FILE`` ones read from their files.

    A header that is given twice is joined by a comma (RFC 9110, 5.2).

    Raises:
        Mistake: a line is no header, or a file cannot be read.
    """
    headers: dict[str, str] = {}
    for text in texts:
        for line in _header_lines(text[1:]) if text.startswith("@") else [text]:
            name, value = parse_header(line)
            before = next((key for key in headers if key.lower() == name.lower()), None)
            if before is None:
                headers[name] = value
            else:
                headers[before] = f"{headers[before]}, {value}"
    return headers


def parse_pairs(option: str, texts: Iterable[str]) -> Mapping[str, str]:
    """Return the pairs of an option that takes ``NAME=VALUE``.

    Raises:
        Mistake: one is no pair.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Mistake(f"{option} {text!r}: write NAME=VALUE")
        pairs[name] = value
    return pairs


def _values(label: str, text: str, *, several: bool) -> tuple[list[str], str]:
    """Return the value or values that *text* begins with, and what follows."""
    values: list[str] = []
    while True:
        value, text = _word(label, text, ",;" if several else ";")
        values.append(value)
        if not text.startswith(","):
            return values, text
        text = text[1:].lstrip(" \t")


def _attributes(label: str, text: str) -> tuple[str | None, str | None]:
    """Return type and filename from ``;type=...;filename=...``."""
    content_type = filename = None
    in_type = False
    while text:
        text = text[1:].lstrip(" \t")
        key, equals, rest = text.partition("=")
        match key.strip().lower() if equals else "":
            case "type":
                content_type, text = _word(label, rest, ";")
                content_type, in_type = content_type.strip(), True
                _, slash, subtype = content_type.partition("/")
                if not slash or not subtype:
                    raise Mistake(f"{label}: type={content_type!r} is no media type")
            case "filename":
                filename, text = _word(label, rest, ";")
                in_type = False
            case "encoder" | "headers" as known if not in_type:
                raise Mistake(f"{label}: ;{known}= is not supported")
            case _ if in_type:
                # A parameter of the media type, such as charset.
                stop = text.find(";")
                piece = text if stop < 0 else text[:stop]
                content_type = f"{content_type};{piece.rstrip()}"
                text = "" if stop < 0 else text[stop:]
            case _:
                piece = text.partition(";")[0]
                raise Mistake(
                    f"{label}: {';' + piece!r} is neither ;type= nor ;filename=; "
                    f'put a value that holds ; in "double quotes"; {_WRITE_TEXT}'
                )
    return content_type, filename


def _word(label: str, text: str, stops: str) -> tuple[str, str]:
    r"""Return a word up to one of *stops*, and the rest from there on.

    In double quotes it may hold anything, ``\"`` and ``\\`` standing for
    quote and backslash.
    """
    if text.startswith('"'):
        word, place = [], 1
        while place < len(text) and text[place] != '"':
            escaped = text[place] == "\\" and text[place + 1 : place + 2] in ('"', "\\")
            place += escaped
            word.append(text[place : place + 1])
            place += 1
        if place < len(text):
            rest = text[place + 1 :].lstrip(" \t")
            if rest and rest[0] not in stops:
                raise Mistake(
                    f"{label}: there is text after the closing quote; "
                    f"for a value that begins with a quote, {_WRITE_TEXT}"
                )
            return "".join(word), rest
        # Without a closing quote the first one is like any other character.
    place = next((n for n, char in enumerate(text) if char in stops), len(text))
    return text[:place], text[place:]


def _value(field: FieldGiven) -> object:
    if field.kind == "text":
        value: str | bytes = field.value
        try:
            field.value.encode()
        except UnicodeEncodeError:
            value = os.fsencode(field.value)  # bytes of another encoding, as given
        if field.content_type is None and field.filename is None:
            return value
        content = value.encode() if isinstance(value, str) else value
        return field.filename, content, field.content_type
    if field.kind == "text from file":
        return field.filename, content_of(field.value), field.content_type
    filename = field.filename
    if filename is None:
        filename = os.path.basename(field.value)
    return filename, content_of(field.value), field.content_type


def _standard_input() -> Path | BinaryIO:
    """Return standard input: the file behind it, if it can be found by its path."""
    stream = sys.stdin.buffer
    try:
        status = os.fstat(stream.fileno())
        if stat.S_ISREG(status.st_mode) and os.lseek(stream.fileno(), 0, 1) == 0:
            path = Path(os.readlink(f"/proc/self/fd/{stream.fileno()}"))
            if os.path.samestat(status, path.stat()):
                return path
    except (OSError, ValueError):
        pass
    return _Unseekable(stream)  # type: ignore[return-value]  # reading is all it does


class _Unseekable:
    """A stream that can only be read once, so that it is kept on disk and resumable."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes."""
        return self._stream.read(size)


def _header_lines(path: str) -> Iterator[str]:
    try:
        if path == "-":
            text = sys.stdin.read()
        else:
            text = Path(path).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise Mistake(f"-H @{path}: {error.strerror}") from error
    for line in text.splitlines():
        if line.strip():
            yield line
