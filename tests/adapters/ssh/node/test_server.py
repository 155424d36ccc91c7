"""The node as the real ssh sees it: what runs, how it ends, and what the person is told."""

import asyncio
import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.ssh.node.server import NodeOptions
from interlock.core.errors import Denied, RecordingError, StoreError
from interlock.core.sides import Side
from interlock.domain.duties import RecordingMode
from interlock.domain.session import Exit, SessionKind, Window
from interlock.testing.node import HOSTNAME, NODE_ID, World, node_world
from interlock.testing.openssh import clean_env
from interlock.testing.terminal import Terminal

pytestmark = pytest.mark.interop


async def test_runs_a_command(world: World) -> None:
    """Output, error output and exit status arrive, each where it belongs, and the session is told of each."""
    done = await world.run("echo out; echo err >&2; exit 3")
    assert (done.out, done.err, done.rc) == (b"out\n", b"err\n", 3)
    live = world.sessions.all[0]
    assert live.begun is not None
    assert (live.begun.kind, live.begun.command, live.begun.window) == (
        SessionKind.EXEC,
        "echo out; echo err >&2; exit 3",
        None,
    )
    assert (bytes(live.stdout), bytes(live.stderr)) == (b"out\n", b"err\n")
    assert live.exits == [Exit(status=3)]
    assert live.ends == [(0, 8, "")]


async def test_input_is_told_before_the_command_gets_it(world: World) -> None:
    """What is kept of it is the session's business; every byte passes by it."""
    done = await world.run("cat >/dev/null; echo read", stdin=b"typed" * 20_000)
    assert done.out == b"read\n"
    assert bytes(world.sessions.all[0].stdin) == b"typed" * 20_000


@pytest.mark.parametrize("status", [0, 1, 127, 128, 130, 254, 255])
async def test_exit_status_is_exact(world: World, status: int) -> None:
    """Every status from 0 to 255 reaches the client."""
    assert (await world.run(f"exit {status}")).rc == status


async def test_death_by_signal(world: World) -> None:
    """A killed process is reported as exit-signal, which ssh turns into 255."""
    done = await world.run("kill -TERM $$")
    assert done.rc == 255
    assert world.sessions.all[0].exits == [Exit(signal="TERM")]


async def test_input_ends_in_both_directions(world: World) -> None:
    """A program that reads to the end of its input gets all of it, and then answers."""
    data = os.urandom(3_000_000)
    done = await world.run("sha256sum", stdin=data)
    assert done.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert world.sessions.all[0].ends[0][0] == len(data)


