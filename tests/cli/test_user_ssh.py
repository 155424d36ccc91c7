"""Arguments for the stock OpenSSH: routed, parsed, and never an option by accident."""

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.cli.user_profile import Login, Profile
from interlock.cli.user_ssh import (
    Destination,
    join_argv,
    parse_destination,
    route_names,
    scp_argv,
    split_ssh,
    ssh_argv,
    ssh_config,
)
from interlock.core.errors import ConfigError
from interlock.core.extensions import JoinMode
from interlock.core.ids import SessionId
from interlock.core.portal import NodeItem
from interlock.testing.clock import START

HOSTILE = [
    "-oProxyCommand=x@web1",
    "root@-oProxyCommand=x",
    "root@web1;id",
    "root@$(id)",
    "ro ot@web1",
    "@web1",
    "root@",
]


def login(directory: Path = Path("/home/alice/.interlock/gw_3023"), *logins: str, host: str = "gw") -> Login:
    """A login of alice's at a gateway."""
    names = list(logins) or ["root", "deploy"]
    return Login(Profile(host, 3023, "alice", "test", ["access"], names, START + timedelta(hours=1)), directory)


@pytest.mark.parametrize(
    ("arguments", "options", "destination", "command"),
    [
        (["root@web1"], [], "root@web1", []),
        (["-tt", "root@web1", "ls", "-l"], ["-tt"], "root@web1", ["ls", "-l"]),
        (["-p", "22", "root@web1"], ["-p", "22"], "root@web1", []),
        (["-p22", "-NL", "1:x:2", "root@web1"], ["-p22", "-NL", "1:x:2"], "root@web1", []),
        (["-o", "-v", "--", "root@web1", "--", "x"], ["-o", "-v"], "root@web1", ["--", "x"]),
        (["-vo", "A=b", "root@web1", "-v"], ["-vo", "A=b"], "root@web1", ["-v"]),
    ],
)
def test_the_destination_is_found_among_sshs_options(
    arguments: list[str], options: list[str], destination: str, command: list[str]
) -> None:
    """As getopt of ssh itself would find it."""
    found = split_ssh(arguments)
    assert (found.options, found.destination, found.command) == (options, destination, command)


@pytest.mark.parametrize("arguments", [[], ["-v"], ["-p"], ["-p", "22"], ["--"]])
def test_without_destination_there_is_no_ssh(arguments: list[str]) -> None:
    """The person is told what to say."""
    with pytest.raises(ValueError, match="LOGIN@NODE"):
        split_ssh(arguments)


def test_ssh_gets_the_route_behind_a_double_dash() -> None:
    """Our options first, since ssh takes the first value; then the person's; the command as it is."""
    argv = ssh_argv(login(), split_ssh(["-t", "root@web1", "echo", "$HOME"]))
    assert argv[0] == "ssh"
    assert argv[-6:] == ["3023", "-t", "--", "root%web1@gw", "echo", "$HOME"]
    assert 'IdentityFile="/home/alice/.interlock/gw_3023/id"' in argv
    assert "StrictHostKeyChecking=yes" in argv


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_destinations_are_refused(text: str) -> None:
    """R26: neither an option nor anything for a shell gets through."""
    with pytest.raises(ValueError, match=r"not a valid"):
        parse_destination(text, login().profile)
    with pytest.raises(ValueError, match=r"not a valid"):
        scp_argv(login(), ["--", f"{text}:file", "."])


def test_a_person_with_one_login_need_not_name_it() -> None:
    """With several there is no guessing."""
    assert parse_destination("web1", login(Path("/x"), "root").profile) == Destination("root", "web1")
    with pytest.raises(ValueError, match="root, deploy"):
        parse_destination("web1", login().profile)


def test_scp_routes_remote_files_and_leaves_local_ones() -> None:
    """Colons before the first slash mean another host, as scp itself has it."""
    argv = scp_argv(login(), ["-r", "-l", "100", "./a:b", "root@web1:/tmp/x y", "dir/c:d", "deploy@db:"])
    assert argv[-9:] == [
        *["3023", "-r", "-l", "100", "--"],
        *["./a:b", "root%web1@gw:/tmp/x y", "dir/c:d", "deploy%db@gw:"],
    ]


def test_scp_brackets_an_ipv6_gateway() -> None:
    """Otherwise its colons would end the host."""
    argv = scp_argv(login(host="::1"), ["root@web1:x", "."])
    assert argv[-2] == "root%web1@[::1]:x"


@pytest.mark.parametrize("text", ["scp://root@other/x", "other.example.org:x", "root@a@b:x", "[::1]:x"])
def test_scp_goes_nowhere_but_through_the_gateway(text: str) -> None:
    """Whatever scp would take for another host becomes a route or is refused."""
    with pytest.raises(ValueError, match=r"not a valid|no login"):
        scp_argv(login(), [text, "."])


@pytest.mark.parametrize("arguments", [[], ["x"], ["-r", "x"]])
def test_scp_needs_two_files(arguments: list[str]) -> None:
    """Said here, because scp's own usage would show options that are ours."""
    with pytest.raises(ValueError, match="source and a target"):
        scp_argv(login(), arguments)


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a\\b", "${HOME}"])
def test_a_path_that_ssh_config_cannot_carry_is_refused(name: str) -> None:
    """Rather than quoted into something else."""
    with pytest.raises(ConfigError, match="ILSH_HOME"):
        ssh_argv(login(Path("/home") / name), split_ssh(["root@web1"]))


