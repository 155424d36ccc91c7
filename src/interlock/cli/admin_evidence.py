"""``ilctl events verify``: whether the audit log is what was written."""

from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, Row, print_json, print_rows, printable
from interlock.core.errors import ConfigError, StoreError
from interlock.domain.evidence import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interlock.daemons.local import Local
    from interlock.services.audit.verifying import Report

_COLUMNS = {
    "writer": "Writer",
    "events": "Events",
    "first": "First",
    "last": "Last",
    "signed": "Signed up to",
    "dropped": "Dropped by policy",
}


def verify_events(
    context: typer.Context,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The cluster's public keys, as ilctl auth export --type audit printed them: first the one that "
            "signs now. Default: those in the same database, which whoever forges the log may have forged too.",
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Checkpoints that had left this machine, one JSON object per line: they count too.",
        ),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Verify the audit log: its chains, its signatures, and that only what policy dropped is missing."""
    from interlock.domain.signing import read_public_keys
    from interlock.services.audit.verifying import verify
    from interlock.services.keys.authority import AUDIT

    given = _read(key) if key is not None else None
    try:
        keys = read_public_keys(given) if given is not None else None
    except ValueError as error:
        raise ConfigError(f"{key} is not a public key of ilctl auth export: {error}") from None

    async def work(local: "Local") -> "Report":
        trusted = keys if keys is not None else read_public_keys(local.authority.export(AUDIT))
        return await local.evidence.inspect(lambda evidence: verify(evidence, trusted, known=known))

    with _open(checkpoints) as file:
        known = _Kept(file, checkpoints)
        report = in_local(context, work)
    writers = [report.writers[name] for name in sorted(report.writers)]
    rows: list[Row] = [{name: getattr(each, name) for name in _COLUMNS} for each in writers]
    found = [{**asdict(each), "fault": each.fault.value} for each in report.findings]
    if form is Format.JSON:
        signed = {"checkpoints": report.checkpoints, "last_signed": report.last_signed}
        print_json({"ok": not found, "writers": rows, "findings": found, **signed})
    else:
        print_rows(rows, _COLUMNS, form)
        print(f"{report.checkpoints} checkpoints" + (f", the last of {report.last_signed}" if rows else ""))
        for each in report.findings:
            print(printable(_sentence(each)))
    if found:
        raise StoreError("the audit log is not what was written")


def _sentence(finding: Finding) -> str:
    numbers = f"{finding.first}" if finding.first == finding.last else f"{finding.first} to {finding.last}"
    where = f"writer {finding.writer}, number {numbers}" if finding.writer else f"checkpoint {numbers}"
    return f"{where}: {finding.fault.value}" + (f" ({finding.detail})" if finding.detail else "")


class _Kept:
    """Checkpoints of a file, which is read anew each time, as far as it is one that can be; a line in memory."""

    def __init__(self, file: IO[bytes], path: Path | None) -> None:
        self._file, self._path = file, path

    def __iter__(self) -> "Iterator[tuple[str, bytes]]":
        from interlock.domain.chain import checkpoints_in

        if self._file.seekable():
            self._file.seek(0)
        return checkpoints_in(self._line)

    def _line(self, longest: int) -> bytes:
        try:
            return self._file.readline(longest)
        except OSError as error:
            raise ConfigError(f"cannot read {self._path}", reason=str(error)) from error


def _open(path: Path | None) -> IO[bytes]:
    """Nothing in it, if there is none."""
    try:
        return path.open("rb") if path is not None else BytesIO()
    except OSError as error:
        raise ConfigError(f"cannot read {path}", reason=str(error)) from error


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", reason=str(error)) from error
