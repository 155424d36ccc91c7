"""``ilsh``: what a person needs beside stock ssh: log in, look around, open sessions, watch recordings.

This module assembles the commands. Sessions are opened by the system's own ssh and scp, which this only starts
with the right certificate, trust and route.
"""

import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer

from interlock.cli import user_bot, user_keys, user_lists, user_mfa, user_requests
from interlock.cli.options import IdentityOption, choice, duration, moment, session_id
from interlock.cli.output import EXIT_CODES, printable, run_app
from interlock.cli.user_context import (
    ClusterOption,
    ProxyOption,
    now,
    user_name,
    valid_login,
    with_portal,
)
from interlock.cli.user_profile import (
    Home,
    Profile,
    ProxyAddress,
    known_hosts,
    trusted_lines,
    write_key,
    write_private,
)
from interlock.core.browser import ANYBODY
from interlock.core.errors import ConfigError, NotFound, SignInFailed
from interlock.core.ids import parse_session_id

if TYPE_CHECKING:
    from interlock.adapters.ssh.portal_client import PortalClient
    from interlock.cli.user_login import Certified

app = typer.Typer(
    help="Use nodes behind an Interlock gateway.",
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
app.add_typer(user_lists.sessions, name="sessions")
app.add_typer(user_lists.recordings, name="recordings")
app.add_typer(user_lists.events, name="events")
app.add_typer(user_mfa.app, name="mfa")
app.add_typer(user_keys.app, name="keys")
app.add_typer(user_requests.app, name="request")
app.add_typer(user_bot.app, name="bot")
app.command("status")(user_lists.status)
app.command("ls")(user_lists.list_nodes)
app.command("config")(user_lists.config)

PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Settings of the commands whose arguments are those of ssh or scp."""


@app.command()
def login(
    proxy: ProxyOption = None,
    user: Annotated[
        str | None,
        typer.Option(parser=user_name, show_default="as before, or your account here", help="Your gateway user."),
    ] = None,
    ttl: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="Life of the certificate, for example 8h."),
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read password, new password and code from stdin, one a line."),
    ] = False,
    ca_pin: Annotated[
        str | None, typer.Option(metavar="SHA256:…", help="Trust a gateway whose host CA has this fingerprint.")
    ] = None,
    host_ca: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Trust the host CA in this file.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write key, certificate (-cert.pub) and known_hosts here instead of logging in."),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE.pub",
            help="Certify this key of yours, on a security key for example, and write FILE-cert.pub beside it.",
        ),
    ] = None,
    agent: Annotated[bool, typer.Option("--agent/--no-agent", help="Hand the key to the ssh-agent.")] = True,
    browser: Annotated[
        bool, typer.Option("--browser", help="Sign in with your browser, which is opened here if there is one.")
    ] = False,
    code: Annotated[
        bool, typer.Option("--code", help="Sign in with a browser anywhere: print its address and a code.")
    ] = False,
    sso: Annotated[
        bool, typer.Option("--sso", help="Sign in as whoever the browser says, for example by your company's SSO.")
    ] = False,
) -> None:
    """Sign in and get a short-lived certificate: by password, or with a browser (which is remembered)."""
    import asyncio

    from interlock.adapters.ssh.portal_client import Gateway
    from interlock.cli.user_login import LoginTrust, PersonsBrowser, StdinAnswers, TerminalAnswers, sign_in

    if password_stdin and (browser or code or sso):
        msg = "--password-stdin and a browser exclude each other"
        raise typer.BadParameter(msg)
    proxy, before, way = _last_time(proxy)
    if not (password_stdin or browser or code or sso or user):
        browser, sso = way == "browser", way == "sso"
    trusted = _host_ca_file(host_ca) if host_ca else [] if ca_pin else Home.default().host_ca(proxy)
    trust = LoginTrust(str(proxy), trusted, ca_pin)
    name = ANYBODY if sso else user or before or user_name(getpass.getuser())
    gateway = Gateway(proxy.host, proxy.port, name)
    answers = StdinAnswers(sys.stdin) if password_stdin else TerminalAnswers()
    person = PersonsBrowser(at_once=browser or code or sso, opens=not code)
    asked = None if password_stdin else person
    own = "" if public_key is None else _public_key(public_key)
    certified = asyncio.run(sign_in(gateway, trust, answers, ttl, asked, own))
    if public_key is not None:
        _write_certificate(public_key, certified)
        return
    if out is not None:
        _write_out(out, certified)
        return
    _store(proxy, certified, agent=agent, way="sso" if sso else "browser" if person.used else "")


def _last_time(proxy: ProxyAddress | None) -> tuple[ProxyAddress, str | None, str]:
    """The gateway to log in to, and the user that logged in there before, and how."""
    try:
        profile = Home.default().load(proxy).profile
    except (SignInFailed, ConfigError):
        if proxy is None:
            raise typer.BadParameter("say which gateway: --proxy HOST[:PORT]") from None
        return proxy, None, ""
    return profile.address, profile.user, profile.way


def _store(proxy: ProxyAddress, certified: "Certified", *, agent: bool, way: str) -> None:
    from interlock.cli.user_login import add_to_agent, remove_from_agent

    home = Home.default()
    _forget_in_agent(home, proxy)
    signed = certified.signed
    profile = Profile(
        proxy.host,
        proxy.port,
        signed.user,
        signed.cluster,
        signed.roles,
        signed.logins,
        certified.valid_until,
        way,
    )
    stored = home.save(
        profile,
        private=certified.key.private,
        public=certified.key.public,
        certificate=signed.certificate,
        host_ca=certified.host_ca,
    )
    if agent and os.environ.get("SSH_AUTH_SOCK") and not add_to_agent(stored, certified.valid_until - now()):
        remove_from_agent(stored)
        print("warning: the ssh-agent did not take the key", file=sys.stderr)
    if signed.notice:
        print(printable(signed.notice), file=sys.stderr)
    user_lists.print_facts(profile)


def _forget_in_agent(home: Home, proxy: ProxyAddress) -> None:
    from interlock.cli.user_login import remove_from_agent

    try:
        remove_from_agent(home.load(proxy))
    except (SignInFailed, ConfigError):
        return  # there was no login before


def _public_key(path: Path) -> str:
    from interlock.core.certificate import PublicKey

    try:
        return PublicKey.parse(path.read_text()).line()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} holds no public key", reason=str(error)) from None


def _write_certificate(public_key: Path, certified: "Certified") -> None:
    """Where stock clients look for it."""
    out = public_key.with_name(f"{public_key.name.removesuffix('.pub')}-cert.pub")
    try:
        write_private(out, certified.signed.certificate + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}", reason=str(error)) from None
    if certified.signed.notice:
        print(printable(certified.signed.notice), file=sys.stderr)
    print(f"The certificate was written to {out}.")


def _write_out(out: Path, certified: "Certified") -> None:
    signed = certified.signed
    try:
        write_key(out, private=certified.key.private, public=certified.key.public, certificate=signed.certificate)
        write_private(out.with_name(f"{out.name}-known_hosts"), known_hosts(certified.host_ca))
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}", reason=str(error)) from None
    print(f"Key and certificate were written to {out} and {out}-cert.pub.")


def _host_ca_file(path: Path) -> list[str]:
    from interlock.adapters.ssh.portal_client import fingerprint

    try:
        lines = trusted_lines(path.read_text())
        for line in lines:
            fingerprint(line)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} holds no public key of a host CA", reason=str(error)) from None
    if not lines:
        raise ConfigError(f"{path} holds no public key of a host CA")
    return lines


@app.command()
def logout(proxy: ProxyOption = None) -> None:
    """Delete your key and certificate, here and in the ssh-agent."""
    from interlock.cli.user_login import remove_from_agent

    home = Home.default()
    try:
        found = home.load(proxy)
    except SignInFailed:
        print("You were not logged in.")
        return
    remove_from_agent(found)
    home.remove(found)
    print(f"Logged out of {found.profile.address}.")


@app.command(context_settings=PASSED_ON)
def ssh(
    arguments: Annotated[list[str], typer.Argument(metavar="[SSH OPTIONS] LOGIN@NODE [COMMAND]…")],
    cluster: ClusterOption = None,
    proxy: ProxyOption = None,
    invite: Annotated[
        str, typer.Option(metavar="A,B", help="Users whom you ask to join; it allows them nothing more.")
    ] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What the session is for.")] = "",
) -> None:
    """Open a session on a node with the system's ssh. Options of ilsh come first."""
    from interlock.cli.user_ssh import split_ssh, ssh_argv

    login = valid_login(proxy)
    try:
        invited = [name.strip() for name in invite.split(",") if name.strip()]
        argv = ssh_argv(login, split_ssh(arguments), cluster or "", reason=reason, invite=invited)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _become(argv)


@app.command()
def join(
    session: Annotated[str, typer.Argument(metavar="SID", help="The session's ID; see ilsh sessions ls.")],
    mode: Annotated[
        str, typer.Option(metavar="[peer|observer|moderator]", help="See and type, see, or see and end.")
    ] = "",
    proxy: ProxyOption = None,
) -> None:
    """Take part in a live session with the system's ssh; without --mode as observer, if you may."""
    from interlock.cli.user_ssh import join_argv
    from interlock.core.extensions import JoinMode

    sid, wanted = session_id(session), choice(JoinMode, mode) if mode else None
    _become(join_argv(valid_login(proxy), sid, wanted))


@app.command(context_settings=PASSED_ON)
def scp(
    arguments: Annotated[list[str], typer.Argument(metavar="[SCP OPTIONS] SOURCE… TARGET")],
    cluster: ClusterOption = None,
    proxy: ProxyOption = None,
) -> None:
    """Copy files with the system's scp; a file on a node is LOGIN@NODE:PATH."""
    from interlock.cli.user_ssh import scp_argv

    login = valid_login(proxy)
    try:
        argv = scp_argv(login, arguments, cluster or "")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _become(argv)


def _become(argv: list[str]) -> NoReturn:
    program = shutil.which(argv[0])
    if program is None:
        raise NotFound(f"there is no {argv[0]} on this machine: install the OpenSSH client")
    os.execv(program, argv)  # noqa: S606 - no shell is the point (R26)


@app.command()
def play(
    recording: Annotated[
        str, typer.Argument(metavar="SID|FILE", help="A session's ID, or a downloaded recording.")
    ],
    form: Annotated[str, typer.Option("--format", metavar="[pty|text|json]", help="How to show it.")] = "pty",
    speed: Annotated[float, typer.Option(help="How many times as fast as it was.")] = 1.0,
    skip_idle_time: Annotated[bool, typer.Option("--skip-idle-time", help="Shorten pauses.")] = False,
    at: Annotated[
        int, typer.Option(metavar="TIME", parser=moment, help="Where to begin, for example 1h5m or 90s.")
    ] = 0,
    identity: IdentityOption = None,
    proxy: ProxyOption = None,
) -> None:
    """Play a recording of one of your sessions."""
    from interlock.cli.play import Pace, PlayFormat, frames_of_file, play, unlock_with
    from interlock.domain.container import decode

    chosen = choice(PlayFormat, form)
    try:
        pace = Pace(speed, skip_idle_time)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    unlock = unlock_with(identity)
    with _recording(recording, proxy, at) as file:
        frames = frames_of_file(file, at, unlock, form=form) if at else decode(_pieces(file), unlock)
        play(frames, _show, form=chosen, pace=pace, start=at, terminal=sys.stdout.isatty())


def _recording(name: str, proxy: ProxyAddress | None, at: int) -> BinaryIO:
    """The recording as an open file, or what is needed of it to play it from this moment on."""
    try:
        sid = parse_session_id(name)
    except ValueError:
        try:
            return Path(name).open("rb")
        except OSError as error:
            raise NotFound(f"{name!r} is neither a session ID nor a file that can be read") from error

    async def work(portal: "PortalClient") -> BinaryIO:
        # A nameless file: what was on somebody's screen is not left behind in /tmp.
        from interlock.cli.play import Fetched

        file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - the caller closes it
        if at:
            fetched = Fetched(file)
            async for offset, piece in portal.download_from(sid, at):
                fetched.put(offset, piece)
            if fetched.plays_from(at):
                return file
            file.seek(file.truncate(0))
        async for piece in portal.download(sid):
            file.write(piece)
        file.seek(0)
        return file

    return with_portal(proxy, work)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(1 << 16):
        yield piece


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> NoReturn:
    """The entry point."""
    run_app(app, "ilsh")
