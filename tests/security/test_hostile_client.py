"""A client that breaks the protocol, before and after it is known: others are served, nothing of it is left."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from interlock.adapters.ssh import forwarder, leg
from interlock.adapters.ssh.strangers import Strangers
from interlock.core import wire
from interlock.core.limits import FORWARD_REFUSALS_TOLD, REFUSALS_TOLD
from interlock.core.messages import Open, channel_message, channel_request, global_request
from interlock.core.wire import string, uint32
from interlock.testing.hostile import Credential, Gone, HostKey, RawSsh, connect_raw, raw_server
from interlock.testing.offences import NUMBER, confirm, data, open_session, start
from interlock.testing.plain_target import plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.script import tcp
from interlock.testing.ssh_pair import LOGIN, Gateway

pytestmark = pytest.mark.slow

ROUTE = f"{LOGIN}%plain1"


@pytest.fixture
async def served(world: Gateway) -> AsyncIterator[Gateway]:
    """A gateway with a target; at the end another client is served as ever, and nothing of the first is left."""
    async with plain_target(world):
        yield world
        async with await world.client("plain1") as other:
            assert (await other.run("exit 7", check=False)).exit_status == 7


# --- before it is known --------------------------------------------------------------------------

EARLY: dict[str, bytes] = {
    "a channel open": open_session(),
    "channel data": data(0, b"x"),
    "a global request": global_request(b"keepalive@openssh.com", want_reply=True),
    "a reply": bytes([wire.REQUEST_SUCCESS]),
    "USERAUTH_SUCCESS": bytes([52]),
    "USERAUTH_FAILURE": bytes([51]) + string("publickey") + bytes(1),
    "an information response": bytes([61]) + uint32(0),
    "NEWKEYS": bytes([wire.NEWKEYS]),
}


@pytest.mark.parametrize("when", ["in place of KEXINIT", "after the keys", "after the service"])
@pytest.mark.parametrize("name", EARLY)
async def test_r11_message_out_of_its_time(served: Gateway, name: str, when: str) -> None:
    """R11: before authentication only its own messages count; anything else ends the connection."""
    client = await connect_raw(LOOPBACK, served.port)
    async with client:
        if when == "in place of KEXINIT":
            await client.exchange_versions()
        else:
            await client.handshake()
        if when == "after the service":
            await client.request_service()
        client.send(EARLY[name])
        client.follows = False
        assert await client.wait_gone()
    assert not await served.events("session.start")


@pytest.mark.parametrize(
    "content", [b"\xff" * 64, bytes(64), uint32(36) + bytes(60)], ids=["4GiB", "0", "bad MAC"]
)
async def test_r17_malformed_packet_before_login(served: Gateway, content: bytes) -> None:
    """A packet that is none ends the connection, whatever it says of its length."""
    async with await connect_raw(LOOPBACK, served.port) as client:
        await client.handshake()
        client.write(content)
        await client.wait_gone()


async def test_r17_half_open_connections_keep_nobody_out(served: Gateway) -> None:
    """R17: three hundred clients that say nothing cost no other client its session."""
    silent = [await connect_raw(LOOPBACK, served.port) for _ in range(300)]
    async with await served.client("plain1") as other:
        assert (await other.run("exit 5", check=False)).exit_status == 5
    for client in silent:
        await client.close()


async def test_r17_more_connections_than_may_wait(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest of the busiest source is closed; who comes gets in."""
    monkeypatch.setattr(served.proxy, "_strangers", Strangers(3))
    waiting = [await connect_raw(LOOPBACK, served.port) for _ in range(4)]
    async with asyncio.timeout(5):
        assert await waiting[0].wait_gone() == ""
    for client in waiting[1:]:
        await client.exchange_versions()
    async with await served.client("plain1") as other:
        assert (await other.run("exit 5", check=False)).exit_status == 5
    for client in waiting:
        await client.close()
    await served.wait_clean()


async def test_r12_somebody_elses_certificate(served: Gateway) -> None:
    """R12: to ask about a certificate proves nothing; who signs with another key is not let in."""
    victim = await served.credential("victim")
    own = await served.credential("mallory")
    async with await connect_raw(LOOPBACK, served.port) as client:
        await client.handshake()
        await client.request_service()
        client.offer(ROUTE, victim)
        await client.expect(60)
        client.sign(ROUTE, victim, by=own.key)
        await client.expect(51)
        client.sign(ROUTE, own)
        await client.expect(52)
        client.send(open_session())
        await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
        client.send(channel_request(0, b"exec", data=string("exit 0")))
        await client.expect(wire.CHANNEL_CLOSE)
    assert {each["user"] for each in await served.events("session.start")} == {"mallory"}


async def test_a_plain_key_and_a_foreign_certificate(served: Gateway) -> None:
    """A key without certificate, and one that another authority signed, get nobody in; the reason is audited."""
    key = Ed25519PrivateKey.generate()
    own = await served.credential()
    plain = Credential("ssh-ed25519", own.blob[-51:], key)
    forged = Credential(own.algorithm, own.blob[:-5] + bytes(5), own.key)
    for credential in (plain, forged):
        async with await connect_raw(LOOPBACK, served.port) as client:
            await client.handshake()
            await client.request_service()
            client.sign(ROUTE, credential)
            await client.expect(51)
    await served.wait_clean()
    assert len(await served.events("auth")) == 2


