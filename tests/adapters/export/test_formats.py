"""What receivers of other makes are told: RFC 5424 and OTLP, field by field."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from interlock.adapters.export.otlp import encode
from interlock.adapters.export.rfc5424 import message
from interlock.domain.export import Cursor, Record, in_order

TIME = "2026-01-10T22:23:57.642Z"


def record(**fields: Any) -> Record:
    """An event with these fields."""
    told = {
        "ei": 0,
        "event": "exec",
        "code": "T3002I",
        "time": TIME,
        "uid": "u1",
        "cluster_name": "demo",
        **fields,
    }
    [made] = in_order(Cursor(), [(1, "gateway", 7, "u1", json.dumps(told, separators=(",", ":")), b"\xab")], [])
    return made


FORM = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S{1,255}) (\S{1,48}) - (\S{1,32}) "
    rb'\[interlock@32473((?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\.)*")+)\] \xef\xbb\xbf(.*)',
    re.DOTALL,
)
"""Of RFC 5424 §6: priority, time, host, program, message ID, structured data, message."""


@pytest.mark.parametrize(("code", "priority"), [("T3002I", 110), ("T3007W", 108), ("T3002E", 107), ("", 110)])
def test_a_syslog_message_is_rfc_5424(code: str, priority: int) -> None:
    """Facility log audit, severity by the code's last letter, the JSON behind a BOM."""
    found = FORM.fullmatch(message(record(code=code, sid="s1", user="älice"), "gw1"))
    assert found is not None
    assert [found[n].decode() for n in (1, 2, 3, 4, 5)] == [str(priority), TIME, "gw1", "interlock", code or "-"]
    assert ' sid="s1"' in found[6].decode()
    assert ' user="älice"' in found[6].decode()
    assert ' writer="gateway" number="7"' in found[6].decode()
    assert json.loads(found[7])["uid"] == "u1"


@pytest.mark.parametrize("name", ['a"b]c\\d', "\n<13>1 forged", "x" * 1000, "\x00", "\u2028", "", "]"])
def test_nothing_that_a_peer_chose_ends_a_message_or_begins_another(name: str) -> None:
    """Quotes, brackets, line ends, length."""
    sent = message(record(user=name, login=name), name or "h")
    found = FORM.fullmatch(sent)
    assert found is not None
    assert b"\n" not in sent
    assert len(found[6]) < 1500
    assert json.loads(found[7])["user"] == name


def test_otlp_has_severity_time_and_each_field_as_an_attribute() -> None:
    """64-bit integers as text, as protocol buffers' JSON has them."""
    fields = {"code": "T3007W", "success": False, "tx": 2**40, "big": 2**70, "roles": ["a", "b"], "o": {"k": "v"}}
    sent = json.loads(encode((record(**fields),), observed=datetime(2026, 1, 11, tzinfo=UTC)))
    [resource] = sent["resourceLogs"]
    assert resource["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "interlock"}}]
    [log] = resource["scopeLogs"][0]["logRecords"]
    assert (log["severityNumber"], log["severityText"], log["eventName"]) == (13, "WARN", "exec")
    assert (log["timeUnixNano"], log["observedTimeUnixNano"]) == ("1768083837642000000", "1768089600000000000")
    attributes = {each["key"]: each["value"] for each in log["attributes"]}
    assert attributes["success"] == {"boolValue": False}
    assert attributes["tx"] == {"intValue": str(2**40)}
    assert attributes["big"] == {"stringValue": str(2**70)}
    assert attributes["roles"] == {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}
    assert attributes["o"] == {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}
    assert attributes["audit.number"] == {"intValue": "7"}
    assert json.loads(log["body"]["stringValue"])["uid"] == "u1"
