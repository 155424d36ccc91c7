"""``ilctl auth``: the certificate authorities."""

import sys
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, name, names, report
from interlock.cli.options import duration
from interlock.core.errors import ConfigError
from interlock.domain.audit import Kind, rfc3339

if TYPE_CHECKING:
    from interlock.daemons.local import Local

DEFAULT_TTL = timedelta(hours=12)
"""A certificate's life that is signed by hand: a working day."""

auth = typer.Typer(help="The certificate authorities.")


class AuthorityKind(StrEnum):
    """Which authority."""

    USER = "user"
    HOST = "host"
    OPENSSH = "openssh"
    RECORDINGS = "recordings"
    AUDIT = "audit"
    KRL = "krl"


@auth.command("export")
def export(
    context: typer.Context,
    kind: Annotated[
        AuthorityKind,
        typer.Option(
            "--type",
            help="openssh: for TrustedUserCAKeys of a plain sshd. host: put @cert-authority and * before it in "
            "known_hosts. user: vouches for people to our own nodes. recordings: vouches for their signatures. "
            "audit: signs the audit log's checkpoints. "
            "krl: no key, but a list of what is revoked, for RevokedKeys of a plain sshd.",
        ),
    ],
) -> None:
    """Print an authority's public key, OpenSSH format: one line, or two while one key takes the other's place."""
    if kind is AuthorityKind.KRL and sys.stdout.isatty():
        msg = "a KRL is binary: write it to a file with > FILE"
        raise typer.BadParameter(msg)

    async def work(local: "Local") -> str | bytes:
        if kind is AuthorityKind.KRL:
            from interlock.cli.admin_certs import revocation_list_of

            return await revocation_list_of(local)
        return local.authority.export(kind.value)

    found = in_local(context, work)
    if isinstance(found, bytes):
        sys.stdout.buffer.write(found)
    else:
        print(found)


@auth.command("sign")
def sign(
    context: typer.Context,
    public_key: Annotated[Path, typer.Option(help="For example ssh_host_ed25519_key.pub, or id_ed25519.pub.")],
    out: Annotated[
        Path,
        typer.Option(help="Where to put it: HostCertificate in sshd_config; beside a person's key, KEY-cert.pub."),
    ],
    host: Annotated[
        str | None, typer.Option(metavar="NAME[,NAME]", help="A host: names and addresses that people use for it.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3660, show_default="365", help="How long a host's is valid.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", parser=name, help="A person, with the roles that they have now.")
    ] = None,
    logins: Annotated[str, typer.Option(metavar="LOGIN[,LOGIN]", help="Default: all that the roles have.")] = "",
    ttl: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="TIME", show_default="12h", help="How long a person's is valid."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-O",
            metavar="OPTION",
            help="What restricts a person's, as ssh-keygen -O has it; repeat it: force-command=COMMAND, "
            "source-address=NETWORK, verify-required, no-touch-required, clear, and no-... or permit-... of pty, "
            "port-forwarding, agent-forwarding, x11-forwarding and user-rc.",
        ),
    ] = None,
) -> None:
    """Sign the host key of a plain sshd, for ilctl nodes add --host-ca, or a person's key, maybe restricted."""
    if (host is None) is (user is None):
        msg = "say whose key it is: --host NAME or --user NAME"
        raise typer.BadParameter(msg)
    if host is not None and (option or logins or ttl):
        msg = "-O, --logins and --ttl are for people's certificates; of a host's, --days says how long it is valid"
        raise typer.BadParameter(msg)
    if user is not None and days is not None:
        msg = "--days is for hosts' certificates; of a person's, --ttl says how long it is valid"
        raise typer.BadParameter(msg)
    if user is None:
        certificate, whose = _sign_host(context, names(host or ""), public_key, days or 365)
    else:
        certificate, whose = _sign_user(context, user, public_key, names(logins), ttl or DEFAULT_TTL, option or [])
    try:
        out.write_text(f"{certificate}\n")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}", reason=str(error)) from error
    print(f"Certificate for {whose} was written to {out}.")


def _public_key(path: Path) -> str:
    from interlock.core.certificate import PublicKey

    try:
        line = path.read_text()
        PublicKey.parse(line)
    except OSError as error:
        raise ConfigError(f"cannot read the public key {path}", reason=str(error)) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} has no public key that can be signed: name one like id_ed25519.pub", reason=str(error)
        ) from error
    return line


def _sign_host(context: typer.Context, principals: tuple[str, ...], key: Path, days: int) -> tuple[str, str]:
    """The certificate, and whose it is."""
    if not principals:
        msg = "give at least one host name"
        raise typer.BadParameter(msg)
    line = _public_key(key)

    async def work(local: "Local") -> str:
        made = await local.authority.issue_host(line, principals, ttl=timedelta(days=days))
        facts = {"principals": ",".join(principals), "expires": rfc3339(local.clock.now() + timedelta(days=days))}
        await report(local, Kind.CERT_CREATE, {"cert_type": "host", "identity": facts})
        return made

    return in_local(context, work), ", ".join(principals)


def _sign_user(
    context: typer.Context, user: str, key: Path, logins: tuple[str, ...], ttl: timedelta, options: list[str]
) -> tuple[str, str]:
    """The same of a person."""
    from interlock.services.portal.byhand import Made, certify_by_hand, read_options

    try:
        restrictions = read_options(options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    line = _public_key(key)

    async def work(local: "Local") -> Made:
        made = await certify_by_hand(
            local.authority,
            local.users,
            local.roles,
            local.bots,
            user=user,
            public_key=line,
            logins=logins,
            ttl=ttl,
            restrictions=restrictions,
        )
        await report(local, Kind.CERT_CREATE, {"cert_type": "user", "identity": made.facts})
        return made

    made = in_local(context, work)
    return made.line, f"{user} as {', '.join(made.logins)}, until {made.expires:%Y-%m-%d %H:%M} UTC,"
