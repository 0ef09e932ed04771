"""tus at the edges of its rules: one byte, one field, one status off."""

from __future__ import annotations

import pytest

from poster_resume.errors import (
    ContentTooLarge,
    InvalidParameter,
    NotResumable,
    ProtocolError,
    ServerBusy,
    Unauthorized,
    UploadError,
)
from poster_resume.flow import Response
from poster_resume.protocols import Tus
from poster_resume.protocols.tus import CHECKED_APPEND, spell_metadata
from poster_resume.ranges import ByteRange
from poster_resume.upload import Upload

from .verbs import Verb, created, result_of, upload_of

LATER = "Thu, 01 Jan 1970 01:00:00 GMT"


def with_upload(**changes: object) -> Upload:
    return upload_of(100, session={"with_upload": True}, **changes)


def creating(upload: Upload) -> Verb:
    verb = Verb(Tus(with_upload=True).create(upload))
    verb.start()
    return verb


def heading(upload: Upload | None = None) -> Verb:
    verb = Verb(Tus().retrieve_offset(upload or created()))
    verb.start()
    return verb


def appending(content: ByteRange, protocol: Tus | None = None) -> Verb:
    verb = Verb((protocol or Tus()).append(created(), content))
    verb.start()
    return verb


def asking(protocol: Tus) -> Verb:
    verb = Verb(protocol.prepare(upload_of(100), interims=True))
    assert verb.start().method == "OPTIONS"
    return verb


# -- what is asked before creation ---


@pytest.mark.parametrize("status", [404, 405, 501, 505])
def test_a_server_that_offers_nothing_verifies_nothing(status: int) -> None:
    with pytest.raises(NotResumable, match="none"):
        asking(Tus(checksum="sha1")).answer(status)


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_server_that_did_not_say_is_asked_again(status: int) -> None:
    with pytest.raises(UploadError, match=str(status)):
        asking(Tus(checksum="sha1")).answer(status)


def test_a_server_that_fails_and_says_has_said() -> None:
    upload = asking(Tus(with_upload=True)).finish(
        503, tus_extension="Creation, Creation-With-Upload"
    )
    assert upload.session == {"with_upload": True}


def test_what_was_learned_is_not_asked_again() -> None:
    upload = upload_of(100, session={"with_upload": False})
    assert result_of(Tus(with_upload=True).prepare(upload, interims=True)) == upload


def test_a_checksum_keeps_content_out_of_the_creation() -> None:
    upload = asking(Tus(with_upload=True, checksum="sha1")).finish(
        204,
        tus_extension="creation-with-upload,checksum",
        tus_checksum_algorithm="SHA1",
    )
    assert upload.session == {"with_upload": False}


def test_lengths_beyond_what_headers_can_spell_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="split"):
        result_of(Tus().prepare(upload_of(10**15), interims=True))


def test_checked_appends_are_small_enough_to_lose() -> None:
    assert CHECKED_APPEND == 8 * 1024 * 1024
    assert Tus(checksum="md5").limits(created()).default_append_size == CHECKED_APPEND
    assert Tus().limits(created()).default_append_size is None
    assert (Tus().verified, Tus(checksum="md5").verified) == ("length", "digest")


# -- creation ---


def test_a_creation_carries_no_more_than_an_append() -> None:
    protocol = Tus(with_upload=True)
    assert protocol.creation_content(with_upload()) == ByteRange(0, 100)
    learned = with_upload(append_size=40)
    assert protocol.creation_content(learned) == ByteRange(0, 40)
    assert protocol.creation_content(protocol.created_carefully(learned)) is None
    assert protocol.creation_content(upload_of(100)) is None
    assert protocol.creation_content(upload_of(0)) == ByteRange(0, 0)


def test_content_alone_has_a_type_and_waits_for_a_word_of_the_server() -> None:
    request = Verb(Tus().create(with_upload())).start()
    assert request.headers["content-type"] == "application/offset+octet-stream"
    assert request.expect_continue
    request = Verb(Tus().create(upload_of(100))).start()
    assert "content-type" not in request.headers
    assert not request.expect_continue


def test_a_creation_refused_for_its_size_may_be_mended_by_less() -> None:
    with pytest.raises(ContentTooLarge):
        creating(with_upload()).answer(413)


def test_a_creation_without_location_is_none() -> None:
    with pytest.raises(NotResumable, match="no upload resource"):
        creating(upload_of(100)).answer(201)


def test_a_location_is_relative_to_where_the_answer_came_from() -> None:
    flow = Tus().create(upload_of(100))
    Verb(flow).start()
    moved = "https://other.test/there"
    with pytest.raises(StopIteration) as stop:
        flow.send(Response(201, {"location": "/files/1"}, url=moved))
    assert stop.value.value.resource == "https://other.test/files/1"


def test_a_created_upload_is_sending_and_may_expire() -> None:
    upload = creating(upload_of(100)).finish(
        201, location="/files/1", upload_expires=LATER
    )
    assert (upload.phase, upload.expires, upload.offset) == ("sending", 3600.0, 0)


def test_what_a_creation_kept_is_asked_for_where_it_does_not_say() -> None:
    verb = creating(with_upload())
    assert verb.answer(201, location="/files/1").method == "HEAD"
    assert verb.finish(200, upload_offset="40").offset == 40


