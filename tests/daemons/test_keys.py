"""How a cluster's keys are opened at the start."""

from pathlib import Path

import pytest

from interlock.adapters.db.sealed import SqlKeyWrappers
from interlock.core.errors import ConfigError, StoreError
from interlock.daemons.config import load_config
from interlock.daemons.database import DATABASE
from interlock.daemons.keys import KeysConfig, forget_sealed, keep_keys, kept_keys
from interlock.daemons.local import open_local
from interlock.services.keys.sealing import ClearSealing, KeySealing
from interlock.testing.database import put_database


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """With an empty database, and a passphrase beside it."""
    directory = tmp_path / "data"
    directory.mkdir(0o700)
    put_database(directory / DATABASE)
    passphrase = tmp_path / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("correct horse battery staple\n")
    keep_keys(directory, KeysConfig(key_file=str(passphrase)))
    return directory


def _on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob(f"{DATABASE}*"))


async def test_a_new_cluster_is_sealed_from_the_beginning(data_dir: Path, tmp_path: Path) -> None:
    """No key was ever on the disk in the clear; a second start gives the same, a worker needs no passphrase."""
    async with open_local(data_dir) as local:
        exported = local.authority.export("user")
        assert isinstance(local.sealing, KeySealing)
        data_key = local.sealing.data_key
    assert b"PRIVATE KEY" not in _on_disk(data_dir)
    async with open_local(data_dir) as local:
        assert local.authority.export("user") == exported
    (tmp_path / "passphrase").unlink()
    async with open_local(data_dir, data_key=data_key) as local:
        assert local.authority.export("user") == exported
    with pytest.raises(ConfigError, match="cannot read the passphrase"):
        async with open_local(data_dir):
            pytest.fail("it was opened")


async def test_without_settings_or_a_terminal_the_start_says_what_to_do(data_dir: Path) -> None:
    """As after a restore into a directory that does not know where the passphrase is."""
    async with open_local(data_dir):
        pass
    (data_dir / "keys.json").unlink()
    with pytest.raises(ConfigError, match=r"\[auth.keys\]"):
        async with open_local(data_dir):
            pytest.fail("it was opened")


async def test_who_writes_to_the_database_cannot_say_that_nothing_is_sealed(data_dir: Path) -> None:
    """Without its wrapper, keys of their own in the clear would count; an administrator unseals them."""
    async with open_local(data_dir) as local:
        assert isinstance(local.sealing, KeySealing)
        data_key = local.sealing.data_key
        await SqlKeyWrappers(local.database).replace([], local.sealing, ClearSealing())
    with pytest.raises(ConfigError, match="were sealed, and the database says"):
        async with open_local(data_dir):
            pytest.fail("it was opened")
    with pytest.raises(StoreError, match="not sealed"):
        async with open_local(data_dir, data_key=data_key):
            pytest.fail("it was opened")
    forget_sealed(data_dir)
    async with open_local(data_dir) as local:
        assert not isinstance(local.sealing, KeySealing)


async def test_keys_that_were_there_before_stay_as_they_are(data_dir: Path) -> None:
    """Sealing them is an administrator's deed, not a setting's."""
    settings = kept_keys(data_dir)
    (data_dir / "keys.json").unlink()
    async with open_local(data_dir) as local:
        exported = local.authority.export("user")
    keep_keys(data_dir, settings)
    async with open_local(data_dir) as local:
        assert local.authority.export("user") == exported
        assert not isinstance(local.sealing, KeySealing)


def test_settings_that_contradict_each_other(tmp_path: Path) -> None:
    """One way."""
    path = tmp_path / "interlock.toml"
    path.write_text('[auth.keys]\nkey_file = "/x"\nask = true\n')
    with pytest.raises(ConfigError, match="give one of"):
        load_config(path)
