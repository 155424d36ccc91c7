"""Events as OpenTelemetry logs, OTLP/HTTP with JSON (opentelemetry.io/docs/specs/otlp, data model 1.x)."""

import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog

from interlock.adapters.export.http import TIMEOUT_S, Url, post
from interlock.domain.export import Batch, Record
from interlock.ports import Clock

_SEVERITY = {"I": (9, "INFO"), "S": (9, "INFO"), "W": (13, "WARN"), "E": (17, "ERROR")}
_log = structlog.get_logger()


class OtlpLogs:
    """`ports.Receiver`. Acknowledged is what is answered with a status of 200 to 299."""

    def __init__(
        self,
        url: Url,
        *,
        headers: Mapping[str, str],
        context: ssl.SSLContext | None,
        clock: Clock,
        timeout: float = TIMEOUT_S,
    ) -> None:
        self._url = url
        self._headers = headers
        self._context = context
        self._clock = clock
        self._timeout = timeout

    async def send(self, batch: Batch) -> None:
        """`ports.Receiver`. What a collector takes in part must not be sent again: it is told of in our log."""
        body = encode(batch.records, observed=self._clock.now())
        headers = {**self._headers, "Content-Type": "application/json", "User-Agent": "Interlock"}
        answer = await post(self._url, body, headers, context=self._context, timeout=self._timeout)
        answer.check()
        if (rejected := _rejected(answer.body))[0]:
            _log.error("export.rejected", export=batch.name, records=rejected[0], reason=rejected[1])

    async def close(self) -> None:
        """There is no connection between two batches."""


def encode(records: tuple[Record, ...], *, observed: datetime) -> bytes:
    """An ExportLogsServiceRequest."""
    resource = {"attributes": [_attribute("service.name", "interlock")]}
    logs = [_log_record(record, observed) for record in records]
    scope = {"scope": {"name": "interlock.audit"}, "logRecords": logs}
    return msgspec.json.encode({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]})


def _log_record(record: Record, observed: datetime) -> dict[str, Any]:
    fields = record.fields
    number, text = severity(str(fields.get("code", "")))
    attributes = [_attribute(name, value) for name, value in fields.items()]
    attributes += [_attribute("audit.writer", record.writer), _attribute("audit.number", record.number)]
    return {
        "timeUnixNano": _nanoseconds(datetime.fromisoformat(str(fields["time"]))),
        "observedTimeUnixNano": _nanoseconds(observed),
        "severityNumber": number,
        "severityText": text,
        "eventName": str(fields.get("event", "")),
        "body": {"stringValue": record.line},
        "attributes": attributes,
    }


def severity(code: str) -> tuple[int, str]:
    """By the last letter of the event's code."""
    return _SEVERITY.get(code[-1:], _SEVERITY["I"])


def _attribute(name: str, value: object) -> dict[str, Any]:
    return {"key": name, "value": _value(value)}


def _value(value: object) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int() if -(2**63) <= value < 2**63:
            return {"intValue": str(value)}  # as JSON has 64-bit integers of protocol buffers
        case list():
            return {"arrayValue": {"values": [_value(each) for each in value]}}
        case dict():
            return {"kvlistValue": {"values": [_attribute(str(name), each) for name, each in value.items()]}}
        case _:
            return {"stringValue": str(value)}


def _nanoseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000) * 1_000_000)


def _rejected(body: bytes) -> tuple[int, str]:
    try:
        answer = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        partial = answer.get("partialSuccess") or {}
        return int(partial.get("rejectedLogRecords") or 0), str(partial.get("errorMessage", ""))
    except (msgspec.MsgspecError, AttributeError, TypeError, ValueError):
        return 0, ""
