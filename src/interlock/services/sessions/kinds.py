"""What a session channel may begin: shells, commands, subsystems, as roles say. By whoever emits its events."""

from interlock.core.errors import Denied
from interlock.domain.access import Access, SessionKind
from interlock.domain.audit import Kind
from interlock.domain.session import SFTP, Start
from interlock.domain.session import SessionKind as Wanted

_WORDS = {
    SessionKind.SHELL: ("shells", Kind.SESSION_REJECTED),
    SessionKind.EXEC: ("commands", Kind.EXEC_FAILURE),
    SessionKind.SFTP: ("sftp", Kind.SFTP_DISALLOWED),
    SessionKind.SUBSYSTEM: ("subsystems", Kind.SUBSYSTEM_FAILURE),
}


def kind_disallowed(start: Start, access: Access) -> tuple[Kind, Denied] | None:
    """The event and the refusal, if the roles do not let this begin; None if they do."""
    kind = _kind(start)
    if access.session_kinds is None or kind is None or kind in access.session_kinds:
        return None
    words, event = _WORDS[kind]
    may = ", ".join(each.value for each in access.session_kinds) or "nothing"
    return event, Denied(f"your role does not allow {words}", reason=f"the roles allow {may}, not {kind.value}")


def _kind(start: Start) -> SessionKind | None:
    match start.kind:
        case Wanted.SHELL:
            return SessionKind.SHELL
        case Wanted.EXEC:
            return SessionKind.EXEC
        case Wanted.SUBSYSTEM:
            return SessionKind.SFTP if start.command == SFTP else SessionKind.SUBSYSTEM
        case Wanted.CONNECTION:
            return None
