"""The second question at the doors: nobody passes it by, and who answers is the one whose key was right."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.adapters.ssh.guarded import MAX_ATTEMPTS
from interlock.core.errors import StoreError
from interlock.core.wire import Reader, boolean, string, uint32
from interlock.domain.access import RoleOptions, SecondFactor
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import EnrolledKey
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind
from interlock.testing.clock import START
from interlock.testing.hostile import (
    USERAUTH_FAILURE,
    USERAUTH_REQUEST,
    USERAUTH_SUCCESS,
    Credential,
    RawSsh,
    connect_raw,
)
from interlock.testing.plain_target import plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, PHONE, USER, Gateway

ROUTE = f"{LOGIN}%plain1"
INFO_REQUEST, INFO_RESPONSE = 60, 61
CODE = "123456"
SESSION = RoleOptions(second_factor=SecondFactor.SESSION)


@pytest.fixture
def careful(world: Gateway) -> Gateway:
    """Where carol's role asks for a second factor on each connection, and she has one."""
    world.add_person("carol", SESSION)
    world.add_target("plain1", 1)
    world.passwords.codes["carol"] = CODE
    return world


async def arrive(world: Gateway) -> RawSsh:
    """A client that may authenticate."""
    client = await connect_raw(LOOPBACK, world.port)
    await client.handshake()
    await client.request_service()
    return client


async def refused(client: RawSsh) -> tuple[list[str], bool]:
    """With which methods to go on, and whether that was a partial success."""
    reader = Reader((await client.expect(USERAUTH_FAILURE))[1:])
    return reader.text().split(","), reader.boolean()


def ask(client: RawSsh, name: str) -> None:
    """Begin keyboard-interactive."""
    fixed = string(name) + string("ssh-connection") + string("keyboard-interactive")
    client.send(bytes([USERAUTH_REQUEST]) + fixed + string("") + string(""))


def answer(client: RawSsh, *codes: str) -> None:
    """Answer its questions."""
    client.send(bytes([INFO_RESPONSE]) + uint32(len(codes)) + b"".join(string(each) for each in codes))


async def half_way(world: Gateway, name: str = ROUTE) -> RawSsh:
    """A client whose certificate was accepted."""
    client = await arrive(world)
    client.sign(name, await world.credential("carol"))
    assert await refused(client) == (["keyboard-interactive"], True)
    return client


async def test_the_certificate_is_half_of_it_and_the_code_the_other(careful: Gateway) -> None:
    """Partial success (RFC 4252 §5.1), a question, success; who is in has the device."""
    async with await half_way(careful) as client:
        ask(client, ROUTE)
        question = Reader((await client.expect(INFO_REQUEST))[1:])
        assert [question.text() for _ in range(3)] == ["", "Confirm this.", ""]
        assert (question.uint32(), question.text(), question.boolean()) == (1, "Code: ", True)
        answer(client, CODE)
        await client.expect(USERAUTH_SUCCESS)


async def test_a_key_that_is_removed_meanwhile_lets_nobody_in(careful: Gateway) -> None:
    """Somebody has minutes for a browser, and what is taken away ends what is live by it (ADR-0033)."""
    key = Ed25519PrivateKey.generate()
    blob = string("ssh-ed25519") + string(key.public_key().public_bytes_raw())
    await careful.enrolled.enrol_key(EnrolledKey(blob, "carol", "laptop", START))
    async with await arrive(careful) as client:
        client.sign(ROUTE, Credential("ssh-ed25519", blob, key))
        assert await refused(client) == (["keyboard-interactive"], True)
        ask(client, ROUTE)
        await client.expect(INFO_REQUEST)
        await careful.enrolled.remove_key("carol", blob)
        answer(client, CODE)
        assert (await client.expect(USERAUTH_SUCCESS, USERAUTH_FAILURE))[0] == USERAUTH_FAILURE


async def test_whose_roles_do_not_ask_is_not_asked(careful: Gateway) -> None:
    """Nor is anybody for the portal, whose requests have their own rules."""
    async with await arrive(careful) as client:
        client.sign(ROUTE, await careful.credential())
        await client.expect(USERAUTH_SUCCESS)
    async with await arrive(careful) as client:
        client.sign("carol", await careful.credential("carol"))
        await client.expect(USERAUTH_SUCCESS)


async def test_nothing_else_than_the_answer_is_taken(careful: Gateway) -> None:
    """Not the same key again, not another one, unsigned or signed, no password, none."""
    other = await careful.credential()  # of somebody who is asked nothing
    async with await half_way(careful) as client:
        attempts: list[Callable[[], None]] = [
            lambda: client.sign(ROUTE, other),
            lambda: client.offer(ROUTE, other),
            lambda: client.send(_request("none")),
            lambda: client.send(_request("password") + boolean(False) + string(CODE)),
        ]
        for attempt in attempts:
            attempt()
            assert await refused(client) == (["keyboard-interactive"], False)
        ask(client, ROUTE)
        await client.expect(INFO_REQUEST)
        answer(client, CODE)
        await client.expect(USERAUTH_SUCCESS)


def _request(method: str) -> bytes:
    return bytes([USERAUTH_REQUEST]) + string(ROUTE) + string("ssh-connection") + string(method)


@pytest.mark.parametrize("codes", [(), ("",), ("000000",), (CODE, CODE), ("x" * 5000,)])
async def test_a_wrong_answer_is_no_answer(careful: Gateway, codes: tuple[str, ...]) -> None:
    """Three times, then no more, whatever comes."""
    async with await half_way(careful) as client:
        for _ in range(3):
            ask(client, ROUTE)
            await client.expect(INFO_REQUEST)
            answer(client, *codes)
            assert await refused(client) == (["keyboard-interactive"], False)
        ask(client, ROUTE)
        assert await refused(client) == (["keyboard-interactive"], False)


