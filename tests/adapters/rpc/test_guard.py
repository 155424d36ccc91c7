"""A daemon speaks for itself and for nobody else, whatever it sends."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from interlock.adapters.rpc import messages, proxy_messages
from interlock.adapters.rpc.guard import MAX_LABELS, MAY_CALL, NODES_TELL, check_method
from interlock.adapters.rpc.messages import AUTH_SERVICE, Method
from interlock.core.errors import Denied, RemoteProtocolError, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import Access
from interlock.domain.audit import BY_AUTH, NEXT, SYNTHESIZED, AuditEvent, Kind, repeatable_uid
from interlock.domain.identity import Claims, Identity
from interlock.domain.target import SubKind
from interlock.services.keys.daemonca import DaemonKind, HostIdentity
from interlock.testing.auth import CLUSTER, SID, Node

OTHER_SID = SessionId("22222222-2222-4222-8222-222222222222")
STRANGER = DaemonId("99999999-9999-4999-8999-999999999999")


def stranger_admission(node: Node) -> Awaitable[Access]:
    """A question about somebody at another target."""
    now = node.auth.clock.now()
    return node.client.admit(Claims(Identity("a", (), CLUSTER), ("root",), now, now, 1), "root", STRANGER)


def with_field(node: Node, name: str, value: str) -> AuditEvent:
    """The node's event with one more field."""
    return replace(node.event(), fields={"recorded_by": node.id, name: value})


OFFENCES: dict[str, Callable[[Node], Awaitable[object]]] = {
    "tracker of another daemon": lambda n: n.client.put(replace(n.tracker(), daemon_id=STRANGER)),
    "tracker for another target": lambda n: n.client.put(replace(n.tracker(), target_id=STRANGER)),
    "another daemon's heartbeat": lambda n: n.client.keep(STRANGER, [SID], n.auth.clock.now()),
    "another node": lambda n: n.client.heartbeat(replace(n.target(), id=STRANGER)),
    "a name it did not join with": lambda n: n.client.heartbeat(replace(n.target(), hostname="db2")),
    "an agentless target": lambda n: n.client.heartbeat(replace(n.target(), sub_kind=SubKind.AGENTLESS)),
    "event of another daemon": lambda n: n.client.append([replace(n.event(), fields={"recorded_by": STRANGER})]),
    "event of another cluster": lambda n: n.client.append([replace(n.event(), cluster="elsewhere")]),
    "event with two names": lambda n: n.client.append([with_field(n, "event", "session.end")]),
    "event of two sessions": lambda n: n.client.append([with_field(n, "sid", OTHER_SID)]),
    "event with another's uid": lambda n: n.client.append(
        [replace(n.event(), uid=repeatable_uid(OTHER_SID, "session.start"))]
    ),
    "event with a uid of no kind": lambda n: n.client.append([replace(n.event(), uid="1")]),
    "event that auth made up": lambda n: n.client.append([with_field(n, SYNTHESIZED, BY_AUTH)]),
    "admission to another target": stranger_admission,
    "a node at what is no address": lambda n: n.client.heartbeat(replace(n.target(), host="-oProxyCommand=x")),
    "a node at no port": lambda n: n.client.heartbeat(replace(n.target(), port=1 << 20)),
    "a node with endless labels": lambda n: n.client.heartbeat(
        replace(n.target(), labels={"a": "x" * MAX_LABELS})
    ),
    "a node with an endless version": lambda n: n.client.heartbeat(replace(n.target(), version="x" * MAX_LABELS)),
    "event of what is no session": lambda n: n.client.append([n.event(sid=SessionId("../../../tmp/x"))]),
    "event of no session's name": lambda n: n.client.append([n.event(sid=SessionId(""))]),
    "tracker of what is no session": lambda n: n.client.put(
        replace(n.tracker(), sid=SessionId(SID.upper() + "A"))
    ),
    "storage for what is no session": lambda n: n.client.ready(SessionId("/tmp/x")),
}


@pytest.mark.parametrize("offence", OFFENCES)
async def test_a_node_may_only_speak_for_itself(node: Node, offence: str) -> None:
    """Whatever it says of others is refused and changes nothing."""
    with pytest.raises(Denied, match="only speak for itself") as refusal:
        await OFFENCES[offence](node)
    assert node.id in refusal.value.reason
    stores = node.auth.stores
    assert [stores.stored_events, stores.kept, stores.admitted] == [[], [], []]
    assert [stores.trackers, stores.nodes] == [{}, {}]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in NODES_TELL])
async def test_a_node_tells_nothing_of_auth(node: Node, kind: Kind) -> None:
    """It neither signs anybody in nor changes users, roles, tokens or nodes."""
    with pytest.raises(Denied, match="only speak for itself"):
        await node.client.append([node.event(kind, None)])
    assert node.auth.stores.stored_events == []