async def test_a_bare_key_before_its_certificate_is_no_news(served: Gateway) -> None:
    """ssh offers them in this order: a login that succeeds shows no banner and leaves no auth event."""
    own = await served.credential()
    bare = Credential(
        "ssh-ed25519", string("ssh-ed25519") + string(own.key.public_key().public_bytes_raw()), own.key
    )
    async with await connect_raw(LOOPBACK, served.port) as client:
        await client.handshake()
        await client.request_service()
        client.offer(ROUTE, bare)
        assert (await client.expect(51))[0] == 51
        client.sign(ROUTE, own)
        await client.expect(52)
        assert not [line for line in client.log.lines if "BANNER" in line]
    await served.wait_clean()
    assert await served.events("auth") == []


async def test_expired_certificate_is_explained(served: Gateway) -> None:
    """The banner says what to do, the audit log why."""
    credential = await served.credential(ttl=timedelta(microseconds=1))
    async with await connect_raw(LOOPBACK, served.port) as client:
        await client.handshake()
        await client.request_service()
        client.sign(ROUTE, credential)
        await client.expect(51)
    await served.wait_clean()
    assert len(await served.events("auth")) == 1


# --- when it is known ----------------------------------------------------------------------------

OFFENCES: dict[str, Callable[[int], bytes]] = {
    "data on an unknown channel": lambda _: data(99, b"x"),
    "a confirmation": lambda _: bytes([91]) + uint32(0) * 4,
    "a refusal": lambda _: bytes([92]) + uint32(0) * 2 + string("") * 2,
    "a reply to nothing": lambda _: bytes([wire.REQUEST_FAILURE]),
    "a channel reply to nothing": lambda n: channel_message(wire.CHANNEL_SUCCESS, n),
    "the same channel again": lambda _: open_session(),
    "two closes": lambda n: channel_message(wire.CHANNEL_CLOSE, n),
    "a cut request": lambda n: bytes([wire.CHANNEL_REQUEST]) + uint32(n) + b"\0\0",
    "NEWKEYS": lambda _: bytes([wire.NEWKEYS]),
    "an empty KEXINIT": lambda _: bytes([wire.KEXINIT]),
    "a key exchange message": lambda _: bytes([30]) + string(bytes(32)),
}


@pytest.mark.parametrize("name", OFFENCES)
async def test_r11_offence_during_the_session(served: Gateway, name: str) -> None:
    """The client is told what was wrong; the session ends once, with the reason."""
    client, number = await start(served)
    async with client:
        if name == "two closes":
            client.send(channel_message(wire.CHANNEL_CLOSE, number))
        client.send(OFFENCES[name](number))
        assert (await client.wait_gone()).startswith("protocol error: ")
    await served.wait_clean()
    assert len(await served.events("session.end")) == 1


async def test_wrong_guess_in_a_key_exchange(served: Gateway) -> None:
    """RFC 4253 §7: the message of a method that was guessed wrong is ignored, first and later."""
    client = await connect_raw(LOOPBACK, served.port)
    client.guesses = True
    async with client:
        await client.log_in(ROUTE, await served.credential())
        client.send(open_session())
        await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
        await client.exchange_keys()
        client.send(channel_request(0, b"exec", want_reply=True, data=string("exit 3")))
        await client.expect(wire.CHANNEL_SUCCESS)


async def test_bad_mac_during_the_session(served: Gateway) -> None:
    """One flipped bit ends the connection."""
    client, number = await start(served)
    async with client:
        packet = bytearray(client.packet(data(number, b"x" * 100)))
        packet[40] ^= 4
        client.write(bytes(packet))
        assert "integrity check" in await client.wait_gone()


async def test_the_log_names_the_session_in_which_something_happened(served: Gateway) -> None:
    """A refusal and a violation have the ID under which the audit log tells of the rest."""
    with capture_logs() as lines:
        client, number = await start(served)
        async with client:
            client.send(channel_request(number, b"shell", want_reply=True))
            await client.expect(wire.CHANNEL_FAILURE)
            packet = bytearray(client.packet(data(number, b"x" * 100)))
            packet[40] ^= 4
            client.write(bytes(packet))
            await client.wait_gone()
        [began] = await served.events("session.start")
    told = {line["event"]: line for line in lines}
    assert told["forwarder.refused"]["sid"] == began["sid"]
    assert told["forwarder.protocol_error"]["sids"] == [began["sid"]]


