"""The documentation names only what there is: files, tests, decisions, commands, events, metrics, settings.

Each test reads all documents, or the one that is about its subject, and says which words of which one are wrong.
"""

import ast
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from bench.parts import PARTS
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from interlock.adapters.rpc.guard import MAY_CALL
from interlock.cli import admin, run, user
from interlock.core import portal
from interlock.daemons.config import Config
from interlock.domain.access import RoleOptions
from interlock.domain.audit import Kind
from interlock.domain.metrics import Metric
from interlock.services.keys.daemonca import DaemonKind

ROOT = Path(__file__).parents[2]
DOCS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "bench/README.md")
}
PYTHON = {
    str(path.relative_to(ROOT)): path.read_text()
    for top in ("src", "tests", "bench")
    for path in sorted((ROOT / top).rglob("*.py"))
}
COMMANDS = {
    name: get_command(app) for name, app in (("ilctl", admin.app), ("ilsh", user.app), ("interlock", run.app))
}
LAYERS = "core|domain|ports|services|adapters|daemons|cli|testing|seams|node|tunnel"


def test_tests_that_are_named_exist() -> None:
    """By path, and by name within it."""

    def wrong(text: str) -> Iterator[str]:
        for path, name in re.findall(r"\b(tests/[\w/]+(?:\.py)?)(?:::(\w+))?", text):
            found = ROOT / path if (ROOT / path).exists() else ROOT / f"{path}.py"
            if not found.exists() or (name and not _defines(found.read_text(), name)):
                yield f"{path}::{name}"

    _nothing({"pyproject.toml": (ROOT / "pyproject.toml").read_text(), **DOCS, **_docstrings()}, wrong)


def test_tests_that_are_named_without_their_file_exist() -> None:
    """Somewhere."""
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    names = {name for text in PYTHON.values() for name in re.findall(r"def (test_\w+)", text)}

    def wrong(text: str) -> Iterator[str]:
        for name, ending in re.findall(r"\b(test_\w+)(\.py)?", text):
            if (name + ending) not in (files if ending else names):
                yield name + ending

    _nothing(DOCS, wrong)


def test_decisions_that_are_named_exist_and_are_listed() -> None:
    """In documents, source and tests; each says its own number."""
    numbers = {path.name[:4] for path in (ROOT / "docs/adr").glob("[0-9]*.md")}

    _nothing({**DOCS, **PYTHON}, lambda text: (n for n in re.findall(r"ADR-(\d+)", text) if n not in numbers))
    assert set(re.findall(r"\[(\d{4})\]\(\1-[\w-]+\.md\)", DOCS["docs/adr/README.md"])) == numbers
    for name, text in DOCS.items():
        if name.startswith("docs/adr/0"):
            assert text.startswith(f"# ADR-{Path(name).name[:4]}: "), name


def test_both_sides_of_a_merge_are_not_left_standing() -> None:
    """Nothing else looks at documents: a conflict in one passes every other check."""
    _nothing(DOCS, lambda text: re.findall(r"^(?:<{7}|>{7}) .*", text, re.MULTILINE))


def test_links_lead_somewhere() -> None:
    """Within the repository."""
    for name, text in DOCS.items():
        for link, place in re.findall(r"\]\(([^)#:]+)(?:#([\w-]+))?\)", text):
            path = (ROOT / name).parent / link
            assert path.exists(), f"{name}: {link}"
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE) if place else ()
            places = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
            assert not place or place in places, f"{name}: {link}#{place}"


def test_sections_of_the_protocol_that_are_named_exist() -> None:
    """Docstrings cite it most."""
    protocol = DOCS["docs/PROTOCOL.md"]
    headings = set(re.findall(r"^#+ ([\d.]+?)\.? ", protocol, re.MULTILINE)) | set(
        re.findall(r"^\*\*(\d+\.\d+)", protocol, re.MULTILINE)
    )

    def wrong(text: str) -> Iterator[str]:
        return (
            number for number in re.findall(r"PROTOCOL\.md,? §(\d+(?:\.\d+)?)", text) if number not in headings
        )

    _nothing({**DOCS, **PYTHON}, wrong)


