"""A daemon that is asked to reload, and one that accepts nobody any more."""

import asyncio

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons import reloading
from interlock.daemons.config import Config, ProxyConfig
from interlock.daemons.gateway import run_gateway
from interlock.daemons.reloading import DRAINED, Reloads, drain
from interlock.testing.clock import FakeClock


class Proxy:
    """People at a proxy, and in tunnels that end there."""

    def __init__(self, *, here: int, visited: bool = False) -> None:
        self.here = here
        self.visited = visited
        self.accepts = True
        self.closed: list[str] = []

    @property
    def busy(self) -> bool:
        """One fewer whenever somebody looks."""
        assert not self.accepts
        self.here -= 1
        return self.here >= 0

    def close_door(self) -> None:
        """Accept nobody."""
        self.accepts = False

    def close_idle(self, text: str) -> None:
        """Whoever is in the tunnels leaves when nobody else is here."""
        self.closed.append(text)
        self.visited = self.visited and self.here > 0


@pytest.mark.parametrize("visited", [False, True])
async def test_who_is_here_stays_until_he_leaves(monkeypatch: pytest.MonkeyPatch, visited: bool) -> None:
    """Nobody new comes; tunnels in which nothing runs are closed at once, and their nodes go elsewhere."""
    monkeypatch.setattr(reloading, "LOOK_S", 0.0)
    proxy = Proxy(here=2, visited=visited)
    await drain(proxy, proxy)
    assert proxy.closed == [DRAINED] * 3


class Quick(Proxy):
    """Somebody was accepted in the moment in which the door was closed."""

    def close_door(self) -> None:
        super().close_door()
        asyncio.get_running_loop().call_soon(self.arrive)

    def arrive(self) -> None:
        """The connection is made."""
        self.here = 2


async def test_who_came_in_the_last_moment_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was accepted is nobody else's any more."""
    monkeypatch.setattr(reloading, "LOOK_S", 0.01)
    proxy = Quick(here=0)
    await drain(proxy, proxy)
    assert len(proxy.closed) == 3


async def test_a_reload_that_fails_is_not_the_last() -> None:
    """The daemon goes on as it was, and tries again when it is asked again."""
    asked: list[Config] = []
    done = asyncio.Event()
    reloads = Reloads(Config)

    async def reload(load: object) -> None:
        assert load is reloads.load
        asked.append(reloads.load())
        if len(asked) == 1:
            reloads.ask()
            raise ConfigError("no")
        done.set()

    async with asyncio.TaskGroup() as tasks:
        obeying = tasks.create_task(reloads.obey(reload, FakeClock()))
        reloads.ask()
        reloads.ask()
        await done.wait()
        obeying.cancel()
    assert len(asked) == 2


async def test_a_gateway_does_not_share_its_port_with_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its workers have it."""
    directory = tmp_path_factory.mktemp("gateway") / "data"
    config = Config(proxy=ProxyConfig(share_port=True))
    with pytest.raises(ConfigError, match="proxies apart from auth"):
        await run_gateway(config, directory, with_node=False, stopping=asyncio.Event())
