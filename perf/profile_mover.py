"""Where a mover's CPU time goes: `python -m perf.profile_mover [FILE]` writes a text table (perf/results/profile.txt).

One mover moves the corpus of `end-to-end-ct` once to warm up and once under `perf.profile`; without compression, with
coercion, as in that scenario's first row.
"""

import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from perf.corpus import Corpus, ct, tiny
from perf.harness import GB, Scale
from perf.migrating import LimosaMovers
from perf.profile import table
from perf.scenarios.end_to_end import LIMOSA, rules
from perf.servers import Servers
from perf.sources import Simulated

RESULT = Path(__file__).parent / "results" / "profile.txt"
LOADS: dict[str, Callable[[Scale], Corpus]] = {"0.5 MB slices": ct, "20 KB slices": tiny}


def profiled(corpus: Corpus) -> str:
    """The table for one corpus."""
    source = Simulated(corpus)
    servers = Servers(source)
    with tempfile.TemporaryDirectory(prefix="limosa-bench-") as folder:
        mover = LimosaMovers(
            servers,
            source,
            name="profiled",
            about=LIMOSA,
            bucket=lambda: servers.forgetful_bucket(compression="none"),
            coercion=rules(),
            profiles=Path(folder),
        )
        try:
            mover.prepare()
            mover.once()
            sample = mover.once()
        finally:
            mover.close()
        newest = max(Path(folder).glob("*.profile"), key=lambda path: path.stat().st_mtime)
        found = pickle.loads(newest.read_bytes())
    rate = f"{sample.bytes / 1e6 / sample.seconds:.0f} MB/s, {sample.objects / sample.seconds:.0f} instances/s\n"
    return rate + table([found], sample.bytes / GB)


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = [f"{name}\n{'=' * len(name)}\n{profiled(load(Scale.FULL))}" for name, load in LOADS.items()]
    out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
