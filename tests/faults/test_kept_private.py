"""What is stored, logged and written stays private: the rest of the rules."""

from __future__ import annotations

import io
import logging
import ssl
import stat
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from poster_resume import (
    ByteRange,
    InvalidParameter,
    ResumableUpload,
    UploadError,
    client,
    iter_bytes,
    plan_form,
)
from poster_resume.testing import Receiver
from poster_resume.transport.redaction import redacting

from .hostile import Hostile, answer
from .judging import SECRET, WAYS, Way, logged, sent, speaking, target_of
from .lies import saying

pytestmark = pytest.mark.fault("what must stay private")

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
each_way = pytest.mark.parametrize("way", WAYS, ids=["-".join(way) for way in WAYS])


class Once(io.RawIOBase):
    """A stream that can be read once, and so has to be spooled."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        return self._rest.readinto(room)


@posix
def test_everything_that_is_stored_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    store = tmp_path / "state"
    with Hostile(saying(answer(503))) as busy:
        verdict = sent(
            f"{busy.origin}/form",
            ("blocking", "ours"),
            content=io.BufferedReader(Once(b"x" * 70000)),
            protocol="oneshot",
            store=store,
        )
        assert verdict.error is not None
    found = [store, *store.rglob("*")]
    assert any("spool-" in path.name for path in found)
    for path in found:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


@each_way
@pytest.mark.parametrize("protocol", ["rufh", "tus", "oneshot"])
def test_no_log_at_any_level_names_an_upload_or_a_credential(
    protocol: str, way: Way, tmp_path: Path
) -> None:
    with Receiver() as receiver:
        verdict = sent(
            target_of(receiver.url, protocol),
            way,
            protocol=speaking(protocol),
            store=tmp_path,
        )
    assert verdict.outcome is not None
    assert "/uploads/" not in verdict.shown
    assert SECRET not in verdict.shown
    if way[1] == "httpx":
        assert "HTTP Request" in verdict.logged  # it was listened to


def test_header_compression_logs_nothing_of_an_upload() -> None:
    fields = "Adding (b':path', b'/%s') to the header table"
    with logged() as log:
        logger = logging.getLogger("hpack.hpack")
        with redacting():
            logger.debug(fields, SECRET)
        assert SECRET not in log.getvalue()
        logger.debug(fields, SECRET)  # somebody else's request
        assert SECRET in log.getvalue()


@each_way
def test_junk_that_holds_a_secret_is_not_logged(way: Way) -> None:
    with Hostile(saying(f"junk {SECRET}\r\n\r\n".encode())) as echo:
        verdict = sent(target_of(echo.origin, "rufh"), way, protocol="rufh", store=None)
    assert verdict.error is not None
    assert SECRET not in verdict.shown


@each_way
def test_a_secret_in_a_reason_phrase_is_not_logged(way: Way) -> None:
    said = f"HTTP/1.1 400 Location: /{SECRET}\r\nContent-Length: 0\r\n\r\n"
    with Hostile(saying(said.encode())) as echo:
        verdict = sent(target_of(echo.origin, "rufh"), way, protocol="rufh", store=None)
    assert verdict.error is not None
    assert SECRET not in verdict.shown
    if way[1] == "httpx":
        assert "400 Bad Request" in verdict.logged


class Signing(httpx.Auth):
    requires_request_body = True


def test_auth_that_would_sign_an_empty_body_is_refused() -> None:
    for given in ({"auth": Signing()}, {"client": httpx.Client(auth=Signing())}):
        options: dict[str, Any] = {"content": b"x", "store": None, **given}
        with pytest.raises(InvalidParameter, match="auth"):
            ResumableUpload("http://127.0.0.1:9/form", **options).send()
        if "client" in options:
            options["client"].close()


def test_a_file_cannot_forge_a_part_or_an_end(tmp_path: Path) -> None:
    file = tmp_path / "evil.txt"
    file.write_bytes(b"")
    seen = set()
    for _ in range(20):
        with plan_form({"file": file, "after": "value"}) as plan:
            boundary = plan.content_type.rpartition("=")[2]
            assert len(boundary) >= 32  # 128 bits
            seen.add(boundary)
            content = f"\r\n--{boundary}--\r\n"
        # What the last boundary was helps nobody to write the next file.
        file.write_bytes(content.encode())
        with plan_form({"file": file, "after": "value"}) as plan:
            boundary = plan.content_type.rpartition("=")[2]
            assert boundary.encode() not in file.read_bytes()
            whole = b"".join(iter_bytes(plan, ByteRange(0, plan.length)))
            assert whole.count(f"--{boundary}--".encode()) == 1
    assert len(seen) == 20


@pytest.mark.parametrize("evil", ['a"\r\nX-Evil: y', "a\nX-Evil: y", 'a"; name="b'])
def test_no_name_or_filename_can_add_a_header_to_its_part(evil: str) -> None:
    with plan_form([(evil, "x"), ("f", (evil, b"x"))]) as plan:
        whole = b"".join(iter_bytes(plan, ByteRange(0, plan.length)))
    for line in whole.split(b"\r\n"):
        assert b"\n" not in line
        assert not line.lower().startswith(b"x-evil")
        assert line.count(b'name="') <= 2
    assert whole.count(b'name="') == 3  # two names, one filename


def test_a_type_cannot_add_a_header_to_its_part() -> None:
    with pytest.raises(InvalidParameter, match="line break"):
        plan_form({"f": ("name", b"x", "text/plain\r\nX-Evil: y")})


def test_tls_is_verified_and_never_older_than_python_allows() -> None:
    default = ssl.create_default_context()
    with client() as http:
        context = http._transport._context  # type: ignore[attr-defined] # ours
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == default.minimum_version


def test_errors_survive_being_shown_and_hold_no_url(tmp_path: Path) -> None:
    for path in (f"http://127.0.0.1:9/{SECRET}", f"http://{SECRET}:x@127.0.0.1:9/"):
        upload = ResumableUpload(path, content=b"x", store=None, protocol="oneshot")
        with pytest.raises(UploadError) as caught:
            ResumableUpload(
                path, content=b"x", store=None, protocol="oneshot", deadline=0.2
            ).send()
        assert SECRET not in f"{caught.value}{caught.value!r}{upload!r}"
