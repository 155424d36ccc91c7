"""The audit log leaves whole: every event once by its uid, whatever receivers do and wherever we are killed."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.evidence import SqlEvidenceStore
from interlock.adapters.db.exports import SqlExports
from interlock.adapters.export.http import Url
from interlock.adapters.export.lines import FileLines
from interlock.adapters.export.otlp import OtlpLogs
from interlock.adapters.export.syslog import SyslogStream
from interlock.adapters.export.webhook import Webhook
from interlock.core.errors import ExportError, StoreError
from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.export import Batch
from interlock.domain.signing import SigningKey
from interlock.ports import Receiver
from interlock.services.audit import exporter
from interlock.services.audit.checkpoints import Checkpoints
from interlock.services.audit.exporter import LONGEST_PAUSE_S, Exporter
from interlock.testing.clock import START, FakeClock
from interlock.testing.database import put_database
from interlock.testing.entropy import FakeEntropy
from interlock.testing.ports import LOOPBACK
from interlock.testing.receivers import Answer, HttpReceiver, http_receiver, syslog_receiver

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
SECRET = b"a secret of some length"
KEY = SigningKey.from_seed(bytes(range(32)))


class Killed(BaseException):
    """In the place of SIGKILL."""


class Broken:
    """A receiver with a bug, which comes to its senses."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.taken = asyncio.Event()

    async def send(self, _batch: Batch) -> None:
        """Fail a few times."""
        if self.failures:
            self.failures -= 1
            raise ValueError("negative file descriptor")
        self.taken.set()

    async def close(self) -> None:
        """No better."""
        raise ValueError("file descriptor cannot be a negative integer")


