"""Events as syslog messages, RFC 5424: what every collector reads in front, the whole event as JSON behind."""

from interlock.domain.export import Record

FACILITY = 13  # log audit, §6.2.1
_SEVERITY = {"W": 4, "E": 3}  # warning, error; otherwise informational

SD_ID = "interlock@32473"
"""Of the structured data (§7): 32473 is the enterprise number for documentation (RFC 5612), as we have none."""

_SHOWN = ("uid", "event", "code", "sid", "user", "login", "server_hostname", "addr.remote", "cluster_name")
_BOM = "\ufeff"  # §6.4: the message is UTF-8
_MAX_PARAM = 256


def message(record: Record, hostname: str) -> bytes:
    """One message, without framing."""
    fields = record.fields
    code = str(fields.get("code", ""))
    priority = FACILITY * 8 + _SEVERITY.get(code[-1:], 6)
    params = {name: str(fields[name]) for name in _SHOWN if isinstance(fields.get(name), str | int)}
    params |= {"writer": record.writer, "number": str(record.number)}
    data = " ".join(f'{name.replace(".", "_")}="{_escaped(value)}"' for name, value in params.items())
    head = f"<{priority}>1 {fields['time']} {_name(hostname, 255)} interlock - {_name(code, 32)}"
    return f"{head} [{SD_ID} {data}] {_BOM}{record.line}".encode()


def _escaped(value: str) -> str:
    """§6.3.3, and no control characters, which some collectors take for the end of the message."""
    cut = value if len(value) <= _MAX_PARAM else f"{value[:_MAX_PARAM]}…"
    shown = "".join(char if char.isprintable() else f"\\\\x{ord(char):02x}" for char in cut)
    return shown.replace('"', '\\"').replace("]", "\\]")


def _name(text: str, longest: int) -> str:
    """PRINTUSASCII of §6, or nothing."""
    return "".join(char for char in text if "!" <= char <= "~")[:longest] or "-"
