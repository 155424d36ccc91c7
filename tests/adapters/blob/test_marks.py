"""Marks of life: one file per process, replaced as a whole, believed by survey, gone with the last part."""

from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.marks import MARK, Marks
from interlock.core.errors import RecordingError
from interlock.core.ids import SessionId

ONE = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
TWO = SessionId("8d57a9d5-3e0f-4c0b-8f0e-0a4f1f5f7a11")


def files(directory: Path) -> list[str]:
    """What the marks are."""
    return sorted(path.suffix for path in directory.iterdir())


def test_the_last_mark_counts(tmp_path: Path) -> None:
    """One file however often it is written, private, and read by another process; none when nothing lasts."""
    marks = Marks(tmp_path)
    marks.write({ONE: 10, TWO: 20})
    marks.write({ONE: 30})
    [path] = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (Marks(tmp_path).lasted(ONE), Marks(tmp_path).lasted(TWO)) == (30, 0)
    marks.write({})
    assert files(tmp_path) == []


def test_processes_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Workers mark their own sessions, and one that starts anew leaves what the dead one said."""
    dead, alive = Marks(tmp_path), Marks(tmp_path)
    dead.write({ONE: 10})
    alive.write({TWO: 20})
    reader = Marks(tmp_path)
    assert (reader.lasted(ONE), reader.lasted(TWO)) == (10, 20)
    alive.write({TWO: 40})
    assert (reader.lasted(ONE), reader.lasted(TWO)) == (10, 40)
    alive.forget({TWO})
    assert (files(tmp_path), reader.lasted(TWO)) == ([MARK], 40)


def test_a_mark_goes_with_its_last_part(tmp_path: Path) -> None:
    """Not before: a start that could not finish everything leaves it to the next one."""
    Marks(tmp_path).write({ONE: 10, TWO: 20})
    (tmp_path / f"left{'.new'}").write_text(f"{ONE} 5\n")
    Marks(tmp_path).forget({TWO})
    assert Marks(tmp_path).lasted(TWO) == 20
    Marks(tmp_path).forget(set())
    assert files(tmp_path) == []


@pytest.mark.parametrize("text", ["", "nonsense", f"{ONE}", f"{ONE} ten", "../../etc/passwd 5", "\xff"])
def test_what_is_no_mark_says_nothing(tmp_path: Path, text: str) -> None:
    """A damaged file is worth no more than none."""
    (tmp_path / f"bad{MARK}").write_text(text, encoding="latin-1")
    Marks(tmp_path).write({TWO: 20})
    assert (Marks(tmp_path).lasted(ONE), Marks(tmp_path).lasted(TWO)) == (0, 20)


async def test_a_disk_that_refuses_is_reported(tmp_path: Path) -> None:
    """For the log: the sessions go on."""
    recordings = FileRecordings(tmp_path / "recordings")
    (tmp_path / "recordings" / "live").rmdir()
    with pytest.raises(RecordingError):
        await recordings.mark({ONE: 10})
