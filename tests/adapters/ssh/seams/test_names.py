"""asyncssh's private names that we lean on are still there, and mean what they meant.

The names are read from the seams themselves, so a new one cannot be forgotten here.
"""

import ast
import inspect
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

import asyncssh
import pytest

from interlock.adapters.ssh.seams import (
    certificates,
    dialling,
    forward,
    handshake,
    inplace,
    keys,
    leaf,
    node,
    packets,
    patience,
    quiet,
    relayed,
    slim,
    tunnel,
)
from interlock.adapters.ssh.seams.certificates import CertifiedConnection
from interlock.core.tunnel import TO_AUTH, TO_NODE

MODULES = (
    certificates,
    dialling,
    forward,
    handshake,
    inplace,
    keys,
    leaf,
    node,
    packets,
    patience,
    quiet,
    relayed,
    slim,
    tunnel,
)
SOURCE = "\n".join(Path(inspect.getfile(each)).read_text() for each in MODULES)
ASYNCSSH = "\n".join(path.read_text() for path in Path(inspect.getfile(asyncssh)).parent.rglob("*.py"))
CLASSES = [
    each
    for module in MODULES
    for each in vars(module).values()
    if inspect.isclass(each) and each.__module__ == module.__name__
]


@cache
def lines_by_word(text: str) -> dict[str, list[str]]:
    """The lines that have a word, by the word: looking for 150 names in all lines would take seconds."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        for word in set(re.findall(r"\w+", line)):
            found.setdefault(word, []).append(line)
    return found


def private_names() -> set[str]:
    """Attributes with a leading underscore that the seams use and do not define."""
    tree = ast.parse(SOURCE)
    used, ours = set(), set()
    for found in ast.walk(tree):
        if isinstance(found, ast.Attribute) and re.match(r"_[a-z]", found.attr):
            used.add(found.attr)
        elif isinstance(found, ast.ImportFrom):
            used |= {alias.name for alias in found.names if alias.name.startswith("_")}
        elif isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            ours.add(found.name)
    overridden = {name for each in CLASSES for name in vars(each) if _base_of(each, name) is not None}
    return used - (ours - overridden)


def _base_of(cls: type, name: str) -> object:
    """What ``name`` is in asyncssh, if ``cls`` overrides it."""
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("asyncssh.") and name in vars(base):
            found: object = vars(base)[name]
            return found
    return None


def overrides() -> list[tuple[type, str]]:
    """Every method of asyncssh's that a seam replaces."""
    return [
        (cls, name)
        for cls in CLASSES
        for name, member in vars(cls).items()
        if inspect.isfunction(member) and not name.startswith("__") and inspect.isfunction(_base_of(cls, name))
    ]


def test_the_version_is_the_one_that_was_read() -> None:
    """A new version is a decision: read its changes to the names below, then move the pin."""
    assert version("asyncssh") == "2.24.1"


@pytest.mark.parametrize("name", sorted(private_names()))
def test_private_name_exists(name: str) -> None:
    """asyncssh assigns or defines it; one of ours is assigned here."""
    definition = re.compile(rf"(self\.{name}\b[^=\n]*=|def {name}\b|class {name}\b|^\s*{name}\b.*=)", re.MULTILINE)
    ours = re.compile(rf"(self\.{name}\b[^=\n]*= |^\s+{name}(: .*)? = )", re.MULTILINE)
    theirs = "\n".join(lines_by_word(ASYNCSSH).get(name, ()))
    assert definition.search(theirs) or ours.search("\n".join(lines_by_word(SOURCE).get(name, ())))


@pytest.mark.parametrize(("cls", "name"), overrides(), ids=lambda each: getattr(each, "__name__", each))
def test_override_takes_what_the_original_takes(cls: type, name: str) -> None:
    """As many positional arguments, so that asyncssh's own calls still fit."""
    original = inspect.signature(_base_of(cls, name))  # type: ignore[arg-type]
    ours = inspect.signature(vars(cls)[name])
    wanted = [
        p for p in original.parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    ours.bind(*(object() for _ in wanted))
    assert inspect.iscoroutinefunction(vars(cls)[name]) == inspect.iscoroutinefunction(_base_of(cls, name))


@pytest.mark.parametrize(
    ("request_name", "handler"),
    [
        ("session-id-query@goteleport.com", "_process_session_id_query_at_goteleport_dot_com_global_request"),
        (
            "session-id-query-v2@goteleport.com",
            "_process_session_id_query_v2_at_goteleport_dot_com_global_request",
        ),
    ],
)
def test_query_handlers_are_found_by_name(request_name: str, handler: str) -> None:
    """asyncssh finds handlers by a mangled name; a change of the mangling would make us an old node."""
    from asyncssh.misc import map_handler_name

    assert f"_process_{map_handler_name(request_name)}_global_request" == handler
    assert hasattr(node.NodeConnection, handler)


@pytest.mark.parametrize("cls", [relayed.ClientLegConnection, node.NodeConnection])
def test_servers_announce_by_which_rule_they_judge_a_guess(
    cls: type[CertifiedConnection],
) -> None:
    """asyncssh ignores a guessed packet unless the client's first method is chosen: Dropbear's second rule."""
    connection = cls.__new__(cls)
    connection._server = True
    names = connection._get_extra_kex_algs()
    assert names[-1] == b"kexguess2@matt.ucc.asn.au"
    assert "first_kex_follows and self._kex.algorithm != peer_kex_algs[0]" in re.sub(r"\s+", " ", ASYNCSSH)


@pytest.mark.parametrize(
    ("kind", "connection"), [(TO_NODE, tunnel.AgentConnection), (TO_AUTH, tunnel.DoorConnection)]
)
def test_channel_handlers_are_found_by_name(kind: bytes, connection: type) -> None:
    """The same for channels of types of our own."""
    from asyncssh.misc import map_handler_name

    assert hasattr(connection, f"_process_{map_handler_name(kind.decode())}_open")
