"""SSH spoken by hand, for peers that do not keep to the protocol.

One end of a connection with one choice of algorithms (curve25519, Ed25519, AES-128-GCM), on asyncio's streams.
It shares no code with what it tests, so that an error in our ciphers or in asyncssh is not repeated here, and it
sends whatever it is told, when it is told: nothing is refused, nothing is sent by itself but what `handshake`,
`log_in` and `admit` say. Not for anything but tests: a `RawSsh` verifies no host key and admits anybody.
"""

import asyncio
import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core import wire
from interlock.core.wire import Reader, boolean, string, uint32
from interlock.testing.wire_log import WireLog

KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
SERVICE_REQUEST, SERVICE_ACCEPT = 5, 6
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS, USERAUTH_PK_OK = 50, 51, 52, 60

_NOISE = frozenset((wire.IGNORE, wire.DEBUG, 7, 53))  # 7: EXT_INFO, 53: a banner
_CIPHER = "aes128-gcm@openssh.com"
_TAG = 16
_BLOCK = 16
_CHUNK = 65536


class Gone(Exception):
    """The other side has closed the connection; the text is that of its DISCONNECT, if there was one."""


@dataclass(slots=True)
class _Direction:
    """AES-GCM keys of one direction (RFC 5647 §7.1)."""

    aead: AESGCM
    fixed: bytes
    counter: int

    def nonce(self) -> bytes:
        """The next packet's."""
        nonce = self.fixed + self.counter.to_bytes(8, "big")
        self.counter += 1
        return nonce


