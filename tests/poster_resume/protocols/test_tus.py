from __future__ import annotations

import base64

import pytest

from poster_resume.errors import (
    InvalidParameter,
    NotResumable,
    OffsetMismatch,
    ProtocolError,
    ServerBusy,
    Unauthorized,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
)
from poster_resume.protocols import Tus
from poster_resume.protocols.tus import CHECKED_APPEND, spell_metadata
from poster_resume.ranges import ByteRange

from .verbs import RESOURCE, TARGET, Verb, created, result_of, upload_of


def test_creation_names_length_and_metadata() -> None:
    upload = upload_of(100, metadata={"filename": "é.txt", "secret": ""})
    request = Verb(Tus().create(upload)).start()
    assert (request.method, request.url, request.length) == ("POST", TARGET, 0)
    assert request.headers == {
        "tus-resumable": "1.0.0",
        "upload-length": "100",
        "upload-metadata": "filename w6kudHh0,secret",
    }


@pytest.mark.parametrize(
    "location", ["/files/1", "1", RESOURCE, "http://example.test/files/1"]
)
def test_locations_are_resolved(location: str) -> None:
    flow = Tus().create(upload_of(100, target=f"{TARGET}/"))
    verb = Verb(flow)
    verb.start()
    assert verb.finish(201, location=location).resource == RESOURCE


def test_an_empty_upload_is_complete_when_created() -> None:
    verb = Verb(Tus().create(upload_of(0)))
    verb.start()
    assert verb.finish(201, location="/files/1").complete


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, UploadRejected), (413, UploadTooLarge), (503, ServerBusy)],
)
def test_refused_creations(status: int, error: type[Exception]) -> None:
    verb = Verb(Tus().create(upload_of(100)))
    verb.start()
    with pytest.raises(error):
        verb.answer(status)


def test_another_version_is_said_to_be_spoken() -> None:
    verb = Verb(Tus().create(upload_of(100)))
    verb.start()
    with pytest.raises(NotResumable, match=r"0\.2\.2"):
        verb.answer(412, tus_version="0.2.2")


def test_appends_believe_the_offset_and_not_the_status() -> None:
    verb = Verb(Tus().append(created(), ByteRange(0, 50)))
    request = verb.start()
    assert (request.method, request.url) == ("PATCH", RESOURCE)
    assert request.headers == {
        "tus-resumable": "1.0.0",
        "upload-offset": "0",
        "content-type": "application/offset+octet-stream",
    }
    assert verb.finish(204, upload_offset="20").offset == 20


def test_a_success_without_offset_is_followed_by_asking() -> None:
    verb = Verb(Tus().append(created(), ByteRange(0, 50)))
    verb.start()
    assert verb.answer(200).method == "HEAD"
    assert verb.finish(200, upload_offset="7").offset == 7


def test_the_last_append_brings_the_final_answer() -> None:
    verb = Verb(Tus().append(created(), ByteRange(50, 100)))
    verb.start()
    upload = verb.finish(200, b"stored", upload_offset="100")
    assert upload.result is not None
    assert (upload.complete, upload.result.content) == (True, b"stored")


def test_an_offset_past_what_was_sent_is_an_error() -> None:
    verb = Verb(Tus().append(created(), ByteRange(0, 50)))
    verb.start()
    with pytest.raises(ProtocolError, match="claims 51 bytes"):
        verb.answer(204, upload_offset="51")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UploadRejected),
        (403, Unauthorized),
        (404, UploadGone),
        (409, OffsetMismatch),
        (410, UploadGone),
        (423, ServerBusy),
        (460, ServerBusy),
        (500, ServerBusy),
    ],
)
def test_refused_appends(status: int, error: type[Exception]) -> None:
    verb = Verb(Tus().append(created(), ByteRange(0, 50)))
    verb.start()
    with pytest.raises(error):
        verb.answer(status)


def test_an_offset_at_the_end_is_complete_with_the_answer_lost() -> None:
    verb = Verb(Tus().retrieve_offset(created()))
    verb.start()
    upload = verb.finish(200, upload_offset="100", content_length="100")
    assert upload.result is not None
    assert (upload.complete, upload.result.truncated) == (True, True)


