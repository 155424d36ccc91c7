"""Machines as network namespaces on one bridge: each has an address of its own, and can be cut off and healed.

The bridge is in a namespace, too, so that no rule of this machine's own network matters. This machine is on it by
an address of its own. What is cut off is dropped in silence, as by a cable that is pulled behind a switch.
Needs root and iproute2; `unavailable` says why it cannot be had.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from interlock.testing.procs import KitError, run

_BRIDGE = "br0"
_CARD = "eth0"


def unavailable() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2 (ip)"
    name = f"il{os.getpid()}try"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "add", _BRIDGE, "type", "bridge")
            run(["ip", "netns", "exec", name, "true"]).check()
        finally:
            _ip("netns", "del", name)
    except KitError as error:
        return f"this machine gives no network namespaces: {error}"
    return ""


class Network:
    """``names``: of the machines. Made by the ``with`` block, and gone behind it with all that runs in it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._id = f"il{os.getpid()}"
        self._subnet = _free_subnet(os.getpid())
        self._numbers = {name: number for number, name in enumerate(names, 2)}
        self._stack = ExitStack()

    @property
    def here(self) -> str:
        """This machine's address."""
        return f"{self._subnet}.1"

    @property
    def everybody(self) -> str:
        """All addresses, as PostgreSQL's rules name them."""
        return f"{self._subnet}.0/24"

    def address(self, name: str) -> str:
        """A machine's address."""
        return f"{self._subnet}.{self._numbers[name]}"

    def on(self, name: str) -> list[str]:
        """What to put before a command so that it runs on that machine, under the same process ID."""
        return ["ip", "netns", "exec", self._space(name)]

    @contextmanager
    def cut_off(self, name: str) -> Iterator[None]:
        """Nobody reaches this machine, and it reaches nobody."""
        port = self._port(name)
        self._switch("link", "set", port, "nomaster")
        try:
            yield
        finally:
            self._switch("link", "set", port, "master", _BRIDGE)

    @contextmanager
    def parted(self, names: Sequence[str]) -> Iterator[None]:
        """None of these reaches another one of them; everybody else reaches all of them."""
        ports = [self._port(name) for name in names]
        for port in ports:
            self._switch("link", "set", "dev", port, "type", "bridge_slave", "isolated", "on")
        try:
            yield
        finally:
            for port in ports:
                self._switch("link", "set", "dev", port, "type", "bridge_slave", "isolated", "off")

    def __enter__(self) -> Self:
        with ExitStack() as failing:
            failing.callback(self._stack.close)
            self._make()
            failing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _make(self) -> None:
        self._add_space("switch")
        self._switch("link", "add", _BRIDGE, "type", "bridge", "forward_delay", "0")
        self._switch("link", "set", _BRIDGE, "up")
        ours = f"{self._id}h"
        _ip(
            "link", "add", ours, "type", "veth", "peer", "name", self._port("here"), "netns", self._space("switch")
        )
        self._stack.callback(run, ["ip", "link", "del", ours])  # its namespace takes its time to go
        _ip("addr", "add", f"{self.here}/24", "dev", ours)
        _ip("link", "set", ours, "up")
        self._plug("here")
        for name in self._numbers:
            self._add_space(name)
            inside = ("-n", self._space(name))
            peer = ("peer", "name", self._port(name), "netns", self._space("switch"))
            _ip(*inside, "link", "add", _CARD, "type", "veth", *peer)
            _ip(*inside, "addr", "add", f"{self.address(name)}/24", "dev", _CARD)
            for card in ("lo", _CARD):
                _ip(*inside, "link", "set", card, "up")
            self._plug(name)

    def _add_space(self, name: str) -> None:
        _ip("netns", "add", self._space(name))
        self._stack.callback(run, ["ip", "netns", "del", self._space(name)])

    def _plug(self, name: str) -> None:
        self._switch("link", "set", self._port(name), "master", _BRIDGE, "up")

    def _switch(self, *words: str) -> None:
        _ip("-n", self._space("switch"), *words)

    def _space(self, name: str) -> str:
        return f"{self._id}{name}"

    def _port(self, name: str) -> str:
        return f"p{name}"


def _free_subnet(first: int) -> str:
    """One of 250 in which this machine has no address yet."""
    taken = run(["ip", "-4", "-o", "addr"]).check().stdout
    subnets = (f"10.213.{(first + number) % 250 + 1}" for number in range(250))
    return next(each for each in subnets if f" {each}." not in taken)


def _ip(*words: str) -> None:
    run(["ip", *words]).check()
