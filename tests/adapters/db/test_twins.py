"""Twins in SQLite: found whatever comes first, once, and nothing else is ever hidden."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from types import MappingProxyType

import pytest

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.twins import SqlTwinStore
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.twin import Twin
from interlock.ports import EventFilter
from interlock.testing.clock import START
from interlock.testing.postgres import Place

PROXY, NODE, OTHER_NODE = DaemonId("proxy"), DaemonId("node"), DaemonId("other")
HERE = "10.0.0.1:40000"


def sid(number: int) -> SessionId:
    """A session's ID."""
    return SessionId(f"00000000-0000-4000-8000-{number:012d}")


OURS, THEIRS = sid(1), sid(2)
KNOWN = [sid(number) for number in range(20)]


@dataclass
class Story:
    """The events of sessions, and what was told of twins."""

    database: Database
    audit: SqlAuditLog = field(init=False)
    twins: SqlTwinStore = field(init=False)

    def __post_init__(self) -> None:
        self.audit = SqlAuditLog(self.database)
        self.twins = SqlTwinStore(self.database)

    async def told(
        self, of: SessionId, by: DaemonId, *kinds: Kind, fields: Mapping[str, JsonValue] = MappingProxyType({})
    ) -> None:
        """Events of one session, in one batch."""
        common: dict[str, JsonValue] = {
            "user": "alice",
            "login": "root",
            "server_id": NODE,
            "recorded_by": by,
            "initial_command": ["id"],
            "addr.remote": HERE if by == NODE else "192.0.2.7:50022",
        }
        told = [
            AuditEvent(kind, START, f"{of}-{kind.name}", "demo", of, index, {**common, **fields})
            for index, kind in enumerate(kinds)
        ]
        await self.audit.append(told)

    async def shown(self, **wanted: bool | str) -> list[tuple[object, object]]:
        """Session and name of what a reader of the log sees."""
        found = await self.audit.events(replace(EventFilter(), **wanted))  # type: ignore[arg-type]
        return [(event["sid"], event["event"]) for event in found]


@pytest.fixture
def story(database: Database) -> Story:
    """An empty one."""
    return Story(database)


WHOLE = (Kind.SESSION_START, Kind.EXEC, Kind.SESSION_END, Kind.SESSION_UPLOAD)
SHOWN = [(OURS, kind.event) for kind in WHOLE]


async def ours(story: Story) -> None:
    """The forwarder's record."""
    await story.told(OURS, PROXY, *WHOLE)


async def theirs(story: Story) -> None:
    """The node's."""
    await story.told(THEIRS, NODE, *WHOLE)


async def expected(story: Story) -> None:
    """The forwarder knows that there must be a twin."""
    await story.twins.put(Twin(OURS, NODE, HERE))


async def named(story: Story) -> None:
    """The node named it."""
    await story.twins.put(Twin(OURS, NODE, HERE, THEIRS))


FOUND = list(permutations([ours, theirs, expected]))
NAMED = list(permutations([ours, theirs, named]))


@pytest.mark.parametrize("order", FOUND + NAMED, ids=lambda order: "-".join(each.__name__ for each in order))
async def test_whatever_comes_first_there_is_one_session(story: Story, order: Sequence[object]) -> None:
    """The node's record before ours, its name before either, or after both."""
    for step in order:
        await step(story)  # type: ignore[operator]
    assert await story.shown() == SHOWN
    assert await story.twins.folded(KNOWN) == {THEIRS: OURS}
    assert [await story.twins.one(each) for each in (OURS, THEIRS, sid(3))] == [OURS, OURS, sid(3)]


async def folded_story(story: Story) -> None:
    """One session with its twin."""
    for step in (ours, named, theirs):
        await step(story)


async def test_either_id_finds_the_session(story: Story) -> None:
    """The person in the shell knows the node's."""
    await folded_story(story)
    await story.told(sid(9), PROXY, Kind.SESSION_START)
    for each in (OURS, THEIRS):
        assert await story.shown(sid=each) == SHOWN
    assert await story.shown(sid=sid(9)) == [(sid(9), "session.start")]


