"""Fuzzes the targets beside this file for a while, says what was seen, and keeps every input that broke a promise.

    python tests/fuzz/fuzz_run.py --minutes 10 [--folder .fuzz] [TARGET ...]

Needs atheris (the extra `fuzz`). Each target runs in a process of its own, since a fuzzer ends with the first finding
and because of its memory limit. Ends with 1 when there is a finding; the input lies in <folder>/<target>/found.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = ("association", "conversation", "negotiation", "identifier", "dataset", "splice", "pack", "hl7")
LONGEST = 4096
"""Bytes of one input; everything of ours that counts or cuts does so within them."""
MEMORY_MB = 700
"""Of one fuzzing process: the interpreter with our imports takes about 150, the fuzzer's own tables as much."""
SECONDS_PER_INPUT = 30
INSTRUMENTED = ("actors.dimse", "imaging", "storage.packs")

_DONE = re.compile(r"^#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)", re.MULTILINE)
_SEEN = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one target came to."""

    target: str
    runs: int
    coverage: int
    """Edges of our code that were taken."""
    corpus: int
    size: str
    findings: tuple[Path, ...]
    failed: bool


def fuzz(target: str, arguments: list[str]) -> None:
    """Never returns: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        module = importlib.import_module(f"fuzz_{target}")
    atheris.Setup([f"fuzz_{target}", *arguments], module.run)
    atheris.Fuzz()


def watch(target: str, seconds: int, folder: Path) -> Seen:
    """The target was fuzzed for so long or until it broke; its log is beside what it found."""
    place = folder / target
    for name in ("corpus", "found"):
        (place / name).mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, __file__, "--one", target, "--"),
        *(f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-rss_limit_mb={MEMORY_MB}"),
        *(f"-timeout={SECONDS_PER_INPUT}", f"-artifact_prefix={place / 'found'}{os.sep}", "-print_final_stats=1"),
        *(str(place / "corpus"), str(HERE / "corpus" / target)),
    ]
    known = HERE / "found" / target
    if known.is_dir():
        command.append(str(known))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parents[1])))}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    log = done.stdout + done.stderr
    (place / "log").write_text(log)
    last = (_DONE.findall(log) or _SEEN.findall(log) or [("0", "0", "0", "0", "0b")])[-1]
    return Seen(
        target=target,
        runs=int(last[0]),
        coverage=int(last[1]),
        corpus=int(last[3]),
        size=last[4],
        findings=tuple(sorted((place / "found").iterdir())),
        failed=done.returncode != 0,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="of all targets together")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    parser.add_argument("targets", nargs="*", default=TARGETS)
    told = parser.parse_args()
    print(f"{'target':14} {'runs':>10} {'edges':>6} {'inputs':>7} {'bytes':>8}  findings", flush=True)
    broken = False
    for target in told.targets:
        seen = watch(target, max(1, int(60 * told.minutes / len(told.targets))), told.folder.resolve())
        print(
            f"{target:14} {seen.runs:>10,} {seen.coverage:>6,} {seen.corpus:>7,} {seen.size:>8}  {len(seen.findings)}",
            flush=True,
        )
        for path in seen.findings:
            print(f"  {path}")
        if seen.failed and not seen.findings:
            print(f"  did not run: see {told.folder / target / 'log'}")
        broken = broken or seen.failed or bool(seen.findings)
    return int(broken)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], sys.argv[4:])
    sys.exit(main())
