"""What an observer tells becomes events: one per file, with every reservation said."""

import hashlib
from collections.abc import Callable, Sequence

import pytest

from interlock.core import limits
from interlock.core.errors import Denied
from interlock.core.sides import Side
from interlock.core.transfer import messages
from interlock.core.transfer.command import ScpCommand, SftpCommand
from interlock.core.transfer.operations import (
    Action,
    Changed,
    Direction,
    Forbidden,
    Moved,
    Operation,
    Stopped,
)
from interlock.core.wire import string
from interlock.domain.access import Access, FileTransfer
from interlock.domain.audit import ABOUT_FILES, JsonValue, Kind
from interlock.services.sessions.transfers import FileTransfers, disallowed
from interlock.testing.transfers import SftpTalk

UPLOAD = ScpCommand(Direction.UPLOAD, "/tmp/x")
SHA = "ab" * 32


class Scripted:
    """An observer that tells what it is given."""

    def __init__(self, *told: Operation) -> None:
        self.told: Sequence[Operation] = told
        self.error: Exception | None = None

    def feed(self, side: Side, data: memoryview) -> Sequence[Operation]:
        del side, data
        if self.error is not None:
            raise self.error
        told, self.told = self.told, ()
        return told

    def stop(self, reason: str) -> Sequence[Operation]:
        return [Stopped(reason)]

    def finish(self) -> Sequence[Operation]:
        return self.feed(Side.CLIENT, memoryview(b""))


