"""Daemons of before the contract, as processes: ``python -m interlock.testing.vintage KIND …``.

The same composition as ``interlock start``, with the constructor switches that the program does not offer. What an
old peer does is PROTOCOL.md §8.
"""

import argparse
import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path

from interlock.adapters.ssh.node.server import NodeOptions
from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.daemons.config import load_config
from interlock.daemons.gateway import node_settings, run_gateway
from interlock.daemons.log import set_up_log
from interlock.daemons.membership import JoinBy
from interlock.daemons.node_remote import run_node
from interlock.daemons.proxy_remote import run_proxy
from interlock.daemons.supervise import stop_on_signals
from interlock.ports import TokenKind
from interlock.services.keys.joining import TokenText

V1_NODE = NodeOptions(answers_v2=False, takes_hand_over=False)
"""Names its session after shell or exec."""

MUTE_NODE = NodeOptions(announce_session_id=False, answers_v1=False, answers_v2=False, takes_hand_over=False)
"""Knows no query and names nothing."""

FIRST_AUTH = frozenset(
    {
        "RecordingTerms",
        "Report",
        "Peers",
        "Beacon",
        "AskBrowser",
        "CollectBrowser",
        "EnrolledKey",
        "ConfirmConnection",
    }
)
"""What the first auth that knew proxies apart did not know; what else came later are fields with defaults."""

NODES = {"v1": V1_NODE, "none": MUTE_NODE}


def main() -> None:
    """Run one daemon until a signal."""
    parser = argparse.ArgumentParser(prog="vintage")
    parser.add_argument("kind", choices=["proxy", "apart", "auth", *NODES])
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument("--roles", help="as interlock start has it, which the kind says already")
    parser.add_argument("--join", default="")
    parser.add_argument("--auth", default="")
    chosen = parser.parse_args()
    asyncio.run(_run(chosen.kind, chosen.config, chosen.join, chosen.auth))


async def _run(kind: str, path: Path, token: str, auth: str) -> None:
    config = load_config(path)
    set_up_log(config.log_level)
    data_dir, stopping = Path(config.data_dir), asyncio.Event()
    token_kind = TokenKind.PROXY if kind == "apart" else TokenKind.NODE
    joining = JoinBy(auth, TokenText.parse(token, token_kind)) if token else None
    daemon: Coroutine[None, None, None]
    if kind == "proxy":
        daemon = run_gateway(config, data_dir, with_node=False, stopping=stopping, coordinates=False)
    elif kind == "auth":
        daemon = run_gateway(
            config, data_dir, with_node=False, stopping=stopping, with_proxy=False, unknown=FIRST_AUTH
        )
    elif kind == "apart":
        daemon = run_proxy(
            config,
            data_dir,
            join_by=joining,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            stopping=stopping,
            coordinates=False,
            proves=False,
        )
    else:
        settings = node_settings(config, data_dir)
        path_to_us = settings.options.extra_path
        daemon = run_node(
            replace(settings, options=replace(NODES[kind], extra_path=path_to_us)),
            join_by=joining,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            stopping=stopping,
        )
    with stop_on_signals(stopping):
        await daemon


if __name__ == "__main__":
    main()
