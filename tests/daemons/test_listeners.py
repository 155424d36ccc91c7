"""A port in slots: no connection is lost between two that serve a slot, and no other program's port is shared."""

import socket
from collections.abc import Iterator

import pytest

from interlock.daemons.listeners import Listeners
from interlock.testing.ports import LOOPBACK, free_port


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    """On a port that the system chooses, in two slots."""
    made = Listeners(LOOPBACK, 0)
    made.grow(2)
    yield made
    made.close()


def port(listeners: Listeners) -> int:
    """The one that it chose."""
    return int(listeners.where.rpartition(":")[2])


def test_all_slots_have_one_address(listeners: Listeners) -> None:
    """Also those that come later."""
    listeners.grow(4)
    found = {each.getsockname() for slot in range(4) for each in listeners.shared(slot, 4)}
    assert found == {(LOOPBACK, port(listeners))}


def test_no_socket_is_without_a_worker_when_there_are_fewer(listeners: Listeners) -> None:
    """Closing one would end the connections that wait in it."""
    listeners.grow(5)
    assert [len(listeners.shared(slot, 2)) for slot in range(2)] == [3, 2]
    assert len({each for slot in range(3) for each in listeners.shared(slot, 3)}) == 5


def test_a_connection_waits_for_whoever_serves_the_slot_next(listeners: Listeners) -> None:
    """What a worker has inherited it may close: the queue stays."""
    inherited = [each.dup() for slot in range(2) for each in listeners.shared(slot, 2)]
    for each in inherited:
        each.listen()
    with socket.create_connection((LOOPBACK, port(listeners))) as client:
        for each in inherited:
            each.close()
        client.sendall(b"hello")
        for slot in range(2):
            for each in listeners.shared(slot, 2):
                try:
                    accepted, _ = each.accept()
                except BlockingIOError:
                    continue
                with accepted:
                    accepted.setblocking(True)
                    assert accepted.recv(5) == b"hello"
                    return
    pytest.fail("nobody could accept the connection")


@pytest.mark.parametrize("shares", [True, False])
def test_a_port_of_another_program_is_refused(shares: bool) -> None:
    """Even if that one would share it: half of its connections would come to us."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
        other.bind((LOOPBACK, free_port()))
        other.listen()
        listeners = Listeners(*other.getsockname())
        with pytest.raises(OSError, match="in use"):
            listeners.grow(2)
        listeners.close()


def test_a_name_of_several_addresses_is_listened_on_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every slot."""
    chosen = free_port()

    def resolved(*_: object, **__: object) -> list[tuple[object, ...]]:
        addresses = [("127.0.0.1", chosen), ("127.0.0.2", chosen)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    listeners = Listeners("both", chosen)
    listeners.grow(2)
    for slot in range(2):
        hosts = {each.getsockname()[0] for each in listeners.shared(slot, 2)}
        assert hosts == {"127.0.0.1", "127.0.0.2"}
    listeners.close()
