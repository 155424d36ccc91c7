"""The user's side of the portal, against gateways that do not keep to the protocol."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh.portal_client import (
    Gateway,
    HostIdentity,
    PortalClient,
    check_certificate,
    connect,
    fingerprint,
    new_key_pair,
)
from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, RemoteProtocolError, Rule, SignInFailed, TargetError
from interlock.testing.ports import free_port

CA = asyncssh.generate_private_key("ssh-ed25519")


@dataclass
class TrustAll:
    """Trusts whatever it is shown."""

    host_ca: tuple[str, ...] = ()

    def judge(self, shown: HostIdentity) -> bool:
        return bool(shown.line)


Handler = Callable[[Any], Awaitable[None]]


class Server(asyncssh.SSHServer):
    """Lets alice in by her certificate, or says why not."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        if username != "alice":
            self._conn.send_auth_banner("your certificate belongs to alice\r\n")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "alice" and key.public_data == CA.public_data


@asynccontextmanager
async def connected(handler: Handler, user: str = "alice") -> AsyncIterator[PortalClient]:
    """A client that came with a certificate to a server that handles its channel like this."""
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Server(handler),
        process_factory=handler,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        encoding=None,
    )
    key = new_key_pair("alice")
    certificate = CA.generate_user_certificate(
        asyncssh.import_public_key(key.public), "alice", principals=["alice"], valid_before="+1h"
    )
    identity = (key.private, certificate.export_certificate().decode())
    async with acceptor:
        gateway = Gateway("127.0.0.1", acceptor.get_port(), user)
        async with connect(gateway, TrustAll(), identity=identity) as client:
            yield client


def sends(*data: bytes) -> Handler:
    """A gateway that answers the first request with these bytes and hangs up."""

    async def handle(process: Any) -> None:
        await process.stdin.readline()
        for piece in data:
            process.stdout.write(piece)
        process.exit(0)

    return handle


async def test_a_certificate_opens_the_portal() -> None:
    """The key never leaves; the request arrives as the client sent it."""
    asked: list[wire.AnyRequest] = []

    async def handle(process: Any) -> None:
        asked.append(wire.parse_request((await process.stdin.readline())[:-1]))
        process.stdout.write(wire.encode(wire.NodeList([])))
        process.exit(0)

    async with connected(handle) as client:
        assert await client.ask(wire.Nodes(), wire.NodeList) == wire.NodeList([])
    assert asked == [wire.Nodes()]


async def test_a_refused_certificate_is_told_in_the_gateways_words() -> None:
    """The banner says more than "permission denied"."""
    with pytest.raises(SignInFailed, match="belongs to alice"):
        async with connected(sends(), user="mallory"):
            pytest.fail("connected")


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (b"hello\n", Rule.MALFORMED_MESSAGE),
        (wire.encode(wire.SessionList([])), Rule.UNEXPECTED_MESSAGE),
        (wire.encode(wire.Stream("x")), Rule.UNEXPECTED_MESSAGE),
    ],
)
async def test_an_answer_that_is_none_is_the_gateways_offence(answer: bytes, rule: Rule) -> None:
    """Neither garbage nor the reply to another question is taken for the answer."""
    async with connected(sends(answer)) as client:
        with pytest.raises(RemoteProtocolError) as caught:
            await client.ask(wire.Nodes(), wire.NodeList)
    assert caught.value.rule is rule


@pytest.mark.parametrize("answer", [b"", b'{"type":"nodes"'])
async def test_a_gateway_that_hangs_up_is_told(answer: bytes) -> None:
    """One sentence, no traceback."""
    async with connected(sends(answer)) as client:
        with pytest.raises(InterlockError, match="closed the connection"):
            await client.ask(wire.Nodes(), wire.NodeList)


@pytest.mark.parametrize(
    "end",
    [
        [],
        [wire.END_OF_CHUNKS],
        [wire.END_OF_CHUNKS, wire.encode(wire.Streamed(4))],
        [wire.END_OF_CHUNKS, wire.encode(wire.Refused("failed", "a block is damaged"))],
    ],
    ids=["cut in a chunk", "cut after the chunks", "other size", "refused"],
)
async def test_a_recording_without_its_end_is_no_recording(end: list[bytes]) -> None:
    """Whatever is missing, the download fails."""
    answer = [wire.encode(wire.Stream("x")), *wire.chunks(b"bytes"), *end]
    async with connected(sends(*answer)) as client:
        with pytest.raises(InterlockError):
            assert [piece async for piece in client.download("x")] == []