def test_modules_that_are_named_exist() -> None:
    """A path below `src/interlock`, perhaps with something in the module."""

    def wrong(text: str) -> Iterator[str]:
        for name in re.findall(rf"`((?:src/interlock/)?(?:{LAYERS})/[\w/.*]+)`", text):
            if not any(_is_module(ROOT / "src/interlock" / below, name) for below in ("", "adapters/ssh")):
                yield name

    _nothing(DOCS, wrong)


def test_every_package_is_in_the_map() -> None:
    """Whoever adds one says what it is for."""
    text = DOCS["docs/ARCHITECTURE.md"].split("```")[1]
    for init in (ROOT / "src/interlock").rglob("__init__.py"):
        package = init.parent.relative_to(ROOT / "src/interlock")
        if package.parts and "migrations" not in package.parts[:-1]:
            assert re.search(rf"\b{package.name}\b", text), f"{package} is not in the map"


def test_commands_and_their_options_exist() -> None:
    """As they would be typed."""

    def wrong(text: str) -> Iterator[str]:
        for line in _commands(text):
            if (mistake := _mistake(line)) is not None:
                yield mistake

    _nothing({**DOCS, **_docstrings()}, wrong)


@pytest.mark.parametrize(("program", "tables"), [("ilctl", "test_admin_deeds.py"), ("ilsh", "test_user_deeds.py")])
def test_every_command_says_what_the_audit_log_has_of_it(program: str, tables: str) -> None:
    """In the tables of one test, which does each of them."""
    path = ROOT / "tests/cli" / tables
    known = {
        name.value
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for name in ast.walk(statement)
        if isinstance(name, ast.Constant) and isinstance(name.value, str)
    }
    new = sorted(set(_leaves(COMMANDS[program])) - known)
    assert not new, (
        f"{program}: {', '.join(new)}: not in {path}. If it changes something or opens a recording, it must "
        "leave an event (of ilctl: cli/admin_context.report), and have an entry in DEEDS; else name it in READS."
    )


def test_every_request_of_people_says_who_may_ask_it() -> None:
    """In the table of R23's test, which asks it as everybody."""
    path = ROOT / "tests/security/test_r23_who_sees_what.py"
    missing = [
        each.__name__ for each in get_args(portal.AnyRequest) if f"wire.{each.__name__}" not in path.read_text()
    ]
    assert not missing, f"{', '.join(missing)}: say in the table MAY of {path} who gets an answer"


def test_events_of_the_protocol_are_those_that_there_are() -> None:
    """By code and by name, both ways."""
    table = DOCS["docs/PROTOCOL.md"].split("## 6. ")[1].split("\n\n")[0]
    told = set(re.findall(r"\b(?:IL[A-Z]|T|TB|TC|TJ|TS|TLK|TJT|TCREC)\d+[A-Z]\b", table))
    exported = {"ILA02I"}  # a checkpoint: in exports only
    # The table says "TS0nnI, E" for each of the operations that it lists by their numbers.
    numbered = {kind.code for kind in Kind if re.match(r"TS0\d\d[IE]$", kind.code)}

    assert told - exported <= {kind.code for kind in Kind}
    assert {kind.code for kind in Kind} - numbered - told <= {"TS001E", "T3004E", "T3005E"}  # written as "I, E"
    for kind in Kind:
        assert kind.event in table or f"`.{kind.event.rpartition('.')[2]}`" in table, kind.event


def test_methods_of_the_protocol_are_who_may_call_them() -> None:
    """The table of daemons' methods is the guard's."""
    table = DOCS["docs/PROTOCOL.md"].split("\n## 12. ")[1]
    rows = re.findall(r"^\| (`.+?`) \| (yes|\S) \| (yes|\S) \|", table, re.MULTILINE)
    told = {
        method: {kind for kind, word in ((DaemonKind.NODE, node), (DaemonKind.PROXY, proxy)) if word == "yes"}
        for methods, node, proxy in rows
        for method in re.findall(r"`(\w+)`", methods)
    }

    assert told == {method: set(kinds) for method, kinds in MAY_CALL.items()}


def test_metrics_of_operations_are_those_that_there_are() -> None:
    """Both ways."""
    named = set(re.findall(r"\binterlock_\w+", DOCS["docs/OPERATIONS.md"]))
    assert named == {metric.title for metric in Metric}


def test_settings_in_examples_exist() -> None:
    """The daemons' own parser takes each example."""
    for name, text in DOCS.items():
        for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
            try:
                msgspec.convert(tomllib.loads(block), Config).check()
            except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
                pytest.fail(f"{name}: {error}")


