"""Certificates signed by hand: ``ssh-keygen -O`` in its own words, and never more than the roles say."""

from base64 import b64decode
from datetime import timedelta
from typing import Any

import pytest

from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DaemonId
from interlock.domain.access import RoleOptions
from interlock.domain.bot import Bot
from interlock.domain.bounds import NO_BOUNDS, Bounds, Permission
from interlock.domain.rbac import Role
from interlock.ports import User
from interlock.services.keys.authority import Authority
from interlock.services.keys.certificates import CertificateReader
from interlock.services.portal.byhand import Made, Restrictions, certify_by_hand, read_options
from interlock.testing.agent import SecurityKey
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.node import FakeAuthorityStore
from interlock.testing.portal import KEY
from interlock.testing.ssh_pair import Directory

ALL = tuple(Permission)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ([], Restrictions()),
        (["force-command=ls -l=x"], Restrictions(Bounds("ls -l=x"))),
        (["source-address=10.1.2.3/8,::1"], Restrictions(source_networks=("10.0.0.0/8", "::1/128"))),
        (["verify-required", "no-touch-required"], Restrictions(verified=True, untouched=True)),
        (["clear"], Restrictions(Bounds(None, ALL))),
        (["clear", "permit-pty"], Restrictions(Bounds(None, tuple(e for e in ALL if e is not Permission.PTY)))),
        (["permit-pty", "clear"], Restrictions(Bounds(None, ALL))),
        (["no-X11-forwarding", "no-pty", "no-pty"], Restrictions(Bounds(None, (Permission.X11, Permission.PTY)))),
        (["no-user-rc", "permit-user-rc"], Restrictions(NO_BOUNDS)),
    ],
)
def test_options_one_after_another(options: list[str], read: Restrictions) -> None:
    """The later ones win."""
    assert read_options(options) == read


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("no-such-thing", "not known: there are force-command"),
        ("critical:x@y=z", "not known"),
        ("extension:x@y", "not known"),
        ("force-command", "takes a value"),
        ("force-command=", "a forced command has"),
        ("no-pty=yes", "takes no value"),
        ("source-address=host.example.org", "host.example.org"),
    ],
)
def test_what_means_nothing_is_refused(option: str, why: str) -> None:
    """In words."""
    with pytest.raises(ValueError, match=why):
        read_options([option])


class Desk:
    """Alice, whose roles are to be said."""

    def __init__(self, options: RoleOptions = RoleOptions()) -> None:  # noqa: B008 - immutable
        self.users, self.machine = Directory(), ""
        self.users.people["alice"] = User("alice", ("dev",), None, must_change=False, created=START)
        self.users.known_roles["dev"] = Role("dev", ("root", "web"), {"*": "*"}, options)

    async def bot(self, user: str) -> Bot | None:
        """A machine's account."""
        return Bot(user, (), HOUR, (), START) if user == self.machine else None

    async def sign(self, *options: str, **wanted: Any) -> Made:
        """A certificate."""
        store, clock, entropy = FakeAuthorityStore(), FakeClock(), FakeEntropy()
        daemon = DaemonId("p")
        authority = await Authority.load(store, cluster="demo", daemon_id=daemon, clock=clock, entropy=entropy)
        self.reader = CertificateReader(authority.trusted("user"))
        asked: dict[str, Any] = {"user": "alice", "public_key": KEY, "logins": (), "ttl": HOUR} | wanted
        return await certify_by_hand(
            authority, self.users, self.users, self, restrictions=read_options(options), **asked
        )


async def test_it_says_what_roles_say_and_what_was_asked() -> None:
    """And the event has all of it."""
    desk = Desk()
    made = await desk.sign("force-command=ls", "no-pty", "source-address=10.0.0.0/8", logins=("web",))
    claims = desk.reader.read(b64decode(made.line.split()[1]), now=START)
    assert (claims.logins, claims.identity.roles) == (("web",), ("dev",))
    assert claims.bounds == Bounds("ls", (Permission.PTY,))
    assert claims.source_networks == ("10.0.0.0/8",)
    assert made.facts["options"] == "command=ls; no-pty; source-address=10.0.0.0/8"
    assert made.facts["serial"] == str(claims.serial)
    assert "options" not in (await desk.sign()).facts


async def test_never_more_than_roles_say() -> None:
    """Logins, life, address; and nothing for nobody."""
    with pytest.raises(Denied, match="no role of alice has the login admin: it has root, web"):
        await Desk().sign(logins=("admin",))
    short = await Desk(RoleOptions(max_certificate_ttl=60)).sign()
    assert short.expires <= START + timedelta(seconds=60)
    bound = Desk(RoleOptions(pin_source_ip=True))
    with pytest.raises(Denied, match="-O source-address"):
        await bound.sign()
    await bound.sign("source-address=10.0.0.1")
    with pytest.raises(NotFound):
        await Desk().sign(user="nobody")
    desk = Desk()
    desk.machine = "alice"
    with pytest.raises(Denied, match="alice is a bot"):
        await desk.sign()


@pytest.mark.parametrize("option", ["verify-required", "no-touch-required"])
async def test_only_keys_on_hardware_are_touched(option: str) -> None:
    """Another one would be refused by every server of ours."""
    with pytest.raises(Denied, match="only a key on hardware"):
        await Desk().sign(option)
    await Desk().sign(option, public_key=SecurityKey().line)
