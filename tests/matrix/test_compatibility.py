"""Old and new daemons in every pairing (PROTOCOL.md §8): {old, new} proxy x three nodes x mode x what is run.

Each cell is one session in real processes. What every place shows is reduced to the flaws that it amounts to, and
these must be exactly the ones that are documented; the table is printed at the end.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import TypeVar, get_args

import pytest

from interlock.core.ids import SessionId
from interlock.daemons.local import Local, open_local
from interlock.domain.audit import JsonValue
from interlock.ports import EventFilter, RecordingFilter
from interlock.testing.gateway import Mode
from interlock.testing.generations import Age, AllNodes, Generations, Kind, NodeAge, Upgrading, arrive
from interlock.testing.procs import poll_until

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.xdist_group("matrix")]

Event = dict[str, JsonValue]
T = TypeVar("T")
SETTLE_S = 20.0


class Flaw(Enum):
    """What can be wrong with a session; the value is the verdict's words."""

    ENVIRONMENT = "the shell's ID is another one"
    UNTOLD = "the client learns no ID"
    UNKNOWN = "the client's ID is nobody's"
    TWICE = "recorded twice"


DOCUMENTED: dict[tuple[Age, NodeAge, Mode], set[Flaw]] = {
    ("new", "new", "proxy"): set(),
    ("new", "new", "node"): set(),
    ("new", "v1", "proxy"): {Flaw.ENVIRONMENT},
    ("new", "v1", "node"): set(),
    ("new", "none", "proxy"): {Flaw.ENVIRONMENT},
    ("new", "none", "node"): {Flaw.UNTOLD},
    **{("old", node, "proxy"): {Flaw.TWICE, Flaw.ENVIRONMENT} for node in get_args(NodeAge)},
    **{("old", node, "node"): {Flaw.UNKNOWN, Flaw.ENVIRONMENT} for node in get_args(NodeAge)},
}
"""What remains in each pairing, and cannot be avoided by the newer side."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Who meets whom, and what is run."""

    proxy: Age
    node: NodeAge
    mode: Mode
    kind: Kind


ACROSS: dict[Age, tuple[Pairing, ...]] = {
    "new": (
        Pairing("old", "new", "proxy", "exec"),
        Pairing("new", "v1", "proxy", "shell"),
        Pairing("old", "none", "node", "shell"),
        Pairing("new", "new", "node", "sftp"),
    ),
    "old": (
        Pairing("new", "new", "proxy", "shell"),
        Pairing("new", "none", "node", "exec"),
        Pairing("old", "new", "node", "exec"),
    ),
}
"""By the age of an auth apart: what is new in it, or missing, must not change what the others agree on."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What was seen of one session."""

    told: tuple[str, ...]
    printed: str
    live: tuple[str, ...]
    events: tuple[Event, ...]  # of all sessions that a reader of the log sees
    folded: tuple[Event, ...]  # what is hidden from it
    recordings: tuple[str, ...]
    found: tuple[str, ...]  # the session to which each ID leads that the client or the shell knows

    @property
    def sids(self) -> list[str]:
        """The sessions that the audit log shows, in order."""
        return list(dict.fromkeys(str(event["sid"]) for event in self.events))

    def flaws(self) -> set[Flaw]:
        """What is wrong."""
        found = set()
        shown = self.told[0] if self.told else self.sids[0]
        if self.printed != shown:
            found.add(Flaw.ENVIRONMENT)
        if not self.told:
            found.add(Flaw.UNTOLD)
        elif self.told[0] not in self.sids:
            found.add(Flaw.UNKNOWN)
        if len(self.sids) > 1:
            found.add(Flaw.TWICE)
        return found

    def count(self, event: str) -> Counter[str]:
        """How often a session has an event of this name."""
        return Counter(str(each["sid"]) for each in self.events if each["event"] == event)

    def row(self, letters: Callable[[Sequence[str]], str]) -> dict[str, str]:
        """For the table."""
        counts = [str(self.count(f"session.{name}").total()) for name in ("start", "end", "upload")]
        return {
            "told": letters(self.told),
            "printed": letters([self.printed]),
            "live": letters(self.live),
            "events": letters(self.sids),
            "recordings": letters(self.recordings),
            "counts": "/".join(counts),
            "folded": str(len(self.folded)),
            "verdict": "; ".join(sorted(flaw.value for flaw in self.flaws())) or "one of everything",
        }


