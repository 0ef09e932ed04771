"""Every code block of the README and the docs runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Blocks that only show something. Everything else is run.
SHOWN = frozenset({"text", "console", "json", "http"})


def documents() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


def blocks() -> Iterator[tuple[Path, str, list[tuple[int, str]]]]:
    """Yield each document with its blocks of one language, in order."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        by_language: dict[str, list[tuple[int, str]]] = {}
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            by_language.setdefault(match[1], []).append((line, match[3]))
        for language, found in by_language.items():
            yield path, language, found


CASES = [
    pytest.param(found, id=f"{path.relative_to(ROOT)}")
    for path, language, found in blocks()
    if language == "python"
]


def test_every_language_is_run_or_only_shown() -> None:
    known = SHOWN | {"python", "sh"}
    for path, language, _ in blocks():
        assert language in known, f"{path}: {language}"


@pytest.mark.parametrize("found", CASES)
def test_python_blocks_run_one_after_the_other(
    found: list[tuple[int, str]], tmp_path: Path
) -> None:
    """In a directory with the files that the docs speak of, and servers behind
    the host names that they use."""
    program = "\n".join(code for _, code in found)
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.world", str(tmp_path)],
        input=program,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        check=False,
        env=os.environ | {"POSTER_RESUME_STATE": str(tmp_path / "state")},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def shell_commands() -> Iterator[tuple[str, str]]:
    for path, language, found in blocks():
        if language != "sh":
            continue
        for _, code in found:
            for line in code.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith("#"):
                    yield str(path.relative_to(ROOT)), line.strip()


@pytest.mark.parametrize(("document", "line"), sorted(set(shell_commands())))
def test_shell_blocks_name_commands_that_exist(document: str, line: str) -> None:
    """Installing is left to CI; the options of our own commands are parsed."""
    for command in re.split(r"\s*&&\s*", line):
        words = shlex.split(command)
        if words[0] == "poster" and len(words) > 1:
            check_poster(words[1:])
        else:
            assert words[0] in {
                ".",
                "pip",
                "pytest",
                "python",
                "python3",
                "poster",
                "export",
                "ruff",
                "mypy",
                "lint-imports",
                "unshare",
                "bash",
            }, f"{document}: {command}"


def check_poster(words: list[str]) -> None:
    import typer.main

    from poster_resume.cli.commands import app

    group: Any = typer.main.get_command(app)  # of whichever click it brings
    command = group.commands[words[0]]
    command.make_context(words[0], words[1:])  # parses, runs nothing
