"""``ilctl``: administration of a gateway, on its data directory, whether the gateway runs or not.

This module assembles the commands; each group has a module of its own. Parsing and printing only.
"""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from interlock.cli import (
    admin_access,
    admin_audit,
    admin_backup,
    admin_bots,
    admin_certs,
    admin_clusters,
    admin_doctor,
    admin_evidence,
    admin_explain,
    admin_exports,
    admin_holds,
    admin_keys,
    admin_locks,
    admin_mode,
    admin_nodes,
    admin_offline,
    admin_oidc,
    admin_proxies,
    admin_rekey,
    admin_requests,
    admin_roles,
    admin_rotation,
    admin_tokens,
    admin_trust,
    admin_verify,
)
from interlock.cli.output import EXIT_CODES, run_app

app = typer.Typer(
    help="Administer an Interlock gateway.",
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(admin_access.users, name="users")
app.add_typer(admin_roles.roles, name="roles")
app.add_typer(admin_explain.app, name="access")
app.add_typer(admin_requests.app, name="requests")
app.add_typer(admin_nodes.app, name="nodes")
app.add_typer(admin_proxies.app, name="proxies")
app.add_typer(admin_tokens.app, name="tokens")
app.add_typer(admin_clusters.app, name="clusters")
app.add_typer(admin_bots.app, name="bots")
app.add_typer(admin_certs.app, name="certs")
app.add_typer(admin_trust.auth, name="auth")
admin_trust.auth.command("status")(admin_rotation.status)
admin_trust.auth.command("rotate")(admin_rotation.rotate)
app.add_typer(admin_keys.app, name="keys")
app.add_typer(admin_locks.app, name="locks")
app.add_typer(admin_audit.events, name="events")
admin_audit.events.command("export")(admin_exports.export_events)
admin_audit.events.command("verify")(admin_evidence.verify_events)
app.add_typer(admin_audit.sessions, name="sessions")
admin_audit.sessions.command("terminate")(admin_locks.terminate_session)
app.add_typer(admin_audit.recordings, name="recordings")
admin_audit.recordings.command("verify")(admin_verify.verify_recordings)
admin_audit.recordings.command("rekey")(admin_rekey.rekey_recordings)
app.add_typer(admin_holds.app, name="holds")
app.add_typer(admin_exports.app, name="exports")
app.add_typer(admin_mode.mode, name="mode")
app.add_typer(admin_offline.app, name="offline")
app.add_typer(admin_oidc.app, name="oidc")
app.command("backup")(admin_backup.backup)
app.command("restore")(admin_backup.restore)
app.command("doctor")(admin_doctor.doctor)


@app.callback()
def root(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="INTERLOCK_DATA_DIR",
            show_default="/var/lib/interlock for root, else ~/.local/share/interlock",
            help="The gateway's data directory.",
        ),
    ] = None,
) -> None:
    """Administer an Interlock gateway."""
    context.obj = data_dir


def main() -> NoReturn:
    """The entry point."""
    run_app(app, "ilctl")
