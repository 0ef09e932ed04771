"""Memory is constant in the size of the upload; planning costs next to nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

GIB = 1024**3
MIB = 1024**2

CLIENT = """
import asyncio, json, resource, sys
from pathlib import Path
import poster_resume

def peak():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024

url, path, kind = sys.argv[1:]
before = peak()
options = dict(protocol="oneshot", store=None)
if kind == "blocking":
    outcome = poster_resume.ResumableUpload(url, {"f": Path(path)}, **options).send()
else:
    upload = poster_resume.AsyncResumableUpload(url, {"f": Path(path)}, **options)
    outcome = asyncio.run(upload.send())
print(json.dumps([outcome.response.json(), outcome.upload.length, peak() - before]))
"""


class Sink:
    """Takes one request after the other, counts its content, answers the count."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        socket.create_connection(self._listener.getsockname()[:2]).close()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        buffer = memoryview(bytearray(MIB))
        while True:
            connection, _ = self._listener.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    block = connection.recv(4096)
                    if not block:
                        return
                    head += block
                head, _, rest = head.partition(b"\r\n\r\n")
                (length,) = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                received = len(rest)
                while received < length:
                    count = connection.recv_into(buffer)
                    if not count:
                        break
                    received += count
                body = b"%d" % received
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    yield server
    server.close()


@pytest.mark.timeout(420)
@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(GIB, id="1GiB"),
        pytest.param(20 * GIB, id="20GiB", marks=pytest.mark.long),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_sending_takes_no_more_memory_than_a_few_buffers(
    kind: str, size: int, sink: Sink, tmp_path: Path
) -> None:
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.truncate(size)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, sink.url, str(path), kind],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    received, length, grown = json.loads(done.stdout)
    assert received == length > size
    assert grown < 40 * MIB
