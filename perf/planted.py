"""Whether every fault that can be seen before anything moves is found, and nothing else is.

    make planted-faults

Makes an archive of 2,000 studies with planted faults, asks it as a migration does (inventory, import, plan), and holds
what was found against what was planted, study by study. Prints the confusion table; fails on any miss and on any false
alarm. Nothing is moved.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from infra.simulator import Faults, Simulator
from perf.planted_archive import CLASSES, JOB, Hospital, found_classes, planted_hospital

STUDIES = int(os.environ.get("STUDIES", "2000"))
EACH = int(os.environ.get("EACH", "20"))
SEED = int(os.environ.get("SEED", "7"))
DEADLINE = 600.0
"""Seconds for one command; the inventory of 2,000 studies takes some."""

FILE = """
[job]
name = "planted"

[source]
host = "127.0.0.1"
port = {port}
ae_title = "SIMPACS"

[[receivers]]
ae_title = "LIMOSA"
host = "127.0.0.1"
port = {receiver}

[[destinations]]
kind = "seed"
name = "device"
devices = ["{device}"]
"""


def main() -> int:
    """The exit code: 0 where planted and found are the same."""
    hospital = planted_hospital(studies=STUDIES, each=EACH, seed=SEED)
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        began = time.monotonic()
        found = asked(hospital, Path(folder))
    lines, wrong = confusion(hospital.planted, found)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.write(
        f"{len(hospital.planted)} studies, {sum(map(bool, hospital.planted.values()))} with a fault, seed {SEED}: "
        f"{wrong} wrong; {time.monotonic() - began:.0f} s\n"
    )
    return 1 if wrong else 0


def asked(hospital: Hospital, folder: Path) -> dict[str, frozenset[str]]:
    """What the commands find in this hospital, by study."""
    for name, content in (
        ("adt.hl7", hospital.adt),
        ("index.csv", hospital.index.encode()),
        ("crosswalk.csv", hospital.crosswalk.encode()),
        ("orders.csv", hospital.orders.encode()),
    ):
        (folder / name).write_bytes(content)
    (folder / "device").mkdir()
    with Simulator(hospital.archive, faults=Faults(study_per_patient=True)) as pacs:
        job = folder / "planted.toml"
        job.write_text(FILE.format(port=pacs.port, receiver=_free_port(), device=folder / "device") + JOB)
        # Codes: 2 is "done, and a person is needed".
        limosa(2, "inventory", str(job))
        limosa(0, "identity", "import", str(job), *(str(folder / n) for n in ("adt.hl7", "index.csv", "crosswalk.csv")))
        limosa(0, "accession", "import", str(job), str(folder / "orders.csv"))
        limosa(2, "plan", str(job), "--apply", "--quiet")
        limosa(0, "exceptions", "export", str(job), str(folder / "found.json"))
    rows = json.loads((folder / "found.json").read_text())
    return found_classes((row["study_uid"], row["kind"]) for row in rows if row["study_uid"])


def limosa(code: int, *words: str) -> None:
    """The command has run and ended with this code."""
    done = subprocess.run(
        [sys.executable, "-m", "limosa", *words], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    if done.returncode != code:
        raise SystemExit(f"limosa {words[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")


def confusion(planted: Mapping[str, frozenset[str]], found: Mapping[str, frozenset[str]]) -> tuple[list[str], int]:
    """A line for each class, and how many studies are wrong in some class."""
    counts: Counter[tuple[str, str]] = Counter()
    unplanted: Counter[str] = Counter()
    for uid in planted.keys() | found.keys():
        truth, told = planted.get(uid, frozenset()), found.get(uid, frozenset())
        for kind in truth | told:
            counts[kind, "planted"] += kind in truth
            counts[kind, "found"] += kind in told
            counts[kind, "both"] += kind in truth and kind in told
        for kind in told - truth:
            unplanted[f"{kind} in {' '.join(sorted(truth)) or 'a clean study'}"] += 1
    lines = [f"{'class':<26}{'planted':>9}{'found':>9}{'right':>9}{'missed':>9}{'false':>9}"]
    wrong = 0
    for kind in (*CLASSES, *sorted({kind for kind, _ in counts} - {*CLASSES})):
        there, told, both = (counts[kind, name] for name in ("planted", "found", "both"))
        wrong += there - both + told - both
        lines.append(f"{kind:<26}{there:>9}{told:>9}{both:>9}{there - both:>9}{told - both:>9}")
    clean = [uid for uid, kinds in planted.items() if not kinds]
    alarms = sum(bool(found.get(uid)) for uid in clean)
    lines.append(f"{'(clean)':<26}{len(clean):>9}{len(clean) - alarms:>9}{len(clean) - alarms:>9}{0:>9}{alarms:>9}")
    lines += [f"false: {what}: {count}" for what, count in sorted(unplanted.items())]
    return lines, wrong


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
