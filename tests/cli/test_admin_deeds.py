"""Everything that ``ilctl`` changes, and each recording that it opens, leaves its event: who, and what.

`DEEDS`, `ELSEWHERE` and `READS` name every command that there is (tests/docs/test_names.py). Each deed is done for
real, on a data directory of its own.
"""

import asyncio
import getpass
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.adapters.age import AgeKeys
from interlock.adapters.system import SystemClock
from interlock.cli import admin_locks
from interlock.core.ids import DaemonId, DeviceId
from interlock.daemons.config import WebConfig
from interlock.daemons.local import Local, open_local
from interlock.daemons.web import keep_url
from interlock.domain.audit import Kind
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.factor import Device, Totp
from interlock.domain.request import AccessRequest
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.ports import MemberProxy, User
from interlock.services.signin.enrolment import Enrolment
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import SID, made

from .conftest import Ilctl

REQUEST = "00000000-0000-4000-8000-00000000000a"
PROXY = DaemonId("11111111-0000-4000-8000-000000000001")
KEY = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
OWN = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()

World = Callable[[Local, Path], Awaitable[object]]


async def a_recording(local: Local, tmp: Path) -> None:
    """Encrypted for `OWN`."""
    path = tmp / "arriving"
    path.write_bytes(made(content=AgeKeys([str(OWN.to_public())], FakeEntropy()).fresh()).data)
    await local.recordings.store(SID, path)


async def a_session(local: Local, _tmp: Path) -> None:
    """It is live, and its daemon does not hear that it should end."""
    now = SystemClock().now()
    daemon, target = DaemonId("proxy"), DaemonId("node")
    shown = ("alice", "root", "web1", target, daemon, "interlock", "openssh", "proxy")
    await local.trackers.put(Tracker(SID, TrackerState.RUNNING, now, now + TRACKER_TTL, *shown))


async def a_proxy(local: Local, _tmp: Path) -> None:
    """It has joined."""
    await local.proxies.add_proxy(MemberProxy(PROXY, ("gate",), START))


async def a_root(local: Local, _tmp: Path) -> None:
    """We are its leaf."""
    root = TrustedCluster("main", PROXY, Relation.ROOT, START, user_cas=(KEY,), roles={"admin": ("dev",)})
    await local.trusts.put_trust(root)


async def an_export(local: Local, _tmp: Path) -> None:
    """Of a gateway that has run."""
    await local.exports.state("siem", now=START)


async def a_web_part(local: Local, _tmp: Path) -> None:
    """Browsers know where the gateway is."""
    keep_url(local.data_dir, WebConfig(listen="127.0.0.1:443", public_url="https://gate.example.com"))


async def a_request(local: Local, _tmp: Path) -> None:
    """Somebody asks for a role."""
    now = SystemClock().now()
    await local.requests.add_request(AccessRequest(REQUEST, "bob", ("dba",), "why", now, timedelta(hours=1)))


async def a_vouched_user(local: Local, _tmp: Path) -> None:
    """Somebody of an identity provider."""
    await local.sso.adopt("https://id.example", "s", User("erin", (), None, must_change=False, created=START))


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKrA4Yz3dXnFPfyTxM3Uu7GWkpLh1bZrzmq8cCHWjAh laptop"


async def a_person_with_a_key_file(local: Local, tmp: Path) -> None:
    """Somebody, and their public key."""
    await local.users.add_user(User("bob", ("ops",), None, must_change=False, created=START))
    (tmp / "own.pub").write_text(KEY)


async def a_key(local: Local, tmp: Path) -> None:
    """A key that somebody has enrolled."""
    await a_person_with_a_key_file(local, tmp)
    await Enrolment(local.factor_store, local.clock).add("bob", KEY)


async def a_device(local: Local, _tmp: Path) -> None:
    """A second factor of somebody's."""
    await local.users.add_user(User("bob", ("ops",), None, must_change=False, created=START))
    await local.factor_store.add_device(Device(DeviceId("d1"), "bob", "phone", START, Totp(bytes(20))))


@dataclass(frozen=True)
class Deed:
    """One command. ``{locks}`` and the like in its line: the ID of what ``ilctl locks ls`` lists."""

    line: str
    kind: Kind
    says: Mapping[str, object] = field(default_factory=dict)
    after: tuple[str, ...] = ()  # commands that come before it
    world: World | None = None
    code: int = 0


