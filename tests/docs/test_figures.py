"""What performance.md shows is what the benchmark measured."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.bench import plots, tables

NAMES = sorted(f"performance-{name}.svg" for name in plots.PLOTS)


def test_the_tables_are_those_of_the_committed_figures() -> None:
    assert tables.shown() == tables.written(tables.committed())


def test_the_plots_are_drawn_from_the_committed_figures() -> None:
    expected = plots.digest(tables.committed())
    drawn = {
        path.name: path.read_text("utf-8")
        for path in tables.PAGE.parent.glob("performance-*.svg")
    }
    assert sorted(drawn) == NAMES
    assert [name for name, text in drawn.items() if expected not in text] == []


def test_the_page_shows_every_plot() -> None:
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", tables.PAGE.read_text("utf-8"))
    assert sorted(shown) == NAMES


def test_the_same_figures_give_the_same_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = tables.committed()
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        plots.draw(results, directory)
    for name in NAMES:
        data = (first / name).read_bytes()
        assert data == (second / name).read_bytes()
        assert ElementTree.fromstring(data).tag.endswith("svg")


def test_other_figures_give_other_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = copy.deepcopy(tables.committed())
    results["plain"]["httpx-files"]["user"] *= 2
    changed = plots.draw(results, tmp_path)
    committed = {path.name: path.read_bytes() for path in changed}
    plots.draw(tables.committed(), tmp_path)
    assert all(path.read_bytes() != committed[path.name] for path in changed)
