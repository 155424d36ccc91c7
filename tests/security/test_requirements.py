"""Each requirement R1 to R30 has a test that is named by it, and the table of SECURITY.md says which."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = {f"R{number}" for number in range(1, 31)}


@cache
def _tested() -> dict[str, set[str]]:
    """The tests that are named by each requirement, with their files."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in re.findall(r"^\s*(?:async )?def (test_r\d\d_\w+)", path.read_text(), re.MULTILINE):
            for number in re.findall(r"(?:^test|)_r(\d\d)(?=_)", name):
                found.setdefault(f"R{int(number)}", set()).add(str(path.relative_to(ROOT)))
    return found


def test_each_requirement_has_a_test() -> None:
    """By its name: test_rNN_…"""
    assert REQUIREMENTS - _tested().keys() == set()


def test_the_table_of_requirements_is_complete_and_true() -> None:
    """Every row names files, each of which has tests that are named by the requirement."""
    table = (ROOT / "docs/SECURITY.md").read_text().split("\n## Requirement by requirement\n")[1].split("\n## ")[0]
    rows = {
        row[1]: set(re.findall(r"`(tests/[\w/.]+\.py)`", row[0]))
        for row in re.finditer(r"^\| (R\d+) \|.*$", table, re.MULTILINE)
    }
    assert rows.keys() == REQUIREMENTS
    for requirement, files in rows.items():
        assert files, requirement
        assert files <= _tested()[requirement], requirement
