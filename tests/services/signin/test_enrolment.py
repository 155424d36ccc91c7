"""Keys of people's own: what is taken, what a restriction becomes, what is refused and not dropped (R6)."""

from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core.errors import Denied, NotFound
from interlock.core.wire import string
from interlock.domain.access import RoleOptions
from interlock.domain.bounds import Bounds, Permission
from interlock.domain.factor import EnrolledKey
from interlock.domain.rbac import Role
from interlock.domain.request import AccessRequest, Act
from interlock.ports import User
from interlock.services.signin.enrolment import (
    LIFE,
    EnrolledKeys,
    Enrolment,
    fingerprint_of,
    key_facts,
    parse_line,
)
from interlock.testing.clock import START, FakeClock
from interlock.testing.factors import MemoryFactors
from interlock.testing.requests import MemoryRequests
from interlock.testing.ssh_pair import Directory

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKrA4Yz3dXnFPfyTxM3Uu7GWkpLh1bZrzmq8cCHWjAh"
_POINT = Ed25519PrivateKey.from_private_bytes(b"s" * 32).public_key().public_bytes_raw()
SK_BLOB = string("sk-ssh-ed25519@openssh.com") + string(_POINT) + string("ssh:")
SK = f"sk-ssh-ed25519@openssh.com {b64encode(SK_BLOB).decode()}"


def rsa_line(bits: int) -> str:
    """A fresh RSA key."""
    key = rsa.generate_private_key(65537, bits).public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.mark.parametrize(
    ("text", "comment", "options", "expires"),
    [
        (ED25519, "", (), None),
        (f"  {ED25519} alice@laptop work \n", "alice@laptop work", (), None),
        (f'from="10.1.2.3/8,2001:db8::1" {ED25519}', "", (("from", "10.0.0.0/8,2001:db8::1/128"),), None),
        (f'expiry-time="20270102" {ED25519}', "", (), datetime(2027, 1, 2, tzinfo=UTC)),
        (f'expiry-time="202701020304Z",from="::1" {ED25519}', "", (("from", "::1/128"),),
         datetime(2027, 1, 2, 3, 4, tzinfo=UTC)),
        (f"verify-required {SK} token", "token", (("verify-required", ""),), None),
        (f'command="echo \\"hi\\"" {ED25519}', "", (("command", 'echo "hi"'),), None),
        (f"no-pty,No-Port-Forwarding,no-pty {ED25519}", "", (("no-port-forwarding", ""), ("no-pty", "")), None),
        (f"restrict,pty,agent-forwarding {ED25519}", "",
         (("no-X11-forwarding", ""), ("no-port-forwarding", ""), ("no-user-rc", "")), None),
        (f"pty,restrict {ED25519}", "", tuple((f"no-{each.value}", "") for each in Permission), None),
        (f"no-pty,pty {ED25519}", "", (), None),
    ],
)  # fmt: skip
def test_lines_are_read_as_sshd_reads_them(
    text: str, comment: str, options: tuple[tuple[str, str], ...], expires: datetime | None
) -> None:
    """sshd(8), as far as we honour it."""
    line = parse_line(text)
    assert (line.comment, line.options, line.expires) == (comment, options, expires)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ("hello", "cannot be read"),
        (f"{ED25519}\n{ED25519}", "one line"),
        (f"no-touch-required {SK}", "has to be touched"),
        (f"verify-required {ED25519}", "for keys on hardware"),
        (f'permitopen="host:80" {ED25519}', "no-port-forwarding"),
        (f'permitlisten="8080" {ED25519}', "no-port-forwarding"),
        (f'tunnel="0" {ED25519}', "not available"),
        (f'environment="A=1" {ED25519}', "the nodes' to allow"),
        (f'command="ls",command="id" {ED25519}', "twice"),
        (f'command="" {ED25519}', "nothing in it"),
        (f"command {ED25519}", "nothing in it"),
        (f"cert-authority {ED25519}", "own authority"),
        (f'principals="root" {ED25519}', "own authority"),
        (f"brand-new-option {ED25519}", "cannot be honoured"),
        (f'from="*.example.org" {ED25519}', "no names"),
        (f'from="!10.0.0.1,10.0.0.0/8" {ED25519}', "no names"),
        (f'from="::1",from="::2" {ED25519}', "twice"),
        (f'expiry-time="tomorrow" {ED25519}', "YYYYMMDD"),
        (f'expiry-time="20271332" {ED25519}', "YYYYMMDD"),
        (f'from="::1 {ED25519}', "cannot be read"),
        (rsa_line(1024), "2048"),
        ("ssh-dss AAAAB3NzaC1kc3MAAACBAP==", "cannot be certified"),
        (f"ssh-ed25519-cert-v01@openssh.com {ED25519.split()[1]}", "cannot be certified"),
        ("x" * 20_000, "one line"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n", "private key.*ends in .pub"),
    ],
)
def test_what_is_not_honoured_is_refused(text: str, why: str) -> None:
    """In words."""
    with pytest.raises(Denied, match=why):
        parse_line(text)


