"""A person's X display in tests: Xvfb on a free display number, with a cookie that its clients must show."""

import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from interlock.testing.procs import Daemon, run

_START = 'exec 3>"$1"; shift; exec "$@"'
"""Xvfb writes the number that it chose to a descriptor; `Daemon` passes on none."""


class Display:
    """Running from ``with`` on. Needs Xvfb and xauth: ``make tools``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cookies = directory / "Xauthority"
        self._daemon: Daemon | None = None
        self.name = ""  # as DISPLAY has it, once it runs

    @property
    def variables(self) -> dict[str, str]:
        """What a client of the display needs in its environment."""
        return {"DISPLAY": self.name, "XAUTHORITY": str(self._cookies)}

    def __enter__(self) -> Self:
        number, cookie = self._directory / "display", secrets.token_hex(16)
        self._allow(":0", cookie)  # the server reads the cookie of any display, which it does not know yet
        argv: list[str | Path] = [
            "sh",
            "-c",
            _START,
            "sh",
            number,
            "Xvfb",
            "-displayfd",
            "3",
            "-screen",
            "0",
            "640x480x24",
        ]
        options: list[str | Path] = ["-nolisten", "tcp", "-auth", self._cookies]
        self._daemon = Daemon([*argv, *options], log=self._directory / "xvfb.log", name="Xvfb")
        try:
            self._daemon.wait_until(lambda: number.exists() and number.read_text().endswith("\n"), "display")
        except BaseException:
            self._daemon.stop()
            raise
        self.name = f":{number.read_text().strip()}"
        self._allow(self.name, cookie)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    def _allow(self, display: str, cookie: str) -> None:
        run(["xauth", "-q", "-f", self._cookies, "add", display, ".", cookie]).check()
