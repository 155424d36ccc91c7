"""What is set aside on the real file system."""

from pathlib import Path

import pytest

from interlock.adapters.blob.disk import DiskOfRecordings
from interlock.core.errors import StoreError

MIB = 1024 * 1024


def test_what_is_set_aside_is_really_there(tmp_path: Path) -> None:
    """Not a file with a hole; and it is for its owner only, may shrink and grow, and goes at once."""
    disk = DiskOfRecordings(tmp_path / "recordings")
    assert disk.usage().held == 0
    for size in (2 * MIB, MIB, 3 * MIB):
        disk.hold(size)
        assert disk.usage().held == size
    [file] = (tmp_path / "recordings").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    disk.release()
    disk.release()
    assert disk.usage().held == 0


def test_what_does_not_fit_is_not_half_set_aside(tmp_path: Path) -> None:
    """It would fill the disk."""
    disk = DiskOfRecordings(tmp_path)
    with pytest.raises(StoreError):
        disk.hold(2**60)
    assert disk.usage().held == 0


def test_a_directory_that_is_gone_is_an_error_of_ours(tmp_path: Path) -> None:
    """And no bug."""
    disk = DiskOfRecordings(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StoreError):
        disk.usage()
