"""Uploads through real proxies, over links that break."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
import tenacity
import trustme

import poster_resume
from poster_resume import RUFH, Outcome, ResumableUpload, RetryPolicy, Tus
from poster_resume.protocols import UploadProtocol
from poster_resume.testing import Cut, Link, Receiver

from . import middlemen
from .judging import judge
from .sending import End

QUICK = RetryPolicy(
    stop=tenacity.stop_after_attempt(8), wait=tenacity.wait_none(), settle=0.1
)
SIZE = 3_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scan.bin"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


def through(port: int, path: str, protocol: UploadProtocol, file: Path) -> Outcome:
    """Send *file* over a link to *port* that is cut after each 700,000 bytes."""
    with Link(port, repeat(Cut(after=700_000))) as link:
        target = f"http://127.0.0.1:{link.port}/{path}"
        return ResumableUpload(
            target, {"f": file}, protocol=protocol, retry=QUICK, store=None
        ).send()


def exactly_once(
    receiver: Receiver, file: Path, outcome: Outcome, middleman: str
) -> None:
    (delivery,) = receiver.deliveries
    assert len(receiver.uploads) == delivery.count == 1
    end = End(outcome.response.status_code)
    judge(receiver, delivery.path, file.read_bytes(), end, f"middlemen: {middleman}")


@contextlib.contextmanager
def middleman(name: str, upstream: int, directory: Path) -> Iterator[int]:
    match name:
        case "nginx":
            proxy = middlemen.nginx(upstream, directory, buffering=False)
        case "nginx-buffering":
            proxy = middlemen.nginx(upstream, directory, buffering=True)
        case "haproxy":
            proxy = middlemen.haproxy(upstream, directory)
        case "caddy":
            proxy = middlemen.caddy(upstream, directory)
        case _:
            raise AssertionError(name)
    with proxy as port:
        yield port


@pytest.mark.parametrize("protocol", ["rufh", "tus"])
@pytest.mark.parametrize("name", ["nginx", "nginx-buffering", "haproxy", "caddy"])
def test_uploads_get_through_a_reverse_proxy_over_a_broken_link(
    name: str, protocol: str, file: Path, tmp_path: Path
) -> None:
    speaks = RUFH() if protocol == "rufh" else Tus(form="multipart")
    with Receiver() as receiver, middleman(name, receiver.port, tmp_path) as port:
        outcome = through(port, protocol, speaks, file)
        assert outcome.response.is_success
        exactly_once(receiver, file, outcome, f"{name}, and cuts")


@pytest.mark.parametrize("protocol", ["rufh", "tus"])
@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_appends_shrink_below_a_proxys_body_limit(
    name: str, protocol: str, file: Path, tmp_path: Path
) -> None:
    speaks = RUFH() if protocol == "rufh" else Tus(form="multipart")
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        proxy = (
            middlemen.nginx(receiver.port, tmp_path, buffering=False, limit="1m")
            if name == "nginx"
            else middlemen.caddy(receiver.port, tmp_path, limit="1MB")
        )
        port = stack.enter_context(proxy)
        outcome = ResumableUpload(
            f"http://127.0.0.1:{port}/{protocol}",
            {"f": file},
            protocol=speaks,
            retry=QUICK,
            store=None,
        ).send()
        assert outcome.response.is_success
        exactly_once(receiver, file, outcome, f"{name} with a body limit")


def test_a_plain_form_over_a_proxys_limit_is_rejected_and_not_lost(
    file: Path, tmp_path: Path
) -> None:
    with (
        Receiver() as receiver,
        middlemen.nginx(receiver.port, tmp_path, buffering=False, limit="1m") as port,
        pytest.raises(poster_resume.UploadRejected) as rejected,
    ):
        ResumableUpload(
            f"http://127.0.0.1:{port}/form", {"f": file}, protocol="oneshot", store=None
        ).send()
    assert rejected.value.response.status_code == 413


@pytest.mark.parametrize("tls", [False, True])
def test_uploads_go_through_a_forward_proxy(
    tls: bool, file: Path, tmp_path: Path
) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with (
        Receiver(tls=server if tls else None) as receiver,
        middlemen.squid(tmp_path) as port,
        poster_resume.client(
            proxy=f"http://127.0.0.1:{port}", verify=trusting, trust_env=False
        ) as client,
    ):
        outcome = ResumableUpload(
            f"{receiver.url}/rufh", {"f": file}, client=client, store=None
        ).send()
        assert outcome.response.is_success
        exactly_once(receiver, file, outcome, f"squid{', TLS' if tls else ''}")
        # The proxy made the connections: RUFH's 104s went unseen, nothing more.
        assert all(r.interims == 0 or r.status for r in receiver.requests)
