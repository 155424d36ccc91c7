"""One gateway session: the facts that its events, tracker and recording share."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import MAX_COMMAND_SHOWN, MAX_COMMAND_TITLE
from interlock.domain.access import NOTHING_SPECIAL, Access
from interlock.domain.audit import JsonValue, rfc3339
from interlock.domain.bounds import is_internal_sftp
from interlock.domain.duties import Duties, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.target import Target

SFTP = "sftp"
"""The subsystem's name."""


class SessionKind(Enum):
    """What the client asked its session channel to run, if there is one."""

    SHELL = "shell"
    EXEC = "exec"
    SUBSYSTEM = "subsystem"
    CONNECTION = "connection"  # no channel of its own: what is forwarded on a connection without a session


@dataclass(frozen=True, slots=True)
class Window:
    """A terminal's size in characters."""

    cols: int
    rows: int

    def __str__(self) -> str:
        """The ``size`` field of events."""
        return f"{self.cols}:{self.rows}"


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, ending in "…" if there was more; surrogates become visible escapes."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    end = "…"
    return data[: limit - len(end.encode())].decode("utf-8", "ignore") + end


@dataclass(frozen=True, slots=True)
class SessionContext:
    """Everything known before the session starts; immutable, one per session channel."""

    sid: SessionId
    identity: Identity
    login: str
    target: Target
    mode: RecordingMode
    duties: Duties
    daemon_id: DaemonId  # the daemon this context lives in: recorded_by
    client_addr: str  # host:port of the person's client
    local_addr: str = ""  # host:port on which the recording daemon was reached
    access: Access = NOTHING_SPECIAL  # what the roles allow on the connection, and how it is watched
    target_cluster: str = ""  # the leaf that the target is in; empty: this cluster
    recorded_in: str = ""  # the other cluster that records; empty: this one

    def user_fields(self) -> dict[str, JsonValue]:
        """User and login as events name them (teleport-facts §3.7)."""
        return {
            "user": self.identity.user,
            "login": self.login,
            "user_kind": 1,
            "user_cluster_name": self.identity.cluster,
            "user_roles": list(self.identity.roles),
        }

    def presence_fields(self) -> dict[str, JsonValue]:
        """With what the person has shown on this connection that they are there."""
        fields: dict[str, JsonValue] = {}
        if self.identity.confirmed:
            fields["with_mfa"] = self.identity.confirmed
        if self.identity.hardware is not None:
            fields["hardware_key"] = self.identity.hardware.value
        return fields

    def server_fields(self) -> dict[str, JsonValue]:
        """The target, whoever records; forwarder fields only where the duties table says so."""
        fields: dict[str, JsonValue] = {
            "namespace": "default",
            "server_id": self.target.id,
            "server_hostname": self.target.hostname,
            "server_labels": dict(self.target.labels),
            "server_sub_kind": self.target.sub_kind.value,
            "server_version": self.target.version,
            "recorded_by": self.daemon_id,
        }
        if self.target.addr:
            fields["server_addr"] = self.target.addr
        if self.target_cluster:
            fields["target_cluster"] = self.target_cluster
        if self.duties.names_forwarder:
            fields["forwarded_by"] = self.daemon_id
        if self.duties.names_mode:
            fields["session_recording"] = self.mode.value
        return fields

    def elsewhere_fields(self) -> dict[str, JsonValue]:
        """Who goes from where to where, for the audit log of the cluster that does not record it."""
        fields = self.user_fields() | self.server_fields() | self.connection_fields()
        del fields["recorded_by"]
        return fields | {"forwarded_by": self.daemon_id, "recorded_in": self.recorded_in}

    def connection_fields(self) -> dict[str, JsonValue]:
        """Addresses of the client's connection."""
        fields: dict[str, JsonValue] = {"addr.remote": self.client_addr, "proto": "ssh"}
        if self.local_addr and not self.target.tunnel:
            fields["addr.local"] = self.local_addr
        return fields


@dataclass(frozen=True, slots=True)
class Start:
    """What the client asked for: known when shell, exec or subsystem arrives."""

    kind: SessionKind
    command: str = ""  # the exec command or the subsystem's name
    window: Window | None = None  # None: no PTY
    term: str = ""
    reason: str = ""  # in the person's words
    invited: tuple[str, ...] = ()  # users whom the person asks to join; it allows them nothing
    original: str | None = None  # what was asked for where something else runs; empty: a shell

    def forced(self, command: str | None) -> "Start":
        """What runs where the certificate or key has a command of its own (sshd(8), ``command=``); None: none.

        The server's own SFTP is what was asked for if that was SFTP. To sshd any other subsystem asks for it, too
        (do_exec in its session.c), and nothing else does.
        """
        if command is None:
            return self
        if self.kind is SessionKind.SUBSYSTEM and is_internal_sftp(command):
            return self if self.command == SFTP else replace(self, command=SFTP, original=self.command)
        return replace(self, kind=SessionKind.EXEC, command=command, original=self.command)

    @property
    def shown(self) -> str:
        """The command as audit events have it: whole unless it is excessive."""
        return shortened(self.command, MAX_COMMAND_SHOWN)

    @property
    def title(self) -> str:
        """The command as recordings and trackers are listed with it."""
        return shortened(self.command, MAX_COMMAND_TITLE)

    @property
    def interactive(self) -> bool:
        """Whether a terminal is attached."""
        return self.window is not None

    def fields(self) -> dict[str, JsonValue]:
        """Fields of ``session.start``."""
        fields: dict[str, JsonValue] = {"initial_command": [self.shown] if self.command else []}
        fields |= self.original_fields()
        if self.window is not None:
            fields["size"] = str(self.window)
        if self.reason:
            fields["reason"] = self.reason
        if self.invited:
            fields["invited"] = list(self.invited)
        return fields

    def original_fields(self) -> dict[str, JsonValue]:
        """What was asked for, where something else runs."""
        if self.original is None:
            return {}
        return {"original_command": [shortened(self.original, MAX_COMMAND_SHOWN)] if self.original else []}


@dataclass(frozen=True, slots=True)
class Exit:
    """How the command ended: a status, a signal, or neither when a side vanished."""

    status: int | None = None
    signal: str | None = None
    error: str = ""  # why there is neither status nor signal

    @property
    def told(self) -> bool:
        """Whether the command itself told how it ended."""
        return self.status is not None or self.signal is not None

    @property
    def clean(self) -> bool:
        """Whether the command reported success."""
        return self.status == 0


def end_fields(
    start: Start, *, began: datetime, ended: datetime, participants: tuple[str, ...]
) -> dict[str, JsonValue]:
    """Fields of ``session.end`` beside the common ones."""
    return {
        "enhanced_recording": False,
        "interactive": start.interactive,
        "participants": list(participants),
        "session_start": rfc3339(began),
        "session_stop": rfc3339(ended),
        "initial_command": [start.shown] if start.command else [],
        **start.original_fields(),
    }
