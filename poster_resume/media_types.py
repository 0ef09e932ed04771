"""Media types by the ending of a name: a table of our own.

The bytes of a form must not depend on the machine, so nothing here asks the
system's ``mime.types`` or registry.
"""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidParameter

# RFC 9110, 8.3.1, as much of it as keeps a header one header.
_SPELLED: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[\x20-\x7e]*[\x21-\x7e]")

#: What is said of content about which nothing is known (RFC 2046, 4.5.1).
DEFAULT: Final = "application/octet-stream"


def checked_media_type(content_type: str) -> str:
    """Return *content_type*, if it can be the value of a Content-Type header.

    Raises:
        InvalidParameter: it would be no header, or more than one.
    """
    if not isinstance(content_type, str) or not _SPELLED.fullmatch(content_type):
        raise InvalidParameter(
            f"content_type: {content_type!r} is no media type: give one line of ASCII, "
            "such as 'text/plain; charset=utf-8'"
        )
    return content_type


def media_type(filename: str) -> str:
    """Return the media type that the ending of *filename* stands for.

    ``application/octet-stream`` if it has none, or one that is not in the table.
    """
    name = filename.replace("\\", "/").rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    return MEDIA_TYPES.get(ending.lower(), DEFAULT) if stem else DEFAULT


#: Lower-case endings and their types, as registered with IANA where they are.
MEDIA_TYPES: Final[dict[str, str]] = {
    "3gp": "video/3gpp",
    "7z": "application/x-7z-compressed",
    "aac": "audio/aac",
    "avi": "video/x-msvideo",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "bz2": "application/x-bzip2",
    "css": "text/css",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "epub": "application/epub+zip",
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "heic": "image/heic",
    "heif": "image/heif",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "jar": "application/java-archive",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "md": "text/markdown",
    "mid": "audio/midi",
    "midi": "audio/midi",
    "mjs": "text/javascript",
    "mkv": "video/matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rtf": "application/rtf",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "toml": "application/toml",
    "ts": "video/mp2t",
    "tsv": "text/tab-separated-values",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "application/xml",
    "xz": "application/x-xz",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}
