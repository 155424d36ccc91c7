"""docs/verify_recording.py, which shares no code with Interlock, comes to the same verdicts."""

import ast
import importlib.util
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.certificate import PublicKey
from interlock.domain.container import SealState, Standing, verify
from interlock.domain.signing import DaemonRole, SigningKey, read_public_keys
from interlock.testing.recordings import AUTH, AUTHORITY, CONTENT, DAMAGES, SID, START, STRANGER, made, signer

PROGRAM = Path(__file__).parents[3] / "docs" / "verify_recording.py"
SIGNED = made(by=signer())
LOCKED = made(by=signer(), content=CONTENT)


def line(key: SigningKey) -> str:
    """As it is exported."""
    return PublicKey("ssh-ed25519", (key.public,)).line("interlock-recordings-ca@demo") + "\n"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("verify_recording", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_wrong(program: ModuleType, data: bytes) -> int | None:
    """The offset that the program names; None if nothing is wrong."""
    try:
        program.Verifier([AUTHORITY.public]).file(data)
    except program.Wrong as wrong:
        return int(wrong.offset)
    return None


def test_it_is_independent_and_short() -> None:
    """It imports the standard library, zstandard and cryptography, in fewer than 200 lines."""
    text = PROGRAM.read_text()
    assert len(text.splitlines()) < 200
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"zstandard", "cryptography"}


@pytest.mark.parametrize("way", DAMAGES)
@given(one=st.integers(0, 10_000), other=st.integers(0, 10_000), encrypted=st.booleans())
def test_it_names_the_same_byte_as_we_do(
    program: ModuleType, way: str, one: int, other: int, encrypted: bool
) -> None:
    """Of every damage, whether the contents are encrypted or not."""
    data, place = DAMAGES[way](LOCKED if encrypted else SIGNED, one, other)
    assert first_wrong(program, data) == place
    ours = verify([data], [AUTHORITY.public], sid=SID)
    assert ours.problem is not None
    assert ours.problem.offset == place


def test_it_agrees_on_whoever_signed(program: ModuleType) -> None:
    """Its recorder, auth, somebody else, or nobody."""
    auth = signer(AUTH, DaemonRole.AUTH)
    for recording in (
        SIGNED,
        LOCKED,
        made(),
        made(by=signer(), closed_by=auth, state=SealState.COMPLETED),
        made(by=signer(), closed_by=signer(AUTH), state=SealState.COMPLETED),
        made(by=signer(authority=STRANGER)),
        made(by=signer(cluster="other")),
    ):
        ours = verify([recording.data], [AUTHORITY.public], sid=SID)
        assert first_wrong(program, recording.data) == (ours.problem.offset if ours.problem else None)


@pytest.mark.parametrize("days", [-60, -1, 0])
def test_it_agrees_on_keys_that_were_replaced(program: ModuleType, days: int) -> None:
    """Before the recording, or since."""
    until = (START + timedelta(days=days)).isoformat().replace("+00:00", "Z")
    text = line(STRANGER) + line(AUTHORITY).rstrip() + f" until={until}\n"
    ours = verify([SIGNED.data], read_public_keys(text), sid=SID)
    verifier = program.Verifier(program.public_keys(text))
    if ours.problem is None:
        verifier.file(SIGNED.data)
    else:
        with pytest.raises(program.Wrong) as wrong:
            verifier.file(SIGNED.data)
        assert wrong.value.offset == ours.problem.offset
    assert (ours.problem is None) is (days >= 0)


def test_it_is_a_program(tmp_path: Path) -> None:
    """It takes a file and the exported key, and its exit code tells signed, unsigned and wrong apart."""
    (tmp_path / "keys").write_text(f"# the authority\n{line(STRANGER)}{line(AUTHORITY)}")
    cases = {"signed": SIGNED.data, "unsigned": made().data, "cut": SIGNED.data[:-1]}
    said = {}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        command = [sys.executable, str(PROGRAM), name, "keys"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not ran.stderr
        said[name] = (ran.returncode, ran.stdout)
    assert said["signed"] == (0, f"signed: session {SID}, signed by node {signer_name()}\n")
    assert said["unsigned"][0] == 2
    assert said["cut"] == (
        1,
        f"cut: byte {SIGNED.offset(8)}: the file ends inside a block, or its head is damaged\n",
    )
    assert verify([SIGNED.data], [AUTHORITY.public]).standing is Standing.SIGNED


def signer_name() -> str:
    """The daemon that recorded."""
    found = verify([SIGNED.data], [AUTHORITY.public]).signer
    assert found is not None
    return found.daemon