async def denied(call: Callable[[], Awaitable[object]]) -> None:
    """The verdict, asked for again as daemons do when a call breaks because auth was restarted."""
    for _ in range(5):
        with contextlib.suppress(StoreError):
            with pytest.raises(Denied):
                await call()
            return
    pytest.fail("auth could not be asked")


async def test_a_session_belongs_to_the_daemon_that_named_it_first(
    node: Node, neighbour: Node, tmp_path: Path
) -> None:
    """Nobody adds to, tracks or replaces another's session, even after auth was started anew."""
    await node.client.append([node.event()])
    await neighbour.client.append([neighbour.event(sid=OTHER_SID)])
    part = tmp_path / "part"
    part.write_bytes(b"forged")
    for restarted in (False, True):
        if restarted:
            await node.auth.stop()
            await node.auth.start()
            await node.reached()
            await neighbour.reached()
        await denied(lambda: neighbour.client.append([neighbour.event(Kind.SESSION_END)]))
        await denied(lambda: neighbour.client.put(neighbour.tracker()))
        await denied(lambda: neighbour.client.store(SID, part))
    assert part.exists()
    assert node.auth.stores.recordings_by_sid == {}
    await node.client.append([node.event(Kind.SESSION_END)])


async def test_a_session_of_the_proxy_is_nobody_elses(node: Node, tmp_path: Path) -> None:
    """From the moment at which the proxy agrees to the ID that the node minted, before anything is stored."""
    node.auth.claims.begin(SID, STRANGER)
    part = tmp_path / "part"
    part.write_bytes(b"forged")
    await denied(lambda: node.client.append([node.event(), node.event(Kind.SESSION_END)]))
    await denied(lambda: node.client.put(node.tracker()))
    await denied(lambda: node.client.store(SID, part))  # gRPC may lose the reason if it comes while bytes go out
    assert node.auth.stores.stored_events == []
    assert node.auth.stores.recordings_by_sid == {}


@pytest.mark.parametrize("said", ["event", "end", "tracker", "recording"])
async def test_an_id_that_a_node_spoke_of_is_no_session_of_the_proxys(
    node: Node, tmp_path: Path, said: str
) -> None:
    """The node cannot write the record first and announce the ID then."""
    part = tmp_path / "part"
    part.write_bytes(b"forged")
    match said:
        case "event":
            await node.client.append([node.event()])
        case "end":
            await node.client.append([node.event(Kind.SESSION_END)])
        case "tracker":
            await node.client.put(node.tracker())
        case _:
            await node.client.store(SID, part)
    with pytest.raises(RemoteProtocolError, match="another session"):
        node.auth.claims.begin(SID, STRANGER)


async def test_what_a_forwarder_refuses_in_a_nodes_session_does_not_take_the_session_away(node: Node) -> None:
    """The proxy tells of refusals in sessions that the node records, perhaps before the node says anything."""
    refusal = node.event(Kind.SESSION_REJECTED)
    node.auth.stores.stored_events = [replace(refusal, fields={"recorded_by": STRANGER})] * 3
    await node.client.append([node.event()])
    assert len(node.auth.stores.stored_events) == 4


async def test_a_node_may_repeat_what_it_may_have_said(node: Node) -> None:
    """At its next start it does not know what auth has; the uid says that it is the same event."""
    repeated = replace(node.event(Kind.EXEC), uid=repeatable_uid(SID, "exec"), index=NEXT)
    await node.client.append([repeated])
    assert node.auth.stores.stored_events == [repeated]


METHODS = [
    method for module in (messages, proxy_messages) for method in vars(module).values()
    if isinstance(method, Method) and method.service == AUTH_SERVICE
]  # fmt: skip


def test_every_method_says_who_may_call_it() -> None:
    """And the table has no others."""
    assert sorted(method.name for method in METHODS) == sorted(MAY_CALL)


@pytest.mark.parametrize("kind", DaemonKind)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.name))
def test_who_may_call_what(kind: DaemonKind, method: Method[object, object]) -> None:
    """The table is what is asked."""
    caller = HostIdentity(CLUSTER, STRANGER, ("x",), kind)
    if kind in MAY_CALL[method.name]:
        check_method(caller, method.name)
    else:
        with pytest.raises(Denied, match="may not ask this"):
            check_method(caller, method.name)


def test_a_node_gains_nothing_by_proxies() -> None:
    """What a node may call is what it could call before there were any."""
    gained = {name for name, kinds in MAY_CALL.items() if DaemonKind.NODE in kinds}
    ours = {method.name for method in vars(messages).values() if isinstance(method, Method)}
    assert gained <= ours
    assert not any(method.name in gained for method in vars(proxy_messages).values() if isinstance(method, Method))
