"""R12 to R15: who signs is who gets in, and a certificate that is not right in everything is nothing.

The certificates here are signed by the cluster's own authority, as if it had been tricked: whatever it would never
issue is refused all the same, at the gateway and at a node.
"""

import contextlib
import random
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core import wire
from interlock.core.certificate import Certificate, CertKind, PublicKey, SignedCertificate
from interlock.core.errors import Denied
from interlock.core.wire import string, uint32
from interlock.services.keys.authority import MAX_USER_TTL, Authority
from interlock.testing.hostile import USERAUTH_FAILURE, USERAUTH_SUCCESS, Credential, Gone, RawSsh, connect_raw
from interlock.testing.node import node_world
from interlock.testing.offences import open_session
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway, gateway, public_blob

PROVEN, REFUSED, ASK_AGAIN = USERAUTH_SUCCESS, USERAUTH_FAILURE, 60
ALGORITHM = "ssh-ed25519-cert-v01@openssh.com"


@dataclass(frozen=True)
class Door:
    """A server that certificates open, the name under which one comes, and the authority behind it."""

    port: int
    name: str
    login: str
    authority: Authority

    async def genuine(self, user: str = USER) -> Credential:
        """What the authority issues."""
        key = Ed25519PrivateKey.generate()
        line = await self.authority.issue_user(user, ["access"], [self.login], public(key), timedelta(hours=1))
        return Credential(ALGORITHM, public_blob(line), key)

    async def changed(self, *, by: str = "user", **change: Any) -> Credential:
        """The same with other contents, signed by one of the authorities."""
        own = await self.genuine()
        contents = SignedCertificate.parse(own.blob).certificate
        signer = self.authority._signers[by]
        made = replace(contents, **{"authority": signer.public, **change})
        return Credential(ALGORITHM, b64decode(signer.sign(made).split()[1]), own.key)

    async def answers(self, *attempts: Callable[[RawSsh], None]) -> list[int]:
        """What comes of attempts on one connection, until one succeeds or it ends."""
        answers: list[int] = []
        async with await connect_raw(LOOPBACK, self.port) as client:
            await client.handshake()
            await client.request_service()
            for attempt in attempts:
                attempt(client)
            with contextlib.suppress(Gone):
                while len(answers) < len(attempts):
                    answers.append((await client.expect(PROVEN, REFUSED, ASK_AGAIN))[0])
        return answers

    async def opens(self, credential: Credential) -> bool:
        """Whether it lets anybody in."""
        return await self.answers(lambda client: client.sign(self.name, credential)) == [PROVEN]


def public(key: Ed25519PrivateKey) -> str:
    """One line."""
    return PublicKey("ssh-ed25519", (key.public_key().public_bytes_raw(),)).line("")


@pytest.fixture(params=["gateway", "portal", "node"])
async def door(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Door]:
    """Each server that certificates open."""
    if request.param == "node":
        async with node_world(tmp_path) as node:
            yield Door(node.port, node.login, node.login, node.authority)
        return
    async with gateway(tmp_path) as world:
        name = USER if request.param == "portal" else f"{LOGIN}%nosuch"
        yield Door(world.port, name, LOGIN, world.authority)
        await world.wait_clean()


async def test_r12_a_question_about_a_key_proves_nothing(door: Door) -> None:
    """Neither does another key's signature, or one over another connection's ID, or over another user name."""
    own, other = await door.genuine(), Ed25519PrivateKey.generate()

    def replayed(client: RawSsh) -> None:
        session, client.session_id = client.session_id, bytes(32)
        client.sign(door.name, own)
        client.session_id = session

    attempts: list[Callable[[RawSsh], None]] = [
        lambda client: client.offer(door.name, own),
        lambda client: client.sign(door.name, own, by=other),
        replayed,
        lambda client: client.offer(door.name, own),
    ]
    assert await door.answers(*attempts) == [ASK_AGAIN, REFUSED, REFUSED, ASK_AGAIN]
    assert await door.opens(own)


async def test_r12_r13_identity_is_the_signed_requests_own(world: Gateway) -> None:
    """A victim's certificate asked about before, behind and between: whoever signed is who came."""
    victim, own = await world.credential("victim"), await world.credential("mallory")
    name = f"{LOGIN}%nosuch"
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        client.offer(name, victim)
        client.sign(name, victim, by=own.key)
        client.sign(name, own)
        client.offer(name, victim)
        client.sign(name, victim, by=own.key)
        await client.expect(USERAUTH_SUCCESS)
        client.send(open_session())
        await client.expect(wire.CHANNEL_OPEN_FAILURE)
    await world.wait_clean()
    assert {each["user"] for each in await world.events("session.rejected")} == {"mallory"}