class Events:
    """A journal."""

    def __init__(self) -> None:
        self.all: list[tuple[Kind, dict[str, JsonValue]]] = []
        self.room = True

    def tell(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        self.all.append((kind, fields))

    def transfers(
        self, *told: Operation, command: SftpCommand | ScpCommand | None = None, error: Exception | None = None
    ) -> FileTransfers:
        """Of an observer that tells this, or fails."""
        observer = Scripted(*told)
        observer.error = error
        command = command or SftpCommand()
        return FileTransfers(command, tell=self.tell, has_room=lambda: self.room, observer=observer)


def end(transfers: FileTransfers) -> None:
    """Something passes, and the channel is over."""
    transfers.feed(Side.TARGET, memoryview(b"x"))
    transfers.finish()


def event(
    operation: Operation, command: SftpCommand | ScpCommand | None = None
) -> tuple[str, dict[str, JsonValue]]:
    """The code and fields of what an operation becomes."""
    events = Events()
    events.transfers(operation, command=command).feed(Side.CLIENT, memoryview(b"x"))
    [(kind, fields)] = events.all
    return kind.code, fields


def test_a_file() -> None:
    """Path, direction, bytes, hash and result."""
    assert event(Moved("/a", Direction.UPLOAD, written=5, sha256=SHA)) == (
        "TS001I",
        {"action": 1, "path": "/a", "direction": "upload", "bytes": 5, "sha256": SHA, "success": True},
    )


def test_a_file_without_a_hash() -> None:
    """It says that no hash can be claimed, and why it failed if it did."""
    assert event(Moved("/a", Direction.BOTH, read=2, written=5, error="failure")) == (
        "TS001E",
        {
            "action": 1,
            "path": "/a",
            "direction": "both",
            "bytes": 7,
            "bytes_read": 2,
            "bytes_written": 5,
            "partial": True,
            "success": False,
            "error": "failure",
        },
    )


def test_a_file_that_was_copied() -> None:
    """Where to is told."""
    code, fields = event(Moved("/a", Direction.COPY, target_path="/b"))
    assert (code, fields["direction"], fields["target_path"]) == ("TS001I", "copy", "/b")


@pytest.mark.parametrize(
    ("direction", "error", "code"),
    [
        (Direction.DOWNLOAD, "", "T3004I"),
        (Direction.DOWNLOAD, "no", "T3004E"),
        (Direction.UPLOAD, "", "T3005I"),
        (Direction.UPLOAD, "no", "T3005E"),
    ],
)
def test_files_of_scp(direction: Direction, error: str, code: str) -> None:
    """Each direction has its codes; the sender's name for the file is told beside the command's path."""
    moved = Moved("/a", direction, sha256="" if error else SHA, error=error, name="d/b")
    found, fields = event(moved, ScpCommand(direction, "/a"))
    assert found == code
    assert (fields["path"], fields["name"], fields["action"]) == ("/a", "d/b", direction.value)


CODES = {
    Action.SETSTAT: "TS007",
    Action.REMOVE: "TS011",
    Action.MKDIR: "TS012",
    Action.RMDIR: "TS013",
    Action.RENAME: "TS016",
    Action.SYMLINK: "TS018",
    Action.LINK: "TS019",
}


@pytest.mark.parametrize("action", CODES)
@pytest.mark.parametrize("error", ["", "permission denied"])
def test_changes(action: Action, error: str) -> None:
    """The code ends with the result; the number of the action is in the code."""
    code, fields = event(Changed(action, "/a", "/b", error))
    assert code == CODES[action] + ("E" if error else "I")
    assert int(code[3:5]) == action.value == fields["action"]
    assert (fields["path"], fields["target_path"], fields["success"]) == ("/a", "/b", not error)
    assert fields.get("error", "") == error


def test_what_the_role_forbids() -> None:
    """One code for all; the action says what it was."""
    assert event(Forbidden(Action.OPEN, "/a", direction=Direction.UPLOAD)) == (
        "TS020E",
        {
            "action": 1,
            "path": "/a",
            "direction": "upload",
            "success": False,
            "error": "the role does not allow it",
        },
    )
    assert event(Forbidden(Action.RENAME, "/a", "/b"))[1]["target_path"] == "/b"


def test_the_summary() -> None:
    """Bytes by path, whatever became of the files; several transfers of one path are added."""
    events = Events()
    transfers = events.transfers(
        Moved("/a", Direction.UPLOAD, written=5),
        Changed(Action.REMOVE, "/b"),
        Moved("/a", Direction.DOWNLOAD, read=7),
        Moved("/c", Direction.UPLOAD, written=1, error="failure"),
    )
    end(transfers)
    kind, fields = events.all[-1]
    assert kind is Kind.SFTP_SUMMARY
    assert fields == {
        "file_transfer_stats": [
            {"path": "/a", "bytes_read": 7, "bytes_written": 5},
            {"path": "/c", "bytes_read": 0, "bytes_written": 1},
        ],
        "files": 3,
        "bytes_read": 7,
        "bytes_written": 6,
    }


@pytest.mark.parametrize(("size", "kept"), [(10, limits.MAX_SUMMARY_FILES), (4096, 16)])
def test_the_summary_is_bounded(size: int, kept: int) -> None:
    """In number and in bytes; the totals are right all the same."""
    events = Events()
    count = limits.MAX_SUMMARY_FILES + 5
    files = [Moved(f"{number:0{size}}", Direction.UPLOAD, written=1) for number in range(count)]
    end(events.transfers(*files))
    fields = events.all[-1][1]
    stats = fields["file_transfer_stats"]
    assert isinstance(stats, list)
    assert (len(stats), fields["files_omitted"]) == (kept, count - kept)
    assert (fields["files"], fields["bytes_written"]) == (count, count)


def test_no_summary_where_nothing_was_said() -> None:
    """The target refused to speak it."""
    events = Events()
    events.transfers().finish()
    assert events.all == []


def test_long_paths_are_cut() -> None:
    """No target has a file by such a name."""
    _, fields = event(Changed(Action.REMOVE, "x" * 10_000))
    path = fields["path"]
    assert isinstance(path, str)
    assert len(path.encode()) == limits.MAX_PATH_SHOWN
    assert path.endswith("…")


def test_events_are_counted_while_there_is_no_room() -> None:
    """Nobody can flood the audit log by many small files: the summary says how many are not told."""
    events = Events()
    events.room = False
    transfers = events.transfers(Changed(Action.REMOVE, "/a"), Moved("/b", Direction.UPLOAD, written=3))
    end(transfers)
    [(kind, fields)] = events.all
    assert kind is Kind.SFTP_SUMMARY
    assert (fields["untold"], fields["files"], fields["bytes_written"]) == (2, 1, 3)


def test_sftp_that_is_not_followed() -> None:
    """The summary says so, and why."""
    events = Events()
    transfers = events.transfers()
    transfers.strange(memoryview(b"odd"))
    end(transfers)
    [(kind, fields)] = events.all
    assert kind is Kind.SFTP_SUMMARY
    assert fields["partial"] is True
    assert "no longer observed: the client sent data that is neither" in str(fields["error"])


def test_scp_that_is_not_followed() -> None:
    """It has no summary, so an event of its own says it."""
    code, fields = event(Stopped("not an answer of scp"), UPLOAD)
    assert code == "T3005E"
    assert fields == {
        "action": "upload",
        "direction": "upload",
        "path": "/tmp/x",
        "success": False,
        "partial": True,
        "error": "file transfers of this session are no longer observed: not an answer of scp",
    }


ROLES = [FileTransfer.BOTH, FileTransfer.DOWNLOAD, FileTransfer.UPLOAD, FileTransfer.NONE]
DOWNLOAD = ScpCommand(Direction.DOWNLOAD, "/tmp/x")
FORBIDDEN: list[tuple[SftpCommand | ScpCommand, list[FileTransfer], str, str]] = [
    (SftpCommand(), [FileTransfer.NONE], "TS020E", "your role does not allow file transfers"),
    (UPLOAD, [FileTransfer.DOWNLOAD, FileTransfer.NONE], "T3010E", "your role does not allow uploads"),
    (DOWNLOAD, [FileTransfer.UPLOAD, FileTransfer.NONE], "T3010E", "your role does not allow downloads"),
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("command", "roles", "code", "public"), FORBIDDEN)
def test_commands_that_a_role_forbids(
    command: SftpCommand | ScpCommand, roles: list[FileTransfer], code: str, public: str, role: FileTransfer
) -> None:
    """scp by its direction, SFTP if no direction is left."""
    refused = disallowed(command, Access(file_transfer=role))
    assert (refused is not None) == (role in roles)
    if refused is not None:
        assert (refused.kind.code, refused.denied.public) == (code, public)
        assert role.value in refused.denied.reason
        assert refused.fields.get("path") == ("/tmp/x" if code == "T3010E" else None)


@pytest.mark.parametrize("command", [SftpCommand(), UPLOAD, DOWNLOAD])
@pytest.mark.parametrize("role", ROLES)
def test_a_terminal_in_between(command: SftpCommand | ScpCommand, role: FileTransfer) -> None:
    """It edits what passes, as the client wishes, so who is restricted gets none."""
    refused = disallowed(command, Access(file_transfer=role), terminal=True)
    assert (refused is not None) == (role is not FileTransfer.BOTH)
    if refused is not None:
        assert refused.denied.public == "your role does not allow file transfers through a terminal"


class Restricted:
    """SFTP under a role that allows downloads only."""

    def __init__(self) -> None:
        self.events = Events()
        self.cuts: list[Denied] = []
        self.transfers = FileTransfers(
            SftpCommand(),
            tell=self.events.tell,
            has_room=lambda: True,
            access=Access(file_transfer=FileTransfer.DOWNLOAD),
            on_cut=self.cuts.append,
        )

    def play(self, talk: SftpTalk) -> list[bytes]:
        """What passes on in place of what is said."""
        steps, talk.steps = talk.steps, []
        return [self.transfers.passing(side, data) for side, data in steps]


def test_sftp_of_a_role_with_one_direction() -> None:
    """A forbidden request goes on as another one, what is allowed as it is, and both are told."""
    restricted, talk = Restricted(), SftpTalk()
    talk.open(b"/a", write=False).close()
    said = [data for _, data in talk.steps]
    assert restricted.play(talk) == said
    talk.ask(messages.REMOVE, string(b"/a"))
    said = [data for _, data in talk.steps]
    assert restricted.play(talk) != said
    assert [kind for kind, _ in restricted.events.all] == [Kind.SFTP_OPEN, Kind.SFTP_DISALLOWED]
    assert restricted.cuts == []


def strange(restricted: Restricted) -> memoryview:
    """Data of another kind."""
    data = memoryview(bytearray(b"odd"))
    restricted.transfers.strange(data)
    return data


def broken(restricted: Restricted) -> memoryview:
    """A bug of ours."""
    observer = Scripted()
    observer.error = RuntimeError("bug")
    restricted.transfers._observer = observer
    data = memoryview(bytearray(b"odd"))
    restricted.transfers.feed(Side.CLIENT, data)
    return data


def half(restricted: Restricted) -> memoryview:
    """A request in pieces."""
    talk = SftpTalk()
    restricted.play(talk)
    talk.ask(messages.REMOVE, string(b"/a"))
    data = memoryview(bytearray(talk.steps[0][1][:9]))
    restricted.transfers.feed(Side.CLIENT, data)
    return data[5:]


@pytest.mark.parametrize("offence", [strange, broken, half])
def test_what_cannot_be_judged_ends_the_session(offence: Callable[[Restricted], memoryview]) -> None:
    """Nothing of it passes; an event and the text say why."""
    restricted = Restricted()
    assert not any(offence(restricted))
    [cut] = restricted.cuts
    assert cut.public.startswith("your role restricts file transfers, and this one could not be judged: ")
    [(kind, fields)] = restricted.events.all
    assert kind is Kind.SFTP_DISALLOWED
    assert str(fields["error"]).startswith("the role restricts file transfers, and the session was ended: ")


def test_a_bug_costs_the_events_and_nothing_else() -> None:
    """Feeding never raises, and the summary tells of it once."""
    events = Events()
    transfers = events.transfers(error=RuntimeError("bug"))
    for _ in range(3):
        transfers.feed(Side.CLIENT, memoryview(b"x"))
    end(transfers)
    [(kind, fields)] = events.all
    assert kind is Kind.SFTP_SUMMARY
    assert str(fields["error"]).endswith("internal error of the gateway")


def test_the_real_observers() -> None:
    """A conversation, and a file of scp."""
    events = Events()
    transfers = FileTransfers(SftpCommand(), tell=events.tell, has_room=lambda: True)
    talk = SftpTalk().open(b"/a", write=True).write(0, b"abc").close()
    talk.status(talk.ask(messages.REMOVE, string(b"/a")))
    for side, data in talk.steps:
        transfers.feed(side, memoryview(data))
    transfers.finish()
    assert [kind for kind, _ in events.all] == [Kind.SFTP_OPEN, Kind.SFTP_REMOVE, Kind.SFTP_SUMMARY]
    assert events.all[0][1]["sha256"] == hashlib.sha256(b"abc").hexdigest()

    events = Events()
    transfers = FileTransfers(UPLOAD, tell=events.tell, has_room=lambda: True)
    for side, data in [
        (Side.TARGET, b"\0"),
        (Side.CLIENT, b"C0644 3 x\n"),
        (Side.TARGET, b"\0"),
        (Side.CLIENT, b"abc\0"),
        (Side.TARGET, b"\0"),
    ]:
        transfers.feed(side, memoryview(data))
    transfers.finish()
    assert [kind for kind, _ in events.all] == [Kind.SCP_UPLOAD]


def test_kinds_about_files() -> None:
    """All that is told here may be told by a node."""
    assert {kind.code[:4] for kind in ABOUT_FILES} >= {"TS00", "TS01", "TS02", "T300", "T301"}
    assert all(kind.name.startswith(("SFTP", "SCP")) for kind in ABOUT_FILES)
