"""R11: what the gateway and a node offer, as ssh-audit sees it: nothing that it fails, and exactly the policy."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.node import node_world
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import gateway

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).parent / "ssh-audit"


async def audit(port: int, *arguments: str) -> tuple[int | None, str]:
    """ssh-audit's exit code and report. Its own test of the connection rate is not about algorithms."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "-n", "--skip-rate-test", *arguments, "-p", str(port), LOOPBACK, stdout=-1, stderr=-2
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def check(port: int, policy: str) -> None:
    """The policy is met to the letter, and no algorithm has a "fail", or a "warn" but for quantum computers."""
    code, report = await audit(port, "-P", str(HERE / policy))
    assert code == 0, report
    _, report = await audit(port, "-j")
    found: dict[str, Any] = json.loads(report)
    notes = [
        (entry["algorithm"], level, note)
        for kind in ("kex", "key", "enc", "mac")
        for entry in found[kind]
        for level in ("fail", "warn")
        for note in entry["notes"].get(level, ())
        if "post-quantum" not in note  # for clients of before OpenSSH 9.9
    ]
    assert notes == []
    assert found["cves"] == []
    assert found["kex"][0]["algorithm"] == "mlkem768x25519-sha256"


@pytest.mark.slow
async def test_r11_ssh_audit_passes_the_gateway(tmp_path: Path) -> None:
    """The one port that everybody reaches."""
    async with gateway(tmp_path) as world:
        await check(world.port, "gateway.policy")


@pytest.mark.slow
async def test_r11_ssh_audit_passes_a_node(tmp_path: Path) -> None:
    """Which serves every cipher that a gateway may be set to."""
    async with node_world(tmp_path) as world:
        await check(world.port, "node.policy")
