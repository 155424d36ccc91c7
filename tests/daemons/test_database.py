"""Where a directory's database is, is kept beside it; secrets stay there."""

from pathlib import Path

import pytest

from interlock.adapters.db.postgres import PostgresUrl
from interlock.core.errors import ConfigError
from interlock.daemons.database import DATABASE, FILE, database_place, has_database, keep_database
from interlock.daemons.local import open_local
from interlock.ports import User
from interlock.testing.clock import START
from interlock.testing.postgres import PostgresServer

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


@pytest.mark.slow
async def test_two_gateways_with_one_database_are_one_cluster(postgres: PostgresServer, tmp_path: Path) -> None:
    """Each has a directory and an ID of its own; authorities, people and all that is stored are everybody's."""
    first, second = tmp_path / "first", tmp_path / "second"
    with postgres.database() as name:
        for directory in (first, second):
            directory.mkdir(mode=0o700)
            keep_database(directory, postgres.url(name))
        async with open_local(first, cluster_name="demo") as one, open_local(second, cluster_name="other") as two:
            assert one.cluster == two.cluster
            assert one.cluster.name == "demo"
            assert one.authority.export("user") == two.authority.export("user")
            assert one.daemon_id != two.daemon_id
            await one.users.add_user(User("alice", ("dev",), None, must_change=False, created=START))
            assert [user.name for user in await two.users.users()] == ["alice"]
