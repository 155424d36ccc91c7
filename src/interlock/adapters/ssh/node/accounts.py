"""The OS account behind a login: who the process runs as. Nothing here changes privileges."""

import os
import pwd
from dataclasses import dataclass

from interlock.core.errors import Denied

NO_LOGINS = "/etc/nologin"
"""While this file exists only root may log in (login(1), sshd(8))."""


@dataclass(frozen=True, slots=True)
class Account:
    """One line of the passwd database, with the supplementary groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


NOBODY = Account("nobody", 65534, 65534, (), "/", "/bin/false")
"""Of whoever takes part in somebody else's session, and may start nothing."""


def find_account(login: str) -> Account:
    """The account that sessions for ``login`` run as; Denied if there is none or this process cannot become it.

    Blocks: the account database may be a network directory. Call it in a thread.
    """
    try:
        entry = pwd.getpwnam(login)
    except KeyError:
        public = f"access denied: there is no login {login} on this host"
        raise Denied(public, reason=f"no OS account {login!r}") from None
    me = os.geteuid()
    if me not in (0, entry.pw_uid):
        owner = _name_of(me)
        public = f"access denied: this node runs as {owner} and can open sessions for {owner} only"
        raise Denied(public, reason=f"login {login} wanted, node runs unprivileged as uid {me}")
    if entry.pw_uid != 0 and os.path.exists(NO_LOGINS):  # noqa: PTH110  # one stat, no object wanted
        raise Denied("this host does not take logins now", reason=f"{NO_LOGINS} exists")
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    shell = entry.pw_shell or "/bin/sh"
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/", shell)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
