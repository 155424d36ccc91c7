"""Configuration: strict, with errors that name the setting."""

from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.config import Address, Config, NodeConfig, load_config
from interlock.domain.duties import RecordingMode


def written(tmp_path: Path, text: str) -> Path:
    """A file with this text."""
    path = tmp_path / "interlock.toml"
    path.write_text(text)
    return path


def test_no_file_means_the_defaults() -> None:
    """The gateway starts from nothing at all."""
    assert load_config(None) == Config()
    assert Config().mode is None


def test_a_file_sets_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    """What is left out keeps its default."""
    config = load_config(written(tmp_path, 'recording_mode = "proxy"\n[node]\nlabels = {env = "test"}\n'))
    assert config.mode is RecordingMode.PROXY
    assert config.node.labels == {"env": "test"}
    assert config.proxy == Config().proxy


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('recording_mod = "proxy"', "recording_mod"),
        ("[proxy]\nport = 22", "port"),
        ("cluster = 5", "cluster"),
        ('cluster = "a b"', "cluster"),
        ('recording_mode = "both"', "recording_mode"),
        ('[auth]\nlisten = "127.0.0.1:99999"', "auth.listen"),
        ('[auth]\njoin_listen = "localhost"', "auth.join_listen"),
        ('[auth]\nlocking = "maybe"', "locking"),
        ('[proxy]\nlisten = "22"', "proxy.listen"),
        ('[proxy]\nproxy_protocol = ["10.0.0.1/8"]', "proxy.proxy_protocol"),
        ('[proxy]\nproxy_protocol = ["balancer"]', "proxy.proxy_protocol"),
        ('[web]\nlisten = "443"', "web.listen"),
        ('[node]\nlisten = ":x"', "node.listen"),
        ('[node]\nproxy = "gateway:0"', "node.proxy"),
        ('[node]\nproxy = "-oProxyCommand=x"', "node.proxy"),
        ('[node]\nhostname = "-x"', "node.hostname"),
        ("cluster =", "Invalid value"),
    ],
)
def test_an_error_names_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    """A misspelt or mistyped policy setting never counts as absent (R6)."""
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    assert named in caught.value.public
    assert "interlock.toml" in caught.value.public


def test_a_nodes_name_is_in_lower_case() -> None:
    """As ssh makes it in a jump."""
    assert Config(node=NodeConfig(hostname="WEB1")).node_name == "web1"


def test_an_unknown_mode_names_the_known_ones() -> None:
    """The person learns what to write."""
    with pytest.raises(ConfigError, match="off, node, proxy, node-sync, proxy-sync"):
        _ = Config(recording_mode="both").mode


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No trace, one sentence."""
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:22", Address("127.0.0.1", 22)),
        ("[::1]:3023", Address("::1", 3023)),
        (":0", Address("", 0)),
        ("gw.example:65535", Address("gw.example", 65535)),
    ],
)
def test_addresses(text: str, parsed: Address) -> None:
    """Host and port, IPv6 in brackets."""
    assert Address.parse("proxy.listen", text) == parsed


@pytest.mark.parametrize("text", ["", "22", "host", "host:", "host:65536", "::1:22", "host:22x"])
def test_what_is_no_address_names_its_setting(text: str) -> None:
    """The setting is in the sentence."""
    with pytest.raises(ConfigError, match=r"proxy\.listen"):
        Address.parse("proxy.listen", text)