ADD_ROLE = "roles add ops --logins root --labels env=prod"
ADD_NODE = "nodes add web1 --addr 10.0.0.1:22 --labels env=prod --host-key {tmp}/key.pub"
ADD_PROVIDER = "oidc add company --issuer https://id.example --client-id us --client-secret-file {tmp}/passphrase"
ADD_USER = "users add bob --roles ops"
BOT = "bots add robot --roles ops --logins root"
SEAL = "keys seal --key-file {tmp}/passphrase"
NAMED_OPS = {"name": "ops"}
DEEDS: dict[str, Deed] = {
    "users add": Deed("users add bob --roles ops", Kind.USER_CREATE, {"name": "bob", "roles": ["ops"]}),
    "users rm": Deed("users rm bob", Kind.USER_DELETE, {"name": "bob"}, after=("users add bob --roles ops",)),
    "roles add": Deed(
        ADD_ROLE, Kind.ROLE_CREATE, {**NAMED_OPS, "logins": ["root"], "node_labels": {"env": "prod"}}
    ),
    "roles set": Deed("roles set ops --option max_sessions=3", Kind.ROLE_UPDATE, NAMED_OPS, after=(ADD_ROLE,)),
    "roles rm": Deed("roles rm ops", Kind.ROLE_DELETE, NAMED_OPS, after=(ADD_ROLE,)),
    "nodes add": Deed(ADD_NODE, Kind.NODE_CREATE, {"name": "web1", "addr": "10.0.0.1:22"}),
    "nodes rm": Deed("nodes rm web1", Kind.NODE_DELETE, {"name": "web1"}, after=(ADD_NODE,)),
    "proxies rm": Deed(f"proxies rm {PROXY}", Kind.PROXY_DELETE, {"name": PROXY}, world=a_proxy),
    "tokens add": Deed("tokens add --uses 2", Kind.TOKEN_CREATE, {"uses": 2}),
    "tokens rm": Deed("tokens rm {tokens}", Kind.TOKEN_DELETE, after=("tokens add",)),
    "clusters set": Deed(
        "clusters set main --disable", Kind.CLUSTER_UPDATE, {"name": "main", "enabled": False}, world=a_root
    ),
    "clusters rm": Deed(
        "clusters rm main", Kind.CLUSTER_DELETE, {"name": "main", "relation": "root"}, world=a_root
    ),
    "auth sign": Deed(
        "auth sign --host web1 --public-key {tmp}/key.pub --out {tmp}/out", Kind.CERT_CREATE, {"cert_type": "host"}
    ),
    "locks add": Deed("locks add --user bob", Kind.LOCK_CREATE, {"target": {"user": "bob"}}),
    "locks rm": Deed(
        "locks rm {locks}", Kind.LOCK_DELETE, {"target": {"user": "bob"}}, after=("locks add --user bob",)
    ),
    "sessions terminate": Deed(
        f"sessions terminate {SID}", Kind.LOCK_CREATE, {"target": {"session": SID}}, world=a_session, code=1
    ),
    "recordings show": Deed(
        f"recordings show {SID}", Kind.RECORDING_ACCESS, {"sid": SID, "format": "coverage"}, world=a_recording
    ),
    "recordings download": Deed(
        f"recordings download {SID} --out {{tmp}}/out",
        Kind.RECORDING_ACCESS,
        {"sid": SID, "format": "ilr"},
        world=a_recording,
    ),
    "recordings export": Deed(
        f"recordings export {SID} --format text --identity {{tmp}}/own",
        Kind.RECORDING_ACCESS,
        {"sid": SID, "format": "text"},
        world=a_recording,
    ),
    "recordings rekey": Deed(
        f"recordings rekey {SID} --identity {{tmp}}/own --recipient {OTHER.to_public()}",
        Kind.RECORDING_REKEY,
        {"sid": SID, "recipients": str(OTHER.to_public())},
        world=a_recording,
    ),
    "holds add": Deed(
        "holds add --user bob --reason case", Kind.HOLD_CREATE, {"target": {"user": "bob"}, "reason": "case"}
    ),
    "holds rm": Deed(
        "holds rm {holds}", Kind.HOLD_DELETE, {"target": {"user": "bob"}}, after=("holds add --user bob",)
    ),
    "exports rm": Deed("exports rm siem", Kind.EXPORT_DELETE, {"name": "siem"}, world=an_export),
    "mode set": Deed("mode set proxy", Kind.MODE_UPDATE, {"session_recording": "proxy"}),
    "mode rule add": Deed(
        "mode rule add --labels env=prod off",
        Kind.MODE_UPDATE,
        {"session_recording": "off", "node_labels": {"env": "prod"}},
    ),
    "mode rule rm": Deed(
        "mode rule rm --labels env=prod",
        Kind.MODE_UPDATE,
        {"session_recording": "", "node_labels": {"env": "prod"}},
        after=("mode rule add --labels env=prod off",),
    ),
    "offline set": Deed("offline set 4h", Kind.OFFLINE_UPDATE, {"offline_s": 14400}),
    "users set": Deed("users set bob --roles dev", Kind.USER_UPDATE, {"name": "bob"}, after=(ADD_USER,)),
    "users reset": Deed(
        "users reset bob", Kind.RESET_TOKEN_CREATE, {"name": "bob"}, after=(ADD_USER,), world=a_web_part
    ),
    "users sign-out": Deed("users sign-out bob", Kind.SIGN_OUT, {"name": "bob"}, after=(ADD_USER,)),
    "oidc add": Deed(ADD_PROVIDER, Kind.OIDC_CREATE, {"name": "company", "issuer": "https://id.example"}),
    "oidc set": Deed(
        "oidc set company --map groups=a:ops", Kind.OIDC_UPDATE, {"name": "company"}, after=(ADD_PROVIDER,)
    ),
    "oidc rm": Deed("oidc rm company", Kind.OIDC_DELETE, {"name": "company"}, after=(ADD_PROVIDER,)),
    "oidc forget": Deed("oidc forget erin", Kind.OIDC_FORGET, {"name": "erin"}, world=a_vouched_user),
    "users mfa rm": Deed("users mfa rm bob phone", Kind.MFA_DELETE, {"name": "bob"}, world=a_device),
    "users mfa reset": Deed("users mfa reset bob", Kind.MFA_DELETE, {"name": "bob"}, world=a_device),
    "users keys add": Deed(
        "users keys add bob {tmp}/own.pub",
        Kind.KEY_ENROL,
        {"name": "bob", "key_name": "laptop"},
        world=a_person_with_a_key_file,
    ),
    "users keys rm": Deed("users keys rm bob laptop", Kind.KEY_REMOVE, {"name": "bob"}, world=a_key),
    "requests approve": Deed(
        f"requests approve {REQUEST}",
        Kind.ACCESS_REQUEST_REVIEW,
        {"id": REQUEST, "requester": "bob", "proposed_state": "APPROVED"},
        world=a_request,
    ),
    "requests deny": Deed(
        f"requests deny {REQUEST} --reason no",
        Kind.ACCESS_REQUEST_REVIEW,
        {"proposed_state": "DENIED", "review_reason": "no"},
        world=a_request,
    ),
    "requests rm": Deed(
        f"requests rm {REQUEST}", Kind.ACCESS_REQUEST_DELETE, {"requester": "bob"}, world=a_request
    ),
    "auth rotate": Deed("auth rotate --type user", Kind.ROTATION_BEGIN),
    "auth rotate audit": Deed(
        "auth rotate --type audit", Kind.ROTATION_STEP, {"authority": "audit", "phase": "standby"}
    ),
    "auth rotate recordings": Deed(
        "auth rotate --type recordings", Kind.ROTATION_STEP, {"authority": "recordings"}
    ),
    "certs revoke": Deed("certs revoke 4711", Kind.LOCK_CREATE, {"target": {"certificate": "4711"}}),
    "bots add": Deed(BOT, Kind.BOT_CREATE, {"name": "robot", "roles": ["ops"]}, after=(ADD_ROLE,)),
    "bots token": Deed("bots token robot", Kind.BOT_TOKEN, {"name": "robot"}, after=(ADD_ROLE, BOT)),
    "bots lock": Deed("bots lock robot", Kind.LOCK_CREATE, {"target": {"user": "robot"}}, after=(ADD_ROLE, BOT)),
    "bots rm": Deed("bots rm robot", Kind.BOT_DELETE, {"name": "robot"}, after=(ADD_ROLE, BOT)),
    "keys seal": Deed(SEAL, Kind.KEYS_UPDATE, {"action": "seal"}),
    "keys rewrap": Deed("keys rewrap --key-file {tmp}/new", Kind.KEYS_UPDATE, {"action": "rewrap"}, after=(SEAL,)),
    "keys unseal": Deed("keys unseal", Kind.KEYS_UPDATE, {"action": "unseal"}, after=(SEAL,)),
    "backup": Deed("backup {tmp}/backup", Kind.BACKUP_CREATE, {"recordings": 0}),
}

