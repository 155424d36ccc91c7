"""Audit events: names, codes and JSON fields are the field's (PROTOCOL.md §6), built in this one place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from uuid import NAMESPACE_OID, UUID, uuid5

from interlock.core.ids import SessionId

JsonValue = str | int | bool | list[str] | dict[str, str] | list[dict[str, str | int]]


class Kind(Enum):
    """Every event that we emit: (name, code)."""

    SESSION_START = ("session.start", "T2000I")
    SESSION_JOIN = ("session.join", "T2001I")
    SESSION_RESIZE = ("resize", "T2002I")
    SESSION_LEAVE = ("session.leave", "T2003I")
    SESSION_END = ("session.end", "T2004I")
    SESSION_UPLOAD = ("session.upload", "T2005I")
    SESSION_DATA = ("session.data", "T2006I")
    RECORDING_LAPSE = ("session.recording.lapse", "ILR00W")
    RECORDING_QUARANTINED = ("session.recording.quarantined", "ILR01E")
    RECORDING_DIFFERS = ("session.recording.differs", "ILR02E")
    ROOM_LESS = ("recording.room", "ILD00W")
    ROOM_MORE = ("recording.room", "ILD00I")
    SESSION_REJECTED = ("session.rejected", "T1006W")
    SESSION_ELSEWHERE = ("session.elsewhere", "ILS00I")
    EXEC = ("exec", "T3002I")
    EXEC_FAILURE = ("exec", "T3002E")
    SUBSYSTEM = ("subsystem", "T3001I")
    SUBSYSTEM_FAILURE = ("subsystem", "T3001E")
    SFTP_OPEN = ("sftp", "TS001I")
    SFTP_OPEN_FAILURE = ("sftp", "TS001E")
    SFTP_SETSTAT = ("sftp", "TS007I")
    SFTP_SETSTAT_FAILURE = ("sftp", "TS007E")
    SFTP_REMOVE = ("sftp", "TS011I")
    SFTP_REMOVE_FAILURE = ("sftp", "TS011E")
    SFTP_MKDIR = ("sftp", "TS012I")
    SFTP_MKDIR_FAILURE = ("sftp", "TS012E")
    SFTP_RMDIR = ("sftp", "TS013I")
    SFTP_RMDIR_FAILURE = ("sftp", "TS013E")
    SFTP_RENAME = ("sftp", "TS016I")
    SFTP_RENAME_FAILURE = ("sftp", "TS016E")
    SFTP_SYMLINK = ("sftp", "TS018I")
    SFTP_SYMLINK_FAILURE = ("sftp", "TS018E")
    SFTP_LINK = ("sftp", "TS019I")
    SFTP_LINK_FAILURE = ("sftp", "TS019E")
    SFTP_DISALLOWED = ("sftp", "TS020E")
    SFTP_SUMMARY = ("sftp_summary", "TS021I")
    SCP_DOWNLOAD = ("scp", "T3004I")
    SCP_DOWNLOAD_FAILURE = ("scp", "T3004E")
    SCP_UPLOAD = ("scp", "T3005I")
    SCP_UPLOAD_FAILURE = ("scp", "T3005E")
    SCP_DISALLOWED = ("scp", "T3010E")
    PORT = ("port", "T3003I")
    PORT_FAILURE = ("port", "T3003E")
    PORT_CLOSED = ("port", "T3003S")
    X11 = ("x11-forward", "T3008I")
    X11_FAILURE = ("x11-forward", "T3008W")
    AGENT = ("agent-forward", "T3013I")
    AGENT_FAILURE = ("agent-forward", "T3013W")
    CLIENT_DISCONNECT = ("client.disconnect", "T3006I")
    AUTH_FAILURE = ("auth", "T3007W")
    USER_LOGIN = ("user.login", "T1000I")
    USER_LOGIN_FAILURE = ("user.login", "T1000W")
    USER_SSO_LOGIN = ("user.login", "T1001I")
    USER_SSO_LOGIN_FAILURE = ("user.login", "T1001W")
    PASSWORD_CHANGE = ("user.password_change", "T1005I")
    RESET_TOKEN_CREATE = ("reset_password_token.create", "T6000I")
    OIDC_CREATE = ("oidc.created", "T8100I")
    OIDC_DELETE = ("oidc.deleted", "T8101I")
    OIDC_UPDATE = ("oidc.updated", "T8102I")
    OIDC_FORGET = ("oidc.forgotten", "ILU03I")
    SIGN_OUT = ("user.sign_out", "ILU00I")
    MFA_ADD = ("mfa.add", "T1006I")
    MFA_DELETE = ("mfa.delete", "T1007I")
    MFA_CONFIRM = ("mfa_auth_challenge.validate", "T1016I")
    MFA_CONFIRM_FAILURE = ("mfa_auth_challenge.validate", "T1016W")
    RECOVERY_CODES = ("recovery_code.generated", "T1008I")
    RECOVERY_CODE_USED = ("recovery_code.used", "T1009I")
    RECOVERY_CODE_FAILURE = ("recovery_code.used", "T1009W")
    KEY_ENROL = ("user.key.add", "ILU01I")
    KEY_REMOVE = ("user.key.delete", "ILU02I")
    CERT_CREATE = ("cert.create", "TC000I")
    RECORDING_ACCESS = ("session.recording.access", "T2012I")
    USER_CREATE = ("user.create", "T1002I")
    USER_UPDATE = ("user.update", "T1003I")
    USER_DELETE = ("user.delete", "T1004I")
    ROLE_CREATE = ("role.created", "T9000I")
    ROLE_UPDATE = ("role.updated", "T9002I")
    ROLE_DELETE = ("role.deleted", "T9001I")
    ACCESS_REQUEST_CREATE = ("access_request.create", "T5000I")
    ACCESS_REQUEST_UPDATE = ("access_request.update", "T5001I")
    ACCESS_REQUEST_REVIEW = ("access_request.review", "T5002I")
    ACCESS_REQUEST_DELETE = ("access_request.delete", "T5003I")
    NODE_CREATE = ("node.create", "ILN00I")
    NODE_DELETE = ("node.delete", "ILN01I")
    PROXY_DELETE = ("proxy.delete", "ILP00I")
    PRESENCE_FAILURE = ("access.presence", "ILP01W")
    DAEMON_THROTTLED = ("daemon.throttled", "ILQ00W")
    TOKEN_CREATE = ("join_token.create", "TJT00I")
    TOKEN_DELETE = ("join_token.delete", "ILT01I")
    LOCK_CREATE = ("lock.created", "TLK00I")
    LOCK_DELETE = ("lock.deleted", "TLK01I")
    CLUSTER_CREATE = ("trusted_cluster.create", "T7000I")
    CLUSTER_UPDATE = ("trusted_cluster.update", "ILC00I")
    CLUSTER_DELETE = ("trusted_cluster.delete", "T7001I")
    CLUSTER_TOKEN_CREATE = ("trusted_cluster_token.create", "T7002I")
    ROTATION_BEGIN = ("certificate_authority.rotation.begin", "ILX00I")
    ROTATION_STEP = ("certificate_authority.rotation.step", "ILX01I")
    BOT_CREATE = ("bot.create", "TB001I")
    BOT_DELETE = ("bot.delete", "ILM01I")
    BOT_TOKEN = ("bot.token", "ILM02I")
    BOT_JOIN = ("bot.join", "TJ001I")
    BOT_MISMATCH = ("bot.generation_mismatch", "ILM00W")
    KEYS_UPDATE = ("cluster.keys.update", "ILK00I")
    BACKUP_CREATE = ("cluster.backup", "ILB00I")
    BACKUP_RESTORE = ("cluster.restore", "ILB01I")
    MODE_UPDATE = ("session_recording_config.update", "TCREC003I")
    OFFLINE_UPDATE = ("access.offline.update", "ILO00I")
    OFFLINE_ACCESS = ("access.offline", "ILO01W")
    SUPERSEDED = ("audit.superseded", "ILA00I")
    DROPPED = ("audit.dropped", "ILA01I")
    RECORDING_REKEY = ("session.recording.rekey", "ILR03I")
    RECORDING_DELETE = ("session.recording.deleted", "ILR01I")
    EXPORT_DELETE = ("export.deleted", "ILE00I")
    HOLD_CREATE = ("hold.created", "ILH00I")
    HOLD_DELETE = ("hold.deleted", "ILH01I")

    def __init__(self, event: str, code: str) -> None:
        self.event = event
        self.code = code


ABOUT_FILES = frozenset(kind for kind in Kind if kind.event in {"sftp", "sftp_summary", "scp"})
"""What is told of a session that moves files, any number of times."""

ENVELOPE = frozenset({"ei", "event", "code", "time", "uid", "cluster_name", "sid"})
"""Names of what every event says of itself, which its fields can neither repeat nor change."""

ONCE_PER_SESSION = frozenset({"session.start", "session.end", "session.data", "session.upload"})
"""The audit store keeps the first of these for a session and drops any other; see also `SYNTHESIZED`. Of
``session.leave`` there is one for each party; the owner's is told under one uid, however often."""

