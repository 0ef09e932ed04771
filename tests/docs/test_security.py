"""Each rule that the page on security states has its test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text("utf-8")
#: Tables whose second column names a test.
RULES = re.findall(r"^\| (?!rule \|)(.+?) \| `(test_\w+)` \|$", PAGE, re.MULTILINE)


def test_every_rule_on_security_has_a_test_that_exists() -> None:
    written = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        if "node_modules" not in file.parts
        for name in re.findall(r"^def (test_\w+)\(", file.read_text("utf-8"), re.M)
    }
    assert len(RULES) > 30
    assert [name for _, name in RULES if name not in written] == []


def test_every_row_of_a_table_of_rules_names_one() -> None:
    rows = 0
    for table in re.findall(
        r"^\| rule \| test \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.M
    ):
        rows += len(table.splitlines())
    assert rows == len(RULES)
