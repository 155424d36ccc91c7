"""Run the bench: ``python -m bench``. README.md says how to measure single parts, or two checkouts."""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from bench import report
from bench.parts import PARTS
from bench.plot import write_picture
from bench.rig import FULL, QUICK, Rig, in_memory
from bench.ways import OPTIONS, Peer, site
from interlock.testing.openssh import current_login
from interlock.testing.procs import Profiles

HERE = Path(__file__).parent


def main() -> None:
    """Measure, print, write."""
    options = _arguments()
    began = time.monotonic()
    Profiles.hide()  # what the shell of the account that measures does at start is nobody's set-up time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is stopped
    usual = [each.name for each in PARTS if (each.quick if options.quick else each.rounds)]
    wanted = set(options.only.split(",")) if options.only else set(usual)
    if unknown := wanted - {each.name for each in PARTS}:
        raise SystemExit(f"no part {', '.join(unknown)}: there are {', '.join(each.name for each in PARTS)}")
    parts = [each for each in PARTS if each.name in wanted]
    scale = QUICK if options.quick else FULL
    others = dict(_named(text) for text in options.beside)
    peers = [_peer(text, options.peer_user, options.peer_key) for text in options.peer]
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as name, in_memory() as memory:
        checkouts = {each: Path(path).resolve() for each, path in others.items()}
        with_node = any(each.name.startswith("node") for each in parts)
        only = options.ways.split(",") if options.ways else ()
        with site(Path(name), others=checkouts, peers=peers, only=only, with_node=with_node) as place:
            if unknown := set(only) - place.names:
                raise SystemExit(f"no way {', '.join(unknown)}: there are {', '.join(sorted(place.names))}")
            rig = Rig(place, scale, memory)
            failed = False
            for part in parts:
                try:
                    part.run(rig, options.rounds or (part.quick if options.quick else part.rounds) or 1)
                except Exception:  # noqa: BLE001  # what the other parts have measured is worth minutes
                    traceback.print_exc()
                    failed = True
    names = [*others, *(peer.name for peer in peers)]
    report.show(rig.results, names)
    taken = round(time.monotonic() - began)
    print(f"measured in {taken} s")
    whole = not (options.only or options.ways or options.rounds or failed)
    out = options.out or (HERE / ("results-quick.json" if options.quick else "results.json") if whole else None)
    if out is not None:
        report.write(out, rig.results, {**asdict(scale), **OPTIONS, "seconds": taken}, names)
        print(f"written: {out}")
        if whole and not options.quick:
            picture = out.with_suffix(".svg")
            write_picture(out, picture)
            print(f"written: {picture}")
    if failed:
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few parts and rounds, under 50 seconds")
    parser.add_argument("--only", default="", metavar="PART,...", help="only these parts")
    parser.add_argument("--ways", default="", metavar="WAY,...", help="only these ways, e.g. direct,interlock")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each part, instead of its own number")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="measure the gateway of another checkout of Interlock too, interleaved; may be repeated",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=HOST:PORT",
        help="measure another SSH relay too, by which `ssh -p PORT USER@HOST` reaches a target; may be repeated",
    )
    parser.add_argument("--peer-user", default=current_login(), help="the user name that peers are given")
    parser.add_argument("--peer-key", type=Path, help="the private key that peers know; default: a new one")
    parser.add_argument("--out", type=Path, help="where to write the JSON result; default: only of whole runs")
    return parser.parse_args()


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SystemExit(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _peer(text: str, user: str, key: Path | None) -> Peer:
    name, value = _named(text)
    host, _, port = value.rpartition(":")
    return Peer(name, host, int(port), user, key)


main()
