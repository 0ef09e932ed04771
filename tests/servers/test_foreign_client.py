"""tus-js-client against our own receiver, so that it is not only our opinion."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from poster_resume.testing import Cut, Link, Receiver
from tests.servers import launch

CONTENT = random.Random(3).randbytes(3 * 1024 * 1024 + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CUTS = [Cut(100), Cut(200_000), Cut(1 << 20, how="fin"), Cut(1_500_000)]

pytestmark = pytest.mark.skipif(
    launch.npm_missing() is not None, reason=str(launch.npm_missing())
)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    file = tmp_path / "film.bin"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture(params=["tus-v1", "ietf-draft-03", "ietf-draft-05"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(**given: Any) -> list[dict[str, Any]]:
    """Run the client once; return what it said."""
    ran = subprocess.run(
        [launch.node(), str(launch.NPM / "tus_client.mjs"), json.dumps(given)],
        stdout=subprocess.PIPE,
        timeout=launch.PATIENCE,
        check=False,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def target(base: str, protocol: str) -> str:
    return f"{base}/{'tus' if protocol == 'tus-v1' else 'rufh'}"


def test_it_uploads(protocol: str, film: Path) -> None:
    with Receiver() as receiver:
        endpoint = target(receiver.url, protocol)
        said = run(endpoint=endpoint, file=str(film), protocol=protocol, attempts=0)
        assert "error" not in said[-1]
        assert receiver.delivery().sha256 == SHA256


def test_it_uploads_in_pieces(protocol: str, film: Path) -> None:
    with Receiver() as receiver:
        said = run(
            endpoint=target(receiver.url, protocol),
            file=str(film),
            protocol=protocol,
            chunkSize=500_000,
            attempts=0,
        )
        assert "error" not in said[-1]
        assert receiver.delivery().sha256 == SHA256


def test_it_resumes_after_every_cut(protocol: str, film: Path) -> None:
    with Receiver() as receiver, Link(receiver.port, CUTS) as link:
        endpoint = target(link.url, protocol)
        said = run(endpoint=endpoint, file=str(film), protocol=protocol)
        assert "error" not in said[-1]
        assert link.cuts == len(CUTS)
        assert receiver.delivery().sha256 == SHA256
        [upload] = [u for u in receiver.uploads if u.complete]
        assert upload.lowest_resent is None


def test_another_process_of_it_goes_on(protocol: str, film: Path) -> None:
    with Receiver() as receiver, Link(receiver.port, [Cut(1_500_000)]) as link:
        endpoint = target(link.url, protocol)
        given = {"endpoint": endpoint, "file": str(film), "protocol": protocol}
        first = run(**given, attempts=0)
        assert "error" in first[-1]
        second = run(**given, attempts=0, uploadUrl=first[0]["url"])
        assert "error" not in second[-1]
        assert receiver.delivery().sha256 == SHA256
        assert len(receiver.uploads) == 1
