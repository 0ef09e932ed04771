"""Multipart parsers that nobody here wrote: one function each, all of one shape."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.servers import launch


@dataclass(frozen=True)
class Field:
    """One part as a parser reports it."""

    name: str
    filename: str | None
    content: bytes


Parser = Callable[[str, bytes], list[Field]]


def werkzeug(content_type: str, body: bytes) -> list[Field]:
    """Flask's parser."""
    from werkzeug.formparser import parse_form_data

    environ: dict[str, Any] = {
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": content_type,
        "REQUEST_METHOD": "POST",
    }
    _, form, files = parse_form_data(environ, silent=False)
    fields = [Field(n, None, v.encode()) for n, v in form.items(multi=True)]
    for name, upload in files.items(multi=True):
        fields.append(Field(name, upload.filename, upload.stream.read()))
        upload.close()
    return fields


def django(content_type: str, body: bytes) -> list[Field]:
    """Django's parser."""
    import django as package
    from django.conf import settings

    if not settings.configured:
        # Without a limit on fields: Django's own default refuses 1000 of them.
        settings.configure(DATA_UPLOAD_MAX_NUMBER_FIELDS=None)
        package.setup()
    from django.core.files.uploadhandler import MemoryFileUploadHandler
    from django.http.multipartparser import MultiPartParser

    meta = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": len(body)}
    handlers = [MemoryFileUploadHandler()]
    post, files = MultiPartParser(meta, io.BytesIO(body), handlers, "utf-8").parse()
    fields = [Field(n, None, v.encode()) for n, vs in post.lists() for v in vs]
    for name, uploads in files.lists():
        fields += [Field(name, upload.name, upload.read()) for upload in uploads]
    return fields


def starlette(content_type: str, body: bytes) -> list[Field]:
    """Starlette's, which is python-multipart."""
    from starlette.datastructures import Headers, UploadFile
    from starlette.formparsers import MultiPartParser

    async def stream() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]
        yield b""

    async def parsed() -> list[Field]:
        headers = Headers({"content-type": content_type})
        form = await MultiPartParser(
            headers, stream(), max_fields=10_000, max_files=10_000
        ).parse()
        fields = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                fields.append(Field(name, value.filename, await value.read()))
            else:
                fields.append(Field(name, None, value.encode()))
        await form.close()
        return fields

    return asyncio.run(parsed())


def aiohttp(content_type: str, body: bytes) -> list[Field]:
    """aiohttp's reader."""
    from aiohttp import BodyPartReader, MultipartReader, StreamReader
    from aiohttp.base_protocol import BaseProtocol

    async def parsed() -> list[Field]:
        loop = asyncio.get_running_loop()
        stream = StreamReader(BaseProtocol(loop), 2**20, loop=loop)
        stream.feed_data(body)
        stream.feed_eof()
        reader = MultipartReader({"Content-Type": content_type}, stream)
        fields = []
        while (part := await reader.next()) is not None:
            assert isinstance(part, BodyPartReader)
            content = bytes(await part.read())
            fields.append(Field(part.name or "", part.filename, content))
        return fields

    return asyncio.run(parsed())


def multipart(content_type: str, body: bytes) -> list[Field]:
    """The package ``multipart``."""
    from multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(content_type)
    fields = []
    stream, length = io.BytesIO(body), len(body)
    for part in MultipartParser(
        stream, options["boundary"], content_length=length, part_limit=10_000
    ):
        fields.append(Field(part.name, part.filename or None, part.raw))
        part.close()
    return fields


def busboy(content_type: str, body: bytes) -> list[Field]:
    """Node's busboy, told that names are UTF-8."""
    return _in_node("busboy", content_type, body)


def formidable(content_type: str, body: bytes) -> list[Field]:
    """Node's formidable."""
    return _in_node("formidable", content_type, body)


def _in_node(parser: str, content_type: str, body: bytes) -> list[Field]:
    script = str(launch.NPM / "parse.mjs")
    ran = subprocess.run(
        [launch.node(), script, parser, content_type],
        input=body,
        stdout=subprocess.PIPE,
        check=True,
        timeout=launch.PATIENCE,
    )
    return [
        Field(said["name"], said["filename"], bytes.fromhex(said["content"]))
        for said in json.loads(ran.stdout)
    ]


#: Parser, and the module without which it is skipped (None: what npm installs).
PARSERS: Mapping[str, tuple[Parser, str | None]] = {
    "werkzeug": (werkzeug, "werkzeug"),
    "django": (django, "django"),
    "starlette": (starlette, "python_multipart"),
    "aiohttp": (aiohttp, "aiohttp"),
    "multipart": (multipart, "multipart"),
    "busboy": (busboy, None),
    "formidable": (formidable, None),
}
