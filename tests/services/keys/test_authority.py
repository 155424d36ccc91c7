"""What the authorities sign, and what they refuse to sign."""

import asyncio
import subprocess
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core.certificate import Certificate, CertKind, PublicKey, SignedCertificate
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import Access, RoleOptions
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.bounds import Bounds, Permission
from interlock.domain.cluster import LeafPass, Relation, TrustedCluster, door_of
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.signing import WARRANT_LIFE, DaemonRole, SigningKey, read_public_keys, read_warrant
from interlock.domain.target import SubKind, Target
from interlock.ports import AuthorityKey
from interlock.services.keys.authority import MAX_USER_TTL, TARGET_TTL, Authority
from interlock.services.keys.certificates import CertificateReader
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy

PROXY = DaemonId("11111111-0000-4000-8000-000000000001")
NODE = DaemonId("22222222-0000-4000-8000-000000000002")
HOUR = timedelta(hours=1)
AHEAD = Forwarded(NODE, PROXY, records=True, access=Access(recording="node"))


class Keys:
    """`ports.AuthorityStore` in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, AuthorityKey] = {}

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        return self.kept.setdefault(key.kind, key)

    async def authority(self, kind: str) -> AuthorityKey:
        return self.kept[kind]


class Sink:
    """`ports.EventSink` in memory."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def emit(self, event: AuditEvent) -> None:
        self.events.append(event)


@pytest.fixture
def clock() -> FakeClock:
    """Time under control."""
    return FakeClock()


@pytest.fixture
async def authority(clock: FakeClock) -> Authority:
    """Fresh authorities."""
    return await Authority.load(Keys(), cluster="demo", daemon_id=PROXY, clock=clock, entropy=FakeEntropy())


@pytest.fixture
def public_key(tmp_path: Path) -> str:
    """A key pair of ssh-keygen's, the public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    return (tmp_path / "key.pub").read_text()


def contents(line: str) -> Certificate:
    """What a certificate says."""
    return SignedCertificate.parse(b64decode(line.split()[1])).certificate


def listing(certificate: Path) -> str:
    """What ssh-keygen says of a certificate."""
    command = ["ssh-keygen", "-L", "-f", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read(authority: Authority, line: str, clock: FakeClock) -> Claims:
    """The claims, verified."""
    reader = CertificateReader([authority.export("user")])
    return reader.read(b64decode(line.split()[1]), now=clock.now())


def permit(sub_kind: SubKind, expires_in: timedelta = HOUR) -> Permit:
    """A decision for alice as root."""
    target = Target(NODE, "web1", "10.0.0.5", 22, sub_kind, {"env": "test"})
    claims = Claims(Identity("alice", ("dev",), "demo"), ("root",), START, START + expires_in, 1)
    return Permit.decide(claims, [Role("dev", ("root",), {"*": "*"})], "root", target, now=START)


async def test_a_users_certificate_carries_exactly_what_was_asked(
    authority: Authority, clock: FakeClock, public_key: str
) -> None:
    """Identity, logins, times with a minute of skew, and no forwarder."""
    line = await authority.issue_user("alice", ["dev", "ops"], ["root", "ubuntu", "root"], public_key, HOUR)
    claims = read(authority, line, clock)
    assert claims.identity == Identity("alice", ("dev", "ops"), "demo")
    assert claims.logins == ("root", "ubuntu")
    assert claims.valid_after == (START - timedelta(minutes=1)).replace(microsecond=0)
    assert claims.valid_before == (START + HOUR).replace(microsecond=0)
    assert claims.forwarded is None
    assert contents(line).key == PublicKey.parse(public_key)


@pytest.mark.interop
async def test_openssh_reads_what_we_sign(authority: Authority, public_key: str, tmp_path: Path) -> None:
    """ssh-keygen shows type, authority, names and the permissions that users of OpenSSH expect."""
    line = await authority.issue_user("alice", ["dev"], ["root"], public_key, HOUR)
    (tmp_path / "key-cert.pub").write_text(line)
    shown = await asyncio.to_thread(listing, tmp_path / "key-cert.pub")
    for expected in ("user certificate", 'Key ID: "alice"', "root", "permit-pty", "permit-port-forwarding"):
        assert expected in shown


async def test_issuing_a_users_certificate_is_an_audit_event(authority: Authority, public_key: str) -> None:
    """cert.create names user, roles and logins; without a listener nothing happens."""
    sink = Sink()
    await authority.issue_user("alice", ["dev"], ["root"], public_key, HOUR)
    authority.report_to(sink)
    await authority.issue_user("alice", ["dev"], ["root"], public_key, HOUR)
    [event] = sink.events
    assert event.kind is Kind.CERT_CREATE
    body = event.to_json()
    assert (body["cert_type"], body["user"]) == ("user", "alice")
    assert isinstance(identity := body["identity"], dict)
    assert identity["logins"] == "root"


async def test_a_forwarders_certificate_for_our_node_names_the_hand_over(
    authority: Authority, clock: FakeClock, public_key: str
) -> None:
    """One principal, minutes of life, and who records."""
    credential = await authority.issue_for_target(permit(SubKind.NODE), public_key, records=True)
    claims = read(authority, credential.certificate, clock)
    assert claims.forwarded == AHEAD
    assert claims.logins == ("root",)
    assert claims.valid_before == (START + TARGET_TTL).replace(microsecond=0)


@pytest.mark.parametrize("client", ["192.0.2.7:50022", "[2001:db8::7]:50022", ""])
async def test_a_forwarders_certificate_says_where_the_person_is(
    authority: Authority, clock: FakeClock, public_key: str, client: str
) -> None:
    """The node behind sees the proxy's address only; without a known address nothing is said."""
    credential = await authority.issue_for_target(
        permit(SubKind.NODE), public_key, records=False, client_addr=client
    )
    claims = read(authority, credential.certificate, clock)
    assert claims.forwarded == replace(AHEAD, records=False, client=client)


