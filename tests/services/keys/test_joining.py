"""Join tokens and the decisions about who joins, without a network."""

import shlex
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import ConfigError, Denied, SignInFailed
from interlock.core.ids import DaemonId
from interlock.domain.target import SubKind, Target
from interlock.ports import TokenKind
from interlock.services.keys.daemonca import (
    DaemonCa,
    DaemonKind,
    create_authority,
    create_key,
    create_request,
    read_identity,
)
from interlock.services.keys.daemonroots import DaemonCas
from interlock.services.keys.joining import (
    FAILURE_WINDOW_S,
    MAX_FAILURES,
    MAX_SOURCES,
    FailureCounter,
    Joining,
    JoinRequest,
    JoinSources,
    TokenText,
    create_token,
)
from interlock.testing.auth import CLUSTER_ID, HOST_KEY, Stores
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import MemoryProxies

CLUSTER = "example"


class Desk:
    """A `Joining` over stores in memory and a clock that stands still."""

    def __init__(self) -> None:
        self.clock, self.entropy, self.stores = FakeClock(), FakeEntropy(), Stores()
        self.proxies = MemoryProxies()
        keys = create_authority(CLUSTER, entropy=self.entropy, now=START)
        self.ca = DaemonCa(keys, cluster=CLUSTER, entropy=self.entropy)
        self.joining = Joining(
            cluster_id=CLUSTER_ID,
            cluster=CLUSTER,
            tokens=self.stores,
            ca=DaemonCas(self.ca, cluster=CLUSTER, entropy=self.entropy),
            hosts=self.stores,
            tunnels=self.stores,
            targets=self.stores,
            trust=self.stores,
            proxies=self.proxies,
            clock=self.clock,
            entropy=self.entropy,
            reserved=["proxy.example.com"],
        )

    async def token(
        self, *, ttl: timedelta = timedelta(hours=1), uses: int = 1, kind: TokenKind = TokenKind.NODE
    ) -> TokenText:
        """A fresh token."""
        return await create_token(
            self.stores, pin=self.ca.pin, clock=self.clock, entropy=self.entropy, ttl=ttl, uses=uses, kind=kind
        )


@pytest.fixture
def desk() -> Desk:
    """A desk."""
    return Desk()


def request(token: TokenText, *names: str) -> JoinRequest:
    """What a daemon sends."""
    return JoinRequest(token.id, token.secret, names or ("db1",), create_request(create_key()), HOST_KEY)


async def test_a_token_is_one_shell_safe_line(desk: Desk) -> None:
    """It survives any shell unquoted, and reading it gives it back."""
    token = await desk.token()
    text = str(token)
    assert shlex.quote(text) == text
    assert TokenText.parse(f"{text}\n") == token


@pytest.mark.parametrize("text", ["", "ilj1", "ilj2.a.b.c", "ilj1.0123456789abcdef.short.short", "ilj1.x\ny"])
def test_what_is_no_token_is_not_repeated(text: str) -> None:
    """Whatever was pasted may be another secret."""
    with pytest.raises(ConfigError) as error:
        TokenText.parse(text + "hunter2")
    assert "hunter2" not in error.value.reason


async def test_the_store_never_has_the_secret(desk: Desk) -> None:
    """Only its hash."""
    token = await desk.token()
    assert token.secret not in repr(desk.stores.join_tokens)


@pytest.mark.parametrize(
    ("ttl", "uses"),
    [(timedelta(0), 1), (timedelta(days=8), 1), (timedelta(hours=1), 0), (timedelta(hours=1), 1001)],
)
async def test_tokens_are_bounded(desk: Desk, ttl: timedelta, uses: int) -> None:
    """A token is a password for a place in the cluster."""
    with pytest.raises(ConfigError):
        await desk.token(ttl=ttl, uses=uses)


async def test_a_token_can_be_for_several_daemons(desk: Desk) -> None:
    """As many as it says, each with an ID of its own."""
    token = await desk.token(uses=2)
    ids = {(await desk.joining.join(request(token, name), source="a")).id for name in ("db1", "db2")}
    assert len(ids) == 2
    with pytest.raises(SignInFailed):
        await desk.joining.join(request(token, "db3"), source="a")


