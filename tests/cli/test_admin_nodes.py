"""``ilctl nodes``."""

import asyncio
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock.core.ids import DaemonId
from interlock.daemons.local import open_local
from interlock.domain.target import SubKind, Target

Ilctl = Callable[..., Any]


@pytest.fixture
def host_key(tmp_path: Path) -> Path:
    """A host's public key, as ssh-keygen writes it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host"], check=True)
    return tmp_path / "host.pub"


def test_an_agentless_host_is_listed_with_its_pinned_key(ilctl: Ilctl, host_key: Path) -> None:
    """The comment of the key file is not kept."""
    made = ilctl(
        "nodes", "add", "plain1", "--addr", "10.0.0.5:2222", "--labels", "env=test", "--host-key", host_key
    )
    assert made.code == 0
    [row] = ilctl("nodes", "ls", "--format", "json").json()
    assert (row["hostname"], row["addr"], row["sub_kind"]) == ("plain1", "10.0.0.5:2222", "openssh")
    assert row["labels"] == {"env": "test"}
    assert row["host_keys"] == [" ".join(host_key.read_text().split()[:2])]
    assert row["expires"] is None
    assert "plain1  10.0.0.5:2222  openssh  env=test" in ilctl("nodes", "ls").out
    assert ilctl("nodes", "add", "plain1", "--addr", "h", "--host-ca").code == 1
    assert ilctl("nodes", "rm", "plain1").code == 0
    assert ilctl("nodes", "ls", "--format", "json").json() == []


def test_a_key_may_stand_on_the_command_line(ilctl: Ilctl, host_key: Path) -> None:
    """As the line itself, and more than once."""
    line = host_key.read_text().strip()
    assert ilctl("nodes", "add", "n", "--addr", "h", "--host-key", line, "--host-key", host_key).code == 0
    [row] = ilctl("nodes", "ls", "--format", "json").json()
    assert len(row["host_keys"]) == 2


def test_a_host_certified_by_us_needs_no_pin(ilctl: Ilctl) -> None:
    """But one of the two has to be said, and not both."""
    assert ilctl("nodes", "add", "n", "--addr", "h", "--host-ca").code == 0
    [row] = ilctl("nodes", "ls", "--format", "json").json()
    assert row["host_keys"] == []
    assert ilctl("nodes", "add", "m", "--addr", "h").code == 2
    assert ilctl("nodes", "add", "m", "--addr", "h", "--host-ca", "--host-key", "x y").code == 2


def test_an_empty_key_file_is_not_taken_for_trust(ilctl: Ilctl, tmp_path: Path) -> None:
    """No pins would mean that a certificate is enough, which nobody said."""
    (tmp_path / "empty.pub").write_text("# nothing\n\n")
    assert ilctl("nodes", "add", "n", "--addr", "h", "--host-key", tmp_path / "empty.pub").code == 2


@pytest.mark.parametrize(
    ("given", "addr"),
    [
        ("web.example.org", "web.example.org:22"),
        ("web:2022", "web:2022"),
        ("10.0.0.5:2022", "10.0.0.5:2022"),
        ("[2001:db8::1]:2022", "[2001:db8::1]:2022"),
        ("[2001:db8::1]", "[2001:db8::1]:22"),
        ("2001:db8::1", "[2001:db8::1]:22"),
    ],
)
def test_addresses_are_read_in_every_usual_form(ilctl: Ilctl, given: str, addr: str) -> None:
    """Port 22 unless said otherwise."""
    assert ilctl("nodes", "add", "n", "--addr", given, "--host-ca").code == 0
    [row] = ilctl("nodes", "ls", "--format", "json").json()
    assert row["addr"] == addr


def test_nodes_of_one_name_are_told_apart(ilctl: Ilctl, tmp_path: Path) -> None:
    """By their IDs, which are shown; one that dials out has no address."""
    ids = ["11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"]

    async def report() -> None:
        async with open_local(tmp_path / "data") as local:
            expires = local.clock.now() + timedelta(hours=1)
            for number, tunnel in zip(ids, (False, True), strict=True):
                address = ("", 0) if tunnel else ("10.0.0.5", 3022)
                node = Target(DaemonId(number), "web1", *address, SubKind.NODE, expires=expires, tunnel=tunnel)
                await local.inventory.heartbeat(node)

    asyncio.run(report())
    listed = ilctl("nodes", "ls").out.splitlines()
    assert [row.split() for row in listed[-2:]] == [
        ["web1", "10.0.0.5:3022", "interlock", ids[0]],
        ["web1", "tunnel", "interlock", ids[1]],
    ]
    refused = ilctl("nodes", "rm", "web1")
    assert refused.code == 3
    assert all(number in refused.err for number in ids)
    assert ilctl("nodes", "rm", ids[0]).code == 0
    [row] = ilctl("nodes", "ls", "--format", "json").json()
    assert (row["id"], row["tunnel"]) == (ids[1], True)
