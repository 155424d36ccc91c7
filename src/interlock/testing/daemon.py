"""A daemon's services over stores in memory, for tests of sessions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from interlock.adapters.blob.files import FileRecordings
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.container import decode
from interlock.domain.coverage import Covered, Level
from interlock.domain.duties import FORWARDER_DUTIES, Duties, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.recording import Frame
from interlock.domain.session import SessionContext, SessionKind, Start, Window
from interlock.domain.target import SubKind, Target
from interlock.services.audit.emitter import Emitter
from interlock.services.recordings.account import OF_TERMINALS
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.sessions import Sessions
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import FakeTimers, MemoryAuditLog, MemoryTrackers, VirtualSleep

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
OTHER = SessionId("8d57a9d5-3e0f-4c0b-8f0e-0a4f1f5f7a11")
PROXY = DaemonId("31486a8f-ed19-45e7-9610-ddb916493e52")
NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")
SHELL = Start(SessionKind.SHELL, window=Window(80, 24), term="xterm")
EXEC = Start(SessionKind.EXEC, command="ls /")
SFTP = Start(SessionKind.SUBSYSTEM, command="sftp")

COMMON = {
    "user": "jeff", "login": "root", "user_kind": 1, "user_cluster_name": "demo", "user_roles": ["access"],
    "namespace": "default", "server_id": NODE, "server_hostname": "web1", "server_addr": "10.0.0.5:22",
    "server_labels": {"env": "dev"}, "server_sub_kind": "interlock", "server_version": "0.1",
    "recorded_by": PROXY, "forwarded_by": PROXY, "session_recording": "proxy",
}  # fmt: skip
CONNECTION = {"addr.remote": "10.5.5.3:65066", "addr.local": "10.0.0.1:3022", "proto": "ssh"}


WHOLE = Covered("session", Level.FULL)
NO_INPUT = Covered("input", Level.NONE, OF_TERMINALS)


def context(duties: Duties = FORWARDER_DUTIES[RecordingMode.PROXY, SubKind.NODE]) -> SessionContext:
    """A session of jeff, as root, on web1, recorded at the proxy."""
    target = Target(NODE, "web1", "10.0.0.5", 22, SubKind.NODE, labels={"env": "dev"}, version="0.1")
    return SessionContext(
        sid=SID,
        identity=Identity("jeff", ("access",), "demo"),
        login="root",
        target=target,
        mode=RecordingMode.PROXY,
        duties=duties,
        daemon_id=PROXY,
        client_addr="10.5.5.3:65066",
        local_addr="10.0.0.1:3022",
    )


@dataclass
class Daemon:
    """A daemon's services over stores in memory and files in a temporary directory."""

    directory: Path
    audit: MemoryAuditLog = field(default_factory=MemoryAuditLog)
    trackers: MemoryTrackers = field(default_factory=MemoryTrackers)
    clock: FakeClock = field(default_factory=FakeClock)
    timers: FakeTimers = field(default_factory=FakeTimers)
    claims: SessionClaims = field(default_factory=SessionClaims)
    backlog: int = 1000

    def __post_init__(self) -> None:
        self.files = FileRecordings(self.directory)
        self.sleep = VirtualSleep(self.clock)
        self.emitter = Emitter(self.audit, backlog=self.backlog, sleep=self.sleep)
        self.sessions = Sessions(
            daemon_id=PROXY,
            cluster="demo",
            clock=self.clock,
            entropy=FakeEntropy(),
            emitter=self.emitter,
            trackers=self.trackers,
            parts=self.files,
            recordings=self.files,
            claims=self.claims,
            sleep=self.sleep,
            call_later=self.timers.call_later,
            command_output_limit=100,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Sessions]:
        """Run the services; at the end all sessions are ended and everything is stored."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.emitter.run())
            tasks.create_task(self.sessions.run())
            try:
                yield self.sessions
                await self.sessions.end_all("the gateway stops")
            finally:
                self.sessions.stop()
                self.emitter.stop()

    async def recording(self, sid: SessionId = SID) -> list[Frame]:
        """The frames of the stored recording."""
        return list(decode([chunk async for chunk in self.files.read(sid)]))

    def names(self, sid: SessionId = SID) -> list[str]:
        """The session's events; fails if their numbers have a gap."""
        events = self.audit.of(sid)
        assert [index for index, _, _ in events] == list(range(len(events)))
        return [name for _, name, _ in events]
