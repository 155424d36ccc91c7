"""Tests shared among forks: each runs once, is told as if it had run here, and none is lost in silence."""

import re
import sys
from pathlib import Path

import pytest

from interlock.testing.forked import PER_TICKET
from interlock.testing.procs import Completed, run

pytestmark = pytest.mark.slow

MANY = 5 * PER_TICKET


def shared(tmp_path: Path, source: str, *options: str) -> Completed:
    """What pytest says of these."""
    (tmp_path / "test_these.py").write_text(source)
    words = ("-q", "-p", "no:randomly", "-p", "interlock.testing.forked", "--forks", "2", "--rootdir", tmp_path)
    return run([sys.executable, "-m", "pytest", *words, *options, tmp_path])


def test_each_runs_once_in_a_directory_of_its_own(tmp_path: Path) -> None:
    """Fixtures of the whole session once in each fork; teardowns too."""
    source = f"""
import os
from pathlib import Path
import pytest

LOG = Path(__file__).parent / "log"

def say(*words):
    with LOG.open("a") as log:
        print(*words, file=log)

@pytest.fixture(scope="session")
def whole():
    say("up", os.getpid())
    yield
    say("down", os.getpid())

@pytest.mark.parametrize("number", range({MANY}))
def test_it(whole, tmp_path, number):
    say("ran", number, tmp_path)
    print("out", number)
"""
    done = shared(tmp_path, source)
    assert f"{MANY} passed" in done.check().stdout
    assert "out " not in done.stdout
    said = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    ran = [words for words in said if words[0] == "ran"]
    assert sorted(int(words[1]) for words in ran) == list(range(MANY))
    assert len({words[2] for words in ran}) == MANY
    up, down = ([words[1] for words in said if words[0] == which] for which in ("up", "down"))
    assert sorted(up) == sorted(down) == sorted(set(up))


def test_what_fails_is_told_with_what_it_printed(tmp_path: Path) -> None:
    """And kept for ``--last-failed``, which is one of those that ran."""
    source = """
import pytest

@pytest.mark.parametrize("number", range(40))
def test_it(number):
    print("it is", number)
    assert number != 17
"""
    done = shared(tmp_path, source)
    assert done.rc == 1
    assert "1 failed, 39 passed" in done.stdout
    assert re.findall(r"it is \d+", done.stdout) == ["it is 17"]
    assert "1 failed" in shared(tmp_path, source, "--last-failed").stdout


def test_the_first_failure_can_be_the_last(tmp_path: Path) -> None:
    """``-x`` ends the other forks, as Ctrl-C does."""
    source = """
import time, pytest

@pytest.mark.parametrize("number", range(1000))
def test_it(number):
    assert number != 0
    time.sleep(0.1)
"""
    done = shared(tmp_path, source, "-x")
    assert done.rc == 1
    [passed] = re.findall(r"1 failed(?:, (\d+) passed)? in", done.stdout)
    assert int(passed or 0) < 500


def test_a_fork_that_dies_is_a_failure_and_says_where(tmp_path: Path) -> None:
    """Its other tests have not run."""
    source = """
import os, pytest

@pytest.mark.parametrize("number", range(40))
def test_it(number):
    if number == 17:
        os._exit(0)
"""
    done = shared(tmp_path, source)
    assert done.rc == 2
    assert "a fork ended with 0 in test_these.py::test_it[17]" in done.stdout
