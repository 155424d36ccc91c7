"""Audit events: names and codes are the field's, and the JSON says what is known and no more."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from interlock.core.ids import SessionId
from interlock.domain.audit import ENVELOPE, ONCE_PER_SESSION, AuditEvent, Kind, repeatable_uid, rfc3339

SID = SessionId("00000000-0000-4000-8000-000000000001")
NOW = datetime(2026, 1, 2, 3, 4, 5, 6789, tzinfo=UTC)

FIELD = {
    # teleport-facts §3.6
    Kind.SESSION_START: ("session.start", "T2000I"),
    Kind.SESSION_JOIN: ("session.join", "T2001I"),
    Kind.SESSION_RESIZE: ("resize", "T2002I"),
    Kind.SESSION_LEAVE: ("session.leave", "T2003I"),
    Kind.SESSION_END: ("session.end", "T2004I"),
    Kind.SESSION_UPLOAD: ("session.upload", "T2005I"),
    Kind.SESSION_DATA: ("session.data", "T2006I"),
    Kind.RECORDING_LAPSE: ("session.recording.lapse", "ILR00W"),
    Kind.RECORDING_QUARANTINED: ("session.recording.quarantined", "ILR01E"),
    Kind.ROOM_LESS: ("recording.room", "ILD00W"),
    Kind.ROOM_MORE: ("recording.room", "ILD00I"),
    Kind.RECORDING_DIFFERS: ("session.recording.differs", "ILR02E"),
    Kind.SESSION_REJECTED: ("session.rejected", "T1006W"),
    Kind.EXEC: ("exec", "T3002I"),
    Kind.EXEC_FAILURE: ("exec", "T3002E"),
    Kind.SUBSYSTEM: ("subsystem", "T3001I"),
    Kind.SUBSYSTEM_FAILURE: ("subsystem", "T3001E"),
    Kind.SFTP_OPEN: ("sftp", "TS001I"),
    Kind.SFTP_OPEN_FAILURE: ("sftp", "TS001E"),
    Kind.SFTP_SETSTAT: ("sftp", "TS007I"),
    Kind.SFTP_SETSTAT_FAILURE: ("sftp", "TS007E"),
    Kind.SFTP_REMOVE: ("sftp", "TS011I"),
    Kind.SFTP_REMOVE_FAILURE: ("sftp", "TS011E"),
    Kind.SFTP_MKDIR: ("sftp", "TS012I"),
    Kind.SFTP_MKDIR_FAILURE: ("sftp", "TS012E"),
    Kind.SFTP_RMDIR: ("sftp", "TS013I"),
    Kind.SFTP_RMDIR_FAILURE: ("sftp", "TS013E"),
    Kind.SFTP_RENAME: ("sftp", "TS016I"),
    Kind.SFTP_RENAME_FAILURE: ("sftp", "TS016E"),
    Kind.SFTP_SYMLINK: ("sftp", "TS018I"),
    Kind.SFTP_SYMLINK_FAILURE: ("sftp", "TS018E"),
    Kind.SFTP_LINK: ("sftp", "TS019I"),
    Kind.SFTP_LINK_FAILURE: ("sftp", "TS019E"),
    Kind.SFTP_DISALLOWED: ("sftp", "TS020E"),
    Kind.SFTP_SUMMARY: ("sftp_summary", "TS021I"),
    Kind.SCP_DOWNLOAD: ("scp", "T3004I"),
    Kind.SCP_DOWNLOAD_FAILURE: ("scp", "T3004E"),
    Kind.SCP_UPLOAD: ("scp", "T3005I"),
    Kind.SCP_UPLOAD_FAILURE: ("scp", "T3005E"),
    Kind.SCP_DISALLOWED: ("scp", "T3010E"),
    Kind.PORT: ("port", "T3003I"),
    Kind.PORT_FAILURE: ("port", "T3003E"),
    Kind.PORT_CLOSED: ("port", "T3003S"),
    Kind.X11: ("x11-forward", "T3008I"),
    Kind.X11_FAILURE: ("x11-forward", "T3008W"),
    Kind.AGENT: ("agent-forward", "T3013I"),
    Kind.AGENT_FAILURE: ("agent-forward", "T3013W"),
    Kind.CLIENT_DISCONNECT: ("client.disconnect", "T3006I"),
    Kind.AUTH_FAILURE: ("auth", "T3007W"),
    Kind.USER_LOGIN: ("user.login", "T1000I"),
    Kind.USER_LOGIN_FAILURE: ("user.login", "T1000W"),
    Kind.CERT_CREATE: ("cert.create", "TC000I"),
    Kind.RECORDING_ACCESS: ("session.recording.access", "T2012I"),
    # the field's, beyond those
    Kind.USER_CREATE: ("user.create", "T1002I"),
    Kind.USER_UPDATE: ("user.update", "T1003I"),
    Kind.USER_DELETE: ("user.delete", "T1004I"),
    Kind.ROLE_CREATE: ("role.created", "T9000I"),
    Kind.ROLE_UPDATE: ("role.updated", "T9002I"),
    Kind.ROLE_DELETE: ("role.deleted", "T9001I"),
    Kind.TOKEN_CREATE: ("join_token.create", "TJT00I"),
    Kind.LOCK_CREATE: ("lock.created", "TLK00I"),
    Kind.LOCK_DELETE: ("lock.deleted", "TLK01I"),
    Kind.CLUSTER_CREATE: ("trusted_cluster.create", "T7000I"),
    Kind.CLUSTER_DELETE: ("trusted_cluster.delete", "T7001I"),
    Kind.CLUSTER_TOKEN_CREATE: ("trusted_cluster_token.create", "T7002I"),
    Kind.BACKUP_CREATE: ("cluster.backup", "ILB00I"),
    Kind.BACKUP_RESTORE: ("cluster.restore", "ILB01I"),
    Kind.MODE_UPDATE: ("session_recording_config.update", "TCREC003I"),
    # ours (ADR-0003)
    Kind.SESSION_ELSEWHERE: ("session.elsewhere", "ILS00I"),
    Kind.SUPERSEDED: ("audit.superseded", "ILA00I"),
    Kind.OFFLINE_ACCESS: ("access.offline", "ILO01W"),
    Kind.OFFLINE_UPDATE: ("access.offline.update", "ILO00I"),
    Kind.DROPPED: ("audit.dropped", "ILA01I"),
    Kind.RECORDING_REKEY: ("session.recording.rekey", "ILR03I"),
    Kind.RECORDING_DELETE: ("session.recording.deleted", "ILR01I"),
    Kind.EXPORT_DELETE: ("export.deleted", "ILE00I"),
    Kind.HOLD_CREATE: ("hold.created", "ILH00I"),
    Kind.HOLD_DELETE: ("hold.deleted", "ILH01I"),
    Kind.CLUSTER_UPDATE: ("trusted_cluster.update", "ILC00I"),
    Kind.ACCESS_REQUEST_CREATE: ("access_request.create", "T5000I"),
    Kind.ACCESS_REQUEST_UPDATE: ("access_request.update", "T5001I"),
    Kind.ACCESS_REQUEST_REVIEW: ("access_request.review", "T5002I"),
    Kind.ACCESS_REQUEST_DELETE: ("access_request.delete", "T5003I"),
    Kind.NODE_CREATE: ("node.create", "ILN00I"),
    Kind.NODE_DELETE: ("node.delete", "ILN01I"),
    Kind.PROXY_DELETE: ("proxy.delete", "ILP00I"),
    Kind.TOKEN_DELETE: ("join_token.delete", "ILT01I"),
    Kind.USER_SSO_LOGIN: ("user.login", "T1001I"),
    Kind.USER_SSO_LOGIN_FAILURE: ("user.login", "T1001W"),
    Kind.PASSWORD_CHANGE: ("user.password_change", "T1005I"),
    Kind.RESET_TOKEN_CREATE: ("reset_password_token.create", "T6000I"),
    Kind.SIGN_OUT: ("user.sign_out", "ILU00I"),
    Kind.MFA_ADD: ("mfa.add", "T1006I"),
    Kind.MFA_DELETE: ("mfa.delete", "T1007I"),
    Kind.MFA_CONFIRM: ("mfa_auth_challenge.validate", "T1016I"),
    Kind.MFA_CONFIRM_FAILURE: ("mfa_auth_challenge.validate", "T1016W"),
    Kind.RECOVERY_CODES: ("recovery_code.generated", "T1008I"),
    Kind.RECOVERY_CODE_USED: ("recovery_code.used", "T1009I"),
    Kind.RECOVERY_CODE_FAILURE: ("recovery_code.used", "T1009W"),
    Kind.KEY_ENROL: ("user.key.add", "ILU01I"),
    Kind.KEY_REMOVE: ("user.key.delete", "ILU02I"),
    Kind.ROTATION_BEGIN: ("certificate_authority.rotation.begin", "ILX00I"),
    Kind.ROTATION_STEP: ("certificate_authority.rotation.step", "ILX01I"),
    Kind.KEYS_UPDATE: ("cluster.keys.update", "ILK00I"),
    Kind.DAEMON_THROTTLED: ("daemon.throttled", "ILQ00W"),
    Kind.PRESENCE_FAILURE: ("access.presence", "ILP01W"),
    Kind.OIDC_CREATE: ("oidc.created", "T8100I"),
    Kind.OIDC_DELETE: ("oidc.deleted", "T8101I"),
    Kind.OIDC_UPDATE: ("oidc.updated", "T8102I"),
    Kind.OIDC_FORGET: ("oidc.forgotten", "ILU03I"),
    Kind.BOT_CREATE: ("bot.create", "TB001I"),
    Kind.BOT_DELETE: ("bot.delete", "ILM01I"),
    Kind.BOT_TOKEN: ("bot.token", "ILM02I"),
    Kind.BOT_JOIN: ("bot.join", "TJ001I"),
    Kind.BOT_MISMATCH: ("bot.generation_mismatch", "ILM00W"),
}


@pytest.mark.parametrize(("kind", "name_and_code"), FIELD.items())
def test_names_and_codes(kind: Kind, name_and_code: tuple[str, str]) -> None:
    """Tools of others read them."""
    assert (kind.event, kind.code) == name_and_code


def test_no_two_kinds_share_a_code() -> None:
    """An Enum would silently make them one."""
    codes = [kind.code for kind in Kind]
    assert len(set(codes)) == len(codes)


def test_every_kind_is_written_down_here() -> None:
    """So that a changed code is seen twice."""
    assert set(FIELD) == set(Kind)


def test_an_event_of_a_session() -> None:
    """The common fields, then its own."""
    event = AuditEvent(Kind.SESSION_START, NOW, "u-1", "home", SID, 3, {"login": "root"})
    assert event.to_json() == {
        "ei": 3,
        "event": "session.start",
        "code": "T2000I",
        "time": "2026-01-02T03:04:05.006Z",
        "uid": "u-1",
        "cluster_name": "home",
        "sid": SID,
        "login": "root",
    }
    assert json.loads(json.dumps(event.to_json())) == event.to_json()


def test_an_event_outside_sessions_has_no_sid() -> None:
    """Never an empty one: nothing is attributed to a session that is not."""
    assert "sid" not in AuditEvent(Kind.USER_LOGIN, NOW, "u-1", "home").to_json()


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), "2026-01-01T00:00:00.999Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    """Whatever zone they came in; cut, not rounded into the next second."""
    assert rfc3339(moment) == text


def test_what_is_kept_once() -> None:
    """The store drops a second one (PROTOCOL.md §6); those are names of events that exist."""
    once = (
        Kind.SESSION_START,
        Kind.SESSION_END,
        Kind.SESSION_DATA,
        Kind.SESSION_UPLOAD,
    )
    assert {kind.event for kind in once} == ONCE_PER_SESSION


def test_a_repeatable_uid_belongs_to_one_event_of_one_session() -> None:
    """Whoever tells the event again finds the same; nobody else does."""
    other = SessionId("00000000-0000-4000-8000-000000000002")
    mine = repeatable_uid(SID, "exec")
    assert mine == repeatable_uid(SID, "exec")
    assert len({mine, repeatable_uid(SID, "session.end"), repeatable_uid(other, "exec")}) == 3


@pytest.mark.parametrize("name", sorted(ENVELOPE))
def test_no_field_changes_the_envelope(name: str) -> None:
    """What an event says of itself is not for whoever fills in its fields."""
    honest = AuditEvent(Kind.SESSION_START, NOW, "u-1", "home", SID, 3, {"login": "root"})
    forged = AuditEvent(Kind.SESSION_START, NOW, "u-1", "home", SID, 3, {"login": "root", name: "forged"})
    outside = AuditEvent(Kind.SESSION_START, NOW, "u-1", "home", fields={"sid": SID})
    assert forged.to_json() == honest.to_json()
    assert "sid" not in outside.to_json()
