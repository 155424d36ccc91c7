"""A pytest plugin that shares the tests among forks of the process that has collected them: ``--forks N``.

xdist's workers each import and collect everything anew, which takes each of them longer than thousands of tests
do. What one process has collected, frozen out of garbage collection, its forks have for nothing. They draw tickets
for a few tests each from a pipe, until it is empty, and tell of what they ran. Nothing may run in threads before
that: forks have only the thread that forks.
"""

import contextlib
import os
import signal
import struct
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NoReturn

import pytest

TICKET = struct.Struct("=I")
PER_TICKET = 12
"""Tests that follow each other, so that most that share a module's fixture share it; few enough that forks end at
about the same time."""

Report = dict[str, Any]
"""As pytest makes it to be sent."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many."""
    parser.addoption("--forks", type=int, default=0, help="share the tests among so many forks of this process")


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Instead of pytest's own, if forks are asked for and there is something to run."""
    count: int = session.config.option.forks
    broken = session.testsfailed and not session.config.option.continue_on_collection_errors
    if not count or broken or session.config.option.collectonly:
        return None
    tickets = _draw(len(session.items))
    forks: list[_Fork] = []
    try:
        for number in range(count):
            forks.append(_fork(session, tickets, number))  # noqa: PERF401 - all so far must be ended
        os.close(tickets)
        _listen(session, forks)
    finally:
        for fork in forks:
            fork.end()
    return True


def _draw(tests: int) -> int:
    """The readable end of a pipe with a ticket for every few of so many tests: reading one is taking it."""
    readable, writable = os.pipe()
    for first in range(0, tests, PER_TICKET):
        os.write(writable, TICKET.pack(first))
    os.close(writable)
    return readable


# --- in the process that has collected --------------------------------------------------------------------------


@dataclass(slots=True)
class _Fork:
    """One of them, as the process sees it that made it."""

    pid: int
    told: Connection
    running: str = ""  # the test's ID; empty before the first and after the last
    status: int | None = None

    def end(self) -> int:
        """Its exit status; it is asked to end, as by Ctrl-C, if it has not."""
        if self.status is None:
            if not self.told.closed:
                self.told.close()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGTERM)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status


def _fork(session: pytest.Session, tickets: int, number: int) -> _Fork:
    readable, writable = Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    if not (pid := os.fork()):
        readable.close()
        _run(session, tickets, number, writable)
    writable.close()
    return _Fork(pid, readable)


def _listen(session: pytest.Session, forks: Sequence[_Fork]) -> None:
    """Take in what the forks tell, until all have ended."""
    speaking = {fork.told: fork for fork in forks}
    while speaking:
        for told in wait(list(speaking)):
            assert isinstance(told, Connection)
            fork = speaking[told]
            try:
                news: str | list[Report] = told.recv()
            except EOFError:
                del speaking[told]
                told.close()
                if fork.end() or fork.running:
                    where = fork.running or "no test"
                    raise session.Interrupted(f"a fork ended with {fork.status} in {where}") from None
                continue
            if isinstance(news, str):
                fork.running = news
            else:
                _report(session, news)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)


def _report(session: pytest.Session, sent: Sequence[Report]) -> None:
    """One test, as if it had run here."""
    hook = session.config.hook
    reports = [hook.pytest_report_from_serializable(config=session.config, data=each) for each in sent]
    hook.pytest_runtest_logstart(nodeid=reports[0].nodeid, location=reports[0].location)
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=reports[0].nodeid, location=reports[0].location)


# --- in a fork --------------------------------------------------------------------------------------------------


class _Teller:
    """Tells of each test: its ID before, its reports after it."""

    def __init__(self, config: pytest.Config, to: Connection) -> None:
        self._config = config
        self._to = to
        self._reports: list[Report] = []

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say it before anything can go wrong."""
        self._to.send(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One of set-up, call and teardown."""
        hook = self._config.hook
        self._reports.append(hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_runtest_logfinish(self) -> None:
        """All of them in one message."""
        self._to.send(self._reports)
        self._reports = []


def _run(session: pytest.Session, tickets: int, number: int, to: Connection) -> NoReturn:
    """Run what there are tickets for, and end."""
    code = 1
    try:
        _settle(session.config, number)
        session.config.pluginmanager.register(_Teller(session.config, to))
        mine = _mine(session.items, tickets)
        item = next(mine, None)
        while item is not None:
            following = next(mine, None)  # tells pytest which fixtures to keep
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            item = following
        to.send("")
        code = 0
    except KeyboardInterrupt:
        code = 2
    except BaseException:  # noqa: BLE001 - nothing of the collecting process may go on here
        traceback.print_exc()
    finally:
        os._exit(code)


def _settle(config: pytest.Config, number: int) -> None:
    """Share neither output nor directories with other forks."""
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    capture.start_global_capturing()
    capture.suspend_global_capture(in_=True)
    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]  # noqa: SLF001
    own = factory.getbasetemp() / f"fork{number}"
    own.mkdir()
    factory._basetemp = Path(own)  # noqa: SLF001


def _mine(items: Sequence[pytest.Item], tickets: int) -> Iterator[pytest.Item]:
    """The tests of one ticket after the other."""
    while ticket := os.read(tickets, TICKET.size):
        (first,) = TICKET.unpack(ticket)
        yield from islice(items, first, first + PER_TICKET)