NEXT = -1
"""The index of an event that the audit log numbers, since whoever tells it does not know what came before."""

SYNTHESIZED = "synthesized"
"""Field of an event that was made up because whoever should have told it died or was silent: who made it up.

An end that auth made up stays a session's last event, and gives way to the end that the session's own daemon
tells. Nothing is removed for that: a mark (`Kind.SUPERSEDED`) says that it counts no more."""

BY_AUTH = "auth"  # the daemon was silent for so long that it counted as dead
BY_RECOVERY = "recovery"  # the daemon itself, at its next start, from the recording on its disk


def rfc3339(moment: datetime) -> str:
    """The time as events carry it: UTC with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def repeatable_uid(sid: SessionId, event: str) -> str:
    """The ``uid`` of an event that may be told again by somebody who does not know whether it is stored."""
    return str(uuid5(UUID(sid), event))


def derived_uid(uid: str, purpose: str) -> str:
    """The ``uid`` of an event that there is at most once because of the event with this one."""
    return str(uuid5(NAMESPACE_OID, f"{uid} {purpose}"))


def fact(uid: str, sid: SessionId | None, event: str, synthesized: object) -> str:
    """What two events have in common of which one tells for auth what the other tells for the session's daemon.

    Each has a ``uid`` of its own, so that whoever got the first does not take the second for the same.
    """
    return repeatable_uid(sid, event) if synthesized == BY_AUTH and sid is not None else uid


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An immutable fact. ``index`` counts from 0 within one session, or is `NEXT`; outside sessions it is 0."""

    kind: Kind
    time: datetime
    uid: str
    cluster: str
    sid: SessionId | None = None
    index: int = 0
    fields: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> dict[str, JsonValue]:
        """The stored and exported form; a session ID is present exactly when the event has a session."""
        envelope: dict[str, JsonValue] = {
            "ei": self.index,
            "event": self.kind.event,
            "code": self.kind.code,
            "time": rfc3339(self.time),
            "uid": self.uid,
            "cluster_name": self.cluster,
        }
        if self.sid is not None:
            envelope["sid"] = self.sid
        return envelope | {name: value for name, value in self.fields.items() if name not in ENVELOPE}