async def test_an_answer_without_a_question_is_a_violation(careful: Gateway) -> None:
    """It gets nobody in."""
    async with await half_way(careful) as client:
        answer(client, CODE)
        await client.wait_gone()


async def test_another_user_name_begins_anew(careful: Gateway) -> None:
    """R13: carol's key and then another name's answer are nobody."""
    careful.passwords.codes[USER] = CODE
    async with await half_way(careful) as client:
        ask(client, f"{LOGIN}%other")
        question = Reader((await client.expect(INFO_REQUEST))[1:])
        assert "certificate" in [question.text() for _ in range(2)][1]
        assert question.text() == ""
        assert question.uint32() == 0
        answer(client)
        methods, partial = await refused(client)
        assert (set(methods), partial) == ({"publickey", "keyboard-interactive"}, False)
        ask(client, ROUTE)  # and back: nothing is left of what was
        assert (await refused(client))[1] is False


async def test_of_two_keys_at_once_the_one_that_signed_last_is_the_one_that_answers(careful: Gateway) -> None:
    """R13: pipelined requests; the other one's certificate opens nothing, its code neither."""
    careful.passwords.codes[USER] = "654321"
    async with await arrive(careful) as client:
        client.sign(ROUTE, await careful.credential())
        client.sign(ROUTE, await careful.credential("carol"))
        kinds = [(await client.receive())[0] for _ in range(1)]
        if kinds == [USERAUTH_SUCCESS]:  # the first one was done before the second arrived: then that one counts
            return
        ask(client, ROUTE)
        await client.expect(INFO_REQUEST)
        answer(client, "654321")
        assert (await refused(client))[1] is False
        ask(client, ROUTE)
        await client.expect(INFO_REQUEST)
        answer(client, CODE)
        await client.expect(USERAUTH_SUCCESS)


async def test_whoever_has_no_device_is_told_how_to_get_one(careful: Gateway) -> None:
    """A question without questions: only its text matters."""
    del careful.passwords.codes["carol"]
    async with await half_way(careful) as client:
        ask(client, ROUTE)
        question = Reader((await client.expect(INFO_REQUEST))[1:])
        assert "ilsh mfa add" in [question.text() for _ in range(2)][1]
        answer(client)
        assert (await refused(client))[1] is False


class Person(asyncssh.SSHClient):
    """Answers with codes."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)

    def kbdint_auth_requested(self) -> str:
        """Yes."""
        return ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """Type."""
        del name, instructions, lang
        return [self.codes.pop(0) for _ in prompts]


async def test_who_has_confirmed_is_in_and_a_lock_on_the_device_ends_it(careful: Gateway) -> None:
    """At a real target; the event of the session is carol's."""
    async with plain_target(careful, "plain3") as target:
        conn = await careful.client(target.hostname, as_user="carol", client_factory=lambda: Person(CODE))
        async with conn:
            assert (await conn.run("stderr")).stderr == "to stderr"
            careful.locks.tell(LockList((Lock("l1", LockKind.MFA_DEVICE, PHONE, START, "it was lost"),)))
            await conn.wait_closed()


async def test_a_jump_is_answered_here_and_asked_for_the_code(careful: Gateway) -> None:
    """In node mode, too, where the proxy would only build a bridge: nobody could ask there."""
    careful.record_in(RecordingMode.NODE)
    careful.add_target("node1", 1, sub_kind=SubKind.NODE)
    person = Person(CODE)
    async with await careful.client("", user="carol", as_user="carol") as outer:
        inner = await careful.jump(outer, "node1", as_user="carol", client_factory=lambda: person)
        async with inner:
            assert person.codes == []
            with pytest.raises(asyncssh.ChannelOpenError, match="node1"):  # nobody listens at port 1
                await inner.run("true")


async def test_certificates_keep_their_restrictions_through_the_second_question(careful: Gateway) -> None:
    """R13: from elsewhere than its source-address a certificate is refused before anything is asked."""
    async with await arrive(careful) as client:
        credential = await careful.credential("carol")
        client.sign(ROUTE, replace(credential, key=(await careful.credential()).key))
        methods, partial = await refused(client)
        assert ("publickey" in methods, partial) == (True, False)


async def test_attempts_are_counted_over_both_questions(careful: Gateway) -> None:
    """Nobody gets any number of tries by beginning anew."""
    careful.add_target("plain2", 1)
    async with await arrive(careful) as client:
        for number in range(MAX_ATTEMPTS):
            client.sign(f"{LOGIN}%plain{number % 2 + 1}", await careful.credential("carol"))
            await client.expect(USERAUTH_FAILURE)
        client.sign(ROUTE, await careful.credential("carol"))
        await client.wait_gone()


async def test_who_cannot_be_looked_up_is_told_so(careful: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Auth may be away: nobody is let in by that, and nobody is left with a closed connection and no word."""

    async def away(names: Iterable[str]) -> list[Role]:
        raise StoreError("auth cannot be reached", reason=f"asked for {', '.join(names)}")

    monkeypatch.setattr(careful.users, "roles", away)
    async with await arrive(careful) as client:
        client.sign(ROUTE, await careful.credential("carol"))
        assert await client.wait_gone() == "auth cannot be reached"
    await careful.wait_clean()
    (told,) = await careful.events("auth")
    assert "asked for" in str(told["error"])