async def test_r19_second_start_and_late_settings_are_refused(served: Gateway) -> None:
    """R19: one command per channel, nothing changes it afterwards, and the command goes on."""
    client, number = await start(served)
    async with client:
        late = [
            channel_request(number, b"shell", want_reply=True),
            channel_request(number, b"exec", want_reply=True, data=string("exit 3")),
            channel_request(number, b"subsystem", want_reply=True, data=string("sftp")),
            channel_request(number, b"env", want_reply=True, data=string("A") + string("b")),
            channel_request(number, b"pty-req", want_reply=True, data=string("x") + uint32(1) * 4 + string("")),
        ]
        for request in late:
            client.send(request)
        for _ in late:
            assert (await client.expect(wire.CHANNEL_SUCCESS, wire.CHANNEL_FAILURE))[0] == wire.CHANNEL_FAILURE
        client.send(data(number, b"still here"))
        assert b"still here" in await client.expect(wire.CHANNEL_DATA)


async def test_r19_environment_flood(served: Gateway) -> None:
    """R19: the environment has a bounded number of variables; the rest is refused, not passed on."""
    async with await served.raw_client("plain1") as client:
        client.send(open_session())
        await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
        for n in range(200):
            client.send(channel_request(0, b"env", want_reply=True, data=string(f"V{n}") + string("x")))
        refused = 0
        for _ in range(200):
            refused += (await client.expect(wire.CHANNEL_SUCCESS, wire.CHANNEL_FAILURE))[0] == wire.CHANNEL_FAILURE
        assert refused >= 200 - 128


@pytest.mark.slow  # the kernel's buffers must be full first
async def test_r18_requests_without_reading_the_replies(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a client that does not read is bounded: it is cut off in the end, and once."""
    monkeypatch.setattr(leg, "MAX_UNSENT", 128 * 1024)
    monkeypatch.setattr(forwarder, "CLOSE_GRACE_S", 0.1)
    client, number = await start(served)
    async with client:
        client.stop_reading()
        request = channel_request(number, b"no@such", want_reply=True)
        with contextlib.suppress(ConnectionError):
            while not client.writer.transport.is_closing():
                client.write(b"".join(client.packet(request) for _ in range(1000)))
                await client.writer.drain()
    await served.wait_clean()
    reasons = [str(each["reason"]) for each in await served.events("client.disconnect")]
    assert len(reasons) == 1
    assert "the remote does not read" in reasons[0]


async def test_r18_too_many_requests_that_the_target_must_answer(served: Gateway) -> None:
    """What may be unanswered is bounded."""
    client, number = await start(served)
    async with client:
        for _ in range(2000):
            client.write(client.packet(channel_request(number, b"keepalive@openssh.com", want_reply=True)))
        with contextlib.suppress(Gone):
            for _ in range(2000):
                await client.expect(wire.CHANNEL_SUCCESS, wire.CHANNEL_FAILURE)


@pytest.mark.parametrize("kind", [b"direct-tcpip", b"no-such-type"])
async def test_r18_flood_of_refused_opens(served: Gateway, kind: bytes) -> None:
    """Each is answered; the audit log has a bounded number of events, and says that there were more."""
    client, _ = await start(served)
    async with client:
        for n in range(3000):
            extra = tcp() if kind == b"direct-tcpip" else b""
            client.write(client.packet(open_session(n + 1, kind) + extra))
        for _ in range(3000):
            await client.expect(wire.CHANNEL_OPEN_FAILURE)
    told, reason = ("port", "error") if kind == b"direct-tcpip" else ("session.rejected", "reason")
    refused = await served.events(told)
    assert len(refused) == REFUSALS_TOLD == FORWARD_REFUSALS_TOLD
    assert "not reported" in str(refused[-1][reason])


async def test_refused_client_that_stays(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has no target may read its refusal; then the connection ends."""
    monkeypatch.setattr(forwarder, "LINGER_S", 0.2)
    async with await world.raw_client("nosuch") as client:
        for n in range(5):
            client.send(open_session(n))
            await client.expect(wire.CHANNEL_OPEN_FAILURE)
        await client.wait_gone()
    await world.wait_clean(within=2)


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_r18_huge_window_and_no_reading(world: Gateway) -> None:
    """R18: what the target sends to a client that does not read waits at the target, not here."""
    sent = 0

    async def pour(peer: RawSsh) -> None:
        nonlocal sent
        await peer.admit()
        opened = Open.decode(await peer.expect(wire.CHANNEL_OPEN))
        peer.send(confirm(opened))
        await peer.expect(wire.CHANNEL_REQUEST)
        peer.writer.transport.set_write_buffer_limits(high=65536)
        while sent < 200_000_000 and not peer.writer.transport.is_closing():
            peer.write(peer.packet(data(opened.sender, bytes(32_000))))
            await peer.flush()
            sent += 32_000

    key = HostKey()
    async with raw_server(pour, key) as port:
        world.add_target("plain1", port, host_keys=[key.line])
        client = await world.raw_client("plain1")
        async with client:
            wide = string("session") + uint32(0) + uint32(1 << 30) + uint32(32768)
            client.send(bytes([wire.CHANNEL_OPEN]) + wide)
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            client.stop_reading()
            client.send(channel_request(NUMBER, b"exec", data=string("pour")))
            before, last = resident(), -1
            while sent != last or not sent:
                last = sent
                await asyncio.sleep(0.3)
            assert sent < 100_000_000
            assert resident() - before < 8_000_000