async def test_duplicates_can_be_seen_and_nothing_is_lost(story: Story) -> None:
    """Marked, on request, under the one ID; and as they were told, for auth's own books."""
    await folded_story(story)
    both = await story.audit.events(EventFilter(sid=OURS, duplicates=True))
    marks = [(event["sid"], event.get("node_sid"), event.get("deduplicated")) for event in both]
    assert marks == [(OURS, None, None)] * 4 + [(OURS, THEIRS, True)] * 4
    told = await story.audit.events(EventFilter(sid=THEIRS, as_told=True))
    assert [(event["sid"], event.get("node_sid")) for event in told] == [(THEIRS, None)] * 4


async def test_what_only_the_node_told_stays(story: Story) -> None:
    """De-duplication is per class of event: what is no duplicate is shown, under the one ID."""
    await folded_story(story)
    await story.told(THEIRS, NODE, Kind.AGENT_FAILURE)
    assert await story.shown(sid=OURS) == [*SHOWN, (OURS, "agent-forward")]


async def test_it_survives_a_restart(place: Place) -> None:
    """The database knows it, also between the two halves."""
    first = await open_database(place)
    await ours(Story(first))
    await named(Story(first))
    await first.close()
    second = await open_database(place)
    await theirs(Story(second))
    assert await Story(second).shown() == SHOWN
    await second.close()


async def test_a_name_without_its_session_hides_nothing(story: Story) -> None:
    """It may come yet, but from that node only."""
    await ours(story)
    await named(story)
    await story.told(THEIRS, OTHER_NODE, *WHOLE, fields={"server_id": OTHER_NODE})
    assert len(await story.shown()) == 8
    assert await story.twins.folded(KNOWN) == {}


@pytest.mark.parametrize("victim", [PROXY, OTHER_NODE])
async def test_a_node_folds_nobody_elses_session(story: Story, victim: DaemonId) -> None:
    """Neither one that the proxy records, on whatever target, nor another node's, named before or after."""
    for at, order in enumerate([(True, False), (False, True)]):
        mine, stolen = sid(10 * at + 11), sid(10 * at + 12)
        await story.told(mine, PROXY, *WHOLE)
        for naming in order:
            if naming:
                await story.twins.put(Twin(mine, NODE, HERE, stolen))
            else:
                await story.told(stolen, victim, *WHOLE)
    assert await story.twins.folded(KNOWN) == {}
    assert len(await story.shown()) == 16


async def test_a_twin_is_one_session(story: Story) -> None:
    """A second name counts for nothing, and a second session on the connection stays."""
    await folded_story(story)
    await story.told(sid(3), NODE, Kind.SESSION_START)
    await story.twins.put(Twin(OURS, NODE, HERE, sid(3)))
    assert await story.twins.folded(KNOWN) == {THEIRS: OURS}
    assert (sid(3), "session.start") in await story.shown()


async def test_one_session_is_not_the_twin_of_two(story: Story) -> None:
    """The channel on which it was named first has it."""
    await folded_story(story)
    await story.told(sid(3), PROXY, *WHOLE)
    await story.twins.put(Twin(sid(3), NODE, HERE, THEIRS))
    assert await story.twins.folded(KNOWN) == {THEIRS: OURS}


async def test_the_nodes_word_is_better_than_a_guess(story: Story) -> None:
    """Two alike on one connection: the first is taken for the first, until the node says which is which."""
    for number in (1, 2):
        await story.told(sid(number), PROXY, *WHOLE)
        await story.twins.put(Twin(sid(number), NODE, HERE))
    for number in (11, 12):
        await story.told(sid(number), NODE, *WHOLE)
    assert await story.twins.folded(KNOWN) == {sid(11): sid(1), sid(12): sid(2)}
    await story.twins.put(Twin(sid(1), NODE, HERE, sid(12)))
    assert await story.twins.folded(KNOWN) == {sid(12): sid(1), sid(11): sid(2)}


async def test_a_connection_from_elsewhere_is_nobodys_twin(story: Story) -> None:
    """Somebody reached the node by himself meanwhile, as the same user, for the same."""
    await expected(story)
    await ours(story)
    elsewhere: dict[str, JsonValue] = {"addr.remote": "10.0.0.1:40001"}
    await story.told(THEIRS, NODE, *WHOLE, fields=elsewhere)
    assert len(await story.shown()) == 8


async def test_lists_of_one_kind_and_limits_count_what_is_shown(story: Story) -> None:
    """What is hidden takes no place in a list."""
    await folded_story(story)
    assert await story.shown(event="session.start") == [(OURS, "session.start")]
    found = await story.audit.events(EventFilter(user="alice", limit=2, newest=True))
    assert [event["event"] for event in found] == ["session.end", "session.upload"]
