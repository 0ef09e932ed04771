"""The real servers, one process each for the whole run; each skips with its reason."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.servers import launch
from tests.servers.launch import RealServer


@pytest.fixture(scope="session")
def peregrine_running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RealServer]:
    if importlib.util.find_spec("peregrine") is None:
        pytest.skip("peregrine-server is not installed")
    with launch.peregrine(tmp_path_factory.mktemp("peregrine")) as server:
        yield server


@pytest.fixture(scope="session")
def resumable_upload_running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RealServer]:
    if importlib.util.find_spec("resumable_upload") is None:
        pytest.skip("resumable-upload is not installed")
    with launch.resumable_upload(tmp_path_factory.mktemp("resumable")) as server:
        yield server


@pytest.fixture(scope="session")
def tus_node_running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RealServer]:
    if reason := launch.npm_missing():
        pytest.skip(reason)
    with launch.tus_node(tmp_path_factory.mktemp("tus-node")) as server:
        yield server


@pytest.fixture
def peregrine(peregrine_running: RealServer) -> RealServer:
    peregrine_running.mark()
    return peregrine_running


@pytest.fixture
def resumable_upload(resumable_upload_running: RealServer) -> RealServer:
    resumable_upload_running.mark()
    return resumable_upload_running


@pytest.fixture
def tus_node(tus_node_running: RealServer) -> RealServer:
    tus_node_running.mark()
    return tus_node_running
