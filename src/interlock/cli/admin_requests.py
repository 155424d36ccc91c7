"""``ilctl requests``: who has asked for which roles, and an administrator's word on it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import account, in_local
from interlock.cli.options import FormatOption, session_id
from interlock.cli.output import Format, print_rows

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.domain.audit import AuditEvent
    from interlock.domain.request import AccessRequest
    from interlock.services.access.requests import Requests

app = typer.Typer(help="Requests for access: who has asked for which roles.")

LISTED = 1000
"""The newest that are listed."""

IdArgument = Annotated[str, typer.Argument(metavar="ID", parser=session_id)]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, for who asked and the audit log.")
]


@app.command("ls")
def list_requests(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """List the requests that wait and those that give access now."""

    async def work(local: "Local") -> list[dict[str, object]]:
        from interlock.domain.request import RequestState

        now = local.clock.now()
        found = await local.requests.requests(limit=LISTED)
        shown = {RequestState.PENDING, RequestState.APPROVED}
        return [
            {
                "id": each.id,
                "user": each.user,
                "roles": each.roles,
                "state": each.state(now).value,
                "reason": each.reason,
                "created": each.created,
                "expires": each.deadline,
                "reviewed_by": [review.by for review in each.reviews],
            }
            for each in found
            if every or each.state(now) in shown
        ]

    columns = {
        "id": "ID",
        "user": "User",
        "roles": "Roles",
        "state": "State",
        "expires": "Expires",
        "reviewed_by": "Reviewed by",
        "reason": "Reason",
    }
    print_rows(in_local(context, work), columns, form)


@app.command("approve")
def approve_request(context: typer.Context, request: IdArgument, reason: ReasonOption = "") -> None:
    """Give the access that was asked for, however many approvals the roles ask for."""
    done = _decide(context, request, reason, approve=True)
    print(f"{done.user} has the access until {done.deadline:%Y-%m-%d %H:%M:%S} UTC, from the next ilsh login on.")


@app.command("deny")
def deny_request(context: typer.Context, request: IdArgument, reason: ReasonOption = "") -> None:
    """Refuse what was asked for, or take it back: live sessions by it end within two seconds."""
    done = _decide(context, request, reason, approve=False)
    print(f"The request of {done.user} is denied.")


@app.command("rm")
def remove_request(context: typer.Context, request: IdArgument) -> None:
    """Forget a request; live sessions by it end within two seconds."""

    async def work(local: "Local") -> None:
        await local.audit.append([_by_ilctl(await _requests(local).remove(account(), request))])

    in_local(context, work)
    print("The request was removed.")


def _decide(context: typer.Context, request_id: str, reason: str, *, approve: bool) -> "AccessRequest":
    async def work(local: "Local") -> "AccessRequest":
        done, event = await _requests(local).decide(account(), request_id, reason, approve=approve)
        await local.audit.append([_by_ilctl(event)])
        return done

    return in_local(context, work)


def _by_ilctl(event: "AuditEvent") -> "AuditEvent":
    return replace(event, fields={**event.fields, "method": "ilctl"})


def _requests(local: "Local") -> "Requests":
    from interlock.services.access.requests import Requests
    from interlock.services.audit.emitter import EventFactory

    factory = EventFactory(cluster=local.cluster.name, clock=local.clock, entropy=local.entropy)
    return Requests(
        local.requests,
        roles=local.roles,
        locks=local.locks,
        factory=factory,
        clock=local.clock,
        entropy=local.entropy,
    )