@pytest.mark.parametrize("nodes", [[("web1\nProxyCommand x", ["root"])], [("web1", ["root\n"])], [("*", [])]])
def test_a_gateway_cannot_write_into_the_persons_ssh_config(nodes: list[tuple[str, list[str]]]) -> None:
    """R26: names that the gateway lists are parsed before they are written."""
    with pytest.raises(ValueError, match=r"not a valid"):
        ssh_config(login(), nodes)


def test_nodes_of_one_name_are_reached_by_their_ids() -> None:
    """The name would be refused; the others keep theirs."""
    first, second = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"
    nodes = [NodeItem(each, "web1", "interlock", {}, ["root"]) for each in (first, second)]
    other = NodeItem("33333333-0000-4000-8000-000000000003", "db1", "interlock", {}, ["root"])
    assert route_names([nodes[0], other, nodes[1]]) == [first, "db1", second]
    config = ssh_config(login(), [(name, ["root"]) for name in route_names(nodes)])
    assert f"Host {second}.test\n    HostName {second}\n    HostKeyAlias {second}\n" in config
    assert f"    User root+{second}\n" in config


@pytest.mark.interop
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("gateway.test", {"user": "alice", "hostname": "gw", "port": "3023"}),
        ("web1.test", {"hostname": "web1", "proxyjump": "gateway.test", "hostkeyalias": "web1", "port": "22"}),
        ("root.web1.test", {"user": "root+web1", "hostname": "gw", "port": "3023"}),
    ],
)
def test_stock_ssh_reads_the_configuration_as_it_is_meant(
    tmp_path: Path, host: str, expected: dict[str, str]
) -> None:
    """``ssh -G`` says what it would do; paths with spaces and per cent signs included."""
    directory = tmp_path / "my 50% home"
    directory.mkdir()
    (tmp_path / "config").write_text(ssh_config(login(directory), [("web1", ["root", "deploy"])]))
    ssh = shutil.which("ssh")
    assert ssh is not None
    done = subprocess.run(
        [ssh, "-F", tmp_path / "config", "-G", host], check=True, capture_output=True, text=True, timeout=10
    )
    settings = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert {name: settings[name] for name in expected} == expected
    assert settings["stricthostkeychecking"] == "true"
    assert settings["identityfile"].replace("%%", "%") == str(directory / "id")
    assert settings["identitiesonly"] == "yes"


def test_a_session_is_joined_by_the_stock_ssh() -> None:
    """The mode is in the user name, so that a refusal comes with the channel."""
    sid = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
    assert join_argv(login(), sid, JoinMode.PEER)[-3:] == ["-t", "--", f"join-peer%{sid}@gw"]
    assert join_argv(login(), sid, None)[-3:] == ["-t", "--", f"join%{sid}@gw"]


def test_reason_and_invitations_are_one_setting() -> None:
    """ssh takes the first SetEnv alone; quotes in a reason stay in it."""
    plain = split_ssh(["root@web1"])
    argv = ssh_argv(login(), plain, reason=r'say "hi\n"', invite=["bob", "carol"])
    words = next(word for word in argv if word.startswith("SetEnv="))
    reason = r'"TELEPORT_SESSION_REASON=say \"hi\\n\""'
    assert words == f'SetEnv={reason} "TELEPORT_SESSION_INVITED_USERS=bob,carol"'
    assert not any(word.startswith("SetEnv") for word in ssh_argv(login(), plain))


@pytest.mark.parametrize(("reason", "invite"), [("two\nlines", []), ("\x1b[2J", []), ("", ["a,b"]), ("", ["-o"])])
def test_words_that_cannot_be_said(reason: str, invite: list[str]) -> None:
    """Refused before ssh is started."""
    with pytest.raises(ValueError, match=r"reason|name"):
        ssh_argv(login(), split_ssh(["root@web1"]), reason=reason, invite=invite)


@pytest.mark.parametrize(("cluster", "node"), [("leaf", "web1.leaf"), ("", "web1"), ("TEST", "web1")])
def test_a_node_of_a_leaf_is_named_with_its_cluster(cluster: str, node: str) -> None:
    """One's own cluster is no leaf."""
    assert ssh_argv(login(), split_ssh(["root@web1"]), cluster)[-1] == f"root%{node}@gw"
    assert scp_argv(login(), ["a", "root@web1:b"], cluster)[-1] == f"root%{node}@gw:b"


@pytest.mark.parametrize("cluster", ["-oProxyCommand=x", "a b", "a%b"])
def test_a_cluster_that_is_none_is_refused(cluster: str) -> None:
    """It becomes part of an argument."""
    with pytest.raises(ValueError, match="not a valid name"):
        ssh_argv(login(), split_ssh(["root@web1"]), cluster)


def test_a_leafs_nodes_have_blocks_of_their_own() -> None:
    """The jump goes by one's own gateway, under the name with the leaf's; both get the certificate."""
    text = ssh_config(login(), [("web1", ["root"])], "leaf")
    assert "Host web1.leaf\n    HostName web1.leaf\n" in text
    assert "    ProxyJump gateway.test\n" in text
    assert "Host root.web1.leaf\n" in text
    assert "    User root+web1.leaf\n" in text
    assert "Host *.leaf gateway.test\n" in text
