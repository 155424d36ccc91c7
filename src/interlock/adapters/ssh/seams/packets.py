"""asyncssh's decoder of packets in fewer steps: a string costs it four calls, and a session has 60."""

from asyncssh.packet import PacketDecodeError, SSHPacket


def _get_uint32(self: SSHPacket) -> int:
    at = self._idx
    if at + 4 > self._len:
        raise PacketDecodeError("Incomplete packet")
    self._idx = at + 4
    return int.from_bytes(self._packet[at : at + 4], "big")


def _get_string(self: SSHPacket) -> bytes:
    at, end = self._idx + 4, self._len
    if at > end:
        raise PacketDecodeError("Incomplete packet")
    until = at + int.from_bytes(self._packet[at - 4 : at], "big")
    if until > end:
        self._idx = at
        raise PacketDecodeError("Incomplete packet")
    self._idx = until
    return self._packet[at:until]


def quicken() -> None:
    """From now on, in this process. Idempotent."""
    setattr(SSHPacket, "get_uint32", _get_uint32)  # noqa: B010 - mypy knows no other way to replace a method
    setattr(SSHPacket, "get_string", _get_string)  # noqa: B010
