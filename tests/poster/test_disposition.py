"""Part headers say what the caller gave, and let nothing in that is not theirs."""

import email
import email.header
import email.policy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster.disposition import (
    Escaping,
    classic_filename,
    classic_name,
    closed,
    part_header,
    part_header_length,
)
from tests.servers import parsers
from tests.servers.parsers import Field

RAW = [Escaping.BROWSER, Escaping.QUOTED]
# Everything a field can be called, with a taste for what could do harm.
TEXT = st.text(
    st.one_of(
        st.sampled_from("\"\\\r\n\t;=%'&#<> /:?_é☃\u2028\x85"),
        st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
    ),
    max_size=30,
)


def escaped(text: str) -> str:
    for char, spelling in ('"', "%22"), ("\r", "%0D"), ("\n", "%0A"):
        text = text.replace(char, spelling)
    return text


def normalised(name: str) -> str:
    return re.sub(r"\r\n|\r|\n", "\r\n", name)


@pytest.mark.parametrize(
    ("text", "in_name", "in_filename"),
    [
        ("plain", "plain", "plain"),
        ('a"b', "a%22b", "a%22b"),
        ("a\nb", "a%0D%0Ab", "a%0Ab"),
        ("a\rb", "a%0D%0Ab", "a%0Db"),
        ("a\r\nb", "a%0D%0Ab", "a%0D%0Ab"),
        ("a\n\rb", "a%0D%0A%0D%0Ab", "a%0A%0Db"),
        ("a\\b", "a\\b", "a\\b"),
        ("a%22", "a%22", "a%22"),
        ("☃", "☃", "☃"),
        ("\ud800x", "\ufffdx", "\ufffdx"),
    ],
)
def test_browser_spelling_is_that_of_the_html_standard(
    text: str, in_name: str, in_filename: str
) -> None:
    header = part_header(b"--B", text, filename=text, escaping=Escaping.BROWSER)
    assert header.decode() == (
        "--B\r\nContent-Disposition: form-data; "
        f'name="{in_name}"; filename="{in_filename}"\r\n\r\n'
    )


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("plain", "plain"),
        (" \tspaced ", " \tspaced "),
        ('a"b', 'a\\"b'),
        ("a\\b", "a\\\\b"),
        ("a\\", "a\\\\"),
        ("a\r\nb", "a%0D%0Ab"),
        ("☃", "☃"),
    ],
)
def test_quoted_spelling_is_a_quoted_string_in_utf_8(text: str, spelled: str) -> None:
    header = part_header(b"--B", text, filename=text, escaping=Escaping.QUOTED)
    assert header.decode() == (
        "--B\r\nContent-Disposition: form-data; "
        f'name="{spelled}"; filename="{spelled}"\r\n\r\n'
    )


@pytest.mark.parametrize(
    ("text", "in_name", "in_filename"),
    [
        ("plain", "plain", "plain"),
        ("☃", "=?utf-8?b?4piD?=", "&#9731;"),
        ("naïve name", "=?utf-8?q?na=C3=AFve_name?=", "na&#239;ve name"),
        ('a"b', 'a\\"b', 'a\\"b'),
        ("a\\", "a\\\\", "a\\\\"),
        ("a\\b", "a\\b", "a\\\\b"),
        ("it's", "it's", "it\\'s"),
        ("a\r\nb", "=?utf-8?b?YQ0KYg==?=", "a\\r\\nb"),
        ("a\nb", "=?utf-8?b?YQ0KYg==?=", "a\\nb"),
        ("a\0b", "=?utf-8?b?YQBi?=", "a\\x00b"),
        ("\ud800", "=?utf-8?b?7aCA?=", "&#55296;"),
        ("\ud800\udcff", "=?utf-8?b?7aCA7bO/?=", "&#55296;&#56575;"),
        ("  lead", "lead", "  lead"),
    ],
)
def test_classic_spelling_is_that_of_poster_0_8(
    text: str, in_name: str, in_filename: str
) -> None:
    header = part_header(
        b"--B",
        text,
        filename=text,
        content_type="text/plain; charset=utf-8",
        escaping=Escaping.CLASSIC,
    )
    assert header.decode() == (
        "--B\r\nContent-Disposition: form-data; "
        f'name="{in_name}"; filename="{in_filename}"\r\n'
        "Content-Type: text/plain; charset=utf-8\r\n\r\n"
    )


@pytest.mark.parametrize("escaping", RAW)
def test_surrogate_escapes_become_the_original_bytes(escaping: Escaping) -> None:
    filename = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    header = part_header(b"--B", "f", filename=filename, escaping=escaping)
    assert b'; filename="caf\xe9.txt"\r\n' in header


def test_classic_filenames_spell_bytes_in_hexadecimal() -> None:
    filename = b"caf\xe9.txt"
    assert classic_filename(filename) == "caf\\xe9.txt"
    assert classic_filename(filename.decode("utf-8", "surrogateescape")) == (
        "caf\\xe9.txt"
    )


@pytest.mark.parametrize("escaping", RAW)
@pytest.mark.parametrize("where", ["name", "filename"])
def test_a_nul_is_refused_where_it_has_no_spelling(
    escaping: Escaping, where: str
) -> None:
    text = {"name": "n", "filename": "f", where: "a\0b"}
    with pytest.raises(ValueError, match=f"^{where} .*NUL.*remove it"):
        part_header(b"--B", text["name"], filename=text["filename"], escaping=escaping)


