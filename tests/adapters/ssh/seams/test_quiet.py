"""What asyncssh logs is unchanged, and costs nothing where it is not wanted."""

import logging

import asyncssh
import pytest
from asyncssh.logging import SSHLogger, logger
from asyncssh.packet import SSHPacketLogger

from interlock.adapters.ssh.seams import quiet


class Talker(SSHPacketLogger):
    """Somebody who sends packets."""

    @property
    def logger(self) -> SSHLogger:
        """Its log."""
        return logger.get_child(context="conn=1")


class Unreadable:
    """An argument that must not be made into text."""

    def __str__(self) -> str:
        raise AssertionError("made ready for a log that nobody reads")


def test_what_is_wanted_is_written(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its arguments in words, and packets from debug level 3 on."""
    quiet.hush()
    caplog.set_level(logging.DEBUG, "asyncssh")
    logger.debug1("from %s by %s", ("192.0.2.1", 22), [b"a", b"b"])
    monkeypatch.setattr(SSHLogger, "_debug_level", 1)
    Talker().log_sent_packet(1, 7, b"x")
    asyncssh.set_debug_level(3)
    Talker().log_sent_packet(1, 7, b"x")
    assert [each.getMessage().splitlines()[0] for each in caplog.records] == [
        "from 192.0.2.1, port 22 by a,b",
        "[conn=1, pktid=7] Sent packet type 1, 1 byte",
    ]


def test_what_is_not_wanted_is_not_made_ready(caplog: pytest.LogCaptureFixture) -> None:
    """Not even its arguments."""
    caplog.set_level(logging.ERROR, "asyncssh")
    logger.debug1("%s", Unreadable())
    logger.info("%s", Unreadable())
    assert not caplog.records