async def test_an_address_that_is_none_is_not_signed(authority: Authority, public_key: str) -> None:
    """It would end up in events and in the session's environment."""
    for wrong in ("web1:22", "192.0.2.7", "192.0.2.7:x", "192.0.2.7:65536", "::1:22", "[::1]:22 x", "x\n"):
        with pytest.raises(Denied):
            await authority.issue_for_target(permit(SubKind.NODE), public_key, records=True, client_addr=wrong)


async def test_a_forwarders_certificate_for_plain_sshd_is_of_the_openssh_authority(
    authority: Authority, clock: FakeClock, public_key: str
) -> None:
    """Our own nodes do not accept it, and it tells sshd no more than the login and the user's name."""
    credential = await authority.issue_for_target(permit(SubKind.AGENTLESS), public_key, records=True)
    found = contents(credential.certificate)
    assert found.authority == PublicKey.parse(authority.export("openssh"))
    assert (found.principals, found.key_id) == (("root",), "alice")
    assert all(name.startswith("permit-") for name, _ in found.extensions)
    with pytest.raises(Denied):
        read(authority, credential.certificate, clock)


async def test_what_a_key_withholds_is_told_to_every_target(
    authority: Authority, clock: FakeClock, public_key: str
) -> None:
    """To plain sshd in its own words; to our node with what roles allow; to a leaf in ours."""
    claims = Claims(Identity("alice", ("dev",), "demo"), ("root",), START, START + HOUR, 1)
    claims = replace(claims, bounds=Bounds("ls", (Permission.PTY, Permission.USER_RC)))
    role = Role("dev", ("root",), {"*": "*"}, RoleOptions(agent_forwarding=True))
    made = {}
    for kind in SubKind:
        target = Target(NODE, "web1", "10.0.0.5", 22, kind)
        decided = Permit.decide(claims, [role], "root", target, now=START)
        made[kind] = (await authority.issue_for_target(decided, public_key, records=True)).certificate
    plain = contents(made[SubKind.AGENTLESS])
    assert plain.critical_options == (("force-command", "ls"),)
    assert plain.extensions == (("permit-agent-forwarding", None),)
    forwarded = read(authority, made[SubKind.NODE], clock).forwarded
    assert forwarded is not None
    access = forwarded.access
    assert (access.command, access.pty, access.user_rc, access.agent_forwarding) == ("ls", False, False, True)
    leaf = TrustedCluster("leaf", NODE, Relation.LEAF, START, proxy="leaf:3023")
    granted = LeafPass.decide(claims, ("dev",), leaf, login="www", node="web1", now=START)
    there = (await authority.issue_for_leaf(granted, public_key, offers=True)).certificate
    assert read(authority, there, clock).bounds == claims.bounds


