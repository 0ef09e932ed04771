"""The header of a part: its delimiter line, name, filename and type, as bytes.

Whatever the caller's text holds, it stays inside the quotes that it was put in, and
the header stays the lines that it is: one renderer writes every escaping.
"""

import binascii
import enum
import re
from collections.abc import Iterator


class Escaping(enum.Enum):
    r"""How names and filenames are spelled inside the quotes.

    CLASSIC is what poster 0.8 wrote: names that are not ASCII as RFC 2047 words,
    filenames with backslash escapes and character references.

    BROWSER is what browsers write (WHATWG HTML, "multipart form data"; RFC 7578,
    section 5.1): raw UTF-8, a quote as ``%22``, CR as ``%0D``, LF as ``%0A``; a line
    break in a name, not in a filename, is made CRLF first.

    QUOTED is the quoted-string of RFC 2183 with raw UTF-8: ``\"`` and ``\\``. Line
    breaks are written as browsers do, because a CR or LF could end the header even
    behind a backslash.

    With BROWSER and QUOTED, surrogate escapes, as `os.listdir` returns them for
    names which are not UTF-8, become the original bytes again.
    """

    CLASSIC = "classic"
    BROWSER = "browser"
    QUOTED = "quoted"


def part_header(
    delimiter: bytes,
    name: str,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    escaping: Escaping,
) -> bytes:
    r"""Return the header of a part, from *delimiter* to the empty line.

    *delimiter* comes first as it is: ``--`` and the boundary, after the CRLF that ends
    the part before if the caller likes. *content_type* None writes no such line.

    Raises:
        ValueError: *content_type* has CR, LF or NUL, or a name has a NUL that
            *escaping* cannot spell. NUL ends the text for receivers written in C, and
            no file's name has one.
    """
    # A form may have a million fields: this is the way that most of them take.
    if (
        filename is None
        and content_type is None
        and escaping is not _CLASSIC
        and _PLAIN(name) is not None
    ):
        return b"%b%b%b%b" % (delimiter, _BEFORE_NAME, name.encode(), _AFTER_NAME)
    return assemble(
        delimiter,
        spell_name(name, escaping),
        None if filename is None else spell_filename(filename, escaping),
        content_type,
    )


def part_header_length(
    delimiter: bytes,
    name: str,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    escaping: Escaping,
) -> int:
    """Return the length of what `part_header` returns, without making it if it can.

    Raises:
        ValueError: as `part_header` does.
    """
    if (
        filename is None
        and content_type is None
        and escaping is not _CLASSIC
        and _PLAIN(name) is not None
    ):
        return len(delimiter) + _AROUND_NAME + len(name)
    return len(
        part_header(
            delimiter,
            name,
            filename=filename,
            content_type=content_type,
            escaping=escaping,
        )
    )


def assemble(
    delimiter: bytes, name: bytes, filename: bytes | None, content_type: str | None
) -> bytes:
    """Return the header of a part whose *name* and *filename* are spelled already.

    Raises:
        ValueError: *content_type* has CR, LF or NUL.
    """
    if filename is not None:
        name = b'%b"; filename="%b' % (name, filename)
    if content_type is None:
        return b"%b%b%b%b" % (delimiter, _BEFORE_NAME, name, _AFTER_NAME)
    if _LINE_BREAK_OR_NUL.search(content_type) is not None:
        raise ValueError(
            f"content type {content_type!r} has a line break or NUL: give one line, "
            "such as 'text/plain; charset=utf-8'"
        )
    return b'%b%b%b"\r\nContent-Type: %b\r\n\r\n' % (
        delimiter,
        _BEFORE_NAME,
        name,
        content_type.encode("utf-8", "surrogateescape"),
    )


def spell_name(name: str, escaping: Escaping) -> bytes:
    """Return *name* as it stands between the quotes.

    Raises:
        ValueError: it has a NUL and *escaping* is not CLASSIC.
    """
    if _PLAIN(name) is not None:
        return (name.lstrip() if escaping is _CLASSIC else name).encode()
    if escaping is _CLASSIC:
        return closed(classic_name(name)).encode("ascii")
    if escaping is Escaping.BROWSER:
        # "Replace every occurrence of U+000D (CR) not followed by U+000A (LF), and
        # every occurrence of U+000A (LF) not preceded by U+000D (CR), in entry's name"
        # (WHATWG HTML, constructing an entry list). Filenames are left alone.
        name = _LINE_BREAK.sub("\r\n", name)
    return _spell_raw(name, escaping, "name")