def test_settings_that_are_named_exist() -> None:
    """As `table.setting`."""
    tables = {"auth", "proxy", "node", "monitor", "recordings", "web"}

    def wrong(text: str) -> Iterator[str]:
        for table, setting in re.findall(r"`(\w+)\.([a-z_]+)`", text):
            if table in tables and setting not in Config.__annotations__ and setting not in _settings(table):
                yield f"{table}.{setting}"

    _nothing(
        {
            name: text
            for name, text in DOCS.items()
            if name in {"README.md", "docs/OPERATIONS.md", "docs/SECURITY.md"} or name.startswith("docs/security/")
        },
        wrong,
    )


def test_parts_of_the_bench_are_those_that_there_are() -> None:
    """Each has a row."""
    rows = re.findall(r"^\| (`.+?) \|", DOCS["bench/README.md"], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} >= {part.name for part in PARTS}


def test_options_of_roles_that_are_named_exist() -> None:
    """After --option."""
    known = set(RoleOptions.__struct_fields__)

    def wrong(text: str) -> Iterator[str]:
        return (name for name in re.findall(r"--option\s+(\w+)=", text) if name not in known)

    _nothing(DOCS, wrong)


def _leaves(command: object, *path: str) -> Iterator[str]:
    """All commands that can be typed."""
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from _leaves(below, *path, name)
    else:
        yield " ".join(path)


def _nothing(texts: dict[str, str], wrong: Callable[[str], Iterable[str]]) -> None:
    found = {name: sorted(set(mistakes)) for name, text in texts.items() if (mistakes := list(wrong(text)))}
    assert not found


def _docstrings() -> dict[str, str]:
    """What the source says; not what its tests type, which may be wrong on purpose."""
    return {name: text for name, text in PYTHON.items() if name.startswith("src/interlock/")}


def _defines(text: str, name: str) -> bool:
    return re.search(rf"(?:def|class) {name}\b", text) is not None


def _is_module(below: Path, name: str) -> bool:
    path = name.removeprefix("src/interlock/").rstrip("/")
    if "*" in path:
        return any(below.glob(path))
    module, _, inside = path.partition(".")
    if inside in {"", "py"}:
        return (below / path).exists() or (below / f"{module}.py").exists()
    source = below / f"{module}.py"
    return source.exists() and re.search(rf"\b{inside.partition('.')[0]}\b", source.read_text()) is not None


def _settings(table: str) -> Iterable[str]:
    fields = {field.name: field.type for field in msgspec.structs.fields(Config)}
    return tuple(fields[table].__struct_fields__)


def _commands(text: str) -> Iterator[str]:
    """Command lines of our programs: in blocks and between back-quotes, up to a comment or another program."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`+([^`]+)`+", prose)]
    for line in (*lines, *spans):
        for part in re.split(r" #|\s#$|\||&&|;|…|>|`", line):
            words = part.split("$ ")[-1].strip()
            if words.partition(" ")[0] in COMMANDS and " " in words:
                yield words


def _mistake(line: str) -> str | None:
    """The words of a command line that its program does not know."""
    try:
        program, *words = shlex.split(line.replace("[", " ").replace("]", " "))
    except ValueError:
        return line
    command = COMMANDS[program]
    known = _options(command.params)
    while words and isinstance(command, TyperGroup):
        word = words.pop(0)
        if word.startswith("-"):
            if word.partition("=")[0] not in known:
                return line
            if known[word.partition("=")[0]] and "=" not in word:
                words[:1] = []
        elif (below := command.commands.get(word)) is not None:
            command = below
            known = _options(command.params)
        else:
            return line
    if program == "ilsh" and command.name in {"ssh", "scp"}:
        return None  # what follows may be the stock program's
    named = (word.partition("=")[0] for word in words if re.match(r"--[a-z]|-[a-z]$", word))
    return line if any(word not in known for word in named) else None


def _options(parameters: Iterable[object]) -> dict[str, bool]:
    """Each option's spellings, and whether a value follows it."""
    options: dict[str, bool] = {"--help": False}
    for parameter in parameters:
        if isinstance(parameter, TyperOption):
            for name in (*parameter.opts, *parameter.secondary_opts):
                options[name] = not parameter.is_flag
    return options
