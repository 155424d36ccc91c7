"""Every way in which a proxy could try to pass somebody off as being there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import Certificate, CertKind, PublicKey
from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import REFUSALS_TOLD
from interlock.core.presence import MAX_PROOF, Proof
from interlock.core.wire import string
from interlock.domain.audit import Kind
from interlock.domain.identity import Claims, Identity, Joining
from interlock.domain.target import SubKind, Target
from interlock.ports import MemberProxy
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.presence import FRESH, NOT_BELIEVED, NOT_SHOWN, WINDOW_S, Attendance, Beacons, Seen
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.node import FakeSink
from interlock.testing.presence import Connecting, public_blob
from interlock.testing.stores import MemoryProofs

GATE = DaemonId("11111111-0000-4000-8000-000000000001")
OTHER = DaemonId("11111111-0000-4000-8000-000000000002")
SID = SessionId("11111111-1111-4111-8111-111111111111")
WEB = Target(DaemonId("11111111-0000-4000-8000-000000000003"), "web1", "10.0.0.5", 22, SubKind.NODE)
HOUR = timedelta(hours=1)
KEY = "ssh-ed25519 AAAA dial"


def certificate(key: Ed25519PrivateKey, authority: Ed25519PrivateKey, kind: CertKind, *names: str) -> bytes:
    """In wire form."""
    ca = PublicKey.from_blob(public_blob(authority))
    made = Certificate(
        b"nonce", PublicKey.from_blob(public_blob(key)), 1, kind, "alice", names, 0, 1 << 40, (), (), ca
    )
    signature = string("ssh-ed25519") + string(authority.sign(made.signed_part()))
    return made.signed_part() + string(signature)


@dataclass
class Scene:
    """Auth, a proxy, and alice, who has come to it."""

    clock: FakeClock
    events: FakeSink
    beacons: Beacons
    attendance: Attendance
    proxy: MemberProxy
    claims: Claims
    host: Ed25519PrivateKey
    authority: Ed25519PrivateKey
    connecting: Connecting

    def see(self, proof: Proof | None) -> Seen:
        """What auth says of a proof."""
        seen = self.attendance.see(self.proxy, self.claims, self.connecting.shown, proof)
        assert seen is not None
        return seen

    def refused(self, proof: Proof | None) -> str:
        """Why it refuses one, as the audit log has it."""
        with pytest.raises(Denied) as caught:
            self.see(proof)
        told = self.events.events[-1]
        assert told.kind is Kind.PRESENCE_FAILURE
        assert told.fields["user"] == "alice"
        assert told.fields["proxy_id"] == GATE
        assert told.fields["error"] == caught.value.reason
        assert caught.value.public == (NOT_SHOWN if proof is None else NOT_BELIEVED)
        return caught.value.reason

    def showing(self, *names: str) -> Connecting:
        """The same client, which was shown a host certificate for these names."""
        shown = certificate(self.host, self.authority, CertKind.HOST, *names)
        return replace(self.connecting, host_key=shown)

    def seen_as(self, user: str, *names: str) -> Seen:
        """Somebody who came with this user name, to one of these names if there are any."""
        connecting = self.showing(*names) if names else self.connecting
        return self.see(replace(connecting, user=user).prove())


@pytest.fixture
def scene() -> Scene:
    """All of it."""
    clock, events = FakeClock(), FakeSink()
    person, host, authority = (Ed25519PrivateKey.generate() for _ in range(3))
    beacons = Beacons(lambda: [b"secret"])
    attendance = Attendance(
        beacons,
        MemoryProofs(),
        required=True,
        events=events,
        factory=EventFactory(cluster="demo", clock=clock, entropy=FakeEntropy()),
        clock=clock,
    )
    proxy = MemberProxy(GATE, ("gate",), START, host_key=PublicKey.from_blob(public_blob(host)).line())
    claims = Claims(Identity("alice", (), "demo"), ("root",), START, START + HOUR, 1)
    shown = certificate(person, authority, CertKind.USER, "root")
    beacon = attendance.beacon(GATE)
    connecting = Connecting("root%web1", shown, person, beacon, public_blob(host))
    return Scene(clock, events, beacons, attendance, proxy, claims, host, authority, connecting)


def test_who_has_just_signed_is_there(scene: Scene) -> None:
    """For as long as a proof is fresh, whatever the key exchange hashed with."""
    for name in ("sha256", "sha384", "sha512"):
        assert scene.see(replace(scene.connecting, hash_name=name).prove()).user == "root%web1"
    scene.clock.advance(FRESH.total_seconds())
    assert scene.see(scene.connecting.prove()).user == "root%web1"
    assert not scene.events.events


def test_an_enrolled_key_proves_as_a_certificate_does(scene: Scene) -> None:
    """What is shown is then the key itself."""
    scene.connecting = replace(scene.connecting, shown=public_blob(scene.connecting.key), algorithm="ssh-ed25519")
    assert scene.see(scene.connecting.prove()).user == "root%web1"


Forge = Callable[[Scene], Proof | None]


def _altered(change: Callable[[Proof], Proof]) -> Forge:
    return lambda scene: change(scene.connecting.prove())


def _said(**what: str | bytes) -> Forge:
    return lambda scene: replace(scene.connecting, **what).prove()  # type: ignore[arg-type]


def _by_another_key(scene: Scene) -> Proof:
    return scene.connecting.prove(by=Ed25519PrivateKey.generate())


def _somebody_elses(scene: Scene) -> Proof:
    mallory = Ed25519PrivateKey.generate()
    shown = certificate(mallory, scene.authority, CertKind.USER, "root")
    return replace(scene.connecting, key=mallory, shown=shown).prove()


def _of_another_moment(scene: Scene) -> Proof:
    """A signature of another connection, under this one's exchange."""
    old = replace(scene.connecting, salt=bytes(32)).prove()
    return replace(scene.connecting.prove(), request=old.request, signature=old.signature)