def spell_filename(filename: str, escaping: Escaping) -> bytes:
    """Return *filename* as it stands between the quotes.

    Raises:
        ValueError: it has a NUL and *escaping* is not CLASSIC.
    """
    if escaping is _CLASSIC:
        return classic_filename(filename).encode("ascii")
    if _PLAIN(filename) is not None:
        return filename.encode()
    return _spell_raw(filename, escaping, "filename")


def classic_name(name: str) -> str:
    """Return *name* as the attribute `name` of poster 0.8 showed it, in ASCII.

    Printable ASCII stays, without white space in front; all else becomes RFC 2047
    words. Those of a long name stand on one line, where poster 0.8 wrote a bare LF.
    """
    if _PRINTABLE.fullmatch(name) is not None:
        return name.lstrip()
    return " ".join(_encoded_words(_LINE_BREAK.sub("\r\n", name)))


def classic_filename(filename: str | bytes) -> str:
    r"""Return *filename* as the attribute `filename` of poster 0.8 showed it.

    Text becomes ASCII with character references, bytes and control characters become
    ``\xff``, and backslashes and quotes of both kinds get a backslash.
    """
    if isinstance(filename, str):
        filename = _classic_bytes(filename)
    return filename.decode("latin-1").translate(_BACKSLASHED)


def closed(text: str) -> str:
    """Return *text* if it may stand between quotes as it is, else with escapes.

    It may not where it would close the quotes early or late, or is not printable
    ASCII. This keeps what is spelled already, and what poster 0.8 left alone.
    """
    if _CLOSED.fullmatch(text) is not None:
        return text
    if _PRINTABLE.fullmatch(text) is not None:
        return text.translate(_QUOTED)
    return classic_filename(text)


_CLASSIC = Escaping.CLASSIC  # looking up a member of an enumeration takes its time
_BEFORE_NAME = b'\r\nContent-Disposition: form-data; name="'
_AFTER_NAME = b'"\r\n\r\n'
_AROUND_NAME = len(_BEFORE_NAME) + len(_AFTER_NAME)

# Nothing that any escaping changes, but for white space that CLASSIC strips.
_PLAIN = re.compile(r"[\t !#-\[\]-~]*").fullmatch
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_LINE_BREAK_OR_NUL = re.compile(r"[\r\n\0]")
_PRINTABLE = re.compile(r"[\t -~]*")
# The content of a quoted-string (RFC 822, section 3.3): no bare quote, and a
# backslash always has a character behind it.
_CLOSED = re.compile(r"(?:[\t !#-\[\]-~]|\\[ -~])*")
_SURROGATE_ESCAPE = re.compile(r"[\udc80-\udcff]")

_PERCENT = {0x22: "%22", 0x0D: "%0D", 0x0A: "%0A"}
_QUOTED = {0x22: '\\"', 0x5C: "\\\\", 0x0D: "%0D", 0x0A: "%0A"}
_BACKSLASHED = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))},
    0x09: "\\t",
    0x0A: "\\n",
    0x0D: "\\r",
    0x22: '\\"',
    0x27: "\\'",
    0x5C: "\\\\",
}


def _spell_raw(text: str, escaping: Escaping, what: str) -> bytes:
    """Return *text* as raw UTF-8 with the few escapes of BROWSER or QUOTED."""
    if "\0" in text:
        raise ValueError(f"{what} {text!r} has a NUL character: remove it")
    text = text.translate(_PERCENT if escaping is Escaping.BROWSER else _QUOTED)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A lone surrogate is no character: U+FFFD, as browsers make of it.
        return (
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        )


def _classic_bytes(filename: str) -> bytes:
    if _SURROGATE_ESCAPE.search(filename) is not None:
        try:
            return filename.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            pass  # other surrogates too: no file's name, spell each as a reference
    return filename.encode("ascii", "xmlcharrefreplace")


def _encoded_words(text: str) -> Iterator[str]:
    """Yield *text* as encoded words of at most 75 characters (RFC 2047, section 2)."""
    start = 0
    for stop in range(1, len(text) + 1):
        if len(_encoded_word(text[start : stop + 1])) > 75 or stop == len(text):
            yield _encoded_word(text[start:stop])
            start = stop


def _encoded_word(text: str) -> str:
    """Return *text* as one encoded word: in base64, or "Q" where that is shorter."""
    raw = text.encode("utf-8", "surrogatepass")
    base64 = binascii.b2a_base64(raw, newline=False).decode("ascii")
    q = "".join(_Q[byte] for byte in raw)
    return f"=?utf-8?q?{q}?=" if len(q) < len(base64) else f"=?utf-8?b?{base64}?="


# RFC 2047, section 4.2, with the characters that are safe in every header (5, rule 3).
_Q = [
    chr(byte)
    if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-!*+/")
    else "_"
    if byte == 0x20
    else f"={byte:02X}"
    for byte in range(256)
]