async def test_bulk_output_is_complete(world: World) -> None:
    """Nothing is lost between a process that exits and a client that still reads."""
    done = await world.run("head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert (len(done.out), done.err, done.rc) == (20_000_000, b"end\n", 0)
    assert world.sessions.all[0].ends[0][1] == 20_000_004


async def test_rekeying_in_bulk(world: World) -> None:
    """Key exchanges during a transfer lose and reorder nothing."""
    data = os.urandom(8_000_000)
    done = await world.ssh("-o", "RekeyLimit=1M", HOSTNAME, "tee /dev/stderr", stdin=data)
    assert (done.out == data, done.err == data) == (True, True)


async def test_session_id_is_everywhere(world: World) -> None:
    """The ID that the registry agreed to is the one in the process' environment."""
    done = await world.run(
        "echo $SSH_SESSION_ID $TELEPORT_SESSION $INTERLOCK_SESSION $SSH_TELEPORT_USER $INTERLOCK_CLUSTER"
    )
    sid = world.sessions.all[0].sid
    assert done.stdout.split() == [sid, sid, sid, "alice", "test"]


async def test_environment_is_made_from_nothing(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the daemon's environment reaches a session, and of the client's only what is harmless."""
    monkeypatch.setenv("INTERLOCK_SECRET", "hunter2")
    client = world.client(
        await world.key(), SendEnv="LC_* LANG", SetEnv="LD_PRELOAD=/x.so BASH_ENV=/x LC_TEST=kept"
    )
    done = await world.visit(client, HOSTNAME, "env")
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert variables["HOME"] == str(home)
    assert variables["LC_TEST"] == "kept"
    assert variables["SSH_CONNECTION"].split()[0] == "127.0.0.1"
    assert not {"INTERLOCK_SECRET", "LD_PRELOAD", "BASH_ENV"} & set(variables)


async def test_two_channels_are_two_sessions(world: World) -> None:
    """Each channel of one connection has an ID of its own."""
    key = await world.key()
    client = world.client(key, ControlMaster="auto", ControlPath=str(world.directory / "cm"), ControlPersist="yes")
    try:
        runs = [await world.visit(client, HOSTNAME, "echo $SSH_SESSION_ID") for _ in range(3)]
    finally:
        await world.visit(client, "-O", "exit", HOSTNAME)
    told = [run.stdout.strip() for run in runs]
    assert told == [live.sid for live in world.sessions.all]
    assert len(set(told)) == 3


async def test_many_channels_at_once(world: World) -> None:
    """Twenty sessions at once on one connection all run."""
    key = await world.key()
    client = world.client(key, ControlMaster="auto", ControlPath=str(world.directory / "cm"), ControlPersist="yes")
    try:
        await world.visit(client, HOSTNAME, "true")
        async with asyncio.TaskGroup() as tasks:
            runs = [
                tasks.create_task(world.visit(client, HOSTNAME, f"cat; exit {n}", stdin=b"x" * n))
                for n in range(20)
            ]
    finally:
        await world.visit(client, "-O", "exit", HOSTNAME)
    assert [(len(run.result().out), run.result().rc) for run in runs] == [(n, n) for n in range(20)]


async def test_many_connections_at_once_leave_nothing(world: World) -> None:
    """Twenty clients at once are served, and then no connection, session, process or descriptor is left."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    clients = [world.client(await world.key()) for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        runs = [
            tasks.create_task(world.visit(client, *tty, HOSTNAME, f"echo {n}; exit {n}"))
            for n, (client, tty) in enumerate(zip(clients, [[], ["-tt"]] * 10, strict=True))
        ]
    assert [(run.result().stdout.strip(), run.result().rc) for run in runs] == [(str(n), n) for n in range(20)]
    server = world.server
    assert server is not None
    await world.stop()
    assert (server._visitors, server._running, server._children._children) == (set(), set(), set())
    assert [len(live.ends) for live in world.sessions.all] == [1] * 20
    assert len({live.sid for live in world.sessions.all}) == 20
    assert len(os.listdir("/proc/self/fd")) < before  # noqa: PTH208  # the listener is closed too


async def test_interactive_shell(world: World) -> None:
    """A shell has a controlling terminal of the client's size, type and modes, which follows the window."""
    client = world.client(await world.key())

    def talk() -> tuple[str, int]:
        with Terminal(client.argv(HOSTNAME), env=clean_env(), cols=91, rows=33) as terminal:
            terminal.send("PS1='$'; stty size; tty; echo tty=$SSH_TTY; echo term=$TERM; ps -o tty= -p $$\r")
            terminal.expect(r"\b33 91\r\n/dev/pts/(\d+)\r\ntty=/dev/pts/\1\r\nterm=xterm-256color\r\npts/\1")
            terminal.resize(100, 40)
            terminal.send("until [ \"$(stty size)\" = '40 100' ]; do :; done; echo resized-$((1+1))\r")
            terminal.expect("resized-2")
            terminal.send("echo go''ing; cat\r")
            terminal.expect("going\r\n")
            terminal.send("hello\r")
            terminal.expect("hello\r\nhello\r\n")  # the terminal's echo, then the program's
            terminal.send("\x03")
            terminal.expect(r"\^C.*\$")  # the kernel forgets what is typed ahead of the prompt
            terminal.send("echo interrupted=$?\r")
            terminal.expect("interrupted=130")
            terminal.send("exit 5\r")
            return terminal.text, terminal.wait()

    text, code = await asyncio.to_thread(talk)
    assert code == 5
    live = world.sessions.all[0]
    assert live.begun is not None
    assert (live.begun.window, live.begun.term) == (Window(91, 33), "xterm-256color")
    assert live.windows == [Window(100, 40)]
    assert "resized-2" in live.stdout.decode()
    assert "job control" not in text


async def test_terminal_modes_of_the_client(world: World) -> None:
    """What stty changed before ssh started holds in the session."""
    client = world.client(await world.key())
    argv = ["sh", "-c", 'stty intr ^B -ixon; exec "$@"', "sh", *client.argv("-tt", HOSTNAME, "stty -a")]

    def talk() -> str:
        with Terminal(argv, env=clean_env()) as terminal:
            terminal.wait()
            return terminal.text

    text = await asyncio.to_thread(talk)
    assert "intr = ^B" in text
    assert "-ixon" in text


async def test_background_process_does_not_hold_a_terminal(world: World) -> None:
    """Leaving a shell ends the session although a process in the background keeps the terminal open."""
    done = await world.ssh("-tt", HOSTNAME, "(trap '' HUP; exec sleep 30) & echo started; exit 0")
    assert "started" in done.stdout
    assert done.rc == 0


async def test_client_that_vanishes_takes_its_command_along(world: World) -> None:
    """A killed client hangs up on what it ran, which is reaped."""
    client = world.client(await world.key())
    process = await asyncio.create_subprocess_exec(
        *client.argv(HOSTNAME, "echo $$; exec sleep 1000"), stdout=asyncio.subprocess.PIPE, env=clean_env()
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    await world.sessions.all[0].ended.wait()
    tx, rx, reason = world.sessions.all[0].ends[0]
    assert (tx, rx) == (0, len(str(pid)) + 1)
    assert reason.startswith("the client")
    while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, ASYNC240, PTH110  # the kernel has no event for it
        await asyncio.sleep(0.01)


async def test_client_that_does_not_read_stops_its_process(world: World) -> None:
    """An unread window stops the output at its source, and nothing is lost when reading goes on."""
    client = world.client(await world.key())
    process = await asyncio.create_subprocess_exec(
        *client.argv(HOSTNAME, "head -c 100000000 /dev/zero"),
        stdout=asyncio.subprocess.PIPE,
        env=clean_env(),
        limit=1024,
    )
    assert process.stdout is not None
    await process.stdout.read(1)
    live = world.sessions.all[0]
    sent = -1
    while sent != live.traffic()[1]:
        sent = live.traffic()[1]
        await asyncio.sleep(0.2)
    assert sent < 20_000_000
    out, _ = await process.communicate()
    assert (len(out), process.returncode) == (99_999_999, 0)


async def test_sftp(world: World) -> None:
    """The system's sftp server runs as the login."""
    source = world.directory / "source"
    source.write_bytes(os.urandom(500_000))
    copy = world.directory / "copy"
    done = await world.ssh("-q", str(source), f"{HOSTNAME}:{copy}", program="scp")
    assert done.rc == 0, done.stderr
    assert copy.read_bytes() == source.read_bytes()
    live = world.sessions.all[0]
    assert live.begun is not None
    assert (live.begun.kind, live.begun.command) == (SessionKind.SUBSYSTEM, "sftp")


async def test_whoever_observes_files_sees_both_directions(world: World) -> None:
    """Input and output, each complete, and what it makes of them goes on; error output is no part of them."""
    done = await world.run("tee /dev/stderr; echo is forbidden", stdin=b"in: forbidden ")
    transfers = world.sessions.all[0].transfers
    assert transfers is not None
    said = {Side.CLIENT: b"in: forbidden ", Side.TARGET: b"in: replaced! is forbidden\n"}
    assert transfers.seen == said
    assert (done.out, done.err) == (b"in: replaced! is replaced!\n", b"in: replaced! ")


async def test_a_session_that_the_role_ends(world: World) -> None:
    """At once, with the words."""
    client = world.client(await world.key())
    process = await asyncio.create_subprocess_exec(
        *client.argv(HOSTNAME, "echo begun; exec sleep 600"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_env(),
    )
    assert process.stdout is not None
    await process.stdout.readline()
    live = world.sessions.all[0]
    assert live.on_forbidden is not None
    live.on_forbidden(Denied("no such files"))
    _, errors = await process.communicate()
    assert process.returncode == 254
    assert b"Session terminated: no such files" in errors
    assert live.ends[0][2] == "Session terminated: no such files"


async def test_old_scp(world: World) -> None:
    """The old protocol is a command."""
    source = world.directory / "source"
    source.write_bytes(os.urandom(500_000))
    copy = world.directory / "copy"
    done = await world.ssh("-O", "-q", str(source), f"{HOSTNAME}:{copy}", program="scp")
    assert done.rc == 0, done.stderr
    assert copy.read_bytes() == source.read_bytes()


async def test_other_subsystems_are_refused(world: World) -> None:
    """Only sftp is served."""
    done = await world.ssh("-s", HOSTNAME, "netconf")
    assert done.rc == 255
    assert "subsystem request failed" in done.stderr


async def test_port_forwarding_is_refused_with_a_reason(world: World) -> None:
    """No role allows it."""
    done = await world.ssh("-W", "127.0.0.1:22", HOSTNAME)
    assert "administratively prohibited: port forwarding is not allowed by your roles" in done.stderr


async def test_agent_and_x11_are_refused(world: World) -> None:
    """Asking for them does not harm the session."""
    client = world.client(await world.key(), ForwardAgent="yes", ForwardX11="yes")
    done = await world.visit(client, HOSTNAME, "echo ${SSH_AUTH_SOCK:-none}")
    assert done.stdout == "none\n"


# who may come in


async def test_a_principal_that_the_certificate_lacks(world: World) -> None:
    """A genuine certificate for another login is refused with the reason, and audited."""
    client = world.client(await world.key(logins=["nobody"]))
    done = await world.visit(client, HOSTNAME, "true")
    assert f"your certificate does not allow the login {world.login}" in done.stderr
    (event,) = world.sink.events
    assert (event.kind.event, event.kind.code) == ("auth", "T3007W")
    assert (event.fields["user"], event.fields["login"]) == ("alice", world.login)


async def test_policy_refuses(world: World) -> None:
    """What the admission says reaches the person."""
    world.admission.refusal = Denied("access denied: you may not log in as root on web1", reason="no role")
    done = await world.run("true")
    assert "access denied: you may not log in as root on web1" in done.stderr
    assert world.sink.events[0].fields["error"] == "no role"
    assert world.admission.asked == [("alice", world.login, NODE_ID)]


async def test_an_unknown_login(world: World) -> None:
    """A login without an account is refused."""
    client = world.client(await world.key(logins=["no_such_login"]), User="no_such_login")
    done = await world.visit(client, HOSTNAME, "true")
    assert "there is no login no_such_login on this host" in done.stderr


async def test_a_certificate_of_another_authority(world: World) -> None:
    """An unknown authority's certificate fails with a banner that says what to do."""
    async with node_world(world.directory / "other") as stranger:
        key = await stranger.key()
    done = await world.visit(world.client(key), HOSTNAME, "true")
    assert "your certificate was not accepted: run ilsh login" in done.stderr
    assert "Permission denied (publickey)" in done.stderr
    assert world.sink.events[0].kind.code == "T3007W"


async def test_an_expired_certificate(world: World) -> None:
    """The banner says that it has expired."""
    key = await world.key(ttl=timedelta(microseconds=1))
    done = await world.visit(world.client(key), HOSTNAME, "true")
    assert "your certificate has expired: run ilsh login" in done.stderr


async def test_a_plain_key(world: World) -> None:
    """Keys without a certificate never come in."""
    key = await world.key()
    key.certificate.unlink()
    done = await world.visit(world.client(key), HOSTNAME, "true")
    assert "Permission denied (publickey)" in done.stderr
    assert world.sessions.all == []


async def test_the_registry_refuses(world: World) -> None:
    """A session that cannot be audited is refused before the channel is accepted."""
    world.sessions.refusal = StoreError("no new sessions for now: the audit log cannot be written")
    done = await world.run("true")
    assert "no new sessions for now: the audit log cannot be written" in done.stderr
    assert world.sessions.refused[0][0].startswith("no new sessions")


async def test_a_recording_that_cannot_start(world: World) -> None:
    """The person reads why nothing runs."""
    world.sessions.failure = RecordingError("the session cannot be recorded: the disk is full")
    done = await world.run("echo ran")
    assert (done.out, done.rc) == (b"", 254)
    assert "the session cannot be recorded: the disk is full" in done.stderr


async def test_a_recording_that_fails_ends_the_session(world: World) -> None:
    """Nothing is shown that was not recorded."""
    client = world.client(await world.key())
    process = await asyncio.create_subprocess_exec(
        *client.argv(HOSTNAME, "echo one; sleep 1000"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_env(),
    )
    assert process.stdout is not None
    await process.stdout.readline()
    live = world.sessions.all[0]
    assert live.on_failure is not None
    live.on_failure(RecordingError("disk"))
    _, err = await process.communicate()
    assert (process.returncode, b"Session terminated: recording failed" in err) == (254, True)
    assert live.ends[0][2] == "Session terminated: recording failed"


# life of the node


async def test_stopping_tells_live_sessions(world: World) -> None:
    """A live session reads why it ends, and has a proper end."""
    client = world.client(await world.key())

    def talk(started: "asyncio.Event", loop: asyncio.AbstractEventLoop) -> str:
        with Terminal(client.argv(HOSTNAME), env=clean_env()) as terminal:
            terminal.send("echo re''ady\r")
            terminal.expect("ready")
            loop.call_soon_threadsafe(started.set)
            terminal.wait()
            return terminal.text

    started = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        talking = tasks.create_task(asyncio.to_thread(talk, started, asyncio.get_running_loop()))
        await started.wait()
        await world.stop("the gateway is restarting")
    assert "the gateway is restarting" in talking.result()
    live = world.sessions.all[0]
    assert live.ends[0][2] == "the gateway is restarting"
    assert live.exits == [Exit(error="the gateway is restarting")]


async def test_a_node_that_records_itself(world: World) -> None:
    """Without a forwarder's certificate the node has all duties."""
    await world.run("true")
    ctx = world.sessions.all[0].ctx
    assert (ctx.mode, ctx.duties.records, ctx.duties.tracks) == (RecordingMode.NODE, True, True)
    assert ctx.client_addr.startswith("127.0.0.1:")


async def test_an_old_node(world: World) -> None:
    """A node that does not answer the queries still runs commands."""
    options = NodeOptions(announce_session_id=False, answers_v1=False, answers_v2=False)
    async with node_world(world.directory / "old", options) as old:
        assert (await old.run("exit 4")).rc == 4