ELSEWHERE = {
    "clusters trust": ("tests/interop/test_leaf.py", "trusted_cluster.create"),  # takes another cluster
    "restore": ("tests/cli/test_admin_backup.py", "cluster.restore"),  # makes the data directory
}
"""Commands whose event another test looks for, and where."""

READS = {
    "doctor",
    "users ls",
    "users mfa ls",
    "users keys ls",
    "oidc ls",
    "oidc test",
    "roles ls",
    "nodes ls",
    "proxies ls",
    "tokens ls",
    "clusters ls",
    "access explain",
    "auth export",  # public keys
    "auth status",
    "bots ls",
    "certs ls",
    "certs revoked",
    "locks ls",
    "events ls",
    "events export",
    "events verify",
    "sessions ls",
    "recordings ls",
    "recordings verify",  # reads all of them and shows none
    "holds ls",
    "keys status",
    "exports ls",
    "mode show",
    "mode rule ls",
    "offline show",
    "requests ls",
}
"""Commands that change nothing and show nobody's session."""


def test_deeds_that_are_tested_elsewhere_are() -> None:
    """By name."""
    root = Path(__file__).parents[2]
    for path, event in ELSEWHERE.values():
        assert f'"{event}"' in (root / path).read_text(), (path, event)


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.slow) if each.startswith("keys ") else each for each in DEEDS],  # argon2
)
def test_a_deed_leaves_its_event(ilctl: Ilctl, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, with its code, the account that did it, and what it is about."""
    monkeypatch.setattr(admin_locks, "TERMINATION_WAIT_S", 0.1)
    deed = DEEDS[name]
    files(tmp_path)
    if deed.world is not None:
        prepare(tmp_path, deed.world)
    for line in deed.after:
        assert ilctl(*words(ilctl, tmp_path, line)).code == 0
    before = len(events(ilctl))
    done = ilctl(*words(ilctl, tmp_path, deed.line))
    assert done.code == deed.code, done.err
    [told] = events(ilctl)[before:]
    assert (told["event"], told["code"]) == (deed.kind.event, deed.kind.code)
    assert (told["user"], told["method"]) == (getpass.getuser(), "ilctl")
    assert {**told, **deed.says} == told


@pytest.mark.parametrize("name", [name for name, deed in DEEDS.items() if deed.after or deed.world])
def test_a_deed_that_fails_leaves_none(ilctl: Ilctl, tmp_path: Path, name: str) -> None:
    """What it is about does not exist: nothing was done, and the log does not say so."""
    files(tmp_path)
    failed = ilctl(*shlex.split(DEEDS[name].line.replace("{tmp}", str(tmp_path))))
    assert failed.code != 0
    assert events(ilctl) == []


def files(tmp: Path) -> None:
    """What commands read."""
    secret = "correct horse battery staple"
    for name, text in {"key.pub": KEY, "own": OWN, "passphrase": secret, "new": f"{secret} 2"}.items():
        (tmp / name).write_text(f"{text}\n")
        (tmp / name).chmod(0o600)


def prepare(tmp: Path, world: World) -> None:
    """Put something into the data directory."""

    async def run() -> None:
        async with open_local(tmp / "data") as local:
            await world(local, tmp)

    asyncio.run(run())


def events(ilctl: Ilctl) -> list[dict[str, Any]]:
    """The audit log."""
    found: list[dict[str, Any]] = ilctl("events", "ls", "--format", "json").json()
    return found


def words(ilctl: Ilctl, tmp: Path, line: str) -> list[str]:
    """A command line, with what it names put in."""
    for listed in ("locks", "tokens", "holds"):
        if f"{{{listed}}}" in line:
            [row] = ilctl(listed, "ls", "--format", "json").json()
            line = line.replace(f"{{{listed}}}", row["id"])
    return shlex.split(line.replace("{tmp}", str(tmp)))