async def test_all_refusals_of_a_token_read_alike(desk: Desk) -> None:
    """Unknown, wrong secret, expired, used up: one text for the outside, four reasons for the log."""
    used, expired, other = await desk.token(), await desk.token(ttl=timedelta(minutes=1)), await desk.token()
    await desk.joining.join(request(used), source="a")
    desk.clock.advance(60)
    unknown = replace(other, id="0" * 16)
    wrong = replace(other, secret=used.secret)
    refusals = []
    for token in (unknown, wrong, expired, used):
        with pytest.raises(SignInFailed) as refusal:
            await desk.joining.join(request(token), source="a")
        refusals.append(refusal.value)
    assert len({refusal.public for refusal in refusals}) == 1
    assert len({refusal.reason for refusal in refusals}) == 4


async def test_two_daemons_cannot_share_the_last_use(desk: Desk) -> None:
    """The store decides who was first; the other one is refused at the last step."""
    token = await desk.token()
    stored = desk.stores.join_tokens[token.id]
    first = request(token)

    async def token_as_it_was(_id: str) -> object:
        return stored

    await desk.joining.join(first, source="a")
    desk.stores.token = token_as_it_was  # type: ignore[method-assign, assignment]  # a read from before
    with pytest.raises(SignInFailed):
        await desk.joining.join(request(token), source="a")


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("a b",),
        ("-oProxyCommand=x",),
        ("a,b",),
        ("db1", ""),
        ("proxy.example.com",),
        ("auth.interlock.internal",),
        ("11111111-1111-4111-8111-111111111111",),
        tuple(f"n{i}" for i in range(17)),
    ],
)
async def test_wrong_names_are_denied(desk: Desk, names: tuple[str, ...]) -> None:
    """No name is no reason to be let in; a name becomes a certificate's principal."""
    token = await desk.token()
    with pytest.raises(Denied):
        await desk.joining.join(replace(request(token), names=names), source="a")
    assert desk.stores.join_tokens[token.id].uses == 1


async def test_a_name_of_another_live_target_is_denied(desk: Desk) -> None:
    """Joining must not divert sessions to another host."""
    taken = Target(DaemonId("22222222-2222-4222-8222-222222222222"), "db1", "10.0.0.1", 22, SubKind.AGENTLESS)
    await desk.stores.heartbeat(taken)
    with pytest.raises(Denied, match="another host's"):
        await desk.joining.join(request(await desk.token(), "web", "db1"), source="a")


async def test_repeated_names_count_once(desk: Desk) -> None:
    """A hostname that is also a further name."""
    reply = await desk.joining.join(request(await desk.token(), "db1", "db1"), source="a")
    assert reply.names == ("db1",)


async def test_renewal_keeps_identity_and_names(desk: Desk) -> None:
    """Nothing but time changes."""
    reply = await desk.joining.join(request(await desk.token()), source="a")
    before = read_identity(reply.certificate, cluster=CLUSTER)
    desk.clock.advance(timedelta(days=3))
    fresh = await desk.joining.renew(before, create_request(create_key()), HOST_KEY)
    assert read_identity(fresh.certificate, cluster=CLUSTER) == before


async def test_a_source_that_guesses_has_to_wait_and_no_other(desk: Desk) -> None:
    """Refused attempts of one address do not keep another one out."""
    token = await desk.token()
    for _ in range(MAX_FAILURES):
        with pytest.raises(SignInFailed, match="not valid"):
            await desk.joining.join(request(replace(token, id="f" * 16)), source="guesser")
    with pytest.raises(SignInFailed, match="wait a minute"):
        await desk.joining.join(request(token), source="guesser")
    await desk.joining.join(request(token), source="other")
    desk.clock.advance(FAILURE_WINDOW_S)
    with pytest.raises(SignInFailed, match="not valid"):
        await desk.joining.join(request(token), source="guesser")