async def test_what_a_key_withholds_its_claims_say(desk: "Desk") -> None:
    """In the words of certificates; what a later version may have stored is not passed over."""
    key = await desk.enrolment.add("alice", f'restrict,pty,command="backup" {ED25519} laptop')
    claims = await desk.keys.claims(key.blob)
    assert claims.bounds == Bounds.of("backup", {*Permission} - {Permission.PTY})
    assert key_facts(key)["options"] == [
        "command=backup", "no-X11-forwarding", "no-agent-forwarding", "no-port-forwarding", "no-user-rc",
    ]  # fmt: skip
    desk.store.keys[key.blob] = replace(key, options=(*key.options, ("no-such-thing", "")))
    with pytest.raises(Denied, match="not accepted"):
        await desk.keys.claims(key.blob)


class Desk:
    """Where keys are enrolled and shown."""

    def __init__(self) -> None:
        self.clock, self.store, self.users = FakeClock(), MemoryFactors(), Directory()
        self.users.people["alice"] = User("alice", ("dev",), None, must_change=False, created=START)
        self.users.known_roles["dev"] = Role("dev", ("root", "web"), {"*": "*"}, RoleOptions())
        self.enrolment = Enrolment(self.store, self.clock)
        self.requests = MemoryRequests()
        self.keys = EnrolledKeys(
            keys=self.store,
            users=self.users,
            roles=self.users,
            cluster="demo",
            clock=self.clock,
            requests=self.requests,
        )


@pytest.fixture
def desk() -> Desk:
    """Alice has an account and no key."""
    return Desk()


async def test_a_key_stands_for_its_user_as_he_is_now(desk: Desk) -> None:
    """Roles and logins of this moment; for a day and a night, or until it expires."""
    key = await desk.enrolment.add("alice", f'from="10.0.0.0/8" {ED25519} laptop')
    claims = await desk.keys.claims(key.blob)
    assert (claims.identity.user, claims.identity.roles, claims.logins) == ("alice", ("dev",), ("root", "web"))
    assert claims.identity.keys == (fingerprint_of(key),)
    assert claims.source_networks == ("10.0.0.0/8",)
    assert (claims.enrolled, claims.verified) == (True, False)
    assert claims.valid_before == START + LIFE
    assert not claims.allows_source("192.0.2.1")
    desk.users.people["alice"] = replace(desk.users.people["alice"], roles=())
    assert (await desk.keys.claims(key.blob)).logins == ()


async def test_what_roles_say_of_certificates_counts_for_keys(desk: Desk) -> None:
    """A key would be the way around: the shorter life, and an address that it is bound to."""
    options = RoleOptions(pin_source_ip=True, max_certificate_ttl=600)
    desk.users.known_roles["dev"] = replace(desk.users.known_roles["dev"], options=options)
    bare = await desk.enrolment.add("alice", ED25519)
    with pytest.raises(Denied, match="bind you to an address"):
        await desk.keys.claims(bare.blob)
    bound = await desk.enrolment.add("alice", f'from="10.0.0.7" {SK}', name="token")
    assert (await desk.keys.claims(bound.blob)).valid_before == START + timedelta(minutes=10)