async def look(cluster: AllNodes, node: NodeAge, kind: Kind, flaws: set[Flaw]) -> Cell:
    """One session on that node, from its start to the stored recordings."""
    target, expected = cluster.name_of(node), 2 if Flaw.TWICE in flaws else 1
    records = recorded(cluster, node, flaws)
    async with open_local(cluster.data) as local, AsyncExitStack() as stack:
        before = {each["uid"] for each in await told_of(local, target, duplicates=True)}

        async def news(*, duplicates: bool = False) -> list[Event]:
            found = await told_of(local, target, duplicates=duplicates)
            return [each for each in found if each["uid"] not in before]

        visitor = await arrive(stack, cluster, cluster.person, target)
        printed = await visitor.start(kind)
        await settled(lambda: news(duplicates=True), lambda each: count(each, "session.start") == records)
        live = await settled(lambda: trackers(local, target), lambda sids: len(sids) == expected)
        told = await visitor.leave()
        raw = await settled(lambda: news(duplicates=True), lambda each: count(each, "session.upload") == records)
        events = await news()
        sids = {str(each["sid"]) for each in raw} | {str(each.get("node_sid", "")) for each in raw}
        stored = [
            info for _, info in (await local.catalogue.page(RecordingFilter(limit=10_000))).rows if info.size
        ]
        known = dict.fromkeys([*told, printed])
        return Cell(
            told=told,
            printed=printed,
            live=tuple(live),
            events=tuple(events),
            folded=tuple(each for each in raw if each.get("deduplicated")),
            recordings=tuple(info.sid for info in stored if info.sid in sids),
            found=tuple([await one(local, each) for each in known]),
        )


def recorded(cluster: AllNodes, node: NodeAge, flaws: set[Flaw]) -> int:
    """How many daemons record a session on that node, whether auth lists it once or not."""
    return 2 if Flaw.TWICE in flaws or (cluster.mode == "proxy" and node != "new") else 1


async def told_of(local: Local, target: str, *, duplicates: bool = False) -> list[Event]:
    """All events of sessions on a target."""
    found = await local.audit.events(EventFilter(limit=100_000, duplicates=duplicates))
    return [each for each in found if each.get("server_hostname") == target and "sid" in each]


async def trackers(local: Local, target: str) -> list[str]:
    """The sessions that are listed as live on a target."""
    return [each.sid for each in (await local.catalogue.live(after="", limit=1000))[0] if each.hostname == target]


async def one(local: Local, sid: str) -> str:
    """The session whose events one finds with this ID; empty if there are none."""
    found = await local.audit.events(EventFilter(sid=SessionId(sid)))
    return str(found[0]["sid"]) if found else ""


def count(events: Sequence[Event], event: str) -> int:
    """How often something was told, by either daemon."""
    return sum(1 for each in events if each["event"] == event)


async def settled(ask: Callable[[], Awaitable[T]], ready: Callable[[T], bool]) -> T:
    """The first answer that is as it should be, or the last one before the time is up."""
    deadline = time.monotonic() + SETTLE_S
    while not ready(found := await ask()) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return found


@pytest.fixture(scope="module", params=get_args(Age))
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generations]:
    """A gateway of each age, with nodes of all ages."""
    with Generations(tmp_path_factory.mktemp(f"{request.param}-proxy"), proxy=request.param) as cluster:
        yield cluster


