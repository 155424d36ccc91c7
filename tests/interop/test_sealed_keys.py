"""A gateway of two workers, its keys sealed from the first start on by a token in which its authorities sign."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from interlock.daemons.database import DATABASE
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import clean_env
from interlock.testing.procs import run
from interlock.testing.softhsm import PIN, make_token, module, settings_file

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Cluster]:
    """The cluster."""
    label, pin = f"interlock-{uuid4().hex[:12]}", tmp_path / "pin"
    make_token(label)
    pin.touch(0o600)
    pin.write_text(f"{PIN}\n")
    table = {"key_file": str(pin), "pkcs11_module": module(), "pkcs11_token": label}
    lines = [f'{name} = "{value}"' for name, value in table.items()]
    cluster = Cluster(tmp_path / "cluster", workers=2, settings="\n".join(["[auth.keys]", *lines]))
    cluster.gateway_env = {"SOFTHSM2_CONF": str(settings_file())}
    with cluster:
        yield cluster


def test_people_work_and_no_private_key_is_on_the_disk(sealed: Cluster) -> None:
    """On every road; a restart without the PIN says what is missing, and one with it goes on."""
    client = sealed.client("sealed", sealed.person)
    for target in sealed.targets:
        for way in (sealed.route(target), sealed.jump(target)):
            done = client.run(*way, "echo here")
            assert (done.rc, done.stdout) == (0, "here\n"), done.stderr
    stored = b"".join(path.read_bytes() for path in sealed.data.glob(f"{DATABASE}*"))
    assert b"PRIVATE KEY" not in stored
    assert b"pkcs11:object" not in stored, "not even the names are readable"

    sealed.gateway.stop()
    pin = Path(sealed.data.parent.parent / "pin")
    pin.rename(pin.with_name("elsewhere"))
    argv: list[str | Path] = [
        sealed.programs / "interlock",
        "start",
        "-c",
        sealed.directory / "gateway.toml",
        "--roles",
        "auth,proxy",
    ]
    refused = run(argv, env={**clean_env(), **sealed.gateway_env})
    assert (refused.rc, "cannot read the passphrase" in refused.stderr) == (1, True)
    pin.with_name("elsewhere").rename(pin)
    sealed.gateway = sealed.start_gateway()
    assert client.run(*sealed.route(sealed.node_name), "true").rc == 0
