"""What certificates and enrolled keys withhold, at a proxy apart from auth, which alone knows it."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interlock.core.certificate import TOUCHED, VERIFIED
from interlock.testing.agent import KeyAgent, SecurityKey
from interlock.testing.everywhere import past_the_gateway
from interlock.testing.machines import Machines
from interlock.testing.openssh import Key, SshClient, make_key
from interlock.testing.ports import LOOPBACK

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("restricted-apart"),
]

USER = "restricted"
FORCED = 'echo "asked: $SSH_ORIGINAL_COMMAND"'


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """One auth, one proxy, and somebody whose role allows everything that can be withheld."""
    with Machines(tmp_path_factory.mktemp("machines"), proxies=1) as found:
        kinds = ("local", "remote", "agent")
        options = [word for kind in kinds for word in ("--option", f"{kind}_forwarding=yes")]
        found.admin("roles", "add", USER, "--logins", found.login_name, "--labels", "env=test", *options)
        found.add_user(USER, USER)
        yield found


Way = Callable[[Machines, Key], None]


def certified(*options: str) -> Way:
    """By a certificate with these options."""

    def give(cluster: Machines, key: Key) -> None:
        words = [word for option in options for word in ("-O", option)]
        public = f"{key.path}.pub"
        cluster.admin("auth", "sign", "--user", USER, "--public-key", public, "--out", key.certificate, *words)

    return give


def enrolled(options: str) -> Way:
    """By a key that counts without a certificate."""

    def give(cluster: Machines, key: Key) -> None:
        public = Path(f"{key.path}.pub")
        algorithm, blob, *_ = public.read_text().split()
        public.write_text(f"{options} {algorithm} {blob} {key.path.parent.name}\n")
        cluster.admin("users", "keys", "add", USER, public)
        public.write_text(f"{algorithm} {blob}\n")

    return give


def client_of(cluster: Machines, directory: Path, give: Way, key: Key | None = None, **options: str) -> SshClient:
    """A stock client with nothing but that."""
    directory.mkdir(exist_ok=True)
    key = key or make_key(directory / "id", comment=directory.name)
    give(cluster, key)
    ca = cluster.host_ca.read_text().split()
    gateway = f"Host gateway\n  HostName {cluster.host}\n  Port {cluster.port}\n  User {USER}"
    jumps = f"Host {' '.join(cluster.targets)}\n  ProxyJump gateway"
    trust = f"@cert-authority * {ca[0]} {ca[1]}"
    return SshClient(directory / "client", [key], [trust], options=options, blocks=[gateway, jumps])


def roads(cluster: Machines, *, bridged: bool) -> list[tuple[str, ...]]:
    """Every way in. ``bridged``: also to our node's own server, which knows certificates alone."""
    ways = [cluster.route(name) for name in cluster.targets]
    ways += [cluster.jump(name) for name in cluster.targets if bridged or name == cluster.agentless_name]
    return [*ways, past_the_gateway(cluster)] if bridged else ways


@pytest.mark.parametrize("mode", ["proxy", "node"])
@pytest.mark.parametrize("by", ["certificate", "key"])
def test_what_is_withheld(machines: Machines, tmp_path: Path, mode: str, by: str) -> None:
    """One command alone; and none of what was taken, though the role allows it."""
    machines.set_mode("proxy" if mode == "proxy" else "node")
    is_key = by == "key"
    command = FORCED.replace('"', '\\"')
    one = enrolled(f'command="{command}"') if is_key else certified(f"force-command={FORCED}")
    bare = enrolled("restrict") if is_key else certified("clear")
    forced = client_of(machines, tmp_path / f"forced-{mode}-{by}", one)
    least = client_of(machines, tmp_path / f"least-{mode}-{by}", bare)
    for road in roads(machines, bridged=not is_key):
        assert forced.run(*road, "id").check().stdout == "asked: id\n", road
        assert "PTY allocation request failed" in least.run("-tt", *road, "tty").stderr, road
        assert least.run(*road, "echo in").check().stdout == "in\n", road
        assert least.run("-W", f"{LOOPBACK}:{machines.agentless.port}", *road).rc == 255, road
        far = ("-o", "ExitOnForwardFailure=yes", "-R", f"0:{LOOPBACK}:9")
        assert least.run(*far, *road, "echo in").rc == 255, road
    joined = forced.run("-tt", "-l", "join%11111111-2222-4333-8444-555555555555", "gateway")
    assert (joined.rc, "asked:" in joined.stdout) == (255, False)
    asked = forced.run("-s", "gateway", "portal@interlock.dev", stdin=b'{"type":"nodes"}\n')
    assert "for one command" in asked.stdout


@pytest.mark.parametrize("flags", [0, TOUCHED, TOUCHED | VERIFIED])
def test_what_a_key_on_hardware_has_to_show(machines: Machines, tmp_path: Path, flags: int) -> None:
    """By the proxy's own look at the signature, and by auth's when it signs for the target."""
    machines.set_mode("proxy")
    asked = {("verify-required",): TOUCHED | VERIFIED, ("no-touch-required",): 0, (): TOUCHED}
    for number, (options, wanted) in enumerate(asked.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        token, key, agent = SecurityKey(flags=flags), Key(directory / "token"), directory / "agent"
        Path(f"{key.path}.pub").write_text(f"{token.line}\n")
        client = client_of(machines, directory, certified(*options), key, IdentityAgent=str(agent))
        token.certificate = b64decode(key.certificate.read_text().split()[1])
        with KeyAgent(agent, [token]):
            for road in roads(machines, bridged=True):
                right = flags & wanted == wanted
                assert (client.run(*road, "true").rc == 0) is right, (road, options)
