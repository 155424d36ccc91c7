"""``ilctl certs``."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock.core.certificate import PublicKey
from interlock.daemons.local import open_local
from interlock.services.audit.emitter import Emitter

Ilctl = Callable[..., Any]
KEY = PublicKey("ssh-ed25519", (bytes(32),))


@pytest.fixture
def issued(ilctl: Ilctl, tmp_path: Path) -> list[str]:
    """Serials of two certificates of alice's and one of bob's, in this order."""

    async def issue() -> None:
        async with open_local(tmp_path / "data") as local:
            emitter = Emitter(local.audit)
            local.authority.report_to(emitter)
            for user in ("alice", "alice", "bob"):
                await local.authority.issue_user(user, ["dev"], ["root"], KEY.line(), timedelta(hours=1))
            emitter.stop()
            await emitter.run()

    asyncio.run(issue())
    rows = ilctl("certs", "ls", "--format", "json").json()
    assert sorted(row["user"] for row in rows) == ["alice", "alice", "bob"]
    return [row["serial"] for user in ("alice", "bob") for row in rows if row["user"] == user]


def _revoked(ilctl: Ilctl) -> dict[str, str]:
    return {row["name"]: row["kind"] for row in ilctl("certs", "revoked", "--format", "json").json()}


def test_one_certificate_is_revoked_until_it_would_have_expired(ilctl: Ilctl, issued: list[str]) -> None:
    """And shown as such; the audit log has it."""
    revoked = ilctl("certs", "revoke", issued[0], "--message", "lost")
    assert (revoked.code, revoked.err) == (0, "")
    [row] = ilctl("certs", "revoked", "--format", "json").json()
    assert (row["kind"], row["name"], row["message"]) == ("certificate", issued[0], "lost")
    left = datetime.fromisoformat(row["expires"]) - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    shown = {each["serial"]: each["revoked"] for each in ilctl("certs", "ls", "--format", "json").json()}
    assert shown == {serial: serial == issued[0] for serial in issued}
    [event] = [
        each for each in ilctl("events", "ls", "--format", "json").json() if each["event"] == "lock.created"
    ]
    assert event["target"] == {"certificate": issued[0]}


def test_all_of_a_user_up_to_a_moment(ilctl: Ilctl, issued: list[str]) -> None:
    """None that was made later, and nobody else's."""
    assert ilctl("certs", "revoke", "--user", "alice", "--before", "2020-01-01T00:00:00").code == 3
    assert ilctl("certs", "revoke", "--user", "alice").code == 0
    assert _revoked(ilctl) == dict.fromkeys(issued[:2], "certificate")
    assert ilctl("certs", "revoke", "--user", "carol").code == 3


def test_a_key_and_a_serial_that_nobody_noted(ilctl: Ilctl, tmp_path: Path) -> None:
    """By its file; certificates of an earlier version are revoked for as long as any may live, with a warning."""
    path = tmp_path / "key.pub"
    path.write_text(KEY.line("somebody"))
    assert ilctl("certs", "revoke", "--key", path).code == 0
    revoked = ilctl("certs", "revoke", "12345")
    assert (revoked.code, revoked.out.startswith("Revoked: certificate 12345 ")) == (0, True)
    assert revoked.err.startswith("warning: no certificate is known")
    assert _revoked(ilctl) == {KEY.fingerprint: "key", "12345": "certificate"}
    assert "cannot read" in ilctl("certs", "revoke", "--key", tmp_path / "none.pub").err
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert "name one like id_ed25519.pub" in ilctl("certs", "revoke", "--key", path).err


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("0",),
        ("-1",),
        (str(2**64),),
        ("x",),
        ("7", "--user", "alice"),
        ("7", "--before", "2026-01-01"),
        ("--before", "noon"),
    ],
)
def test_what_names_no_certificate_is_refused(ilctl: Ilctl, wrong: tuple[str, ...]) -> None:
    """Before anything happens."""
    assert ilctl("certs", "revoke", *wrong).code == 2
    assert _revoked(ilctl) == {}