class HostKey:
    """An Ed25519 host key."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    @property
    def blob(self) -> bytes:
        """The public key in wire form."""
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return string("ssh-ed25519") + string(raw)

    @property
    def line(self) -> str:
        """The public key in one line."""
        return self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def sign(self, data: bytes) -> bytes:
        """A signature in wire form."""
        return string("ssh-ed25519") + string(self._key.sign(data))


@dataclass(frozen=True, slots=True)
class Credential:
    """What a client logs in with: the wire form of its certificate, and the key that signs."""

    algorithm: str
    blob: bytes
    key: Ed25519PrivateKey


class RawSsh:
    """One end. ``host_key``: this is the server."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        host_key: HostKey | None = None,
        version: bytes = b"SSH-2.0-Raw_1",
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.host_key = host_key
        self.log = WireLog()
        self.said = b""  # the text of the other side's DISCONNECT
        self.session_id = b""  # of the first key exchange
        self.guesses = False  # whether our KEXINIT comes with a wrong guess (RFC 4253 §7)
        self.follows = True  # whether a key exchange that the other side begins is carried out
        self.before_key = b""  # what is said in the next key exchanges behind both KEXINITs
        self.before_newkeys = b""  # and before our NEWKEYS
        self.heard: Counter[int] = Counter()  # numbers of the messages that came
        self._version = version
        self.remote_version = b""
        self._in: _Direction | None = None
        self._out: _Direction | None = None
        self._own_kexinit = b""  # set from our KEXINIT to the end of the exchange

    # --- packets ----------------------------------------------------------------------------------

    def send(self, payload: bytes, *, padding: int | None = None, length: int | None = None) -> None:
        """Send one message; ``padding`` and ``length`` are what the packet then says of itself."""
        self.log.add(">", payload)
        self.write(self.packet(payload, padding=padding, length=length))

    def packet(self, payload: bytes, *, padding: int | None = None, length: int | None = None) -> bytes:
        """The packet around a message."""
        block = _BLOCK if self._out else 8
        head = 1 if self._out else 5
        size = -(head + len(payload)) % block
        size += block if size < 4 else 0
        plain = bytes([size if padding is None else padding]) + payload + os.urandom(size)
        prefix = uint32(len(plain) if length is None else length)
        if self._out is None:
            return prefix + plain
        return prefix + self._out.aead.encrypt(self._out.nonce(), plain, prefix)

    def sealed(self, plain: bytes) -> bytes:
        """A packet with exactly this content behind its length, padding and all; only when encrypted."""
        assert self._out is not None
        prefix = uint32(len(plain))
        return prefix + self._out.aead.encrypt(self._out.nonce(), plain, prefix)

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    async def flush(self) -> None:
        """Wait until the socket takes more; a reset counts as taken."""
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def receive(self) -> bytes:
        """The next message that is not noise; Gone at the end. Follows key exchanges unless told not to."""
        while True:
            payload = await self.receive_any()
            if payload[0] == KEXINIT and self.follows and not self._own_kexinit:
                await self._exchange(payload)
            elif payload[0] == wire.DISCONNECT:
                self.said = Reader(payload[5:]).string()
                raise Gone(self.said.decode())
            elif payload[0] not in _NOISE:
                return payload

    async def receive_any(self) -> bytes:
        """The next message, whatever it is."""
        try:
            prefix = await self.reader.readexactly(4)
            length = int.from_bytes(prefix, "big")
            if self._in is None:
                plain = await self.reader.readexactly(length)
            else:
                sealed = await self.reader.readexactly(length + _TAG)
                plain = self._in.aead.decrypt(self._in.nonce(), sealed, prefix)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone("") from error
        payload = plain[1 : len(plain) - plain[0]]
        self.log.add("<", payload)
        self.heard[payload[0] if payload else -1] += 1
        return payload

    def stop_reading(self) -> None:
        """Leave what comes to the socket's buffers, which fill."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()

    async def expect(self, *kinds: int) -> bytes:
        """The next message of one of these types; others are skipped."""
        while True:
            payload = await self.receive()
            if payload[0] in kinds:
                return payload

    async def wait_gone(self) -> str:
        """Read to the end; the text of the other side's DISCONNECT, empty if there was none."""
        try:
            while True:
                await self.receive()
        except Gone as gone:
            return str(gone)

    async def wait_closed(self) -> None:
        """Read to the end what cannot be understood."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(_CHUNK):
                pass

    # --- versions and keys ------------------------------------------------------------------------

    async def exchange_versions(self) -> None:
        """RFC 4253 §4.2."""
        self.write(self._version + b"\r\n")
        try:
            while not self.remote_version.startswith(b"SSH-"):
                self.remote_version = (await self.reader.readuntil(b"\n")).rstrip(b"\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone("") from error

    async def handshake(self) -> None:
        """Versions and the first key exchange."""
        await self.exchange_versions()
        await self.exchange_keys()

    def begin_exchange(self) -> None:
        """Send KEXINIT, and no more."""
        self._own_kexinit = self._kexinit()
        self.send(self._own_kexinit)
        if self.guesses:
            self.send(bytes([ECDH_INIT]) + string(b"a message of another method"))

    async def exchange_keys(self) -> None:
        """A key exchange that we begin. Messages in flight before the other's KEXINIT are thrown away."""
        self.begin_exchange()
        await self._exchange(await self.expect(KEXINIT))

    async def _exchange(self, remote: bytes) -> None:
        if not self._own_kexinit:
            self.begin_exchange()
        if self.before_key:
            self.send(self.before_key)
        key = X25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if self.host_key is not None:
            theirs = Reader((await self.expect(ECDH_INIT))[1:]).string()
            shared = key.exchange(X25519PublicKey.from_public_bytes(theirs))
            digest = self._hash(remote, self.host_key.blob, theirs, public, shared)
            signature = self.host_key.sign(digest)
            self.send(bytes([ECDH_REPLY]) + string(self.host_key.blob) + string(public) + string(signature))
        else:
            self.send(bytes([ECDH_INIT]) + string(public))
            reader = Reader((await self.expect(ECDH_REPLY))[1:])
            host_key, theirs = reader.string(), reader.string()
            shared = key.exchange(X25519PublicKey.from_public_bytes(theirs))
            digest = self._hash(remote, host_key, public, theirs, shared)
        self.session_id = self.session_id or digest
        if self.before_newkeys:
            self.send(self.before_newkeys)
        self.send(bytes([NEWKEYS]))
        to_server, to_client = self._keys(shared, digest)
        self._out = to_client if self.host_key is not None else to_server
        await self.expect(NEWKEYS)
        self._in = to_server if self.host_key is not None else to_client
        self._own_kexinit = b""

    def _kexinit(self) -> bytes:
        strict = "kex-strict-s-v00@openssh.com" if self.host_key else "kex-strict-c-v00@openssh.com"
        host_keys = "ssh-ed25519" if self.host_key else "ssh-ed25519-cert-v01@openssh.com,ssh-ed25519"
        kex = f"{'guess@example.com,' if self.guesses else ''}curve25519-sha256,{strict}"
        lists = (kex, host_keys, _CIPHER, _CIPHER, "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", "")
        return bytes([KEXINIT]) + os.urandom(16) + b"".join(map(string, lists)) + boolean(self.guesses) + uint32(0)

    def _hash(self, remote: bytes, host_key: bytes, q_client: bytes, q_server: bytes, shared: bytes) -> bytes:
        """The exchange hash (RFC 5656 §4)."""
        mine, theirs = (self._version, self._own_kexinit), (self.remote_version, remote)
        client, server = (theirs, mine) if self.host_key is not None else (mine, theirs)
        parts = (client[0], server[0], client[1], server[1], host_key, q_client, q_server)
        return hashlib.sha256(b"".join(map(string, parts)) + _mpint(shared)).digest()

    def _keys(self, shared: bytes, digest: bytes) -> tuple[_Direction, _Direction]:
        """RFC 4253 §7.2: to the server, to the client."""

        def derive(letter: bytes) -> bytes:
            return hashlib.sha256(_mpint(shared) + digest + letter + self.session_id).digest()

        def direction(iv: bytes, key: bytes) -> _Direction:
            return _Direction(AESGCM(key[:16]), iv[:4], int.from_bytes(iv[4:12], "big"))

        return direction(derive(b"A"), derive(b"C")), direction(derive(b"B"), derive(b"D"))

    # --- authentication ---------------------------------------------------------------------------

    async def request_service(self) -> None:
        """Ask for user authentication (RFC 4253 §10)."""
        self.send(bytes([SERVICE_REQUEST]) + string("ssh-userauth"))
        await self.expect(SERVICE_ACCEPT)

    def offer(self, user: str, credential: Credential) -> None:
        """Ask whether a key would do, unsigned (RFC 4252 §7)."""
        head = self._publickey(user, credential, signed=False)
        self.send(head)

    def sign(self, user: str, credential: Credential, *, by: Ed25519PrivateKey | None = None) -> None:
        """Log in with a key, or with another key's signature on it."""
        head = self._publickey(user, credential, signed=True)
        value = (by or credential.key).sign(string(self.session_id) + head)
        self.send(head + string(string("ssh-ed25519") + string(value)))

    async def log_in(self, user: str, credential: Credential) -> None:
        """Handshake and authentication; Gone if that fails."""
        await self.handshake()
        await self.request_service()
        self.sign(user, credential)
        await self.expect(USERAUTH_SUCCESS)

    async def admit(self) -> None:
        """As a server: handshake, and let whoever it is in."""
        await self.handshake()
        await self.expect(SERVICE_REQUEST)
        self.send(bytes([SERVICE_ACCEPT]) + string("ssh-userauth"))
        await self.expect(USERAUTH_REQUEST)
        self.send(bytes([USERAUTH_SUCCESS]))

    @staticmethod
    def _publickey(user: str, credential: Credential, *, signed: bool) -> bytes:
        fixed = string(user) + string("ssh-connection") + string("publickey") + boolean(signed)
        return bytes([USERAUTH_REQUEST]) + fixed + string(credential.algorithm) + string(credential.blob)

    # --- life -------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close at once; what was not sent is lost."""
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _mpint(value: bytes) -> bytes:
    """RFC 4251 §5, of a positive number."""
    stripped = value.lstrip(b"\0")
    return string(b"\0" + stripped if stripped and stripped[0] & 0x80 else stripped)


async def connect_raw(host: str, port: int) -> RawSsh:
    """A client's end, connected; not a byte was said."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    return RawSsh(reader, writer)


SCRIPT_GRACE_S = 5.0
"""Seconds that a script gets to see the other side go when the test ends."""

Script = Callable[[RawSsh], Awaitable[None]]
"""What a scripted server does with a connection. `Gone` ends it; afterwards the connection is closed."""


@contextlib.asynccontextmanager
async def raw_server(script: Script, host_key: HostKey) -> AsyncIterator[int]:
    """A server on loopback that does what ``script`` says, and its port. The script's errors are the test's."""
    async with asyncio.TaskGroup() as tasks:

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with RawSsh(reader, writer, host_key=host_key) as peer:
                with contextlib.suppress(Gone):
                    await script(peer)

        running: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = tasks.create_task(play(reader, writer), name="raw-server")
            running.add(task)
            task.add_done_callback(running.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 20)
        try:
            port: int = server.sockets[0].getsockname()[1]
            yield port
        finally:
            server.close()
            await asyncio.sleep(0)  # a connection that was just accepted has its task now
            if running:
                _, late = await asyncio.wait(running, timeout=SCRIPT_GRACE_S)
                for task in late:
                    task.cancel()
