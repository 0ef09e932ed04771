"""Real proxies on loopback, configured and started for one test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NGINX = """\
daemon off; master_process off; worker_processes 1;
pid {directory}/nginx.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u;
  scgi_temp_path {directory}/s;
  client_max_body_size {limit};
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_request_buffering {buffering};
    }}
  }}
}}
"""

HAPROXY = """\
global
  maxconn 256
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server one 127.0.0.1:{upstream}
"""

CADDY = """\
{{
  admin off
  auto_https off
  persist_config off
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  request_body {{
    max_size {limit}
  }}
  reverse_proxy 127.0.0.1:{upstream}
}}
"""

SQUID = """\
http_port 127.0.0.1:{port}
acl local dst 127.0.0.1/32
http_access allow local
http_access deny all
cache deny all
access_log none
cache_log {directory}/cache.log
pid_filename {directory}/squid.pid
coredump_dir {directory}
shutdown_lifetime 0 seconds
cache_effective_user {user}
"""


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def nginx(
    upstream: int, directory: Path, *, buffering: bool, limit: str = "0"
) -> Iterator[int]:
    """Yield the port of an nginx in front of *upstream*."""
    port = free_port()
    spelled = "on" if buffering else "off"
    config = NGINX.format(
        directory=directory,
        port=port,
        upstream=upstream,
        buffering=spelled,
        limit=limit,
    )
    path = _written(directory / "nginx.conf", config)
    command = [found("nginx"), "-p", str(directory), "-c", str(path), "-e", "stderr"]
    with running(command, port):
        yield port


@contextlib.contextmanager
def haproxy(upstream: int, directory: Path) -> Iterator[int]:
    """Yield the port of an haproxy in front of *upstream*."""
    port = free_port()
    config = HAPROXY.format(port=port, upstream=upstream)
    path = _written(directory / "haproxy.cfg", config)
    with running([found("haproxy"), "-db", "-f", str(path)], port):
        yield port


@contextlib.contextmanager
def caddy(upstream: int, directory: Path, *, limit: str = "10GB") -> Iterator[int]:
    """Yield the port of a caddy in front of *upstream*, with a body limit."""
    port = free_port()
    config = CADDY.format(port=port, upstream=upstream, limit=limit)
    path = _written(directory / "Caddyfile", config)
    command = [found("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"]
    with running(command, port, HOME=str(directory), XDG_DATA_HOME=str(directory)):
        yield port


@contextlib.contextmanager
def squid(directory: Path) -> Iterator[int]:
    """Yield the port of a forward proxy for loopback."""
    port = free_port()
    user = "proxy" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
    if os.geteuid() == 0:
        directory.chmod(0o777)
        for parent in directory.parents:
            with contextlib.suppress(OSError):
                parent.chmod(parent.stat().st_mode | 0o011)
    config = SQUID.format(port=port, directory=directory, user=user)
    path = _written(directory / "squid.conf", config)
    with running([found("squid"), "-N", "-f", str(path)], port):
        yield port


def found(program: str) -> str:
    """Return the path of *program*; skip the test where it is not installed."""
    beside = Path(sys.executable).parent / program
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if beside.exists():
        path = str(beside)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@contextlib.contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """Run *command* until the block ends; it listens on *port* from its beginning."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )
    try:
        _await(process, port)
        yield
    finally:
        process.kill()
        process.communicate()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
    process.kill()
    said = process.communicate()[1].decode(errors="replace")
    raise AssertionError(f"it does not listen: {said[-2000:]}")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