class Gateway:
    """A log that grows, and an exporter that may be killed at any step."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.exports = SqlExports(database)
        self.clock = FakeClock()
        self.count = 0
        self.pauses: list[float] = []

    async def tell(self, count: int = 1, *, writer: str = "one") -> None:
        """More events."""
        told = [
            AuditEvent(Kind.EXEC, START, f"u{self.count + n}", "demo", SID, self.count + n, {"command": "älias"})
            for n in range(count)
        ]
        self.count += count
        await SqlAuditLog(self.database, writer).append(told)

    async def sign(self) -> None:
        """A checkpoint."""
        await Checkpoints(SqlEvidenceStore(self.database), lambda: KEY, cluster="demo", clock=self.clock).sign()

    def exporter(self, receiver: Receiver, kill: Callable[[], None] = lambda: None) -> Exporter:
        """A new process, in which ``kill`` is called before and after everything that it does."""
        return Exporter(
            "siem",
            _Steps(self.exports, kill),
            _Steps(self.exports, kill),
            _Steps(receiver, kill),
            clock=self.clock,
            entropy=FakeEntropy(),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def drain(self, receiver: Receiver, kill: Callable[[], None] = lambda: None) -> None:
        """Until there is nothing to send; failures of the receiver are tried again."""
        sending = self.exporter(receiver, kill)
        while True:
            try:
                if not await sending.step():
                    return
            except ExportError:
                continue

    @property
    def uids(self) -> list[str]:
        """All that was told."""
        return [f"u{number}" for number in range(self.count)]


class _Steps:
    """Whatever it is, with a step before and after each of its calls."""

    def __init__(self, inner: Any, kill: Callable[[], None]) -> None:
        self._inner, self._kill = inner, kill

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)

        async def call(*arguments: Any, **more: Any) -> Any:
            self._kill()
            result = await inner(*arguments, **more)
            self._kill()
            return result

        return call


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """With an empty log."""
    put_database(tmp_path / "test.db")
    database = await open_database(tmp_path / "test.db")
    yield Gateway(database)
    await database.close()


def webhook(receiver: HttpReceiver, clock: FakeClock, *, timeout: float = 20.0) -> Webhook:
    """Towards it."""
    return Webhook(Url.parse(receiver.url), SECRET, headers={}, context=None, clock=clock, timeout=timeout)


def uids_by_key(receiver: HttpReceiver) -> list[str]:
    """What a receiver has that keeps of each key what came first; that all with a key are alike is checked."""
    kept: dict[str, bytes] = {}
    for request in receiver.taken:
        key = request.headers["idempotency-key"]
        assert kept.setdefault(key, request.body) == request.body
    return [event["uid"] for body in kept.values() for event in json.loads(body)["events"] if event["ei"] >= 0]


async def test_everything_arrives_once_and_in_order(gateway: Gateway) -> None:
    """In several batches; then there is nothing to send."""
    await gateway.tell(exporter.BATCH + 10)
    async with http_receiver() as receiver:
        await gateway.drain(webhook(receiver, gateway.clock))
        assert [len(request.json()["events"]) for request in receiver.taken] == [exporter.BATCH, 10]
        assert uids_by_key(receiver) == gateway.uids
        await gateway.tell(writer="two")
        await gateway.drain(webhook(receiver, gateway.clock))
        assert uids_by_key(receiver) == gateway.uids
    [state] = await gateway.exports.states()
    assert (str(state.cursor), state.pending) == (f"0.1:{exporter.BATCH + 10}.2:1", None)
    assert await gateway.exports.behind(state.cursor) == 0


FAULTS = [
    Answer.FAILS,
    Answer.BUSY,
    Answer.REFUSES,
    Answer.RESETS_BEFORE,
    Answer.RESETS_AFTER,
    Answer.HALF,
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_a_webhook_does_nothing_is_lost_or_doubled(gateway: Gateway, fault: Answer) -> None:
    """A receiver that knows the keys has each event once; what was told meanwhile comes behind."""
    await gateway.tell(3)
    async with http_receiver(fault, fault) as receiver:
        sending = webhook(receiver, gateway.clock)
        with pytest.raises(ExportError):
            await gateway.exporter(sending).step()
        await gateway.tell(2, writer="two")
        await gateway.drain(sending)
        assert uids_by_key(receiver) == gateway.uids


async def test_a_receiver_that_never_answers_is_given_up(gateway: Gateway) -> None:
    """After a while; it may have taken the batch, which then comes again."""
    await gateway.tell(3)
    async with http_receiver(Answer.SILENT) as receiver:
        with pytest.raises(ExportError, match="does not answer"):
            await gateway.exporter(webhook(receiver, gateway.clock, timeout=0.3)).step()
        await gateway.drain(webhook(receiver, gateway.clock))
        assert len(receiver.arrived) == 2
        assert uids_by_key(receiver) == gateway.uids


async def test_an_answer_without_end_is_not_read(gateway: Gateway) -> None:
    """Its status counts."""
    await gateway.tell()
    async with http_receiver(Answer.ENDLESS) as receiver:
        assert await gateway.exporter(webhook(receiver, gateway.clock)).step()


@pytest.mark.parametrize("fault", [None, Answer.RESETS_AFTER, Answer.FAILS])
async def test_a_webhook_is_killed_at_each_step(gateway: Gateway, fault: Answer | None) -> None:
    """A new process goes on; a receiver that keeps one of each key has every event once."""
    await gateway.tell(2)
    await gateway.sign()
    async with http_receiver(*([fault] if fault else [])) as receiver:
        for kills in range(1, 100):
            left = kills

            def kill() -> None:
                nonlocal left
                left -= 1
                if not left:
                    raise Killed

            try:
                await gateway.drain(webhook(receiver, gateway.clock), kill)
            except Killed:
                await gateway.tell(1, writer=("one", "two")[kills % 2])
                continue
            break
        else:
            pytest.fail("it never came to an end")
        events = [uid for uid in uids_by_key(receiver) if uid.startswith("u")]
        assert sorted(events) == sorted(gateway.uids)
    assert kills > 9


@pytest.mark.parametrize("cut", [0, 1, 40])
async def test_a_file_is_exactly_once_however_we_are_killed(gateway: Gateway, tmp_path: Path, cut: int) -> None:
    """At each step, and with the last bytes of the file missing, as after a power cut."""
    path = tmp_path / "events.jsonl"
    await gateway.tell(2)
    for kills in range(1, 100):
        left = kills

        def kill() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        try:
            await gateway.drain(FileLines(path), kill)
        except Killed:
            under_way = any(state.pending is not None for state in await gateway.exports.states())
            if cut and under_way:
                await asyncio.to_thread(shorten, path, cut)
            await gateway.tell(1, writer=("one", "two")[kills % 2])
            continue
        break
    assert uids_in(await asyncio.to_thread(path.read_text)) == set(gateway.uids)


def shorten(path: Path, by: int) -> None:
    """Cut off the end, but nothing that was acknowledged: a batch that is on its way is one line at least."""
    data = path.read_bytes() if path.exists() else b""
    path.write_bytes(data[: max(data.rfind(b"\n", 0, -1) + 1, len(data) - by)])


def uids_in(text: str) -> set[str]:
    """Of a file of lines, none of which is there twice."""
    uids = [json.loads(line)["uid"] for line in text.splitlines()]
    assert len(uids) == len(set(uids))
    return set(uids)


@pytest.mark.parametrize("dies_after", [(0,), (1, 2), (3, 0, 4)])
async def test_a_syslog_receiver_that_dies_loses_nothing_it_had_not_taken(
    gateway: Gateway, dies_after: tuple[int, ...]
) -> None:
    """What was under way comes again: everything is there, and by its uid once."""
    await gateway.tell(6)
    async with syslog_receiver(*dies_after) as receiver:
        sending = SyslogStream(LOOPBACK, receiver.port, hostname="gw", settle=0.2)
        await gateway.drain(sending)
        await gateway.tell(2)
        await gateway.drain(sending)
        await sending.close()
        found = [each.split('uid="')[1].split('"')[0] for each in receiver.messages]
    assert list(dict.fromkeys(found)) == gateway.uids
    assert receiver.connections == len(dies_after) + 1


async def test_a_collector_gets_logs_and_is_not_told_twice_what_it_rejects(gateway: Gateway) -> None:
    """OTLP forbids to send again what was taken in part."""
    await gateway.tell(2)
    async with http_receiver(Answer.BUSY) as receiver:
        receiver.body = b'{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too odd"}}'
        sending = OtlpLogs(Url.parse(receiver.url), headers={"x": "y"}, context=None, clock=gateway.clock)
        await gateway.drain(sending)
        [request] = receiver.taken
        assert request.headers["x"] == "y"
        [resource] = request.json()["resourceLogs"]
        records = resource["scopeLogs"][0]["logRecords"]
        assert [each["eventName"] for each in records] == ["exec", "exec"]
        assert len(receiver.arrived) == 2


async def test_a_webhook_is_signed(gateway: Gateway) -> None:
    """Over time and body, so that whoever has the secret knows whose and how old it is."""
    await gateway.tell()
    async with http_receiver() as receiver:
        await gateway.drain(webhook(receiver, gateway.clock))
        [request] = receiver.taken
        time, signed = (part.split("=", 1)[1] for part in request.headers["interlock-signature"].split(","))
        expected = hmac.new(SECRET, time.encode() + b"." + request.body, hashlib.sha256).hexdigest()
        assert (signed, int(time)) == (expected, int(START.timestamp()))
        assert request.path == "/events"


class Failing:
    """Fails so often; then it takes everything."""

    def __init__(self, failures: int, pause: float = 0.0) -> None:
        self.failures, self.pause = failures, pause
        self.taken = asyncio.Event()

    async def send(self, batch: Batch) -> None:
        assert batch.records
        if self.failures:
            self.failures -= 1
            raise ExportError("no", pause=self.pause)
        self.taken.set()

    async def close(self) -> None:
        pass


async def run_until_taken(gateway: Gateway, receiver: Failing) -> None:
    """As the gateway runs it."""
    running = asyncio.create_task(gateway.exporter(receiver).run())
    await receiver.taken.wait()
    running.cancel()
    await asyncio.wait([running])


async def test_a_bug_in_one_receiver_ends_nothing_but_an_attempt(gateway: Gateway) -> None:
    """The exporter lives in the gateway's own process, with everybody's sessions."""
    await gateway.tell(1)
    receiver = Broken(2)
    running = asyncio.create_task(gateway.exporter(receiver).run())
    async with asyncio.timeout(10):
        await receiver.taken.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(gateway.pauses) >= 2
    await gateway.tell(1)
    await gateway.exporter(Broken(1)).finish()


async def test_pauses_grow_and_are_not_all_alike(gateway: Gateway) -> None:
    """Twice as long each time, less a part by chance, up to a minute."""
    await gateway.tell()
    await run_until_taken(gateway, Failing(12))
    longest = [min(exporter.FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(12)]
    assert all(most / 2 <= pause <= most for pause, most in zip(gateway.pauses, longest, strict=False))
    assert len({pause / most for pause, most in zip(gateway.pauses, longest, strict=False)}) > 4


async def test_a_receiver_may_ask_for_patience_within_bounds(gateway: Gateway) -> None:
    """Retry-After counts where it is longer than our own pause."""
    await gateway.tell()
    await run_until_taken(gateway, Failing(1, pause=42.0))
    assert gateway.pauses[0] == 42.0
    gateway.pauses.clear()
    await gateway.tell()
    await run_until_taken(gateway, Failing(1, pause=1e9))
    assert gateway.pauses[0] == exporter.LONGEST_WISH_S


async def test_two_processes_with_one_export_do_not_undo_each_others_cursor(gateway: Gateway) -> None:
    """By mistake, or while one takes over from another: it never goes back."""
    await gateway.tell()
    state = await gateway.exports.state("siem", now=START)
    [record] = await gateway.exports.after(state.cursor, limit=5)
    await gateway.exports.move(state, cursor=record.cursor, pending=None, now=START)
    with pytest.raises(StoreError, match="somebody else"):
        await gateway.exports.move(state, cursor=state.cursor, pending=record.cursor, now=START)
