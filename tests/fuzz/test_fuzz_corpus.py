"""Every kept input, and every one that once broke something, goes through its target; memory stays in proportion."""

import importlib
import tracemalloc
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = ("association", "conversation", "negotiation", "identifier", "dataset", "splice", "pack", "hl7")
CORPUS_BYTES = 300_000
FIXED = 4 << 20
"""Bytes any input may take: the receive buffer of an association twice over, and what the target itself holds."""
FACTOR = 400
"""Bytes taken for one byte of input: a dataset of empty elements, each of them a record here and in pydicom."""

KEPT = sorted(path for kind in ("corpus", "found") for path in (HERE / kind).rglob("*") if path.is_file())


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_has_inputs(target: str) -> None:
    assert [path for path in KEPT if path.parent.name == target]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.relative_to(HERE)))
def test_a_kept_input_holds_the_targets_promises_in_bounded_memory(path: Path) -> None:
    run = importlib.import_module(f"fuzz_{path.parent.name}").run
    data = path.read_bytes()
    run(data)

    tracemalloc.start()
    try:
        run(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak <= FIXED + FACTOR * len(data)


def test_the_kept_inputs_are_small() -> None:
    assert sum(path.stat().st_size for path in KEPT) <= CORPUS_BYTES