def test_failures_are_counted_in_bounded_memory() -> None:
    """The longest silent source is forgotten."""
    counter = FailureCounter(FakeClock())
    for _ in range(MAX_FAILURES):
        counter.add("first")
    assert counter.exhausted("first")
    for number in range(MAX_SOURCES):
        counter.add(str(number))
    assert not counter.exhausted("first")


def test_joins_through_the_proxy_count_by_their_true_source() -> None:
    """So one who guesses there does not lock out the others."""
    sources = JoinSources()
    sources.note("127.0.0.1:40001", "192.0.2.7")
    sources.note("127.0.0.1:40002", "192.0.2.8")
    assert sources.of("127.0.0.1:40001") == "192.0.2.7"
    assert sources.of("127.0.0.1:40002") == "192.0.2.8"
    sources.forget("127.0.0.1:40001")
    sources.forget("127.0.0.1:40001")
    assert sources.of("127.0.0.1:40001") == "127.0.0.1"
    assert sources.of("[::1]:4711") == "[::1]"


async def test_nodes_may_share_a_name(desk: Desk) -> None:
    """They are told apart by their IDs."""
    token = await desk.token(uses=2)
    first = await desk.joining.join(request(token, "db1"), source="a")
    node = Target(first.id, "db1", "", 0, SubKind.NODE, tunnel=True)
    await desk.stores.heartbeat(node)
    second = await desk.joining.join(request(token, "db1"), source="a")
    assert second.id != first.id
    assert second.tunnel_certificate == f"{HOST_KEY} for the tunnel of {second.id}"


async def test_a_clusters_token_lets_no_node_in(desk: Desk) -> None:
    """Neither as text, which says what it is for, nor by its secret."""
    pin, clock, entropy = desk.ca.pin, desk.clock, desk.entropy
    token = await create_token(desk.stores, pin=pin, clock=clock, entropy=entropy, kind=TokenKind.CLUSTER)
    assert str(token).startswith("ilc1.")
    assert TokenText.parse(str(token), TokenKind.CLUSTER) == token
    with pytest.raises(ConfigError, match="is for a leaf cluster"):
        TokenText.parse(str(token))
    with pytest.raises(ConfigError, match="is for a node"):
        TokenText.parse(str(await desk.token()), TokenKind.CLUSTER)
    with pytest.raises(SignInFailed):
        await desk.joining.join(request(token), source="192.0.2.1")


async def test_a_proxy_joins_with_a_token_of_its_kind(desk: Desk) -> None:
    """It is a proxy by its certificate, and its host certificate is also for root clusters."""
    wanted = request(await desk.token(kind=TokenKind.PROXY), "gate")
    reply = await desk.joining.join(wanted, source="10.0.0.1")
    assert read_identity(reply.certificate, cluster=CLUSTER).kind is DaemonKind.PROXY
    assert reply.host_certificate.endswith(f"signed for gate,{reply.id},{CLUSTER_ID},localhost,127.0.0.1,::1")
    assert reply.tunnel_certificate == ""
    assert [each.id for each in await desk.proxies.proxies()] == [reply.id]


async def test_no_node_has_a_proxys_name_nor_a_proxy_a_nodes(desk: Desk) -> None:
    """Proxies share theirs; what was removed is free, and renews nothing."""
    gate = request(await desk.token(kind=TokenKind.PROXY, uses=2), "gate")
    one = await desk.joining.join(gate, source="10.0.0.1")
    await desk.joining.join(gate, source="10.0.0.1")
    with pytest.raises(Denied, match="reserved"):
        await desk.joining.join(request(await desk.token(), "gate"), source="10.0.0.1")
    now = desk.clock.now()
    node = Target(
        DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166"), "db1", "10.0.0.5", 22, SubKind.NODE, expires=now
    )
    await desk.stores.heartbeat(node)
    wanted = request(await desk.token(kind=TokenKind.PROXY), "db1")
    with pytest.raises(Denied, match="another host's"):
        await desk.joining.join(wanted, source="10.0.0.1")
    identity = read_identity(one.certificate, cluster=CLUSTER)
    await desk.proxies.remove_proxy(one.id)
    with pytest.raises(Denied, match="was removed"):
        await desk.joining.renew(identity, gate.csr, gate.host_key)
