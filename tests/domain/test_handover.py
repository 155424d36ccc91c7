"""What a leaf answers a root's forwarder, and what a root believes of it."""

import json

import pytest

from interlock.core.errors import RemoteProtocolError
from interlock.core.ids import DaemonId
from interlock.core.limits import MAX_HAND_OVER
from interlock.domain.access import Access
from interlock.domain.handover import accepted, parse_hand_over, refused, told_target
from interlock.domain.target import SubKind, Target

TARGET = Target(
    DaemonId("11111111-0000-4000-8000-000000000001"), "web1", "10.0.0.5", 22, SubKind.NODE, {"env": "test"}
)


@pytest.mark.parametrize("root_records", [False, True])
def test_an_answer_arrives_as_it_was_given(root_records: bool) -> None:
    """Who records, where to, and what is allowed."""
    said = parse_hand_over(accepted(TARGET, Access(agent_forwarding=True), root_records=root_records))
    assert (said.root_records, said.access.agent_forwarding) == (root_records, True)
    assert said.target is not None
    assert told_target(said.target) == TARGET


def test_a_refusal_arrives_with_its_text() -> None:
    """And with whether policy or a failure is behind it."""
    said = parse_hand_over(refused("access denied", by_policy=True))
    assert said.refused is not None
    assert (said.refused.message, said.refused.by_policy, said.target) == ("access denied", True, None)


def test_a_target_without_an_address_is_told_without_one() -> None:
    """A node that has dialled out has none."""
    answer = json.loads(accepted(TARGET, Access(), root_records=True))
    answer["target"]["addr"] = ""
    said = parse_hand_over(json.dumps(answer).encode())
    assert said.target is not None
    assert told_target(said.target).addr == ""


def test_what_a_newer_leaf_says_beside_it_is_ignored() -> None:
    """Clusters are updated apart."""
    answer = json.loads(accepted(TARGET, Access(), root_records=True)) | {"weather": "fine"}
    assert parse_hand_over(json.dumps(answer).encode()).root_records


def changed(**fields: object) -> bytes:
    """An answer whose target is told otherwise."""
    answer = json.loads(accepted(TARGET, Access(), root_records=True))
    answer["target"] |= fields
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[]",
        b'{"root_records": "yes"}',
        b'{"root_records": true}',
        b'{"access": {"unheard_of": true}, "refused": {"message": "no", "by_policy": true}}',
        b"[" * 100_000,
        changed(id="web1"),
        changed(hostname="two words"),
        changed(addr="nowhere"),
        changed(sub_kind="mainframe"),
        changed(labels={"env": 1}),
        refused("no", by_policy=True)[:-1] + b',"target":' + json.dumps({}).encode() + b"}",
        changed(version="x" * MAX_HAND_OVER),
    ],
)
def test_nonsense_is_an_offence(answer: bytes) -> None:
    """A leaf is another cluster: what it says is read as strictly as a client's word."""
    with pytest.raises(RemoteProtocolError):
        parse_hand_over(answer)