@pytest.mark.parametrize("escaping", Escaping)
@pytest.mark.parametrize("bad", ["text/plain\r\nX: y", "a\nb", "a\rb", "a\0b"])
def test_a_content_type_of_two_lines_is_refused(escaping: Escaping, bad: str) -> None:
    with pytest.raises(ValueError, match="give one line"):
        part_header(b"--B", "n", content_type=bad, escaping=escaping)


@pytest.mark.parametrize("escaping", Escaping)
def test_the_delimiter_and_the_type_are_written_as_they_are(escaping: Escaping) -> None:
    assert part_header(
        b"\r\n--B", "n", content_type="image/png", escaping=escaping
    ) == (
        b'\r\n--B\r\nContent-Disposition: form-data; name="n"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )


@given(
    TEXT, st.none() | TEXT, st.sampled_from([None, "a/b"]), st.sampled_from(Escaping)
)
def test_the_length_is_that_of_the_header(
    name: str, filename: str | None, content_type: str | None, escaping: Escaping
) -> None:
    header = part_header(
        b"--B", name, filename=filename, content_type=content_type, escaping=escaping
    )
    assert len(header) == part_header_length(
        b"--B", name, filename=filename, content_type=content_type, escaping=escaping
    )


@given(TEXT, st.none() | TEXT, st.sampled_from(Escaping))
def test_no_text_leaves_its_quotes(
    name: str, filename: str | None, escaping: Escaping
) -> None:
    header = part_header(b"--B", name, filename=filename, escaping=escaping)
    lines = header.split(b"\r\n")
    assert lines[0] == b"--B"
    assert lines[2:] == [b"", b""]
    assert b"\r" not in lines[1]
    assert b"\n" not in lines[1]
    inside = rb'"(?:[^"\\]|\\.)*"' if escaping is not Escaping.BROWSER else rb'"[^"]*"'
    parameters = rb"form-data; name=%b" % inside
    if filename is not None:
        parameters += rb"; filename=%b" % inside
    assert re.fullmatch(rb"Content-Disposition: " + parameters, lines[1], re.DOTALL), (
        lines[1]
    )


@given(TEXT)
def test_a_closed_text_stays_closed(text: str) -> None:
    once = closed(text)
    assert closed(once) == once
    assert once.isascii()


@given(TEXT)
def test_classic_names_are_words_that_mean_the_name(name: str) -> None:
    spelled = classic_name(name)
    assert classic_name(spelled) == spelled
    if spelled == name.lstrip():
        return
    assert all(len(word) <= 75 for word in spelled.split(" "))
    words = email.header.decode_header(spelled)
    meant = b"".join(w if isinstance(w, bytes) else w.encode() for w, _ in words)
    assert meant.decode() == normalised(name)


@given(TEXT)
def test_classic_filenames_mean_the_filename(filename: str) -> None:
    spelled = classic_filename(filename)
    plain = re.sub(
        r"\\(x..|.)",
        lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(
            m[1], chr(int(m[1][1:], 16)) if m[1][0] == "x" else m[1]
        ),
        spelled,
    )
    references = re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), plain)
    assert references == re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), filename)


def with_email(content_type: str, body: bytes) -> list[Field]:
    """Parse with the standard library, which knows nothing of forms."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    document = email.message_from_bytes(head + body, policy=email.policy.compat32)
    fields = []
    for part in document.get_payload():
        assert isinstance(part, email.message.Message)
        assert part.keys() == ["Content-Disposition"]
        name = str(part.get_param("name", header="content-disposition"))
        filename = part.get_param("filename", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        fields.append(Field(name, filename and str(filename), content))
    return fields


INDEPENDENT = [with_email, parsers.starlette, parsers.werkzeug, parsers.multipart]


def read_by(parser: parsers.Parser, name: str, escaping: Escaping) -> str:
    """Return the name that *parser* reads in the only field of a form."""
    body = part_header(b"--XX", name, escaping=escaping) + b"content\r\n--XX--\r\n"
    fields = parser("multipart/form-data; boundary=XX", body)
    assert len(fields) == 1
    assert fields[0].content == b"content"
    assert fields[0].filename is None
    return fields[0].name


# A backslash before the closing quote is read as an escape by some, although browsers
# write it: QUOTED is the spelling for those, and has no such blemish.
SMUGGLED = [
    'a"b',
    'a"; filename="x',
    "a\r\nX: y\r\n\r\nz",
    "a\n--XX\n",
    "a;b=c",
    "é☃",
    "a b",
    "%22",
    "a\u2028b",
]


@pytest.mark.parametrize("escaping", Escaping)
@pytest.mark.parametrize("parser", INDEPENDENT)
@pytest.mark.parametrize("name", SMUGGLED)
def test_independent_parsers_find_one_field_and_nothing_smuggled_in(
    name: str, parser: parsers.Parser, escaping: Escaping
) -> None:
    read_by(parser, name, escaping)


@given(TEXT.map(lambda text: text.replace("\\", "/")).filter(str.strip))
def test_independent_parsers_read_the_names_of_the_browsers_spelling(name: str) -> None:
    for parser in parsers.starlette, parsers.werkzeug, parsers.multipart:
        read = read_by(parser, name, Escaping.BROWSER)
        # Some undo what browsers do, some leave it.
        assert escaped(read) == escaped(normalised(name))


@given(TEXT.filter(str.strip))
def test_independent_parsers_read_the_names_of_the_quoted_spelling(name: str) -> None:
    for parser in parsers.starlette, parsers.werkzeug:
        read = read_by(parser, name, Escaping.QUOTED)
        # Some undo what browsers do here too, so "%22" may become a quote.
        assert escaped(read) == escaped(name)
