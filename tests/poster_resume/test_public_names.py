from __future__ import annotations

import subprocess
import sys

import pytest

import poster_resume


def test_every_public_name_is_there_and_listed() -> None:
    for name in poster_resume.__all__:
        assert getattr(poster_resume, name) is not None
        assert name in dir(poster_resume)


def test_the_table_of_homes_lists_what_is_public_and_nothing_else() -> None:
    assert sorted(poster_resume._HOMES) == sorted(poster_resume.__all__)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = poster_resume.nonsense  # type: ignore[attr-defined]  # on purpose


def test_importing_the_package_loads_no_client_and_no_database() -> None:
    script = (
        "import sys, poster_resume\n"
        "print(sorted({'httpx', 'sqlite3', 'pydantic', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
