"""What a person can look up with ``ilsh``: who they are, and nodes, sessions and recordings that are theirs."""

from typing import Annotated

import typer

from interlock.cli.event_rows import (
    AfterCursor,
    BeforeCursor,
    OfSession,
    OfType,
    OfUser,
    WithDuplicates,
    print_events,
)
from interlock.cli.options import AfterOption, FormatOption
from interlock.cli.output import ExitCode, Format, more, print_json, print_rows, printable
from interlock.cli.user_context import ClusterOption, ProxyOption, now, valid_login, with_portal
from interlock.cli.user_profile import Home, Profile
from interlock.core import portal as wire
from interlock.core.errors import SignInFailed
from interlock.domain.audit import rfc3339

PageOption = Annotated[int, typer.Option("--limit", min=1, max=wire.MAX_LISTED, help="At most this many.")]

sessions = typer.Typer(help="Live sessions: yours, and those that you may join or see.")
recordings = typer.Typer(help="Recordings of your finished sessions.")
events = typer.Typer(help="The audit log, as far as a role shows it.")


def status(proxy: ProxyOption = None, form: FormatOption = Format.TEXT) -> None:
    """Show as whom you are logged in, and until when; exit code 1 when you are not."""
    try:
        profile = Home.default().load(proxy).profile
    except SignInFailed as error:
        if form is Format.JSON:
            print_json({"logged_in": False})
        else:
            print(error.public)
        raise typer.Exit(ExitCode.FAILED) from None
    valid = now() < profile.valid_until
    if form is Format.JSON:
        print_json({"logged_in": valid} | facts(profile))
    else:
        print_facts(profile)
    if not valid:
        if form is Format.TEXT:
            print("Your certificate has expired: run ilsh login.")
        raise typer.Exit(ExitCode.FAILED)


def facts(profile: Profile) -> dict[str, object]:
    """A profile for programs."""
    return {
        "proxy": str(profile.address),
        "user": profile.user,
        "cluster": profile.cluster,
        "roles": profile.roles,
        "logins": profile.logins,
        "valid_until": rfc3339(profile.valid_until),
    }


def print_facts(profile: Profile) -> None:
    """A profile for people."""
    for name, value in facts(profile).items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        print(f"{name.replace('_', ' ').capitalize() + ':':<13}{printable(shown)}")


def list_nodes(proxy: ProxyOption = None, cluster: ClusterOption = None, form: FormatOption = Format.TEXT) -> None:
    """List the nodes that your roles let you reach, with the logins that you may use."""
    reply = with_portal(proxy, lambda portal: portal.ask(wire.Nodes(cluster or ""), wire.NodeList))
    rows = [
        {
            "hostname": node.hostname,
            "logins": node.logins,
            "labels": node.labels,
            "sub_kind": node.sub_kind,
            "id": node.id,
        }
        for node in reply.nodes
    ]
    columns = {"hostname": "Node", "logins": "Logins", "labels": "Labels", "sub_kind": "Kind", "id": "ID"}
    print_rows(rows, columns, form)


@sessions.command("ls")
def list_sessions(
    proxy: ProxyOption = None,
    limit: PageOption = wire.MAX_LISTED,
    after: AfterOption = "",
    form: FormatOption = Format.TEXT,
) -> None:
    """List your sessions that are live now, oldest first, and others' that you may join; see ilsh join."""
    request = wire.Sessions(after, limit)
    reply = with_portal(proxy, lambda portal: portal.ask(request, wire.SessionList))
    rows = [
        {
            "sid": item.sid,
            "state": item.state,
            "user": item.user,
            "login": item.login,
            "hostname": item.hostname,
            "created": item.created,
            "command": item.command,
            "participants": item.participants,
            "join_as": item.joinable,
            "reason": item.reason,
            "invited": item.invited,
        }
        for item in reply.sessions
    ]
    columns = {
        "sid": "Session",
        "state": "State",
        "user": "User",
        "login": "Login",
        "hostname": "Node",
        "created": "Created",
        "command": "Command",
        "participants": "Participants",
        "join_as": "Join as",
        "reason": "Reason",
        "invited": "Invited",
    }
    print_rows(rows, columns, form)
    if reply.next:
        more(f"--after {reply.next}")


@sessions.command("end")
def end_session(
    session: Annotated[str, typer.Argument(metavar="SID", help="As ilsh sessions ls shows it.")],
    message: Annotated[str, typer.Option(metavar="TEXT", help="What the people in it read.")] = "",
    proxy: ProxyOption = None,
) -> None:
    """End a session of yours, or one that a role lets you end."""
    request = wire.EndSession(session, message)
    print(printable(with_portal(proxy, lambda portal: portal.ask(request, wire.Done)).what))


@recordings.command("ls")
def list_recordings(
    proxy: ProxyOption = None,
    limit: PageOption = wire.MAX_LISTED,
    after: AfterOption = "",
    every: Annotated[
        bool, typer.Option("--all", help="Those of others, too, as far as you may see them.")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """List the recordings of your sessions, the newest sessions first."""
    request = wire.Recordings(after, limit, every)
    reply = with_portal(proxy, lambda portal: portal.ask(request, wire.RecordingList))
    rows = [{**item.meta, "sid": item.sid, "size": item.size, "stored": item.stored} for item in reply.recordings]
    columns = {
        "sid": "Session",
        **({"user": "User"} if every else {}),
        "login": "Login",
        "hostname": "Node",
        "kind": "Kind",
        "start": "Start",
        "duration_ms": "Milliseconds",
        "size": "Bytes",
    }
    print_rows(rows, columns, form)
    if reply.next:
        more(f"--after {reply.next}")


@events.command("ls")
def list_events(
    sid: OfSession = None,
    user: OfUser = None,
    event: OfType = None,
    limit: PageOption = wire.MAX_LISTED,
    before: BeforeCursor = None,
    after: AfterCursor = None,
    duplicates: WithDuplicates = False,
    proxy: ProxyOption = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """List audit events of nodes that your roles let you watch (events:list), oldest first: the newest of them."""
    request = wire.Events(sid or "", user or "", event or "", limit, before, after, duplicates)
    reply = with_portal(proxy, lambda portal: portal.ask(request, wire.EventList))
    print_events(reply.events, form)
    if reply.next:
        more(f"--after {reply.next}" if after is not None else f"--before {reply.next}")


def config(
    proxy: ProxyOption = None,
    cluster: ClusterOption = None,
    nodes: Annotated[bool, typer.Option(help="Write a block for each node that you reach.")] = True,
) -> None:
    """Print an ssh_config for stock ssh, scp, rsync and git; append it to ~/.ssh/config or Include it."""
    from interlock.cli.user_ssh import route_names, ssh_config

    login = valid_login(proxy)
    found: list[tuple[str, list[str]]] = []
    if nodes:
        reply = with_portal(proxy, lambda portal: portal.ask(wire.Nodes(cluster or ""), wire.NodeList))
        found = list(zip(route_names(reply.nodes), (node.logins for node in reply.nodes), strict=True))
    print(ssh_config(login, found, cluster or ""), end="")
