"""A package may offer its protocol by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from poster_resume import InvalidParameter, ResumableUpload
from poster_resume.protocols import protocol_named
from poster_resume.testing import Receiver


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution whose protocol is a plain request under its own name."""
    (tmp_path / "offering_protocol.py").write_text(
        "from poster_resume import Oneshot\n"
        "class Offered(Oneshot):\n"
        "    name = 'offered'\n"
    )
    metadata = tmp_path / "offering-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[poster_resume.protocols]\noffered = offering_protocol:Offered\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_a_protocol_of_another_package_is_found_by_its_name() -> None:
    found = protocol_named("offered", {"replay": "always"})
    assert found.name == "offered"
    assert found.options()["replay"] == "always"


@pytest.mark.usefixtures("installed")
def test_an_upload_goes_by_a_protocol_of_another_package() -> None:
    with Receiver() as receiver:
        target = f"{receiver.url}/form"
        upload = ResumableUpload(target, content=b"x", protocol="offered", store=None)
        assert upload.send().upload.protocol == "offered"


def test_a_protocol_that_nobody_offers_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="offered"):
        protocol_named("offered")