@pytest.mark.parametrize(("mode", "node", "kind"), [*product(get_args(Mode), get_args(NodeAge), get_args(Kind))])
def test_cell(
    cluster: Generations, mode: Mode, node: NodeAge, kind: Kind, record_property: Callable[[str, object], None]
) -> None:
    """Exactly the documented flaws; every session that is shown is shown once, whole, everywhere."""
    cluster.set_mode(mode)
    row = judge(cluster, Pairing(cluster.proxy, node, mode, kind))
    record_property("cell", json.dumps(row | {"proxy": cluster.proxy}))


@pytest.fixture(scope="module")
def upgrading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrading]:
    """Auth and proxies apart, with nodes of all ages."""
    with Upgrading(tmp_path_factory.mktemp("upgrading")) as cluster:
        yield cluster


@pytest.mark.parametrize("auth", ACROSS)
def test_cells_across_machines(
    upgrading: Upgrading, auth: Age, record_property: Callable[[str, object], None]
) -> None:
    """The same flaws and no others, whatever the age of an auth that is on another machine than both."""
    upgrading.put_auth(auth)
    for number, each in enumerate(ACROSS[auth]):
        upgrading.through(0 if each.proxy == "new" else 1)
        upgrading.set_mode(each.mode)
        asyncio.run(wait_idle(upgrading, each))
        row = judge(upgrading, each)
        record_property(f"cell {number}", json.dumps(row | {"proxy": f"{each.proxy}, auth {auth}"}))


async def wait_idle(cluster: AllNodes, pairing: Pairing) -> None:
    """Return when the node lets people in, and everything is told of whoever was there until then.

    By everybody who records: what one of them has told says nothing of the other.
    """
    target = cluster.name_of(pairing.node)
    client = cluster.client("idle", cluster.person)
    records = recorded(cluster, pairing.node, DOCUMENTED[pairing.proxy, pairing.node, pairing.mode])

    def told(found: Sequence[Event]) -> bool:
        return before + records <= count(found, "session.start") == count(found, "session.upload")

    async with open_local(cluster.data) as local:
        before = count(await told_of(local, target, duplicates=True), "session.start")
        poll_until(lambda: client.run(*cluster.route(target), "true").rc == 0, f"admission at {target}")
        assert told(await settled(lambda: told_of(local, target, duplicates=True), told))


def judge(cluster: AllNodes, pairing: "Pairing") -> dict[str, str]:
    """One cell: its row of the table, if it is as it has to be."""
    proxy, node, mode, kind = pairing.proxy, pairing.node, pairing.mode, pairing.kind
    flaws = DOCUMENTED[proxy, node, mode]
    cell = asyncio.run(look(cluster, node, kind, flaws))
    row = {"node": node, "mode": mode, "kind": kind} | cell.row(lettered(cell))
    assert cell.flaws() == flaws, row
    assert len(cell.told) == (0 if Flaw.UNTOLD in flaws else 1)
    assert sorted(cell.live) == sorted(cell.sids) == sorted(cell.recordings)
    for name in ("start", "end", "leave", "data", "upload"):
        assert cell.count(f"session.{name}") == dict.fromkeys(cell.sids, 1), name
    assert cell.count("exec") == (dict.fromkeys(cell.sids, 1) if kind == "exec" else {})
    assert cell.count("subsystem") == (dict.fromkeys(cell.sids, 1) if kind == "sftp" else {})
    known = [each for each in cell.found if each] if Flaw.UNKNOWN in flaws else cell.found
    assert set(known) == set(cell.sids), "an ID that somebody was shown does not lead to the session"
    assert not [each for each in cell.events if "node_sid" in each], "a duplicate is shown as news"
    if proxy == "new" and mode == "proxy" and node != "new":
        assert cell.folded
        assert {each["sid"] for each in cell.folded} == set(cell.sids)
    return row


def lettered(cell: Cell) -> Callable[[Sequence[str]], str]:
    """IDs as letters, in the order in which somebody comes across them."""
    names: dict[str, str] = {}

    def letters(sids: Sequence[str]) -> str:
        return " ".join(sorted(names.setdefault(sid, "ABCDEFGH"[len(names)]) for sid in sids)) or "-"

    letters([*cell.told, *cell.sids, cell.printed])
    return letters