def streams(places: list[tuple[int, int]], *pieces: bytes) -> list[bytes]:
    """A whole answer with these places and pieces."""
    chunks = [chunk for piece in pieces for chunk in wire.chunks(piece)]
    size = sum(map(len, pieces))
    return [wire.encode(wire.Stream("x", places)), *chunks, wire.END_OF_CHUNKS, wire.encode(wire.Streamed(size))]


async def test_what_comes_of_a_recording_is_put_where_it_belongs() -> None:
    """However it was cut on the way."""
    answer = streams([(0, 4), (10, 0), (100, 6)], b"he", b"adta", b"ilx", b"y")
    async with connected(sends(*answer)) as client:
        data = bytearray(106)
        async for offset, piece in client.download_from("x", 5):
            data[offset : offset + len(piece)] = piece
    assert data == b"head" + bytes(96) + b"tailxy"


@pytest.mark.parametrize("answer", [streams([(0, 4)], b"heads"), streams([(0, 4), (9, 1)], b"head")])
async def test_other_bytes_than_were_announced_are_no_recording(answer: list[bytes]) -> None:
    """More of them, or fewer."""
    async with connected(sends(*answer)) as client:
        with pytest.raises(InterlockError):
            assert [piece async for piece in client.download_from("x", 5)] == []


async def test_an_older_gateway_sends_all_of_a_recording() -> None:
    """It does not know the field, so it refuses; then it is asked as it always was."""
    asked = []

    async def handle(process: Any) -> None:
        asked.append(await process.stdin.readline())
        process.stdout.write(wire.encode(wire.Refused("malformed", "unknown field")))
        asked.append(await process.stdin.readline())
        for piece in streams([], b"head", b"tail"):
            process.stdout.write(piece)
        process.exit(0)

    async with connected(handle) as client:
        assert [each async for each in client.download_from("x", 5)] == [(0, b"head"), (4, b"tail")]
    assert asked == [b'{"type":"recording","sid":"x","at":5}\n', b'{"type":"recording","sid":"x"}\n']


async def test_a_gateway_that_does_not_know_a_request_is_told() -> None:
    """What to make of it, and not that the protocol was violated."""

    async def handle(process: Any) -> None:
        await process.stdin.readline()
        process.stdout.write(wire.encode(wire.Refused("malformed", "protocol error: it could not be decoded")))
        process.exit(0)

    async with connected(handle) as client:
        with pytest.raises(InterlockError) as refused:
            await client.ask(wire.Events(), wire.EventList)
    assert refused.value.public == "the gateway does not know this request: it is of an older version"


async def test_a_gateway_without_portal_is_told() -> None:
    """An SSH server that is not ours refuses the subsystem."""
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: Server(sends()), server_host_keys=[CA], encoding=None
    )
    key = new_key_pair("alice")
    certificate = CA.generate_user_certificate(
        asyncssh.import_public_key(key.public), "alice", principals=["alice"], valid_before="+1h"
    )
    identity = (key.private, certificate.export_certificate().decode())
    async with acceptor:
        gateway = Gateway("127.0.0.1", acceptor.get_port(), "alice")
        with pytest.raises(Denied, match="refused"):
            async with connect(gateway, TrustAll(), identity=identity):
                pytest.fail("connected")


def test_a_certificate_must_be_one_line_for_this_key() -> None:
    """What the gateway sends goes into a file that ssh reads."""
    key, other = new_key_pair("alice"), new_key_pair("alice")
    certificate = CA.generate_user_certificate(
        asyncssh.import_public_key(key.public), "alice", principals=["root"], valid_before="20300101000000"
    )
    line = certificate.export_certificate().decode().strip()
    assert check_certificate(line, key).year in (2029, 2030)
    for bad, whose in ((line, other), (f"{line}\nmore", key), ("", key), (key.public, key)):
        with pytest.raises(ValueError, match=r".+"):
            check_certificate(bad, whose)


def test_a_fingerprint_is_the_one_that_ssh_keygen_shows() -> None:
    """SHA256 and base64; what is no key has none."""
    key = new_key_pair("alice")
    assert fingerprint(key.public).startswith("SHA256:")
    with pytest.raises(ValueError, match=r".+"):
        fingerprint("nonsense")


async def test_a_gateway_that_does_not_run_is_told_in_the_systems_words() -> None:
    """Not in the event loop's, which repeat the address in brackets."""
    gateway = Gateway("127.0.0.1", free_port(), "alice")
    with pytest.raises(TargetError) as refused:
        async with connect(gateway, TrustAll()):
            pass
    assert refused.value.public == f"cannot reach the gateway at {gateway}: connection refused"
