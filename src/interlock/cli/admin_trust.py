"""``ilctl auth``: the certificate authorities."""

import sys
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, names, report
from interlock.core.errors import ConfigError
from interlock.domain.audit import Kind, rfc3339

if TYPE_CHECKING:
    from interlock.daemons.local import Local

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
    host: Annotated[str, typer.Option(metavar="NAME[,NAME]", help="Names and addresses that people use for it.")],
    public_key: Annotated[Path, typer.Option(help="The host's public key, for example ssh_host_ed25519_key.pub.")],
    out: Annotated[Path, typer.Option(help="Where to put the certificate; HostCertificate in sshd_config.")],
    days: Annotated[int, typer.Option(min=1, max=3660, help="How long it is valid.")] = 365,
) -> None:
    """Sign the host key of a plain sshd, for ilctl nodes add --host-ca."""
    principals = names(host)
    if not principals:
        msg = "give at least one host name"
        raise typer.BadParameter(msg)
    try:
        line = public_key.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the public key {public_key}", reason=str(error)) from error

    async def work(local: "Local") -> str:
        made = await local.authority.issue_host(line, principals, ttl=timedelta(days=days))
        facts = {"principals": ",".join(principals), "expires": rfc3339(local.clock.now() + timedelta(days=days))}
        await report(local, Kind.CERT_CREATE, {"cert_type": "host", "identity": facts})
        return made

    certificate = in_local(context, work)
    try:
        out.write_text(f"{certificate}\n")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}", reason=str(error)) from error
    print(f"Certificate for {', '.join(principals)} was written to {out}.")