async def test_r13_a_restriction_is_that_of_the_key_that_signed(world: Gateway) -> None:
    """One that holds elsewhere only is not lifted by another request beside it."""
    door = Door(world.port, USER, LOGIN, world.authority)
    elsewhere = (("source-address", "192.0.2.0/24"),)
    bound, free = await door.changed(critical_options=elsewhere), await door.genuine("mallory")
    attempts: list[Callable[[RawSsh], None]] = [
        lambda client: client.offer(USER, free),
        lambda client: client.sign(USER, bound),
        lambda client: client.offer(USER, free),
        lambda client: client.sign(USER, bound),
    ]
    assert PROVEN not in await door.answers(*attempts)


R14: dict[str, dict[str, Any]] = {
    "no principal": {"principals": ()},
    "a comma": {"principals": ("root,daemon",)},
    "an empty one": {"principals": ("",)},
    "a space": {"principals": ("root ",)},
    "a line break": {"principals": ("root\n",)},
    "a NUL": {"principals": ("root\0",)},
    "a dash": {"principals": ("-oProxyCommand=x",)},
    "not in NFC": {"principals": ("u\u0308ser",)},
    "anybody": {"principals": ("*",)},
    "one bad of two": {"principals": ("root", "a,b")},
    "a forced command that is none": {"critical_options": (("force-command", ""),)},
    "a forced command with a NUL": {"critical_options": (("force-command", "true\0false"),)},
    "a key that verifies nobody": {"critical_options": (("verify-required", None),)},
    "an option that nobody knows": {"critical_options": (("expiry@example.com", "now"),)},
    "a critical option without a value": {"critical_options": (("source-address", None),)},
    "networks that cannot be read": {"critical_options": (("source-address", "10.0.0.0/99"),)},
    "elsewhere only": {"critical_options": (("source-address", "192.0.2.0/24"),)},
    "over": {"valid_before": int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())},
    "not yet": {"valid_after": int(datetime(2200, 1, 1, tzinfo=UTC).timestamp())},
    "no identity": {"extensions": (("permit-pty", None),)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", R14)
async def test_r14_what_our_authority_would_never_say_is_refused(door: Door, name: str) -> None:
    """Though it signed it."""
    assert not await door.opens(await door.changed(**R14[name]))


async def test_r14_a_life_is_bounded(world: Gateway) -> None:
    """Refused, not shortened, so that nobody believes to have what was not given."""
    with pytest.raises(Denied, match="at most"):
        await world.authority.issue_user(
            USER, ["access"], [LOGIN], public(Ed25519PrivateKey.generate()), MAX_USER_TTL + timedelta(seconds=1)
        )


R15: dict[str, dict[str, object]] = {
    "a host's": {"kind": CertKind.HOST},
    "by the host authority": {"by": "host"},
    "by the authority for plain servers": {"by": "openssh"},
    "by the authority for recordings": {"by": "recordings"},
    "names another authority": {"authority": PublicKey("ssh-ed25519", (bytes(32),))},
}


@pytest.mark.parametrize("name", R15)
async def test_r15_a_certificate_of_another_kind_or_authority_is_refused(door: Door, name: str) -> None:
    """Each authority vouches for one thing."""
    change: dict[str, Any] = R15[name]
    assert not await door.opens(await door.changed(**change))


def nested(contents: Certificate, inner: bytes) -> bytes:
    """A certificate's fields with a certificate in the place of its authority's key."""
    return contents.signed_part().replace(string(contents.authority.blob), string(inner))


async def test_r15_a_certificate_signs_none(door: Door) -> None:
    """Neither does a person's own certificate vouch for another, as its key or in the place of the authority's."""
    own = await door.genuine()
    contents = SignedCertificate.parse(own.blob).certificate
    plain = PublicKey("ssh-ed25519", (own.key.public_key().public_bytes_raw(),))
    by_own_key = replace(contents, authority=plain)
    line = by_own_key.line(own.key.sign(by_own_key.signed_part()))
    assert not await door.opens(Credential(ALGORITHM, b64decode(line.split()[1]), own.key))
    head = nested(contents, own.blob)
    blob = head + string(string("ssh-ed25519") + string(own.key.sign(head)))
    assert not await door.opens(Credential(ALGORITHM, blob, own.key))
    assert not await door.opens(Credential(ALGORITHM, string(ALGORITHM) + own.blob, own.key))


async def test_r15_every_bit_of_a_certificate_counts(door: Door) -> None:
    """Twenty of them, drawn: none is passed over, and none ends more than its own connection."""
    own = await door.genuine()
    draw = random.Random(15)  # a seed, so that a failure can be repeated
    for at in draw.sample(range(len(string(ALGORITHM)), len(own.blob)), 12):
        flipped = bytearray(own.blob)
        flipped[at] ^= 1 << draw.randrange(8)
        assert not await door.opens(replace(own, blob=bytes(flipped))), at
    for cut in (0, 4, 40, len(own.blob) - 1):
        assert not await door.opens(replace(own, blob=own.blob[:cut]))
    assert not await door.opens(replace(own, blob=own.blob + uint32(0)))
    assert await door.opens(own)
