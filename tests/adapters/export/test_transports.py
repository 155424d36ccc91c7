"""How batches reach receivers: TLS that is verified, datagrams, files with all their accidents."""

import asyncio
import socket
import ssl
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from interlock.adapters.export.http import MAX_ANSWER, Url, post, tls_context
from interlock.adapters.export.lines import FileLines
from interlock.adapters.export.syslog import SyslogDatagrams, SyslogStream
from interlock.core.errors import ConfigError, ExportError
from interlock.domain.export import Batch, Cursor, in_order
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.receivers import http_receiver, syslog_receiver

BODY = (
    '{{"ei":0,"event":"exec","code":"T3002I","time":"2026-01-10T22:23:57.642Z","uid":"u{}","cluster_name":"demo"}}'
)


def batch(first: int, last: int) -> Batch:
    """Events of one writer."""
    begin = Cursor(0, {1: first - 1} if first > 1 else {})
    events = [(1, "one", number, f"u{number}", BODY.format(number), b"h") for number in range(first, last + 1)]
    return Batch("siem", begin, tuple(in_order(begin, events, [])))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of a receiver at the loopback: certificate and key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path / "receiver.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


async def test_tls_is_verified_by_name_and_authority(certificate: Path) -> None:
    """Whoever else answers gets nothing."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    async with syslog_receiver(ssl=serving) as receiver:
        ours, others = tls_context(str(certificate), "", ""), tls_context("", "", "")
        good = SyslogStream("localhost", receiver.port, hostname="gw", context=ours, settle=0.01)
        await good.send(batch(1, 3))
        await good.send(batch(4, 4))
        await good.close()
        assert (len(receiver.messages), receiver.connections) == (4, 1)
        for host, context in ((LOOPBACK, ours), ("localhost", others)):
            wrong = SyslogStream(host, receiver.port, hostname="gw", context=context, settle=0.01)
            with pytest.raises(ExportError, match="does not take"):
                await wrong.send(batch(1, 1))
        assert len(receiver.messages) == 4


def test_certificates_that_cannot_be_used_are_an_error_of_the_file(tmp_path: Path) -> None:
    """At the start, not at the first event."""
    with pytest.raises(ConfigError):
        tls_context(str(tmp_path / "none"), "", "")


async def test_a_receiver_that_is_not_there(tmp_path: Path) -> None:
    """Is an error to try again after."""
    port = free_port()
    with pytest.raises(ExportError, match="does not take"):
        await SyslogStream(LOOPBACK, port, hostname="gw").send(batch(1, 1))
    with pytest.raises(ExportError, match="does not answer"):
        await post(Url.parse(f"http://{LOOPBACK}:{port}/"), b"", {}, context=None)
    with pytest.raises(ExportError, match="cannot use"):
        await FileLines(tmp_path / "no" / "such").send(batch(1, 1))


async def test_a_receiver_that_resets_while_it_is_waited_for() -> None:
    """Is one to try again, also when the transport is closed before anybody looks at it."""

    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        option = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        writer.close()

    server = await asyncio.start_server(reset, LOOPBACK, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(4):
            with pytest.raises(ExportError, match="does not take"):
                await SyslogStream(LOOPBACK, port, hostname="gw").send(batch(1, 2000))


async def test_a_header_that_cannot_be_sent() -> None:
    """Ends no more than this attempt."""
    async with http_receiver() as receiver:
        for headers in ({"Authorization": "Bearer …"}, {"Bad name": "x"}):
            with pytest.raises(ExportError, match="does not answer"):
                await post(Url.parse(receiver.url), b"", headers, context=None)


async def test_datagrams_are_one_message_each() -> None:
    """Cut off where they would not fit."""
    loop = asyncio.get_running_loop()
    got: asyncio.Queue[bytes] = asyncio.Queue()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            del addr
            got.put_nowait(data)

    transport, _ = await loop.create_datagram_endpoint(Receiver, (LOOPBACK, 0))
    port = transport.get_extra_info("sockname")[1]
    sending = SyslogDatagrams(LOOPBACK, port, hostname="gw")
    await sending.send(batch(1, 2))
    assert [b'uid="u%d"' % number in await got.get() for number in (1, 2)] == [True, True]
    long = BODY.format("x" * 70_000)
    [record] = in_order(Cursor(), [(1, "one", 1, "u1", long, b"h")], [])
    await sending.send(Batch("siem", Cursor(), (record,)))
    assert len(await got.get()) == 60_000
    transport.close()


async def test_an_answer_is_looked_at_up_to_a_limit() -> None:
    """A receiver cannot fill our memory."""
    async with http_receiver() as receiver:
        receiver.body = bytes(3 * MAX_ANSWER)
        answer = await post(Url.parse(receiver.url), b"{}", {}, context=None)
    assert (answer.status, len(answer.body)) == (200, MAX_ANSWER)


@pytest.mark.parametrize("text", ["", "ftp://h/", "https://", "https://u:p@h/", "http://h:99999/", "https://h/#x"])
def test_what_is_no_url_is_refused(text: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(ConfigError, match="https://HOST"):
        Url.parse(text)


def numbers(path: Path) -> list[int]:
    """Of the events in a file."""
    return [int(line.split('"uid":"u')[1].split('"')[0]) for line in path.read_text().splitlines()]


async def test_a_file_takes_what_it_lacks(tmp_path: Path) -> None:
    """A batch that it has, one that it has in part, half a line at its end."""
    path = tmp_path / "events.jsonl"
    file = FileLines(path)
    assert await file.last() is None
    for _ in range(2):
        await file.send(batch(1, 3))
    await file.send(batch(3, 5))
    assert numbers(path) == [1, 2, 3, 4, 5]
    assert path.stat().st_mode & 0o777 == 0o600
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    last = await file.last()
    assert last is not None
    assert (last.uid, str(last.cursor)) == ("u4", "0.1:4")
    await file.send(batch(5, 6))
    assert numbers(path) == [1, 2, 3, 4, 5, 6]


async def test_a_file_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    """As logrotate does it; also behind lines of somebody else."""
    path = tmp_path / "events.jsonl"
    file = FileLines(path)
    await file.send(batch(1, 2))
    path.rename(tmp_path / "events.jsonl.1")
    await file.send(batch(3, 4))
    assert numbers(path) == [3, 4]
    path.write_text("# a line of somebody else\n")
    await file.send(batch(5, 5))
    assert path.read_text().splitlines()[0] == "# a line of somebody else"


async def test_a_log_that_was_restored_goes_on_in_the_file(tmp_path: Path) -> None:
    """Its numbers begin again where the backup was, with other events: none is taken for one that is there."""
    path = tmp_path / "events.jsonl"
    await FileLines(path).send(batch(1, 9))
    begin = Cursor(0, {1: 4})
    events = [(1, "one", 5, "v5", BODY.format(50), b"h")]
    other = Batch("siem", begin, tuple(in_order(begin, events, [])))
    await FileLines(path).send(other)
    assert numbers(path) == [*range(1, 10), 50]
    assert other.key != batch(5, 5).key


async def test_a_file_without_lines_is_not_cut(tmp_path: Path) -> None:
    """Whatever it is, it is not ours."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(5_000_000))
    with pytest.raises(ExportError):
        await FileLines(path).send(batch(1, 1))
    assert path.stat().st_size == 5_000_000
