"""The audit log by a role: of nodes that the role reaches, in bounded pages, and nothing of what is nobody's."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from interlock.core import portal as wire
from interlock.domain.access import Deny, RoleOptions, SecondFactor, Verb
from interlock.domain.audit import JsonValue
from interlock.domain.rbac import Role
from interlock.services.portal import events as module
from interlock.services.portal.portal import Portal
from interlock.testing.clock import FakeClock
from interlock.testing.portal import Elsewhere, EventLog, Events, World, certified, portal_of, refused, signed_in

SEES = RoleOptions(allow=(Verb.LIST_EVENTS,))
OF_PROD = Role("web", (), {"env": "prod"}, SEES)
OF_ALL = Role("web", (), {"*": "*"}, SEES)


def event(name: str, node: str = "", **more: Any) -> dict[str, JsonValue]:
    """As it is stored."""
    about: dict[str, JsonValue] = {"server_id": f"id-of-{node}", "server_hostname": node} if node else {}
    return {"event": name, "code": "T", "uid": name, **about, **more}


STORED = [
    event("session.start", "web1", user="bob"),
    event("session.start", "db1", user="bob"),
    event("user.login", user="bob"),
    event("session.start", "gone1", server_labels={"env": "prod"}),
    event("session.start", "gone2", server_labels={"env": "test"}),
    event("session.end", "web2", user="carol"),
]


@dataclass
class Desk:
    """The portal with a log."""

    world: World
    log: EventLog
    portal: Portal

    async def ask(self, request: wire.Events | None = None) -> wire.EventList:
        """Alice's question."""
        reply = await self.portal.answer(signed_in(), request or wire.Events())
        assert isinstance(reply, wire.EventList), reply
        return reply


@pytest.fixture
async def desk(clock: FakeClock, events: Events) -> Desk:
    """Whose roles do not show it yet."""
    world, log = World(), EventLog(list(STORED))
    return Desk(world, log, await portal_of(world, clock=clock, events=events, elsewhere=Elsewhere(), log=log))


def places(reply: wire.EventList) -> list[str]:
    """The cursors of what is shown."""
    return [str(each["cursor"]) for each in reply.events]


async def test_nobody_reads_it_without_a_role_that_says_so(desk: Desk) -> None:
    """The refusal names what is missing."""
    assert "events:list" in (await refused(desk.portal, signed_in(), wire.Events())).message
    assert desk.log.asked == 0


async def test_events_of_nodes_that_the_role_reaches_are_shown(desk: Desk) -> None:
    """By the labels that a node has, or had when it is gone; nothing that is about no node."""
    desk.world.known_roles = [OF_PROD]
    shown = await desk.ask()
    assert places(shown) == ["1", "4", "6"]
    assert (shown.events[0]["user"], shown.next) == ("bob", "")


async def test_a_role_that_reaches_every_node_shows_all(desk: Desk) -> None:
    """Sign-ins and what administrators do, too; unless that is denied."""
    desk.world.known_roles = [OF_ALL]
    assert places(await desk.ask()) == ["1", "2", "3", "4", "5", "6"]
    assert places(await desk.ask(wire.Events(user="bob", event="session.start"))) == ["1", "2"]
    desk.world.known_roles = [Role("web", (), {"*": "*"}, replace_deny(SEES))]
    assert places(await desk.ask()) == []


async def test_to_whom_some_nodes_are_denied_what_may_be_about_them_is_not_shown(desk: Desk) -> None:
    """Nor what is about no node: a lock, a refusal by a node that is gone. Who sees that reaches every node."""
    denied = RoleOptions(deny=Deny(node_labels={"env": "prod"}, verbs=(Verb.LIST_EVENTS,)))
    desk.world.known_roles = [OF_ALL, Role("no", options=denied)]
    desk.world.accounts["alice"] = ("web", "no")
    desk.log.stored = [*STORED, event("auth", "gone3"), event("lock.created", target={"node": "web1"})]
    assert places(await desk.ask()) == ["2", "5"]


def replace_deny(options: RoleOptions) -> RoleOptions:
    """The same, taken away again."""
    return RoleOptions(allow=options.allow, deny=Deny(verbs=(Verb.LIST_EVENTS,)))


async def test_pages_lead_through_the_log_in_both_directions(desk: Desk) -> None:
    """Each once; the newest first, or onwards from a cursor."""
    desk.world.known_roles = [OF_PROD]
    back, before = list[str](), None
    for _ in range(4):
        reply = await desk.ask(wire.Events(limit=1, before=before))
        back += places(reply)
        if not reply.next:
            break
        before = int(reply.next)
    assert back == ["6", "4", "1"]
    first = await desk.ask(wire.Events(limit=2, after=0))
    assert (places(first), first.next) == (["1", "4"], "4")
    assert places(await desk.ask(wire.Events(limit=2, after=4))) == ["6"]


async def test_one_reply_looks_through_a_bounded_part(desk: Desk) -> None:
    """Who sees little of much asks on."""
    desk.world.known_roles = [OF_PROD]
    looked = module.PAGES * module.LOOKED_AT
    desk.log.stored = [event("session.start", "web1"), *(event("user.login") for _ in range(looked))]
    reply = await desk.ask()
    assert (reply.events, reply.next) == ([], "2")
    assert places(await desk.ask(wire.Events(before=2))) == ["1"]


async def test_replies_have_a_bounded_size(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit comes with the next one; of what never fits, the envelope."""
    monkeypatch.setattr(module, "MAX_OCTETS", 1000)
    desk.world.known_roles = [OF_ALL]
    desk.log.stored = [event("a", x="y" * 600), event("b", x="y" * 600), event("c", x="y" * 2000)]
    reply = await desk.ask()
    assert (places(reply), reply.next) == (["2", "3"], "2")
    assert "is not shown" in str(reply.events[1]["error"])
    assert "x" not in reply.events[1]
    reply = await desk.ask(wire.Events(before=2))
    assert (places(reply), reply.next) == (["1"], "")
    forwards = await desk.ask(wire.Events(after=0))
    assert (places(forwards), forwards.next) == (["1"], "1")


async def test_it_takes_a_second_factor_where_any_role_asks_for_one(desk: Desk) -> None:
    """As recordings do."""
    asking = RoleOptions(allow=SEES.allow, second_factor=SecondFactor.SIGN_IN)
    desk.world.known_roles = [replace(OF_ALL, options=asking)]
    assert "second factor" in (await refused(desk.portal, certified("alice", "web"), wire.Events())).message