@pytest.mark.parametrize("offset", ["", "-1", "x", "1e3", "5.0", "٣", "1" * 16])
def test_no_valid_offset_is_asked_for_again(offset: str) -> None:
    verb = Verb(Tus().retrieve_offset(created()))
    verb.start()
    with pytest.raises(ServerBusy, match="no valid Upload-Offset"):
        verb.answer(200, upload_offset=offset)


@pytest.mark.parametrize("offset", ["101", "999999999999999"])
def test_an_offset_past_the_end_is_an_error(offset: str) -> None:
    verb = Verb(Tus().retrieve_offset(created()))
    verb.start()
    with pytest.raises(ProtocolError, match="exceeds length 100"):
        verb.answer(200, upload_offset=offset)


def test_another_length_is_an_error() -> None:
    verb = Verb(Tus().retrieve_offset(created()))
    verb.start()
    with pytest.raises(ProtocolError, match="expects 99 bytes"):
        verb.answer(200, upload_offset="5", upload_length="99")


def test_expiry_is_taken_over_and_nonsense_is_not() -> None:
    verb = Verb(Tus().retrieve_offset(created()))
    verb.start()
    expires = "Thu, 01 Jan 1970 01:00:00 GMT"
    upload = verb.finish(200, upload_offset="5", upload_expires=expires)
    assert upload.expires == 3600.0
    verb = Verb(Tus().retrieve_offset(created()))
    verb.start()
    upload = verb.finish(200, upload_offset="5", upload_expires="soon")
    assert upload.expires is None


def test_checksums_cover_each_append() -> None:
    upload = created(session={"checksum": True, "with_upload": False})
    request = Verb(Tus(checksum="sha1").append(upload, ByteRange(10, 20))).start()
    spelled = base64.b64encode(b"sha1:10-20").decode()
    assert request.headers["upload-checksum"] == f"sha1 {spelled}"
    assert Tus(checksum="sha1").limits(upload).default_append_size == CHECKED_APPEND


def test_a_checksum_that_the_server_does_not_verify_is_refused() -> None:
    verb = Verb(Tus(checksum="sha1").prepare(upload_of(), interims=False))
    assert verb.start().method == "OPTIONS"
    with pytest.raises(NotResumable, match="md5"):
        verb.answer(204, tus_extension="checksum", tus_checksum_algorithm="md5")


def test_creation_with_upload_carries_the_first_append() -> None:
    verb = Verb(Tus(with_upload=True).prepare(upload_of(100), interims=False))
    verb.start()
    upload = verb.finish(204, tus_extension="creation,creation-with-upload")
    verb = Verb(Tus(with_upload=True).create(upload))
    request = verb.start()
    assert request.content == ByteRange(0, 100)
    assert request.expect_continue
    assert verb.finish(201, location="/files/1", upload_offset="60").offset == 60


def test_creation_with_upload_needs_the_extension() -> None:
    verb = Verb(Tus(with_upload=True).prepare(upload_of(100), interims=False))
    verb.start()
    upload = verb.finish(204, tus_extension="creation")
    assert Verb(Tus(with_upload=True).create(upload)).start().length == 0


def test_methods_are_overridden_for_hostile_middleboxes() -> None:
    protocol = Tus(method_override=True)
    request = Verb(protocol.append(created(), ByteRange(0, 50))).start()
    assert request.method == "POST"
    assert request.headers["x-http-method-override"] == "PATCH"


@pytest.mark.parametrize("status", [204, 404, 410, 405, 501])
def test_cancelled_is_whatever_is_gone_or_will_expire(status: int) -> None:
    verb = Verb(Tus().cancel(created()))  # type: ignore[arg-type]  # no result
    assert verb.start().method == "DELETE"
    with pytest.raises(StopIteration):
        verb.answer(status)


@pytest.mark.parametrize("key", ["", "a b", "a,b", "é", "a\n"])
def test_metadata_keys_that_cannot_be_spelled_are_refused(key: str) -> None:
    with pytest.raises(InvalidParameter, match="metadata"):
        spell_metadata({key: "x"})


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="form"):
        Tus(form="pdf")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidParameter, match="checksum"):
        Tus(checksum="rot13")


def test_options_make_the_same_instance_again() -> None:
    protocol = Tus(form="file", checksum="sha1", with_upload=True)
    assert Tus.from_options(protocol.options()).options() == protocol.options()


def test_nothing_is_asked_where_nothing_depends_on_it() -> None:
    upload = upload_of(100)
    assert result_of(Tus().prepare(upload, interims=False)) == upload
