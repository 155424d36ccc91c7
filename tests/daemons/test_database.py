"""Where a directory's database is, is kept beside it; secrets stay there."""

from pathlib import Path

import pytest

from interlock.adapters.db.postgres import PostgresUrl
from interlock.core.errors import ConfigError
from interlock.daemons.database import DATABASE, FILE, database_place, has_database, keep_database

URL = "postgresql://bob:hush@db.example/gate"


def test_a_directory_has_a_file_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    """What was said stays when nobody says it any more, until the file is asked for by name."""
    keep_database(tmp_path, "")
    assert database_place(tmp_path) == tmp_path / DATABASE
    assert not has_database(tmp_path)
    keep_database(tmp_path, URL)
    keep_database(tmp_path, "")
    assert database_place(tmp_path) == PostgresUrl.parse(URL)
    assert has_database(tmp_path)
    keep_database(tmp_path, "postgresql://other/gate")
    assert str(database_place(tmp_path)) == "postgresql://other/gate"
    keep_database(tmp_path, FILE)
    assert database_place(tmp_path) == tmp_path / DATABASE


def test_the_note_is_its_owners(tmp_path: Path) -> None:
    """There may be a password in it."""
    keep_database(tmp_path, URL)
    [kept] = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_cluster_in_a_file_does_not_become_another_one(tmp_path: Path) -> None:
    """Everybody would have to trust anew, and nobody would know why."""
    (tmp_path / DATABASE).touch()
    with pytest.raises(ConfigError, match=r"is in interlock.db there") as caught:
        keep_database(tmp_path, URL)
    assert "hush" not in caught.value.public
    assert database_place(tmp_path) == tmp_path / DATABASE


def test_what_is_no_database_is_refused_without_its_text(tmp_path: Path) -> None:
    """It may be a URL with an error in it."""
    with pytest.raises(ConfigError) as caught:
        keep_database(tmp_path, "postgres//bob:hush@db")
    assert "hush" not in caught.value.public
    assert not has_database(tmp_path)
