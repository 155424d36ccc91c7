"""Profiles on disk: private, whole, and trusted only as far as they parse."""

import stat
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from interlock.cli.user_profile import (
    DEFAULT_PORT,
    Home,
    Login,
    Profile,
    ProxyAddress,
    known_hosts,
    trusted_lines,
    write_private,
)
from interlock.core.errors import ConfigError, SignInFailed
from interlock.testing.clock import START

CA = "ssh-ed25519 AAAAhostca"


def profile(host: str = "gw.example.org", port: int = 3023) -> Profile:
    """A login of alice's."""
    return Profile(host, port, "alice", "test", ["access"], ["root"], START + timedelta(hours=1))


def save(home: Home, saved: Profile) -> Login:
    """Store a login with recognisable contents."""
    return home.save(saved, private="private\n", public="public", certificate="certificate", host_ca=[CA])


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("gw", "gw", DEFAULT_PORT, f"gw:{DEFAULT_PORT}"),
        ("gw.example.org:22", "gw.example.org", 22, "gw.example.org:22"),
        ("127.0.0.1:65535", "127.0.0.1", 65535, "127.0.0.1:65535"),
        ("::1", "::1", DEFAULT_PORT, f"[::1]:{DEFAULT_PORT}"),
        ("[2001:DB8::1]:22", "2001:db8::1", 22, "[2001:db8::1]:22"),
    ],
)
def test_an_address_is_parsed_and_shown_again(text: str, host: str, port: int, shown: str) -> None:
    """Names, IPv4 and IPv6, with and without port."""
    address = ProxyAddress.parse(text)
    assert (address.host, address.port, str(address)) == (host, port, shown)
    assert ProxyAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":22",
        "gw:",
        "gw:0",
        "gw:65536",
        "gw:22x",
        "gw:٢",
        "-oProxyCommand=x",
        "a b",
        "../x",
        "a/b",
        "[gw]:1",
        "a;b",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """R26: it will be an argument of ssh and a directory's name."""
    with pytest.raises(ValueError, match=r".+"):
        ProxyAddress.parse(text)


def test_a_saved_login_is_private_and_found_again(tmp_path: Path) -> None:
    """Files of 0600 in directories of 0700, whatever the umask; the last login is the current one."""
    home = Home(tmp_path / "home")
    save(home, profile("old"))
    saved = save(home, profile())
    assert home.load(None) == home.load(profile().address) == saved
    assert home.load(ProxyAddress.parse("old:3023")).profile.host == "old"
    assert saved.identity() == ("private\n", "certificate\n")
    for path in (tmp_path / "home").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_saving_again_replaces_key_and_certificate(tmp_path: Path) -> None:
    """No file of the earlier login stays, nor any half-written one."""
    home = Home(tmp_path)
    save(home, profile())
    login = home.save(profile(), private="new\n", public="new", certificate="new", host_ca=[CA])
    assert login.identity() == ("new\n", "new\n")
    names = {path.name for path in login.directory.iterdir()}
    assert names == {"id", "id.pub", "id-cert.pub", "known_hosts", "profile.json"}


def test_logging_out_deletes_secrets_and_keeps_trust(tmp_path: Path) -> None:
    """The next login need not ask about the host CA again."""
    home = Home(tmp_path)
    home.remove(save(home, profile()))
    with pytest.raises(SignInFailed, match="not logged in"):
        home.load(None)
    assert home.host_ca(profile().address) == [CA]
    assert {path.name for path in (tmp_path / "gw.example.org_3023").iterdir()} == {"known_hosts"}


def test_logging_out_elsewhere_keeps_the_current_login(tmp_path: Path) -> None:
    """Only the gateway that was named is left."""
    home = Home(tmp_path)
    old = save(home, profile("old"))
    save(home, profile())
    home.remove(old)
    assert home.load(None).profile.host == "gw.example.org"


def test_an_expired_certificate_is_no_login(tmp_path: Path) -> None:
    """At the very moment of its end."""
    home = Home(tmp_path)
    save(home, profile())
    assert home.load_valid(None, now=START + timedelta(minutes=59)) == home.load(None)
    with pytest.raises(SignInFailed, match="expired"):
        home.load_valid(None, now=START + timedelta(hours=1))


@pytest.mark.parametrize("field", ["user", "cluster", "roles", "logins", "host"])
def test_a_profile_whose_names_could_not_come_from_us_is_not_used(tmp_path: Path, field: str) -> None:
    """R26: a manipulated profile must not become an option of ssh."""
    home = Home(tmp_path)
    login = save(home, profile())
    contents = msgspec.json.decode((login.directory / "profile.json").read_bytes())
    contents[field] = ["-oProxyCommand=x"] if isinstance(contents[field], list) else "-oProxyCommand=x"
    write_private(login.directory / "profile.json", msgspec.json.encode(contents).decode())
    with pytest.raises(ConfigError, match="damaged"):
        home.load(None)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\0"])
def test_a_profile_that_is_no_profile_is_told(tmp_path: Path, text: str) -> None:
    """One sentence that names the directory."""
    home = Home(tmp_path)
    login = save(home, profile())
    write_private(login.directory / "profile.json", text)
    with pytest.raises(ConfigError, match=r"cannot be read"):
        home.load(None)


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", ".", "", "gone"])
def test_the_current_pointer_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    """It is the name of a directory here or it is nothing."""
    home = Home(tmp_path / "home")
    save(home, profile())
    (tmp_path / "home" / "current").write_text(name)
    with pytest.raises(SignInFailed):
        home.load(None)


def test_a_missing_key_means_logged_out(tmp_path: Path) -> None:
    """The profile alone opens nothing."""
    login = save(Home(tmp_path), profile())
    login.key.unlink()
    with pytest.raises(SignInFailed, match="not logged in"):
        login.identity()


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """One sentence, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        save(Home(tmp_path / "file" / "home"), profile())


def test_a_private_file_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    """Whoever planted the link gains nothing."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "id").symlink_to(victim)
    write_private(tmp_path / "id", "secret")
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "id").is_symlink()


def test_host_ca_files_are_read_bare_and_as_known_hosts() -> None:
    """What ilctl exports and what ssh keeps."""
    assert trusted_lines(known_hosts([CA])) == trusted_lines(f"# comment\n\n{CA}\n") == [CA]
