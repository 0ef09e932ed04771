"""How the answers of any server are read: statuses, offsets, places, times."""

from __future__ import annotations

import time

import pytest

from poster_resume.errors import (
    ContentTooLarge,
    InvalidParameter,
    OffsetMismatch,
    ProtocolError,
    RedirectRefused,
    ServerBusy,
    Unauthorized,
    UploadError,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
)
from poster_resume.flow import Response
from poster_resume.protocols.base import (
    check_length,
    completed,
    locate,
    parse_offset,
    refused_creation,
    retry_after,
    shown,
    unexpected,
)

from .verbs import upload_of

BASE = "https://example.test:8443/files"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, RedirectRefused),
        (302, RedirectRefused),
        (399, RedirectRefused),
        (400, UploadRejected),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, UploadGone),
        (407, Unauthorized),
        (408, ServerBusy),
        (409, OffsetMismatch),
        (410, UploadGone),
        (413, ContentTooLarge),
        (421, ServerBusy),
        (422, UploadRejected),
        (423, ServerBusy),
        (425, ServerBusy),
        (429, ServerBusy),
        (460, ServerBusy),
        (499, UploadRejected),
        (500, ServerBusy),
        (501, ProtocolError),
        (502, ServerBusy),
        (503, ServerBusy),
        (505, ProtocolError),
        (507, ServerBusy),
        (200, ProtocolError),
    ],
)
def test_each_status_means_one_thing(status: int, kind: type[UploadError]) -> None:
    error = unexpected(Response(status, {"retry-after": "7"}, sent=3), "append")
    assert type(error) is kind
    assert (error.retry_after, error.sent) == (7.0, 3)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [401, 403, 407])
def test_missing_credentials_are_told_apart(status: int) -> None:
    error = unexpected(Response(status), "append")
    assert isinstance(error, Unauthorized)
    assert error.status == status


@pytest.mark.parametrize(("status", "maybe"), [(429, False), (500, True), (503, False)])
def test_a_server_that_did_not_try_has_processed_nothing(
    status: int, maybe: bool
) -> None:
    error = unexpected(Response(status), "append")
    assert isinstance(error, ServerBusy)
    assert error.maybe_processed is maybe


@pytest.mark.parametrize("status", [404, 409, 410])
def test_a_creation_has_no_resource_that_could_be_gone(status: int) -> None:
    assert isinstance(refused_creation(Response(status)), UploadRejected)


def test_an_empty_creation_cannot_be_made_smaller() -> None:
    assert isinstance(refused_creation(Response(413)), UploadTooLarge)
    assert isinstance(refused_creation(Response(413), 1), ContentTooLarge)


@pytest.mark.parametrize(
    ("spelled", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("1234567", 1234567.0),
        ("Thu, 01 Jan 1970 00:17:10 GMT", 30.0),
        ("Thu, 01 Jan 1970 00:17:10 -0000", 30.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("\u0663", None),
        ("Thu, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_the_time_to_come_back_is_read_in_both_forms(
    spelled: str, seconds: float | None
) -> None:
    assert retry_after(Response(503, {"retry-after": spelled}, wall=1000.0)) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="POSIX only")
def test_a_time_to_come_back_without_a_zone_is_universal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Response(503, {"retry-after": "Thu, 01 Jan 1970 00:17:10 -0000"}, wall=0)
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        try:
            assert retry_after(answer) == 1030.0
        finally:
            patched.undo()
            time.tzset()


def test_an_answer_that_only_proves_the_end_lends_no_content() -> None:
    proof = Response(200, {"x": "y"}, b"of another request")
    upload = completed(upload_of(10), proof, lost=True)
    assert upload.result is not None
    assert (upload.result.content, upload.result.truncated) == (b"", True)
    assert (upload.offset, upload.phase) == (10, "complete")


@pytest.mark.parametrize(
    ("value", "offset"), [("0", 0), ("10", 10), ("0" * 14 + "1", 1)]
)
def test_offsets_are_decimal_numbers(value: str, offset: int) -> None:
    assert parse_offset(value, upload_of(10), "append") == offset


@pytest.mark.parametrize(
    "value", [None, "", "-1", "+1", "1.0", "0x1", "\u0663", "0" * 15 + "1", "11"]
)
def test_what_is_no_offset_into_the_upload_is_refused(value: str | None) -> None:
    with pytest.raises(ProtocolError):
        parse_offset(value, upload_of(10), "append")


def test_what_is_shown_of_an_offset_is_harmless() -> None:
    with pytest.raises(ProtocolError, match="not a number at all") as error:
        parse_offset("\x1b[31m/secret", upload_of(10), "append")
    assert "secret" not in str(error.value)


def test_what_a_server_offers_is_shown_in_words_and_not_for_ever() -> None:
    assert shown(["sha1", "\x1b[31m", "a" * 21]) == "sha1, ?, ?"
    assert shown(["x"] * 100) == ", ".join(["x"] * 8)


def test_the_longest_upload_that_headers_can_spell() -> None:
    check_length(upload_of(999_999_999_999_999))
    with pytest.raises(InvalidParameter, match="split"):
        check_length(upload_of(1_000_000_000_000_000))


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("1", "https://example.test:8443/1"),
        ("/u/1?token=a%20b#part", "https://example.test:8443/u/1?token=a%20b"),
        ("https://other.test/1", "https://other.test/1"),
        ("https://[::1]:8443/1", "https://[::1]:8443/1"),
        ("https://127.0.0.1/1", "https://127.0.0.1/1"),
        ("http://example.test/1", "https://example.test:8443/1"),
        ("http://example.test:80/1", "https://example.test:8443/1"),
        ("http://example.test:8443/1", "https://example.test:8443/1"),
    ],
)
def test_places_are_resolved_and_keep_tls(location: str, url: str) -> None:
    assert locate(location, BASE, "create") == url


def test_a_place_is_as_long_as_may_be() -> None:
    location = "/" + "x" * 8191
    assert locate(location, BASE, "create").endswith(location)
    with pytest.raises(RedirectRefused):
        locate(location + "x", BASE, "create")


def test_an_upgraded_place_shows_no_credentials_of_the_target() -> None:
    base = "https://user:secret@example.test/files"
    assert locate("http://example.test/1", base, "create") == "https://example.test/1"


@pytest.mark.parametrize("location", [None, ""])
def test_no_place_is_an_error_of_its_own(location: str | None) -> None:
    with pytest.raises(ProtocolError, match="no Location"):
        locate(location, BASE, "create")


@pytest.mark.parametrize(
    "location",
    [
        "/a b",
        "/a\x7fb",
        "/a\tb",
        "https://[::1/1",
        "https://[::1]x/1",
        "https://[::1]x:1/1",
        "https://example.test:port/1",
        "ftp://example.test/1",
        "http:///1",
        "https://user@other.test/1",
        "https://:secret@other.test/1",
        "https://ex%61mple.test/1",
        "https://exa\\mple.test/1",
        "https://127.1/1",
        "https://2130706433/1",
        "http://other.test/1",
        "http://other.test:8443/1",
        "http://example.test:8080/1",
    ],
)
def test_places_that_must_not_be_used_are_refused(location: str) -> None:
    with pytest.raises(RedirectRefused) as refused:
        locate(location, BASE, "create")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("status", [401, 403, 407])
def test_only_an_upload_that_there_is_is_kept(status: int) -> None:
    assert "the upload is kept" in str(unexpected(Response(status), "append"))
    for error in (
        refused_creation(Response(status)),
        unexpected(Response(status), "discover"),
    ):
        assert str(error).endswith(f"the server answered {status}; renew credentials")
