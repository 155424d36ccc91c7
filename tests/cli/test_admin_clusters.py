"""``ilctl clusters`` as administrators of a root and of a leaf use it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from interlock.cli.admin_clusters import proxy, relation, role_map
from interlock.core.certificate import PublicKey
from interlock.daemons.local import Local, open_local
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.testing.clock import START

from .conftest import Ilctl

T = TypeVar("T")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZha2UgaG9zdCBrZXkgZm9yIHRlc3RzIG9ubHkhISEh"
ROOT = TrustedCluster(
    "main",
    "11111111-0000-4000-8000-000000000001",
    Relation.ROOT,
    START,
    user_cas=(KEY,),
    roles={"admin": ("dev",)},
)
LEAF = TrustedCluster(
    "branch",
    "22222222-0000-4000-8000-000000000002",
    Relation.LEAF,
    START,
    host_cas=(KEY,),
    proxy="branch:3023",
)


def on(directory: Path, work: Callable[[Local], Awaitable[T]]) -> T:
    """What ``work`` finds in the data directory that the commands use."""

    async def run() -> T:
        async with open_local(directory / "data") as local:
            return await work(local)

    return asyncio.run(run())


@pytest.fixture
def trusting(ilctl: Ilctl, tmp_path: Path) -> None:
    """One root and one leaf."""
    del ilctl  # which makes the directory

    async def work(local: Local) -> None:
        await local.trusts.put_trust(ROOT)
        await local.trusts.put_trust(LEAF)

    on(tmp_path, work)


@pytest.mark.usefixtures("trusting")
def test_clusters_are_listed(ilctl: Ilctl) -> None:
    """What each is to us, and what holds for it."""
    rows = {row["name"]: row for row in ilctl("clusters", "ls", "--format", "json").json()}
    assert (rows["main"]["relation"], rows["main"]["roles"], rows["main"]["insists"]) == (
        "root",
        "admin:dev",
        False,
    )
    assert (rows["branch"]["relation"], rows["branch"]["proxy"]) == ("leaf", "branch:3023")
    assert "branch:3023" in ilctl("clusters", "ls").out


@pytest.mark.usefixtures("trusting")
def test_a_trust_is_changed(ilctl: Ilctl, tmp_path: Path) -> None:
    """Each side changes what it decides; every change is an event with what holds from now on."""
    done = ilctl("clusters", "set", "MAIN", "--map", "admin:ops,*:guest", "--insist-on-recording", "--disable")
    assert (done.code, done.out) == (0, "The cluster MAIN was changed.\n")
    assert ilctl("clusters", "set", "branch", "--proxy", "branch.example").code == 0
    root = on(tmp_path, lambda local: local.trusts.trusted_cluster(Relation.ROOT, "main"))
    assert (root.roles, root.insists, root.enabled) == ({"admin": ("ops",), "*": ("guest",)}, True, False)
    leaf = on(tmp_path, lambda local: local.trusts.trusted_cluster(Relation.LEAF, "branch"))
    assert (leaf.proxy, leaf.enabled) == ("branch.example:3023", True)
    told = ilctl("events", "ls", "--type", "trusted_cluster.update", "--format", "json").json()
    assert [(each["name"], each["enabled"]) for each in told] == [("main", False), ("branch", True)]
    assert (told[0]["role_map"], told[0]["insists_on_recording"]) == ("admin:ops,*:guest", True)


@pytest.mark.usefixtures("trusting")
def test_the_other_ones_authorities_are_replaced(ilctl: Ilctl, tmp_path: Path) -> None:
    """By what its administrator has exported there: two while they change. Never by our own, nor by nothing."""
    other = f"{KEY[:-4]}ISEi"
    path = tmp_path / "authorities"
    path.write_text(f"{KEY} interlock-user-ca@main\n{other}\n\n")
    for name in ("main", "branch"):
        assert ilctl("clusters", "set", name, "--authorities", path).code == 0
    root = on(tmp_path, lambda local: local.trusts.trusted_cluster(Relation.ROOT, "main"))
    leaf = on(tmp_path, lambda local: local.trusts.trusted_cluster(Relation.LEAF, "branch"))
    assert (root.user_cas, root.host_cas) == ((KEY, other), ())
    assert (leaf.user_cas, leaf.host_cas) == ((), (KEY, other))
    told = ilctl("events", "ls", "--type", "trusted_cluster.update", "--format", "json").json()
    assert told[0]["authorities"] == [PublicKey.parse(each).fingerprint for each in (KEY, other)]
    for kind in ("user", "host"):
        path.write_text(ilctl("auth", "export", "--type", kind).out)
        assert "authorities of this cluster" in ilctl("clusters", "set", "main", "--authorities", path).err
    for wrong in ("", "no key\n"):
        path.write_text(wrong)
        assert ilctl("clusters", "set", "main", "--authorities", path).code == 4


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("branch", "--map", "a:b"), "branch is our leaf, and decides itself"),
        (("branch", "--no-insist-on-recording"), "branch is our leaf, and decides itself"),
        (("main", "--proxy", "x:1"), "main is our root, and decides itself"),
        (("main", "--map", "half"), "is not a mapping"),
        (("main", "--type", "peer"), "say root or leaf"),
        (("branch", "--proxy", "-x"), "not an address"),
    ],
)
def test_what_the_other_side_decides_is_not_changed_here(
    ilctl: Ilctl, arguments: tuple[str, ...], text: str
) -> None:
    """Nor nonsense."""
    done = ilctl("clusters", "set", *arguments)
    assert done.code == 2
    assert text in done.err


@pytest.mark.usefixtures("trusting")
def test_a_trust_is_ended(ilctl: Ilctl) -> None:
    """Once; the event keeps what it was."""
    assert ilctl("clusters", "rm", "main").out == "The cluster main was removed.\n"
    assert [row["name"] for row in ilctl("clusters", "ls", "--format", "json").json()] == ["branch"]
    [told] = ilctl("events", "ls", "--type", "trusted_cluster.delete", "--format", "json").json()
    assert (told["name"], told["relation"], told["role_map"]) == ("main", "root", "admin:dev")
    done = ilctl("clusters", "rm", "main")
    assert (done.code, "there is no cluster called main" in done.err) == (3, True)


def test_two_clusters_of_one_name_need_a_word_more(ilctl: Ilctl, tmp_path: Path) -> None:
    """Each other's leaf."""

    async def work(local: Local) -> None:
        await local.trusts.put_trust(ROOT)
        await local.trusts.put_trust(
            TrustedCluster("main", ROOT.id, Relation.LEAF, START, host_cas=(KEY,), proxy="main:3023")
        )

    on(tmp_path, work)
    assert "main is both our root and our leaf: say --type" in ilctl("clusters", "rm", "main").err
    assert ilctl("clusters", "rm", "main", "--type", "leaf").code == 0
    [row] = ilctl("clusters", "ls", "--format", "json").json()
    assert row["relation"] == "root"


