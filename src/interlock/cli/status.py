"""``interlock status``: which session this shell runs in, from its environment alone (teleport-facts §6).

It asks nobody, so it works for every login and offline. It proves nothing either: a person may set these
variables; the audit log is what counts.
"""

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from interlock.cli.output import ExitCode, Format, print_error, print_json, printable

_FIELDS = {
    "user": ("User", ("INTERLOCK_USER", "SSH_TELEPORT_USER")),
    "login": ("Login", ("USER", "LOGNAME")),
    "client": ("From", ("SSH_CLIENT",)),
    "cluster": ("Cluster", ("INTERLOCK_CLUSTER", "SSH_TELEPORT_CLUSTER_NAME")),
    "host_uuid": ("Host UUID", ("SSH_TELEPORT_HOST_UUID",)),
    "session_id": ("Session ID", ("INTERLOCK_SESSION", "SSH_SESSION_ID", "TELEPORT_SESSION")),
}
"""What is shown, by key of the JSON: its heading, and the variables it may be in (teleport-facts §1.4)."""


def read_status(environment: Mapping[str, str]) -> dict[str, str] | None:
    """The facts of the session that ``environment`` belongs to; None outside of one."""
    found = {
        key: next((environment[name] for name in names if environment.get(name)), "")
        for key, (_, names) in _FIELDS.items()
    }
    if not found["session_id"]:
        return None
    found["client"] = found["client"].partition(" ")[0]
    if proxy := environment.get("SSH_SESSION_WEBPROXY_ADDR"):
        found["session_url"] = (
            f"https://{proxy}/web/cluster/{found['cluster']}/console/session/{found['session_id']}"
        )
    return found


def status(
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
) -> None:
    """Inside a session: user, login, cluster, host and session ID. Outside: exit code 1."""
    found = read_status(os.environ)
    if found is None:
        print_error("this shell does not run in an Interlock session")
        raise typer.Exit(ExitCode.FAILED)
    if form is Format.JSON:
        print_json(found)
        return
    headings = {key: heading for key, (heading, _) in _FIELDS.items()} | {"session_url": "Session URL"}
    for key, value in found.items():
        print(f"{headings[key] + ':':<12} {printable(value)}")