async def test_roles_by_requests_count_with_a_key_as_with_a_certificate(desk: Desk) -> None:
    """From the approval on, until the access ends; then they are gone from the next connection."""
    desk.users.known_roles["dba"] = Role("dba", ("pg",), {"*": "*"})
    key = await desk.enrolment.add("alice", ED25519)
    asked = AccessRequest(
        "11111111-0000-4000-8000-00000000000e", "alice", ("dba",), "x", START, timedelta(hours=1)
    )
    await desk.requests.add_request(asked)
    assert (await desk.keys.claims(key.blob)).identity.requests == ()
    await desk.requests.replace_request(asked, asked.act(Act.APPROVE, "bob", "", now=START))
    claims = await desk.keys.claims(key.blob)
    assert (claims.identity.roles, claims.identity.requests) == (("dev", "dba"), (asked.id,))
    assert (claims.logins, claims.valid_before) == (("pg", "root", "web"), START + timedelta(hours=1))
    desk.clock.advance(3600)
    assert (await desk.keys.claims(key.blob)).logins == ("root", "web")


async def test_a_key_ends_when_it_was_said_to(desk: Desk) -> None:
    """By its line or by whoever enrols it: the earlier."""
    line = f'expiry-time="20990101" {ED25519}'
    key = await desk.enrolment.add("alice", line, expires=START + timedelta(hours=1))
    assert (await desk.keys.claims(key.blob)).valid_before == START + timedelta(hours=1)
    desk.clock.advance(3600)
    with pytest.raises(Denied, match="expired"):
        await desk.keys.claims(key.blob)
    with pytest.raises(Denied, match="expired"):
        await desk.enrolment.add("alice", f'expiry-time="20000101" {SK}')


async def test_a_key_is_one_persons_and_nobodys_afterwards(desk: Desk) -> None:
    """Names are one's own; what was removed counts no more."""
    key = await desk.enrolment.add("alice", ED25519, name="laptop")
    with pytest.raises(Denied, match="already"):
        await desk.enrolment.add("bob", ED25519)
    with pytest.raises(NotFound):
        await desk.enrolment.remove("bob", "laptop")
    await desk.enrolment.remove("alice", fingerprint_of(key))
    for blob in (key.blob, b"", b"\0\0\0\x0bssh-ed25519"):
        with pytest.raises(NotFound):
            await desk.keys.claims(blob)


async def test_the_key_of_somebody_who_is_gone_is_nobodys(desk: Desk) -> None:
    """The account goes with its keys; this is the moment between."""
    key = await desk.enrolment.add("alice", ED25519)
    del desk.users.people["alice"]
    with pytest.raises(NotFound):
        await desk.keys.claims(key.blob)


async def test_a_restriction_that_a_newer_version_has_stored_voids_the_key(desk: Desk) -> None:
    """R6."""
    blob = parse_line(ED25519).key.blob
    desk.store.keys[blob] = EnrolledKey(blob, "alice", "laptop", START, None, (("only-on-mondays", ""),))
    with pytest.raises(Denied, match="not accepted"):
        await desk.keys.claims(blob)


class Provider:
    """`VouchedStore`, as far as keys are concerned."""

    async def is_vouched(self, user: User) -> bool:
        """Alice came by it."""
        return user.name == "alice"


async def test_no_key_counts_where_an_identity_provider_has_the_say(desk: Desk) -> None:
    """Whoever has been let go there would come in by it for ever."""
    desk.users.people["bob"] = replace(desk.users.people["alice"], name="bob")
    vouched: Any = Provider()
    keys = EnrolledKeys(
        keys=desk.store, users=desk.users, roles=desk.users, cluster="demo", clock=desk.clock, vouched=vouched
    )
    key = await desk.enrolment.add("alice", ED25519)
    with pytest.raises(Denied, match="identity provider"):
        await keys.claims(key.blob)
    assert (await keys.claims((await desk.enrolment.add("bob", SK)).blob)).identity.user == "bob"