async def test_a_forwarders_certificate_never_outlives_the_permit(
    authority: Authority, clock: FakeClock, public_key: str
) -> None:
    """A minute left gives a minute; none left gives no certificate."""
    short = permit(SubKind.AGENTLESS, timedelta(minutes=1))
    credential = await authority.issue_for_target(short, public_key, records=False)
    assert contents(credential.certificate).valid_before == int((START + timedelta(minutes=1)).timestamp())
    clock.advance(60)
    with pytest.raises(Denied, match="expired"):
        await authority.issue_for_target(short, public_key, records=False)


async def test_a_host_certificate_names_its_host(authority: Authority, public_key: str) -> None:
    """Names and IP addresses; wildcards, which OpenSSH would honour, are refused."""
    found = contents(await authority.issue_host(public_key, ["web1", "web1.example.org", "10.0.0.5", "::1"]))
    assert found.kind is CertKind.HOST
    assert found.principals == ("web1", "web1.example.org", "10.0.0.5", "::1")
    for wrong in (["*"], ["web?"], [], [""], ["a,b"], ["-x"]):
        with pytest.raises(Denied):
            await authority.issue_host(public_key, wrong)


@pytest.mark.parametrize("login", ["", "a,b", "a b", "-oProxyCommand=x", "root\n", "\x1b[2J", "rooté", "*"])
async def test_logins_that_mean_something_else_are_refused(
    authority: Authority, public_key: str, login: str
) -> None:
    """R14: commas, white space, control characters, leading dashes, anything but plain account names."""
    with pytest.raises(Denied):
        await authority.issue_user("alice", ["dev"], ["root", login], public_key, HOUR)


async def test_a_certificate_without_logins_is_refused(authority: Authority, public_key: str) -> None:
    """R14: an empty list means everybody to OpenSSH."""
    with pytest.raises(Denied, match="at least one name"):
        await authority.issue_user("alice", ["dev"], [], public_key, HOUR)


@pytest.mark.parametrize("ttl", [timedelta(0), -HOUR, MAX_USER_TTL + timedelta(seconds=1)])
async def test_the_life_of_a_certificate_is_bounded(authority: Authority, public_key: str, ttl: timedelta) -> None:
    """R14: refused, not shortened, so that nobody believes to have what was not given."""
    with pytest.raises(Denied, match="30 hours"):
        await authority.issue_user("alice", ["dev"], ["root"], public_key, ttl)


async def test_weak_or_nested_keys_are_refused(authority: Authority, public_key: str) -> None:
    """R15, R17: short and absurdly long RSA keys, certificates, and points that are not on the curve."""
    nested = await authority.issue_user("alice", ["dev"], ["root"], public_key, HOUR)
    weak = rsa.generate_private_key(65537, 1024).public_key()
    off_curve = PublicKey("ecdsa-sha2-nistp256", (b"nistp256", b"\x04" + b"\x01" * 64)).line()
    weak_line = weak.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    huge = PublicKey("ssh-rsa", (b"\x01\x00\x01", b"\x00" + b"\xff" * 2048)).line()
    for key in (nested, weak_line, off_curve, huge, "ssh-ed25519 AAAA", ""):
        with pytest.raises(Denied):
            await authority.issue_user("alice", ["dev"], ["root"], key, HOUR)


