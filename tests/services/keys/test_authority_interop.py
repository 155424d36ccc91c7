"""A real sshd admits what our authorities sign, and only for what they signed it."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.ids import DaemonId
from interlock.domain.identity import Claims, Identity
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.ports import AuthorityKey
from interlock.services.keys.authority import Authority
from interlock.testing.openssh import Key, SshClient, Sshd, current_login, make_key
from interlock.testing.procs import Completed

pytestmark = pytest.mark.interop

CLOCK = SystemClock()
KINDS = ["ed25519", "ecdsa", "rsa"]


class Keys:
    """`ports.AuthorityStore` that keeps nothing."""

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        return key

    async def authority(self, kind: str) -> AuthorityKey:
        raise KeyError(kind)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Fresh authorities."""
    load = Authority.load(Keys(), cluster="demo", daemon_id=DaemonId("p"), clock=CLOCK, entropy=SystemEntropy())
    return asyncio.run(load)


@pytest.fixture(scope="module")
def sshd(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A plain sshd that trusts our OpenSSH authority and presents a host certificate of ours."""
    directory = tmp_path_factory.mktemp("sshd")
    key = make_key(directory / "host_key")
    key.certificate.write_text(asyncio.run(authority.issue_host(key.public, ["127.0.0.1"])))
    certificate = [f"HostCertificate {key.certificate}"]
    with Sshd(directory, trusted_cas=[authority.export("openssh")], options=certificate) as running:
        yield running


def connect(authority: Authority, sshd: Sshd, key: Key, directory: Path) -> Completed:
    """Log in with the key's certificate, trusting hosts by our host authority alone."""
    known = [f"@cert-authority * {authority.export('host')}"]
    client = SshClient(directory, keys=[key], known_hosts=known)
    return client.run("-p", str(sshd.port), f"{sshd.login}@{sshd.host}", "echo in")


def certify(authority: Authority, key: Key, login: str, sub_kind: SubKind = SubKind.AGENTLESS) -> None:
    """What a forwarder gets."""
    target = Target(DaemonId("t"), "plain1", "127.0.0.1", 22, sub_kind, {"env": "test"})
    now = CLOCK.now()
    claims = Claims(Identity("alice", ("dev",), "demo"), (login,), now, now + timedelta(hours=1), 1)
    permit = Permit.decide(claims, [Role("dev", (login,), {"*": "*"})], login, target, now=now)
    credential = asyncio.run(authority.issue_for_target(permit, key.public, records=True))
    key.certificate.write_text(credential.certificate + "\n")


@pytest.mark.parametrize("kind", KINDS)
def test_sshd_admits_a_forwarders_certificate(authority: Authority, sshd: Sshd, tmp_path: Path, kind: str) -> None:
    """For every type of key, and the client accepts the host certificate without ever having seen the host."""
    key = make_key(tmp_path / "key", kind=kind)
    certify(authority, key, current_login())
    done = connect(authority, sshd, key, tmp_path / "client")
    assert (done.rc, done.stdout) == (0, "in\n"), done.stderr


def test_sshd_refuses_it_for_another_login_and_from_another_authority(
    authority: Authority, sshd: Sshd, tmp_path: Path
) -> None:
    """One principal is one login, and certificates for our own nodes open no plain sshd."""
    for name, login, sub_kind in (
        ("other", "nobody-else", SubKind.AGENTLESS),
        ("node", current_login(), SubKind.NODE),
    ):
        key = make_key(tmp_path / name)
        certify(authority, key, login, sub_kind)
        done = connect(authority, sshd, key, tmp_path / f"client-{name}")
        assert done.rc == 255
        assert "Permission denied" in done.stderr
