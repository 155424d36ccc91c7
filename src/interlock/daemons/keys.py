"""Where the cluster's keys are opened with: what the configuration says, kept in the data directory for others.

These are workers and ``ilctl``, which have no configuration. Only paths and names are kept there, nothing secret.
A worker is given the data key by its supervisor, over the pair of sockets between them.
"""

import os
import sys
from pathlib import Path
from stat import S_IMODE

import msgspec
import structlog

from interlock.adapters.db.engine import Database
from interlock.adapters.db.sealed import SqlKeyWrappers
from interlock.adapters.token import Token, TokenWrapping
from interlock.core.errors import ConfigError
from interlock.ports import Clock, Entropy, KeyWrapper, Sealing, Wrapping
from interlock.services.keys.sealing import DATA_KEY, ClearSealing, KeySealing, PassphraseWrapping

KEY_FILE_VARIABLE = "INTERLOCK_KEY_FILE"
"""A file with the passphrase, for ``ilctl`` where the daemon has it from elsewhere."""

_KEPT = "keys.json"
_SEALED = "keys-sealed"  # in the data directory: whoever writes to the database alone cannot take it back
_LONGEST = 4096  # bytes of a file with a passphrase

_log = structlog.get_logger(__name__)


class KeysConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Table ``[auth.keys]``: how the cluster's keys are opened. Sealing them is ``ilctl keys seal``."""

    key_file: str = ""  # file with the passphrase, or with the token's PIN; mode 0600
    credential: str = ""  # name of a systemd credential with the passphrase
    ask: bool = False  # for the passphrase, on the terminal, at the start
    pkcs11_module: str = ""  # library of a PKCS#11 token, which wraps the data key and holds new authorities' keys
    pkcs11_token: str = ""  # its label

    def check(self) -> None:
        """ConfigError if the settings contradict each other."""
        if sum(map(bool, (self.key_file, self.credential, self.ask))) > 1:
            raise ConfigError("auth.keys: give one of key_file, credential and ask")
        if bool(self.pkcs11_module) != bool(self.pkcs11_token):
            raise ConfigError("auth.keys: pkcs11_module and pkcs11_token belong together")
        if self.pkcs11_module and not (self.key_file or self.credential):
            raise ConfigError("auth.keys: give the token's PIN by key_file or credential")

    @property
    def says(self) -> bool:
        """Whether it says anything."""
        return self != KeysConfig()

    def wrapping(self, entropy: Entropy, prompt: str = "Passphrase of the cluster's keys: ") -> Wrapping:
        """The way that it says, ready to be used. ConfigError if that cannot be had."""
        token = self.token()
        return (
            PassphraseWrapping(self._secret(prompt), entropy) if token is None else TokenWrapping(token, entropy)
        )

    def token(self) -> Token | None:
        """The token, if one is named."""
        if not self.pkcs11_module:
            return None
        return Token(Path(self.pkcs11_module), self.pkcs11_token, self._secret(""))

    def _secret(self, prompt: str) -> bytes:
        if named := os.environ.get(KEY_FILE_VARIABLE, ""):
            return read_passphrase(Path(named))
        if self.key_file:
            return read_passphrase(Path(self.key_file))
        if self.credential:
            directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
            if not directory:
                raise ConfigError(
                    f"there is no systemd credential {self.credential} here: is LoadCredential= in the unit? For "
                    f"ilctl, name a file with the passphrase in {KEY_FILE_VARIABLE}"
                )
            return read_passphrase(Path(directory) / self.credential)
        return ask_passphrase(prompt)


def keep_keys(data_dir: Path, config: KeysConfig) -> None:
    """Note in the directory how its keys are opened, if the settings say so; ConfigError if that cannot be."""
    if not config.says or config == kept_keys(data_dir):
        return
    kept = data_dir / _KEPT
    fresh = kept.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(0o600)
        fresh.write_bytes(msgspec.json.encode(config))
        fresh.replace(kept)
    except OSError as error:
        raise ConfigError(f"cannot write {kept}: {error.strerror}", reason=str(error)) from error


