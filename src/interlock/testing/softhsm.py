"""A PKCS#11 token in software: SoftHSM, with a store of this process's own."""

import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pkcs11

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
PIN = "correct horse"


def module() -> str:
    """The library; AssertionError if SoftHSM is not installed (scripts/setup.sh --tools)."""
    found = [path for path in MODULES if Path(path).exists()]
    assert found, "SoftHSM is missing: run make tools"
    return found[0]


def make_token(label: str) -> None:
    """A new token with this label, whose user PIN is `PIN`."""
    os.environ["SOFTHSM2_CONF"] = str(settings_file())
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "1234567890"]
    subprocess.run(command, check=True, capture_output=True)
    forget_sessions()


def forget_sessions() -> None:
    """As in a new process: a library that is loaded does not look for new tokens, nor for a PIN once it had it."""
    pkcs11.lib(module()).reinitialize()


@cache
def settings_file() -> Path:
    """Of the one store of this process, since the library reads it once; for processes that use the same."""
    directory = Path(mkdtemp(prefix="interlock-softhsm-"))
    (directory / "tokens").mkdir(0o700)
    settings = directory / "softhsm2.conf"
    settings.write_text(
        f"directories.tokendir = {directory}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    return settings