WHERE = ("--auth", "127.0.0.1:1", "--own-proxy", "leaf")
TOKEN = f"ilc1.0123456789abcdef.{'s' * 43}.{'p' * 43}"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((TOKEN, *WHERE), 2, "--map ROOT-ROLE:LEAF-ROLE"),
        ((TOKEN, *WHERE, "--map", "admin:nobody"), 3, "there is no role called nobody in this cluster"),
        (("ilj1" + TOKEN[4:], *WHERE, "--map", "a:b"), 1, "this join token is for a node"),
        (("hunter2", *WHERE, "--map", "a:b"), 1, "this is not a join token"),
    ],
)
def test_trust_is_not_given_by_mistake(ilctl: Ilctl, arguments: tuple[str, ...], code: int, text: str) -> None:
    """Before anything is told to anybody, and never repeating a secret."""
    done = ilctl("clusters", "trust", *arguments)
    assert (done.code, text in done.err, "hunter2" in done.err) == (code, True, False)


def test_a_root_that_is_away_is_one_sentence(ilctl: Ilctl) -> None:
    """With its address."""
    ilctl("roles", "add", "dev", "--logins", "root", "--labels", "*")
    done = ilctl("clusters", "trust", TOKEN, *WHERE, "--map", "a:dev")
    assert done.code != 0
    assert "127.0.0.1:1" in done.err
    assert ilctl("clusters", "ls", "--format", "json").json() == []


def test_a_token_for_clusters_is_made(ilctl: Ilctl) -> None:
    """It says what to do with it, and the list says what it is for."""
    made = ilctl("tokens", "add", "--type", "cluster")
    assert made.out.startswith("ilc1.")
    assert "ilctl clusters trust TOKEN" in made.err
    assert [row["kind"] for row in ilctl("tokens", "ls", "--format", "json").json()] == ["cluster"]
    [told] = ilctl("events", "ls", "--type", "trusted_cluster_token.create", "--format", "json").json()
    assert told["uses"] == 1


def test_arguments_are_read() -> None:
    """As people write them."""
    assert role_map("a:b") == {"a": ("b",)}
    assert proxy("host") == "host:3023"
    assert relation("leaf") is Relation.LEAF
