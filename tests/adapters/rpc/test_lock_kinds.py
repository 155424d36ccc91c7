"""Locks of kinds that one side does not know: they must not void those that it does."""

from dataclasses import replace

import msgspec

from interlock.adapters.rpc import messages as m
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.testing.clock import START

LOCKS = tuple(Lock(f"l{n}", kind, "name", START, "message") for n, kind in enumerate(LockKind))
TOLD = LockList(LOCKS, strict=True, offline_s=60, trust="t", policy="7")


def test_every_kind_travels() -> None:
    """Between two of this release."""
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(m.Locks.of(TOLD)), type=m.Locks).read()
    assert set(read.locks) == set(LOCKS)
    assert read == replace(TOLD, locks=read.locks)


def test_a_daemon_of_the_first_release_reads_the_kinds_that_it_knows() -> None:
    """The others are where it does not look."""
    assert {lock.kind for lock in m.Locks.of(TOLD).locks} == m.FIRST_LOCKS


def test_a_kind_of_a_later_release_locks_nothing_here_and_the_others_stay() -> None:
    """Nobody could be compared with it."""
    later, told = m.NewerLock("l9", "voice", "alice", START, ""), m.Locks.of(TOLD)
    assert set(m.Locks(told.locks, told.strict, 0, (later, *told.newer)).read().locks) == set(LOCKS)
