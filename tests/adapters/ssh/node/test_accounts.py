"""Which account a login is, and which this process can become."""

import os
import pwd

import pytest

from interlock.adapters.ssh.node import accounts
from interlock.adapters.ssh.node.accounts import find_account
from interlock.core.errors import Denied
from interlock.testing.openssh import current_login


def test_own_account() -> None:
    """What the passwd database says."""
    entry = pwd.getpwnam(current_login())
    account = find_account(current_login())
    assert (account.uid, account.gid, account.home) == (entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert account.gid in account.groups


def test_unknown_login() -> None:
    """Denied, in words for the person."""
    with pytest.raises(Denied, match="there is no login no_such_login on this host"):
        find_account("no_such_login")


def test_unprivileged_node_serves_its_own_account_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root's rights nobody else's session could be opened; the text says whose can."""
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    with pytest.raises(Denied, match="runs as nobody and can open sessions for nobody only"):
        find_account("root")
    assert find_account("nobody").name == "nobody"


def test_nologin_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it exists only root comes in."""
    monkeypatch.setattr(accounts, "NO_LOGINS", "/etc/passwd")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Denied, match="does not take logins now"):
        find_account("nobody")
    assert find_account("root").uid == 0
