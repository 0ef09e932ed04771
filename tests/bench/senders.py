"""The clients that are compared: each sends one form with one large file.

A sender is called twice: once to prepare (imports, contexts, a client), which is
not measured, and what it returns is called to send. ``Unavailable`` says why a
client cannot take part here.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOUNDARY = "0123456789abcdef0123456789abcdef"
MIB = 1024 * 1024


class Unavailable(Exception):
    """This client cannot take part here."""


@dataclass(frozen=True)
class Task:
    """What to send, and where: *authority* is the file of the CA, for TLS."""

    url: str
    path: Path
    authority: Path | None
    native: Path | None = None

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    def before(self) -> bytes:
        return (
            f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
            f'name="file"; filename="{self.path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()

    def after(self) -> bytes:
        return f"\r\n--{BOUNDARY}--\r\n".encode()

    @property
    def length(self) -> int:
        size = self.path.stat().st_size
        return len(self.before()) + size + len(self.after())

    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(self.length),
        }

    def context(self) -> ssl.SSLContext | None:
        if self.authority is None:
            return None
        return ssl.create_default_context(cafile=str(self.authority))

    def blocks(self, size: int) -> Iterator[bytes]:
        yield self.before()
        with self.path.open("rb") as file:
            while block := file.read(size):
                yield block
        yield self.after()


Run = Callable[[], object]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Unavailable(f"{name} is not installed") from None


def _verify(task: Task) -> Any:
    return task.context() or True


def ours_blocking(task: Task) -> Run:
    from poster_resume.plan import plan_form
    from poster_resume.transport import client, segment_request

    ours = client(verify=_verify(task), timeout=None, trust_env=False)

    def run() -> None:
        with ours, plan_form({"file": task.path}) as plan:
            ours.send(segment_request(ours, "POST", task.url, plan)).raise_for_status()

    return run


def _ours_async(task: Task) -> Callable[[], Any]:
    from poster_resume.plan import plan_form
    from poster_resume.transport import async_client, segment_request

    ours = async_client(verify=_verify(task), timeout=None, trust_env=False)

    async def main() -> None:
        async with ours:
            with plan_form({"file": task.path}) as plan:
                request = segment_request(ours, "POST", task.url, plan)
                (await ours.send(request)).raise_for_status()

    return main


def ours_asyncio(task: Task) -> Run:
    main = _ours_async(task)
    # The first loop of a process imports what all of them need.
    asyncio.run(_module("anyio").sleep(0))
    return lambda: asyncio.run(main())


def ours_trio(task: Task) -> Run:
    main, trio = _ours_async(task), _module("trio")
    trio.run(_module("anyio").sleep, 0)
    return lambda: trio.run(main)


def httpx_files(task: Task) -> Run:
    httpx = _module("httpx")
    client = httpx.Client(verify=_verify(task), timeout=None, trust_env=False)

    def run() -> None:
        with client, task.path.open("rb") as file:
            client.post(task.url, files={"file": file}).raise_for_status()

    return run


def httpx_blocks(task: Task) -> Run:
    httpx = _module("httpx")
    client = httpx.Client(verify=_verify(task), timeout=None, trust_env=False)

    def run() -> None:
        with client:
            content = task.blocks(MIB)
            client.post(
                task.url, content=content, headers=task.headers()
            ).raise_for_status()

    return run


def toolbelt(task: Task) -> Run:
    requests, belt = _module("requests"), _module("requests_toolbelt")
    session = requests.Session()
    session.trust_env = False
    session.verify = str(task.authority) if task.authority else True

    def run() -> None:
        with session, task.path.open("rb") as file:
            encoder = belt.MultipartEncoder({"file": (task.path.name, file)})
            session.post(
                task.url, data=encoder, headers={"Content-Type": encoder.content_type}
            ).raise_for_status()

    return run


def aiohttp_form(task: Task) -> Run:
    aiohttp = _module("aiohttp")

    async def main() -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with task.path.open("rb") as file:
                # Closed by aiohttp; and of a known length, so not chunked.
                form = aiohttp.FormData(default_to_multipart=True)
                form.add_field("file", file, filename=task.path.name)
                tls = task.context() or False
                async with session.post(task.url, data=form, ssl=tls) as response:
                    response.raise_for_status()

    return lambda: asyncio.run(main())


def pycurl_form(task: Task) -> Run:
    pycurl = _module("pycurl")

    def run() -> None:
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, task.url)
        curl.setopt(pycurl.NOPROXY, "*")
        curl.setopt(pycurl.HTTPPOST, [("file", (pycurl.FORM_FILE, str(task.path)))])
        curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)
        if task.authority:
            curl.setopt(pycurl.CAINFO, str(task.authority))
        curl.perform()
        if curl.getinfo(pycurl.RESPONSE_CODE) != 200:
            raise RuntimeError("not accepted")
        curl.close()

    return run


def curl_form(task: Task) -> Run:
    program = shutil.which("curl")
    if program is None:
        raise Unavailable("curl is not installed")
    command = [program, "-sSf", "--noproxy", "*", "-F", f"file=@{task.path}", task.url]
    if task.authority:
        command += ["--cacert", str(task.authority)]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def original(task: Task) -> Run:
    import http.client

    from .encode_bench import original as encoded

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", task.port)
        if task.authority:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", task.port, context=task.context()
            )
        with task.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            around = sum(map(len, encoded(io.BytesIO(), BOUNDARY)))
            headers = task.headers() | {"Content-Length": str(size + around)}
            connection.request("POST", "/", encoded(file, BOUNDARY), headers)
        if connection.getresponse().status != 200:
            raise RuntimeError("not accepted")
        connection.close()

    return run


def native(task: Task) -> Run:
    if task.native is None:
        raise Unavailable("there is no C compiler")
    directory = task.native.parent
    head = "".join(f"{name}: {value}\r\n" for name, value in task.headers().items())
    before = directory / "before.bin"
    before.write_bytes(
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode() + task.before()
    )
    after = directory / "after.bin"
    after.write_bytes(task.after())
    command = [str(task.native), str(task.port)]
    command += [str(each) for each in (before, task.path, after)]
    if task.authority:
        command.append("tls")
    return lambda: subprocess.run(command, check=True)


#: Name in the table, whether it is a program of its own, and the sender.
SENDERS: dict[str, tuple[str, bool, Callable[[Task], Run]]] = {
    "native": ("C, sendfile (TLS: SSL_write)", True, native),
    "ours-blocking": ("poster_resume, blocking", False, ours_blocking),
    "ours-asyncio": ("poster_resume, asyncio", False, ours_asyncio),
    "ours-trio": ("poster_resume, trio", False, ours_trio),
    "httpx-blocks": ("httpx, blocks of 1 MiB", False, httpx_blocks),
    "httpx-files": ("httpx, files=", False, httpx_files),
    "curl": ("curl -F", True, curl_form),
    "pycurl": ("pycurl, form", False, pycurl_form),
    "aiohttp": ("aiohttp, FormData", False, aiohttp_form),
    "toolbelt": ("requests-toolbelt", False, toolbelt),
    "original": ("the original poster's algorithm", False, original),
}