def test_a_creation_that_kept_everything_is_complete() -> None:
    verb = creating(with_upload())
    assert verb.finish(201, location="/files/1", upload_offset="100").complete


def test_a_creation_cannot_keep_more_than_it_carried() -> None:
    verb = creating(with_upload(append_size=40))
    with pytest.raises(ProtocolError, match="41 bytes, only 40"):
        verb.answer(201, location="/files/1", upload_offset="41")


def test_an_encoded_form_describes_itself_where_nobody_else_did() -> None:
    request = Verb(Tus(form="multipart").create(upload_of(100))).start()
    assert request.headers["upload-metadata"].startswith("filename Zm9ybQ==,filetype ")
    described = upload_of(100, metadata={"name": "x"})
    request = Verb(Tus(form="multipart").create(described)).start()
    assert request.headers["upload-metadata"] == "name eA=="
    request = Verb(Tus(form="file").create(upload_of(100))).start()
    assert "upload-metadata" not in request.headers


@pytest.mark.parametrize("key", ["", "a b", "a,b", "é", "a\tb", "a\x7f"])
def test_metadata_keys_are_printable_words(key: str) -> None:
    with pytest.raises(InvalidParameter, match="metadata"):
        spell_metadata({key: "x"})


# -- questions and appends ---


def test_another_version_is_named_wherever_it_shows() -> None:
    for verb in (creating(upload_of(100)), heading(), appending(ByteRange(0, 10))):
        with pytest.raises(NotResumable, match=r"0\.2\.2"):
            verb.answer(412, tus_version="0.2.2")


@pytest.mark.parametrize("versions", ["", "1.0.0", "1.0.0,0.2.2"])
def test_a_failed_precondition_need_not_be_about_the_version(versions: str) -> None:
    with pytest.raises(UploadError, match="412") as error:
        appending(ByteRange(0, 10)).answer(412, tus_version=versions)
    assert not isinstance(error.value, NotResumable)


def test_forbidden_may_mean_expired() -> None:
    with pytest.raises(Unauthorized, match="cancel it if it has expired"):
        heading().answer(403)
    with pytest.raises(Unauthorized) as refused:
        heading().answer(403, upload_offset="5")
    assert "expired" not in str(refused.value)


def test_an_answer_without_offset_is_asked_for_again() -> None:
    with pytest.raises(ServerBusy, match="no valid Upload-Offset"):
        heading().answer(200)


@pytest.mark.parametrize("length", ["99", "101"])
def test_an_upload_of_another_length_is_another_one(length: str) -> None:
    with pytest.raises(ProtocolError, match=f"expects {length} bytes"):
        heading().answer(200, upload_offset="5", upload_length=length)


def test_an_upload_is_complete_at_its_last_byte() -> None:
    assert not heading().finish(200, upload_offset="99").complete
    upload = heading().finish(200, b"of another request", upload_offset="100")
    assert upload.result is not None
    assert (upload.result.content, upload.result.truncated) == (b"", True)


def test_every_answer_may_move_the_expiry_and_none_has_to() -> None:
    upload = heading().finish(200, upload_offset="5", upload_expires=LATER)
    assert upload.expires == 3600.0
    verb = appending(ByteRange(0, 10))
    upload = verb.finish(204, upload_offset="10", upload_expires=LATER)
    assert upload.expires == 3600.0
    verb = heading(created(expires=5.0))
    never = "Thu, 01 Jan 99999999999999999999 00:00:00 GMT"
    assert verb.finish(200, upload_offset="5", upload_expires=never).expires == 5.0


def test_an_append_keeps_no_more_than_it_sent() -> None:
    verb = appending(ByteRange(0, 10))
    assert verb.finish(204, upload_offset="10").offset == 10
    with pytest.raises(ProtocolError, match="11 bytes, only 10"):
        appending(ByteRange(0, 10)).answer(204, upload_offset="11")


def test_an_append_names_offset_and_type() -> None:
    request = Verb(Tus().append(created(), ByteRange(10, 20))).start()
    assert request.headers == {
        "tus-resumable": "1.0.0",
        "upload-offset": "10",
        "content-type": "application/offset+octet-stream",
    }


def test_an_append_that_failed_kept_nothing_for_certain() -> None:
    with pytest.raises(ServerBusy):
        appending(ByteRange(0, 10)).answer(500, upload_offset="10")


def test_an_overridden_method_is_named() -> None:
    protocol = Tus(method_override=True, checksum="sha1")
    request = Verb(protocol.append(created(), ByteRange(0, 10))).start()
    assert (request.method, request.purpose) == ("POST", "append")
    assert request.headers["x-http-method-override"] == "PATCH"
    assert request.headers["upload-checksum"].startswith("sha1 ")


def test_a_server_that_fails_to_cancel_is_an_error() -> None:
    verb = Verb(Tus().cancel(created()))  # type: ignore[arg-type]  # no result
    verb.start()
    with pytest.raises(ServerBusy):
        verb.answer(500)


def test_what_was_never_created_needs_no_cancelling() -> None:
    assert list(Tus().cancel(upload_of(100))) == []