async def test_security_keys_keep_their_application(authority: Authority, public_key: str) -> None:
    """A FIDO key's certificate names the same application, without which its signatures do not verify."""
    key = PublicKey("sk-ssh-ed25519@openssh.com", (PublicKey.parse(public_key).fields[0], b"ssh:"))
    line = await authority.issue_user("alice", ["dev"], ["root"], key.line(), HOUR)
    assert line.startswith("sk-ssh-ed25519-cert-v01@openssh.com ")
    assert contents(line).key == key


async def test_authorities_are_made_once_and_differ(clock: FakeClock) -> None:
    """A second start signs with the same keys."""
    store = Keys()
    first = await Authority.load(store, cluster="demo", daemon_id=PROXY, clock=clock, entropy=FakeEntropy())
    again = await Authority.load(store, cluster="demo", daemon_id=PROXY, clock=clock, entropy=FakeEntropy())
    lines = [first.export(kind) for kind in ("user", "host", "openssh", "recordings")]
    assert lines == [again.export(kind) for kind in ("user", "host", "openssh", "recordings")]
    assert len({line.split()[1] for line in lines}) == 4
    trust = await first.trust()
    assert (trust.user_cas, trust.host_cas) == ((lines[0],), (lines[1],))


async def test_a_certificate_for_a_leaf_is_for_its_door_alone(
    authority: Authority, clock: FakeClock, public_key: str
) -> None:
    """It names user, roles, login and the person's address, for minutes, and a target that no node is."""
    claims = Claims(Identity("alice", ("dev",), "demo"), ("root",), START, START + HOUR, 1)
    leaf = TrustedCluster("leaf", NODE, Relation.LEAF, START, proxy="leaf:3023")
    granted = LeafPass.decide(claims, ("dev",), leaf, login="www", node="web1", now=START)
    made = await authority.issue_for_leaf(granted, public_key, offers=True, client_addr="192.0.2.7:50022")
    found = read(authority, made.certificate, clock)
    assert (found.identity, found.logins) == (claims.identity, ("www",))
    assert found.valid_before <= START + timedelta(minutes=5)
    assert found.forwarded == Forwarded(door_of(NODE), PROXY, records=True, client="192.0.2.7:50022")
    portal = LeafPass.decide(claims, ("dev",), leaf, login="", node="", now=START)
    made = await authority.issue_for_leaf(portal, public_key, offers=False)
    assert read(authority, made.certificate, clock).logins == ("portal",)


async def test_a_certificate_for_a_leaf_does_not_outlive_the_persons(
    authority: Authority, clock: FakeClock, public_key: str
) -> None:
    """A minute before the end, it lives for a minute."""
    claims = Claims(Identity("alice", ("dev",), "demo"), ("root",), START, START + timedelta(minutes=1), 1)
    leaf = TrustedCluster("leaf", NODE, Relation.LEAF, START, proxy="leaf:3023")
    granted = LeafPass.decide(claims, ("dev",), leaf, login="www", node="web1", now=START)
    made = await authority.issue_for_leaf(granted, public_key, offers=True)
    assert read(authority, made.certificate, clock).valid_before <= START + timedelta(minutes=1)


async def test_recorders_get_warrants(authority: Authority, clock: FakeClock) -> None:
    """They name the daemon and its kind, for a month, and the exported key alone proves them."""
    key = SigningKey.from_seed(bytes(32))
    [public] = read_public_keys(authority.export("recordings"))
    found = read_warrant(authority.warrant(NODE, DaemonRole.NODE, key.public), [public])
    assert found is not None
    assert (found.cluster, found.daemon, found.role, found.public) == ("demo", NODE, DaemonRole.NODE, key.public)
    assert found.covers(clock.now())
    assert not found.covers(clock.now() + WARRANT_LIFE)