def _stale(scene: Scene) -> Proof:
    proof = scene.connecting.prove()
    scene.clock.advance(FRESH.total_seconds() + WINDOW_S)
    return proof


def _of_the_future(scene: Scene) -> Proof:
    beacon = scene.beacons.give(GATE, scene.clock.now() + timedelta(minutes=2))
    return replace(scene.connecting, beacon=beacon).prove()


def _of_another_proxy(scene: Scene) -> Proof:
    return replace(scene.connecting, beacon=scene.attendance.beacon(OTHER)).prove()


def _at_another_server(scene: Scene) -> Proof:
    return replace(scene.connecting, host_key=public_blob(Ed25519PrivateKey.generate())).prove()


def _persons_certificate_as_host(scene: Scene) -> Proof:
    shown = certificate(scene.host, scene.authority, CertKind.USER, "root")
    return replace(scene.connecting, host_key=shown).prove()


def _swapped(name: str, old: bytes, new: bytes) -> Forge:
    def forge(scene: Scene) -> Proof:
        proof = scene.connecting.prove()
        value: bytes = getattr(proof, name)
        assert old in value
        return replace(proof, **{name: value.replace(old, new)})  # type: ignore[arg-type]

    return forge


FORGERIES: dict[str, tuple[Forge, str]] = {
    "nothing": (lambda _: None, "showed no proof of presence"),
    "signed by another key": (_by_another_key, "whose signature does not match"),
    "of somebody else": (_somebody_elses, "by another key or certificate"),
    "of another connection": (_of_another_moment, "whose signature does not match"),
    "stale": (_stale, "that is stale: 5 min old"),
    "ahead of time": (_of_the_future, "without a beacon of its own"),
    "without a beacon": (_said(beacon=b"0123456789"), "without a beacon of its own"),
    "of another proxy": (_of_another_proxy, "without a beacon of its own"),
    "at another server": (_at_another_server, "another host key than its own"),
    "a person's certificate as the host's": (_persons_certificate_as_host, "a person's certificate"),
    "another user name": (_swapped("request", b"root%web1", b"root%web2"), "whose signature does not match"),
    "another beacon": (_swapped("exchanged", b"curve", b"CURVE"), "whose signature does not match"),
    "another service": (_said(service="ssh-userauth"), "a request for b'ssh-userauth'"),
    "another method": (_said(method="hostbased"), "by b'hostbased'"),
    "only a question": (_swapped("request", b"publickey\x01", b"publickey\x00"), "by b'publickey'"),
    "no request": (_altered(lambda p: replace(p, request=b"\x05" + p.request[1:])), "no request to authenticate"),
    "a request and more": (_altered(lambda p: replace(p, request=p.request + b"\0")), "cannot be read"),
    "half a request": (_altered(lambda p: replace(p, request=p.request[:20])), "cannot be read"),
    "no exchange": (_altered(lambda p: replace(p, exchanged=b"")), "cannot be read"),
    "no KEXINIT": (_altered(lambda p: replace(p, exchanged=string(b"\x15") * 5)), "no KEXINIT"),
    "a weak hash": (_altered(lambda p: replace(p, hash_name="sha1")), "no hash of a key exchange"),
    "another hash": (_altered(lambda p: replace(p, hash_name="sha512")), "whose signature does not match"),
    "no signature": (_altered(lambda p: replace(p, signature=b"")), "cannot be read"),
    "a signature and more": (_altered(lambda p: replace(p, signature=p.signature + b"\0")), "does not match"),
    "another algorithm": (
        _altered(lambda p: replace(p, signature=p.signature.replace(b"ssh-ed25519", b"ssh-ed25518"))),
        "whose signature does not match",
    ),
    "far too much": (_altered(lambda p: replace(p, exchanged=p.exchanged + bytes(MAX_PROOF))), "too long"),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_what_is_no_proof(scene: Scene, how: str) -> None:
    """Refused, with the reason in the audit log and none of it for the person."""
    forge, reason = FORGERIES[how]
    assert reason in scene.refused(forge(scene))


def test_the_beacon_is_what_was_hashed(scene: Scene) -> None:
    """A fresh one in place of a stale one changes the session identifier, which was signed."""
    proof = scene.connecting.prove()
    scene.clock.advance(FRESH.total_seconds() + WINDOW_S)
    fresh = scene.attendance.beacon(GATE)
    forged = replace(proof, exchanged=proof.exchanged.replace(scene.connecting.beacon, fresh))
    assert "whose signature does not match" in scene.refused(forged)


@pytest.mark.parametrize(
    ("user", "names", "login", "fits"),
    [
        ("root%web1", (), "root", True),
        ("root+web1", (), "root", True),
        ("root%web1", ("gate",), "root", True),
        ("root%web1", (), "admin", False),
        ("root", (), "root", True),  # a jump, by a client that compares keys
        ("root", ("web1",), "root", True),
        ("root", (WEB.id,), "root", True),
        ("root", ("web2",), "root", False),
        ("root", ("gate", GATE), "root", False),  # it was the portal
        ("alice", (), "root", False),
        ("join%web1", (), "join", True),  # a login like any other, unless a session is named
        (f"join%{SID}", (), "join", False),
        ("", (), "", True),
        ("root%", (), "root", False),
    ],
)
def test_what_was_asked_for_is_what_is_dialled(
    scene: Scene, user: str, names: tuple[str, ...], login: str, fits: bool
) -> None:
    """Login and target of a route; of a jump the login, and the target if the client saw its name."""
    seen = scene.seen_as(user, *names)
    if fits:
        dialled(seen, login)
        return
    with pytest.raises(Denied):
        dialled(seen, login)


def dialled(seen: Seen, login: str) -> None:
    """As auth does, which has looked up the name."""
    seen.to_target(WEB, WEB.id, named=seen.name_for(login) is not None)


def test_another_target_than_the_one_that_was_named(scene: Scene) -> None:
    """Whatever else is right."""
    with pytest.raises(Denied):
        scene.seen_as("root%web2").to_target(replace(WEB, id=OTHER, hostname="web2"), WEB.id, named=True)


OWN = Joining(SID, (JoinMode.OBSERVER,))


@pytest.mark.parametrize(
    ("user", "check", "fits"),
    [
        (f"join%{SID}", lambda seen: seen.to_session(OWN), True),
        (f"join-observer%{SID}", lambda seen: seen.to_session(OWN), True),
        (f"join-peer%{SID}", lambda seen: seen.to_session(OWN), False),
        (f"join%{GATE}", lambda seen: seen.to_session(OWN), False),
        ("root%web1", lambda seen: seen.to_session(OWN), False),
        ("alice", lambda seen: seen.to_session(OWN), False),
        ("root%web1.Leaf", lambda seen: seen.to_leaf("root", "web1", "leaf"), True),
        ("root%web1.leaf", lambda seen: seen.to_leaf("root", "web2", "leaf"), False),
        ("root%web1.leaf", lambda seen: seen.to_leaf("admin", "web1", "leaf"), False),
        ("root%web1", lambda seen: seen.to_leaf("root", "web1", "leaf"), False),
        ("root", lambda seen: seen.to_leaf("root", "web1", "leaf"), True),
        ("alice", lambda seen: seen.to_leaf("root", "web1", "leaf"), False),
        ("alice", lambda seen: seen.to_portal("alice", GATE), True),
        ("root", lambda seen: seen.to_portal("alice", GATE), False),
        ("root%web1", lambda seen: seen.to_portal("alice", GATE), False),
    ],
)
def test_a_proof_is_for_what_was_asked(scene: Scene, user: str, check: Callable[[Seen], None], fits: bool) -> None:
    """Nothing else can be had for it."""
    seen = scene.seen_as(user)
    if fits:
        check(seen)
        return
    with pytest.raises(Denied):
        check(seen)
    assert scene.events.events[-1].kind is Kind.PRESENCE_FAILURE


def test_names_that_the_client_saw_count(scene: Scene) -> None:
    """A jump's end is no portal, and the end of one jump is not that of another."""
    scene.seen_as("alice", "gate", GATE).to_portal("alice", GATE)
    scene.seen_as("root", "web1.leaf").to_leaf("root", "web1", "leaf")
    with pytest.raises(Denied):
        scene.seen_as("alice", "web1").to_portal("alice", GATE)
    with pytest.raises(Denied):
        scene.seen_as("root", "web2.leaf").to_leaf("root", "web1", "leaf")


async def test_a_proof_is_good_for_one_key(scene: Scene) -> None:
    """Which may be asked for again, as the answer may have been lost."""
    proof = scene.connecting.prove()
    await scene.attendance.use(scene.see(proof), KEY)
    await scene.attendance.use(scene.see(proof), KEY)
    with pytest.raises(Denied) as caught:
        await scene.attendance.use(scene.see(proof), "another key")
    assert "that was used before" in caught.value.reason
    await scene.attendance.use(scene.see(replace(scene.connecting, salt=bytes(32)).prove()), "another key")


def test_proxies_of_before_are_let_off_if_policy_says_so(scene: Scene) -> None:
    """But not once they have shown that they can."""
    lenient = Attendance(
        scene.beacons,
        MemoryProofs(),
        required=False,
        events=scene.events,
        factory=EventFactory(cluster="demo", clock=scene.clock, entropy=FakeEntropy()),
        clock=scene.clock,
    )
    old = replace(scene.proxy, host_key="")
    assert lenient.see(old, scene.claims, scene.connecting.shown, None) is None
    with pytest.raises(Denied, match="of an older version"):
        lenient.see(scene.proxy, scene.claims, scene.connecting.shown, None)
    with pytest.raises(Denied):
        lenient.see(old, scene.claims, scene.connecting.shown, _by_another_key(scene))


def test_refusals_are_not_told_without_end(scene: Scene) -> None:
    """A hostile proxy could fill the audit log."""
    for _ in range(REFUSALS_TOLD + 5):
        with pytest.raises(Denied):
            scene.see(None)
    assert len(scene.events.events) == REFUSALS_TOLD
    assert "not reported for an hour" in str(scene.events.events[-1].fields["error"])
    scene.clock.advance(HOUR.total_seconds())
    scene.refused(None)
