"""What the programs share: tables, JSON, errors, files."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from interlock.cli.output import (
    ExitCode,
    Format,
    exit_code,
    print_json,
    print_rows,
    printable,
    replacing,
    run_app,
)
from interlock.core.errors import ConfigError, Denied, InterlockError, NotFound, SignInFailed, StoreError

ROW = {
    "name": "web1",
    "labels": {"env": "test", "tier": "1"},
    "logins": ("root", "web"),
    "created": datetime(2026, 6, 1, tzinfo=UTC),
    "live": True,
    "nothing": None,
}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), ExitCode.NOT_FOUND),
        (Denied("x"), ExitCode.DENIED),
        (SignInFailed("x"), ExitCode.DENIED),
        (StoreError("x"), ExitCode.FAILED),
        (ConfigError("x"), ExitCode.FAILED),
    ],
)
def test_errors_have_documented_exit_codes(
    error: InterlockError, code: ExitCode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public text on stderr, never the private reason."""
    error.reason = "secret"
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["program"])
    with pytest.raises(SystemExit) as ended:
        run_app(app, "program")
    assert ended.value.code == code == exit_code(error)
    assert capsys.readouterr() == ("", "error: x\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["locks", "add", "--zzz"], "no such option: --zzz; see program locks add --help"),
        (
            ["locks", "add", "--most", "x"],
            "invalid value for '--most': it must be a valid integer; see program locks add --help",
        ),
        (["locks", "add"], "invalid value: too few; see program locks add --help"),
        (["locks"], "missing command; see program locks --help"),
        (["helps"], "missing command; see program helps --help"),
        (["frob"], "no such command 'frob'; see program --help"),
    ],
)
def test_who_calls_a_command_wrongly_is_shown_to_its_own_help(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to that of the whole program, and in no library's words; where help is what is shown, too."""
    app, locks = typer.Typer(), typer.Typer()
    app.add_typer(locks, name="locks")
    app.add_typer(locks, name="helps", no_args_is_help=True)

    @locks.command()
    def add(most: int = 0) -> None:
        raise typer.BadParameter("too few" if not most else "")

    @locks.command()
    def rm() -> None: ...

    monkeypatch.setattr("sys.argv", ["program", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_app(app, "program")
    assert ended.value.code == ExitCode.USAGE
    shown = capsys.readouterr()
    assert ("Usage:" in shown.out, shown.err) == (arguments == ["helps"], f"error: {said}\n")


@pytest.mark.parametrize(("outcome", "code"), [(None, 0), (typer.Exit(7), 7), (KeyboardInterrupt(), 130)])
def test_programs_end_as_their_commands_say(
    outcome: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Success, a code of the command's own, and Ctrl-C."""
    app = typer.Typer()

    @app.command()
    def end() -> None:
        if outcome is not None:
            raise outcome

    monkeypatch.setattr("sys.argv", ["program"])
    with pytest.raises(SystemExit) as ended:
        run_app(app, "program")
    assert ended.value.code == code


def test_json_shows_every_key_and_text_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per row, as wide as it needs to be when it goes into a pipe."""
    print_rows([ROW], {"name": "Name"}, Format.JSON)
    [row] = json.loads(capsys.readouterr().out)
    assert row == {
        "name": "web1",
        "labels": {"env": "test", "tier": "1"},
        "logins": ["root", "web"],
        "created": "2026-06-01T00:00:00.000Z",
        "live": True,
        "nothing": None,
    }
    wide = {**ROW, "name": "x" * 300}
    print_rows([wide], {key: key for key in ROW}, Format.TEXT)
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == list(ROW)
    assert line.split() == ["x" * 300, "env=test,tier=1", "root,web", "2026-06-01T00:00:00.000Z", "yes"]


def test_markup_in_a_cell_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A user who is called [red] is not red."""
    print_rows([{"name": "[red]x[/red]"}], {"name": "Name"}, Format.TEXT)
    assert "[red]x[/red]" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "a\nb", "a\rb", "\x7f", "\u202e", "\u2028", "\udc80"])
def test_control_characters_are_made_visible(text: str) -> None:
    """C0, C1, delete, bidirectional overrides, line separators, undecodable bytes."""
    assert printable(text).isprintable()
    assert "\\x" in printable(text)
    assert printable("Grüße 世界") == "Grüße 世界"


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """C1 controls and overrides would pass through JSON as they are."""
    print_json({"x": "\x9b\u202eü"})
    assert capsys.readouterr().out.isascii()


def test_a_replaced_file_is_whole_or_untouched(tmp_path: Path) -> None:
    """Also when writing fails half way."""
    out = tmp_path / "out"
    with replacing(out) as file:
        file.write(b"one")
    assert out.read_bytes() == b"one"

    def fail() -> None:
        with replacing(out) as file:
            file.write(b"two")
            raise NotFound("gone")

    with pytest.raises(NotFound):
        fail()
    assert out.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [out]


def test_devices_are_written_to_and_not_replaced(tmp_path: Path) -> None:
    """``--out /dev/null`` must not turn /dev/null into a file; a missing directory is a plain error."""
    with replacing(Path("/dev/null")) as file:
        file.write(b"x")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(ConfigError, match="cannot write"), replacing(tmp_path / "no" / "out"):
        pass
