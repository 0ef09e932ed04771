"""With ``http2=True`` uploads go through the inner transport and stay correct."""

from __future__ import annotations

import functools
import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import tenacity

from poster_resume import (
    AsyncResumableUpload,
    Outcome,
    ResumableUpload,
    RetryPolicy,
    Timeouts,
    TransportError,
    Tus,
    UploadRejected,
    async_client,
    client,
)
from poster_resume.plan import plan_form
from poster_resume.protocols import UploadProtocol
from poster_resume.testing import Behaviour, Receiver
from poster_resume.transport import segment_request, shows_interims

from .gateway import Break, How, gateway
from .peers import AUTHORITY, client_context
from .ways import Driver

SIZE = 3_000_000
FIRST = 1_000_000
QUICK = RetryPolicy(
    stop=tenacity.stop_after_attempt(6), wait=tenacity.wait_none(), settle=0.05
)
#: httpx may see a reset stream only when it has waited for the answer in vain.
BRIEF = Timeouts(answer=3)
DRIVERS: list[Driver] = ["blocking", "asyncio", "trio"]
#: What a request may meet without being repeated by hand.
BREAKS: list[How] = ["reset", "goaway", "gone"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scan.bin"
    path.write_bytes(bytes(range(250)) * (SIZE // 250))
    return path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(behaviour=Behaviour(progress_every=256 * 1024)) as running:
        yield running


def upload(driver: Driver, target: str, file: Path, **options: Any) -> Outcome:
    """Send *file* as a form over a client that has HTTP/2."""
    given = {"retry": QUICK, "store": None, "timeouts": BRIEF} | options
    http: dict[str, Any] = {"http2": True, "verify": client_context()}
    if driver == "blocking":
        with client(**http) as ours:
            return ResumableUpload(target, {"f": file}, client=ours, **given).send()

    async def main() -> Outcome:
        async with async_client(**http) as ours:
            awaited = AsyncResumableUpload(target, {"f": file}, client=ours, **given)
            return await awaited.send()

    return anyio.run(main, backend=driver)


def protocol_for(path: str) -> str | UploadProtocol:
    """Return what speaks to a receiver's *path*."""
    if path == "tus":
        return Tus(form="multipart")
    return {"rufh": "rufh", "form": "oneshot"}[path]


def arrived(receiver: Receiver) -> str:
    (part,) = receiver.delivery().parts
    return part.sha256


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("path", ["rufh", "tus", "form"])
def test_an_upload_over_http2_arrives(
    driver: Driver, path: str, file: Path, receiver: Receiver
) -> None:
    options = {"protocol": protocol_for(path)}
    with gateway(receiver.port) as (url, seen):
        upload(driver, f"{url}/{path}/x", file, **options)
    assert arrived(receiver) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert b"POST" in seen.methods
    if path == "rufh":
        # Careful: the creation is empty, as no 104 would be seen.
        sizes = [r.received for r in receiver.requests if r.method == "POST"]
        assert sizes == [0]


@pytest.mark.parametrize(
    ("driver", "path"),
    [("blocking", "rufh"), ("blocking", "tus"), ("asyncio", "rufh"), ("trio", "rufh")],
)
@pytest.mark.parametrize("how", BREAKS)
def test_an_upload_goes_on_where_http2_broke_it(
    driver: Driver, how: How, path: str, file: Path, receiver: Receiver
) -> None:
    options = {"protocol": protocol_for(path)}
    with gateway(receiver.port, Break(how, FIRST)) as (url, seen):
        upload(driver, f"{url}/{path}/x", file, **options)
    assert seen.broken == [how]
    assert arrived(receiver) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert receiver.received < SIZE + FIRST  # it did not start over


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_plain_upload_that_http2_breaks_is_not_sent_twice(
    driver: Driver, file: Path, receiver: Receiver
) -> None:
    with (
        gateway(receiver.port, Break("reset", FIRST)) as (url, seen),
        pytest.raises(TransportError, match="start over"),
    ):
        upload(driver, f"{url}/form/x", file, protocol="oneshot")
    assert seen.methods.count(b"POST") == 1
    assert receiver.deliveries == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_413_over_http2_is_the_answer_of_a_plain_upload(
    driver: Driver, file: Path, receiver: Receiver
) -> None:
    with (
        gateway(receiver.port, Break("full", FIRST)) as (url, _),
        pytest.raises(UploadRejected) as caught,
    ):
        upload(driver, f"{url}/form/x", file, protocol="oneshot")
    assert caught.value.response.status_code == 413


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("how", ["full", "refuse"])
def test_after_413_over_http2_the_rest_goes_in_smaller_appends(
    driver: Driver, how: How, file: Path, receiver: Receiver
) -> None:
    with gateway(receiver.port, Break(how, FIRST)) as (url, seen):
        upload(driver, f"{url}/rufh/x", file, protocol="rufh")
    assert seen.broken == [how]
    assert arrived(receiver) == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("path", ["rufh", "tus", "form"])
def test_a_server_that_negotiates_http1_alone_gets_that(
    driver: Driver, path: str, file: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    with Receiver(tls=context) as receiver:
        upload(driver, f"{receiver.url}/{path}/x", file, protocol=protocol_for(path))
        assert arrived(receiver) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_direct_user_gets_an_ordinary_response(
    file: Path, receiver: Receiver
) -> None:
    moved: list[int] = []
    with (
        gateway(receiver.port) as (url, _),
        client(http2=True, verify=client_context()) as ours,
        plan_form({"f": file}) as plan,
    ):
        assert not shows_interims(ours)
        send = functools.partial(segment_request, ours, "POST", f"{url}/form/x", plan)
        for _ in range(2):
            response = ours.send(send(on_progress=moved.append))
            assert (response.status_code, response.http_version) == (200, "HTTP/2")
    assert sum(moved) == 2 * plan.length
    assert [each.length for each in receiver.deliveries] == [plan.length] * 2