def forget_keys(data_dir: Path) -> None:
    """They are not sealed any more."""
    (data_dir / _KEPT).unlink(missing_ok=True)


def forget_sealed(data_dir: Path) -> None:
    """An administrator has unsealed them."""
    (data_dir / _SEALED).unlink(missing_ok=True)


def kept_keys(data_dir: Path) -> KeysConfig:
    """What was noted; ConfigError if it cannot be read."""
    kept = data_dir / _KEPT
    try:
        return msgspec.json.decode(kept.read_bytes(), type=KeysConfig)
    except FileNotFoundError:
        return KeysConfig()
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"cannot read {kept}", reason=f"cannot read {kept}: {error}") from error


async def unlock(
    data_dir: Path, database: Database, *, clock: Clock, entropy: Entropy, data_key: bytes = b""
) -> Sealing:
    """What opens the cluster's keys; ConfigError, before anything is changed, if that is not to be had.

    A new cluster's are sealed from the beginning if the settings say how. ``data_key``: known already.
    """
    if data_key:
        return KeySealing(data_key, entropy)
    store = SqlKeyWrappers(database)
    found = await store.wrappers()
    settings, seen = kept_keys(data_dir), data_dir / _SEALED
    if not found:
        if seen.exists():
            raise ConfigError(
                "the cluster's keys were sealed, and the database says that they are not. If that was you (ilctl "
                f"keys unseal on another machine, or an old backup), remove {seen}; else somebody has changed it"
            )
        if not settings.says:
            return ClearSealing()
        if not await store.fresh():
            _log.warning("keys.not_sealed", consequence="the cluster's keys are in the clear: run ilctl keys seal")
            return ClearSealing()
        way = settings.wrapping(entropy)
        await store.start(way.wrap(way.kind, entropy.token(DATA_KEY), now=clock.now()))
        data_key = _unwrap(await store.wrappers(), way)
    else:
        data_key = _unwrap(found, _way(settings, entropy))
    try:
        seen.touch(0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {seen}: {error.strerror}", reason=str(error)) from error
    return KeySealing(data_key, entropy)


def _way(settings: KeysConfig, entropy: Entropy) -> Wrapping:
    if settings.says or os.environ.get(KEY_FILE_VARIABLE) or sys.stdin.isatty():
        return settings.wrapping(entropy)
    raise ConfigError(
        "the cluster's keys are sealed: say in [auth.keys] how they are opened, or name a file with the "
        f"passphrase in {KEY_FILE_VARIABLE}"
    )


def _unwrap(wrappers: list[KeyWrapper], way: Wrapping) -> bytes:
    refused = ConfigError(f"the cluster's keys are not sealed by a {way.kind}: run ilctl keys status")
    for wrapper in wrappers:
        if wrapper.kind == way.kind:
            try:
                return way.unwrap(wrapper)
            except ConfigError as error:
                refused = error
    raise refused


def ask_passphrase(prompt: str) -> bytes:
    """From the terminal; ConfigError if there is none."""
    if not sys.stdin.isatty():
        raise ConfigError("the passphrase of the cluster's keys can only be asked for on a terminal")
    from interlock.adapters.question import ask

    try:
        return ask(prompt, echo=False).encode()
    except EOFError:
        raise ConfigError("no passphrase was given") from None


def read_passphrase(path: Path) -> bytes:
    """The file's content without the end of its line; ConfigError if others may read it, or it is none."""
    try:
        mode = S_IMODE(path.stat().st_mode)
        content = path.read_bytes()[: _LONGEST + 1]
    except OSError as error:
        raise ConfigError(f"cannot read the passphrase in {path}: {error.strerror}", reason=str(error)) from error
    if mode & 0o077:
        raise ConfigError(f"others may read the passphrase in {path}: run chmod 600 {path}")
    passphrase = content.rstrip(b"\r\n")
    if not passphrase or len(passphrase) > _LONGEST:
        raise ConfigError(f"{path} has no passphrase: it is empty or too long")
    return passphrase
