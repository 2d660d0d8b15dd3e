"""A mover or validator in a process of its own, without Ray: `python -m perf.mover_process [PROFILE]`.

Reads a pickled `MoverSetup` or `ValidatorSetup` from standard input, says `ready` when its lanes run, ends on SIGTERM.
With a path it writes there where its CPU time went between one `SIGUSR1` and the next.
"""

import os
import pickle
import signal
import sys
import threading
from pathlib import Path

from actors import worker
from actors.setup import MoverSetup
from actors.start import start_mover, start_validator
from perf.profile import Profiler

POLL = 0.02
"""Seconds between looks for work while the job is paused: half a second, as in a hospital, would be measured too."""
STOP_SECONDS = 10.0


def main() -> None:
    profiler = Profiler()
    over = threading.Event()
    if len(sys.argv) > 1:
        signal.signal(signal.SIGUSR1, lambda *_: profiler.toggle())
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    worker.IDLE_POLL = worker.TROUBLE_POLL = POLL
    setup = pickle.load(sys.stdin.buffer)
    process = start_mover(setup) if isinstance(setup, MoverSetup) else start_validator(setup)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    over.wait()
    if len(sys.argv) > 1:
        profiler.stop()
        Path(sys.argv[1]).write_bytes(pickle.dumps(profiler.profile))
    process.stop(STOP_SECONDS)
    # Threads that wait for a peer must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
