"""Builds and runs the C programs beside; a slower sink where there is no compiler."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parent


def build(name: str, into: Path) -> Path | None:
    """Compile a program, with TLS if OpenSSL's headers are there; None: cannot."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = into / name
    source = str(SOURCES / f"{name}.c")
    for options in (["-DTLS", "-lssl", "-lcrypto"], []):
        flags = [each for each in options if each.startswith("-D")]
        libraries = [each for each in options if each.startswith("-l")]
        command = [compiler, "-O2", *flags, "-o", str(program), source, "-pthread"]
        if subprocess.run([*command, *libraries], capture_output=True).returncode == 0:
            return program
    return None


@contextlib.contextmanager
def sink(
    program: Path | None, certificate: Path | None, key: Path | None
) -> Iterator[int]:
    """Run a sink, over TLS if there is a certificate; yield its port."""
    tls = [str(certificate), str(key)] if certificate and key else []
    command = [sys.executable, "-m", "tests.bench.native", *tls]
    if program is not None:
        command = [str(program), *tls]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        port = running.stdout.readline().strip()
        if not port:
            raise RuntimeError("the sink does not start")
        yield int(port)
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def serve(arguments: list[str]) -> None:
    """Be the sink that needs no compiler."""
    context = None
    if arguments:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments[0], arguments[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        threading.Thread(target=_swallow, args=(sock,), daemon=True).start()


def _swallow(sock: socket.socket) -> None:
    room, rest = bytearray(1 << 20), b""
    with sock, contextlib.suppress(OSError):
        while True:
            while b"\r\n\r\n" not in rest:
                more = sock.recv(65536)
                if not more:
                    return
                rest += more
            head, _, rest = rest.partition(b"\r\n\r\n")
            fields = dict(
                line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:]
            )
            if b"expect" in fields:
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = int(fields.get(b"content-length", 0))
            taken = min(left, len(rest))
            left, rest = left - taken, rest[taken:]
            while left:
                count = sock.recv_into(room, min(left, len(room)))
                if not count:
                    return
                left -= count
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
