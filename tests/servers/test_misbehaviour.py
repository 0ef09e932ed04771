"""What real servers were seen to do wrong, and what becomes of an upload then.

Each test scripts one such behaviour and ends in exactly the right bytes, once,
or in an error that says what to do.
"""

from __future__ import annotations

import base64
import hashlib
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity
import trustme

from poster_resume import (
    RUFH,
    NotResumable,
    Outcome,
    OutcomeUnknown,
    ProtocolError,
    ResumableUpload,
    RetryPolicy,
    Timeouts,
    Tus,
    UploadError,
    UploadGone,
    UploadProtocol,
    UploadRejected,
)
from poster_resume.testing import (
    Behaviour,
    Link,
    Receiver,
    Rule,
    Stall,
    drop_final_answer,
)

CONTENT = random.Random(2).randbytes(700_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CHUNK = 300_000

Send = Callable[..., Outcome]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    file = tmp_path / "film.bin"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture(params=["tus", "rufh"])
def protocol(request: pytest.FixtureRequest) -> UploadProtocol:
    return Tus() if request.param == "tus" else RUFH()


@pytest.fixture
def upload(tmp_path: Path, film: Path) -> Callable[..., ResumableUpload]:
    def prepared(
        receiver: Receiver,
        protocol: UploadProtocol | str,
        base: str | None = None,
        **options: Any,
    ) -> ResumableUpload:
        name = protocol if isinstance(protocol, str) else protocol.name
        policy = RetryPolicy(
            stop=tenacity.stop_after_attempt(10),
            wait=tenacity.wait_fixed(0.02),
            settle=0.05,
        )
        return ResumableUpload(
            f"{base or receiver.url}/{'tus' if name == 'auto' else name}",
            **{
                "content": film,
                "protocol": protocol,
                "store": tmp_path / "state",
                "retry": policy,
                **options,
            },
        )

    return prepared


def arrived(receiver: Receiver) -> None:
    """Check that the target resource got the content, once, and nothing else."""
    delivery = receiver.delivery()
    assert (delivery.sha256, delivery.length) == (SHA256, len(CONTENT))
    appends = [r for r in receiver.requests if r.method == "PATCH"]
    assert appends
    for request in appends:
        assert "content-length" in request.headers
        assert "transfer-encoding" not in request.headers


def test_a_success_that_stored_nothing_is_not_believed(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    ignored = Rule(method="PATCH", status=204, times=2)
    with Receiver(rules=[ignored]) as receiver:
        upload(receiver, protocol).send()
        arrived(receiver)


@pytest.mark.parametrize("kept", [0.5, 1.0])
@pytest.mark.parametrize("status", [400, 412, 413, 415, 422, 500])
def test_an_error_that_stored_bytes_makes_the_client_ask(
    protocol: UploadProtocol,
    status: int,
    kept: float,
    upload: Callable[..., ResumableUpload],
) -> None:
    # With Upload-Complete it would be the target resource's own, final answer.
    failing = Rule(
        method="PATCH", status=status, keep=kept, without=("upload-complete",)
    )
    with Receiver(rules=[failing]) as receiver:
        upload(receiver, protocol).send()
        arrived(receiver)


@pytest.mark.parametrize("status", [400, 412, 415, 422])
def test_an_error_that_stored_nothing_is_the_error(
    protocol: UploadProtocol, status: int, upload: Callable[..., ResumableUpload]
) -> None:
    with Receiver(rules=[Rule(method="PATCH", status=status)]) as receiver:
        film = upload(receiver, protocol)
        with pytest.raises(UploadRejected, match=rf"append: .*{status}") as caught:
            film.send()
        assert caught.value.resumable
        film.send()
        arrived(receiver)


@pytest.mark.parametrize("wrong_offset", ["hole", "append"])
def test_a_server_that_takes_any_offset_is_only_sent_its_own(
    protocol: UploadProtocol,
    wrong_offset: Any,
    upload: Callable[..., ResumableUpload],
) -> None:
    broken = Rule(method="PATCH", after=200_000, ending="drop", times=2)
    careless = Behaviour(wrong_offset=wrong_offset)
    with Receiver(behaviour=careless, rules=[broken]) as receiver:
        upload(receiver, protocol).send()
        arrived(receiver)


def test_bytes_that_show_up_late_are_waited_for(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    broken = Rule(method="PATCH", after=200_000, ending="drop", times=2)
    patient = RetryPolicy(wait=tenacity.wait_fixed(0.02), settle=0.5)
    with Receiver(behaviour=Behaviour(late=0.2), rules=[broken]) as receiver:
        upload(receiver, protocol, retry=patient).send()
        arrived(receiver)


def test_a_server_that_buffers_gets_ever_smaller_appends(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    # Whatever is larger breaks: only small appends can arrive whole.
    broken = Rule(method="PATCH", after=300_000, ending="drop", times=2)
    with Receiver(behaviour=Behaviour(buffering=True), rules=[broken]) as receiver:
        upload(receiver, protocol).send()
        arrived(receiver)
        assert min(r.received for r in receiver.requests if r.method == "PATCH") > 0


def test_an_offset_request_that_hangs_is_asked_again(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    rules = [
        Rule(method="PATCH", after=200_000, ending="drop"),
        Rule(method="HEAD", delay=1.0),
    ]
    with Receiver(rules=rules) as receiver:
        upload(receiver, protocol, timeouts=Timeouts(probe=0.2)).send()
        arrived(receiver)


@pytest.mark.parametrize("status", [409, 423, 503])
def test_a_server_that_is_busy_with_the_last_request_is_waited_for(
    protocol: UploadProtocol, status: int, upload: Callable[..., ResumableUpload]
) -> None:
    rules = [
        Rule(method="PATCH", after=200_000, ending="drop"),
        Rule(method="PATCH", status=status, times=3),
    ]
    with Receiver(rules=rules) as receiver:
        upload(receiver, protocol).send()
        arrived(receiver)


@pytest.mark.parametrize("concurrency", ["kill", "refuse", "wait", "share"])
def test_a_request_that_hangs_at_the_server_is_outlived(
    protocol: UploadProtocol,
    concurrency: Any,
    upload: Callable[..., ResumableUpload],
) -> None:
    # The link holds the first append back, with the server's end open, for
    # longer than the client is patient.
    hanging = Stall(300_000, seconds=0.6)
    short = Timeouts(progress=0.2, answer=0.2, probe=0.4)
    behaviour = Behaviour(concurrency=concurrency)
    with (
        Receiver(behaviour=behaviour) as receiver,
        Link(receiver.port, [hanging]) as link,
    ):
        what = upload(receiver, protocol, timeouts=short, base=link.url)
        what.send()
        arrived(receiver)


def test_a_finished_upload_that_is_gone_is_unknown_and_never_sent_again(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    forgetful = Behaviour(completed="gone")
    with Receiver(behaviour=forgetful, rules=[drop_final_answer()]) as receiver:
        film = upload(receiver, protocol)
        with pytest.raises(OutcomeUnknown, match="assume"):
            film.send()
        with pytest.raises(OutcomeUnknown, match="assume"):
            upload(receiver, protocol).send()
        arrived(receiver)
        upload(receiver, protocol).send(assume="complete")
        arrived(receiver)


@pytest.mark.parametrize("status", [408, 409, 413, 423, 429, 500, 502, 503])
def test_a_failure_after_the_last_byte_is_unknown_when_the_upload_is_gone(
    protocol: UploadProtocol,
    status: int,
    upload: Callable[..., ResumableUpload],
) -> None:
    forgetful = Behaviour(completed="gone")
    failing = Rule(
        completing=True, status=status, keep=1.0, without=("upload-complete",)
    )
    with Receiver(behaviour=forgetful, rules=[failing]) as receiver:
        with pytest.raises(OutcomeUnknown, match="assume"):
            upload(receiver, protocol).send()
        arrived(receiver)


def test_a_final_answer_that_was_lost_is_replayed(
    upload: Callable[..., ResumableUpload],
) -> None:
    tidy = Behaviour(completed="head-gone", final_status=202, final_content=b"thanks")
    with Receiver(behaviour=tidy, rules=[drop_final_answer()]) as receiver:
        outcome = upload(receiver, RUFH()).send()
        arrived(receiver)
    assert (outcome.response.status_code, outcome.response.content) == (202, b"thanks")


def test_a_server_that_wants_metadata_before_it_tells_the_offset_gets_it(
    upload: Callable[..., ResumableUpload],
) -> None:
    fussy = Behaviour(require_metadata=("filename", "filetype"), spaced=True)
    broken = Rule(method="PATCH", after=200_000, ending="drop")
    with Receiver(behaviour=fussy, rules=[broken]) as receiver:
        upload(receiver, Tus()).send()
        arrived(receiver)
        metadata = receiver.delivery().metadata
    name = base64.b64encode(b"film.bin").decode()
    assert f"filename {name}" in metadata
    assert "filetype " in metadata


def test_content_without_a_name_is_refused_clearly_by_such_a_server(
    upload: Callable[..., ResumableUpload],
) -> None:
    fussy = Behaviour(require_metadata=("filename", "filetype"))
    broken = Rule(method="PATCH", after=200_000, ending="drop")
    with Receiver(behaviour=fussy, rules=[broken]) as receiver:
        with pytest.raises(UploadRejected, match=r"retrieve offset: .*400"):
            upload(receiver, Tus(), content=CONTENT).send()
        assert receiver.deliveries == []


def test_the_last_append_may_answer_200_with_a_body(
    upload: Callable[..., ResumableUpload],
) -> None:
    talkative = Behaviour(final_status=200, final_content=b"stored")
    with Receiver(behaviour=talkative) as receiver:
        outcome = upload(receiver, Tus()).send()
        arrived(receiver)
    assert (outcome.response.status_code, outcome.response.content) == (200, b"stored")


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(head_status=204),
        Behaviour(head_length=True),
        Behaviour(grow=True),
        Behaviour(tus_version=False),
        Behaviour(acknowledge=False),
    ],
    ids=["head 204", "head with a length", "grows", "no Tus-Version", "no offsets"],
)
def test_an_odd_but_harmless_habit_does_no_harm(
    behaviour: Behaviour,
    protocol: UploadProtocol,
    upload: Callable[..., ResumableUpload],
) -> None:
    broken = Rule(method="PATCH", after=200_000, ending="drop", times=2)
    with Receiver(behaviour=behaviour, rules=[broken]) as receiver:
        upload(receiver, protocol, chunk_size=CHUNK).send()
        arrived(receiver)


def test_an_offset_past_the_end_is_an_error(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    rules = [
        Rule(method="PATCH", after=200_000, ending="drop"),
        Rule(method="HEAD", headers={"upload-offset": str(len(CONTENT) + 1)}),
    ]
    with Receiver(rules=rules) as receiver:
        with pytest.raises(ProtocolError, match="exceeds length"):
            upload(receiver, protocol).send()
        assert receiver.deliveries == []


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(extensions=("creation", "termination"), checksums=()),
        Behaviour(checksums=("md5",)),
        Behaviour(options_status=404, extensions=(), checksums=()),
    ],
    ids=["no extension", "other algorithms", "no OPTIONS"],
)
def test_a_checksum_that_would_be_ignored_is_refused_before_a_byte_is_sent(
    behaviour: Behaviour, upload: Callable[..., ResumableUpload]
) -> None:
    with Receiver(behaviour=behaviour) as receiver:
        with pytest.raises(NotResumable, match="leave checksum out"):
            upload(receiver, Tus(checksum="sha256")).send()
        assert receiver.received == 0


def test_an_append_whose_checksum_was_refused_is_sent_again(
    upload: Callable[..., ResumableUpload],
) -> None:
    refused = Rule(method="PATCH", status=460, times=2)
    with Receiver(rules=[refused]) as receiver:
        outcome = upload(receiver, Tus(checksum="sha1"), chunk_size=CHUNK).send()
        arrived(receiver)
    assert outcome.verified == "digest"


def test_a_broken_options_answer_keeps_nobody_from_naming_the_protocol(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    broken = Rule(method="OPTIONS", raw=b"ICY 200 OK\r\n\r\n", times=None)
    with Receiver(rules=[broken]) as receiver:
        upload(receiver, protocol).send()
        arrived(receiver)


def test_a_broken_options_answer_never_passes_for_a_plain_server(
    upload: Callable[..., ResumableUpload],
) -> None:
    broken = Rule(method="OPTIONS", raw=b"ICY 200 OK\r\n\r\n", times=None)
    hasty = RetryPolicy(
        stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.01)
    )
    with Receiver(rules=[broken]) as receiver:
        with pytest.raises(UploadError) as caught:
            upload(receiver, "auto", retry=hasty).send()
        assert caught.value.resumable
        assert receiver.received == 0


def test_a_server_without_tus_version_is_still_recognised(
    upload: Callable[..., ResumableUpload],
) -> None:
    with Receiver(behaviour=Behaviour(tus_version=False)) as receiver:
        outcome = upload(receiver, "auto").send()
        arrived(receiver)
    assert outcome.upload.protocol == "tus"


def test_a_forgotten_upload_is_started_over_once(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    lost = Rule(method="PATCH", skip=1, status=404, forget=True)
    with Receiver(rules=[lost]) as receiver:
        upload(receiver, protocol, chunk_size=CHUNK).send()
        arrived(receiver)


def test_a_forgotten_upload_is_an_error_where_that_was_asked_for(
    protocol: UploadProtocol, upload: Callable[..., ResumableUpload]
) -> None:
    lost = Rule(method="PATCH", skip=1, status=404, forget=True)
    with Receiver(rules=[lost]) as receiver:
        film = upload(receiver, protocol, chunk_size=CHUNK, on_gone="raise")
        with pytest.raises(UploadGone):
            film.send()
        assert receiver.deliveries == []


@pytest.fixture
def secure() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_a_location_that_gives_up_tls_on_the_same_host_is_repaired(
    protocol: UploadProtocol,
    secure: tuple[ssl.SSLContext, ssl.SSLContext],
    upload: Callable[..., ResumableUpload],
) -> None:
    server, trusting = secure
    behind_proxy = Behaviour(location="http://{host}")
    with (
        Receiver(behaviour=behind_proxy, tls=server) as receiver,
        httpx.Client(verify=trusting) as client,
    ):
        upload(receiver, protocol, client=client).send()
        arrived(receiver)


def test_a_location_that_gives_up_tls_elsewhere_is_refused(
    protocol: UploadProtocol,
    secure: tuple[ssl.SSLContext, ssl.SSLContext],
    upload: Callable[..., ResumableUpload],
) -> None:
    server, trusting = secure
    elsewhere = Behaviour(location="http://example.invalid")
    with (
        Receiver(behaviour=elsewhere, tls=server) as receiver,
        httpx.Client(verify=trusting) as client,
    ):
        with pytest.raises(ProtocolError, match="gives up TLS"):
            upload(receiver, protocol, client=client).send()
        assert receiver.received == 0
