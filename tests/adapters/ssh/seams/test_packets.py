"""The decoder reads what asyncssh's own reads, and refuses what it refuses."""

import inspect

import pytest
from asyncssh.packet import PacketDecodeError, SSHPacket
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.ssh.seams.packets import quicken

NUMBERS = st.integers(0, 9) | st.integers(0, 2**32 - 1)


class Plain(SSHPacket):
    """As asyncssh spells it: bytes, and what they mean."""

    def get_uint32(self) -> int:
        """Four bytes."""
        return int.from_bytes(self.get_bytes(4), "big")

    def get_string(self) -> bytes:
        """As many as the number says."""
        return self.get_bytes(self.get_uint32())


def told(packet: SSHPacket, asked: list[str]) -> list[object]:
    """Each answer, and what is left then; an error is an answer too."""
    found: list[object] = []
    for each in asked:
        try:
            found.append(getattr(packet, each)())
        except PacketDecodeError as error:
            found.append(str(error))
        found.append(packet.get_remaining_payload())
    return found


@given(
    st.lists(st.binary(max_size=9) | NUMBERS.map(lambda number: number.to_bytes(4, "big")), max_size=6).map(
        b"".join
    ),
    st.lists(st.sampled_from(["get_string", "get_uint32", "get_byte", "get_namelist"]), max_size=8),
)
def test_every_packet_is_read_as_before(data: bytes, asked: list[str]) -> None:
    """Whatever is asked of it, in whatever order, cut short or not."""
    asked = [each for each in asked if each != "get_byte" or data]
    quicken()
    assert told(SSHPacket(data), asked) == told(Plain(data), asked)


@pytest.mark.parametrize("name", ["get_uint32", "get_string"])
def test_they_stand_in_asyncsshs_place(name: str) -> None:
    """For every packet of the process."""
    assert inspect.getmodule(getattr(SSHPacket, name)) is inspect.getmodule(quicken)
