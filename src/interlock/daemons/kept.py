"""One value in one file of a data directory: whole or absent, and readable by nobody else."""

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from interlock.core.errors import ConfigError

T = TypeVar("T")


class KeptFile(Generic[T]):
    """The file. ``otherwise``: what somebody does whose file is damaged, behind "remove it"."""

    def __init__(self, path: Path, kind: type[T], *, otherwise: str) -> None:
        self._path = path
        self._kind = kind
        self._otherwise = otherwise

    def load(self) -> T | None:
        """What was stored last; None if nothing was. ConfigError if it cannot be used."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=self._kind)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {self._path}: {error.strerror}", reason=str(error)) from error
        except msgspec.MsgspecError as error:
            raise self.damaged(error) from error

    def damaged(self, cause: Exception) -> ConfigError:
        """What is in it is no such value."""
        public = f"{self._path} is damaged: remove it{self._otherwise}"
        return ConfigError(public, reason=f"{public}: {cause}")

    def save(self, value: T) -> None:
        """Store this in the place of what was there; ConfigError if the disk refuses."""
        fresh = self._path.with_suffix(f".{os.getpid()}")
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(value))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}", reason=str(error)) from error
