"""python -m infra.simulator: the simulated PACS as a process of its own.

Prints one JSON line with its ports when it is ready, and stops on SIGTERM, SIGINT or by its control port.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from infra.simulator.control import Control
from infra.simulator.faults import Faults, load_faults
from infra.simulator.simulator import Simulator
from infra.simulator.specs import archive_from


def destinations_from(text: str) -> dict[str, tuple[str, int]]:
    """AE titles and where they listen, from `MIG01=127.0.0.1:11113,MIG02=...`. Raises `ValueError`."""
    found: dict[str, tuple[str, int]] = {}
    for part in filter(None, text.split(",")):
        title, equals, address = part.partition("=")
        host, colon, port = address.rpartition(":")
        if not (title and equals and host and colon):
            raise ValueError(f"a destination is AETITLE=HOST:PORT, not {part}")
        found[title] = (host, int(port))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.simulator", description="A PACS that lies on demand.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--ae-title", default="SIMPACS")
    parser.add_argument("--destinations", default="", metavar="AE=HOST:PORT,...")
    parser.add_argument(
        "--archive",
        action="append",
        metavar="SPEC",
        help="synthetic:studies=N,seed=N | workload:... | big:size=N | testfiles | DIR; may be repeated",
    )
    parser.add_argument("--faults", type=Path, metavar="TOML")
    parser.add_argument("--control", type=int, default=0, metavar="PORT", help="0 takes a free one")
    arguments = parser.parse_args()
    try:
        simulator = Simulator(
            archive_from(arguments.archive or ["synthetic:studies=20"]),
            ae_title=arguments.ae_title,
            destinations=destinations_from(arguments.destinations),
            faults=load_faults(arguments.faults) if arguments.faults else Faults(),
            port=arguments.port,
        )
    except ValueError as problem:
        parser.error(str(problem))
    control = Control(simulator, arguments.control)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stopping.set())
    with simulator:
        control.start()
        sys.stdout.write(json.dumps({"port": simulator.port, "control": control.port}) + "\n")
        sys.stdout.flush()
        control.stopping.wait()
        control.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
